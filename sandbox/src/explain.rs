//! Why a machine refuses user namespaces, and what to do about it.

use std::io;

use crate::error::SandboxError;

/// What is known about the machine.
#[derive(Debug, Default)]
struct Machine {
    /// `user.max_user_namespaces`.
    max_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`.
    unprivileged: Option<u64>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`.
    apparmor: Option<u64>,
    /// Whether a seccomp filter is in force, as in containers.
    filtered: bool,
    /// Whether the kernel has user namespaces at all.
    supported: bool,
}

/// Returns the error with the help that fits this machine.
pub(crate) fn refused(step: &str, source: io::Error) -> SandboxError {
    let help = Machine::look().help(source.raw_os_error().unwrap_or(0));
    SandboxError::Refused {
        step: step.to_owned(),
        help,
        source,
    }
}

/// Returns the error for a machine that has no `binfmt_misc` of one's own.
pub(crate) fn no_binfmt(source: io::Error) -> SandboxError {
    let help = match source.raw_os_error() {
        Some(libc::ENODEV) => {
            "This kernel has no binfmt_misc. Load it with `sudo modprobe binfmt_misc`."
        }
        _ => BINFMT_HELP,
    };
    SandboxError::Refused {
        step: String::from("tell the kernel about programs of other architectures"),
        help: String::from(help),
        source,
    }
}

const BINFMT_HELP: &str = "\
Builds can do that by themselves from Linux 6.7 on. Before, QEMU has to be made known to the whole machine once, for \
example with `sudo apt-get install qemu-user-static binfmt-support` or \
`docker run --privileged --rm tonistiigi/binfmt --install all`.";

impl Machine {
    fn look() -> Self {
        let number = |path: &str| fs_err::read_to_string(path).ok()?.trim().parse().ok();
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            max_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            filtered: status.lines().any(|line| {
                line.strip_prefix("Seccomp:")
                    .is_some_and(|mode| mode.trim() == "2")
            }),
            supported: rustix::fs::stat("/proc/self/ns/user").is_ok(),
        }
    }

    fn help(&self, errno: i32) -> String {
        if !self.supported {
            return String::from(
                "This kernel has no user namespaces (CONFIG_USER_NS). Run rbuild as root, or use another kernel.",
            );
        }
        if self.max_namespaces == Some(0) || errno == libc::ENOSPC || errno == libc::EUSERS {
            return String::from(
                "User namespaces are switched off or used up here. Allow more with \
                 `sudo sysctl -w user.max_user_namespaces=28633`.",
            );
        }
        if self.unprivileged == Some(0) {
            return String::from(
                "User namespaces are only for root here. Allow them to everybody with \
                 `sudo sysctl -w kernel.unprivileged_userns_clone=1`.",
            );
        }
        if self.apparmor.is_some_and(|value| value != 0) {
            return String::from(APPARMOR_HELP);
        }
        if self.filtered {
            return String::from(
                "A seccomp filter is in force, so this is probably a container. Start it with \
                 `--security-opt seccomp=unconfined --security-opt apparmor=unconfined \
                 --security-opt systempaths=unconfined` (docker) or `--security-opt seccomp=unconfined \
                 --security-opt unmask=ALL` (podman), or with `--privileged`.",
            );
        }
        String::from(
            "Something here forbids it: a security module, a container, or a policy of the system. Running rbuild \
             as root may help.",
        )
    }
}

const APPARMOR_HELP: &str = "\
AppArmor allows user namespaces only to programs it knows. Either make rbuild known to it:
  printf 'abi <abi/4.0>,\\nprofile rbuild %s flags=(unconfined) {\\n  userns,\\n}\\n' \"$(command -v rbuild)\" \
| sudo tee /etc/apparmor.d/rbuild
  sudo apparmor_parser -r /etc/apparmor.d/rbuild
or allow them to every program with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_reason_has_its_fix() {
        let machine = || Machine {
            supported: true,
            ..Machine::default()
        };
        let check = |machine: Machine, errno: i32, fix: &str| {
            let help = machine.help(errno);
            assert!(help.contains(fix), "{help}");
        };
        check(Machine::default(), libc::EINVAL, "CONFIG_USER_NS");
        check(
            Machine {
                max_namespaces: Some(0),
                ..machine()
            },
            libc::ENOSPC,
            "user.max_user_namespaces",
        );
        check(machine(), libc::ENOSPC, "user.max_user_namespaces");
        check(
            Machine {
                unprivileged: Some(0),
                ..machine()
            },
            libc::EPERM,
            "unprivileged_userns_clone=1",
        );
        check(
            Machine {
                apparmor: Some(1),
                ..machine()
            },
            libc::EACCES,
            "/etc/apparmor.d/rbuild",
        );
        check(
            Machine {
                apparmor: Some(0),
                filtered: true,
                ..machine()
            },
            libc::EPERM,
            "seccomp=unconfined",
        );
        check(machine(), libc::EPERM, "as root");
    }
}
