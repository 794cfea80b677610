//! Secrets that cannot be printed, and text that is cleaned of them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters of a server's message that are kept.
const MESSAGE_CHARS: usize = 200;

/// A password or token. `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value; do not put it into messages.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Returns the value of a `Basic` Authorization header, without the scheme.
pub(crate) fn basic(user: &str, password: &Secret) -> Secret {
    Secret(STANDARD.encode(format!("{user}:{}", password.reveal())))
}

/// Returns what a server wrote, fit for a message: without `secrets`, control characters and line
/// breaks, and short.
pub(crate) fn presentable(text: &str, secrets: &[Secret]) -> String {
    let mut clean = text.to_owned();
    // The longest first: a token may contain the password.
    let mut needles: Vec<&str> = secrets
        .iter()
        .map(Secret::reveal)
        .filter(|secret| !secret.is_empty())
        .collect();
    needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    for needle in needles {
        clean = clean.replace(needle, "[secret]");
        clean = clean.replace(&crate::url::encode_component(needle), "[secret]");
    }
    let words: Vec<&str> = clean
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line: String = words.join(" ");
    let mut short: String = line
        .chars()
        .filter(|c| !is_invisible(*c))
        .take(MESSAGE_CHARS)
        .collect();
    if line.chars().count() > MESSAGE_CHARS {
        short.push('…');
    }
    short
}

/// Characters that reorder or hide the text around them on a terminal.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert!(!format!("{:?}", Some(&secret)).contains("hunter2"));
    }

    #[test]
    fn an_echoed_header_is_cleaned() {
        let password = Secret::new("p/w");
        let secrets = [password.clone(), basic("me", &password)];
        let echo = "you sent Basic bWU6cC93 (p/w, p%2Fw)\r\n\u{1b}[31mred";
        assert_eq!(
            presentable(echo, &secrets),
            "you sent Basic [secret] ([secret], [secret]) [31mred"
        );
    }

    #[test]
    fn a_long_page_is_cut_after_cleaning() {
        let text = format!("{}token", "x".repeat(197));
        let clean = presentable(&text, &[Secret::new("token")]);
        assert_eq!(clean, format!("{}[se…", "x".repeat(197)));
    }
}
