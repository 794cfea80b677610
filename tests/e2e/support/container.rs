//! What containers leave to the programs in them, without a container: a store on an overlay, a
//! `/proc` with parts covered, few capabilities.

use std::path::Path;
use std::process::Command;

use super::find;

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Container {
    /// Parts of `/proc` are covered, so that the kernel mounts no new one in user namespaces.
    pub(crate) covers_proc: bool,
    /// Root has only the capabilities that Docker leaves.
    pub(crate) few_capabilities: bool,
    /// Nobody may make user namespaces.
    pub(crate) no_namespaces: bool,
}

/// As `docker run` does it.
const CAPABILITIES: &str = "--bounding-set=-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,\
                            +setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

impl Container {
    /// Tells whether these tests can make one.
    pub(crate) fn is_possible() -> bool {
        super::is_root() && find("unshare").is_some() && find("setpriv").is_some()
    }

    /// Puts a command inside; `dir` has the store, which is an overlay there, and the same one for
    /// every command.
    pub(crate) fn wrap(self, inner: &Command, dir: &Path) -> Command {
        let mut command = Command::new("unshare");
        if self.no_namespaces {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-ec", &self.script(dir), "sh"]);
        if self.few_capabilities {
            command.args(["setpriv", CAPABILITIES]);
        }
        command.arg(inner.get_program()).args(inner.get_args());
        command
    }

    fn script(self, dir: &Path) -> String {
        let dir = dir.display();
        let store = if self.no_namespaces {
            "echo 0 > /proc/sys/user/max_user_namespaces\n".to_owned()
        } else {
            format!(
                "test -d {dir}/upper || {{ mkdir {dir}/lower {dir}/work; cp -a {dir}/store {dir}/upper; }}\n\
                 mount -t overlay overlay -o lowerdir={dir}/lower,upperdir={dir}/upper,workdir={dir}/work {dir}/store\n"
            )
        };
        let covers = if self.covers_proc { COVERS } else { "" };
        format!("{store}{covers}exec \"$@\"\n")
    }
}

/// What stands in Docker's way to parts of `/proc`, more or less.
const COVERS: &str = "\
mount -t tmpfs -o ro tmpfs /proc/irq
mount --bind /dev/null /proc/interrupts
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
";
