//! The global scope: what `FROM` lines see, and where an `ARG` without a default looks.

use std::collections::{HashMap, HashSet};

use rbuild_image::platform::Platform;
use rbuild_parser::ast::{ArgDeclaration, Dockerfile, InstructionKind};

use crate::env::Env;
use crate::findings::{Budget, Findings, MAX_ENV_BYTES};
use crate::messages;
use crate::request::Request;
use crate::words::Expander;

/// `--build-arg`s, the platform's arguments and the `ARG`s before the first `FROM`.
#[derive(Debug)]
pub(crate) struct Global<'a> {
    /// Everything that has a value.
    pub(crate) env: Env,
    /// `--build-arg`, the last of a name.
    pub(crate) build_args: HashMap<&'a str, &'a str>,
    /// Names of the `ARG`s before the first `FROM`, with a value or without.
    pub(crate) declared: HashSet<&'a str>,
}

impl<'a> Global<'a> {
    /// Evaluates the global scope for one target platform.
    pub(crate) fn evaluate(
        dockerfile: &'a Dockerfile,
        request: &'a Request,
        target: &Platform,
        findings: &mut Findings,
        budget: &mut Budget,
    ) -> Self {
        let build_args: HashMap<_, _> = request
            .build_args
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut env = Env::default();
        for (name, value) in predefined(dockerfile, request, target) {
            env.set(name, build_args.get(name).copied().unwrap_or(&value));
        }
        let mut global = Self {
            env,
            build_args,
            declared: HashSet::new(),
        };
        for instruction in &dockerfile.global_args {
            let InstructionKind::Arg(declarations) = &instruction.kind else {
                continue;
            };
            for declaration in declarations {
                global.declare(declaration, dockerfile.escape, findings, budget);
            }
        }
        global
    }

    fn declare(
        &mut self,
        declaration: &'a ArgDeclaration,
        escape: char,
        findings: &mut Findings,
        budget: &mut Budget,
    ) {
        let name = declaration.name.value.as_str();
        self.declared.insert(name);
        let value = match (self.build_args.get(name), &declaration.default) {
            (Some(value), _) => (*value).to_owned(),
            (None, None) => return,
            (None, Some(default)) => {
                let mut expander = Expander {
                    env: &self.env,
                    escape,
                    budget,
                };
                match expander.one(default) {
                    Ok(expansion) => expansion.text,
                    Err(fault) => return findings.report(fault),
                }
            }
        };
        self.env.set(name, &value);
        if self.env.n_bytes() > MAX_ENV_BYTES {
            findings.report(messages::environment_too_large(declaration.name.span));
        }
    }
}

/// Returns the arguments that exist without being declared.
fn predefined(
    dockerfile: &Dockerfile,
    request: &Request,
    target: &Platform,
) -> [(&'static str, String); 11] {
    let build = request.build_platform.normalized();
    let last_stage = dockerfile
        .stages
        .last()
        .and_then(|stage| stage.from.name.as_ref())
        .map(|name| name.value.as_str());
    let stage = request.target.as_deref().or(last_stage);
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os),
        ("BUILDOSVERSION", build.os_version),
        ("BUILDARCH", build.architecture),
        ("BUILDVARIANT", build.variant),
        ("TARGETPLATFORM", target.describe()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", target.os_version.clone()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage.unwrap_or("default").to_owned()),
    ]
}
