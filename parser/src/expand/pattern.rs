//! The patterns of `${A#…}`, `${A%…}` and `${A/…/…}`: `*`, `?` and escapes, no brackets.

use super::{ExpandError, work::Work};

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// One character, no newline.
    Any,
    /// Any run without a newline.
    Star,
}

/// Which match to take where several are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Shortest,
    Longest,
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(pattern: &str) -> Result<Self, ExpandError> {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if tokens.last() == Some(&Token::Star) => continue,
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => match chars.next_if(|next| matches!(next, '*' | '?' | '\\' | '}' | '/')) {
                    Some(escaped) => Token::Literal(escaped),
                    None => {
                        return Err(ExpandError::InvalidPattern {
                            pattern: pattern.to_owned(),
                            escaped: chars.next().unwrap_or('\u{fffd}'),
                        });
                    }
                },
                _ => Token::Literal(c),
            });
        }
        Ok(Self { tokens })
    }

    /// Returns `value` without the part at its start that matches.
    pub(super) fn trim_start<'a>(
        &self,
        value: &'a str,
        extent: Extent,
        work: &mut Work,
    ) -> Result<&'a str, ExpandError> {
        let length = match_length(&self.tokens, value.chars(), extent, work)?;
        Ok(&value[length.unwrap_or(0)..])
    }

    /// Returns `value` without the part at its end that matches.
    pub(super) fn trim_end<'a>(
        &self,
        value: &'a str,
        extent: Extent,
        work: &mut Work,
    ) -> Result<&'a str, ExpandError> {
        let backwards: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let length = match_length(&backwards, value.chars().rev(), extent, work)?;
        Ok(&value[..value.len() - length.unwrap_or(0)])
    }

    /// Replaces the first match (always the longest at its place), or all that do not overlap. An
    /// empty match right after another does not count.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        work: &mut Work,
    ) -> Result<String, ExpandError> {
        let mut result = String::new();
        let mut position = 0;
        let mut last_end = None;
        loop {
            let rest = &value[position..];
            let length = match_length(&self.tokens, rest.chars(), Extent::Longest, work)?;
            let is_new = length.is_some_and(|length| length > 0 || last_end != Some(position));
            if is_new {
                work.add(replacement.len())?;
                result.push_str(replacement);
                position += length.unwrap_or(0);
                last_end = Some(position);
                if !all {
                    break;
                }
            }
            if !is_new || length == Some(0) {
                let Some(c) = value[position..].chars().next() else {
                    break;
                };
                work.add(1)?;
                result.push(c);
                position += c.len_utf8();
            }
            Work::check_size(result.len())?;
        }
        result.push_str(&value[position..]);
        Ok(result)
    }
}

/// Returns how many bytes of `input` the pattern takes from its start, `None` if it does not
/// match. All ways are followed at once, so the time is bounded by the product of the lengths.
fn match_length(
    tokens: &[Token],
    input: impl Iterator<Item = char>,
    extent: Extent,
    work: &mut Work,
) -> Result<Option<usize>, ExpandError> {
    let mut active = Vec::new();
    add_state(tokens, &mut active, 0);
    let mut next = Vec::new();
    let mut length = 0;
    let mut found = None;
    let mut input = input;
    loop {
        if active.last() == Some(&tokens.len()) {
            found = Some(length);
            if extent == Extent::Shortest {
                break;
            }
        }
        if active.is_empty() {
            break;
        }
        let Some(c) = input.next() else { break };
        work.add(active.len())?;
        length += c.len_utf8();
        next.clear();
        for &state in &active {
            match tokens.get(state) {
                Some(Token::Literal(literal)) if *literal == c => {
                    add_state(tokens, &mut next, state + 1);
                }
                Some(Token::Any) if c != '\n' => add_state(tokens, &mut next, state + 1),
                Some(Token::Star) if c != '\n' => add_state(tokens, &mut next, state),
                _ => {}
            }
        }
        std::mem::swap(&mut active, &mut next);
    }
    Ok(found)
}

