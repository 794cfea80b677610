//! npm, yarn, gem, go.

use super::{super::super::shell::Word, Found, packages_of};

const NPM_WITH_VALUE: [&str; 10] = [
    "--registry",
    "--prefix",
    "--loglevel",
    "--cache",
    "--tag",
    "--userconfig",
    "-w",
    "--workspace",
    "--omit",
    "--include",
];

const GEM_WITH_VALUE: [&str; 11] = [
    "-v",
    "--version",
    "-i",
    "--install-dir",
    "-n",
    "--bindir",
    "-s",
    "--source",
    "-P",
    "--platform",
    "--trust-policy",
];

const GO_WITH_VALUE: [&str; 10] = [
    "-C",
    "-p",
    "-asmflags",
    "-gcflags",
    "-ldflags",
    "-mod",
    "-o",
    "-tags",
    "-toolexec",
    "-overlay",
];

pub(super) fn check(found: &mut Found<'_>) {
    npm(found);
    yarn(found);
    gem(found);
    go(found);
}

fn npm(found: &mut Found<'_>) {
    for (text, command) in found.run.called("npm") {
        let Some(packages) = packages_of(command, &["install", "i", "add"], &NPM_WITH_VALUE) else {
            continue;
        };
        let unpinned = packages
            .into_iter()
            .filter(|package| !is_npm_pinned(&package.text));
        found.unpinned("DL3016", text, unpinned);
    }
}

fn is_npm_pinned(package: &str) -> bool {
    let is_file = package.starts_with(['.', '/', '~'])
        || [".tgz", ".tar.gz", ".tar"]
            .iter()
            .any(|end| package.ends_with(end));
    let is_repository = package.contains("://") || package.contains("github:");
    if is_repository && !is_file {
        return package.contains('#');
    }
    // The `@` of a scope is no version.
    is_file || package.get(1..).is_some_and(|rest| rest.contains('@'))
}

fn yarn(found: &mut Found<'_>) {
    if found
        .run
        .has_mount(|target| target.contains("yarn") || target.ends_with("/.cache"))
    {
        return;
    }
    let cleaned = found
        .run
        .called("yarn")
        .filter(|(_, command)| command.has_argument("cache") && command.has_argument("clean"))
        .map(|(_, command)| command.range().start)
        .max();
    for (text, command) in found.run.called("yarn") {
        let is_cleaned = cleaned.is_some_and(|place| place > command.range().start);
        if command.has_argument("install") && !is_cleaned {
            found.command("DL3060", text, command, "yarn's cache stays in the layer");
        }
    }
}

fn gem(found: &mut Found<'_>) {
    for (text, command) in found.run.called("gem") {
        let Some(packages) = packages_of(command, &["install", "i"], &GEM_WITH_VALUE) else {
            continue;
        };
        let has_version = command.has_long("version")
            || command
                .short_clusters()
                .any(|cluster| cluster.starts_with('v'));
        if has_version {
            continue;
        }
        // What follows `--` is for the gem's own build.
        let build_options = command.arguments().iter().find(|word| word.text == "--");
        let end = build_options.map_or(usize::MAX, |word| word.range.start);
        let unpinned = packages.into_iter().filter(|package| {
            package.range.start < end
                && !package.text.contains(':')
                && !package.text.ends_with(".gem")
        });
        found.unpinned("DL3028", text, unpinned);
    }
}

fn go(found: &mut Found<'_>) {
    for (text, command) in found.run.called("go") {
        let subcommands = ["install", "get", "run"];
        let Some(packages) = packages_of(command, &subcommands, &GO_WITH_VALUE) else {
            continue;
        };
        let is_run = command
            .operands(&GO_WITH_VALUE)
            .next()
            .is_some_and(|word| word.text == "run");
        // What follows the package is for the program.
        let n_packages = if is_run { 1 } else { packages.len() };
        let unpinned = packages
            .into_iter()
            .take(n_packages)
            .filter(|package| !is_go_pinned(package));
        found.unpinned("DL3062", text, unpinned);
    }
}

fn is_go_pinned(package: &Word) -> bool {
    match package.text.split_once('@') {
        Some((_, version)) => version != "latest",
        None => package.text.starts_with(['.', '/']) || package.text.ends_with(".go"),
    }
}
