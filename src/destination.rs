//! `--output`: where a build's result goes besides the store.

use std::path::PathBuf;

use crate::report::Failure;

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The files of the result in a directory.
    Local(PathBuf),
    /// The files of the result as a tar.
    Tar(Place),
    /// An OCI layout as a tar.
    OciArchive(Place),
    /// An OCI layout as a directory.
    OciDirectory(PathBuf),
    /// An archive that `docker load` reads.
    DockerArchive(Place),
}

/// A file or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Reads all `--output` options.
pub(crate) fn parse_all(options: &[String]) -> Result<Vec<Destination>, Failure> {
    let destinations = options
        .iter()
        .map(|option| parse(option))
        .collect::<Result<Vec<_>, _>>()?;
    let n_stdout = destinations
        .iter()
        .filter(|destination| destination.is_stdout())
        .count();
    if n_stdout > 1 {
        return Err(Failure::Usage(
            "multiple outputs configured to write to stdout".into(),
        ));
    }
    Ok(destinations)
}

impl Destination {
    /// True if it writes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Tar(Place::Stdout)
                | Self::OciArchive(Place::Stdout)
                | Self::DockerArchive(Place::Stdout)
        )
    }
}

/// `-`, `DIR`, or `type=…,dest=…`.
fn parse(option: &str) -> Result<Destination, Failure> {
    if option == "-" {
        return Ok(Destination::Tar(Place::Stdout));
    }
    if !option.contains('=') {
        return Ok(Destination::Local(option.into()));
    }
    let fields = fields(option)?;
    let get = |name: &str| {
        fields
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let kind = get("type").ok_or_else(|| Failure::Usage("type is required for output".into()))?;
    let known: &[&str] = match kind {
        "oci" => &["type", "dest", "tar"],
        "local" | "tar" | "docker" => &["type", "dest"],
        "image" | "registry" | "cacheonly" => {
            return Err(Failure::with_help(
                format!("this version of rbuild has no output type={kind}"),
                "--tag keeps the image in the local store; type=oci, docker, tar and local write it elsewhere",
            ));
        }
        _ => return Err(Failure::Usage(format!("unknown output type \"{kind}\""))),
    };
    if let Some((key, _)) = fields
        .iter()
        .find(|(key, _)| !known.contains(&key.as_str()))
    {
        return Err(Failure::Usage(format!(
            "output type={kind} has no option \"{key}\" in this version of rbuild"
        )));
    }
    let place = || match get("dest") {
        Some("-") | None => Place::Stdout,
        Some(path) => Place::File(path.into()),
    };
    let needed = || {
        get("dest")
            .filter(|dest| *dest != "-")
            .map(PathBuf::from)
            .ok_or_else(|| Failure::Usage(format!("dest is required for output type={kind}")))
    };
    Ok(match kind {
        "local" => Destination::Local(needed()?),
        "tar" => Destination::Tar(place()),
        "docker" => Destination::DockerArchive(place()),
        _ => match get("tar") {
            None | Some("true") => Destination::OciArchive(place()),
            Some("false") => Destination::OciDirectory(needed()?),
            Some(value) => {
                return Err(Failure::Usage(format!(
                    "invalid value {value} for tar, expected true or false"
                )));
            }
        },
    })
}

/// `key=value` fields between commas; a field may be quoted as a whole.
fn fields(option: &str) -> Result<Vec<(String, String)>, Failure> {
    let invalid =
        |field: &str| Failure::Usage(format!("invalid value {field}: must be a key=value pair"));
    let mut fields = Vec::new();
    for field in rbuild_parser::csv::fields(option).map_err(|_unterminated| invalid(option))? {
        let (key, value) = field.split_once('=').ok_or_else(|| invalid(&field))?;
        fields.push((key.trim().to_lowercase(), value.to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "a table reads better so")]
    fn check(option: &str, expected: Option<Destination>) {
        assert_eq!(parse(option).ok(), expected, "{option}");
    }

    #[test]
    fn output_forms() {
        check("-", Some(Destination::Tar(Place::Stdout)));
        check("out", Some(Destination::Local("out".into())));
        check(
            "type=local,dest=out",
            Some(Destination::Local("out".into())),
        );
        check(
            "type=oci,dest=a.tar",
            Some(Destination::OciArchive(Place::File("a.tar".into()))),
        );
        check(
            "type=oci,dest=d,tar=false",
            Some(Destination::OciDirectory("d".into())),
        );
        check(
            "TYPE=docker,dest=-",
            Some(Destination::DockerArchive(Place::Stdout)),
        );
        check(
            "type=tar,\"dest=a,b\"",
            Some(Destination::Tar(Place::File("a,b".into()))),
        );
        for bad in [
            "type=local",
            "dest=x",
            "type=image",
            "type=oci,dest=a,x=y",
            "type=oci,y",
        ] {
            check(bad, None);
        }
    }
}
