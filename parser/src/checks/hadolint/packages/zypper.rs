//! zypper.

use super::{super::super::shell::Command, Found, is_path};

const CACHE: &str = "/var/cache/zypp";

const WITH_VALUE: [&str; 10] = [
    "-t",
    "--type",
    "-r",
    "--repo",
    "--from",
    "-C",
    "--capability",
    "-R",
    "--root",
    "--download",
];

pub(super) fn check(found: &mut Found<'_>) {
    let is_clean = found.run.keeps_out(CACHE)
        || found.run.commands().any(|(_, command)| {
            let is_cleaning = command.has_argument("clean") || command.has_argument("cc");
            let removes = command
                .arguments()
                .iter()
                .any(|word| word.text.starts_with(CACHE));
            match command.name() {
                "zypper" => is_cleaning,
                "rm" => removes,
                _ => false,
            }
        });
    for (text, command) in found.run.called("zypper") {
        let mut operands = command.operands(&WITH_VALUE);
        let Some(subcommand) = operands.next() else {
            continue;
        };
        let subcommand = subcommand.text.as_str();
        let installs = matches!(subcommand, "install" | "in");
        let changes = matches!(
            subcommand,
            "remove" | "rm" | "source-install" | "si" | "patch"
        );
        if (installs || changes) && !answers_itself(command) {
            found.command(
                "DL3034",
                text,
                command,
                "zypper will ask, and nobody can answer",
            );
            found.insert("DL3034", text, command.words.first(), "--non-interactive");
        }
        if matches!(subcommand, "dist-upgrade" | "dup") {
            found.command(
                "DL3035",
                text,
                command,
                "the base image's release is changed",
            );
        }
        if installs {
            let is_pattern = matches!(command.option_value(&["-t", "--type"]), Some("pattern"));
            let unpinned = operands.filter(|package| {
                let name = package.text.as_str();
                !(is_pattern
                    || name.contains(['=', '<', '>', '~'])
                    || name.ends_with(".rpm")
                    || is_path(name))
            });
            found.unpinned("DL3037", text, unpinned);
            if !is_clean {
                found.command("DL3036", text, command, "zypper's cache stays in the layer");
            }
        }
    }
}

fn answers_itself(command: &Command) -> bool {
    command.has_short('n')
        || command.has_short('y')
        || command.has_long("non-interactive")
        || command.has_long("no-confirm")
}
