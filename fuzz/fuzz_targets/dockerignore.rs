//! Any bytes are an ignore file or are refused; asking for a path folder by folder, the way a walk
//! does, gives what asking for it at once gives. The path stands after the first NUL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_parser::ignore::{Ignore, ParentState};

fuzz_target!(|input: &[u8]| {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let source = halves.next().unwrap_or_default();
    let path = halves.next().unwrap_or(b"a/b/c.txt");
    let Ok(ignore) = Ignore::parse(source) else { return };
    // Walks only meet clean paths.
    let clean = path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    if !clean || path.len() > 200 {
        return;
    }
    let at_once = ignore.is_excluded(path);
    let mut state = ParentState::default();
    let mut pruned = false;
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for end in slashes.map(|(index, _)| index).chain([path.len()]) {
        let (excluded, next) = ignore.matches_with_parent(&path[..end], &state);
        if end == path.len() {
            assert_eq!(excluded, at_once, "{}", path.escape_ascii());
            assert!(!pruned || excluded, "a pruned folder hides {}", path.escape_ascii());
        } else {
            pruned |= excluded && !ignore.may_include_below(&path[..end]);
        }
        state = next;
    }
});
