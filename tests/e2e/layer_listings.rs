//! The layers of golden cases, entry by entry: `layers.txt` in `tests/golden/cases/*`.
//!
//! `SNAPSHOTS=overwrite` writes them anew.

use std::fmt::Write as _;
use std::process::Command;

use snapbox::{Assert, Data};

use crate::support::run::Run;
use crate::support::{TestEnv, bases, need, repository};

/// Builds a case on its `context` folder and compares its layers, without the base's.
#[track_caller]
fn check(name: &str, base_layers: usize) {
    let case = repository().join("tests/golden/cases").join(name);
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let context = env.context("files", &[]);
    if case.join("context").is_dir() {
        // Modes of a checkout depend on its owner's umask.
        let script = "cp -r \"$0/.\" \"$1\" && chmod -R u=rwX,go=rX \"$1\"";
        let mut copy = Command::new("sh");
        Run::of(
            copy.args(["-c", script])
                .arg(case.join("context"))
                .arg(&context),
        )
        .ok();
    }
    let image = env.build_image(&context, &["-f", case.join("Dockerfile").to_str().unwrap()]);
    let mut listing = String::new();
    for (number, layer) in image.layers.iter().enumerate().skip(base_layers) {
        writeln!(listing, "layer {number}").unwrap();
        for entry in layer {
            // Times are the checkout's, so they are left out.
            writeln!(listing, "  {}", entry.summary()).unwrap();
        }
    }
    let expected = Data::read_from(&case.join("layers.txt"), None).raw();
    Assert::new().action_env("SNAPSHOTS").eq(listing, expected);
}

#[test]
fn of_files_alone() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    check("scratch-layers", 0);
}

#[test]
fn of_commands() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    check("run-layers", 1);
}
