#![no_main]
//! A journal part, read after a crash.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_server::fuzzing::journal(script));
