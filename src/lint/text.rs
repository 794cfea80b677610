//! Findings for people: excerpts of the file.

use std::sync::Arc;

use super::Checked;
use crate::page::Page;
use crate::report;

pub(super) fn render(files: &[Checked], is_terminal: bool) -> String {
    files
        .iter()
        .flat_map(|file| {
            let page = Arc::new(Page::new(&file.source));
            file.findings
                .iter()
                .map(move |finding| report::render_finding(&page, finding, is_terminal))
        })
        .collect::<Vec<_>>()
        .join("\n")
}
