//! The shape of the repository: which crate may use which, where `unsafe` may stand, how long files
//! may be, which names modules must not have.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Crate folder to the crates of this workspace that it may use. Nothing uses the command line.
const ARROWS: &[(&str, &[&str])] = &[
    ("parser", &[]),
    ("image", &[]),
    ("sandbox", &[]),
    ("planner", &["parser", "image"]),
    ("registry", &["image"]),
    ("remote", &["image", "registry"]),
    ("cache", &["image"]),
    ("agent", &[]),
    ("template", &[]),
    // The executor reads ignore files, which are the parser's.
    (
        "executor",
        &["parser", "planner", "cache", "image", "sandbox", "agent"],
    ),
    (
        ".",
        &[
            "parser", "image", "sandbox", "planner", "registry", "remote", "cache", "executor",
            "agent", "template",
        ],
    ),
];

/// Crates from outside that only some may use directly: each hides a part of the world.
const RESERVED: &[(&str, &[&str])] = &[
    ("miette", &["."]),
    ("clap", &["."]),
    ("nom", &["parser"]),
    ("petgraph", &["planner"]),
    ("ureq", &["registry"]),
    ("rusqlite", &["cache", "image"]),
    ("libc", &["sandbox"]),
    ("ring", &["agent"]),
];

/// Crates that nobody uses, and why.
const BANNED: &[(&str, &str)] = &[
    ("tokio", "the core is synchronous"),
    ("async-trait", "the core is synchronous"),
    ("anyhow", "errors are typed; miette at the edge"),
    ("openssl", "rustls: one static binary"),
    ("rbuild", "nothing uses the command line"),
];

/// Longest file of source code, in lines.
const LONGEST: usize = 600;

/// Longest file of tests: tables of cases are long, and read one case at a time.
const LONGEST_OF_TESTS: usize = 900;

/// Names that say nothing about what is in a module.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "manager",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

/// Names in the sections of a manifest whose title ends in `dependencies`, by section.
fn dependencies(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut section = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            let title = title.trim_end_matches(']').to_owned();
            let wanted = title.ends_with("dependencies") && !title.starts_with("workspace");
            section = wanted.then_some(title);
        } else if let (Some(section), false) = (&section, line.starts_with('#')) {
            let end = line.find(|c: char| !(c.is_alphanumeric() || "-_".contains(c)));
            let name = end.map_or("", |end| &line[..end]);
            if !name.is_empty() {
                found
                    .entry(section.clone())
                    .or_default()
                    .push(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn arrows_between_crates() {
    for (folder, allowed) in ARROWS {
        let manifest = read(&repository().join(folder).join("Cargo.toml"));
        for (section, names) in dependencies(&manifest) {
            for name in names {
                let Some(target) = name.strip_prefix("rbuild-") else {
                    continue;
                };
                // Tests of a crate stand on the same arrows.
                assert!(
                    allowed.contains(&target),
                    "{folder} -> {target} in [{section}] is no arrow of the architecture"
                );
            }
        }
    }
}

#[test]
fn all_crates_are_known() {
    let manifest = read(&repository().join("Cargo.toml"));
    let members = manifest
        .lines()
        .find(|line| line.starts_with("members"))
        .unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            ARROWS.iter().any(|(folder, _)| *folder == member),
            "{member} has no arrows"
        );
    }
}

#[test]
fn crates_from_outside_stay_where_they_belong() {
    for (folder, _) in ARROWS {
        let manifest = read(&repository().join(folder).join("Cargo.toml"));
        let dependencies = dependencies(&manifest);
        for name in dependencies.get("dependencies").into_iter().flatten() {
            if let Some((_, users)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                assert!(
                    users.contains(folder),
                    "{folder} must not use {name} directly"
                );
            }
        }
        for name in dependencies.values().flatten() {
            if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
                panic!("{folder} uses {name}: {why}");
            }
        }
    }
}

/// All Rust files of the workspace, without generated and foreign ones.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (folder, _) in ARROWS {
        for part in ["src", "tests", "benches", "examples"] {
            collect(&repository().join(folder).join(part), &mut found);
        }
    }
    assert!(found.len() > 50, "the search is broken");
    found
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    if !dir.is_dir() {
        return;
    }
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository())
        .unwrap()
        .display()
        .to_string()
}

