#![no_main]
//! A whole request: ids, cursors, limits, headers and bodies.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_server::fuzzing::request(script));
