#![no_main]
//! A line, read by our scanner and by serde_json.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_llm::fuzzing::scanner(script));
