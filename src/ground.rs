//! The ground that steps stand on: namespaces, the helper process, emulators.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rbuild_executor::Sandbox;
use rbuild_sandbox::{
    Cgroups, Isolation, MAX_TASKS, Mode, Privileges, QemuDirs, SandboxError, StepLimits, Zygote,
    enter, hide_memory,
};

use crate::report::{self, Failure};
use crate::run_options::RunArguments;

/// What of the command line is about where `RUN` steps run.
#[derive(Debug, Args)]
pub(crate) struct SandboxArguments {
    /// How RUN steps are isolated
    #[arg(
        long,
        value_name = "MODE",
        default_value = "auto",
        env = "RBUILD_ISOLATION",
        hide_env_values = true
    )]
    pub(crate) isolation: IsolationMode,
    /// Folder with static builds of QEMU for other architectures (default: the system's)
    #[arg(long, value_name = "DIR", env = "RBUILD_QEMU", hide_env_values = true)]
    pub(crate) qemu: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationMode {
    /// The first of the others that this process can have
    #[value(aliases = ["default", ""])]
    Auto,
    /// No user namespace; for root
    Root,
    /// A user namespace with all ids; for root without CAP_SYS_ADMIN, as in containers
    Identity,
    /// A user namespace with the ids of /etc/subuid and /etc/subgid
    #[value(alias = "rootless")]
    SubordinateIds,
    /// A user namespace with one id
    SingleId,
}

impl SandboxArguments {
    /// Where emulators are looked for.
    pub(crate) fn qemu_dirs(&self) -> Result<QemuDirs, Failure> {
        let chosen = self.qemu.as_ref();
        match chosen.filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) if dir.is_dir() => Ok(QemuDirs::chosen(dir.clone())),
            Some(dir) => {
                let text = format!("--qemu: there is no folder {}", dir.display());
                Err(Failure::Usage(text))
            }
            None => Ok(QemuDirs::of_system()),
        }
    }
}

impl From<IsolationMode> for Isolation {
    fn from(mode: IsolationMode) -> Self {
        match mode {
            IsolationMode::Auto => Self::Auto,
            IsolationMode::Root => Self::Root,
            IsolationMode::Identity => Self::Identity,
            IsolationMode::SubordinateIds => Self::SubordinateIds,
            IsolationMode::SingleId => Self::SingleId,
        }
    }
}

/// Namespaces and the helper process, or why there are none.
pub(crate) struct Ground {
    sandbox: Result<Sandbox, String>,
}

impl Ground {
    /// Enters namespaces. To be called while this process has one thread.
    ///
    /// Without them, builds that have no `RUN` to carry out still work; an isolation that was asked
    /// for by name must be there.
    pub(crate) fn enter(
        options: &SandboxArguments,
        privileges: Privileges,
    ) -> Result<Self, Failure> {
        let qemu = options.qemu_dirs()?;
        let sandbox = enter(options.isolation.into())
            .and_then(|entered| Ok(Sandbox::new(entered, Zygote::start_for(privileges)?, qemu)));
        // From here on there are secrets and passwords.
        hide_memory()?;
        match sandbox {
            Ok(sandbox) => Ok(Self {
                sandbox: Ok(sandbox),
            }),
            Err(error) if options.isolation == IsolationMode::Auto => Ok(Self {
                sandbox: Err(told(&error)),
            }),
            Err(error) => Err(match error.help() {
                Some(help) => Failure::with_help(report::chain(&error), help),
                None => error.into(),
            }),
        }
    }

    /// Has each step run in a control group of its own with the limits of the command line, if there
    /// are any. What was asked for and cannot be had is an error.
    pub(crate) fn limit(&mut self, options: &RunArguments) -> Result<(), Failure> {
        let limits = options.groups.parse()?;
        let parent = options.cgroup_parent.as_deref();
        let Ok(sandbox) = &mut self.sandbox else {
            return Ok(()); // nothing will run
        };
        if parent.is_none() && limits.is_empty() {
            if !sandbox.zygote.bounds_tasks() {
                // Nobody asked, but a fork bomb should not get hold of the machine where that can be helped.
                let tasks = Some(MAX_TASKS);
                let limits = StepLimits { tasks, ..limits };
                sandbox.cgroups = Cgroups::find(None, limits, &sandbox.zygote).ok();
            }
            return Ok(());
        }
        let found = Cgroups::find(parent, limits, &sandbox.zygote);
        sandbox.cgroups = Some(found.map_err(|error| match error.help() {
            Some(help) => Failure::with_help(report::chain(&error), help),
            None => Failure::message(report::chain(&error)),
        })?);
        Ok(())
    }

    /// What steps run in, or why they cannot.
    pub(crate) fn sandbox(&self) -> Result<&Sandbox, String> {
        self.sandbox.as_ref().map_err(Clone::clone)
    }

    /// What this process is root of; without a sandbox, of nothing.
    pub(crate) fn mode(&self) -> Mode {
        match &self.sandbox {
            Ok(sandbox) => sandbox.entered.mode,
            Err(_) if rustix::process::geteuid().is_root() => Mode::Root,
            Err(_) => Mode::SingleId,
        }
    }
}

/// An error with what to do about it.
pub(crate) fn told(error: &SandboxError) -> String {
    let help = error.help().map(|help| format!("\n{help}"));
    report::chain(error) + &help.unwrap_or_default()
}
