#![no_main]
//! Lines out of bytes, however they are chunked.

libfuzzer_sys::fuzz_target!(|script: &[u8]| ditto_llm::fuzzing::jsonl(script));
