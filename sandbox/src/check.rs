//! Refuses specifications that could never run, before a process is made for them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use crate::error::SandboxError;
use crate::spec::{BindSource, Mount, MountKind, Root, Spec};

/// Refuses what cannot be turned into C strings or mount targets.
pub(crate) fn check(spec: &Spec) -> Result<(), SandboxError> {
    let refuse = |reason: String| Err(SandboxError::Spec { reason });
    if spec.argv.first().is_none_or(|program| program.is_empty()) {
        return refuse(String::from("argv names no program"));
    }
    let lists = [("argv", &spec.argv), ("env", &spec.env)];
    let words = lists.iter().flat_map(|(field, words)| {
        words
            .iter()
            .map(move |word: &OsString| (*field, word.as_os_str()))
    });
    let paths = paths(spec);
    let all = words
        .chain(paths.iter().copied())
        .chain([("hostname", OsStr::new(&spec.hostname))]);
    for (field, word) in all {
        if word.as_bytes().contains(&0) {
            return refuse(format!("{field} has a NUL byte: {}", word.display()));
        }
    }
    if spec.hostname.len() > 64 {
        return refuse(String::from("hostname is longer than 64 bytes"));
    }
    for (field, path) in paths {
        if !path.as_bytes().starts_with(b"/") && field != "path in a mount's source" {
            return refuse(format!("{field} is not absolute: {}", path.display()));
        }
    }
    Ok(())
}

/// Every path of the specification with the name of its field.
fn paths(spec: &Spec) -> Vec<(&'static str, &OsStr)> {
    let mut paths = vec![("cwd", spec.cwd.as_os_str())];
    match &spec.root {
        Root::Directory(path) => paths.push(("root", path.as_os_str())),
        Root::Overlay {
            lowers,
            upper,
            work,
            ..
        } => {
            paths.extend(
                lowers
                    .iter()
                    .chain([upper, work])
                    .map(|path| ("root", path.as_os_str())),
            );
        }
    }
    for Mount { target, kind } in &spec.mounts {
        paths.push(("mount target", target.as_os_str()));
        let MountKind::Bind { source, .. } = kind else {
            continue;
        };
        match source {
            BindSource::Path(path) => paths.push(("mount source", path.as_os_str())),
            BindSource::Inside { root, path } => {
                paths.push(("mount source", root.as_os_str()));
                paths.push(("path in a mount's source", path.as_os_str()));
            }
            BindSource::Stack {
                lowers,
                upper,
                path,
                ..
            } => {
                let upper = upper.iter().flat_map(|upper| [&upper.upper, &upper.work]);
                let layers = lowers.iter().chain(upper);
                paths.extend(layers.map(|path| ("mount source", path.as_os_str())));
                paths.push(("path in a mount's source", path.as_os_str()));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn reason(change: impl FnOnce(&mut Spec)) -> String {
        let root = Root::Directory(PathBuf::from("/r"));
        let mut spec = Spec::new(root, vec![OsString::from("true")]);
        change(&mut spec);
        match check(&spec) {
            Err(SandboxError::Spec { reason }) => reason,
            Err(other) => panic!("{other}"),
            Ok(()) => String::new(),
        }
    }

    #[test]
    fn specifications_are_checked() {
        assert_eq!(reason(|_| {}), "");
        assert_eq!(reason(|spec| spec.argv.clear()), "argv names no program");
        let nul = reason(|spec| spec.env.push(OsString::from("A=\0")));
        assert!(nul.starts_with("env has a NUL byte"), "{nul}");
        assert_eq!(
            reason(|spec| spec.cwd = PathBuf::from("tmp")),
            "cwd is not absolute: tmp"
        );
        let root = reason(|spec| spec.root = Root::Directory(PathBuf::from("r")));
        assert_eq!(root, "root is not absolute: r");
        let host = reason(|spec| spec.hostname = "h".repeat(65));
        assert_eq!(host, "hostname is longer than 64 bytes");
        let target = reason(|spec| {
            let kind = MountKind::Tmpfs {
                size: None,
                mode: 0o755,
            };
            spec.mounts.push(Mount {
                target: PathBuf::from("x"),
                kind,
            });
        });
        assert_eq!(target, "mount target is not absolute: x");
    }
}
