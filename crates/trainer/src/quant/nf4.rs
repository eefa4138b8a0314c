//! The numbers of 4-bit NormalFloat: sixteen levels, dense where weights are.
//!
//! ```text
//! block of 64:   scale = max |w|        code = nearest level to w / scale
//! back:          w ≈ LEVELS[code] · scale
//! packed:        weight 2i in the high half of byte i, weight 2i + 1 in the low half
//! ```

/// Weights with one scale. QLoRA section 3 uses 64; bitsandbytes does too.
pub const BLOCK: usize = 64;

/// The levels: quantiles of a normal distribution, scaled to [-1, 1], with an exact zero (QLoRA, appendix E).
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Halfway between neighbouring levels; a value exactly there takes the lower one, as in bitsandbytes.
pub const BOUNDS: [f32; 15] = {
    let mut bounds = [0.0; 15];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = (LEVELS[i] + LEVELS[i + 1]) / 2.0;
        i += 1;
    }
    bounds
};

/// The least that a block is divided by, so that one of zeros has a code; bitsandbytes' number.
pub const MIN_SCALE: f32 = 1e-38;

/// How many scales `n_values` have.
pub fn n_blocks(n_values: usize) -> usize {
    n_values.div_ceil(BLOCK)
}

/// How many bytes the codes of `n_values` take.
pub fn n_code_bytes(n_values: usize) -> usize {
    n_values.div_ceil(2)
}
