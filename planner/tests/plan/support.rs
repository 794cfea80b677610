//! Planning with a table of images instead of a registry.

use std::collections::BTreeMap;

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::platform::Platform;
use rbuild_parser::ast::Dockerfile;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_planner::{
    BaseImage, BaseImages, BaseQuery, NamedContext, Network, Plan, Planned, Request, Step,
    StepKind, plan,
};

/// A file, a request, and the images that exist.
#[derive(Clone)]
pub(crate) struct Case {
    text: String,
    pub(crate) request: Request,
    images: BTreeMap<String, ImageConfig>,
}

/// Starts a case; one that begins with `F` has `FROM scratch` there.
pub(crate) fn case(text: &str) -> Case {
    let text = match text.strip_prefix("F\n") {
        Some(rest) => format!("FROM scratch\n{rest}"),
        None => text.to_owned(),
    };
    Case {
        text,
        request: Request {
            target: None,
            build_args: Vec::new(),
            platforms: Vec::new(),
            build_platform: platform("linux/amd64"),
            labels: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            contexts: BTreeMap::new(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            limits: rbuild_planner::Limits::default(),
            allow_insecure: false,
            context_times: BTreeMap::new(),
            ignore: None,
        },
        images: BTreeMap::new(),
    }
}

pub(crate) fn platform(text: &str) -> Platform {
    Platform::parse(text).unwrap()
}

impl Case {
    pub(crate) fn arg(mut self, name: &str, value: &str) -> Self {
        self.request.build_args.push((name.into(), value.into()));
        self
    }

    pub(crate) fn target(mut self, name: &str) -> Self {
        self.request.target = Some(name.into());
        self
    }

    pub(crate) fn platforms(mut self, platforms: &[&str]) -> Self {
        self.request.platforms = platforms.iter().map(|text| platform(text)).collect();
        self
    }

    pub(crate) fn context(mut self, name: &str, context: NamedContext) -> Self {
        self.request.contexts.insert(name.into(), context);
        self
    }

    /// Adds an image by its whole name; `config` is the `config` object of its config.
    pub(crate) fn image(self, name: &str, config: &str) -> Self {
        let text = format!(r#"{{"architecture":"amd64","os":"linux","config":{config}}}"#);
        self.image_of(name, &text)
    }

    /// Adds an image by its whole name and config.
    pub(crate) fn image_of(mut self, name: &str, config: &str) -> Self {
        let config = serde_json::from_str(config).unwrap();
        self.images.insert(name.into(), config);
        self
    }

    pub(crate) fn parse(&self) -> Dockerfile {
        let parsed = rbuild_parser::parse(self.text.as_bytes());
        let faults: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .collect();
        assert!(faults.is_empty(), "{}: {faults:?}", self.text);
        parsed.dockerfile
    }

    /// Answers questions until there are none.
    pub(crate) fn run(&self) -> Result<Plan, Vec<Diagnostic>> {
        let dockerfile = self.parse();
        let mut bases = BaseImages::new();
        loop {
            match plan(&dockerfile, &self.request, &bases) {
                Planned::Ready(plan) => {
                    validate(&plan);
                    return Ok(*plan);
                }
                Planned::Failed(diagnostics) => return Err(diagnostics),
                Planned::Needs(needs) => {
                    assert!(!needs.is_empty(), "a round without a question");
                    for need in needs {
                        let answer = self.answer(&need.query);
                        let known = bases.insert(need.query, answer);
                        assert!(known.is_none(), "a question was asked twice");
                    }
                }
            }
        }
    }

    pub(crate) fn answer(&self, query: &BaseQuery) -> Result<BaseImage, String> {
        let found = self.images.get(&query.reference);
        let mut config = found.ok_or("not found")?.clone();
        if !query.any_platform {
            config.architecture.clone_from(&query.platform.architecture);
            config.os.clone_from(&query.platform.os);
        }
        let platform = Platform::new(&config.os, &config.architecture);
        Ok(BaseImage {
            digest: Digest::of(query.reference.as_bytes()),
            diff_ids: vec![DiffId(Digest::of(query.reference.as_bytes()))],
            platform,
            config,
        })
    }

    pub(crate) fn plan(&self) -> Plan {
        self.run()
            .unwrap_or_else(|faults| panic!("{}: {faults:?}", self.text))
    }

    /// The config of the only target.
    pub(crate) fn config(&self) -> ImageConfig {
        let plan = self.plan();
        assert_eq!(plan.targets.len(), 1);
        plan.targets[0].config.clone()
    }

    /// Checks `Env`, without the usual `PATH`.
    pub(crate) fn check_env(&self, expected: &[&str]) {
        let env = self.config().config.env.unwrap_or_default();
        let env: Vec<_> = env
            .iter()
            .filter(|entry| !entry.starts_with("PATH=/usr"))
            .collect();
        assert_eq!(env, expected, "{}", self.text);
    }

    /// Checks the history: layers begin with `+`, empty lines with `-`.
    pub(crate) fn check_history(&self, expected: &[&str]) {
        let plan = self.plan();
        let target = &plan.targets[0];
        let lines: Vec<_> = target
            .history
            .iter()
            .map(|(line, step)| {
                assert_eq!(step.is_none(), line.empty_layer);
                assert_eq!(line.comment.as_deref(), Some("buildkit.dockerfile.v0"));
                let mark = if line.empty_layer { "-" } else { "+" };
                format!("{mark}{}", line.created_by.as_deref().unwrap())
            })
            .collect();
        assert_eq!(lines, expected, "{}", self.text);
    }

    /// Checks that there is exactly one fault, by its message and the text that it points to.
    pub(crate) fn check_error(&self, message: &str, place: &str) {
        let faults: Vec<_> = match self.run() {
            Ok(plan) => panic!("{}: no fault\n{}", self.text, plan.to_text()),
            Err(found) => found.into_iter().filter(Diagnostic::is_error).collect(),
        };
        assert_eq!(faults.len(), 1, "{}: {faults:?}", self.text);
        assert_eq!(faults[0].message, message, "{}", self.text);
        let span = faults[0].span;
        assert_eq!(&self.text[span.start..span.end], place, "{}", self.text);
    }

    /// Checks the warnings' messages.
    pub(crate) fn check_warnings(&self, expected: &[&str]) {
        let plan = self.plan();
        let messages: Vec<_> = plan
            .warnings
            .iter()
            .map(|found| found.message.as_str())
            .collect();
        assert_eq!(messages, expected, "{}", self.text);
    }

    /// Checks the warnings' rules, messages and places.
    pub(crate) fn check_findings(&self, expected: &[(&str, &str, &str)]) {
        let plan = self.plan();
        let found: Vec<_> = plan
            .warnings
            .iter()
            .map(|found| {
                let place = &self.text[found.span.start..found.span.end];
                (found.code, found.message.as_str(), place)
            })
            .collect();
        assert_eq!(found, expected, "{}", self.text);
    }

    /// The steps, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let plan = self.plan();
        plan.steps().map(|id| plan.step(id).clone()).collect()
    }

    /// The titles of the steps, in order.
    pub(crate) fn titles(&self) -> Vec<String> {
        self.steps()
            .into_iter()
            .map(|step| step.origin.title)
            .collect()
    }

    /// The only `RUN`.
    pub(crate) fn only_run(&self) -> rbuild_planner::Run {
        let mut runs = self.steps().into_iter().filter_map(|step| match step.kind {
            StepKind::Run(run) => Some(run),
            _ => None,
        });
        let run = runs.next().unwrap();
        assert!(runs.next().is_none());
        run
    }

    /// The only `COPY` or `ADD`.
    pub(crate) fn only_files(&self) -> rbuild_planner::Files {
        let mut all = self.steps().into_iter().filter_map(|step| match step.kind {
            StepKind::Files(files) => Some(files),
            _ => None,
        });
        let files = all.next().unwrap();
        assert!(all.next().is_none());
        files
    }
}

/// Checks what holds for every plan.
fn validate(plan: &Plan) {
    for (number, id) in plan.steps().enumerate() {
        assert_eq!(id.index(), number, "numbers are dense");
        let inputs = plan.inputs(id);
        for (_, input) in &inputs {
            assert!(input.index() < number, "inputs come first");
            assert!(plan.dependents(*input).contains(&id));
        }
        let is_root = matches!(
            plan.step(id).kind,
            StepKind::Scratch | StepKind::Image(_) | StepKind::Local { .. }
        );
        assert_eq!(plan.parent(id).is_none(), is_root);
        let is_used = !plan.dependents(id).is_empty()
            || plan.targets.iter().any(|target| target.rootfs == id);
        assert!(is_used, "step {number} leads nowhere");
    }
    for target in &plan.targets {
        let layers = plan.layers_of(target.rootfs);
        let made: Vec<_> = target
            .history
            .iter()
            .filter_map(|(_, step)| *step)
            .collect();
        assert_eq!(made, layers[1..], "history names the layers upon the base");
        let lines: Vec<_> = target
            .history
            .iter()
            .map(|(line, _)| line.clone())
            .collect();
        assert!(target.config.history.ends_with(&lines));
        assert!(target.config.created.is_none() && target.config.rootfs.diff_ids.is_empty());
    }
}
