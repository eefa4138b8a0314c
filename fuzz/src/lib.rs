//! The readers of data files, compiled from their sources, and what every target does with them.

/// Why a row can't be used.
#[path = "../../crates/trainer/src/data/fault.rs"]
pub mod fault;
/// The readers.
#[path = "../../crates/trainer/src/data/read/mod.rs"]
pub mod read;

use std::path::Path;

/// Reads `bytes` as a file of this name: every row is parsed, every message is written.
pub fn read_all(name: &str, bytes: &[u8]) {
    let Ok(opened) = read::open_bytes(Path::new(name), bytes.to_vec()) else { return };
    let mut last = 0;
    for lot in opened {
        match lot {
            Ok(lot) => {
                for (place, row) in lot.rows() {
                    assert!(place.number > last, "rows are numbered in order");
                    last = place.number;
                    if let Err(fault) = row {
                        assert!(!place.problem(fault).message.is_empty());
                    }
                }
            }
            Err(refusal) => assert!(!refusal.problem.message.is_empty()),
        }
    }
}
