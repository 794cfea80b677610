//! What must hold whatever a Dockerfile and the config of its base say: the body of a fuzz target.
//!
//! The target in `fuzz/` calls it with what the fuzzer finds; the test below calls it with the seeds
//! that are kept there, so that what was once broken stays mended without a fuzzer.

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::platform::Platform;
use rbuild_parser::ast::Dockerfile;
use rbuild_parser::checks::fix;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::parse;

use crate::remote::{GitSource, HttpSource, RemoteKind, mask_logins};
use crate::{
    BaseImage, BaseImages, BaseQuery, FileSource, Inspected, Need, Plan, Planned, Request,
    RunMount, StepKind, Tree, inspect, plan,
};

/// Questions come in rounds only as deep as ONBUILD triggers of bases go.
const MAX_ROUNDS: usize = 64;

/// Any Dockerfile is planned or refused, upon any base: every step comes after its inputs, every
/// path is absolute and climbs nowhere, equal questions have equal answers, and what is corrected
/// safely is built the same. After the first NUL comes the config that all bases have, after the
/// second build arguments, one a line.
pub fn planner(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let source = parts.next().unwrap_or_default();
    let config = parts.next().and_then(|text| ImageConfig::parse(text).ok());
    let config = config.unwrap_or_default();
    let mut request = Request::new(Platform::new("linux", "amd64"));
    for line in parts
        .next()
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
    {
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once('=') {
            let (name, value) = (name.to_owned(), value.to_owned());
            request.build_args.push((name, value));
        }
    }
    String::from_utf8_lossy(source)
        .split_whitespace()
        .for_each(remote);
    let parsed = parse(source);
    if parsed.has_errors() {
        return;
    }
    let asked = Asked { request, config };
    let planned = asked.plan(&parsed.dockerfile, source);
    if let Ok(plan) = &planned {
        check_plan(plan, source);
        let again = asked.plan(&parsed.dockerfile, source);
        let again = again.expect("the same question has the same answer");
        assert_eq!(plan.to_text(), again.to_text());
        assert_eq!(plan.to_json(), again.to_json());
    }
    asked.inspect(&parsed.dockerfile, source, planned.is_ok());
    let fixes = fix::fixes(source, &parsed);
    if fixes.iter().any(|fix| fix.is_safe) {
        let text = fix::apply(source, fixes.iter().filter(|fix| fix.is_safe));
        let corrected = asked.plan(&parse(&text).dockerfile, &text);
        assert_eq!(corrected.is_ok(), planned.is_ok());
        if let (Ok(before), Ok(after)) = (&planned, &corrected) {
            assert_eq!(essence(before), essence(after), "a safe correction");
        }
    }
}

/// What is asked besides the file.
struct Asked {
    request: Request,
    config: ImageConfig,
}

impl Asked {
    fn plan(&self, dockerfile: &Dockerfile, source: &[u8]) -> Result<Plan, ()> {
        let mut bases = BaseImages::new();
        for _ in 0..MAX_ROUNDS {
            match plan(dockerfile, &self.request, &bases) {
                Planned::Ready(plan) => return Ok(*plan),
                Planned::Failed(found) => {
                    assert!(found.iter().any(Diagnostic::is_error));
                    check_findings(&found, source);
                    return Err(());
                }
                Planned::Needs(needs) => self.answer(needs, &mut bases, source),
            }
        }
        panic!("one question leads to the next without end");
    }

    fn answer(&self, needs: Vec<Need>, bases: &mut BaseImages, source: &[u8]) {
        assert!(!needs.is_empty(), "a round without a question");
        for Need { query, span } in needs {
            assert!(span.start <= span.end && span.end <= source.len());
            let answer = Ok(self.base(&query));
            let known = bases.insert(query, answer);
            assert!(known.is_none(), "a question was asked twice");
        }
    }

    fn base(&self, query: &BaseQuery) -> BaseImage {
        let mut config = self.config.clone();
        if !query.any_platform {
            config.architecture.clone_from(&query.platform.architecture);
            config.os.clone_from(&query.platform.os);
        }
        let digest = Digest::of(query.reference.as_bytes());
        BaseImage {
            digest,
            diff_ids: vec![DiffId(digest)],
            platform: Platform::new(&config.os, &config.architecture),
            config,
        }
    }

    /// Looking finds nothing wrong with what can be built.
    fn inspect(&self, dockerfile: &Dockerfile, source: &[u8], is_sound: bool) {
        let mut bases = BaseImages::new();
        for _ in 0..MAX_ROUNDS {
            match inspect(dockerfile, &self.request, &bases, false) {
                Inspected::Needs(needs) => self.answer(needs, &mut bases, source),
                Inspected::Done(found) => {
                    check_findings(&found.errors, source);
                    check_findings(&found.warnings, source);
                    assert!(!is_sound || found.errors.is_empty(), "{:?}", found.errors);
                    return;
                }
            }
        }
        panic!("one question leads to the next without end");
    }
}

