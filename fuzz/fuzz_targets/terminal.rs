#![no_main]

#[path = "../../src/progress/clean.rs"]
mod clean;

libfuzzer_sys::fuzz_target!(|input: &[u8]| clean::terminal(input));
