//! Findings as commands for the log of GitHub Actions, which shows them beside the lines
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>).

use rbuild_parser::checks::hadolint::Level;

use super::{Checked, Finding, Places};

pub(super) fn render(files: &[Checked]) -> String {
    files
        .iter()
        .flat_map(|file| {
            let places = Places::new(&file.source.text);
            let name = file.source.name.clone();
            file.findings
                .iter()
                .map(move |finding| line(&name, &places, finding))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn line(file: &str, places: &Places<'_>, finding: &Finding) -> String {
    let diagnostic = &finding.diagnostic;
    let (start, end) = places.range(diagnostic.span);
    let command = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info | Level::Style | Level::Off => "notice",
    };
    // A column is taken for one of the first line, so an end is only given on the same one.
    let end = match end.line == start.line {
        true => format!("col={},endColumn={}", start.column, end.column),
        false => format!("endLine={}", end.line),
    };
    let message = match &diagnostic.help {
        Some(help) => format!("{}; {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    format!(
        "::{command} file={},line={},{end},title={}::{}\n",
        property(file),
        start.line,
        property(diagnostic.code),
        data(&message)
    )
}

/// Escapes what comes after the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_early() {
        assert_eq!(data("100%\r\n::error::x"), "100%25%0D%0A::error::x");
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25%0A");
    }
}