fn check_findings(findings: &[Diagnostic], source: &[u8]) {
    for finding in findings {
        let spans = finding.labels.iter().map(|(span, _)| span);
        for span in spans.chain([&finding.span]) {
            assert!(span.start <= span.end && span.end <= source.len());
        }
    }
}

fn check_plan(plan: &Plan, source: &[u8]) {
    check_findings(&plan.warnings, source);
    let _graph = plan.to_dot();
    for (number, id) in plan.steps().enumerate() {
        assert_eq!(id.index(), number, "numbers are dense");
        let inputs = plan.inputs(id);
        assert!(inputs.iter().all(|(_, input)| input.index() < number));
        let step = plan.step(id);
        let n_sources = plan.sources(id).len();
        let check_tree = |tree: &Tree| match tree {
            Tree::Context(_) => {}
            Tree::Step(place) => assert!(*place < n_sources, "a source that there is not"),
        };
        assert!(step.origin.span.end <= source.len());
        match &step.kind {
            StepKind::Scratch | StepKind::Image(_) | StepKind::Local { .. } => {
                assert!(plan.parent(id).is_none());
            }
            StepKind::Workdir(workdir) => check_path(&workdir.path),
            StepKind::Files(files) => {
                check_path(&files.dest);
                for source in &files.sources {
                    if let FileSource::Path { from, pattern, .. } = source {
                        check_tree(from);
                        check_climbs(pattern);
                    }
                    if let FileSource::Inline { name, .. } = source {
                        assert!(!matches!(name.as_str(), "" | "." | "..") && !name.contains('/'));
                    }
                }
            }
            StepKind::Run(run) => {
                check_path(&run.cwd);
                run.mounts
                    .iter()
                    .for_each(|mount| check_mount(mount, &check_tree));
            }
        }
    }
    for target in &plan.targets {
        let bytes = target.config.to_bytes();
        let read = ImageConfig::parse(&bytes).expect("a config that is made can be read");
        assert_eq!(read.to_bytes(), bytes);
    }
}

fn check_mount(mount: &RunMount, check_tree: &dyn Fn(&Tree)) {
    match mount {
        RunMount::Bind {
            target,
            from,
            source,
            ..
        } => {
            check_path(target);
            check_path(source);
            check_tree(from);
        }
        RunMount::Cache { target, seed, .. } => {
            check_path(target);
            if let Some((tree, path)) = seed {
                check_tree(tree);
                check_path(path);
            }
        }
        RunMount::Tmpfs { target, .. } => check_path(target),
        RunMount::Ssh { target, .. } => assert!(!target.is_empty()),
        RunMount::Secret { target, env, .. } => assert!(target.is_some() || env.is_some()),
    }
}

fn check_path(path: &str) {
    assert!(path.starts_with('/'), "{path:?} is not absolute");
    check_climbs(path);
}

fn check_climbs(path: &str) {
    assert!(path.split('/').all(|part| part != ".."), "{path:?} climbs");
}

/// What of a plan decides what is built.
fn essence(plan: &Plan) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for id in plan.steps() {
        let step = plan.step(id);
        let (kind, inputs) = (&step.kind, plan.inputs(id));
        let rest = (&step.platform, step.ignore_cache);
        writeln!(text, "{kind:?} {rest:?} {inputs:?}").expect("memory takes all");
    }
    for target in &plan.targets {
        let mut config = target.config.clone();
        config.history.clear();
        let rest = (&target.platform, target.rootfs, plan.epoch);
        writeln!(text, "{config:?} {rest:?}").expect("memory takes all");
    }
    text
}

/// Any word is a remote source or none; no password of a URL is shown.
fn remote(word: &str) {
    let masked = mask_logins(word);
    assert_eq!(masked.len(), word.len());
    let kind = RemoteKind::of_context(word);
    if let Ok(source) = GitSource::parse(word) {
        check_climbs(&source.subdir);
    }
    let Ok(source) = HttpSource::parse(word, None) else {
        return;
    };
    assert!(!source.name.is_empty() && !source.name.contains(['/', '\0']));
    assert!(!matches!(source.name.as_str(), "." | ".."));
    if kind != Some(RemoteKind::Url) || source.login.is_none() {
        return;
    }
    let (_, rest) = word.split_once("://").expect("a URL has a scheme");
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (login, _) = rest[..end].rsplit_once('@').expect("it has a user");
    // Where quotes end a URL in a line is a guess.
    let ends = ["',", "']", "\",", "\"]", "'\"", "\"'", "''", "\"\"", "\\"];
    if ends.iter().any(|end| login.contains(end)) {
        return;
    }
    if let Some((user, password)) = login.split_once(':') {
        let start = word.len() - rest.len() + user.len() + 1;
        let shown = &masked.as_bytes()[start..start + password.len()];
        assert!(shown.iter().all(|byte| *byte == b'x'), "{masked}");
    }
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_of_planner() {
        super::seeds::check_seeds("planner", super::planner);
    }
}
