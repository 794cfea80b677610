//! `--change`: instructions that only say something about an image, applied to an empty config.

use rbuild_image::config::RunConfig;
use rbuild_image::platform::Platform;
use rbuild_parser::ast::{Dockerfile, InstructionKind};
use rbuild_planner::{BaseImages, Planned, Request, plan};

use crate::report::{Failure, Source};

/// Stands before the changes, so that they make a stage.
const HEAD: &str = "FROM scratch\n";

/// Returns what instructions make of the config of an image without any.
pub(super) fn apply(changes: &[String], platform: &Platform) -> Result<RunConfig, Failure> {
    if changes.is_empty() {
        return Ok(RunConfig::default());
    }
    if changes.iter().any(|change| change.trim().is_empty()) {
        return Err(Failure::message("a change is empty"));
    }
    let text = format!("{HEAD}{}\n", changes.join("\n"));
    let source = Source {
        name: "--change".to_owned(),
        text: text.into_bytes(),
    };
    let parsed = rbuild_parser::parse(&source.text);
    if parsed.has_errors() {
        return Err(Failure::Source(source, parsed.diagnostics));
    }
    check(&parsed.dockerfile)?;
    let request = Request {
        platforms: vec![platform.clone()],
        ..Request::new(Platform::host())
    };
    let mut planned = match plan(&parsed.dockerfile, &request, &BaseImages::new()) {
        Planned::Ready(planned) => planned,
        Planned::Failed(diagnostics) => return Err(Failure::Source(source, diagnostics)),
        Planned::Needs(_) => return Err(Failure::message("a change names another image")),
    };
    let target = planned.targets.pop();
    let mut config = target.map_or_else(RunConfig::default, |target| target.config.config);
    leave_out_defaults(&mut config, &parsed.dockerfile);
    if platform.os != "windows" {
        // Only there it means something; builds set it everywhere because BuildKit does.
        config.args_escaped = None;
    }
    Ok(config)
}

fn check(dockerfile: &Dockerfile) -> Result<(), Failure> {
    let further = dockerfile.stages.iter().skip(1).map(|stage| &stage.head);
    let instructions = dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions);
    let refused = instructions
        .filter(|instruction| !is_allowed(&instruction.kind))
        .map(|instruction| &instruction.head);
    match further.chain(refused).next() {
        None => Ok(()),
        Some(head) => Err(Failure::with_help(
            format!("{} is not a valid change command", head.keyword.value),
            "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are",
        )),
    }
}

/// What only changes the config; Docker allows the same.
const fn is_allowed(kind: &InstructionKind) -> bool {
    matches!(
        kind,
        InstructionKind::Cmd(_)
            | InstructionKind::Entrypoint(_)
            | InstructionKind::Env(_)
            | InstructionKind::Expose(_)
            | InstructionKind::Healthcheck(_)
            | InstructionKind::Label(_)
            | InstructionKind::Onbuild(_)
            | InstructionKind::StopSignal(_)
            | InstructionKind::User(_)
            | InstructionKind::Volume(_)
            | InstructionKind::Workdir(_)
    )
}

/// A build upon nothing sets `PATH` and a working directory; an import does not.
fn leave_out_defaults(config: &mut RunConfig, dockerfile: &Dockerfile) {
    let instructions = dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions);
    let (mut sets_path, mut sets_workdir) = (false, false);
    for instruction in instructions {
        match &instruction.kind {
            InstructionKind::Env(env) => {
                sets_path |= env.pairs.iter().any(|(key, _)| key.value == "PATH");
            }
            InstructionKind::Workdir(_) => sets_workdir = true,
            _ => {}
        }
    }
    if !sets_path && let Some(env) = &mut config.env {
        env.retain(|variable| !variable.starts_with("PATH="));
        if env.is_empty() {
            config.env = None;
        }
    }
    if !sets_workdir {
        config.working_dir = None;
    }
}
