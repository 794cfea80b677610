//! Whole sessions with Docker, recorded, and what the same commands print here.
//!
//! The recordings lie below `$RBUILD_SHARED`, or in `shared` beside the checkout. Every command in
//! them is run again, against a registry on the loopback interface. What must differ is taken out
//! of both sides before they are compared; [`Redaction`] lists all of it with the reasons.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::image::sha256;
use crate::support::peers;
use crate::support::registry::{Door, Registry};
use crate::support::run::Run;
use crate::support::saved::{RECORDED_HOST, Saved, recorded_images};
use crate::support::{TestEnv, need};

const NEEDS: &str =
    "this needs the recorded sessions (set RBUILD_SHARED), docker-registry and skopeo";

/// A recorded command, what it printed, its exit status, and the entries of the archive it wrote.
struct Step {
    command: String,
    lines: Vec<String>,
    code: i32,
    entries: Vec<String>,
}

impl Step {
    fn words(&self) -> Vec<&str> {
        self.command.split_whitespace().collect()
    }

    /// The command without its arguments: `image prune`, `push`.
    fn name(&self) -> String {
        let words = self.words();
        let n_words = if ["image", "system"].contains(&words[0]) {
            2
        } else {
            1
        };
        words[..n_words].join(" ")
    }
}

fn session(name: &str) -> Option<Vec<Step>> {
    let shared = std::env::var_os("RBUILD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let text = fs_err::read_to_string(shared.join("images-data").join(name)).ok()?;
    let mut steps: Vec<Step> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ docker ") {
            steps.push(Step {
                command: command.to_owned(),
                lines: Vec::new(),
                code: 0,
                entries: Vec::new(),
            });
            is_open = true;
            continue;
        }
        // The first line ends a command that was not recorded.
        let Some(step) = steps.last_mut() else {
            continue;
        };
        let code = line
            .strip_prefix("[rc=")
            .and_then(|rest| rest.strip_suffix(']'));
        match code {
            Some(code) => {
                step.code = code.parse().unwrap();
                is_open = false;
            }
            None if is_open => step.lines.push(line.to_owned()),
            None => step.entries.push(line.to_owned()),
        }
    }
    Some(steps)
}

/// What is taken out, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redaction {
    /// Times since then, and with them the width of columns.
    Ages,
    /// The version of the interface before 1.44 had one size more.
    VirtualSize,
    /// Go's maps have no order: rows of images made in one second, and lines of layers that were
    /// sent at the same time.
    Order,
    /// The builder of the classic engine kept an image for every line of a Dockerfile.
    Parents,
    /// Today's engine names an image by its manifest or index; here it has the ID of its config, as
    /// in the classic look.
    ManifestIds,
    /// Today's engine counts blobs, and files in units of a file system's; this store counts bytes
    /// of files as the classic engine does, and on disk what is on disk.
    Sizes,
    /// Today's engine does not list images without a name.
    HiddenImages,
    /// There are no containers to count and none to keep an image.
    Containers,
    /// There are no volumes; the classic engine had one left over.
    Volumes,
    /// What else the machine had in its build cache.
    Cache,
    /// `system df` counts an image with a name as used: there are no containers that could use it.
    Used,
    /// The rows of a store without a daemon: cache mounts, git mirrors and the like.
    OwnRows,
    /// Stacks of layers that go with an image: the classic engine and this store name them, today's
    /// engine does not.
    Layers,
    /// Today's engine prints no `Preparing`, names blobs where it pushes, and keeps the digest of an
    /// untagged repository; the classic look is followed.
    PushedBlobs,
    /// Shown or not as it happened to be seen.
    Verifying,
    /// The other engine's cache kept the base, this store pruned it: it goes, and is pulled again.
    Base,
    /// Manifests made here are OCI's, and another tool's are of another length.
    Manifests,
    /// That engine gave one of two names of an image, neither of them pulled, a digest.
    BaseDigest,
    /// No daemon says it.
    Daemon,
    /// A name that another engine gave images without one, and images of another test.
    NamesOfTheNameless,
}

