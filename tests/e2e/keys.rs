//! What a change between two builds makes rbuild do again: the rows of the reference's table of
//! cache keys. Progress says which steps came from the cache.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::run::Run;
use crate::support::{TestEnv, bases, is_root, need};

const NEEDS: &str = "this needs busybox-static";

/// A store and a context that is built, changed and built again.
struct Case {
    env: TestEnv,
    context: PathBuf,
}

impl Case {
    /// Imports busybox and builds this Dockerfile for the first time; `None` without busybox.
    fn new(dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> Option<Self> {
        let env = TestEnv::new();
        env.import(bases::busybox()?, "busybox");
        let context = env.context("ctx", files);
        let case = Self { env, context };
        case.write("Dockerfile", dockerfile);
        let first = case.steps(args);
        let fresh = first.iter().all(|(_, is_cached)| !is_cached);
        assert!(fresh, "a new store knows nothing: {first:?}");
        Some(case)
    }

    fn write(&self, name: &str, text: &str) {
        self.env.context("ctx", &[(name, text)]);
    }

    /// Builds; returns what every `RUN`, `COPY` and `WORKDIR` is and whether its result was known,
    /// in the order of progress numbers.
    #[track_caller]
    fn steps(&self, args: &[&str]) -> Vec<(String, bool)> {
        let run = Run::of(
            self.env
                .command()
                .args(["build", "--progress=plain"])
                .args(args)
                .arg(&self.context),
        );
        steps(&run.ok().stderr)
    }

    /// Builds again and compares: `hit` or `miss` and the instruction, one a step.
    #[track_caller]
    fn check(&self, row: &str, args: &[&str], expected: &[&str]) {
        let steps = self.steps(args);
        let found: Vec<String> = steps
            .iter()
            .map(|(step, is_cached)| {
                let keyword = step.split(' ').next().unwrap_or_default();
                format!("{} {keyword}", if *is_cached { "hit" } else { "miss" })
            })
            .collect();
        assert_eq!(found, expected, "{row}: {steps:?}");
    }
}

/// Reads plain progress: `#4 [2/3] RUN x`, `#4 CACHED`.
fn steps(progress: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for line in progress.lines() {
        let Some((number, title)) = line.split_once(" [") else {
            continue;
        };
        let Some((_, step)) = title.split_once("] ") else {
            continue;
        };
        let is_step = ["RUN", "COPY", "ADD", "WORKDIR"]
            .iter()
            .any(|word| step.starts_with(word));
        if number.starts_with('#') && is_step {
            let is_cached = progress
                .lines()
                .any(|line| line == format!("{number} CACHED"));
            found.push((step.to_owned(), is_cached));
        }
    }
    found
}

#[test]
fn q1_to_q3_what_counts_of_files() {
    let dockerfile = "FROM busybox\nCOPY f /x\nCOPY d /d\n";
    let files = [("f", "F"), ("d/a", "A"), ("d/b", "B")];
    let case = Case::new(dockerfile, &files, &[]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    let file = case.context.join("f");
    let opened = fs_err::File::options().append(true).open(&file).unwrap();
    opened
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    case.check("Q1", &[], &["hit COPY", "hit COPY"]);
    if is_root() {
        std::os::unix::fs::chown(&file, Some(77), Some(78)).unwrap();
        case.check("Q2, owner", &[], &["hit COPY", "hit COPY"]);
    }
    fs_err::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    // What a COPY makes is the next one's parent.
    case.check("Q2, mode", &[], &["miss COPY", "miss COPY"]);
    fs_err::rename(case.context.join("d/a"), case.context.join("d/c")).unwrap();
    case.check("Q3", &[], &["hit COPY", "miss COPY"]);
}

#[test]
fn q4_where_a_file_lies_does_not_count() {
    let case = Case::new(
        "FROM busybox\nCOPY f /x\n",
        &[("f", "F"), ("g/f", "F")],
        &[],
    );
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    case.write("Dockerfile", "FROM busybox\nCOPY g/f /x\n");
    case.check("Q4", &[], &["hit COPY"]);
}

#[test]
fn q5_q6_build_args() {
    let dockerfile = "FROM busybox\nARG X\nCOPY f /x\nRUN echo fixed > /r\n";
    let case = Case::new(dockerfile, &[("f", "F")], &["--build-arg", "X=1"]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    for other in ["OTHER=1", "HTTP_PROXY=http://p", "https_proxy=http://q"] {
        let args = ["--build-arg", "X=1", "--build-arg", other];
        case.check("Q6", &args, &["hit COPY", "hit RUN"]);
    }
    case.check("Q5", &["--build-arg", "X=2"], &["hit COPY", "miss RUN"]);
}

#[test]
fn q7_the_value_of_a_secret_does_not_count() {
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s test -s /run/secrets/s\n";
    let secret = |case: &TestEnv, value: &str| {
        fs_err::write(case.path("secret"), value).unwrap();
        format!("--secret=id=s,src={}", case.path("secret").display())
    };
    let env = TestEnv::new();
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    env.import(busybox.unwrap(), "busybox");
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let case = Case { env, context };
    let one = secret(&case.env, "one");
    case.check("Q7, first", &[&one], &["miss RUN"]);
    let two = secret(&case.env, "two");
    case.check("Q7", &[&two], &["hit RUN"]);
}

#[test]
fn q8_caches_do_not_count() {
    let dockerfile = |options: &str| {
        format!("FROM busybox\nRUN --mount=type=cache,target=/c{options} touch /c/x\n")
    };
    let case = Case::new(&dockerfile(",id=a"), &[], &[]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    for options in [",id=b", ",id=b,sharing=locked", ",id=b,sharing=private"] {
        case.write("Dockerfile", &dockerfile(options));
        case.check(&format!("Q8{options}"), &[], &["hit RUN"]);
    }
    // Other than for BuildKit, one without an id is no different.
    case.write("Dockerfile", &dockerfile(""));
    case.check("Q8, default", &[], &["hit RUN"]);
}

#[test]
fn q9_extra_hosts_count_by_name() {
    let hosts = |hosts: &'static [&'static str]| -> Vec<&'static str> {
        hosts.iter().flat_map(|host| ["--add-host", host]).collect()
    };
    let case = Case::new("FROM busybox\nRUN true\n", &[], &hosts(&["a:1.1.1.1"]));
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    case.check("Q9, address", &hosts(&["a:2.2.2.2"]), &["hit RUN"]);
    case.check(
        "Q9, name",
        &hosts(&["a:1.1.1.1", "b:1.1.1.1"]),
        &["miss RUN"],
    );
}

#[test]
fn q10_q11_text_does_not_count_and_env_does() {
    let case = Case::new(
        "FROM busybox\nLABEL a=1\nENV E=1\nRUN true\nWORKDIR /w\n",
        &[],
        &[],
    );
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    let text = "# note\n\nFROM busybox\nLABEL a=2 b=3\n\nENV E=1\n# note\nRUN true\nWORKDIR /w\n";
    case.write("Dockerfile", text);
    case.check("Q10", &["--label", "c=4"], &["hit RUN", "hit WORKDIR"]);
    case.write(
        "Dockerfile",
        "FROM busybox\nENV E=2\nRUN true\nWORKDIR /w\n",
    );
    // The RUN makes the same bytes again, so what follows need not be done.
    case.check("Q11", &[], &["miss RUN", "hit WORKDIR"]);
}

#[test]
fn q12_a_base_counts_by_its_digest() {
    let case = Case::new("FROM busybox\nRUN true\n", &[], &[]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    case.env.rbuild(["tag", "busybox", "other:1"]).ok();
    case.write("Dockerfile", "FROM other:1\nRUN true\n");
    case.check("Q12", &[], &["hit RUN"]);
}

#[test]
fn q13_the_same_tree_elsewhere() {
    let files = [("f", "F"), ("d/a", "A")];
    let dockerfile = "FROM busybox\nCOPY . /c\nRUN true\n";
    let case = Case::new(dockerfile, &files, &[]);
    need!(case.is_some(), "{NEEDS}");
    let mut case = case.unwrap();
    case.context = case.env.context("moved", &files);
    case.env.context("moved", &[("Dockerfile", dockerfile)]);
    case.check("Q13", &[], &["hit COPY", "hit RUN"]);
}

#[test]
fn q14_a_stage_counts_by_what_is_copied_from_it() {
    let dockerfile = |command: &str| {
        format!(
            "FROM busybox AS a\nRUN {command}\nFROM busybox\nCOPY --from=a /out /out\nRUN true\n"
        )
    };
    let case = Case::new(&dockerfile("echo 1 > /out"), &[], &[]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    case.write(
        "Dockerfile",
        &dockerfile("echo 1 > /out; echo 2 > /elsewhere"),
    );
    case.check("Q14", &[], &["miss RUN", "hit COPY", "hit RUN"]);
    case.write("Dockerfile", &dockerfile("echo 3 > /out"));
    case.check("Q14, changed", &[], &["miss RUN", "miss COPY", "miss RUN"]);
}

#[test]
fn q15_linked_copies_do_not_count_their_base() {
    let dockerfile = |word: &str| {
        format!("FROM busybox\nRUN echo {word} > /base\nCOPY --link f /x\nCOPY f /y\n")
    };
    let case = Case::new(&dockerfile("one"), &[("f", "F")], &[]);
    need!(case.is_some(), "{NEEDS}");
    let case = case.unwrap();
    case.write("Dockerfile", &dockerfile("two"));
    case.check("Q15", &[], &["miss RUN", "hit COPY", "miss COPY"]);
}

/// An ignored Dockerfile and ignore file steer the build all the same, and are not in the context.
#[test]
fn g15_ignored_dockerfiles_are_read_and_not_copied() {
    let env = TestEnv::new();
    let ignore = "Dockerfile\n.dockerignore\nsecret\n";
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY . /\n"),
        (".dockerignore", ignore),
        ("secret", "s"),
        ("kept", "k"),
    ];
    let context = env.context("ctx", &files);
    let image = env.build_image(&context, &[]);
    let last = image.layers.last().unwrap().iter();
    assert_eq!(
        last.map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
        ["kept"]
    );
    for name in ["Dockerfile", ".dockerignore"] {
        env.context(
            "ctx",
            &[("Dockerfile", &format!("FROM scratch\nCOPY {name} /\n"))],
        );
        let run = env.rbuild(["build", context.to_str().unwrap()]).fails(1);
        run.says(&format!("\"/{name}\": not found"));
    }
}
