//! Whether overlays can be used on a store's file system: by making one and using it.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

use crate::files::open_directory;
use crate::idmap;
use crate::overlay::Layers;
use crate::spec::Upper;

/// Returns the version of Landlock's interface, 0 if the kernel has none or it is switched off.
#[must_use]
pub fn landlock_abi() -> i64 {
    crate::sys::landlock_abi()
}

/// What overlays are good for in some directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlay {
    /// The kernel's overlays work, with writes, whiteouts and replaced directories.
    Kernel {
        /// Whether they must keep their attributes in `user.overlay.*` (else `trusted.overlay.*`).
        userxattr: bool,
    },
    /// They do not, for this reason.
    None(String),
}

/// Finds out whether upper directories of overlays can be in `store_dir`.
///
/// Makes a small overlay in a directory there, uses it and removes it: about a millisecond. To be called after
/// [`crate::enter`].
#[must_use]
pub fn probe_overlay(store_dir: &Path) -> Overlay {
    let place = store_dir.join(format!(".overlay-probe-{}", rustix::process::getpid()));
    // Left by a process that died here and had the same number.
    drop(fs_err::remove_dir_all(&place));
    let result = fs_err::create_dir(&place)
        .map_err(|error| error.to_string())
        .and_then(|()| {
            let mut reasons = Vec::new();
            // Only the initial user namespace may set trusted attributes.
            let variants: &[bool] = if idmap::initial_user_namespace() {
                &[false, true]
            } else {
                &[true]
            };
            for userxattr in variants {
                match try_overlay(&place, *userxattr) {
                    Ok(()) => return Ok(*userxattr),
                    Err(reason) => reasons.push(reason),
                }
            }
            Err(reasons.swap_remove(0))
        });
    drop(fs_err::remove_dir_all(&place)); // harmless if it stays: the next probe removes it
    match result {
        Ok(userxattr) => Overlay::Kernel { userxattr },
        Err(reason) => Overlay::None(reason),
    }
}

fn try_overlay(place: &Path, userxattr: bool) -> Result<(), String> {
    let base = place.join(if userxattr { "user" } else { "trusted" });
    let said = |error: io::Error| error.to_string();
    let (lower, merged) = (base.join("lower"), base.join("merged"));
    let upper = Upper {
        upper: base.join("upper"),
        work: base.join("work"),
    };
    for directory in [
        &lower.join("replaced/deep"),
        &merged,
        &upper.upper,
        &upper.work,
    ] {
        fs_err::create_dir_all(directory).map_err(said)?;
    }
    fs_err::write(lower.join("removed"), "x").map_err(said)?;
    let told = |failure: crate::status::Failure| {
        format!(
            "cannot {}: {}",
            failure.step,
            io::Error::from_raw_os_error(failure.errno)
        )
    };
    let layers = Layers::open(&[lower], Some(&upper), userxattr).map_err(told)?;
    let parent = open_directory(&base).map_err(told)?;
    let mounted = layers.mount_at(parent.as_fd(), "merged").map_err(told)?;
    let used = use_overlay(&merged);
    drop(mounted);
    unmount(&merged, UnmountFlags::DETACH).map_err(|errno| errno.to_string())?;
    used.map_err(|error| format!("an overlay in {} does not work: {error}", place.display()))
}

/// Does what needs a writable upper layer, whiteouts, and attributes for replaced directories.
fn use_overlay(merged: &Path) -> io::Result<()> {
    let path = |name: &str| -> PathBuf { merged.join(name) };
    fs_err::write(path("new"), "x")?;
    fs_err::remove_file(path("removed"))?;
    fs_err::remove_dir_all(path("replaced"))?;
    fs_err::create_dir(path("replaced"))?;
    if fs_err::symlink_metadata(path("replaced/deep")).is_ok() {
        return Err(io::Error::other("what was removed is still there"));
    }
    Ok(())
}
