//! What must hold whatever repositories list and records hold: the body of a fuzz target.
//!
//! The target in `fuzz/` calls it with what the fuzzer finds; the test below calls it with the seeds
//! that are kept there, so that what was once broken stays mended without a fuzzer.

use crate::git::refs::{Listing, check_reference, check_url, http_host, is_full_id};
use crate::http::{Record, host_of, is_settled};

/// Any URL, name of a branch, listing or record is understood or refused, and nothing that could be
/// an option or another transport is handed to git. The lines of the input are URLs and names; all of
/// it is a listing.
pub fn remotes(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<&str> = text.lines().take(16).collect();
    for line in &lines {
        url(line);
        reference(line);
    }
    if let [first, second, ..] = lines[..] {
        let _is_settled = is_settled(Some(first), Some(second));
    }
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        let written = serde_json::to_vec(&record).expect("a record has only string keys");
        let again: Record = serde_json::from_slice(&written).expect("what was written is read");
        assert_eq!(again.body(), record.body());
    }
    let listing = Listing::read(&text);
    for wanted in lines
        .iter()
        .copied()
        .chain(["HEAD", "main", "refs/tags/v1"])
    {
        let Some(found) = listing.named(wanted) else {
            continue;
        };
        assert!(is_full_id(&found.commit));
        if !wanted.is_empty() && check_reference(wanted).is_ok() {
            check_reference(&found.name).expect("what a name leads to is a name");
        }
    }
}

fn url(text: &str) {
    if check_url(text).is_err() {
        return;
    }
    assert!(!text.starts_with('-') && !text.contains(['\n', '\0', ' ']));
    // `ext::`, `fd::` and paths would run or read things of this machine.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("http" | "https" | "git" | "ssh") => {}
        // A colon before any slash makes it a host's, whatever the user is called.
        _ => {
            let authority = text.split(':').next().unwrap_or_default();
            assert!(
                authority.contains('@') && !authority.contains('/'),
                "{text}"
            );
        }
    }
    let is_transport = text.split_once("::").is_some_and(|(name, _)| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    assert!(!is_transport, "{text}");
    if let Some(host) = http_host(text) {
        assert!(!host.is_empty() && text.contains(host_of(text)));
    }
}

fn reference(name: &str) {
    if check_reference(name).is_ok() {
        assert!(!name.starts_with('-') && !name.contains("..") && !name.contains('\0'));
    }
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_of_remotes() {
        super::seeds::check_seeds("remotes", super::remotes);
    }
}
