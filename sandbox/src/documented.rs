//! What `docs/security.md` says, for tests that compare it with the code.

/// Returns the words of the first block of code behind a text, sorted.
pub(crate) fn words_behind(text: &str) -> Vec<String> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
    let document = fs_err::read_to_string(document).unwrap();
    let (_, rest) = document.split_once(text).unwrap();
    let block = rest.split("```").nth(1).unwrap();
    let words = block.strip_prefix("text\n").unwrap().split_whitespace();
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

/// Returns these words, sorted.
pub(crate) fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}
