//! `--ssh`: which agents and keys a build may use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_agent::Agent;

use crate::environment;
use crate::report::Failure;

const DEFAULT_ID: &str = "default";

/// Opens what the options name. To be called after the sandbox's helper process was started, which
/// must not have keys in its memory.
pub(crate) fn open_all(options: &[String]) -> Result<BTreeMap<String, Agent>, Failure> {
    let mut agents = BTreeMap::new();
    for option in options {
        let (id, typed) = parse(option);
        if agents.contains_key(id) {
            return Err(Failure::Usage(format!("duplicate agent ID \"{id}\"")));
        }
        let paths = if typed.is_empty() {
            vec![own_agent()?]
        } else {
            typed
                .iter()
                .map(|path| environment::absolute(Path::new(path)))
                .collect()
        };
        agents.insert(id.to_owned(), Agent::open(&paths)?);
    }
    Ok(agents)
}

/// Returns the id and the paths; none mean the user's agent.
fn parse(option: &str) -> (&str, Vec<&str>) {
    let (id, paths) = option.split_once('=').unwrap_or((option, ""));
    let id = if id.is_empty() { DEFAULT_ID } else { id };
    let paths = if paths.is_empty() {
        Vec::new()
    } else {
        paths.split(',').collect()
    };
    (id, paths)
}

fn own_agent() -> Result<PathBuf, Failure> {
    environment::variable("SSH_AUTH_SOCK")
        .map(PathBuf::from)
        .ok_or_else(|| {
            Failure::message("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert_eq!(parse("default"), ("default", vec![]));
        assert_eq!(parse(""), ("default", vec![]));
        assert_eq!(parse("a="), ("a", vec![]));
        assert_eq!(parse("a=/s"), ("a", vec!["/s"]));
        assert_eq!(parse("a=/k,l"), ("a", vec!["/k", "l"]));
    }
}
