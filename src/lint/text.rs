//! Findings for people: excerpts of the file.

use super::Checked;
use crate::report;

pub(super) fn render(files: &[Checked], is_terminal: bool) -> String {
    files
        .iter()
        .flat_map(|file| {
            file.findings
                .iter()
                .map(move |finding| (&file.source, finding))
        })
        .map(|(source, finding)| report::render_finding(source, finding, is_terminal))
        .collect::<Vec<_>>()
        .join("\n")
}
