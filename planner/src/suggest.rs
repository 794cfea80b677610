//! "did you mean …?", for names whose case does not count.

/// Two names this short share nothing when they differ by two letters.
const MIN_LEN: usize = 3;

/// Returns the name nearest to `typed`, if one is near enough; the first of equals.
pub(crate) fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let names: Vec<&str> = names
        .into_iter()
        .filter(|name| name.len().max(typed.len()) >= MIN_LEN)
        .collect();
    rbuild_parser::suggest::nearest(typed, &names)
}

/// Returns ` (did you mean NAME?)`, or nothing.
pub(crate) fn hint<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(hint("fo", ["bar", "foo"]), " (did you mean foo?)");
        assert_eq!(hint("foo", ["foo"]), "");
        assert_eq!(hint("a", ["b"]), "");
        assert_eq!(hint("zzz", ["foo"]), "");
    }
}
