//! "Did you mean …?": the nearest known word to a misspelt one.

/// Edits that still count as a slip.
const MAX_DISTANCE: usize = 2;

/// Returns the first of the options that is nearest to `word` and at most two edits away. Nothing
/// if `word` is one of them.
#[must_use]
pub fn nearest<'a>(word: &str, options: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let mut best = None;
    let mut best_distance = MAX_DISTANCE + 1;
    for option in options {
        let letters: Vec<char> = option.chars().collect();
        match distance(&word, &letters) {
            0 => return None,
            near if near < best_distance => {
                best_distance = near;
                best = Some(*option);
            }
            _ => {}
        }
    }
    best
}

/// As [`nearest`] for lower-case options, whatever the case of `word`: the answer is in the case
/// of `word`, lower if that is mixed.
pub(crate) fn nearest_in_any_case(word: &str, options: &[&str]) -> Option<String> {
    let found = nearest(&word.to_lowercase(), options)?;
    let is_upper = word == word.to_uppercase() && word != word.to_lowercase();
    Some(if is_upper {
        found.to_uppercase()
    } else {
        found.to_owned()
    })
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    if a.len().abs_diff(b.len()) > MAX_DISTANCE {
        return MAX_DISTANCE + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let flags = ["chmod", "chown", "from", "link"];
        assert_eq!(nearest("form", &flags), Some("from"));
        assert_eq!(nearest("chonw", &flags), Some("chown"));
        assert_eq!(nearest("exclude", &flags), None);
        assert_eq!(nearest("from", &flags), None);
        assert_eq!(
            nearest_in_any_case("RUNN", &["run"]).as_deref(),
            Some("RUN")
        );
        assert_eq!(
            nearest_in_any_case("Runn", &["run"]).as_deref(),
            Some("run")
        );
    }
}
