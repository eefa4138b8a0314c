//! SHA-256 as text.

use sha2::{Digest, Sha256};

/// Ends a hash and gives its 64 lower-case hexadecimal digits.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
