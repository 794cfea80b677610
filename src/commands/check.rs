//! `rbuild check`

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use rbuild_parser::checks::hadolint::Level;

use crate::lint::{
    self, CheckArguments, CheckFormat, Checked, Corrected, Finding, Fixable, Levels, Threshold,
};
use crate::report::{Failure, Source};
use crate::{context, output};

/// Shows what is unwise in Dockerfiles, and corrects it if that is wanted. Fails if something at or
/// above the threshold is left.
pub(crate) fn run(options: &CheckArguments) -> Result<(), Failure> {
    if options.unsafe_fixes && !(options.fix || options.diff) {
        return Err(Failure::Usage(
            "--unsafe-fixes needs --fix or --diff".to_owned(),
        ));
    }
    let levels = Levels::new(options)?;
    let sources = sources(options)?;
    if options.diff {
        return show_differences(sources, &levels, options);
    }
    let mut files = Vec::with_capacity(sources.len());
    let mut n_corrected = 0;
    for (source, path) in sources {
        let Some(path) = path.filter(|_| options.fix) else {
            files.push(lint::check(source, &levels));
            continue;
        };
        let Corrected { before, after } = lint::correct(source, &levels, options.unsafe_fixes);
        if before != after.source.text {
            lint::write(&path, &after.source.text)?;
            n_corrected += 1;
        }
        files.push(after);
    }
    let is_terminal = std::io::stdout().is_terminal();
    let text = lint::render(&files, options.format, is_terminal);
    match options.format {
        CheckFormat::Text => output::drawn(&text)?,
        _ => output::result(&text)?,
    }
    output::note(&summary(&files, n_corrected, options));
    let fails = |finding: &Finding| options.failure_threshold.is_reached(finding.level);
    match files.iter().flat_map(|file| &file.findings).any(fails) {
        true => Err(Failure::Silent),
        false => Ok(()),
    }
}

/// Prints what fixes would change. Fails if that is anything.
fn show_differences(
    sources: Vec<(Source, Option<PathBuf>)>,
    levels: &Levels,
    options: &CheckArguments,
) -> Result<(), Failure> {
    let mut text = String::new();
    let mut n_files = 0;
    for (source, _) in sources {
        let difference = lint::diff(&lint::correct(source, levels, options.unsafe_fixes));
        n_files += usize::from(!difference.is_empty());
        text += &difference;
    }
    output::result(&text)?;
    output::note(&match n_files {
        0 => "Nothing would be corrected\n".to_owned(),
        1 => "1 file would be corrected\n".to_owned(),
        n => format!("{n} files would be corrected\n"),
    });
    match n_files == 0 || options.failure_threshold == Threshold::None {
        true => Ok(()),
        false => Err(Failure::Silent),
    }
}

/// Reads the files: those of `--file`, then the paths, of which folders mean their Dockerfile.
fn sources(options: &CheckArguments) -> Result<Vec<(Source, Option<PathBuf>)>, Failure> {
    let mut sources = Vec::new();
    let mut reads_stdin = false;
    let files = options.file.iter().map(|file| file.as_os_str());
    let mut paths: Vec<&OsStr> = files.chain(options.paths.iter().map(OsStr::new)).collect();
    if paths.is_empty() {
        paths.push(OsStr::new("."));
    }
    for path in paths {
        if path == "-" {
            if options.fix && !options.diff {
                return Err(Failure::Usage(
                    "standard input cannot be corrected in place: use --diff".to_owned(),
                ));
            }
            if std::mem::replace(&mut reads_stdin, true) {
                return Err(Failure::Usage(
                    "standard input can be checked only once".to_owned(),
                ));
            }
        }
        sources.push(context::dockerfile_at(Path::new(path))?);
    }
    Ok(sources)
}

/// How many findings there are, by level, and what can be done about them.
fn summary(files: &[Checked], n_corrected: usize, options: &CheckArguments) -> String {
    let count = |is_wanted: &dyn Fn(&Finding) -> bool, one: &str, many: &str| {
        let all = files.iter().flat_map(|file| &file.findings);
        match all.filter(|finding| is_wanted(finding)).count() {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        }
    };
    let levels = [
        (Level::Error, "error", "errors"),
        (Level::Warning, "warning", "warnings"),
        (Level::Info, "remark", "remarks"),
        (Level::Style, "matter of style", "matters of style"),
    ];
    let counts: Vec<String> = levels
        .into_iter()
        .filter_map(|(level, one, many)| count(&|finding| finding.level == level, one, many))
        .collect();
    let corrected = match n_corrected {
        0 => None,
        1 => Some("1 file was corrected".to_owned()),
        n => Some(format!("{n} files were corrected")),
    };
    let found = match counts.is_empty() {
        true => "no findings".to_owned(),
        false => counts.join(", "),
    };
    let is_safe = |finding: &Finding| finding.fixable == Fixable::Safe;
    let is_unsafe = |finding: &Finding| finding.fixable == Fixable::Unsafe;
    let safe = count(&is_safe, "of them", "of them").filter(|_| !options.fix);
    let more = count(&is_unsafe, "of them", "of them").filter(|_| !options.unsafe_fixes);
    let lines = [
        corrected,
        Some(format!("Check complete, {found}")),
        safe.map(|n| format!("--fix corrects {n}")),
        more.map(|n| format!("--fix --unsafe-fixes corrects {n}, which may change what is built")),
    ];
    lines
        .into_iter()
        .flatten()
        .map(|line| line + "\n")
        .collect()
}
