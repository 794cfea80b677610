//! The options of one `RUN --mount`, read from left to right.

use rbuild_parser::boolean::parse_bool;
use rbuild_parser::csv;
use rbuild_parser::size;

use crate::plan::Sharing;
use crate::suggest;

const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
];
const ENV_KEY: &str = "env";
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// What a mount is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MountType {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountType {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "bind" => Self::Bind,
            "cache" => Self::Cache,
            "tmpfs" => Self::Tmpfs,
            "secret" => Self::Secret,
            "ssh" => Self::Ssh,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn is_credential(self) -> bool {
        matches!(self, Self::Secret | Self::Ssh)
    }
}

/// The options as given; what was not given is empty.
#[derive(Debug, Default)]
pub(crate) struct MountOptions {
    pub(crate) kind: MountType,
    pub(crate) from: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) id: String,
    pub(crate) env: Option<String>,
    pub(crate) required: bool,
    pub(crate) read_only: bool,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) size: Option<u64>,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl MountOptions {
    /// Reads a mount; `expand` puts the variables into a value.
    ///
    /// # Errors
    /// BuildKit's message, or what `expand` returns.
    pub(crate) fn parse<E: From<String>>(
        text: &str,
        expand: &mut dyn FnMut(&str) -> Result<String, E>,
    ) -> Result<Self, E> {
        let fields =
            csv::fields(text).map_err(|error| format!("failed to parse csv mounts: {error}"))?;
        let mut options = Self::default();
        let mut read_only = None;
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                options.take_bare(&field, &mut read_only)?;
                continue;
            };
            let key = key.to_lowercase();
            if !KEYS.contains(&key.as_str()) && key != ENV_KEY {
                let names = KEYS.iter().copied().chain([ENV_KEY]);
                let hint = suggest::hint(&key, names);
                return Err(format!("unexpected key '{key}' in '{field}'{hint}").into());
            }
            let value = expand(value)?;
            options.take(&key, &field, value, &mut read_only)?;
        }
        options.read_only =
            read_only.unwrap_or(!matches!(options.kind, MountType::Cache | MountType::Tmpfs));
        options.check()?;
        Ok(options)
    }

    /// Takes an option without a value.
    fn take_bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), String> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" => {
                self.only("required", MountType::is_credential)?;
                self.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn take(
        &mut self,
        key: &str,
        field: &str,
        value: String,
        read_only: &mut Option<bool>,
    ) -> Result<(), String> {
        match key {
            "type" => {
                let name = value.to_lowercase();
                self.kind = MountType::parse(&name).ok_or_else(|| {
                    let hint = suggest::hint(&name, TYPES);
                    format!("unsupported mount type \"{value}\"{hint}")
                })?;
            }
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => *read_only = Some(!boolean(key, &value)?),
            "required" => {
                self.only(key, MountType::is_credential)?;
                self.required = boolean(key, &value)?;
            }
            "size" => {
                self.only(key, |kind| kind == MountType::Tmpfs)?;
                let bytes = size::parse_bytes(&value)
                    .ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                self.size = Some(bytes);
            }
            "id" => self.id = value,
            "sharing" => {
                let sharing = sharing(&value.to_lowercase())
                    .ok_or_else(|| format!("unsupported sharing value \"{value}\""))?;
                self.sharing = Some(sharing);
            }
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            ENV_KEY => self.env = Some(value),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    /// Refuses an option that another kind of mount has. Only a `type` to its left counts.
    fn only(&self, key: &str, fits: impl Fn(MountType) -> bool) -> Result<(), String> {
        if fits(self.kind) {
            return Ok(());
        }
        let kind = self.kind.name();
        Err(format!("unexpected key '{key}' for mount type '{kind}'"))
    }

    /// Checks what depends on several options.
    fn check(&self) -> Result<(), String> {
        let kind = self.kind.name();
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let given = [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ];
            if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
                return Err(format!("{key} not allowed for \"{kind}\" type mounts"));
            }
        }
        if self.kind == MountType::Secret {
            return self.check_secret();
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        if self.kind == MountType::Ssh && !self.source.is_empty() {
            return Err("ssh does not support source".to_owned());
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), String> {
        let problem = if !self.from.is_empty() {
            "secret mount should not have a from"
        } else if self.sharing.is_some() {
            "secret mount should not define sharing"
        } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            "invalid secret mount. one of source, target required"
        } else if !self.source.is_empty() && !self.id.is_empty() {
            "both source and id can't be set"
        } else if self.env.as_deref() == Some("") {
            "invalid secret mount. the name of its variable is empty"
        } else {
            return Ok(());
        };
        Err(problem.to_owned())
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"))
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, String> {
    let is_plain = !value.starts_with('+');
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| is_plain)
        .ok_or_else(|| format!("invalid value {value} for {key}"))
}

fn sharing(value: &str) -> Option<Sharing> {
    Some(match value {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        _ => return None,
    })
}

/// Returns the name of what a mount's `from` says, as written: which stage a mount needs must be
/// known before variables are. `None` if it says nothing, or the mount has no use for it.
pub(crate) fn from_of(text: &str) -> Option<String> {
    let fields = csv::fields(text).ok()?;
    let last = |name: &str| {
        let of_name = |field: &String| {
            let (key, value) = field.split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        fields.iter().rev().find_map(of_name)
    };
    let kind = last("type").map(|kind| kind.to_lowercase());
    let has_use = !matches!(kind.as_deref(), Some("tmpfs" | "secret" | "ssh"));
    last("from").filter(|from| has_use && !from.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MountOptions, String> {
        MountOptions::parse(text, &mut |value| {
            Ok::<_, String>(value.replace("$E", "cache"))
        })
    }

    #[test]
    fn options_are_read() {
        let options =
            parse("type=$E,target=/a,id=foo,sharing=Locked,mode=0755,uid=1,gid=2").unwrap();
        assert_eq!(options.kind, MountType::Cache);
        assert_eq!(
            (options.target.as_str(), options.id.as_str()),
            ("/a", "foo")
        );
        assert_eq!(options.sharing, Some(Sharing::Locked));
        assert_eq!(
            (options.mode, options.uid, options.gid),
            (Some(0o755), Some(1), Some(2))
        );
        assert!(!options.read_only);
        assert_eq!(
            parse("TYPE=Cache,Target=/a").unwrap().kind,
            MountType::Cache
        );
        assert_eq!(
            parse("type=tmpfs,target=/a,size=10m").unwrap().size,
            Some(10 << 20)
        );
        assert!(parse("type=secret,id=a,required").unwrap().required);
        assert!(parse("target=/a").unwrap().read_only);
        assert!(parse("target=/a,rw=false").unwrap().read_only);
        assert!(!parse("target=/a,rw").unwrap().read_only);
        assert_eq!(parse("\"target=/a,b\"").unwrap().target, "/a,b");
    }

    #[test]
    fn faults_have_buildkits_words() {
        for (text, message) in [
            ("", "failed to parse csv mounts: EOF"),
            (
                "type=tmp,target=/a",
                "unsupported mount type \"tmp\" (did you mean tmpfs?)",
            ),
            (
                "target=/a,foo=1",
                "unexpected key 'foo' in 'foo=1' (did you mean from?)",
            ),
            (
                "target=/a,foo",
                "invalid field 'foo' must be a key=value pair",
            ),
            ("target=/a,ro=maybe", "invalid value for ro: maybe"),
            ("type=cache,target=/a,uid=abc", "invalid value abc for uid"),
            (
                "type=cache,target=/a,mode=999",
                "invalid value 999 for mode",
            ),
            (
                "type=cache,target=/a,sharing=foo",
                "unsupported sharing value \"foo\"",
            ),
            (
                "target=/a,mode=0755",
                "mode not allowed for \"bind\" type mounts",
            ),
            (
                "target=/a,required",
                "unexpected key 'required' for mount type 'bind'",
            ),
            (
                "size=10m,type=tmpfs,target=/a",
                "unexpected key 'size' for mount type 'bind'",
            ),
            (
                "target=/a,sharing=shared",
                "invalid cache sharing set for bind mount",
            ),
            (
                "type=secret,id=a,from=b",
                "secret mount should not have a from",
            ),
            (
                "type=secret,id=a,sharing=shared",
                "secret mount should not define sharing",
            ),
            (
                "type=secret",
                "invalid secret mount. one of source, target required",
            ),
            ("type=secret,id=a,src=b", "both source and id can't be set"),
            ("type=ssh,source=/a", "ssh does not support source"),
        ] {
            assert_eq!(parse(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn the_stage_is_known_before_variables_are() {
        assert_eq!(from_of("from=a,target=/x").as_deref(), Some("a"));
        assert_eq!(from_of("target=/x,From=A").as_deref(), Some("A"));
        assert_eq!(from_of("type=$E,from=a").as_deref(), Some("a"));
        for none in [
            "target=/x",
            "from=,target=/x",
            "type=tmpfs,from=a",
            "\"",
            "",
        ] {
            assert_eq!(from_of(none), None, "{none}");
        }
    }
}
