//! One JSON object a line, with the fields of BuildKit's `rawjson` progress: `vertexes`, `logs`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rbuild_executor::{Event, Stream};
use rbuild_image::digest::Digest;
use rbuild_planner::{Plan, StepId};
use serde_json::{Value, json};

use super::Internal;

/// The fold: takes events, gives text.
pub(super) struct Json<'a> {
    plan: &'a Plan,
    started: HashMap<StepId, String>,
    out: String,
}

impl<'a> Json<'a> {
    pub(super) fn new(plan: &'a Plan, internals: &[Internal]) -> Self {
        let mut view = Self {
            plan,
            started: HashMap::new(),
            out: String::new(),
        };
        for internal in internals {
            let completed = jiff::Timestamp::now();
            let started = (completed - internal.duration).to_string();
            let completed = completed.to_string();
            view.object(&json!({"vertexes": [{
                "digest": Digest::of(internal.title.as_bytes()),
                "name": internal.title,
                "started": started,
                "completed": completed,
            }]}));
        }
        view
    }

    /// Returns what was written since the last call.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Started { step } => {
                self.started.insert(step, now());
                self.vertex(step, json!({}));
            }
            Event::Finished { step, cached, .. } => {
                let mut fields = json!({"completed": now()});
                if cached {
                    fields["cached"] = true.into();
                }
                self.vertex(step, fields);
            }
            Event::Failed { step, message, .. } => {
                self.vertex(step, json!({"completed": now(), "error": message}));
            }
            Event::Cancelled { step } => {
                self.vertex(step, json!({"completed": now(), "error": "canceled"}));
            }
            Event::Output {
                step,
                stream,
                bytes,
            } => {
                let stream = if stream == Stream::Stdout { 1 } else { 2 };
                self.log(step, stream, &bytes);
            }
            Event::Notice { step, text } => self.log(step, 2, text.as_bytes()),
            _ => {}
        }
    }

    /// The name of a vertex: any text that is the same for the same step of the same plan.
    fn digest(&self, step: StepId) -> Digest {
        let title = &self.plan.step(step).origin.title;
        Digest::of(format!("{} {title}", step.index()).as_bytes())
    }

    fn vertex(&mut self, step: StepId, mut fields: Value) {
        let inputs: Vec<_> = self
            .plan
            .parent(step)
            .into_iter()
            .chain(self.plan.sources(step))
            .collect();
        fields["digest"] = self.digest(step).to_string().into();
        fields["inputs"] = inputs
            .iter()
            .map(|input| self.digest(*input).to_string())
            .collect();
        fields["name"] = self.plan.step(step).origin.title.clone().into();
        fields["started"] = self
            .started
            .get(&step)
            .map_or(Value::Null, |time| time.clone().into());
        self.object(&json!({"vertexes": [fields]}));
    }

    fn log(&mut self, step: StepId, stream: u8, bytes: &[u8]) {
        self.object(&json!({"logs": [{
            "vertex": self.digest(step),
            "stream": stream,
            "data": BASE64_STANDARD.encode(bytes),
            "timestamp": now(),
        }]}));
    }

    fn object(&mut self, value: &Value) {
        self.out.push_str(&value.to_string());
        self.out.push('\n');
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