use Redaction as R;

/// What images are called on both sides.
const IMAGES: &[&str] = &["BASE", "APP", "DANGLING", "OTHER"];

/// Of each command of the classic session.
const CLASSIC: &[(&str, &[Redaction])] = &[
    ("images", &[R::Ages, R::VirtualSize, R::Order]),
    ("history", &[R::Ages, R::Parents]),
    ("image inspect", &[]),
    ("push", &[R::Order, R::Manifests]),
    ("tag", &[]),
    (
        "system df",
        &[R::Ages, R::Sizes, R::Volumes, R::Cache, R::Used, R::OwnRows],
    ),
    ("save", &[]),
    ("rmi", &[R::Parents, R::Manifests]),
    ("load", &[]),
    ("image prune", &[R::Order, R::Base, R::Sizes]),
    ("pull", &[R::Order, R::Verifying, R::Base, R::Manifests]),
];

/// Of each command of today's session.
const TODAY: &[(&str, &[Redaction])] = &[
    (
        "images",
        &[
            R::Ages,
            R::Order,
            R::ManifestIds,
            R::Sizes,
            R::HiddenImages,
            R::Containers,
            R::BaseDigest,
        ],
    ),
    ("history", &[R::Ages, R::ManifestIds, R::Sizes]),
    ("image inspect", &[R::ManifestIds, R::Sizes]),
    ("push", &[R::Order, R::PushedBlobs, R::Manifests]),
    ("tag", &[]),
    (
        "system df",
        &[
            R::Ages,
            R::Sizes,
            R::Volumes,
            R::Cache,
            R::Used,
            R::OwnRows,
            R::ManifestIds,
            R::Containers,
        ],
    ),
    ("save", &[]),
    (
        "rmi",
        &[R::Daemon, R::ManifestIds, R::Layers, R::PushedBlobs],
    ),
    ("load", &[]),
    (
        "image prune",
        &[
            R::Order,
            R::ManifestIds,
            R::Layers,
            R::Sizes,
            R::Containers,
            R::NamesOfTheNameless,
        ],
    ),
    ("pull", &[R::Order, R::Base, R::PushedBlobs]),
];

/// Names for what has other digests here and there.
struct Names(Vec<(String, String)>);

impl Names {
    fn add(&mut self, digest: &str, name: &str) {
        let hex = digest.trim_start_matches("sha256:");
        self.0.push((format!("sha256:{hex}"), name.to_owned()));
        self.0.push((hex[..12].to_owned(), name.to_owned()));
    }

    fn put_in(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (digest, name) in &self.0 {
            line = line.replace(digest, name);
        }
        line
    }
}

fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chains: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        chains.push(match chains.last() {
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        });
    }
    chains
}

/// Names layers by their places; not the lowest, which is a stack of its own.
fn add_layers(names: &mut Names, diff_ids: &[String]) {
    for (place, chain) in chain_ids(diff_ids).iter().enumerate().skip(1) {
        names.add(chain, &format!("STACK{place}"));
    }
    for (place, diff_id) in diff_ids.iter().enumerate() {
        names.add(diff_id, &format!("LAYER{place}"));
    }
}

/// Names the blobs of the layers that both sessions pull.
fn add_recorded_blobs(names: &mut Names) {
    let blobs = [
        "d7dcbb263c5c",
        "55dcb4cc07b8",
        "5339886740f3",
        "a0892612d89a",
    ];
    for (place, blob) in blobs.into_iter().enumerate() {
        names.0.push((blob.to_owned(), format!("LAYER{place}")));
    }
}

