//! Instructions as progress shows them.

use crate::env::Env;

/// Above this size a value is left as the variable's name.
const MAX_VALUE_BYTES: usize = 1024;
/// Above this size nothing more is put in.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Returns the logical line with its keyword in capitals and the variables that are set put in.
///
/// Quotes and escapes stay as written; what stands in single quotes or behind an escape is no
/// variable. `${NAME…}` with an operator stays too.
pub(crate) fn line(text: &str, env: &Env, escape: char) -> String {
    let keyword_end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (keyword, rest) = text.split_at(keyword_end);
    let mut out = keyword.to_uppercase();
    let mut rest = rest;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if c == '$' && quote != Some('\'') && out.len() < MAX_TEXT_BYTES {
            if let Some((value, n_bytes)) = variable(after, env) {
                out.push_str(value);
                rest = &after[n_bytes..];
                continue;
            }
        } else if c == escape && quote != Some('\'') {
            out.push(c);
            out.extend(after.chars().next());
            rest = after
                .get(after.chars().next().map_or(0, char::len_utf8)..)
                .unwrap_or_default();
            continue;
        } else if matches!(c, '"' | '\'') {
            quote = match quote {
                None => Some(c),
                Some(open) if open == c => None,
                open => open,
            };
        }
        out.push(c);
        rest = after;
    }
    out
}

/// Returns the value of the variable that `text` begins with, and how much of `text` names it.
fn variable<'a>(text: &str, env: &'a Env) -> Option<(&'a str, usize)> {
    let (name, n_bytes) = if let Some(rest) = text.strip_prefix('{') {
        let end = rest.find('}')?;
        (&rest[..end], end + 2)
    } else {
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        (&text[..end], end)
    };
    let value = env.get(name)?;
    (value.len() <= MAX_VALUE_BYTES).then_some((value, n_bytes))
}

/// Returns a heredoc's first line, with dots if there are more.
pub(crate) fn heredoc_summary(body: &str) -> String {
    let body = body.trim();
    let first = body.lines().next().unwrap_or_default();
    let more = if first.len() < body.len() { "..." } else { "" };
    format!("({first}{more})")
}

/// Number of the step within its stage, as progress counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter {
    pub(crate) done: usize,
    pub(crate) total: usize,
}

impl Counter {
    /// Returns `[platform stage i/n] ` for the next step, or nothing if the stage has no steps.
    pub(crate) fn next_prefix(&mut self, platform: &str, stage: &str) -> String {
        if self.total == 0 {
            return String::new();
        }
        self.done += 1;
        let width = self.total.to_string().len();
        let words: String = [platform, stage]
            .into_iter()
            .filter(|word| !word.is_empty())
            .flat_map(|word| [word, " "])
            .collect();
        format!("[{words}{:width$}/{}] ", self.done, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_variables_are_put_in() {
        let env = Env::from_entries(vec!["A=1".into(), "AB=two".into(), "E=".into()]);
        for (text, expected) in [
            ("run echo $A ${AB}$E.", "RUN echo 1 two."),
            ("RUN echo $U ${U} ${A:-x} $", "RUN echo $U ${U} ${A:-x} $"),
            (
                r#"RUN echo '$A' "$A" "'$A'" \$A"#,
                r#"RUN echo '$A' "1" "'1'" \$A"#,
            ),
            ("Copy  a\\", "COPY  a\\"),
            ("", ""),
        ] {
            assert_eq!(line(text, &env, '\\'), expected);
        }
    }

    #[test]
    fn huge_values_stay_outside() {
        let env = Env::from_entries(vec![
            format!("BIG={}", "x".repeat(2000)),
            format!("MID={}", "x".repeat(1000)),
        ]);
        assert_eq!(line("RUN $BIG", &env, '\\'), "RUN $BIG");
        let many = format!("RUN {}", "$MID".repeat(10_000));
        assert!(line(&many, &env, '\\').len() < MAX_TEXT_BYTES + many.len() + 1000);
    }

    #[test]
    fn prefixes_count() {
        let mut counter = Counter { done: 8, total: 12 };
        assert_eq!(counter.next_prefix("", ""), "[ 9/12] ");
        assert_eq!(
            counter.next_prefix("linux/arm64", "build"),
            "[linux/arm64 build 10/12] "
        );
        let mut none = Counter { done: 0, total: 0 };
        assert_eq!(none.next_prefix("", "a"), "");
    }

    #[test]
    fn heredocs_are_summed_up() {
        assert_eq!(heredoc_summary("\n make\nmake install\n"), "(make...)");
        assert_eq!(heredoc_summary("make\n"), "(make)");
    }
}
