//! Options that are about `RUN` steps: limits, hosts, what they are allowed.

use clap::Args;
use rbuild_parser::size::parse_bytes;
use rbuild_planner::Limits;
use rbuild_sandbox::{Privileges, Resource};

use crate::limits::LimitArguments;
use crate::report::Failure;

/// What of the command line is about `RUN` steps.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Add a line to /etc/hosts of RUN steps; `host-gateway` stands for this machine
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps, e.g. 256m
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Limit what processes of RUN steps may use, e.g. nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    #[command(flatten)]
    pub(crate) groups: LimitArguments,
    /// Put RUN steps into a control group below this one
    #[arg(long, value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Allow what is refused otherwise: security.insecure, network.host, buildx.local.delete
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
}

/// The entitlements by name. The last two change nothing.
const INSECURE: &str = "security.insecure";
const LOCAL_DELETE: &str = "buildx.local.delete";
const IDLE: [&str; 2] = ["network.host", ""];

/// This machine for those who share its network, as steps do.
const GATEWAY: &str = "127.0.0.1";

impl RunArguments {
    /// Returns the limits of every step.
    pub(crate) fn limits(&self) -> Result<Limits, Failure> {
        let shm_size = self.shm_size.as_ref().map(|size| {
            parse_bytes(size)
                .ok_or_else(|| Failure::Usage(format!("invalid size for --shm-size: '{size}'")))
        });
        let ulimits = self
            .ulimit
            .iter()
            .map(|limit| ulimit(limit).map_err(Failure::Usage));
        Ok(Limits {
            ulimits: ulimits.collect::<Result<_, _>>()?,
            shm_size: shm_size.transpose()?,
            cgroup_parent: self.cgroup_parent.clone(),
        })
    }

    /// True if steps may be privileged.
    pub(crate) fn allows_insecure(&self) -> Result<bool, Failure> {
        let is_known =
            |name: &str| [INSECURE, LOCAL_DELETE].contains(&name) || IDLE.contains(&name);
        match self.allow.iter().find(|name| !is_known(name)) {
            Some(name) => Err(Failure::Usage(format!("unknown entitlement {name}"))),
            None => Ok(self.allows(INSECURE)),
        }
    }

    /// True if an output may remove files outside of the current directory.
    pub(crate) fn allows_local_delete(&self) -> bool {
        self.allows(LOCAL_DELETE)
    }

    fn allows(&self, entitlement: &str) -> bool {
        self.allow.iter().any(|name| name == entitlement)
    }

    /// What the sandbox must be able to give steps.
    pub(crate) fn privileges(&self) -> Result<Privileges, Failure> {
        Ok(match self.allows_insecure()? {
            true => Privileges::OnDemand,
            false => Privileges::Few,
        })
    }

    /// `HOST:IP` or `HOST=IP`; an IPv6 address may stand in brackets.
    pub(crate) fn hosts(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut hosts = Vec::new();
        for option in &self.add_host {
            let found =
                host(option).ok_or_else(|| Failure::Usage(format!("invalid host {option}")))?;
            hosts.extend(found);
        }
        Ok(hosts)
    }
}

fn host(option: &str) -> Option<Vec<(String, String)>> {
    let (host, addresses) = option.split_once('=').or_else(|| option.split_once(':'))?;
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if host.is_empty() || host.chars().any(is_bad) {
        return None;
    }
    let address = |text: &str| {
        if text == "host-gateway" {
            return Some((host.to_owned(), GATEWAY.to_owned()));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address: std::net::IpAddr = bare.unwrap_or(text).parse().ok()?;
        Some((host.to_owned(), address.to_string()))
    };
    addresses.split(',').map(address).collect()
}

/// Reads `name=soft[:hard]`; the messages are those of `docker build`.
fn ulimit(option: &str) -> Result<(String, u64, u64), String> {
    let (name, values) = option
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {option}"))?;
    if Resource::from_name(name).is_none() {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let value = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(value) => u64::try_from(value).map_err(|_negative| option),
        Err(_) => Err(option),
    };
    let invalid = |option: &str| format!("invalid ulimit argument: {option}");
    let (soft, hard) = match values.split_once(':') {
        None => {
            let both = value(values).map_err(invalid)?;
            (both, both)
        }
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
        Some((soft, hard)) => (value(soft).map_err(invalid)?, value(hard).map_err(invalid)?),
    };
    if soft > hard {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {values}"
        ));
    }
    Ok((name.to_owned(), soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_two_spellings() {
        let check = |option: &str, addresses: &[&str]| {
            let found = host(option).unwrap();
            let found: Vec<_> = found.iter().map(|(_, address)| address.as_str()).collect();
            assert_eq!(found, addresses, "{option}");
        };
        check("a:1.2.3.4", &["1.2.3.4"]);
        check("b=::1", &["::1"]);
        check("c:[fe80::1]", &["fe80::1"]);
        check("d=1.2.3.4,::1", &["1.2.3.4", "::1"]);
        check("e:host-gateway", &["127.0.0.1"]);
        for bad in [
            "a",
            "a:",
            "a:nope",
            ":1.2.3.4",
            "a b:1.2.3.4",
            "x\n:1.2.3.4",
        ] {
            assert!(host(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn limits_are_read() {
        let limit = |name: &str, soft, hard| Ok((name.to_owned(), soft, hard));
        for (option, expected) in [
            ("nofile=1024:2048", limit("nofile", 1024, 2048)),
            ("core=0", limit("core", 0, 0)),
            ("memlock=-1", limit("memlock", u64::MAX, u64::MAX)),
            ("stack=8:-1", limit("stack", 8, u64::MAX)),
            ("nofile", Err("invalid ulimit argument: nofile".to_owned())),
            (
                "nofile=x",
                Err("invalid ulimit argument: nofile=x".to_owned()),
            ),
            (
                "nofile=-2",
                Err("invalid ulimit argument: nofile=-2".to_owned()),
            ),
            ("files=1", Err("invalid ulimit type: files".to_owned())),
        ] {
            assert_eq!(ulimit(option), expected, "{option}");
        }
        assert!(ulimit("nofile=1:2:3").unwrap_err().starts_with("too many"));
        assert!(ulimit("nofile=2:1").unwrap_err().contains("less than"));
        assert!(ulimit("nofile=-1:1").unwrap_err().contains("less than"));
    }
}