/// Names the images of today's session by their manifests.
fn add_todays_images(names: &mut Names) {
    for (digest, name) in [
        (
            "630ed7aa7afba0e615742270f1ea8bb61b01839645243d0e713421c99a3fe50f",
            "APP",
        ),
        (
            "d37522b4daf5c6aee4178d09faf414935076f405af3e1ae538fdd039fdec8d80",
            "BASE",
        ),
        (
            "9bd3bacdf44f27472979582831ea1b0a9f3c0719c12b7e370264eeea77d5cc41",
            "DANGLING",
        ),
        (
            "795451f8e8f9afe757ca0f4d85abb04c893f6e7b8fb9b2f4653b9dc69fe4b9a7",
            "NOBODY",
        ),
    ] {
        names.add(digest, name);
    }
    names
        .0
        .push(("969f0f7a07b0".to_owned(), "OTHER".to_owned()));
}

/// The layers of the image that a recorded session shows.
fn recorded_layers(steps: &[Step]) -> Vec<String> {
    let inspect = steps
        .iter()
        .find(|step| step.name() == "image inspect")
        .unwrap();
    let document: Value = serde_json::from_str(&inspect.lines.join("\n")).unwrap();
    let layers = document[0]["RootFS"]["Layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| layer.as_str().unwrap().to_owned())
        .collect()
}

/// Digests of what an image in a registry consists of: the manifest, and the layers' blobs.
fn blobs(name: &str) -> (String, Vec<String>) {
    let source = format!("docker://{name}");
    let run = peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    let manifest: Value = serde_json::from_str(&run.stdout).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let layers = layers.map(|layer| layer["digest"].as_str().unwrap().to_owned());
    (sha256(run.stdout.as_bytes()), layers.collect())
}

/// One side of a comparison.
struct Side<'a> {
    redactions: &'a [Redaction],
    names: &'a Names,
}

impl Side<'_> {
    fn redacts(&self, redaction: Redaction) -> bool {
        self.redactions.contains(&redaction)
    }

    fn lines(&self, text: &[String], name: &str) -> Vec<String> {
        let lines = text.iter().map(|line| self.names.put_in(line));
        let mut lines: Vec<String> = lines.filter_map(|line| self.line(&line, name)).collect();
        if self.redacts(R::Order) {
            lines.sort();
        }
        lines
    }

    /// A line without what is taken out; `None` if nothing of it counts.
    fn line(&self, line: &str, name: &str) -> Option<String> {
        let is_dropped = (self.redacts(R::Verifying) && line.ends_with(": Verifying Checksum"))
            || (self.redacts(R::Base)
                && (line.starts_with("LAYER0: ") || line == "deleted: LAYER0"))
            || (self.redacts(R::PushedBlobs) && line.ends_with(": Preparing"))
            || (self.redacts(R::PushedBlobs)
                && line.starts_with("Untagged: ")
                && line.contains('@'))
            || (self.redacts(R::Parents) && name == "rmi" && line.starts_with("Deleted: sha256:"))
            || (self.redacts(R::Layers) && is_layer(line))
            || (self.redacts(R::Containers) && line == "deleted: OTHER")
            || (self.redacts(R::NamesOfTheNameless) && line.starts_with("untagged: DANGLING"))
            || (self.redacts(R::NamesOfTheNameless) && line.ends_with("NOBODY"))
            || (self.redacts(R::NamesOfTheNameless) && line == "untagged: BASE");
        if is_dropped {
            return None;
        }
        if let Ok(Value::Object(mut fields)) = serde_json::from_str(line) {
            if self.redacts(R::Ages) {
                fields.remove("CreatedSince");
            }
            if self.redacts(R::VirtualSize) {
                fields.remove("VirtualSize");
            }
            if self.redacts(R::Sizes) {
                fields.remove("Size");
            }
            if self.redacts(R::Containers) {
                fields.remove("Containers");
            }
            if self.redacts(R::HiddenImages) && fields["Repository"] == "<none>" {
                return None;
            }
            let is_escaped = line.contains("\\u003cnone\\u003e");
            return Some(format!("{is_escaped} {}", Value::Object(fields)));
        }
        let mut line = line.to_owned();
        if self.redacts(R::Daemon) {
            line = line.replace("Error response from daemon: ", "");
        }
        if self.redacts(R::Ages) {
            line = without_age(&line);
        }
        if self.redacts(R::Sizes) {
            // With `--human=false` they are numbers.
            let is_number = |word: &str| name == "history" && word.parse::<u64>().is_ok();
            let shown = |word| {
                if is_size(word) || is_number(word) {
                    "SIZE"
                } else {
                    word
                }
            };
            line = line.split(' ').map(shown).collect::<Vec<_>>().join(" ");
        }
        if self.redacts(R::Manifests)
            && let Some(place) = line.find(" size: ")
        {
            line.truncate(place);
        }
        // Ages and digests change the widths of columns.
        let is_table = self.redacts(R::Ages) || self.redacts(R::Sizes);
        if is_table {
            line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        if self.redacts(R::BaseDigest) && line.starts_with("base 1 BASE BASE ") {
            line = line.replacen("BASE", "<none>", 1);
        }
        if self.redacts(R::Containers)
            && let Some(rest) = line.strip_suffix(" U")
        {
            line.truncate(rest.len());
        }
        Some(line)
    }
}

