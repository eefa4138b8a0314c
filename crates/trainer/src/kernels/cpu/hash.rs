//! A hash of values by their bits: XXH64 (xxHash specification 0.1.1) of the XXH64 of pieces of fixed length, so that
//! all threads hash and the result depends on none of them.

use std::hash::Hasher;

use rayon::prelude::*;
use twox_hash::XxHash64;

/// Values that one task hashes.
pub const PIECE_VALUES: usize = 1 << 16;
/// Values that are turned into bytes at a time: they stay in the processor's nearest cache.
const BUFFER_VALUES: usize = 1 << 10;

/// The hash of all values of all `tensors`, in order.
pub fn hash(tensors: &[&[f32]]) -> u64 {
    let pieces: Vec<&[f32]> = tensors.iter().flat_map(|values| values.chunks(PIECE_VALUES)).collect();
    let hashes: Vec<u64> = pieces.into_par_iter().map(hash_piece).collect();
    let mut whole = XxHash64::with_seed(0);
    hashes.into_iter().for_each(|hash| whole.write(&hash.to_le_bytes()));
    whole.finish()
}

fn hash_piece(values: &[f32]) -> u64 {
    let mut hash = XxHash64::with_seed(values.len() as u64);
    let mut buffer = [[0; size_of::<f32>()]; BUFFER_VALUES];
    for values in values.chunks(BUFFER_VALUES) {
        let bytes = &mut buffer[..values.len()];
        bytes.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_bits().to_le_bytes());
        hash.write(bytes.as_flattened());
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_order_count() {
        let values: Vec<f32> = (0..PIECE_VALUES + 3).map(|i| i as f32).collect();
        let whole = hash(&[&values]);
        assert_eq!(whole, hash(&[&values]));
        for place in [0, 1, BUFFER_VALUES, PIECE_VALUES - 1, PIECE_VALUES, PIECE_VALUES + 2] {
            let mut other = values.clone();
            other[place] = f32::from_bits(other[place].to_bits() ^ 1);
            assert_ne!(hash(&[&other]), whole, "value {place}");
            other.clone_from(&values);
            other.swap(place, 7);
            assert_ne!(hash(&[&other]), whole, "value {place}");
        }
        let (head, tail) = values.split_at(5);
        assert_ne!(hash(&[head, tail]), hash(&[tail, head]));
        assert_ne!(hash(&[&[0.0]]), hash(&[&[-0.0]]));
    }
}
