//! `rbuild check`

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::Path;

use rbuild_parser::checks::hadolint::Level;

use crate::lint::{self, CheckArguments, CheckFormat, Checked, Levels, Threshold};
use crate::report::{Failure, Source};
use crate::{context, output};

/// Shows what is unwise in Dockerfiles. Fails if something at or above the threshold is left.
pub(crate) fn run(options: &CheckArguments) -> Result<(), Failure> {
    let levels = Levels::new(options)?;
    let sources = sources(options)?;
    let mut files = Vec::with_capacity(sources.len());
    for source in sources {
        files.push(lint::check(source, &levels)?);
    }
    let text = lint::render(&files, options.format, std::io::stdout().is_terminal());
    output::result(&text)?;
    if options.format == CheckFormat::Text {
        output::note(&summary(&files));
    }
    let fails = |level: Level| match options.failure_threshold {
        Threshold::Error => level >= Level::Error,
        Threshold::Warning => level >= Level::Warning,
        Threshold::Info => level >= Level::Info,
        Threshold::Style => level >= Level::Style,
        Threshold::None => false,
    };
    let findings = files.iter().flat_map(|file| &file.findings);
    if findings.map(|finding| finding.level).any(fails) {
        return Err(Failure::Silent);
    }
    Ok(())
}

/// Reads the files: those of `--file`, then the paths, of which folders mean their Dockerfile.
fn sources(options: &CheckArguments) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    let mut reads_stdin = false;
    let files = options.file.iter().map(|file| file.as_os_str());
    let mut paths: Vec<&OsStr> = files.chain(options.paths.iter().map(OsStr::new)).collect();
    if paths.is_empty() {
        paths.push(OsStr::new("."));
    }
    for path in paths {
        if path == "-" && std::mem::replace(&mut reads_stdin, true) {
            return Err(Failure::Usage(
                "standard input can be checked only once".to_owned(),
            ));
        }
        sources.push(context::dockerfile_at(Path::new(path))?.0);
    }
    Ok(sources)
}

/// How many findings there are, by level.
fn summary(files: &[Checked]) -> String {
    let count = |level: Level, one: &str, many: &str| {
        let all = files.iter().flat_map(|file| &file.findings);
        let n = all.filter(|finding| finding.level == level).count();
        match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{n} {many}")),
        }
    };
    let counts: Vec<String> = [
        count(Level::Error, "error", "errors"),
        count(Level::Warning, "warning", "warnings"),
        count(Level::Info, "remark", "remarks"),
        count(Level::Style, "matter of style", "matters of style"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if counts.is_empty() {
        "Check complete, no findings\n".to_owned()
    } else {
        format!("Check complete: {}\n", counts.join(", "))
    }
}
