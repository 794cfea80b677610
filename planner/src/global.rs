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
    /// The names that each of them uses in its default, if that counts.
    pub(crate) uses: HashMap<&'a str, Vec<String>>,
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
        let build_args = build_args(request);
        let env = predefined_env(dockerfile, request, target, &build_args);
        let mut global = Self {
            env,
            build_args,
            declared: HashSet::new(),
            uses: HashMap::new(),
        };
        for declaration in declarations(dockerfile) {
            global.declare(declaration, dockerfile.escape, findings, budget);
        }
        global
    }

    /// Returns what `FROM` would see if no `ARG` were replaced; `None` if a default is at fault.
    pub(crate) fn of_defaults(
        dockerfile: &Dockerfile,
        request: &Request,
        target: &Platform,
        budget: &mut Budget,
    ) -> Option<Env> {
        let build_args = build_args(request);
        let mut env = predefined_env(dockerfile, request, target, &build_args);
        for declaration in declarations(dockerfile) {
            let Some(default) = &declaration.default else {
                continue;
            };
            let mut expander = Expander {
                env: &env,
                escape: dockerfile.escape,
                budget,
            };
            let value = expander.one(default).ok()?.text;
            env.set(&declaration.name.value, &value);
        }
        Some(env)
    }

    /// Notes what a default uses; one that uses the name itself goes on from the one before.
    fn note_uses(&mut self, name: &'a str, mut used: Vec<String>) {
        let before = self.uses.remove(name).unwrap_or_default();
        if used.iter().any(|used| used == name) {
            used.retain(|used| used != name);
            used.extend(before);
        }
        self.uses.insert(name, used);
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
                    Ok(expansion) => {
                        self.note_uses(name, expansion.used);
                        expansion.text
                    }
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

fn declarations(dockerfile: &Dockerfile) -> impl Iterator<Item = &ArgDeclaration> {
    dockerfile
        .global_args
        .iter()
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => Some(declarations),
            _ => None,
        })
        .flatten()
}

fn build_args(request: &Request) -> HashMap<&str, &str> {
    request
        .build_args
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn predefined_env(
    dockerfile: &Dockerfile,
    request: &Request,
    target: &Platform,
    build_args: &HashMap<&str, &str>,
) -> Env {
    let mut env = Env::default();
    for (name, value) in predefined(dockerfile, request, target) {
        env.set(name, build_args.get(name).copied().unwrap_or(&value));
    }
    env
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
