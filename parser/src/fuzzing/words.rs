//! Expansion of variables.

use crate::expand::{MAX_EXPANSION, NoVariables, expand_heredoc, expand_word, expand_words};

const VARIABLES: [(&str, &str); 5] = [
    ("HOME", "/root"),
    ("EMPTY", ""),
    ("A", "a b  c"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("STARS", "*?[a-z]\\"),
];

/// Any text can be expanded or is refused, within bounds of size and time, and comes to what the
/// definition says. A backtick in front makes it the escape character.
pub fn expansion(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (text, escape) = text
        .strip_prefix('`')
        .map_or((text, '\\'), |rest| (rest, '`'));
    let variables: Vec<(String, String)> = VARIABLES
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let word = expand_word(text, escape, &variables);
    if let Ok(found) = &word {
        assert!(found.text.len() <= MAX_EXPANSION);
        // Nothing is both set and unset.
        assert!(
            found
                .used
                .iter()
                .all(|name| !found.undefined.contains(name))
        );
        let is_known = |name: &String| VARIABLES.iter().any(|(known, _)| known == name);
        assert!(found.used.iter().all(is_known));
        assert!(!found.undefined.iter().any(is_known));
    }
    let words = expand_words(text, escape, &variables);
    assert_eq!(word.is_ok(), words.is_ok());
    if let Ok(found) = &words {
        assert!(found.words.iter().all(|word| !word.is_empty()));
        let text = word.as_ref().map(|found| found.text.as_str());
        let is_blank = |c: &char| !c.is_whitespace();
        let joined: String = found.words.concat().chars().filter(is_blank).collect();
        let whole: String = text.unwrap_or_default().chars().filter(is_blank).collect();
        assert_eq!(joined, whole, "words are made of the text");
    }
    if let Ok(found) = expand_heredoc(text, &variables) {
        assert!(found.text.len() <= MAX_EXPANSION);
    }
    if let Ok(found) = expand_word(text, escape, &NoVariables) {
        assert!(found.used.is_empty());
    }
    let mut model = Model {
        text: text.chars().collect(),
        place: 0,
        escape,
    };
    if let Some(expected) = model.text_up_to(None, false) {
        let found = word.map(|found| found.text);
        match expected {
            Ok(expected) => assert_eq!(found.as_ref(), Ok(&expected)),
            // Another `${` that is never closed may be to blame instead.
            Err(Required) => assert!(found.is_err()),
        }
    }
}

/// `${NAME?…}` without a value.
struct Required;

/// Expansion by its definition, a function a form, for texts without patterns and without mistakes.
/// `None` is a text of another kind.
struct Model {
    text: Vec<char>,
    place: usize,
    escape: char,
}

type Expanded = Option<Result<String, Required>>;

impl Model {
    fn next(&mut self) -> Option<char> {
        let next = self.text.get(self.place).copied();
        self.place += usize::from(next.is_some());
        next
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.place).copied()
    }

    /// Expands up to a character, which is taken; `None` is the end of the text.
    fn text_up_to(&mut self, end: Option<char>, in_quotes: bool) -> Expanded {
        let mut out = String::new();
        loop {
            let next = self.next();
            if next == end {
                return Some(Ok(out));
            }
            match next? {
                '$' => match self.variable()? {
                    Ok(value) => out.push_str(&value),
                    Err(required) => return Some(Err(required)),
                },
                '\'' if !in_quotes => loop {
                    match self.next()? {
                        '\'' => break,
                        c => out.push(c),
                    }
                },
                '"' if !in_quotes => match self.text_up_to(Some('"'), true)? {
                    Ok(quoted) => out.push_str(&quoted),
                    Err(required) => return Some(Err(required)),
                },
                c if c == self.escape => match self.peek() {
                    None => {}
                    Some(next) if in_quotes && next != '"' && next != '$' && next != c => {
                        out.push(c);
                    }
                    Some(next) => {
                        self.place += 1;
                        out.push(next);
                    }
                },
                c => out.push(c),
            }
        }
    }

    /// Takes the name of a variable in letters; other names are another kind.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphabetic() || *c == '_') {
            self.place += 1;
            name.push(c);
        }
        name
    }

    fn variable(&mut self) -> Expanded {
        let is_braced = self.peek() == Some('{');
        self.place += usize::from(is_braced);
        let name = self.name();
        let next = self.peek();
        if name.is_empty() || next.is_some_and(char::is_alphanumeric) {
            return None;
        }
        let value = VARIABLES.iter().find(|(known, _)| *known == name);
        let value = value.map(|(_, value)| (*value).to_owned());
        if !is_braced {
            return Some(Ok(value.unwrap_or_default()));
        }
        let mut operator = self.next()?;
        if operator == '}' {
            return Some(Ok(value.unwrap_or_default()));
        }
        let has_colon = operator == ':';
        if has_colon {
            operator = self.next()?;
        }
        if !matches!(operator, '-' | '+' | '?') {
            return None;
        }
        // The word is worked out even if it is not needed.
        let word = match self.text_up_to(Some('}'), false)? {
            Ok(word) => word,
            Err(required) => return Some(Err(required)),
        };
        let value = value.filter(|value| !(has_colon && value.is_empty()));
        Some(match (operator, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            _ => Err(Required),
        })
    }
}
