//! `RUN` and `WORKDIR`.

use rbuild_parser::ast::{CommandLine, Head, Run, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use super::from;
use super::{Lowering, NewStep};
use crate::display;
use crate::history;
use crate::messages;
use crate::paths;
use crate::plan::{self, Network, StepKind};
use crate::state::WINDOWS;

const DEFAULT_HOSTNAME: &str = "buildkitsandbox";
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
const PIPES: &str = "/dev/pipes/";
pub(crate) const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// A command, its heredocs put in.
struct Script {
    argv: Vec<String>,
    pipe_scripts: Vec<(String, String)>,
    display: String,
    arguments: Vec<Span>,
}

impl Lowering<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, head: &Head) -> Result<(), Diagnostic> {
        self.refuse_flags(run)?;
        let script = self.script(run, head)?;
        let env = self.state.env.entries().to_vec();
        let kind = StepKind::Run(plan::Run {
            argv: script.argv.clone(),
            env,
            proxy_env: self.proxy_env(),
            cwd: self.state.working_dir().to_owned(),
            user: self.state.config.config.user.clone().unwrap_or_default(),
            hostname: self.hostname(),
            network: self.network(run),
            extra_hosts: self.stages.request.extra_hosts.clone(),
            pipe_scripts: script.pipe_scripts,
        });
        let step = NewStep {
            kind,
            span: head.span,
            arguments: script.arguments,
            display: script.display,
        };
        let step = self.push(step, &[])?;
        let args = self.state.args.values(&self.state.env);
        let text = history::run_text(args, &script.argv);
        self.commit(history::layer(text), Some(step), head.line_span)
    }

    /// Refuses what would change what the command sees.
    fn refuse_flags(&mut self, run: &Run) -> Result<(), Diagnostic> {
        let mounts = run.mounts.iter().map(|word| {
            let help = "copy the files it needs with COPY, or remove the flag";
            messages::unsupported("RUN --mount", help, word.span)
        });
        let devices = run.devices.iter().map(|word| {
            let help = "remove the flag; the command finds the usual devices in /dev";
            messages::unsupported("RUN --device", help, word.span)
        });
        let security = run.security.iter().filter_map(|word| {
            let help = "remove the flag; the command runs without additional privileges";
            let is_insecure = word.value.eq_ignore_ascii_case("insecure");
            is_insecure.then(|| messages::unsupported("RUN --security=insecure", help, word.span))
        });
        let mut faults: Vec<_> = mounts.chain(devices).chain(security).collect();
        let last = faults.pop();
        for fault in faults {
            self.report(fault);
        }
        last.map_or(Ok(()), Err)
    }

    fn script(&self, run: &Run, head: &Head) -> Result<Script, Diagnostic> {
        let mut display = self.display(&head.text);
        let line = match &run.command {
            CommandLine::Exec(words) => {
                return Ok(Script {
                    argv: words.iter().map(|word| word.value.clone()).collect(),
                    pipe_scripts: Vec::new(),
                    display,
                    arguments: words.iter().map(|word| word.span).collect(),
                });
            }
            CommandLine::Shell(line) => line,
        };
        let mut pipe_scripts = Vec::new();
        let mut text = line.value.clone();
        if run.heredoc_only {
            let Some(heredoc) = head.heredocs.first() else {
                return Err(messages::missing_heredoc(line.span));
            };
            let body = heredoc.content();
            display.push(' ');
            display.push_str(&display::heredoc_summary(&heredoc.body));
            text = if body.starts_with("#!") && self.state.config.os != WINDOWS {
                let name = paths::heredoc_file_name(&heredoc.name)
                    .ok_or_else(|| messages::heredoc_name(&heredoc.name, line.span))?;
                let path = format!("{PIPES}{name}");
                pipe_scripts.push((name, body));
                path
            } else {
                body
            };
        } else {
            // The shell reads the heredocs itself, just as they were written.
            for heredoc in &head.heredocs {
                text.push('\n');
                text.push_str(&heredoc.body);
                text.push_str(&heredoc.name);
            }
        }
        let mut argv = from::shell(&self.state);
        argv.push(text);
        Ok(Script {
            argv,
            pipe_scripts,
            display,
            arguments: vec![line.span],
        })
    }

    fn network(&self, run: &Run) -> Network {
        let flag = run.network.as_ref().map(|word| word.value.as_str());
        match flag {
            Some("none") => Network::None,
            Some("host") => Network::Host,
            _ => self.stages.request.network,
        }
    }

    fn hostname(&self) -> String {
        let given = self.stages.global.build_args.get(HOSTNAME_ARG);
        given
            .filter(|name| !name.is_empty())
            .map_or(DEFAULT_HOSTNAME, |name| *name)
            .to_owned()
    }

    /// Returns both spellings of the proxies that were given as build arguments, but for variables
    /// that are set anyway.
    fn proxy_env(&self) -> Vec<String> {
        let given = &self.stages.global.build_args;
        let mut variables = Vec::new();
        for proxy in PROXIES {
            let lower = proxy.to_lowercase();
            // Of several spellings that sort last which has the most small letters in front.
            let spellings = given
                .keys()
                .filter(|name| name.eq_ignore_ascii_case(proxy))
                .copied()
                .max();
            let value = spellings.and_then(|name| given.get(name).copied());
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                continue;
            };
            for name in [proxy, &lower] {
                if self.state.env.get(name).is_none() {
                    variables.push(format!("{name}={value}"));
                }
            }
        }
        variables
    }

    pub(super) fn workdir(&mut self, word: &Word, head: &Head) -> Result<(), Diagnostic> {
        let path = self.expand(word)?;
        let path = self.state.resolve(self.state.working_dir(), &path);
        self.state.config.config.working_dir = Some(path.clone());
        let text = format!("WORKDIR {path}");
        if path == "/" {
            return self.commit(history::empty(text), None, head.line_span);
        }
        let step = NewStep {
            display: self.display(&head.text),
            kind: StepKind::Workdir(plan::Workdir {
                path,
                user: self.state.config.config.user.clone(),
            }),
            span: head.span,
            arguments: vec![word.span],
        };
        let step = self.push(step, &[])?;
        self.commit(history::workdir(text), Some(step), head.line_span)
    }

    /// Reports a fault beside the one that an instruction returns.
    pub(super) fn report(&mut self, fault: Diagnostic) {
        let fault = match self.trigger {
            Some(trigger) => messages::in_trigger(fault, trigger, self.node().base_span),
            None => fault,
        };
        self.shared.findings.report(fault);
    }
}
