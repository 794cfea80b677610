//! Build checks of `FROM` lines: what the arguments there are, and what they would be without
//! anything from the command line. Those of other instructions are beside their lowering.

pub(crate) mod messages;

use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_parser::ast::{Dockerfile, Word};
use rbuild_parser::expand::Expansion;

use crate::env::Env;
use crate::findings::{Budget, Findings};
use crate::global::Global;
use crate::request::Request;
use crate::words::Expander;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// Checks that every base is an image's or a stage's name if no build argument replaces a default.
pub(crate) fn check_defaults(
    dockerfile: &Dockerfile,
    request: &Request,
    target: &Platform,
    findings: &mut Findings,
) {
    if !findings.wants_warnings() {
        return;
    }
    let mut budget = Budget::default();
    // What is wrong with the defaults themselves is said where they are used.
    let Some(env) = Global::of_defaults(dockerfile, request, target, &mut budget) else {
        return;
    };
    for stage in &dockerfile.stages {
        let base = &stage.from.base;
        let mut expander = Expander {
            env: &env,
            escape: dockerfile.escape,
            budget: &mut budget,
        };
        let Ok(expansion) = expander.one(base) else {
            return;
        };
        if Reference::parse(&expansion.text).is_err() {
            findings.report(messages::default_of_base(&base.value, base.span));
        }
    }
}

/// Checks a `--platform`: it should neither say what is so anyway nor be the same in every build.
pub(crate) fn check_platform(
    word: &Word,
    expansion: &Expansion,
    stage: Option<&str>,
    env: &Env,
    findings: &mut Findings,
) {
    if !expansion.undefined.is_empty() {
        return;
    }
    match expansion.used.as_slice() {
        [] => {
            let Ok(platform) = Platform::parse(&expansion.text) else {
                return;
            };
            let platform = platform.normalized();
            let stage = stage.unwrap_or_default();
            if !stage.contains(&platform.os) && !stage.contains(&platform.architecture) {
                findings.report(messages::constant_platform(&expansion.text, word.span));
            }
        }
        [name] if name == TARGET_PLATFORM && env.get(name) == Some(&expansion.text) => {
            findings.report(messages::redundant_platform(&word.value, word.span));
        }
        _ => {}
    }
}
