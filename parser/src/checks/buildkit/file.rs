//! Rules about the file as a whole.

use std::collections::HashMap;

use super::{
    instructions::{Casing, casing},
    messages,
};
use crate::{
    ast::{Dockerfile, Word},
    diagnostic::Diagnostic,
};

/// Names that mean something else to `FROM` and to named contexts.
const RESERVED: [&str; 2] = ["context", "scratch"];

pub(super) fn check_stage_names(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let mut first_uses = HashMap::new();
    for name in dockerfile
        .stages
        .iter()
        .filter_map(|stage| stage.from.name.as_ref())
    {
        if RESERVED.contains(&name.value.as_str()) {
            findings.push(messages::reserved_stage_name(&name.value, name.span));
        }
        if let Some(earlier) = first_uses.get(name.value.as_str()) {
            let finding = messages::duplicate_stage_name(&name.value, name.span, *earlier);
            findings.push(finding);
        } else {
            first_uses.insert(name.value.as_str(), name.span);
        }
    }
}

/// Checks that all keywords have the case of most of them.
pub(super) fn check_casing(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    let majority = majority_casing(dockerfile);
    let name = match majority {
        Casing::Lower => "lowercase",
        Casing::Upper => "uppercase",
    };
    for keyword in keywords(dockerfile) {
        if casing(&keyword.value) != Some(majority) {
            findings.push(messages::casing(&keyword.value, name, keyword.span));
        }
    }
}

/// Returns the case that most keywords have; of equally many it is the upper one. Global `ARG`s do
/// not count, as in BuildKit.
pub(in crate::checks) fn majority_casing(dockerfile: &Dockerfile) -> Casing {
    let count = |wanted: Casing| {
        let is_wanted = |keyword: &&Word| casing(&keyword.value) == Some(wanted);
        keywords(dockerfile).filter(is_wanted).count()
    };
    if count(Casing::Lower) > count(Casing::Upper) {
        Casing::Lower
    } else {
        Casing::Upper
    }
}

fn keywords(dockerfile: &Dockerfile) -> impl Iterator<Item = &Word> {
    dockerfile.stages.iter().flat_map(|stage| {
        let own = stage.instructions.iter().map(|found| &found.head.keyword);
        std::iter::once(&stage.head.keyword).chain(own)
    })
}
