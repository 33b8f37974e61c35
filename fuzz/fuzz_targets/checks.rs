#![no_main]
//! An input file against its rules, and against serde.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_llm::fuzzing::checks(script));