/// A line for a layer that went with its image.
fn is_layer(line: &str) -> bool {
    let rest = line
        .strip_prefix("deleted: ")
        .or(line.strip_prefix("Deleted: "));
    rest.is_some_and(|rest| {
        ["sha256:", "STACK", "LAYER"]
            .iter()
            .any(|start| rest.starts_with(start))
    })
}

fn is_size(word: &str) -> bool {
    let number = word.trim_end_matches('B').trim_end_matches(['k', 'M', 'G']);
    word.ends_with('B') && number.parse::<f64>().is_ok()
}

fn without_age(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(ago) = words.iter().position(|word| *word == "ago") else {
        return line.to_owned();
    };
    let is_age = |word: &&str| {
        word.parse::<u64>().is_ok()
            || ["Less", "than", "a", "About", "an"].contains(word)
            || ["second", "minute", "hour", "day", "week", "month", "year"]
                .contains(&word.trim_end_matches('s'))
    };
    let start = words[..ago].iter().rposition(|word| !is_age(word));
    let start = start.map_or(0, |place| place + 1);
    let mut words = words.clone();
    words.splice(start..=ago, ["AGE"]);
    words.join(" ")
}

/// Both sides of a session.
struct Comparison<'a> {
    env: &'a TestEnv,
    host: &'a str,
    redactions: &'a [(&'a str, &'a [Redaction])],
    theirs: Names,
    ours: Names,
    /// True if `images` alone is the view with sizes on disk.
    has_new_look: bool,
}

