//! Answers of `--call`: what the program prints, and how it ends.
//!
//! A case is a folder in `calls/` with a `Dockerfile`, an optional `arguments` file (options for
//! all calls, one a line) and a text for each call.

use std::path::{Path, PathBuf};
use std::process::Command;

use snapbox::{Assert, Data};

const CALLS: [(&str, &str); 6] = [
    ("check.txt", "check"),
    ("check.json.txt", "check,format=json"),
    ("outline.txt", "outline"),
    ("outline.json.txt", "outline,format=json"),
    ("targets.txt", "targets"),
    ("targets.json.txt", "targets,format=json"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/calls")
}

/// Standard output, standard error if there is any, and the exit status.
fn call(dir: &Path, call: &str) -> String {
    let store = tempfile::tempdir().unwrap();
    let program = std::env::var_os("RBUILD_BIN");
    let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_rbuild").into()));
    let arguments = fs_err::read_to_string(dir.join("arguments")).unwrap_or_default();
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", store.path())
        .env("RBUILD_ROOT", store.path().join("store"))
        .env("NO_COLOR", "1")
        .args(["build", "--call", call])
        .args(arguments.lines())
        .arg(".")
        .current_dir(dir);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut out = text(&output.stdout);
    if !output.stderr.is_empty() {
        out.push_str("===== standard error\n");
        out.push_str(&text(&output.stderr));
    }
    // None of these cases needs a store.
    assert!(!store.path().join("store").try_exists().unwrap(), "{call}");
    format!("{out}===== status {}\n", output.status.code().unwrap())
}

#[test]
fn calls() {
    let assert = Assert::new().action_env("SNAPSHOTS");
    let mut differences = Vec::new();
    let mut n_cases = 0;
    for entry in fs_err::read_dir(folder()).unwrap() {
        let dir = entry.unwrap().path();
        n_cases += 1;
        for (file, name) in CALLS {
            let expected = Data::read_from(&dir.join(file), None).raw();
            if let Err(error) = assert.try_eq(Some(&file), Data::text(call(&dir, name)), expected) {
                differences.push(format!("{}: {error}", dir.display()));
            }
        }
    }
    assert!(n_cases >= 4, "cases are missing");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
