//! What is done again, and what is not.
//!
//! A RUN that writes random bytes tells whether it ran: if it did, the image is another one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need};

const NEEDS: &str = "this needs docker-registry, skopeo and busybox-static";

/// Three chains: one on `a`, one on `b`, and one that merges both.
const THREE_STAGES: &str = "\
FROM busybox AS a
COPY a.txt /
RUN head -c 16 /dev/urandom | base64 > /a.random
FROM busybox AS b
COPY b.txt /
RUN head -c 16 /dev/urandom | base64 > /b.random
FROM busybox
COPY --from=a /a.random /
COPY --from=b /b.random /
RUN head -c 16 /dev/urandom | base64 > /end.random
";

fn three_stages(env: &TestEnv) -> PathBuf {
    env.context(
        "ctx",
        &[
            ("Dockerfile", THREE_STAGES),
            ("a.txt", "a"),
            ("b.txt", "b"),
            ("other.txt", "other"),
        ],
    )
}

/// Which of the three RUNs gave other bytes in the second image.
fn reran(first: &Image, second: &Image) -> Vec<&'static str> {
    ["a.random", "b.random", "end.random"]
        .into_iter()
        .filter(|path| first.text(path) != second.text(path))
        .collect()
}

fn touch(path: &Path) {
    let file = fs_err::OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .into_parts()
        .0;
    file.set_modified(SystemTime::now() - Duration::from_secs(1000))
        .unwrap();
}

#[test]
fn a_second_build_runs_and_pulls_nothing() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let mut env = env.unwrap();
    let context = three_stages(&env);
    let first = env.build(&context, &["-t", "app:1"]);
    env.cut_off();
    assert_eq!(env.build(&context, &["-t", "app:1"]), first);
    let run = env
        .rbuild(["build", "--progress=plain", context.to_str().unwrap()])
        .ok();
    let steps = run
        .stderr
        .lines()
        .filter(|line| line.contains("] RUN") || line.contains("] COPY"));
    let numbers: BTreeSet<_> = steps.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers.len(), 7, "seven steps are shown: {}", run.report());
    for number in numbers {
        assert!(
            run.stderr.contains(&format!("{number} CACHED")),
            "{number}: {}",
            run.report()
        );
    }
}

#[test]
fn a_changed_file_reruns_what_depends_on_it() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let context = three_stages(&env);
    let first = env.build_image(&context, &[]);

    env.context("ctx", &[("other.txt", "nobody copies this")]);
    assert_eq!(env.build_image(&context, &[]).id, first.id);

    env.context("ctx", &[("b.txt", "changed")]);
    let second = env.build_image(&context, &[]);
    assert_eq!(reran(&first, &second), ["b.random", "end.random"]);

    // Back to the bytes of the first build: its results are still known.
    env.context("ctx", &[("b.txt", "b")]);
    assert_eq!(env.build_image(&context, &[]).id, first.id);
}

#[test]
fn touching_reruns_nothing() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let context = three_stages(&env);
    let first = env.build(&context, &[]);
    touch(&context.join("a.txt"));
    touch(&context.join("Dockerfile"));
    assert_eq!(env.build(&context, &[]), first);
    // A copy elsewhere has other times and inodes, and the same bytes.
    let copy = three_stages_at(&env, "copy");
    assert_eq!(env.build(&copy, &[]), first);
}

fn three_stages_at(env: &TestEnv, name: &str) -> PathBuf {
    let files = [
        ("Dockerfile", THREE_STAGES),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("other.txt", "-"),
    ];
    env.context(name, &files)
}

#[test]
fn a_mode_is_part_of_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let context = three_stages(&env);
    let first = env.build_image(&context, &[]);
    let executable = PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(context.join("a.txt"), executable).unwrap();
    let second = env.build_image(&context, &[]);
    assert_eq!(reran(&first, &second), ["a.random", "end.random"]);
}

/// A step that runs again and gives the same bytes stops there.
#[test]
fn equal_output_does_not_rerun_the_children() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox AS count
COPY list.txt /
RUN wc -l < /list.txt > /count
FROM busybox
COPY --from=count /count /
RUN head -c 16 /dev/urandom | base64 > /a.random
";
    let context = env.context(
        "ctx",
        &[("Dockerfile", dockerfile), ("list.txt", "one\ntwo\n")],
    );
    let first = env.build_image(&context, &[]);
    env.context("ctx", &[("list.txt", "three\nfour\n")]);
    let second = env.build_image(&context, &[]);
    assert_eq!(second.text("a.random"), first.text("a.random"));
    env.context("ctx", &[("list.txt", "now\nthere are\nthree\n")]);
    let third = env.build_image(&context, &[]);
    assert_ne!(third.text("a.random"), first.text("a.random"));
}

/// The same within one stage: the RUN between is run again, the one after it is not.
#[test]
fn equal_output_stops_within_a_stage() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = |note: &str| {
        format!(
            "FROM busybox\nRUN echo fixed > /file && touch -d @1000000000 /file # {note}\n\
             RUN head -c 16 /dev/urandom | base64 > /a.random\n"
        )
    };
    let context = env.context("ctx", &[("Dockerfile", &dockerfile("one"))]);
    let first = env.build_image(&context, &[]);
    env.context("ctx", &[("Dockerfile", &dockerfile("two"))]);
    let second = env.build_image(&context, &[]);
    assert_eq!(second.text("a.random"), first.text("a.random"));
}

