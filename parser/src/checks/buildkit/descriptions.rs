//! What comments say about stages and arguments.

use crate::ast::Word;

/// Returns what the comments above an instruction say about `name`: the rest of the first one that
/// begins with it.
#[must_use]
pub fn description<'a>(comments: &'a [Word], name: &str) -> Option<&'a str> {
    if name.is_empty() {
        return None;
    }
    comments
        .iter()
        .find_map(|comment| comment.value.strip_prefix(name)?.strip_prefix(' '))
}
