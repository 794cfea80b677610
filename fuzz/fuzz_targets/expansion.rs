#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rbuild_parser::fuzzing::expansion(input));
