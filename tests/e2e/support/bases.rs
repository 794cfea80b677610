//! The base images of the tests: root file systems that the scripts make from this machine's
//! packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{have, repository};

/// A root file system tar with busybox; `None` without a static busybox.
pub(crate) fn busybox() -> Option<&'static Path> {
    static TAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    TAR.get_or_init(|| make("busybox.tar", "make-base.sh", have("busybox")))
        .as_deref()
}

/// A root file system tar with a minimal Debian 12; `None` without mmdebstrap or a mirror.
pub(crate) fn debian() -> Option<&'static Path> {
    static TAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    TAR.get_or_init(|| make("debian.tar", "make-debian-base.sh", have("mmdebstrap")))
        .as_deref()
}

/// Where the tars are kept between runs.
fn folder() -> PathBuf {
    std::env::var_os("RBUILD_TEST_BASES")
        .map_or_else(|| repository().join("target/house/bases"), PathBuf::from)
}

fn make(file: &str, script: &str, possible: bool) -> Option<PathBuf> {
    let tar = folder().join(file);
    if tar.try_exists().unwrap() {
        return Some(tar);
    }
    if !possible {
        return None;
    }
    fs_err::create_dir_all(folder()).unwrap();
    // Several test processes may start at once: each makes its own, the last one stays.
    let own = folder().join(format!("{}.{file}", std::process::id()));
    let made = Command::new(repository().join("scripts").join(script))
        .arg(&own)
        .status()
        .unwrap();
    if !made.success() {
        return None;
    }
    fs_err::rename(&own, &tar).unwrap();
    Some(tar)
}
