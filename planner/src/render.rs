//! A plan as text, as JSON and as a graph for dot.

use std::fmt::Write as _;

use rbuild_image::config::ImageConfig;
use serde_json::{Value, json};

use crate::plan::{Input, Plan, StepId, Target};

impl Plan {
    /// Returns the plan for people: one line a step with its number, its inputs and its title, then
    /// each target with what matters of its config. Equal plans give equal texts.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let width = self.len().saturating_sub(1).to_string().len();
        for id in self.steps() {
            let step = self.step(id);
            let inputs: Vec<_> = self
                .inputs(id)
                .into_iter()
                .map(|(input, from)| match input {
                    Input::Parent => format!("{}", from.index()),
                    Input::Source(n) => format!("source {n}: {}", from.index()),
                })
                .collect();
            let inputs = if inputs.is_empty() {
                String::new()
            } else {
                format!("<- {}  ", inputs.join(", "))
            };
            let forced = if step.ignore_cache {
                "  (no cache)"
            } else {
                ""
            };
            let title = one_line(&step.origin.title);
            line(
                &mut out,
                format_args!("{:>width$}  {inputs}{title}{forced}", id.index()),
            );
        }
        for target in &self.targets {
            out.push('\n');
            describe_target(&mut out, target);
        }
        out
    }

    /// Returns the plan for programs: `steps` in order, each with its number, inputs, title and
    /// operation; `targets` with their configs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps().map(|id| self.step_to_json(id)).collect();
        let targets: Vec<Value> = self
            .targets
            .iter()
            .map(|target| {
                let history: Vec<Value> = target
                    .history
                    .iter()
                    .map(|(line, step)| {
                        json!({
                            "created_by": line.created_by,
                            "empty_layer": line.empty_layer,
                            "step": step.map(StepId::index),
                        })
                    })
                    .collect();
                json!({
                    "platform": target.platform.to_string(),
                    "platform_is_explicit": target.platform_is_explicit,
                    "rootfs": target.rootfs.index(),
                    "history": history,
                    "config": target.config,
                })
            })
            .collect();
        json!({ "steps": steps, "targets": targets })
    }

    fn step_to_json(&self, id: StepId) -> Value {
        let step = self.step(id);
        let sources: Vec<usize> = self.sources(id).into_iter().map(StepId::index).collect();
        json!({
            "id": id.index(),
            "title": step.origin.title,
            "stage": step.origin.stage,
            "platform": step.platform.to_string(),
            "ignore_cache": step.ignore_cache,
            "parent": self.parent(id).map(StepId::index),
            "sources": sources,
            "operation": step.kind,
        })
    }

    /// Returns the plan as a directed graph in dot's language; edges go from inputs to the steps
    /// that use them, dashed where files are copied.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph plan {\n  node [shape=box];\n");
        for id in self.steps() {
            let title = dot_quote(&one_line(&self.step(id).origin.title));
            line(&mut out, format_args!("  s{} [label={title}];", id.index()));
        }
        for id in self.steps() {
            for (input, from) in self.inputs(id) {
                let style = match input {
                    Input::Parent => "",
                    Input::Source(_) => " [style=dashed]",
                };
                line(
                    &mut out,
                    format_args!("  s{} -> s{}{style};", from.index(), id.index()),
                );
            }
        }
        for (number, target) in self.targets.iter().enumerate() {
            let label = dot_quote(&target.platform.to_string());
            line(
                &mut out,
                format_args!("  t{number} [label={label}, shape=ellipse];"),
            );
            line(
                &mut out,
                format_args!("  s{} -> t{number};", target.rootfs.index()),
            );
        }
        out.push_str("}\n");
        out
    }
}

fn describe_target(out: &mut String, target: &Target) {
    let rootfs = target.rootfs.index();
    line(out, format_args!("target {} <- {rootfs}", target.platform));
    let mut field = |name: &str, value: String| {
        line(out, format_args!("  {name}: {}", one_line(&value)));
    };
    let ImageConfig { author, config, .. } = &target.config;
    let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| quoted(words));
    let keys = |keys: Vec<&String>| {
        let keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
        keys.join(" ")
    };
    for variable in config.env.iter().flatten() {
        field("env", variable.clone());
    }
    let fields = [
        ("user", config.user.clone()),
        ("workdir", config.working_dir.clone()),
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("shell", words(&config.shell)),
        (
            "ports",
            config
                .exposed_ports
                .as_ref()
                .map(|map| keys(map.keys().collect())),
        ),
        (
            "volumes",
            config
                .volumes
                .as_ref()
                .map(|map| keys(map.keys().collect())),
        ),
        ("stop signal", config.stop_signal.clone()),
        (
            "health check",
            config
                .healthcheck
                .as_ref()
                .and_then(|check| words(&check.test)),
        ),
        ("author", author.clone()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            field(name, value);
        }
    }
    for (key, value) in config.labels.iter().flatten() {
        field("label", format!("{key}={value}"));
    }
    for trigger in config.on_build.iter().flatten() {
        field("onbuild", trigger.clone());
    }
}

fn quoted(words: &[String]) -> String {
    json!(words).to_string()
}

/// Shows line ends and other control characters as escapes.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn dot_quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
    out.push('\n');
}
