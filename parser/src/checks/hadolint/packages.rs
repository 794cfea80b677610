//! Rules on package managers: given versions, no questions, nothing left behind.

use super::{
    super::shell::{Command, ShellText, Word},
    findings::Findings,
    model::{Model, RunModel},
};
use crate::checks::fix::Edit;

mod apk;
mod apt;
mod languages;
mod pip;
mod rpm;
mod zypper;

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    for stage in &model.stages {
        for run in &stage.runs {
            let mut found = Found { run, findings };
            apt::check(&mut found);
            apk::check(&mut found);
            rpm::check(&mut found);
            zypper::check(&mut found);
            languages::check(&mut found);
        }
    }
    apt::lists(model, findings);
    pip::check(model, findings);
}

/// Where the findings of one `RUN` go.
struct Found<'a> {
    run: &'a RunModel,
    findings: &'a mut Findings,
}

impl Found<'_> {
    /// Notes a finding about a whole command.
    fn command(&mut self, code: &'static str, text: &ShellText, command: &Command, message: &str) {
        let place = text.span(command.range());
        self.findings
            .add(code, self.run.instruction, place, message);
    }

    /// Notes that a finding goes away with `option` after `word`.
    fn insert(&mut self, code: &'static str, text: &ShellText, word: Option<&Word>, option: &str) {
        if let Some(place) = word.and_then(|word| text.exact_span(word.range.clone())) {
            let edit = Edit::insert(place.end, format!(" {option}"));
            self.findings.fix(code, self.run.instruction, vec![edit]);
        }
    }

    /// Notes that packages have no version.
    fn unpinned<'w>(
        &mut self,
        code: &'static str,
        text: &ShellText,
        packages: impl Iterator<Item = &'w Word>,
    ) {
        for package in packages {
            let place = text.span(package.range.clone());
            let message = format!("{} is installed in whatever version there is", package.text);
            self.findings
                .add(code, self.run.instruction, place, message);
        }
    }
}

/// Returns the operands after the first one, if that is one of the subcommands.
fn packages_of<'a>(
    command: &'a Command,
    subcommands: &[&str],
    with_value: &'a [&str],
) -> Option<Vec<&'a Word>> {
    let mut operands = command.operands(with_value);
    let subcommand = operands.next()?;
    subcommands
        .contains(&subcommand.text.as_str())
        .then(|| operands.collect())
}

/// Tells whether a word is a path or a URL rather than a name.
fn is_path(word: &str) -> bool {
    word.contains('/') || word == "." || word == ".."
}
