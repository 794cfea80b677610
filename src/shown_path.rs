//! Paths of images as they are shown: whoever made an image chose them.

/// Returns a path from the root of an image, with everything escaped that a terminal would act on
/// or that would make it look like another path or like two lines.
pub(crate) fn shown_path(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    out.push('/');
    push_escaped(&mut out, path);
    out
}

/// Returns the target of a symbolic link in the same way.
pub(crate) fn shown_target(target: &[u8]) -> String {
    let mut out = String::with_capacity(target.len());
    push_escaped(&mut out, target);
    out
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                out.push(character);
            } else {
                out.extend(character.escape_default());
            }
        }
        out.extend(chunk.invalid().escape_ascii().map(char::from));
    }
}

/// Characters that are seen as they are: no controls, nothing without width, no changes of direction.
fn is_plain(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    );
    !character.is_control() && !is_invisible && character != '\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hidden_in_paths() {
        for (path, expected) in [
            (&b""[..], "/"),
            (b"a b/c", "/a b/c"),
            (b"\x1b[2J\n", "/\\u{1b}[2J\\n"),
            ("gr\u{fc}n".as_bytes(), "/gr\u{fc}n"),
            ("a\u{202e}b\u{200b}".as_bytes(), "/a\\u{202e}b\\u{200b}"),
            (b"\xff\xfe", "/\\xff\\xfe"),
            (b"a\\b", "/a\\\\b"),
        ] {
            assert_eq!(shown_path(path), expected);
        }
        assert_eq!(shown_target(b"../x\r"), "../x\\r");
    }
}
