//! Making untrusted output harmless: no control sequence of a `RUN` reaches the terminal.

/// Returns the text without control sequences and control characters; tabs stay. Bytes that are
/// no UTF-8 become U+FFFD. What was overwritten by a carriage return is left out.
pub(crate) fn clean_line(bytes: &[u8]) -> String {
    let line = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let start = line
        .iter()
        .rposition(|byte| *byte == b'\r')
        .map_or(0, |place| place + 1);
    clean_text(&String::from_utf8_lossy(&line[start..])).replace('\n', " ")
}

/// Returns the text without control sequences and control characters; tabs and line ends stay.
pub(crate) fn clean_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        match character {
            '\u{1b}' | '\u{9b}' | '\u{9d}' | '\u{90}' => skip_sequence(character, &mut chars),
            '\t' | '\n' => out.push(character),
            _ if character.is_control() || is_direction_override(character) => {}
            _ => out.push(character),
        }
    }
    out
}

/// Characters that make the text after them look like other text.
fn is_direction_override(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Skips what an escape character began: a control sequence up to its final byte, a string up to
/// its terminator, or one character.
fn skip_sequence(first: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let kind = match first {
        '\u{9b}' => '[',
        '\u{9d}' | '\u{90}' => ']',
        _ => match chars.next_if(|next| *next != '\n') {
            Some(kind) => kind,
            None => return,
        },
    };
    match kind {
        '[' => {
            while chars
                .next_if(|next| matches!(next, '\u{20}'..='\u{3f}'))
                .is_some()
            {}
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(next) = chars.next_if(|next| *next != '\n') {
                if matches!(next, '\u{7}' | '\u{9c}') {
                    return;
                }
                if next == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    return;
                }
            }
            return;
        }
        _ => return,
    }
    chars.next_if(|next| matches!(next, '\u{40}'..='\u{7e}'));
}

/// What must hold whatever a step prints: the body of the fuzz target `terminal`.
#[cfg(any(test, fuzzing))]
pub(crate) fn terminal(input: &[u8]) {
    let is_harmless = |c: char| (!c.is_control() || c == '\t') && !is_direction_override(c);
    let line = clean_line(input);
    assert!(line.chars().all(is_harmless), "{line:?}");
    assert_eq!(clean_line(line.as_bytes()), line);
    let text = String::from_utf8_lossy(input);
    let clean = clean_text(&text);
    assert!(
        clean.chars().all(|c| c == '\n' || is_harmless(c)),
        "{clean:?}"
    );
    assert_eq!(clean_text(&clean), clean);
    // A line end inside a sequence ends it: no step hides what the next line says.
    assert_eq!(clean.matches('\n').count(), text.matches('\n').count());
    if text.chars().all(is_harmless) {
        assert_eq!(clean, text);
    }
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_terminal() {
        seeds::check_seeds("terminal", terminal);
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        for (raw, expected) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;x\u{1b}\\link", "link"),
            ("a\u{8}b\u{7}c\td", "abc\td"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{202e}txt", "txt"),
            ("\u{1b}", ""),
            ("\u{1b}(Bx", "Bx"),
        ] {
            assert_eq!(clean_line(raw.as_bytes()), expected, "{raw:?}");
        }
        assert_eq!(clean_line(b"10%\r20%\r100%"), "100%");
        assert_eq!(clean_line(b"dos\r"), "dos");
        assert_eq!(clean_line(b"\xff"), "\u{fffd}");
    }
}
