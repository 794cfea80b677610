//! Evaluates what a `FROM` or a `COPY --from` names: a stage, nothing, a context or an image.

use std::collections::{BTreeSet, HashSet};

use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_parser::ast::{From, Word};
use rbuild_parser::expand::Expansion;
use rbuild_parser::span::Span;

use crate::checks;
use crate::findings::{Budget, Findings};
use crate::messages;
use crate::plan::ContextName;
use crate::request::{BaseQuery, NamedContext};
use crate::stages::{Base, Stages};
use crate::suggest;
use crate::words::Expander;

const SCRATCH: &str = "scratch";
const RESERVED_CONTEXT: &str = "context";
const IMAGE_SCHEME: &str = "docker-image://";
const LAYOUT_SCHEME: &str = "oci-layout://";

/// A `FROM`, evaluated.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) base: Base,
    pub(crate) platform: Option<Platform>,
    pub(crate) is_replaced: bool,
}

/// What is needed to evaluate names.
#[derive(Debug)]
pub(crate) struct Bases<'s, 'a> {
    pub(crate) stages: &'s Stages<'a>,
    pub(crate) findings: &'s mut Findings,
    pub(crate) budget: &'s mut Budget,
}

impl Bases<'_, '_> {
    /// Evaluates the `FROM` of the stage that will have `number`.
    pub(crate) fn of_from(&mut self, from: &From, number: usize) -> Found {
        let name = self.expand(&from.base).map(|expansion| expansion.text);
        let platform = from
            .platform
            .as_ref()
            .map(|word| self.platform(word, from.name.as_ref()));
        let faulty = Found {
            base: Base::Unknown,
            platform: None,
            is_replaced: false,
        };
        let (Some(name), false) = (name, platform == Some(None)) else {
            return faulty;
        };
        let platform = platform.flatten();
        if name.is_empty() {
            let fault = messages::blank_base(&from.base.value, from.base.span);
            self.findings.report(fault);
            return faulty;
        }
        if let Some(stage) = &from.name {
            let stand_in = self.context(&stage.value, platform.as_ref(), from.base.span);
            if let Some(base) = stand_in {
                return Found {
                    base,
                    platform,
                    is_replaced: true,
                };
            }
        }
        // Names are lower-cased where they are declared, and compared as they are here.
        let base = match self.stages.nearest_above(&name, number) {
            Some(stage) => Base::Stage(stage),
            None => self.outside(&name, platform.as_ref(), from.base.span),
        };
        Found {
            base,
            platform,
            is_replaced: false,
        }
    }

    /// Evaluates a name that is no stage.
    pub(crate) fn outside(&mut self, name: &str, platform: Option<&Platform>, span: Span) -> Base {
        if name == SCRATCH {
            return Base::Scratch;
        }
        let reference = match Reference::parse(name) {
            Ok(reference) => reference,
            Err(error) => {
                let fault = messages::bad_base(name, &error.to_string(), span);
                self.findings.report(fault);
                return Base::Unknown;
            }
        };
        if let Some(base) = self.context(name, platform, span) {
            return base;
        }
        Base::Image {
            query: self.query(reference.with_default_tag().to_string(), platform),
            typed: name.to_owned(),
        }
    }

    /// Returns the named context that stands in for `name`.
    fn context(&mut self, name: &str, platform: Option<&Platform>, span: Span) -> Option<Base> {
        let contexts = &self.stages.request.contexts;
        if contexts.is_empty() || matches!(name, SCRATCH | RESERVED_CONTEXT) {
            return None;
        }
        let familiar = Reference::parse(name).ok()?.familiar();
        let key = familiar.strip_suffix(":latest").unwrap_or(&familiar);
        let platform_of_key = platform.unwrap_or(&self.stages.platform);
        let special = format!("{key}::{}", platform_of_key.describe());
        let (key, context) = contexts
            .get_key_value(&special)
            .or_else(|| contexts.get_key_value(key))?;
        let text = match context {
            NamedContext::Directory => return Some(Base::Directory(ContextName(key.clone()))),
            NamedContext::Image(text) => text,
        };
        let reference = if text.starts_with(LAYOUT_SCHEME) {
            text.clone()
        } else {
            let text = text.strip_prefix(IMAGE_SCHEME).unwrap_or(text);
            if text == SCRATCH {
                return Some(Base::Scratch);
            }
            match Reference::parse(text) {
                Ok(reference) => reference.with_default_tag().to_string(),
                Err(error) => {
                    let fault = messages::bad_base(text, &error.to_string(), span);
                    self.findings.report(fault);
                    return Some(Base::Unknown);
                }
            }
        };
        Some(Base::Image {
            query: self.query(reference, platform),
            typed: name.to_owned(),
        })
    }

    fn query(&self, reference: String, platform: Option<&Platform>) -> BaseQuery {
        BaseQuery {
            reference,
            platform: platform.unwrap_or(&self.stages.platform).clone(),
            any_platform: platform.is_none() && self.stages.request.platforms.is_empty(),
        }
    }

    /// Expands a word of `FROM`; `None` if it is at fault.
    fn expand(&mut self, word: &Word) -> Option<Expansion> {
        let global = &self.stages.global;
        let mut expander = Expander {
            env: &global.env,
            escape: self.stages.escape,
            budget: self.budget,
        };
        let expansion = match expander.one(word) {
            Ok(expansion) => expansion,
            Err(fault) => {
                self.findings.report(fault);
                return None;
            }
        };
        for name in &expansion.undefined {
            let is_declared = global.declared.contains(name.as_str());
            if !is_declared && self.findings.wants_warnings() {
                let known = global.env.names().chain(sorted(&global.declared));
                let warning = checks::messages::undefined_from_argument(name, known, word.span);
                self.findings.report(warning);
            }
        }
        Some(expansion)
    }

    fn platform(&mut self, word: &Word, stage: Option<&Word>) -> Option<Platform> {
        let expansion = self.expand(word)?;
        let stage = stage.map(|name| name.value.as_str());
        let env = &self.stages.global.env;
        checks::check_platform(word, &expansion, stage, env, self.findings);
        let text = expansion.text;
        if text.is_empty() {
            let names = self.stages.global.env.names();
            let hint = suggest::hint(word.value.trim_matches(['$', '{', '}']), names);
            let fault = messages::empty_platform(&word.value, &hint, word.span);
            self.findings.report(fault);
            return None;
        }
        match Platform::parse(&text) {
            Ok(platform) => Some(platform.normalized()),
            Err(error) => {
                let fault = messages::bad_platform(&word.value, &error.to_string(), word.span);
                self.findings.report(fault);
                None
            }
        }
    }
}

fn sorted<'a>(names: &HashSet<&'a str>) -> impl Iterator<Item = &'a str> {
    let sorted: BTreeSet<&str> = names.iter().copied().collect();
    sorted.into_iter()
}
