//! What patterns say of a path, while a tree is walked: ignore files, `--exclude`, `--parents`.

use std::sync::Arc;

use rbuild_image::layer::path::is_below;
use rbuild_parser::glob::Pattern;
use rbuild_parser::ignore::{Ignore, IgnoreError, ParentState};

use super::error::{FilesError, quoted};

/// An ignore file, shared by all who open its context.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns(pub(crate) Arc<Ignore>);

impl From<Arc<Ignore>> for Patterns {
    fn from(ignore: Arc<Ignore>) -> Self {
        Self(ignore)
    }
}

/// Whether a path is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// True if it is wanted.
    pub(crate) keep: bool,
    /// True if something below it may be wanted.
    pub(crate) descend: bool,
}

impl Verdict {
    /// Of what no pattern speaks against.
    pub(crate) const WANTED: Self = Self {
        keep: true,
        descend: true,
    };
}

/// What decides which paths of a walk are wanted. All that is there must agree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filter<'a> {
    /// The context's ignore file; looks at whole paths.
    pub(crate) ignore: Option<&'a Ignore>,
    /// `--parents`; looks at paths below the walk's start, as does `exclude`.
    pub(crate) pick: Option<&'a Picker>,
    /// `--exclude`
    pub(crate) exclude: Option<&'a Ignore>,
    /// Length of the start's path with a slash behind it.
    pub(crate) prefix: usize,
}

/// What is known of a directory's patterns when its entries are judged.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterState {
    ignore: ParentState,
    pick: ParentState,
    exclude: ParentState,
}

impl<'a> Filter<'a> {
    /// Returns the filter of a walk that starts at `start`. Patterns that are none cost nothing.
    pub(crate) fn new(start: &[u8], pick: Option<&'a Picker>, exclude: &'a Ignore) -> Self {
        Self {
            ignore: None,
            pick,
            exclude: Some(exclude).filter(|patterns| !patterns.is_empty()),
            prefix: if start.is_empty() { 0 } else { start.len() + 1 },
        }
    }

    /// Returns the same filter with a context's ignore file.
    pub(crate) fn with_ignore(self, ignore: &'a Ignore) -> Self {
        Self {
            ignore: Some(ignore).filter(|patterns| !patterns.is_empty()),
            ..self
        }
    }

    /// Returns the state for the entries of the directory at `path`, where a walk starts.
    pub(crate) fn start(&self, path: &[u8]) -> FilterState {
        let mut state = FilterState::default();
        let Some(ignore) = self.ignore else {
            return state;
        };
        let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        let ends = slashes.chain((!path.is_empty()).then_some(path.len()));
        for end in ends {
            state.ignore = ignore.matches_with_parent(&path[..end], &state.ignore).1;
        }
        state
    }

    /// Judges an entry of a directory, and returns the state for its own entries.
    pub(crate) fn judge(&self, path: &[u8], parent: &FilterState) -> (Verdict, FilterState) {
        let mut verdict = Verdict::WANTED;
        let mut state = FilterState::default();
        let relative = path.get(self.prefix..).unwrap_or_default();
        if let Some(ignore) = self.ignore {
            state.ignore = apply(ignore, path, &parent.ignore, &mut verdict);
        }
        if let Some(exclude) = self.exclude {
            state.exclude = apply(exclude, relative, &parent.exclude, &mut verdict);
        }
        if let Some(pick) = self.pick {
            let (is_picked, next) = pick.patterns.matches_with_parent(relative, &parent.pick);
            verdict.keep &= is_picked;
            verdict.descend &= is_picked || pick.may_hold(relative);
            state.pick = next;
        }
        (verdict, state)
    }
}

/// Lets exclude patterns speak.
fn apply(
    patterns: &Ignore,
    path: &[u8],
    parent: &ParentState,
    verdict: &mut Verdict,
) -> ParentState {
    let (is_excluded, state) = patterns.matches_with_parent(path, parent);
    verdict.keep &= !is_excluded;
    verdict.descend &= !is_excluded || patterns.may_include_below(path);
    state
}

/// What a `--parents` pattern picks.
#[derive(Debug)]
pub(crate) struct Picker {
    patterns: Ignore,
    /// The directories that all it can match lie in.
    literal: Vec<u8>,
}

impl Picker {
    /// Returns the picker of a cleaned pattern; `None` if it picks everything.
    ///
    /// # Errors
    /// [`FilesError::BadPattern`].
    pub(crate) fn new(pattern: &[u8]) -> Result<Option<Self>, FilesError> {
        if pattern.is_empty() {
            return Ok(None);
        }
        let literal: Vec<&[u8]> = pattern
            .split(|byte| *byte == b'/')
            .take_while(|component| !has_meta(component))
            .collect();
        Ok(Some(Self {
            patterns: Ignore::from_patterns([pattern]).map_err(|error| bad(&error))?,
            literal: literal.join(&b'/'),
        }))
    }

    /// Tells whether something below `path` can be picked.
    fn may_hold(&self, path: &[u8]) -> bool {
        path == self.literal || is_below(&self.literal, path) || is_below(path, &self.literal)
    }
}

/// Reads the values of `--exclude`.
///
/// # Errors
/// [`FilesError::BadPattern`].
pub(crate) fn exclude(patterns: &[String]) -> Result<Ignore, FilesError> {
    Ignore::from_patterns(patterns).map_err(|error| bad(&error))
}

/// Reads one component of a source argument as a pattern.
///
/// # Errors
/// [`FilesError::BadPattern`].
pub(crate) fn glob(component: &[u8]) -> Result<Pattern, FilesError> {
    Pattern::new(component).map_err(|error| FilesError::BadPattern {
        pattern: quoted(component),
        reason: error.to_string(),
    })
}

/// Tells whether a pattern, or one component of it, holds a wildcard or an escape.
pub(crate) fn has_meta(component: &[u8]) -> bool {
    component.iter().any(|byte| b"*?[\\".contains(byte))
}

fn bad(error: &IgnoreError) -> FilesError {
    let pattern = match error {
        IgnoreError::BadPattern { pattern, .. } => quoted(pattern.as_bytes()),
        _ => quoted(b"!"),
    };
    FilesError::BadPattern {
        pattern,
        reason: error.to_string(),
    }
}
