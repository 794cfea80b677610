//! The kernel and other programs.

use std::path::PathBuf;

use super::Finding;
use crate::environment;

/// The oldest kernel that has what every sandbox needs (`mount_setattr`), and the one from which on
/// nothing is missing (Landlock with scopes).
const NEEDED: (u32, u32) = (5, 12);
const FULL: (u32, u32) = (6, 12);

pub(super) fn kernel() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let text = format!("Linux {release}");
    match version(&release) {
        Some(found) if found < NEEDED => Finding::bad(
            "kernel",
            text,
            "rbuild needs Linux 5.12 or later: upgrade the kernel.",
        ),
        Some(found) if found < FULL => Finding::lacking(
            "kernel",
            format!(
                "{text}: steps can reach abstract sockets of this machine; emulation without set-up needs 6.7, \
                 a shared /proc in containers 6.12"
            ),
            "upgrade the kernel.",
        ),
        _ => Finding::good("kernel", text),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// Programs that some builds call.
pub(super) fn tools() -> Vec<Finding> {
    [
        ("git", "git", "contexts and ADD from git repositories fail"),
        ("ssh", "openssh-client", "git repositories by ssh fail"),
    ]
    .into_iter()
    .map(|(program, package, lacking)| match find(program) {
        Some(path) => Finding::good(program, path.display().to_string()),
        None => Finding::lacking(
            program,
            format!("not installed: {lacking}"),
            format!("sudo apt-get install {package}"),
        ),
    })
    .collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = environment::raw_variable("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_versions() {
        assert_eq!(version("6.18.44-generic"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("odd"), None);
        assert!(find("sh").is_some() && find("no-such-program").is_none());
    }
}
