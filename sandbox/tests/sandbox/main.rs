//! Runs real sandboxes, as root and as an ordinary user, with busybox as the root file system.
//!
//! A program of its own and not of the standard harness, because namespaces are entered by a process with one thread.
//! The same program is the building process (`as-builder`) and the probe inside of the sandbox (`as-probe`).

#![expect(clippy::unwrap_used, reason = "a test that fails stops there")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report of the cases goes there"
)]

mod builder;
mod cases;
mod fixture;
mod probe;

use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("as-builder") => builder::main(args.collect()),
        Some("as-cleaner") => builder::clean(&args.next().unwrap_or_default()),
        Some("as-probe") => probe::main(&args.collect::<Vec<_>>()),
        first => {
            let words: Vec<String> = first.map(String::from).into_iter().chain(args).collect();
            run_cases(&words)
        }
    }
}

/// Understands what `cargo test` passes: `--list`, and words that select cases by name.
fn run_cases(words: &[String]) -> ExitCode {
    let wanted = |name: &str| {
        let mut filters = words
            .iter()
            .filter(|word| !word.starts_with('-'))
            .peekable();
        filters.peek().is_none() || filters.any(|word| name.contains(word.as_str()))
    };
    let mut failed = Vec::new();
    let mut count = 0;
    for (name, case) in cases::ALL.iter().filter(|(name, _)| wanted(name)) {
        if words.iter().any(|word| word == "--list") {
            println!("{name}: test");
            continue;
        }
        count += 1;
        match catch_unwind(case) {
            Ok(fixture::Done::Passed) => println!("test {name} ... ok"),
            Ok(fixture::Done::Skipped(why)) => println!("test {name} ... ignored, {why}"),
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(*name);
            }
        }
    }
    println!("\n{count} run, {} failed {failed:?}", failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