/// Tells whether a line of code opens a block, function, trait or implementation with the keyword.
fn says_unsafe(line: &str) -> bool {
    // Texts in quotes and comments are no code.
    let code: String = line.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let code = code.split("//").next().unwrap_or_default();
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "unsafe")
}

#[test]
fn unsafe_stands_in_the_sandbox_only() {
    for path in sources() {
        let name = relative(&path);
        // This file speaks about the word.
        if name.starts_with("sandbox/") || name == file!() {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            assert!(
                !says_unsafe(line),
                "{name}:{}: unsafe outside sandbox/",
                index + 1
            );
        }
    }
}

#[test]
fn the_search_for_unsafe_finds_it() {
    assert!(says_unsafe("    unsafe { libc::fork() }"));
    assert!(says_unsafe("pub unsafe fn x() {}"));
    assert!(!says_unsafe("// unsafe is documented"));
    assert!(!says_unsafe("let unsafety = 1;"));
    assert!(!says_unsafe(r#"let text = "unsafe";"#));
}

#[test]
fn files_are_short() {
    for path in sources() {
        let n_lines = read(&path).lines().count();
        let name = relative(&path);
        let is_test = name.ends_with("/tests.rs") || name.contains("tests/");
        let longest = if is_test { LONGEST_OF_TESTS } else { LONGEST };
        assert!(n_lines <= longest, "{name} has {n_lines} lines: split it");
    }
}

#[test]
fn modules_have_names_that_say_something() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        for name in [stem, folder] {
            assert!(
                !EMPTY_NAMES.contains(&name),
                "{}: `{name}` says nothing",
                relative(&path)
            );
        }
    }
}

/// Every crate follows the workspace's lints, and says what it is.
#[test]
fn crates_share_lints_and_describe_themselves() {
    for (folder, _) in ARROWS {
        let manifest = read(&repository().join(folder).join("Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder} has lints of its own"
        );
        assert!(
            manifest.contains("\ndescription = "),
            "{folder} has no description"
        );
        let root = if *folder == "." {
            "src/main.rs"
        } else {
            "src/lib.rs"
        };
        let text = read(&repository().join(folder).join(root));
        assert!(
            text.starts_with("//!"),
            "{folder}/{root} does not say what it is"
        );
    }
}

/// Tables of the language's reference and how many rows each has: lexing, arguments, heredocs,
/// expansion, stages, mounts of RUN, files of COPY and ADD, ignore files, configs, keys.
const ROWS: &[(char, usize)] = &[
    ('L', 30),
    ('A', 36),
    ('H', 27),
    ('E', 30),
    ('S', 24),
    ('M', 20),
    ('C', 40),
    ('G', 16),
    ('K', 23),
    ('Q', 15),
];

/// Returns the rows that a line of a test names: `"C21"` or `"C21 …"` in a table, and
/// `fn c21_…`, `fn c21_c22_…`, `fn c19_to_c21_…`.
fn rows_of(line: &str) -> Vec<(char, usize)> {
    let row = |word: &str| -> Option<(char, usize)> {
        let table = word.chars().next()?.to_ascii_uppercase();
        let number = word.get(1..)?.parse().ok()?;
        ROWS.iter()
            .any(|(name, _)| *name == table)
            .then_some((table, number))
    };
    let mut found: Vec<_> = line
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| text.starts_with(char::is_uppercase))
        .filter_map(|text| row(text.split(' ').next()?))
        .collect();
    let Some(name) = line.trim_start().strip_prefix("fn ") else {
        return found;
    };
    let mut is_range = false;
    for word in name.split('_') {
        match (row(word), found.last().copied()) {
            (Some((table, end)), Some((_, start))) if is_range => {
                found.extend((start + 1..=end).map(|number| (table, number)));
            }
            (Some(found_row), _) => found.push(found_row),
            (None, _) if word == "to" || word == "and" => {}
            (None, _) => break,
        }
        is_range = word == "to";
    }
    found
}

