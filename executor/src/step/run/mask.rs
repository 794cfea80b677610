//! Hides secrets in what a step writes.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// What is shown in place of a secret.
const MASK: &[u8] = b"****";

/// A shorter value is not looked for, in bytes: it would be found everywhere.
const SHORTEST_VALUE: usize = 4;

/// The same for a line of a value, and for a value that was encoded.
const SHORTEST_PART: usize = 8;

/// Where the usual programs break encoded lines.
const ENCODED_LINE: usize = 76;

/// How many bytes patterns are found by.
const HEAD: usize = 3;

/// Byte strings that must not be shown.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// By their first bytes, the longest first.
    patterns: HashMap<[u8; HEAD], Vec<Vec<u8>>>,
}

impl Mask {
    /// Returns the mask of these values: each as a whole, its lines, and both in base64.
    pub(super) fn new(values: &[Arc<[u8]>]) -> Self {
        let mut mask = Self::default();
        for value in values {
            let bare = value.trim_ascii();
            mask.add(bare, SHORTEST_VALUE);
            for line in bare.split(|byte| *byte == b'\n') {
                mask.add(line.trim_ascii(), SHORTEST_PART);
            }
            // Without the bytes that share a character with whatever follows them.
            let whole = &bare[..bare.len() / 3 * 3];
            for bytes in [value, bare, whole] {
                let encoded = STANDARD_NO_PAD.encode(bytes);
                mask.add(encoded.as_bytes(), SHORTEST_PART);
                for line in encoded.as_bytes().chunks(ENCODED_LINE) {
                    mask.add(line, SHORTEST_PART);
                }
            }
        }
        mask
    }

    fn add(&mut self, pattern: &[u8], shortest: usize) {
        let Some(head) = pattern.first_chunk().filter(|_| pattern.len() >= shortest) else {
            return;
        };
        let known = self.patterns.entry(*head).or_default();
        let place = known
            .partition_point(|other| (other.len(), other.as_slice()) > (pattern.len(), pattern));
        if known.get(place).is_none_or(|other| other != pattern) {
            known.insert(place, pattern.to_vec());
        }
    }

    /// Returns a text without what must not be shown.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut masker = Masker::new(self);
        let mut shown = masker.push(text.as_bytes());
        shown.extend(masker.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// True if `rest` may be the beginning of a pattern that is longer.
    fn may_go_on(&self, rest: &[u8]) -> bool {
        let begins = |pattern: &Vec<u8>| pattern.len() > rest.len() && pattern.starts_with(rest);
        match rest.first_chunk() {
            Some(head) => self
                .patterns
                .get(head)
                .is_some_and(|known| known.iter().any(begins)),
            None => self.patterns.keys().any(|head| head.starts_with(rest)),
        }
    }

    /// Returns the length of the longest pattern that `rest` begins with.
    fn matched(&self, rest: &[u8]) -> Option<usize> {
        let known = self.patterns.get(rest.first_chunk()?)?;
        let found = known.iter().find(|pattern| rest.starts_with(pattern))?;
        Some(found.len())
    }
}

/// Masks one stream. What may be the beginning of a secret is held back until more is known.
#[derive(Debug)]
pub(super) struct Masker<'a> {
    mask: &'a Mask,
    held: Vec<u8>,
}

impl<'a> Masker<'a> {
    pub(super) fn new(mask: &'a Mask) -> Self {
        let held = Vec::new();
        Self { mask, held }
    }

    /// Takes more of the stream and returns what of it can be shown.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.mask.patterns.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let (shown, rest) = self.masked(&held, true);
        self.held = rest.to_vec();
        shown
    }

    /// Returns what was held back, at the end of the stream.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        self.masked(&held, false).0
    }

    /// Returns what can be shown of `bytes`, and the rest that cannot yet be, as long as `more` may
    /// come.
    fn masked<'b>(&self, bytes: &'b [u8], more: bool) -> (Vec<u8>, &'b [u8]) {
        let mut shown = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if more && self.mask.may_go_on(rest) {
                break;
            }
            if let Some(length) = self.mask.matched(rest) {
                shown.extend_from_slice(MASK);
                rest = &rest[length..];
            } else {
                shown.push(*first);
                rest = after;
            }
        }
        (shown, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[&str]) -> Mask {
        let values: Vec<Arc<[u8]>> = values.iter().map(|value| value.as_bytes().into()).collect();
        Mask::new(&values)
    }

    #[test]
    fn secrets_are_hidden_wherever_the_stream_is_cut() {
        let mask = mask(&["hunter2\n", "hunter2-long"]);
        let text = b"a hunter2 hunter2-long hunter hunter2-lon hunter2";
        for n_bytes in 1..text.len() {
            let mut masker = Masker::new(&mask);
            let mut shown = Vec::new();
            for chunk in text.chunks(n_bytes) {
                shown.extend(masker.push(chunk));
            }
            shown.extend(masker.finish());
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(shown, "a **** **** hunter ****-lon ****", "{n_bytes}");
        }
    }

    #[test]
    fn lines_and_encodings_are_hidden() {
        let key = "-----BEGIN KEY-----\nc2VjcmV0IGtleQ==\nshort\n-----END OF THE KEY-----\n";
        let mask = mask(&[key]);
        assert_eq!(mask.hide("x c2VjcmV0IGtleQ== y"), "x **** y");
        assert_eq!(mask.hide("short"), "short");
        let encoded = base64::engine::general_purpose::STANDARD.encode(key);
        let (first, second) = encoded.split_at(ENCODED_LINE);
        assert_eq!(mask.hide(first), "****");
        assert!(mask.hide(&encoded).starts_with("****"));
        assert!(
            !mask
                .hide(&format!("{first}\n{second}"))
                .contains(&second[..8])
        );
    }

    #[test]
    fn what_is_too_short_is_shown() {
        assert_eq!(mask(&["ana", ""]).hide("banana"), "banana");
        assert_eq!(mask(&["abcd"]).hide("xabcdabcx"), "x****abcx");
    }

    #[test]
    fn nothing_is_held_back_without_secrets() {
        let mask = Mask::default();
        assert_eq!(Masker::new(&mask).push(b"text"), b"text");
    }
}
