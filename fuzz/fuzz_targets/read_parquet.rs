#![no_main]

libfuzzer_sys::fuzz_target!(
    // The Parquet library panics about some damaged files, which the reader catches and says of the file. libFuzzer's own
    // hook would count them; panics that nobody catches still end the run.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| ftl_fuzz::read_all("rows.parquet", bytes)
);