impl Comparison<'_> {
    /// Runs a recorded command here and compares what it prints.
    fn replay(&self, step: &Step) {
        let name = step.name();
        let (_, redactions) = self
            .redactions
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        let archive = self.env.out("g.tar");
        let mut words: Vec<String> = step
            .words()
            .iter()
            .map(|word| word.replace(RECORDED_HOST, self.host))
            .map(|word| word.replace("[DIR]/g.tar", archive.to_str().unwrap()))
            .collect();
        let looks = ["--digests", "--no-trunc", "-q", "--format"];
        let has_tree = self.has_new_look
            && name == "images"
            && !words.iter().any(|word| looks.contains(&word.as_str()));
        if has_tree {
            words.push("--tree".to_owned());
        }
        let run = self.env.rbuild(&words);
        assert_eq!(run.code, Some(step.code), "{}", run.report());
        let side = |names| Side { redactions, names };
        let printed = run.stdout.replace(self.host, RECORDED_HOST);
        let printed: Vec<String> = printed.lines().map(str::to_owned).collect();
        match name.as_str() {
            "image inspect" => return self.compare_documents(step, &printed),
            "system df" => return self.compare_usage(step, &run),
            "save" => self.compare_archive(step),
            _ => {}
        }
        if step.code != 0 {
            // What is wrong stands on standard error here.
            let expected = side(&self.theirs).lines(&step.lines, &name).join("\n");
            run.says(&expected);
            return;
        }
        let mut expected = side(&self.theirs).lines(&step.lines, &name);
        let mut actual = side(&self.ours).lines(&printed, &name);
        if name == "history" && redactions.contains(&R::Parents) {
            for line in expected.iter_mut().chain(&mut actual) {
                let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
                if !["IMAGE", "APP"].contains(&first) {
                    *line = rest.to_owned();
                }
            }
        }
        if has_tree {
            // The view has a line for each platform, and one between images.
            actual.retain(|line| !line.starts_with("└─") && !line.is_empty());
        }
        if redactions.contains(&R::HiddenImages) && !step.command.contains("dangling") {
            let nameless = ["<untagged>", "<none> <none>", "DANGLING", "OTHER"];
            actual.retain(|line| !nameless.iter().any(|start| line.starts_with(start)));
        }
        assert_eq!(actual, expected, "{}", run.report());
    }

    /// Everything that the recorded document says and that is not another engine's.
    fn compare_documents(&self, step: &Step, printed: &[String]) {
        let parse = |lines: &[String], names: &Names| -> Value {
            serde_json::from_str(&names.put_in(&lines.join("\n"))).unwrap()
        };
        let theirs = &parse(&step.lines, &self.theirs)[0];
        let ours = &parse(printed, &self.ours)[0];
        // Its containers, its builder, where it has the files, and when the test ran.
        let other = [
            "Parent",
            "Container",
            "ContainerConfig",
            "DockerVersion",
            "VirtualSize",
            "GraphDriver",
            "Metadata",
        ];
        let today = ["Size", "Descriptor"];
        for (field, value) in theirs.as_object().unwrap() {
            let is_other = other.contains(&field.as_str())
                || (self.has_new_look && today.contains(&field.as_str()))
                // A pushed image has a digest; which session pushed first is chance.
                || (!self.has_new_look && field == "RepoDigests");
            // What is empty is left out today.
            let is_left_out = *value == "" && ours.get(field).is_none();
            if is_other || is_left_out {
                continue;
            }
            if field == "Config" {
                for (field, value) in value.as_object().unwrap() {
                    let is_empty =
                        matches!(value, Value::Null | Value::Bool(false)) || *value == "";
                    if !is_empty && field != "Image" {
                        assert_eq!(ours["Config"][field], *value, "{field}");
                    }
                }
                continue;
            }
            assert_eq!(ours[field], *value, "{field}");
        }
        if self.has_new_look {
            let names = |value: &Value| {
                value
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
            };
            assert_eq!(names(&ours["Config"]), names(&theirs["Config"]));
            assert_eq!(
                ours["Descriptor"]["mediaType"],
                theirs["Descriptor"]["mediaType"]
            );
            let mut ours = names(ours);
            // What older engines had as well.
            ours.retain(|name| name != "Parent");
            assert_eq!(ours, names(theirs));
        }
    }

    /// Titles, the rows of the same kinds, and of each image its size.
    fn compare_usage(&self, step: &Step, run: &Run) {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let ours: Vec<String> = run.stdout.lines().map(words).collect();
        for line in &step.lines {
            let line = words(line);
            let is_title = line.to_uppercase() == line && !line.contains("sha256");
            if is_title || (line.ends_with(" usage:") && !line.starts_with("Build cache")) {
                assert!(ours.contains(&line), "{line}\n{}", run.report());
            }
        }
        let row = |name: &str| {
            let row = ours.iter().find(|line| line.starts_with(name));
            row.unwrap_or_else(|| panic!("{name}\n{}", run.report()))
                .clone()
        };
        if step.command == "system df" {
            let n_images = step
                .lines
                .iter()
                .find(|line| line.starts_with("Images"))
                .unwrap();
            let n_images = n_images.split_whitespace().nth(1).unwrap();
            assert!(
                row("Images").starts_with(&format!("Images {n_images} ")),
                "{}",
                run.report()
            );
            assert_eq!(row("Containers"), "Containers 0 0 0B 0B");
            assert_eq!(row("Local Volumes"), "Local Volumes 0 0 0B 0B");
            row("Build Cache");
            return;
        }
        row("Build cache usage: ");
        let image = |line: &str, names: &Names| {
            let line = without_age(&names.put_in(line));
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_image = words.get(2).is_some_and(|id| IMAGES.contains(id));
            is_image.then(|| {
                let size = if self.has_new_look { "SIZE" } else { words[4] };
                (words[2].to_owned(), size.to_owned(), words[7].to_owned())
            })
        };
        let theirs = step
            .lines
            .iter()
            .filter_map(|line| image(line, &self.theirs));
        let mut theirs: Vec<_> = theirs.collect();
        let ours = run
            .stdout
            .lines()
            .filter_map(|line| image(line, &self.ours));
        let mut ours: Vec<_> = ours.collect();
        if self.has_new_look {
            theirs
                .iter_mut()
                .filter(|row| row.0 == "OTHER")
                .for_each(|row| row.2 = "0".to_owned());
        }
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{}", run.report());
    }

    /// The entries of the archive, if it is of today's kind.
    fn compare_archive(&self, step: &Step) {
        if !self.has_new_look {
            return;
        }
        let file = fs_err::File::open(self.env.out("g.tar")).unwrap();
        let mut archive = tar::Archive::new(file);
        let entries = archive.entries().unwrap();
        let entries: Vec<String> = entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        // That engine left blobs out; each must be one.
        let is_blob = |name: &&String| name.len() > "blobs/sha256/".len();
        let (blobs, others): (Vec<&String>, Vec<&String>) = entries
            .iter()
            .partition(|name| name.starts_with("blobs/sha256/") && is_blob(name));
        assert!(blobs.len() > 4 && blobs.is_sorted());
        assert!(
            blobs
                .iter()
                .all(|blob| blob.len() == "blobs/sha256/".len() + 64)
        );
        let expected = step.entries.iter();
        let expected: Vec<&String> = expected
            .filter(|name| !(name.starts_with("blobs/sha256/") && is_blob(name)))
            .collect();
        assert_eq!(others, expected);
    }
}