/// Adds a state, and the one after it if it is a star, which may match nothing. States come in
/// order and lead at most one further, so one that is not above the last is there already.
fn add_state(tokens: &[Token], states: &mut Vec<usize>, state: usize) {
    let after_star = tokens.get(state) == Some(&Token::Star);
    for new in [Some(state), after_star.then_some(state + 1)]
        .into_iter()
        .flatten()
    {
        if states.last().is_none_or(|&last| new > last) {
            states.push(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(pattern: &str, value: &str, extent: Extent) -> String {
        let pattern = Pattern::parse(pattern).unwrap();
        let rest = pattern.trim_start(value, extent, &mut Work::default());
        rest.unwrap().to_owned()
    }

    fn end(pattern: &str, value: &str, extent: Extent) -> String {
        let pattern = Pattern::parse(pattern).unwrap();
        let rest = pattern.trim_end(value, extent, &mut Work::default());
        rest.unwrap().to_owned()
    }

    fn replace(pattern: &str, value: &str, replacement: &str, all: bool) -> String {
        let pattern = Pattern::parse(pattern).unwrap();
        let result = pattern.replace(value, replacement, all, &mut Work::default());
        result.unwrap()
    }

    #[test]
    fn trimming() {
        use Extent::{Longest, Shortest};
        assert_eq!(start("a*b", "axbxbx", Shortest), "xbx");
        assert_eq!(start("a*b", "axbxbx", Longest), "x");
        assert_eq!(start("*", "abc", Shortest), "abc");
        assert_eq!(start("*", "abc", Longest), "");
        assert_eq!(start("?\\?", "???y", Shortest), "?y");
        assert_eq!(start("b", "abc", Longest), "abc");
        assert_eq!(start("[a]", "abc", Longest), "abc");
        assert_eq!(start("*", "a\nb", Longest), "\nb");
        assert_eq!(end("*X*", "aXbXc", Shortest), "aXb");
        assert_eq!(end("X*", "aXbXc", Longest), "a");
        assert_eq!(end("\\**", "xx**", Longest), "xx");
        assert_eq!(end("é", "café", Shortest), "caf");
        assert_eq!(end("a\\*c", "xa*c", Shortest), "x");
    }

    #[test]
    fn replacing() {
        assert_eq!(replace("X", "aXbXc", "-", false), "a-bXc");
        assert_eq!(replace("X", "aXbXc", "", true), "abc");
        assert_eq!(replace("", "xxyy", "w", false), "wxxyy");
        assert_eq!(replace("", "ab", "-", true), "-a-b-");
        assert_eq!(replace("*", "abc", "-", true), "-");
        assert_eq!(replace("b*", "abcb", "-", true), "a-");
        assert_eq!(replace("/?/", "/a/foo/b/c", "/", true), "/foo/c");
        assert_eq!(replace("x", "", "-", true), "");
        assert_eq!(replace("a", "a", "$0", true), "$0");
    }

    #[test]
    fn bad_escapes() {
        for (pattern, escaped) in [("\\", '\u{fffd}'), ("\\x", 'x'), ("\\\\\\", '\u{fffd}')] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'"
                )
            );
        }
    }

    #[test]
    fn work_is_bounded() {
        let value = "a".repeat(1 << 12);
        let mut work = Work::limited(1 << 16);
        let pattern = Pattern::parse(&"*a".repeat(1_000)).unwrap();
        let result = pattern.trim_start(&value, Extent::Longest, &mut work);
        assert_eq!(result, Err(ExpandError::TooExpensive));
        let mut work = Work::limited(1 << 16);
        let pattern = Pattern::parse("*b").unwrap();
        let result = pattern.replace(&value, "", true, &mut work);
        assert_eq!(result, Err(ExpandError::TooExpensive));
    }
}
