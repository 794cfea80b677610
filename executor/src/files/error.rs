//! What can go wrong when files are chosen, hashed and packed.

use std::fmt::Write as _;
use std::io;

use rbuild_image::error::ImageError;

/// An error of `COPY`, `ADD` or `WORKDIR`. Paths are quoted, control characters escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A source that must exist does not.
    #[error("{path}: not found")]
    NotFound {
        /// Absolute path in the source tree, quoted.
        path: String,
    },
    /// A file or folder could not be read.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done, e.g. `read`.
        doing: &'static str,
        /// The path, quoted.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it was a moment ago: the step must be keyed anew.
    #[error("{path} changed while it was being copied")]
    Changed {
        /// Absolute path in the source tree, quoted.
        path: String,
    },
    /// A directory is wanted where something else stands.
    #[error("mkdir {path}: not a directory")]
    NotDirectory {
        /// Absolute path in the image, quoted.
        path: String,
    },
    /// A directory would have to become something that is none.
    #[error("cannot copy to non-directory: {path}")]
    CopyToNonDirectory {
        /// Absolute path in the image, quoted.
        path: String,
    },
    /// A file would have to replace a directory.
    #[error("cannot replace to directory {path} with file")]
    ReplaceDirectory {
        /// Absolute path in the image, quoted.
        path: String,
    },
    /// Symbolic links lead in a circle.
    #[error("{path}: too many levels of symbolic links")]
    TooManyLinks {
        /// Absolute path, quoted.
        path: String,
    },
    /// A name or a kind of file that a layer cannot hold.
    #[error("{path}: {reason}")]
    Unstorable {
        /// Absolute path, quoted.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// An ignore file's or `--exclude`'s pattern is malformed.
    #[error("invalid pattern {pattern}: {reason}")]
    BadPattern {
        /// The pattern, quoted.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A malformed `--chown` value, or one that needs the parent's files where there are none.
    #[error("invalid --chown value {value}: {reason}")]
    BadOwner {
        /// The value, quoted.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A malformed `--chmod` value.
    #[error("invalid --chmod value {value}: invalid syntax")]
    BadMode {
        /// The value, quoted.
        value: String,
    },
    /// A source names a tree that the caller did not give.
    #[error("source {number} has no tree to copy from")]
    NoTree {
        /// The source, counted from 1.
        number: usize,
    },
    /// An archive could not be unpacked.
    #[error("cannot unpack {path}")]
    Archive {
        /// The archive's path in the context, quoted.
        path: String,
        /// Why.
        source: ImageError,
    },
    /// The layer could not be written.
    #[error("cannot pack the layer")]
    Pack {
        /// Why.
        source: ImageError,
    },
}

impl From<ImageError> for FilesError {
    fn from(source: ImageError) -> Self {
        Self::Pack { source }
    }
}

/// Returns an absolute path as messages show it: in double quotes, with quotes, backslashes,
/// control characters and bytes that are no UTF-8 escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len() + 3);
    out.push('"');
    if path.first() != Some(&b'/') {
        out.push('/');
    }
    escape(path, &mut out);
    out.push('"');
    out
}

/// Returns a word as messages show it: as [`shown`], but without a leading slash.
pub(crate) fn quoted(word: &[u8]) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    out.push('"');
    escape(word, &mut out);
    out.push('"');
    out
}

fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                // Format characters can turn a terminal's line around just as escapes can.
                _ if c.is_control() || is_format(c) => {
                    write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes everything");
                }
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a String takes everything");
        }
    }
}

/// Tells whether `c` is an invisible character that changes how its neighbours are shown.
fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_without_raw_control_characters() {
        for (path, expected) in [
            (&b"x"[..], r#""/x""#),
            (b"/a b/c", r#""/a b/c""#),
            (b"", r#""/""#),
            (b"esc\x1b]0;x\x07", r#""/esc\u{1b}]0;x\u{7}""#),
            (b"caf\xe9", r#""/caf\xe9""#),
            (b"q\"\\", r#""/q\"\\""#),
            ("\u{202e}txt".as_bytes(), r#""/\u{202e}txt""#),
            ("grüße".as_bytes(), r#""/grüße""#),
        ] {
            assert_eq!(shown(path), expected);
        }
        assert_eq!(quoted(b"a\nb"), r#""a\nb""#);
    }
}
