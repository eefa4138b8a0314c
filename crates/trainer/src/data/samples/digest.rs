//! The hash of a file of samples: SHA-256 over the SHA-256 of each block, so that all cores can check it.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::bytes::Bytes;

/// A hash.
pub type Hash = [u8; 32];

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 1 << 20;
/// Blocks that are checked before pages are given back.
const BLOCKS_AT_ONCE: usize = 32;

/// Takes the hash of bytes as they are written.
#[derive(Clone, Default)]
pub struct Hasher {
    of_blocks: Sha256,
    block: Sha256,
    n_in_block: usize,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.n_in_block));
            self.block.update(now);
            self.n_in_block += now.len();
            if self.n_in_block == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    /// The hash of all that was taken.
    pub fn finish(mut self) -> Hash {
        if self.n_in_block > 0 {
            self.end_block();
        }
        self.of_blocks.finalize().into()
    }

    fn end_block(&mut self) {
        self.of_blocks.update(std::mem::take(&mut self.block).finalize());
        self.n_in_block = 0;
    }
}

/// The hash of all bytes from `start`, on all cores.
pub fn hash_from(bytes: &Bytes, start: usize) -> Hash {
    let mut of_blocks = Sha256::new();
    for some in bytes[start..].chunks(BLOCK_BYTES * BLOCKS_AT_ONCE) {
        let hashes: Vec<Hash> =
            some.par_chunks(BLOCK_BYTES).map(|block| Sha256::digest(block).into()).collect();
        hashes.iter().for_each(|hash| of_blocks.update(hash));
        bytes.touch(some.len());
    }
    of_blocks.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_parts_has_the_hash_of_the_whole() {
        for n_bytes in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 40 * BLOCK_BYTES + 7] {
            let bytes: Vec<u8> = (0..n_bytes).map(|index| (index * 31 % 251) as u8).collect();
            let mut hasher = Hasher::default();
            bytes.chunks(BLOCK_BYTES / 3 + 5).for_each(|some| hasher.update(some));
            let mut other = bytes.clone();
            let whole = hash_from(&Bytes::Heap(bytes), 0);
            assert_eq!(hasher.finish(), whole, "{n_bytes}");
            if let Some(last) = other.last_mut() {
                *last ^= 1;
                assert_ne!(hash_from(&Bytes::Heap(other), 0), whole);
            }
        }
    }
}