#[test]
fn no_cache_runs_everything_or_some_stages() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let context = three_stages(&env);
    let first = env.build_image(&context, &[]);
    let filtered = env.build_image(&context, &["--no-cache-filter", "a"]);
    assert_eq!(reran(&first, &filtered), ["a.random", "end.random"]);
    let fresh = env.build_image(&context, &["--no-cache"]);
    assert_eq!(
        reran(&filtered, &fresh),
        ["a.random", "b.random", "end.random"]
    );
    // The newest results stand for later builds.
    assert_eq!(env.build_image(&context, &[]).id, fresh.id);
}

#[test]
fn arguments_count_where_they_are_used() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
RUN head -c 16 /dev/urandom | base64 > /a.random
ARG VERSION=1
RUN head -c 16 /dev/urandom | base64 > /b.random
ENV LATER=$VERSION
RUN head -c 16 /dev/urandom | base64 > /end.random
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let first = env.build_image(&context, &[]);
    let same = env.build_image(&context, &["--build-arg", "VERSION=1", "--label", "x=y"]);
    assert_eq!(reran(&first, &same), <[&str; 0]>::default());
    let other = env.build_image(&context, &["--build-arg", "VERSION=2"]);
    assert_eq!(reran(&first, &other), ["b.random", "end.random"]);
}

#[test]
fn comments_blanks_and_stage_names_do_not_count() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let run = "RUN head -c 16 /dev/urandom | base64 > /a.random\n";
    let context = env.context("ctx", &[("Dockerfile", &format!("FROM busybox\n{run}"))]);
    let first = env.build_image(&context, &[]);
    let moved = format!("# a comment\n\nfrom busybox as other\n\n# another\n{run}\n");
    env.context("ctx", &[("Dockerfile", &moved)]);
    assert_eq!(
        env.build_image(&context, &[]).text("a.random"),
        first.text("a.random")
    );
}

/// A base that moved to other bytes reruns what stands on it; the same bytes elsewhere do not.
#[test]
fn a_base_counts_by_its_content() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "this needs busybox-static");
    let busybox = busybox.unwrap();
    let env = TestEnv::new();
    env.import(busybox, "base:1");
    env.import(busybox, "base:2");
    let dockerfile =
        |tag: u8| format!("FROM base:{tag}\nRUN head -c 16 /dev/urandom | base64 > /a.random\n");
    let context = env.context("ctx", &[("Dockerfile", &dockerfile(1))]);
    let first = env.build_image(&context, &[]);
    env.context("ctx", &[("Dockerfile", &dockerfile(2))]);
    assert_eq!(
        env.build_image(&context, &[]).text("a.random"),
        first.text("a.random")
    );

    let changed = env.context(
        "changed",
        &[("Dockerfile", "FROM base:1\nRUN touch /new\n")],
    );
    env.build(&changed, &["-t", "base:2"]);
    assert_ne!(
        env.build_image(&context, &[]).text("a.random"),
        first.text("a.random")
    );
}

/// Two builds of one store at the same moment do a step once.
#[test]
fn builds_at_the_same_time_share_their_work() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
RUN sleep 1 && head -c 16 /dev/urandom | base64 > /a.random
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| env.build(&context, &[])))
            .collect();
        builds
            .into_iter()
            .map(|build| build.join().unwrap())
            .collect()
    });
    let layers: Vec<String> = ids
        .iter()
        .map(|id| env.image(id).text("a.random").to_owned())
        .collect();
    assert_eq!(layers[0], layers[1]);
    assert_eq!(layers[0], layers[2]);
}

/// A new context is packed before the step's key is known; one for which a like step has a record is hashed first.
#[test]
fn a_layer_is_the_same_whenever_it_is_packed_and_by_however_many_threads() {
    let large = "large ".repeat(700_000);
    let small: Vec<(String, String)> = (0..300)
        .map(|n| (format!("d{}/f{n}", n % 7), format!("{n} ").repeat(n)))
        .collect();
    let dockerfile = "FROM scratch\nCOPY . /app\n";
    let mut archives = Vec::new();
    for (n_threads, is_known) in [("1", false), ("8", false), ("1", true), ("8", true)] {
        let env = TestEnv::new();
        let mut files = vec![("Dockerfile", dockerfile), ("large", &*large)];
        files.extend(
            small
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        );
        let context = env.context("ctx", &files);
        if is_known {
            let other = env.context("other", &[("Dockerfile", dockerfile), ("f", "other")]);
            env.build(&other, &[]);
        }
        let out = env.out("app.tar");
        let output = format!("type=oci,compression=uncompressed,dest={}", out.display());
        let build = || {
            let mut command = env.command();
            command
                .env("RAYON_NUM_THREADS", n_threads)
                .args(["build", "--progress=plain", "-o", &output])
                .arg("--build-arg=SOURCE_DATE_EPOCH=1")
                .arg(&context);
            Run::of(&mut command).ok()
        };
        assert!(!build().stderr.contains("CACHED"));
        archives.push(fs_err::read(&out).unwrap());
        // What was learnt while it was packed is what the key is made of.
        build().says("CACHED");
        assert!(fs_err::read(&out).unwrap() == archives[0]);
    }
    assert!(archives.iter().all(|archive| *archive == archives[0]));
}
