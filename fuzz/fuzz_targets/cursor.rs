#![no_main]
//! The cursor of a reader of results.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_server::fuzzing::cursor(script));
