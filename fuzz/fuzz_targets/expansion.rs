//! Any text can be expanded or is refused, within bounds of size and time. A backtick in front makes
//! it the escape character.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_parser::expand::{MAX_EXPANSION, NoVariables, expand_heredoc, expand_word, expand_words};

fuzz_target!(|text: &str| {
    let (text, escape) = text.strip_prefix('`').map_or((text, '\\'), |rest| (rest, '`'));
    let variables: Vec<(String, String)> = [
        ("HOME", "/root"),
        ("EMPTY", ""),
        ("A", "a b  c"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("STARS", "*?[a-z]\\"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    if let Ok(found) = expand_word(text, escape, &variables) {
        assert!(found.text.len() <= MAX_EXPANSION);
        // Nothing is both set and unset.
        assert!(found.used.iter().all(|name| !found.undefined.contains(name)));
    }
    if let Ok(found) = expand_words(text, escape, &variables) {
        assert!(found.words.iter().all(|word| !word.is_empty()));
    }
    if let Ok(found) = expand_heredoc(text, &variables) {
        assert!(found.text.len() <= MAX_EXPANSION);
    }
    if let Ok(found) = expand_word(text, escape, &NoVariables) {
        assert!(found.used.is_empty());
    }
});
