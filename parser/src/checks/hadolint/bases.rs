//! `FROM`: tags, platforms, stage names.

use std::collections::HashSet;

use super::{findings::Findings, model::Model};
use crate::ast::{Stage, Word};

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    let mut names = HashSet::new();
    for stage in &model.stages {
        if stage.parent.is_none() {
            tag(stage.stage, findings);
        }
        if let Some(platform) = &stage.stage.from.platform {
            self::platform(stage.stage, platform, findings);
        }
        let Some(name) = &stage.stage.from.name else {
            continue;
        };
        let instruction = stage.stage.head.span;
        if !names.insert(name.value.as_str()) {
            let message = format!("there is a stage called {} before", name.value);
            findings.add("DL3024", instruction, name.span, message);
        }
        if matches!(name.value.as_str(), "scratch" | "context") {
            let message = format!("{} is a reserved word", name.value);
            findings.add("DL3063", instruction, name.span, message);
        }
    }
}

fn tag(stage: &Stage, findings: &mut Findings) {
    let base = &stage.from.base;
    let name = base.value.trim_matches(['"', '\'']);
    if name.is_empty() || name.contains(['$', '@']) || name == "scratch" {
        return;
    }
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None => findings.add(
            "DL3006",
            stage.head.span,
            base.span,
            format!("the base image {name} has no tag"),
        ),
        Some((_, "latest")) => findings.add(
            "DL3007",
            stage.head.span,
            base.span,
            format!("the tag of {name} moves"),
        ),
        Some(_) => {}
    }
}

fn platform(stage: &Stage, platform: &Word, findings: &mut Findings) {
    let value = platform.value.as_str();
    if value == "$TARGETPLATFORM" || value == "${TARGETPLATFORM}" {
        let message = "the platform is the one that is built for anyway";
        findings.add("DL3065", stage.head.span, platform.span, message);
    } else if !(value.contains("$BUILDPLATFORM")
        || value.contains("${BUILDPLATFORM")
        || value.contains("$TARGETPLATFORM")
        || value.contains("${TARGETPLATFORM"))
    {
        let message = format!("the platform is fixed to {value}");
        findings.add("DL3029", stage.head.span, platform.span, message);
    }
}
