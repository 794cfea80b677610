//! Safe fixes change nothing of what is built; all fixes come to an end.
//!
//! Tried on those in `fixable.txt`, on the Dockerfiles of the cases, of the examples and of
//! `tests/hadolint`, and on all below the folder that `RBUILD_CORPUS` names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::platform::Platform;
use rbuild_parser::checks::fix::{Fix, apply, fixes};
use rbuild_parser::checks::{hadolint, rule};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::parse;
use rbuild_planner::{BaseImage, BaseImages, BaseQuery, Plan, Planned, Request, plan};
use serde_json::json;

use crate::bases;

/// Files with a name and their bytes.
fn files() -> Vec<(String, Vec<u8>)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&top.join("tests/golden/cases"), &mut paths);
    collect(&top.join("examples"), &mut paths);
    assert!(paths.len() > 30, "the search is broken");
    if let Some(corpus) = std::env::var_os("RBUILD_CORPUS").filter(|corpus| !corpus.is_empty()) {
        let n_own = paths.len();
        collect(&Path::new(&corpus).join("build"), &mut paths);
        assert!(
            paths.len() > n_own + 500,
            "there is no corpus at {corpus:?}"
        );
    }
    let read = |path: PathBuf| (path.display().to_string(), fs_err::read(&path).unwrap());
    let mut files: Vec<_> = paths.into_iter().map(read).collect();
    for list in ["tests/golden/fixable.txt", "tests/hadolint/files.txt"] {
        let cases = fs_err::read_to_string(top.join(list)).unwrap();
        let texts = cases.split("---\n");
        files.extend(texts.map(|text| (text.to_owned(), text.as_bytes().to_vec())));
    }
    let commands = fs_err::read_to_string(top.join("tests/hadolint/commands.txt")).unwrap();
    files.extend(commands.lines().map(|line| {
        let text = format!("FROM a:1\nRUN {line}\n");
        (line.to_owned(), text.into_bytes())
    }));
    files
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), paths);
        } else if name.contains("dockerfile") && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
}

/// Applies the wanted fixes until there are none.
fn corrected(name: &str, source: &[u8], wants: impl Fn(&Fix) -> bool) -> Vec<u8> {
    let mut text = source.to_vec();
    for _ in 0..20 {
        let all = fixes(&text, &parse(&text));
        let wanted: Vec<&Fix> = all.iter().filter(|fix| wants(fix)).collect();
        if wanted.is_empty() {
            return text;
        }
        let after = apply(&text, wanted);
        assert_ne!(after, text, "fixes that change nothing: {name}");
        text = after;
    }
    panic!("fixes without end: {name}");
}

#[test]
fn safe_fixes_do_not_change_the_plan() {
    let (mut n_corrected, mut n_built) = (0, 0);
    for (name, source) in files() {
        let after = corrected(&name, &source, |fix| fix.is_safe);
        if after == source {
            continue;
        }
        n_corrected += 1;
        let parsed = parse(&after);
        assert!(!parsed.has_errors(), "{name}: {:?}", parsed.diagnostics);
        let stages = parsed.dockerfile.stages.iter();
        let names = stages.filter_map(|stage| Some(stage.from.name.as_ref()?.value.as_str()));
        for target in names.map(Some).chain([None]) {
            let (before, after) = (planned(&source, target), planned(&after, target));
            n_built += usize::from(before.len() > 1);
            assert_eq!(before, after, "{name}, stage {target:?}");
        }
    }
    assert!(
        n_corrected > 20 && n_built > 20,
        "only {n_corrected} files were corrected"
    );
}

#[test]
fn all_fixes_together_leave_a_dockerfile() {
    for (name, source) in files() {
        let after = corrected(&name, &source, |_| true);
        let parsed = parse(&after);
        assert!(
            parse(&source).has_errors() || !parsed.has_errors(),
            "{name}: {:?}",
            parsed.diagnostics
        );
    }
}