/// Loads images that only the registry is to know, and pushes them.
fn push_from_elsewhere(images: &[&Saved], names: &[&str]) {
    let env = TestEnv::new();
    for image in images {
        image.load(&env);
    }
    for pair in names.chunks(2) {
        env.rbuild(["tag", pair[0], pair[1]]).ok();
        env.rbuild(["push", "-q", pair[1]]).ok();
    }
}

#[test]
fn a_session_with_the_classic_engine() {
    let steps = session("golden-cli28.2-engine20.10.txt");
    need!(steps.is_some() && Registry::shared().is_some(), "{NEEDS}");
    let steps = steps.unwrap();
    let registry = Registry::behind(&Door::default());
    let host = &registry.address;
    let images = recorded_images(host);
    let [base, app, _] = &images;
    // The registry had the base, as part of an older image.
    push_from_elsewhere(&[base], &["base:1", &format!("{host}/team/app:0")]);
    let env = TestEnv::new();
    for image in &images {
        image.load(&env);
    }
    let (mut theirs, mut ours) = (Names(Vec::new()), Names(Vec::new()));
    let recorded = ["08f12c09137b", "795cca6ceaa2", "6a597e58b2bd"];
    for ((image, recorded), name) in images.iter().zip(recorded).zip(["BASE", "APP", "DANGLING"]) {
        ours.add(&image.id(), name);
        let full = steps.iter().flat_map(|step| &step.lines).find_map(|line| {
            let place = line.find(&format!("sha256:{recorded}"))?;
            Some(line[place..place + 71].to_owned())
        });
        theirs.add(&full.unwrap(), name);
    }
    add_layers(&mut theirs, &recorded_layers(&steps));
    add_layers(&mut ours, &app.diff_ids());
    let manifest = "sha256:630ed7aa7afba0e615742270f1ea8bb61b01839645243d0e713421c99a3fe50f";
    theirs.add(manifest, "MANIFEST");
    add_recorded_blobs(&mut theirs);
    let mut comparison = Comparison {
        env: &env,
        host,
        redactions: CLASSIC,
        theirs,
        ours,
        has_new_look: false,
    };
    let mut n_pushed = 0;
    for step in &steps {
        if step.name() == "push" {
            n_pushed += 1;
        }
        if n_pushed == 1 && step.name() == "push" {
            // What the registry gets is known before: the same image pushed from elsewhere.
            let name = format!("{host}/elsewhere/app:1");
            push_from_elsewhere(&[app], &["app:1", &name]);
            let (manifest, layers) = blobs(&name);
            comparison.ours.add(&manifest, "MANIFEST");
            for (place, layer) in layers.iter().enumerate() {
                comparison.ours.add(layer, &format!("LAYER{place}"));
            }
        }
        comparison.replay(step);
    }
    assert_eq!(n_pushed, 4);
}

