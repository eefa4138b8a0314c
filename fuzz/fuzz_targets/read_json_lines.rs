#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ftl_fuzz::read_all("rows.jsonl", bytes));
