//! How fast files are read, and in how much memory. Not part of the usual run:
//!
//! ```text
//! FTL_DATA=… cargo test --release -p ftl-trainer --test data_read -- --ignored --nocapture --test-threads 1
//! ```

#![expect(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ftl_trainer::data::read;
use rayon::prelude::*;

/// A gigabyte of real rows, repeated.
const FILE_BYTES: u64 = 1 << 30;

fn rows_of(name: &str) -> Vec<String> {
    let dir = PathBuf::from(std::env::var_os("FTL_DATA").expect("FTL_DATA names the third-party data"));
    let text = fs::read_to_string(dir.join("datasets").join(name)).expect("a dataset");
    text.lines().map(str::to_owned).collect()
}

fn write(path: &Path, (before, between, after): (&str, &str, &str)) {
    let rows = [
        "openai_messages/v1_sft_demo.jsonl",
        "text/c4_demo.jsonl",
        "question_answer/gsm8k_train_first2000.jsonl",
    ];
    let rows: Vec<String> = rows.into_iter().flat_map(rows_of).collect();
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let mut n_bytes = 0;
    file.write_all(before.as_bytes()).expect("written");
    'all: loop {
        for row in &rows {
            if n_bytes > 0 {
                file.write_all(between.as_bytes()).expect("written");
            }
            file.write_all(row.as_bytes()).expect("written");
            n_bytes += (row.len() + between.len()) as u64;
            if n_bytes > FILE_BYTES {
                break 'all;
            }
        }
    }
    file.write_all(after.as_bytes()).expect("written");
    file.flush().expect("written");
}

/// The largest memory of this process so far, in MiB; 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[test]
#[ignore = "takes a gigabyte of disk; run by hand with --release"]
fn a_gigabyte_is_read_in_bounded_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, around) in [("a.jsonl", ("", "\n", "\n")), ("a.json", ("[", ",\n", "]\n"))] {
        let path = dir.path().join(name);
        write(&path, around);
        let start = Instant::now();
        let opened = read::open(&path).expect("opens");
        let n_rows: usize = opened
            .par_bridge()
            .map(|lot| lot.expect("a lot").rows().into_iter().filter(|(_, row)| row.is_ok()).count())
            .sum();
        let secs = start.elapsed().as_secs_f64();
        let n_bytes = fs::metadata(&path).expect("a file").len();
        println!("{name}: {n_rows} rows, {:.0} MB/s, peak {} MiB", n_bytes as f64 / secs / 1e6, peak_mib());
        assert!(peak_mib() < 200);
        fs::remove_file(&path).expect("removed");
    }
}
