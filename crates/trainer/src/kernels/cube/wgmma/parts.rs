//! Sums that were cut into parts, put together.

use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Onto;
use crate::kernels::cube::tensor::element;

/// Adds the sums of parts up and puts them where they belong.
pub(super) fn add_parts(
    parts: CubeTensor,
    out: &CubeTensor,
    [n_parts, n_values]: [usize; 2],
    (alpha, onto): (f32, Onto),
) {
    const N_THREADS: u32 = 256;
    let n_pairs = n_values / 2;
    let ty = element(out);
    sum_parts::launch(
        &out.client,
        CubeCount::Static((n_pairs as u32).div_ceil(N_THREADS), 1, 1),
        CubeDim::new_1d(N_THREADS),
        parts.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        n_pairs,
        n_parts,
        alpha,
        onto,
        ty,
    );
}

/// `out = alpha Σ parts`, or added to it.
#[cube(launch)]
pub(super) fn sum_parts<O: Float>(
    parts: &[Vector<f32, Const<2>>],
    out: &mut [Vector<O, Const<2>>],
    n_pairs: usize,
    n_parts: usize,
    alpha: f32,
    #[comptime] onto: Onto,
    #[define(O)] _type: ElemType,
) {
    if ABSOLUTE_POS < n_pairs {
        let mut sum = Vector::<f32, Const<2>>::new(0.0);
        for part in 0..n_parts {
            sum += parts[part * n_pairs + ABSOLUTE_POS];
        }
        sum *= Vector::new(alpha);
        if comptime!(onto == Onto::Sum) {
            sum += Vector::cast_from(out[ABSOLUTE_POS]);
        }
        out[ABSOLUTE_POS] = Vector::cast_from(sum);
    }
}
