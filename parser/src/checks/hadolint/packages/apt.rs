//! apt-get.

use super::{super::super::shell::Command, Found, packages_of};
use crate::checks::hadolint::{
    findings::Findings,
    model::{Model, RunModel},
};

const WITH_VALUE: [&str; 9] = [
    "-t",
    "--target-release",
    "--default-release",
    "-o",
    "--option",
    "-c",
    "--config-file",
    "-a",
    "--host-architecture",
];

/// Where the lists are.
const LISTS: &str = "/var/lib/apt/lists";

pub(super) fn check(found: &mut Found<'_>) {
    for (text, command) in found.run.called("apt-get") {
        let Some(packages) = packages_of(command, &["install"], &WITH_VALUE) else {
            continue;
        };
        let subcommand = command.operands(&WITH_VALUE).next();
        let unpinned = packages.into_iter().filter(|package| {
            !(package.text.contains(['=', '/']) || package.text.ends_with(".deb"))
        });
        found.unpinned("DL3008", text, unpinned);
        if !answers_itself(command) {
            found.command(
                "DL3014",
                text,
                command,
                "apt-get will ask, and nobody can answer",
            );
            found.insert("DL3014", text, subcommand, "-y");
        }
        if !leaves_out_recommended(command) {
            found.command(
                "DL3015",
                text,
                command,
                "packages that are only recommended come too",
            );
            found.insert("DL3015", text, subcommand, "--no-install-recommends");
        }
    }
}

fn options(command: &Command) -> impl Iterator<Item = (&str, &str)> {
    command.arguments().iter().filter_map(|word| {
        let option = word
            .text
            .trim_start_matches("-o=")
            .trim_start_matches("--option=");
        option.split_once('=')
    })
}

fn is_set(command: &Command, option: &str, values: &[&str]) -> bool {
    options(command).any(|(name, value)| {
        name.eq_ignore_ascii_case(option) && values.contains(&value.to_ascii_lowercase().as_str())
    })
}

fn answers_itself(command: &Command) -> bool {
    let n_quiet = command.count_short('q')
        + command
            .long_options()
            .filter(|(name, _)| *name == "quiet")
            .count();
    command.has_short('y')
        || ["yes", "assume-yes", "force-yes"]
            .iter()
            .any(|name| command.has_long(name))
        || n_quiet >= 2
        || command.has_argument("-q=2")
        || command.has_argument("--quiet=2")
        || is_set(command, "APT::Get::Assume-Yes", &["true", "1", "yes"])
}

fn leaves_out_recommended(command: &Command) -> bool {
    command.has_long("no-install-recommends")
        || is_set(
            command,
            "APT::Install-Recommends",
            &["false", "0", "no", "off"],
        )
}

/// Finds `apt-get update` whose lists stay in the image. What is in a stage that only files are
/// copied from does not count.
pub(super) fn lists(model: &Model<'_>, findings: &mut Findings) {
    let is_base = model.is_base();
    let last = model.stages.len().saturating_sub(1);
    for (index, stage) in model.stages.iter().enumerate() {
        if index != last && !is_base[index] {
            continue;
        }
        for run in &stage.runs {
            if run.keeps_out(LISTS) || removes_lists(run) {
                continue;
            }
            for (text, command) in run.commands() {
                if matches!(command.name(), "apt-get" | "apt") && command.has_argument("update") {
                    let place = text.span(command.range());
                    let message = "the lists of packages stay in the layer";
                    findings.add("DL3009", run.instruction, place, message);
                }
            }
        }
    }
}

fn removes_lists(run: &RunModel) -> bool {
    run.commands().any(|(_, command)| {
        matches!(command.name(), "rm" | "find" | "cd")
            && command.arguments().iter().any(|word| {
                let path = word.text.trim_end_matches(['*', '/']);
                path.starts_with(LISTS) || path == "/var/lib/apt"
            })
    })
}
