//! apk.

use super::{Found, packages_of};

const WITH_VALUE: [&str; 14] = [
    "-t",
    "--virtual",
    "-X",
    "--repository",
    "--repositories-file",
    "--keys-dir",
    "--arch",
    "-p",
    "--root",
    "--cache-dir",
    "--cache-max-age",
    "--wait",
    "--progress-fd",
    "--timeout",
];

pub(super) fn check(found: &mut Found<'_>) {
    let is_cache_outside =
        found.run.keeps_out("/var/cache/apk") || found.run.keeps_out("/etc/apk/cache");
    for (text, command) in found.run.called("apk") {
        let Some(packages) = packages_of(command, &["add"], &WITH_VALUE) else {
            continue;
        };
        let unpinned = packages.into_iter().filter(|package| {
            let name = package.text.as_str();
            !(name.contains(['=', '<', '>', '~', '/'])
                || name.ends_with(".apk")
                || name.starts_with('!'))
        });
        found.unpinned("DL3018", text, unpinned);
        if !command.has_long("no-cache") && !is_cache_outside {
            found.command("DL3019", text, command, "apk's cache stays in the layer");
            let subcommand = command.operands(&WITH_VALUE).next();
            found.insert("DL3019", text, subcommand, "--no-cache");
        }
    }
}
