//! `RUN` steps for other processor architectures: by QEMU, which the kernel is told about when the
//! first such step runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rbuild_image::platform::Platform;
use rbuild_planner::{Plan, StepKind};
use rbuild_sandbox::{
    Architecture, Binfmt, Entered, MAX_AFTER, MachineRules, QemuDirs, Remains, Running,
    SandboxError, Spec, StepGroup, Surroundings, Zygote,
};

use crate::error::StepError;
use crate::snapshot::Sandbox;

/// How programs of other architectures are run in a build.
#[derive(Debug, Default)]
pub(crate) struct Emulation {
    /// The kernel's rules for this build; without them the machine's hold.
    rules: Option<Binfmt>,
    /// Why there is no emulator for an architecture, by its name. Its steps run all the same: the
    /// machine may have rules that cannot be seen from here, as in most containers.
    missing: BTreeMap<&'static str, String>,
}

impl Emulation {
    fn prepare(
        zygote: &Zygote,
        entered: &Entered,
        qemu: &QemuDirs,
        wanted: &[&'static Architecture],
    ) -> Self {
        let machine = if qemu.is_chosen() {
            MachineRules::default()
        } else {
            MachineRules::look()
        };
        let mut emulation = Self::default();
        let mut emulators: Vec<(&Architecture, PathBuf)> = Vec::new();
        let mut needs_rules = false;
        for architecture in wanted {
            let by_machine = machine.emulator(architecture);
            match (qemu.find(architecture), by_machine) {
                (Ok(path), _) => {
                    needs_rules |= by_machine.is_none();
                    emulators.push((architecture, path));
                }
                // Our rules would replace the machine's.
                (Err(_), Some(path)) => emulators.push((architecture, path.to_owned())),
                (Err(reason), None) => {
                    emulation.missing.insert(architecture.name(), reason);
                }
            }
        }
        if !needs_rules {
            return emulation;
        }
        let rules = match zygote.binfmt(entered) {
            Ok(rules) => rules,
            Err(error) => {
                for (architecture, _) in emulators {
                    if machine.emulator(architecture).is_none() {
                        emulation.missing.insert(architecture.name(), told(&error));
                    }
                }
                return emulation;
            }
        };
        for (architecture, path) in emulators {
            if let Err(error) = rules.register(architecture, &path) {
                emulation.missing.insert(architecture.name(), told(&error));
            }
        }
        emulation.rules = Some(rules);
        emulation
    }
}

/// An error in full sentences.
fn told(error: &SandboxError) -> String {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let help = error.help().map(|help| format!(" {help}"));
    format!("This process {error}{cause}.{}", help.unwrap_or_default())
}

/// The architecture of a platform, if this machine's processor does not run it by itself.
fn foreign(platform: &Platform) -> Option<&'static Architecture> {
    let platform = platform.normalized();
    Architecture::named(&platform.architecture).filter(|found| !found.is_native())
}

impl Sandbox {
    /// Starts a step's process for a platform, in the control group if there is one.
    pub(crate) fn spawn(
        &self,
        plan: &Plan,
        platform: &Platform,
        (spec, group): (&Spec, Option<&StepGroup>),
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<(Running, Vec<Remains>), StepError> {
        let rules = match foreign(platform) {
            Some(_) => self.emulation(plan).rules.as_ref(),
            None => None,
        };
        let mut leaving = self.leaving();
        leaving.truncate(MAX_AFTER); // it waits for the others
        let surroundings = Surroundings {
            group,
            binfmt: rules,
            after: &leaving,
        };
        let running = self.zygote.spawn_in(surroundings, spec, stdout, stderr)?;
        Ok((running, leaving))
    }

    /// Says more about a process that could not be run where that is because of its platform.
    pub(crate) fn explain(
        &self,
        plan: &Plan,
        platform: &Platform,
        error: SandboxError,
    ) -> StepError {
        const WRONG_FORMAT: i32 = 8; // ENOEXEC
        let SandboxError::Exec { program, source } = &error else {
            return error.into();
        };
        let reason = foreign(platform)
            .filter(|_| source.raw_os_error() == Some(WRONG_FORMAT))
            .and_then(|architecture| self.emulation(plan).missing.get(architecture.name()));
        match reason {
            Some(reason) => StepError::NoEmulator {
                program: program.clone(),
                platform: platform.to_string(),
                reason: reason.clone(),
            },
            None => error.into(),
        }
    }

    /// For all the steps of a plan at once: rules that come later would leave the steps that run
    /// by then without the machine's.
    fn emulation(&self, plan: &Plan) -> &Emulation {
        self.emulation.get_or_init(|| {
            let runs = plan
                .steps()
                .map(|id| plan.step(id))
                .filter(|step| matches!(step.kind, StepKind::Run(_)));
            let names: BTreeSet<_> = runs
                .filter_map(|step| Some(foreign(&step.platform)?.name()))
                .collect();
            let wanted: Vec<_> = names.into_iter().filter_map(Architecture::named).collect();
            Emulation::prepare(&self.zygote, &self.entered, &self.qemu, &wanted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_architectures() {
        let name = |text: &str| Some(foreign(&Platform::parse(text).unwrap())?.name());
        assert_eq!(name("linux/s390x"), Some("s390x"));
        assert_eq!(name("linux/mips64le"), Some("mips64le"));
        assert_eq!(name(&Platform::host().to_string()), None);
        assert_eq!(name("linux/wasm"), None);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(name("linux/arm/v7"), Some("arm"));
            assert_eq!(name("linux/aarch64"), Some("arm64"));
            assert_eq!((name("linux/amd64/v3"), name("linux/386")), (None, None));
        }
    }
}
