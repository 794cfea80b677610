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
use crate::plan::{self, Network, Security, StepKind};
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
    pub(super) fn run(
        &mut self,
        run: &Run,
        head: &Head,
        sources: &[Option<usize>],
    ) -> Result<(), Diagnostic> {
        if let Some(device) = run.devices.first() {
            return Err(messages::device(device.span));
        }
        let security = self.security(run)?;
        let mounts = self.mounts(&run.mounts, sources)?;
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
            mounts: mounts.mounts,
            security,
            limits: self.stages.request.limits.clone(),
        });
        let mut arguments: Vec<_> = run.mounts.iter().map(|mount| mount.span).collect();
        arguments.extend(script.arguments);
        let step = NewStep {
            kind,
            span: head.span,
            arguments,
            display: script.display,
        };
        let step = self.push(step, &mounts.sources)?;
        let args = self.state.args.values(&self.state.env);
        let text = history::run_text(args, &script.argv);
        self.commit(history::layer(text), Some(step), head.line_span)
    }

    fn security(&self, run: &Run) -> Result<Security, Diagnostic> {
        match &run.security {
            Some(word) if word.value == "insecure" => {
                if self.stages.request.allow_insecure {
                    Ok(Security::Insecure)
                } else {
                    Err(messages::insecure(word.span))
                }
            }
            _ => Ok(Security::Sandbox),
        }
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
        self.check_workdir(&path, word.span);
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
}
