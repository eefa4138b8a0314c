//! 8-bit dynamic codes: a sign, a decimal exponent of changing length, and a fraction in what bits are left
//! (Dettmers 2015, "8-bit approximations for parallelism in deep learning"). Levels as bitsandbytes'
//! `create_dynamic_map` makes them.

use std::sync::LazyLock;

/// For values of either sign.
pub static SIGNED: LazyLock<Dynamic> = LazyLock::new(|| Dynamic::new(Sign::Either));

/// For values that are not negative.
pub static UNSIGNED: LazyLock<Dynamic> = LazyLock::new(|| Dynamic::new(Sign::Positive));

/// A set of levels in [-1, 1].
#[derive(Debug)]
pub struct Dynamic {
    /// The levels, ascending.
    pub levels: [f32; 256],
    /// Halfway between neighbouring levels; a value exactly there takes the lower one.
    pub bounds: [f32; 255],
    /// The code of the lowest value whose upper half is the index.
    cells: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Either,
    Positive,
}

/// Decimal exponents: 10⁻⁶ to 10⁰.
const N_EXPONENTS: u32 = 7;

impl Dynamic {
    fn new(sign: Sign) -> Self {
        let levels = levels(sign);
        let bounds = std::array::from_fn(|i| (levels[i] + levels[i + 1]) / 2.0);
        let cells = (0..=u16::MAX).map(|upper| {
            let lowest = from_ordered(u32::from(upper) << 16);
            // Beyond the largest numbers there are those that are none; nothing of that kind is looked up.
            bounds.iter().filter(|bound| lowest > **bound).count() as u8
        });
        Self { cells: cells.collect(), levels, bounds }
    }

    /// The code of the level that is nearest to a value.
    #[inline]
    pub fn code(&self, value: f32) -> u8 {
        let mut code = self.cells[(ordered(value) >> 16) as usize];
        // A cell is about as wide as the smallest distance of levels, so that this goes once or not at all.
        while self.bounds.get(usize::from(code)).is_some_and(|bound| value > *bound) {
            code += 1;
        }
        code
    }
}

/// The bits of a number in an order that is that of the numbers.
#[inline]
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_ordered(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

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

#[cfg(test)]
mod tests {
    use super::{Dynamic, SIGNED, UNSIGNED};

    fn nearest(dynamic: &Dynamic, value: f32) -> u8 {
        dynamic.bounds.iter().filter(|bound| value > **bound).count() as u8
    }

    #[test]
    fn every_value_has_the_code_of_the_nearest_level() {
        for dynamic in [&*SIGNED, &*UNSIGNED] {
            assert!(dynamic.levels.is_sorted());
            let mut values: Vec<f32> = (-40_000..=40_000).map(|i| (i as f32 / 40_000.0).powi(5)).collect();
            values.extend((0..=4000).map(|i| i as f32 / 2000.0 - 1.0));
            values.extend(dynamic.levels);
            values
                .extend(dynamic.bounds.iter().flat_map(|bound| [*bound, bound.next_up(), bound.next_down()]));
            for value in values {
                assert_eq!(dynamic.code(value), nearest(dynamic, value), "{value}");
            }
        }
        assert_ne!(SIGNED.code(0.0), UNSIGNED.code(0.0));
    }
}
