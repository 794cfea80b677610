//! Any bytes, compressed or not, are a layer or are refused: without a panic, in bounded memory, and
//! with clean paths only. A layer that is taken can be written and read again, and is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_image::layer::path::is_clean;
use rbuild_image::layer::compression::decompress;
use rbuild_image::layer::{LayerIndex, Whiteouts, unpack};

/// Most bytes that are taken from a compressed stream: bombs are another test's business.
const LIMIT: u64 = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    for whiteouts in [Whiteouts::Decode, Whiteouts::Refuse] {
        let Ok((_encoding, mut input)) = decompress(Box::new(bytes), Some(LIMIT)) else { return };
        let Ok(unpacked) = unpack(&mut input, whiteouts, None) else { continue };
        for entry in unpacked.index.entries() {
            assert!(is_clean(&entry.path), "{:?}", entry.path);
        }
        let encoded = unpacked.index.encode().expect("an index can be written");
        let read = LayerIndex::decode(&encoded).expect("what was written can be read");
        assert_eq!(read.entries(), unpacked.index.entries());
        assert_eq!(read.content_digest(), unpacked.index.content_digest());
    }
});