/// `docs/checks.md` has every rule, with its level and what there is to correct it.
#[test]
fn the_documentation_has_all_rules() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs_err::read_to_string(top.join("docs/checks.md")).unwrap();
    let row = |name: &str| {
        let is_row = |line: &&str| {
            line.starts_with(&format!("| [{name}](")) || line.starts_with(&format!("| {name} |"))
        };
        let row = page.lines().find(is_row);
        row.unwrap_or_else(|| panic!("{name} is not in docs/checks.md"))
    };
    let corrections = corrections();
    let correction = |name: &str| match corrections.get(name) {
        None => "",
        Some((true, false)) => "safe",
        Some((false, true)) => "unsafe",
        Some(_) => "safe after SHELL, else unsafe",
    };
    for rule in hadolint::RULES {
        let columns = format!("| {} | {} |", rule.level.name(), correction(rule.name));
        assert!(
            row(rule.name).contains(&columns),
            "{}: {columns}",
            rule.name
        );
        assert!(
            row(rule.name).contains(&rule.help.replace('|', "\\|")),
            "{}",
            rule.name
        );
        assert!(
            row(rule.name).contains(rule.twin().unwrap_or_default()),
            "{}",
            rule.name
        );
    }
    for rule in rule::RULES {
        let column = format!("| {} |", correction(rule.name));
        assert!(row(rule.name).contains(&column), "{}: {column}", rule.name);
        assert!(row(rule.name).contains(rule.description), "{}", rule.name);
    }
}

/// Rules with fixes: whether there are safe ones, whether there are others.
fn corrections() -> BTreeMap<&'static str, (bool, bool)> {
    let mut found = BTreeMap::<_, (bool, bool)>::new();
    for (_, source) in files() {
        for fix in fixes(&source, &parse(&source)) {
            for name in std::iter::once(fix.rule).chain(hadolint::twin(fix.rule)) {
                let (has_safe, has_unsafe) = found.entry(name).or_default();
                *has_safe |= fix.is_safe;
                *has_unsafe |= !fix.is_safe;
            }
        }
    }
    found
}

/// What is built for a stage: steps, their inputs, settings of the image; not what only quotes the
/// file.
fn planned(source: &[u8], target: Option<&str>) -> Vec<String> {
    let dockerfile = parse(source).dockerfile;
    let request = request(target);
    let mut known = BaseImages::new();
    loop {
        match plan(&dockerfile, &request, &known) {
            Planned::Ready(plan) => return shown(&plan),
            Planned::Failed(errors) => {
                return errors
                    .into_iter()
                    .filter(Diagnostic::is_error)
                    .map(|error| error.code.to_owned())
                    .collect();
            }
            Planned::Needs(needs) => {
                known.extend(needs.into_iter().map(|need| {
                    let answer = bases::find(&need.query).unwrap_or_else(|| plain(&need.query));
                    (need.query, answer)
                }));
            }
        }
    }
}

fn shown(plan: &Plan) -> Vec<String> {
    let steps = plan.steps().map(|id| {
        format!(
            "{:?} {:?} {:?}",
            plan.step(id).kind,
            plan.parent(id),
            plan.inputs(id)
        )
    });
    let targets = plan.targets.iter().map(|target| {
        let mut config = serde_json::to_value(&target.config).unwrap();
        config.as_object_mut().unwrap().remove("history");
        config.to_string()
    });
    steps.chain(targets).collect()
}

/// An image of which nothing else is known.
fn plain(query: &BaseQuery) -> Result<BaseImage, String> {
    let diff_id = DiffId(Digest::of(query.reference.as_bytes()));
    let config = json!({
        "architecture": query.platform.architecture,
        "os": query.platform.os,
        "config": {"Env": ["PATH=/bin"], "Shell": ["/bin/other", "-c"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = ImageConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
    Ok(BaseImage {
        digest: Digest::of(&config.to_bytes()),
        diff_ids: vec![diff_id],
        platform: query.platform.clone(),
        config,
    })
}

fn request(target: Option<&str>) -> Request {
    Request {
        target: target.map(str::to_owned),
        ..Request::new(Platform::parse("linux/amd64").unwrap())
    }
}
