//! Every example builds with the same command, twice, and gives what another builder gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Map, Value, json};

use crate::support::image::Image;
use crate::support::peers::Buildah;
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::tree::differences;
use crate::support::{TestEnv, example, need, repository};

/// The examples on busybox.
pub(crate) const ON_BUSYBOX: &[&str] = &[
    "hello",
    "web-app",
    "heredocs",
    "production",
    "archive",
    "fan-out",
    "targets",
];

/// The examples on Debian.
pub(crate) const ON_DEBIAN: &[&str] = &["python-app", "c-static", "static-multiarch", "emulated"];

/// What the examples want.
pub(crate) const NEEDS: &str =
    "examples need docker-registry, skopeo, busybox-static and mmdebstrap";

/// One store for all examples, so that bases and equal steps are made once.
pub(crate) fn shared_env() -> Option<&'static TestEnv> {
    static ENV: OnceLock<Option<TestEnv>> = OnceLock::new();
    ENV.get_or_init(|| {
        let env = TestEnv::with_registry()?;
        env.remove_with_process();
        Some(env)
    })
    .as_ref()
}

/// Returns an example's image, built once per test process in the shared store; `None` if the
/// registry or the example's base is missing.
pub(crate) fn built(name: &str) -> Option<Arc<Image>> {
    static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<Arc<Image>>>>> = Mutex::new(BTreeMap::new());
    let env = shared_env()?;
    if ON_DEBIAN.contains(&name) && !Registry::shared()?.add_debian() {
        return None;
    }
    let cell = Arc::clone(BUILT.lock().unwrap().entry(name.to_owned()).or_default());
    Some(Arc::clone(cell.get_or_init(|| Arc::new(build(env, name)))))
}

/// Builds an example the way its README says and returns the image, checked against a second build.
#[track_caller]
pub(crate) fn build(env: &TestEnv, name: &str) -> Image {
    let tag = format!("{name}:1.0");
    let iidfile = env.out(&format!("{name}.iid"));
    let rbuild = || {
        let mut command = env.command();
        command
            .current_dir(example(name))
            .args(["-f", "Dockerfile.prod", "-t", &tag, "--iidfile"]);
        Run::of(command.arg(&iidfile).arg(".")).ok();
        fs_err::read_to_string(&iidfile).unwrap()
    };
    let first = rbuild();
    assert_eq!(
        rbuild(),
        first,
        "the second build of {name} gives the same image"
    );
    let tar = env.out(&format!("{name}.tar"));
    env.rbuild(["save", "-o", tar.to_str().unwrap(), &tag]).ok();
    let image = Image::from_archive(&tar);
    fs_err::remove_file(&tar).unwrap();
    assert_eq!(image.id, first.trim());
    image
}

/// Compares with what buildah makes of the same Dockerfile.
#[track_caller]
pub(crate) fn compare_with_buildah(name: &str, ours: &Image) {
    need!(
        Buildah::shared().is_some(),
        "comparing needs buildah, runc and root"
    );
    let buildah = Buildah::shared().unwrap();
    let theirs = buildah.build(&example(name), &["-f", "Dockerfile.prod"]);
    let trees = differences(&ours.tree, &theirs.tree);
    assert!(
        trees.is_empty(),
        "{name}: files differ from buildah's: {trees:#?}"
    );
    let (mut ours, mut theirs) = (settings(ours), settings(&theirs));
    if name == "targets" {
        // Debian's buildah forgets SHELL for ENTRYPOINT.
        ours["Entrypoint"] = Value::Null;
        theirs["Entrypoint"] = Value::Null;
    }
    assert_eq!(ours, theirs, "{name}: config differs from buildah's");
}

/// The settings of a config in a form in which absent and empty are the same.
pub(crate) fn settings(image: &Image) -> Value {
    let mut settings = Map::new();
    for name in ["architecture", "os", "variant"] {
        settings.insert(name.to_owned(), image.config[name].clone());
    }
    if let Some(fields) = image.config["config"].as_object() {
        for (name, value) in fields {
            let empty = value.is_null()
                || *value == json!("")
                || *value == json!([])
                || *value == json!({})
                || *value == json!(false);
            if !empty {
                settings.insert(name.clone(), value.clone());
            }
        }
    }
    // Whether a root working directory is spelled out is the builder's choice; so is buildah's
    // repetition of the host name.
    settings.remove("Hostname");
    // BuildKit's mark on every command; it means nothing on Linux.
    settings.remove("ArgsEscaped");
    if settings.get("WorkingDir") == Some(&json!("/")) {
        settings.remove("WorkingDir");
    }
    if let Some(Value::Array(env)) = settings.get_mut("Env") {
        env.sort_by_key(ToString::to_string);
    }
    Value::Object(settings)
}

/// Builds one example and compares it.
fn check(name: &str) {
    let image = built(name);
    need!(image.is_some(), "{NEEDS}");
    // Debian's buildah knows no heredocs.
    if !["heredocs", "emulated"].contains(&name) {
        compare_with_buildah(name, &image.unwrap());
    }
}

#[test]
fn hello_builds() {
    check("hello");
}

#[test]
fn web_app_builds() {
    check("web-app");
}

#[test]
fn heredocs_builds() {
    check("heredocs");
}

#[test]
fn production_builds() {
    check("production");
}

#[test]
fn archive_builds() {
    check("archive");
}

#[test]
fn fan_out_builds() {
    check("fan-out");
}

#[test]
fn targets_builds() {
    check("targets");
}

#[test]
fn python_app_builds() {
    check("python-app");
}

#[test]
fn c_static_builds() {
    check("c-static");
}

#[test]
fn static_multiarch_builds() {
    check("static-multiarch");
}

#[test]
fn emulated_builds() {
    check("emulated");
}

#[test]
fn every_example_is_tested_and_described() {
    let readme =
        fs_err::read_to_string(repository().join("examples/Dockerfiles/README.md")).unwrap();
    for entry in fs_err::read_dir(repository().join("examples/Dockerfiles")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let listed = ON_BUSYBOX
            .iter()
            .chain(ON_DEBIAN)
            .any(|known| *known == name);
        assert!(listed, "{name} has no test");
        assert!(
            readme.contains(&format!("[{name}]({name}/)")),
            "{name} is not in the README"
        );
        for file in ["Dockerfile", "Dockerfile.prod"] {
            assert!(
                Path::new(&entry.path()).join(file).is_file(),
                "{name} has no {file}"
            );
        }
    }
}
