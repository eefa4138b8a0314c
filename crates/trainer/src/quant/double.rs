//! The scales of 4-bit weights in 8 bits (QLoRA section 3, "double quantization"), as bitsandbytes does it on a CPU:
//! their mean is taken off, then each 256 of them have a scale of their own and a dynamic code each.

use std::sync::LazyLock;

use super::dynamic;

/// Scales with one scale of their own; bitsandbytes' number.
pub const NESTED_BLOCK: usize = 256;

/// Scales in 8 bits: `SIGNED[codes[i]] · absmax[i / 256] + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct DoubleQuantized {
    /// A code for each scale.
    pub codes: Vec<u8>,
    /// A scale for each 256 codes.
    pub absmax: Vec<f32>,
    /// The mean of the scales.
    pub offset: f32,
}

/// Positions in the table from values in [-1, 1] to codes.
const N_CELLS: usize = 1 << 16;

/// bitsandbytes does not look for the nearest level: it rounds to one of 65,536 places first and takes the level that
/// is nearest to the place. Where levels are close together, around zero, that gives another code.
static CODE_OF_CELL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let levels = &dynamic::SIGNED.levels;
    let mut code = 0;
    let code_of = |cell: usize| {
        let place = 2.0 * cell as f64 / (N_CELLS - 1) as f64 - 1.0;
        while code < 255 && (f64::from(levels[code]) + f64::from(levels[code + 1])) / 2.0 < place {
            code += 1;
        }
        code as u8
    };
    (0..N_CELLS).map(code_of).collect()
});

/// Quantizes the scales of one tensor.
pub fn quantize(scales: &[f32]) -> DoubleQuantized {
    let offset = mean(scales);
    let mut codes = Vec::with_capacity(scales.len());
    let mut absmax = Vec::with_capacity(scales.len().div_ceil(NESTED_BLOCK));
    for block in scales.chunks(NESTED_BLOCK) {
        let largest = block.iter().fold(0f32, |largest, scale| largest.max((scale - offset).abs()));
        absmax.push(largest);
        if largest <= 0.0 {
            codes.resize(codes.len() + block.len(), 0);
            continue;
        }
        let inverse = 1.0 / largest;
        codes.extend(block.iter().map(|scale| {
            let cell = ((scale - offset) * inverse + 1.0) * ((N_CELLS - 1) as f32 / 2.0) + 0.5;
            CODE_OF_CELL[(cell as usize).min(N_CELLS - 1)]
        }));
    }
    DoubleQuantized { codes, absmax, offset }
}

/// Values that PyTorch adds up side by side: an AVX2 register of `f32`.
const LANES: usize = 8;
/// Registers that it keeps going at once.
const N_ROWS: usize = 4;
/// Levels of its cascade.
const N_LEVELS: usize = 4;

type Sums = [[f32; LANES]; N_ROWS];

/// The mean with the rounding of `torch.Tensor.mean` on one thread, which decides about the last bit of the offset
/// and with it of everything that follows (`cascade_sum` in ATen's `SumKernel.cpp`).
pub fn mean(values: &[f32]) -> f32 {
    let sum = if values.len() < LANES {
        let singles: Vec<[f32; LANES]> =
            values.iter().map(|value| [*value, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).collect();
        sum_of_registers(&singles)[0]
    } else {
        let (registers, rest) = values.as_chunks::<LANES>();
        let lanes = sum_of_registers(registers);
        rest.iter().chain(&lanes).fold(0.0, |sum, value| sum + value)
    };
    sum / values.len() as f32
}

fn sum_of_registers(registers: &[[f32; LANES]]) -> [f32; LANES] {
    let (groups, rest) = registers.as_chunks::<N_ROWS>();
    let log2 = usize::BITS - groups.len().saturating_sub(1).leading_zeros();
    let power = (log2 as usize / N_LEVELS).max(4);
    let (step, mask) = (1 << power, (1 << power) - 1);
    let mut levels: [Sums; N_LEVELS] = Default::default();
    let whole = groups.len() / step * step;
    for (index, group) in groups[..whole].iter().enumerate() {
        add(&mut levels[0], group);
        let n_done = index + 1;
        if !n_done.is_multiple_of(step) {
            continue;
        }
        for level in 1..N_LEVELS {
            let below = std::mem::take(&mut levels[level - 1]);
            add(&mut levels[level], &below);
            if n_done & (mask << (level * power)) != 0 {
                break;
            }
        }
    }
    groups[whole..].iter().for_each(|group| add(&mut levels[0], group));
    let [mut sums, higher @ ..] = levels;
    higher.iter().for_each(|level| add(&mut sums, level));
    let [mut sum, others @ ..] = sums;
    rest.iter().chain(&others).for_each(|register| add_register(&mut sum, register));
    sum
}

fn add(sums: &mut Sums, values: &Sums) {
    sums.iter_mut().zip(values).for_each(|(sum, register)| add_register(sum, register));
}

fn add_register(sum: &mut [f32; LANES], register: &[f32; LANES]) {
    sum.iter_mut().zip(register).for_each(|(sum, value)| *sum += value);
}
