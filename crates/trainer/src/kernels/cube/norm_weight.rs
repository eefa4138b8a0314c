//! The gradient of a norm's weight: sums over rows, or over the groups that one weight normalizes inside each row.
//!
//! A cube takes some columns and some rows. It sums in the order of the rows, so that the same batch always gives the
//! same gradient, which atomic additions would not.

use burn::tensor::{DType, Tensor};
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::tensor::{buffer, element, empty, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::norm::Groups;

/// Threads of a cube beside each other. Each reads 16 bytes, so that together they read whole sectors of memory.
const N_COLUMNS: usize = 4;
/// Threads of a cube one below the other.
const N_LANES: usize = 64;
/// Cubes for the whole of it: two for each processor of a large GPU.
const N_CUBES: usize = 256;

/// The sum of `dy · x / rms` over rows and groups, `[1, width of a group]`.
pub fn gradient(
    _gpu: Gpu,
    (x, dy, inverse_rms): (&Tensor<2>, &Tensor<2>, &Tensor<2>),
    groups: Groups,
) -> Tensor<2> {
    let ([n_tokens, row_width], [_, rms_width]) = (x.dims(), inverse_rms.dims());
    let (x, dy, inverse_rms) = (buffer(x), buffer(dy), buffer(inverse_rms));
    let Groups { start, width, n, first } = groups;
    // A group begins at a multiple of a vector, and so does a row.
    let common = |size: usize, of: usize| size.min(vector_size(of, x.dtype));
    let size = [start, row_width].into_iter().filter(|of| *of > 0).fold(vector_size(width, x.dtype), common);
    let (n_rows, n_vectors) = (n_tokens * n, width / size);
    let n_tiles = n_vectors.div_ceil(N_COLUMNS);
    let n_chunks = (N_CUBES / n_tiles).clamp(1, n_rows.div_ceil(N_LANES).max(1));
    let sums = empty(&x, [n_chunks, width], DType::F32);
    let kind = element(&x);
    sum_rows::launch(
        &sums.client.clone(),
        CubeCount::Static(n_tiles as u32, n_chunks as u32, 1),
        CubeDim::new_2d(N_COLUMNS as u32, N_LANES as u32),
        size,
        x.into_buffer_arg(),
        dy.into_buffer_arg(),
        inverse_rms.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        n_rows,
        n_rows.div_ceil(n_chunks),
        n,
        row_width / size,
        start / size,
        n_vectors,
        rms_width,
        first,
        kind,
    );
    let sums: Tensor<2> = tensor(sums);
    if n_chunks == 1 { sums } else { sums.sum_dim(0) }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_2d(N_COLUMNS as u32, N_LANES as u32);
    for (kind, size) in activations() {
        for size in [size, 1] {
            variant!(variants, threads, sum_rows::SumRows, [_ _ _ _ _ _ _ _ _ _ _ _], size, kind);
        }
    }
}

#[cube(launch)]
fn sum_rows<F: Float, N: Size>(
    x: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    inverse_rms: &[f32],
    sums: &mut [Vector<f32, N>],
    n_rows: usize,
    chunk_rows: usize,
    n_groups: usize,
    token_vectors: usize,
    start: usize,
    n_vectors: usize,
    rms_width: usize,
    first: usize,
    #[define(F)] _type: ElemType,
) {
    let column = CUBE_POS_X as usize * N_COLUMNS + UNIT_POS_X as usize;
    let first_row = CUBE_POS_Y as usize * chunk_rows;
    let end = usize::min(first_row + chunk_rows, n_rows);
    let mut sum = Vector::<f32, N>::new(0.0);
    if column < n_vectors {
        for row in range_stepped(first_row + UNIT_POS_Y as usize, end, N_LANES) {
            let (token, group) = (row / n_groups, row % n_groups);
            let place = token * token_vectors + start + group * n_vectors + column;
            let r = inverse_rms[token * rms_width + first + group];
            sum += Vector::<f32, N>::cast_from(dy[place]) * Vector::cast_from(x[place]) * Vector::new(r);
        }
    }
    let mut lanes = Shared::<[Vector<f32, N>]>::new_slice(comptime!(N_COLUMNS * N_LANES));
    lanes[UNIT_POS as usize] = sum;
    sync_cube();
    if UNIT_POS_Y == 0 && column < n_vectors {
        let mut total = Vector::<f32, N>::new(0.0);
        for lane in 0..N_LANES {
            total += lanes[lane * N_COLUMNS + UNIT_POS_X as usize];
        }
        sums[CUBE_POS_Y as usize * n_vectors + column] = total;
    }
}
