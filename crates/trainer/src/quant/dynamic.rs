//! 8-bit dynamic codes: a sign, a decimal exponent of changing length, and a fraction in what bits are left
//! (Dettmers 2015, "8-bit approximations for parallelism in deep learning"). Levels as bitsandbytes'
//! `create_dynamic_map` makes them.

use std::sync::LazyLock;

/// Levels for values of either sign, ascending.
pub static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| levels(Sign::Either));

/// Levels for values that are not negative, ascending.
pub static UNSIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| levels(Sign::Positive));

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Either,
    Positive,
}

/// Decimal exponents: 10⁻⁶ to 10⁰.
const N_EXPONENTS: u32 = 7;

fn levels(sign: Sign) -> [f32; 256] {
    let mut levels = vec![0.0, 1.0];
    for exponent in 0..N_EXPONENTS {
        let power = 10f64.powi(exponent as i32 - (N_EXPONENTS as i32 - 1)) as f32;
        let n_fractions = match sign {
            Sign::Either => 1 << exponent,
            Sign::Positive => 2 << exponent,
        };
        let edges: Vec<f32> = (0..=n_fractions).map(|i| edge(i, n_fractions)).collect();
        for pair in edges.windows(2) {
            let level = power * ((pair[0] + pair[1]) / 2.0);
            levels.push(level);
            if sign == Sign::Either {
                levels.push(-level);
            }
        }
    }
    levels.sort_unstable_by(f32::total_cmp);
    levels.try_into().expect("2 · (2⁷ − 1) or 2⁸ − 2 fractions, zero and one")
}

/// Edge `i` of `n` equal parts of [0.1, 1], with the arithmetic of `torch.linspace`: from both ends to the middle,
/// product and sum rounded once.
fn edge(i: usize, n: usize) -> f32 {
    let step = (1.0f32 - 0.1) / n as f32;
    if i < n.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { (-step).mul_add((n - i) as f32, 1.0) }
}
