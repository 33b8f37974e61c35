#![no_main]
//! The form of an upload.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_server::fuzzing::multipart(script));
