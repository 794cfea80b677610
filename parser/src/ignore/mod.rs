//! Ignore files (`.dockerignore`) and lists of exclude patterns: which paths stay out. Knows no
//! file system; a walk asks path by path.

use crate::glob;

mod pattern;
mod regex;

use pattern::IgnorePattern;

/// Why an ignore file or a list of patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreError {
    /// A `!` without a pattern.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation {
        /// Number of the line, or of the pattern in a list, from 1.
        line: usize,
    },
    /// An open class, a lone backslash at the end, or a form that the matcher does not know.
    #[error("syntax error in pattern")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// Number of the line, or of the pattern in a list, from 1.
        line: usize,
    },
}

/// Patterns in order; the last one that matches a path decides.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<IgnorePattern>,
}

/// Which patterns match a directory or one of its parents: what [`Ignore::matches_with_parent`]
/// needs to know about the directory when it asks for an entry. The default is for the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParentState {
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads an ignore file: one pattern a line, `#` in the first column comments a line out, `!`
    /// takes paths in again, blanks around are dropped, a leading `/` changes nothing.
    ///
    /// # Errors
    /// For the first bad pattern.
    pub fn parse(source: &[u8]) -> Result<Self, IgnoreError> {
        let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
        let mut patterns = Vec::new();
        for (index, line) in source.split(|&byte| byte == b'\n').enumerate() {
            if line.first() == Some(&b'#') {
                continue;
            }
            let line = trim(line);
            let (negated, text) = match line.strip_prefix(b"!") {
                Some(text) => (true, trim(text)),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            let mut cleaned = if text.is_empty() {
                Vec::new()
            } else {
                pattern::clean(text)
            };
            if cleaned.len() > 1 && cleaned[0] == b'/' {
                cleaned.remove(0);
            }
            if negated {
                cleaned.insert(0, b'!');
            }
            add_pattern(&mut patterns, &cleaned, index + 1)?;
        }
        Ok(Self { patterns })
    }

    /// Takes a list of patterns, such as the values of `--exclude`. A leading `/` stays and thus
    /// matches nothing.
    ///
    /// # Errors
    /// For the first bad pattern.
    pub fn from_patterns<T: AsRef<[u8]>>(
        list: impl IntoIterator<Item = T>,
    ) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (index, text) in list.into_iter().enumerate() {
            add_pattern(&mut patterns, text.as_ref(), index + 1)?;
        }
        Ok(Self { patterns })
    }

    /// Tells whether there is no pattern: then nothing is excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Tells whether any pattern takes paths in again.
    #[must_use]
    pub fn has_negated(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Tells whether one pattern alone excludes all there is (`*`, `**` or `**/*`).
    #[must_use]
    pub fn catches_all(&self) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.catches_all && !pattern.negated)
    }

    /// Tells whether `path` is excluded, itself or through a parent. The path is relative, with
    /// `/` between components and none at its ends. In a walk, [`Ignore::matches_with_parent`] does
    /// the same for less.
    #[must_use]
    pub fn is_excluded(&self, path: impl AsRef<[u8]>) -> bool {
        let path = path.as_ref();
        let ends = path
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte == b'/')
            .map(|(index, _)| index)
            .chain([path.len()]);
        let mut state = ParentState::default();
        let mut is_excluded = false;
        for end in ends {
            (is_excluded, state) = self.matches_with_parent(&path[..end], &state);
        }
        is_excluded
    }

    /// As [`Ignore::is_excluded`], with what was returned for the directory that holds `path`
    /// (the default for entries of the root). Also returns that for `path`, should it be a
    /// directory.
    #[must_use]
    pub fn matches_with_parent(
        &self,
        path: impl AsRef<[u8]>,
        parent: &ParentState,
    ) -> (bool, ParentState) {
        let path = path.as_ref();
        let mut is_excluded = false;
        let mut matched = Vec::with_capacity(self.patterns.len());
        for (index, pattern) in self.patterns.iter().enumerate() {
            let from_parent = parent.matched.get(index).copied().unwrap_or(false);
            // A pattern that would change nothing is not tried.
            let matches = from_parent || (pattern.negated == is_excluded && pattern.matches(path));
            if matches {
                is_excluded = !pattern.negated;
            }
            matched.push(matches);
        }
        (is_excluded, ParentState { matched })
    }

    /// Tells whether anything below the directory `dir`, which is excluded, could be taken in
    /// again. If not, a walk need not enter it.
    #[must_use]
    pub fn may_include_below(&self, dir: impl AsRef<[u8]>) -> bool {
        let dir = dir.as_ref();
        self.patterns
            .iter()
            .any(|pattern| pattern.negated && pattern.may_match_below(dir))
    }
}

/// Adds one pattern as a list has it: trimmed, cleaned, `!` first.
fn add_pattern(
    patterns: &mut Vec<IgnorePattern>,
    text: &[u8],
    line: usize,
) -> Result<(), IgnoreError> {
    let text = trim(text);
    if text.is_empty() {
        return Ok(());
    }
    let cleaned = pattern::clean(text);
    let (negated, body) = match cleaned.strip_prefix(b"!") {
        Some([]) => return Err(IgnoreError::LoneExclamation { line }),
        Some(body) => (true, body),
        None => (false, cleaned.as_slice()),
    };
    let bad = || IgnoreError::BadPattern {
        pattern: String::from_utf8_lossy(body).into_owned(),
        line,
    };
    glob::Pattern::new(body).map_err(|glob::BadPattern| bad())?;
    let compiled = IgnorePattern::compile(body, negated).ok_or_else(bad)?;
    patterns.push(compiled);
    Ok(())
}

/// Removes white space at both ends: Unicode's, as far as the ends are text.
fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.len() - trim_start(bytes).len();
    let mut end = bytes.len();
    while end > start {
        let width = (1..=3).find(|&width| {
            end - start >= width
                && std::str::from_utf8(&bytes[end - width..end])
                    .is_ok_and(|text| text.chars().count() == 1 && text.trim().is_empty())
        });
        match width {
            Some(width) => end -= width,
            None => break,
        }
    }
    &bytes[start..end]
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    &bytes[crate::syntax::leading_blanks(bytes)..]
}

#[cfg(test)]
mod tests;
