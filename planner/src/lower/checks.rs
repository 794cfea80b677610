//! Build checks of a stage's instructions, made while they are carried out.

use rbuild_parser::ast::{CommandLine, Head, KeyValues};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use super::{Lowering, from, scope};
use crate::checks::messages;
use crate::expose;
use crate::findings::Findings;
use crate::paths;
use crate::plan::{ContextName, Tree};
use crate::stages::{Base, Stages};
use crate::state::{Seen, WINDOWS};

/// Parts of names that say that the value is a secret, and parts that say that it is not.
const SECRET: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
const HARMLESS: &[&str] = &["public", "file", "version"];

/// Checks that base images are for the platforms of the stages upon them.
pub(super) fn check_base_platforms(stages: &Stages<'_>, findings: &mut Findings) {
    for number in &stages.reachable {
        let node = &stages.nodes[*number];
        let Base::Image { query, typed } = &node.base else {
            continue;
        };
        let Some(Ok(image)) = stages.bases.get(query) else {
            continue;
        };
        let wanted = node.platform.as_ref().unwrap_or(&stages.platform).clone();
        let platform = from::actual_platform(node, query, image, wanted);
        let found = &image.platform;
        let fits = found.os == platform.os && found.architecture == platform.architecture;
        if !fits && !from::is_empty(image) {
            findings.report(messages::base_platform(
                typed,
                found,
                &platform,
                node.base_span,
            ));
        }
    }
}

impl Lowering<'_, '_> {
    fn warn(&mut self, mut finding: Diagnostic) {
        if self.trigger.is_some() {
            finding.span = self.node().base_span;
            finding.labels.clear();
        }
        self.shared.findings.report(finding);
    }

    /// Variables that are used and not there. Upon an unknown base nobody can tell.
    pub(super) fn warn_of_undefined(&mut self, names: &[String], span: Span) {
        if self.state.base_is_unknown {
            return;
        }
        for name in names {
            let is_declared = self.state.args.contains(name) || scope::is_kept_from_processes(name);
            if !is_declared && self.shared.findings.wants_warnings() {
                let known = self.state.env.names();
                self.warn(messages::undefined_variable(name, known, span));
            }
        }
    }

    /// Of several `CMD`s, say, only the last counts.
    pub(super) fn check_once(&mut self, seen: fn(&mut Seen) -> &mut Option<Span>, head: &Head) {
        let earlier = seen(&mut self.state.seen).replace(head.line_span);
        if let Some(earlier) = earlier {
            self.warn(messages::several(
                &head.keyword.value,
                earlier,
                head.line_span,
            ));
        }
    }

    /// A shell between the runtime and the program swallows signals; a file that sets its own
    /// `SHELL` knows.
    pub(super) fn check_shell_form(&mut self, command: &CommandLine, head: &Head) {
        let has_shell = self.state.config.config.shell.is_some();
        if matches!(command, CommandLine::Shell(_)) && !has_shell {
            self.warn(messages::shell_form(&head.keyword.value, head.line_span));
        }
    }

    pub(super) fn check_legacy(&mut self, pairs: &KeyValues, head: &Head) {
        if pairs.legacy {
            self.warn(messages::legacy_pair(&head.keyword.value, head.line_span));
        }
    }

    pub(super) fn check_secret(&mut self, instruction: &str, name: &str, span: Span) {
        let has_part = |parts: &[&str]| {
            name.split('_')
                .any(|part| parts.iter().any(|known| part.eq_ignore_ascii_case(known)))
        };
        if has_part(SECRET) && !has_part(HARMLESS) {
            self.warn(messages::secret(instruction, name, span));
        }
    }

    /// The first `WORKDIR` since the base image should not depend on it.
    pub(super) fn check_workdir(&mut self, path: &str, span: Span) {
        let is_first = !std::mem::replace(&mut self.state.workdir_is_set, true);
        let is_absolute = if self.state.platform.os == WINDOWS {
            paths::from_windows(path).starts_with('/')
        } else {
            path.starts_with('/')
        };
        if is_first && !is_absolute {
            self.warn(messages::relative_workdir(path, span));
        }
    }

    pub(super) fn check_port(&mut self, port: &str, span: Span) {
        let parts = expose::split(port);
        if parts.protocol.chars().any(char::is_uppercase) {
            self.warn(messages::protocol_casing(port, span));
        }
        if !parts.address.is_empty() || !parts.host.is_empty() {
            self.warn(messages::port_mapping(port, span));
        }
    }

    /// A source that the ignore file keeps out of the build context. Files that take paths in again
    /// are not looked at: a part of a directory may be there.
    pub(super) fn check_ignored(&mut self, keyword: &str, path: &str, tree: &Tree, span: Span) {
        let Some(ignore) = &self.stages.request.ignore else {
            return;
        };
        if *tree != Tree::Context(ContextName::default()) || ignore.has_negated() {
            return;
        }
        let path = paths::clean(path);
        let is_root = path == "." || path == "/";
        let is_ignored = if is_root {
            ignore.catches_all()
        } else {
            ignore.is_excluded(&path)
        };
        if is_ignored {
            let verb = if keyword == "ADD" { "Add" } else { "Copy" };
            self.warn(messages::ignored_source(verb, &path, span));
        }
    }
}
