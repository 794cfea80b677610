//! Instructions that change nothing but the image's config.

use std::collections::BTreeMap;

use rbuild_image::config::Healthcheck as Check;
use rbuild_parser::ast::{CommandLine, Head, Healthcheck, KeyValues, Word};
use rbuild_parser::diagnostic::Diagnostic;
use serde_json::{Map, Value};

use super::Lowering;
use super::from;
use crate::expose;
use crate::history;
use crate::messages;
use crate::signal;
use crate::state::WINDOWS;

/// Room for one port in config and history.
const PORT_BYTES: usize = 32;

impl Lowering<'_, '_> {
    pub(super) fn label(&mut self, pairs: &KeyValues, head: &Head) -> Result<(), Diagnostic> {
        let expanded = self.expand_pairs("LABEL", pairs)?;
        self.check_legacy(pairs, head);
        let pairs = expanded;
        let text = history::pairs_text("LABEL", &pairs);
        let labels = self.state.config.config.labels.get_or_insert_default();
        labels.extend(pairs);
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn user(&mut self, user: &Word, head: &Head) -> Result<(), Diagnostic> {
        let user = self.expand(user)?;
        let text = format!("USER {user}");
        self.state.config.config.user = Some(user).filter(|user| !user.is_empty());
        self.commit(history::empty(text), None, head.line_span)
    }

    /// Exposes ports. The words are sorted as they are written, before they are expanded.
    pub(super) fn expose(&mut self, words: &[Word], head: &Head) -> Result<(), Diagnostic> {
        let mut words: Vec<_> = words.iter().collect();
        words.sort_by(|left, right| left.value.cmp(&right.value));
        let mut ranges = Vec::new();
        for word in words {
            let ports = self.expander().several(word)?;
            self.warn_of_undefined(&ports.undefined, word.span);
            for port in ports.words {
                self.check_port(&port, word.span);
                let range =
                    expose::parse(&port).map_err(|fault| messages::bad_port(&fault, word.span))?;
                self.spend(range.len() * PORT_BYTES, word.span)?;
                ranges.push(range);
            }
        }
        let names: Vec<String> = ranges.into_iter().flat_map(expose::Ports::names).collect();
        let text = history::list_text("EXPOSE", &names);
        let exposed = self
            .state
            .config
            .config
            .exposed_ports
            .get_or_insert_default();
        add_names(exposed, names);
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn volume(&mut self, words: &[Word], head: &Head) -> Result<(), Diagnostic> {
        let mut paths = Vec::with_capacity(words.len());
        for word in words {
            let path = self.expand(word)?;
            if path.is_empty() {
                return Err(messages::blank_volume(word.span));
            }
            paths.push(path);
        }
        let text = history::list_text("VOLUME", &paths);
        let volumes = self.state.config.config.volumes.get_or_insert_default();
        add_names(volumes, paths);
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn stop_signal(&mut self, word: &Word, head: &Head) -> Result<(), Diagnostic> {
        let signal = self.expand(word)?;
        if self.state.platform.os == WINDOWS {
            return Err(messages::signal_on_windows(head.line_span));
        }
        if !signal::is_signal(&signal) {
            return Err(messages::bad_signal(&signal, word.span));
        }
        let text = format!("STOPSIGNAL {signal}");
        self.state.config.config.stop_signal = Some(signal);
        self.commit(history::empty(text), None, head.line_span)
    }

    /// Sets the health check; the shell form goes to the container's own shell, not to `SHELL`.
    pub(super) fn healthcheck(
        &mut self,
        check: &Healthcheck,
        head: &Head,
    ) -> Result<(), Diagnostic> {
        self.check_once(|seen| &mut seen.healthcheck, head);
        let check = match check {
            Healthcheck::None => Check {
                test: Some(vec!["NONE".to_owned()]),
                ..Check::default()
            },
            Healthcheck::Cmd {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => Check {
                test: Some(match command {
                    CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                    CommandLine::Exec(words) => std::iter::once("CMD".to_owned())
                        .chain(values(words))
                        .collect(),
                }),
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            },
        };
        let text = history::healthcheck_text(&check);
        self.state.config.config.healthcheck = Some(check);
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn shell(&mut self, words: &[Word], head: &Head) -> Result<(), Diagnostic> {
        let shell: Vec<String> = values(words).collect();
        let text = history::list_text("SHELL", &shell);
        self.state.config.config.shell = Some(shell).filter(|shell| !shell.is_empty());
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn cmd(&mut self, command: &CommandLine, head: &Head) -> Result<(), Diagnostic> {
        self.check_once(|seen| &mut seen.cmd, head);
        self.check_shell_form(command, head);
        let argv = self.argv(command);
        let text = history::quoted_text("CMD", &argv);
        let config = &mut self.state.config.config;
        config.cmd = Some(argv).filter(|argv| !argv.is_empty());
        config.args_escaped = Some(true);
        self.commit(history::empty(text), None, head.line_span)
    }

    /// Sets the entry point. A command that comes from the base was meant for the base's entry
    /// point and goes; one of this stage stays.
    pub(super) fn entrypoint(
        &mut self,
        command: &CommandLine,
        head: &Head,
    ) -> Result<(), Diagnostic> {
        self.check_once(|seen| &mut seen.entrypoint, head);
        self.check_shell_form(command, head);
        let argv = self.argv(command);
        let text = history::quoted_text("ENTRYPOINT", &argv);
        let config = &mut self.state.config.config;
        config.entrypoint = Some(argv).filter(|argv| !argv.is_empty());
        if self.state.seen.cmd.is_none() {
            config.cmd = None;
        }
        self.commit(history::empty(text), None, head.line_span)
    }

    pub(super) fn maintainer(&mut self, name: &Word, head: &Head) -> Result<(), Diagnostic> {
        let text = format!("MAINTAINER {}", name.value);
        self.state.config.author = Some(name.value.clone()).filter(|name| !name.is_empty());
        self.commit(history::empty(text), None, head.line_span)
    }

    fn argv(&self, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => values(words).collect(),
            CommandLine::Shell(text) => {
                let mut argv = from::shell(&self.state);
                argv.push(text.value.clone());
                argv
            }
        }
    }
}

fn values(words: &[Word]) -> impl Iterator<Item = String> {
    words.iter().map(|word| word.value.clone())
}

fn add_names(map: &mut BTreeMap<String, Value>, names: Vec<String>) {
    let entries = names
        .into_iter()
        .map(|name| (name, Value::Object(Map::new())));
    map.extend(entries);
}