#[test]
fn a_session_with_todays_engine() {
    let steps = session("golden-cli29.8-engine29.txt");
    need!(steps.is_some() && Registry::shared().is_some(), "{NEEDS}");
    let steps = steps.unwrap();
    let registry = Registry::behind(&Door::default());
    let host = &registry.address;
    let [_, app, dangling] = recorded_images(host);
    let imported = (19, "", "imported base", Some(1_982_298));
    // It was imported anew.
    let base = Saved::new(
        &[&format!("{host}/base:1"), "base:1"],
        "2026-11-21T01:13:28Z",
        serde_json::json!({}),
        &[imported],
    );
    let other = Saved::new(
        &[],
        "2026-11-21T01:13:24Z",
        serde_json::json!({}),
        &[(20, "/bin/sh -c #(nop) OTHER", "", None), imported],
    );
    let env = TestEnv::new();
    // The image was pulled; Docker had pushed it, all of its layers to both repositories.
    let archive = env.out("app.tar");
    fs_err::write(&archive, app.archive()).unwrap();
    let source = format!("docker-archive:{}:app:1", archive.display());
    let name = format!("{host}/team/app:1.0");
    for place in ["team/app:1.0", "team/app2:0"] {
        registry.push(&source, place, &["--format=v2s2"]);
    }
    env.rbuild(["pull", "-q", &name]).ok();
    for image in [&base, &dangling, &other] {
        image.load(&env);
    }
    let (mut theirs, mut ours) = (Names(Vec::new()), Names(Vec::new()));
    let (manifest, layers) = blobs(&name);
    for digest in [&app.id(), &manifest] {
        ours.add(digest, "APP");
    }
    ours.add(&base.id(), "BASE");
    ours.add(&dangling.id(), "DANGLING");
    ours.add(&other.id(), "OTHER");
    add_layers(&mut theirs, &recorded_layers(&steps));
    add_layers(&mut ours, &app.diff_ids());
    for (place, layer) in layers.iter().enumerate() {
        ours.add(layer, &format!("LAYER{place}"));
    }
    add_todays_images(&mut theirs);
    add_recorded_blobs(&mut theirs);
    let comparison = Comparison {
        env: &env,
        host,
        redactions: TODAY,
        theirs,
        ours,
        has_new_look: true,
    };
    for step in &steps {
        comparison.replay(step);
    }
}
