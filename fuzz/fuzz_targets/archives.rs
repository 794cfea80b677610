#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rbuild_image::fuzzing::archives(input));
