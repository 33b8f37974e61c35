#![no_main]
//! `Range` and `If-Range`.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_server::fuzzing::range(script));
