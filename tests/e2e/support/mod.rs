//! What the end-to-end tests stand on: a hermetic place to run the program in, a registry on the
//! loopback interface, readers for what the program writes, and the peers it is compared with.

pub(crate) mod bases;
pub(crate) mod container;
pub(crate) mod engine;
pub(crate) mod env;
pub(crate) mod image;
pub(crate) mod janitor;
pub(crate) mod peers;
pub(crate) mod podman;
pub(crate) mod probe;
pub(crate) mod processes;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod tree;
pub(crate) mod users;
pub(crate) mod web;

use std::io::Write as _;
use std::path::{Path, PathBuf};

pub(crate) use env::TestEnv;

/// Leaves the test with a notice if something that it needs is not on this machine.
///
/// `need!(condition, "what is missing and how to get it")`
macro_rules! need {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            $crate::support::skip(&format!($($why)+));
            return;
        }
    };
}
pub(crate) use need;

/// Says, past the capturing of test output, that the current test did not run.
///
/// With `RBUILD_TEST_NO_SKIP=1` a skipped test is a failed one.
pub(crate) fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        std::env::var_os("RBUILD_TEST_NO_SKIP").is_none(),
        "{test} must not be skipped: {why}"
    );
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "SKIPPED {test}: {why}").unwrap();
}

/// Tells whether a program is on the search path.
pub(crate) fn have(program: &str) -> bool {
    find(program).is_some()
}

/// Finds a program on the search path or in the administrator's folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Tells whether these tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Top of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folder of one example.
pub(crate) fn example(name: &str) -> PathBuf {
    repository().join("examples/Dockerfiles").join(name)
}
