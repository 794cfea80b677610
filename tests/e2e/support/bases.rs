//! The base images of the tests: root file systems that the scripts make from this machine's
//! packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{have, repository};

/// A root file system tar with busybox; `None` without a static busybox.
pub(crate) fn busybox() -> Option<&'static Path> {
    static TAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    TAR.get_or_init(|| make("busybox.tar", "make-base.sh", have("busybox"), None))
        .as_deref()
}

/// A root file system tar with a minimal Debian 12; `None` without mmdebstrap or a mirror.
pub(crate) fn debian() -> Option<&'static Path> {
    static TAR: OnceLock<Option<PathBuf>> = OnceLock::new();
    TAR.get_or_init(|| {
        make(
            "debian.tar",
            "make-debian-base.sh",
            have("mmdebstrap"),
            None,
        )
    })
    .as_deref()
}

/// A root file system tar with busybox of another of Debian's architectures; `None` without apt, a
/// mirror and an emulator, without which nobody needs one.
pub(crate) fn foreign(architecture: &str) -> Option<PathBuf> {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let possible = have("apt-get") && have("busybox") && have("qemu-aarch64-static");
    let file = format!("busybox-{architecture}.tar");
    make(&file, "make-base.sh", possible, Some(architecture))
}

/// Where the tars are kept between runs.
fn folder() -> PathBuf {
    std::env::var_os("RBUILD_TEST_BASES")
        .map_or_else(|| repository().join("target/house/bases"), PathBuf::from)
}

fn make(file: &str, script: &str, possible: bool, argument: Option<&str>) -> Option<PathBuf> {
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
        .args(argument)
        .status()
        .unwrap();
    if !made.success() {
        return None;
    }
    fs_err::rename(&own, &tar).unwrap();
    Some(tar)
}
