//! Loops that the compiler turns into vector code.

use std::mem::MaybeUninit;

/// Defines `fn name(args)` whose body is compiled for the baseline and for AVX2 + FMA, and chosen when called.
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn portable($($arg: $type),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $ret)? { portable($($arg),*) }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: both features were just detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable($($arg),*)
        }
    };
}
pub(super) use simd;

/// Independent partial sums: floating-point sums do not vectorize by themselves.
const LANES: usize = 16;

/// Sum of `f(0) … f(n - 1)`.
#[inline(always)]
pub(super) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + j);
        }
    }
    let rest: f32 = (whole..n).map(f).sum();
    rest + lanes.iter().sum::<f32>()
}

/// Largest value; negative infinity for none.
#[inline(always)]
pub(super) fn max_of(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            // Not `f32::max`: its treatment of NaN costs the vectorization.
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// Largest magnitude; zero for none.
#[inline(always)]
pub(super) fn max_of_magnitudes(values: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if value.abs() > *lane { value.abs() } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(0.0, |a, b| if b.abs() > a { b.abs() } else { a })
}

/// `e^x` to about 2 ulp without branches, for x from -87 to 88 (clamped beyond; NaN stays NaN).
/// Cody and Waite's reduction with a polynomial of degree 6 (Cephes' `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it leaves the rounded integer in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let f = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4f32;
    p = p * f + 1.398_199_9e-3;
    p = p * f + 8.333_452e-3;
    p = p * f + 4.166_579_6e-2;
    p = p * f + 1.666_666_5e-1;
    p = p * f + 0.5;
    let e = p * f * f + f + 1.0;
    f32::from_bits((e.to_bits() as i32).wrapping_add((shifted.to_bits() << 23) as i32) as u32)
}

/// `tanh x` to about 2 ulp without branches (Cephes' `tanhf`); NaN stays NaN.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -0.005_704_988_7f32;
    p = p * square + 0.020_639_088;
    p = p * square - 0.053_739_715;
    p = p * square + 0.133_314_42;
    p = p * square - 0.333_332_8;
    let near_zero = p * square * x + x;
    let size = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    // The second loses digits near zero, the first is good nowhere else.
    if size < 0.625 { near_zero } else { far }
}

/// A vector of `n` values that `fill` makes.
///
/// # Safety
/// `fill` must write every value.
pub(crate) unsafe fn made(n: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(n);
    fill(&mut values.spare_capacity_mut()[..n]);
    // SAFETY: the capacity is there, and the caller's promise is that all of it was written.
    unsafe { values.set_len(n) };
    values
}

#[cfg(test)]
mod tests {
    use super::{exp, max_of, sum_by, tanh};

    #[test]
    fn exp_is_close_to_the_libm_one() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e9) < 1e-37);
    }

    #[test]
    fn tanh_is_close_to_the_libm_one() {
        for i in -30_000..30_000 {
            let x = i as f32 * 0.001;
            let want = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - want).abs() <= 3e-7 * want.abs(), "{x}");
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(1e9), tanh(-1e9)), (1.0, -1.0));
    }

    #[test]
    fn sums_and_maxima_take_every_value() {
        for n in [0, 1, 15, 16, 17, 50] {
            let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(sum_by(n, |i| values[i]), (n * n.saturating_sub(1) / 2) as f32);
            assert_eq!(max_of(&values), values.last().copied().unwrap_or(f32::NEG_INFINITY));
        }
    }
}