#[test]
fn every_row_of_the_reference_is_tested() {
    let mut tested = std::collections::BTreeSet::new();
    for path in sources() {
        if path.to_string_lossy().contains("test") {
            tested.extend(read(&path).lines().flat_map(rows_of));
        }
    }
    let missing: Vec<String> = ROWS
        .iter()
        .flat_map(|(table, n_rows)| (1..=*n_rows).map(|number| (*table, number)))
        .filter(|row| !tested.contains(row))
        .map(|(table, number)| format!("{table}{number}"))
        .collect();
    assert_eq!(missing, [""; 0], "no test is named after these rows");
}

#[test]
fn the_reference_names_every_instruction_and_flag() {
    let reference = read(&repository().join("docs/dockerfile.md"));
    let helps = |source: &str| -> Vec<String> {
        let parsed = rbuild_parser::parse(source.as_bytes());
        parsed
            .diagnostics
            .into_iter()
            .filter_map(|found| found.help)
            .collect()
    };
    // The parser lists them itself where it refuses something else.
    let help = helps("FROM scratch\nNO-SUCH x").join(" ");
    let is_keyword = |word: &&str| word.len() > 2 && word.chars().all(char::is_uppercase);
    let keywords: Vec<&str> = help
        .split(|c: char| !c.is_alphabetic())
        .filter(is_keyword)
        .collect();
    assert_eq!(keywords.len(), 18, "{help}");
    let mut n_flags = 0;
    for keyword in keywords {
        assert!(reference.contains(keyword), "{keyword}");
        let help = helps(&format!("FROM scratch\n{keyword} --no-such=x CMD a")).join(" ");
        for flag in help
            .split([' ', ',', ';'])
            .filter(|word| word.starts_with("--"))
        {
            assert!(reference.contains(flag), "{keyword} {flag}");
            n_flags += 1;
        }
    }
    assert!(n_flags > 20, "{n_flags} flags");
}

/// The text between backquotes, outside of blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_tests_that_the_security_document_names_exist() {
    let document = read(&repository().join("docs/security.md"));
    let required = read(&repository().join("scripts/torture-required.txt"));
    let functions: Vec<String> = sources()
        .iter()
        .flat_map(|path| {
            let text = read(path);
            let names = text.split("fn ").skip(1);
            let names = names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned()));
            names.collect::<Vec<_>>()
        })
        .collect();
    let is_function = |name: &str| functions.iter().any(|known| known == name);
    let has =
        |file: &Path, name: &str| file.is_file() && read(file).contains(&format!("fn {name}() "));
    let mut n_proofs = 0;
    for proof in quoted(&document) {
        let Some((kind, name)) = proof.split_once(' ') else {
            continue;
        };
        let exists = match kind {
            "e2e" if name == "hostile::…" => continue,
            "e2e" => name.split_once("::").is_some_and(|(module, name)| {
                has(&repository().join(format!("tests/e2e/{module}.rs")), name)
            }),
            "case" => has(&repository().join("sandbox/tests/sandbox/cases.rs"), name),
            "test" => is_function(name),
            "fuzz" => repository()
                .join(format!("fuzz/fuzz_targets/{name}.rs"))
                .is_file(),
            "torture" => match name.strip_suffix('*') {
                Some(start) => required.lines().any(|case| case.starts_with(start)),
                None => required.lines().any(|case| case == name),
            },
            _ => continue,
        };
        assert!(
            exists,
            "docs/security.md names `{proof}`, which does not exist"
        );
        n_proofs += 1;
    }
    assert!(n_proofs > 70, "{n_proofs} proofs");
}

#[test]
fn the_bounds_that_the_security_document_names_are_those_of_the_code() {
    let document = read(&repository().join("docs/security.md"));
    let mut n_bounds = 0;
    for line in document.lines().filter(|line| line.starts_with('|')) {
        let Some((rule, file)) = line.split_once("` in `") else {
            continue;
        };
        let rule = rule.rsplit('`').next().unwrap();
        let text = read(&repository().join(file.trim_end_matches(['`', ' ', '|'])));
        let is_there = match rule.split_once(" = ") {
            Some((name, value)) => text.lines().any(|line| {
                let constant = line.split_once("const ").map_or("", |(_, rest)| rest);
                constant.starts_with(&format!("{name}: "))
                    && line.ends_with(&format!(" = {value};"))
            }),
            None => text.contains(&format!("{rule},")),
        };
        assert!(is_there, "docs/security.md: {line}");
        n_bounds += 1;
    }
    assert!(n_bounds > 30, "{n_bounds} bounds");
}
