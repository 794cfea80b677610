//! yum and dnf.

use super::{super::super::shell::Command, Found, is_path};
use crate::checks::hadolint::model::RunModel;

/// A package manager and its rules.
struct Manager {
    names: &'static [&'static str],
    asks: &'static str,
    keeps_cache: &'static str,
    unpinned: &'static str,
    /// What fills the cache.
    fills_cache: &'static [&'static str],
    caches: &'static [&'static str],
}

const MANAGERS: [Manager; 2] = [
    Manager {
        names: &["yum"],
        asks: "DL3030",
        keeps_cache: "DL3032",
        unpinned: "DL3033",
        fills_cache: &["install"],
        caches: &["/var/cache/yum"],
    },
    Manager {
        names: &["dnf", "microdnf", "dnf5"],
        asks: "DL3038",
        keeps_cache: "DL3040",
        unpinned: "DL3041",
        fills_cache: &["install", "reinstall", "upgrade"],
        caches: &["/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum"],
    },
];

const WITH_VALUE: [&str; 10] = [
    "-c",
    "--config",
    "--enablerepo",
    "--disablerepo",
    "--repo",
    "--installroot",
    "--releasever",
    "-x",
    "--exclude",
    "--setopt",
];

pub(super) fn check(found: &mut Found<'_>) {
    for manager in &MANAGERS {
        let is_clean = manager.is_cleaned(found.run);
        for (text, command) in found.run.commands() {
            if !manager.names.contains(&command.name()) {
                continue;
            }
            let mut operands = command.operands(&WITH_VALUE).peekable();
            let Some(subcommand) = operands.next() else {
                continue;
            };
            let mut subcommand = subcommand.text.as_str();
            let is_module = subcommand == "module";
            if is_module {
                subcommand = operands.next().map_or("", |word| word.text.as_str());
            }
            if matches!(subcommand, "install" | "groupinstall" | "localinstall")
                && !(command.has_short('y') || command.has_long("assumeyes"))
            {
                let message = format!("{} will ask, and nobody can answer", command.name());
                found.command(manager.asks, text, command, &message);
                found.insert(manager.asks, text, command.words.first(), "-y");
            }
            if subcommand == "install" {
                let is_pinned = |name: &str| match is_module {
                    true => name.contains(':'),
                    false => has_version(name),
                };
                let unpinned = operands.filter(|package| !is_pinned(&package.text));
                found.unpinned(manager.unpinned, text, unpinned);
            }
            if manager.fills_cache.contains(&subcommand) && !is_module && !is_clean {
                let message = format!("{}'s cache stays in the layer", command.name());
                found.command(manager.keeps_cache, text, command, &message);
            }
        }
    }
}

/// Tells whether `-` and a version follow the name, or whether it needs none: a file, a group.
fn has_version(name: &str) -> bool {
    let is_versioned = name
        .split('-')
        .skip(1)
        .any(|part| part.starts_with(|c: char| c.is_ascii_digit() || c == '$'));
    is_versioned || is_path(name) || name.ends_with(".rpm") || name.starts_with('@')
}

impl Manager {
    fn is_cleaned(&self, run: &RunModel) -> bool {
        let cleans = |command: &Command| {
            if self.names.contains(&command.name()) {
                return command.has_argument("clean");
            }
            command.name() == "rm"
                && command.arguments().iter().any(|word| {
                    let path = word.text.trim_end_matches(['*', '/']);
                    self.caches.contains(&path) || path == "/var/cache"
                })
        };
        self.caches.iter().any(|cache| run.keeps_out(cache))
            || run.commands().any(|(_, command)| cleans(command))
    }
}
