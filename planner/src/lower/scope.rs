//! `ARG` and `ENV`: the scope of a stage.

use rbuild_parser::ast::{ArgDeclaration, Head, KeyValues, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use super::Lowering;
use crate::findings::MAX_ENV_BYTES;
use crate::history;
use crate::messages;

/// Arguments that steer the build and never become variables.
const KEPT_FROM_PROCESSES: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

pub(super) fn is_kept_from_processes(name: &str) -> bool {
    KEPT_FROM_PROCESSES.contains(&name)
}

impl Lowering<'_, '_> {
    /// Declares arguments from left to right; each sees those before it.
    pub(super) fn arg(&mut self, declarations: &[ArgDeclaration]) -> Result<(), Diagnostic> {
        let mut words = Vec::with_capacity(declarations.len());
        let mut span = Span::default();
        for declaration in declarations {
            let name = declaration.name.value.as_str();
            span = declaration.name.span;
            self.check_secret("ARG", name, span);
            let value = self.arg_value(declaration)?;
            self.spend(name.len(), span)?;
            if let Some(value) = &value
                && !is_kept_from_processes(name)
            {
                self.state.env.set(name, value);
                self.check_environment(span)?;
            }
            self.state.args.declare(name, value.as_deref());
            words.push(match value {
                Some(value) => format!("{name}={value}"),
                None => name.to_owned(),
            });
        }
        self.commit(
            history::empty(format!("ARG {}", words.join(" "))),
            None,
            span,
        )
    }

    /// Returns the argument's value: from the command line, else the default, else from the global
    /// scope. A default that is not used is not expanded, so it cannot fail.
    fn arg_value(&mut self, declaration: &ArgDeclaration) -> Result<Option<String>, Diagnostic> {
        let name = declaration.name.value.as_str();
        let global = &self.stages.global;
        if let Some(value) = global.build_args.get(name) {
            return Ok(Some((*value).to_owned()));
        }
        match &declaration.default {
            Some(default) => self.expand(default).map(Some),
            None => Ok(global.env.get(name).map(str::to_owned)),
        }
    }

    /// Sets variables; all pairs see the environment from before the instruction.
    pub(super) fn env(&mut self, pairs: &KeyValues, head: &Head) -> Result<(), Diagnostic> {
        let expanded = self.expand_pairs("ENV", pairs)?;
        self.check_legacy(pairs, head);
        for ((name, value), (key, _)) in expanded.iter().zip(&pairs.pairs) {
            self.check_secret("ENV", name, key.span);
            self.state.env.set(name, value);
            self.state.image_env.set(name, value);
        }
        self.check_environment(head.line_span)?;
        let text = history::pairs_text("ENV", &expanded);
        self.commit(history::empty(text), None, head.line_span)
    }

    /// Expands keys and values.
    pub(super) fn expand_pairs(
        &mut self,
        instruction: &str,
        pairs: &KeyValues,
    ) -> Result<Vec<(String, String)>, Diagnostic> {
        let mut expand = |(key, value): &(Word, Word)| {
            let span = key.span;
            let key = self.expand(key)?;
            if key.is_empty() {
                return Err(messages::blank_name(instruction, span));
            }
            Ok((key, self.expand(value)?))
        };
        pairs.pairs.iter().map(&mut expand).collect()
    }

    fn check_environment(&self, span: Span) -> Result<(), Diagnostic> {
        let n_bytes = self.state.env.n_bytes().max(self.state.image_env.n_bytes());
        if n_bytes > MAX_ENV_BYTES {
            return Err(messages::environment_too_large(span));
        }
        Ok(())
    }
}
