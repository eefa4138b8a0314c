//! Rows of a matrix by their numbers.

use burn::tensor::{DType, Int, Tensor, TensorData};
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::grid::each;
use super::tensor::{buffer, element, empty, numbers, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::kernels::NO_ROW;
use crate::ops::embedding::Additions;

/// Threads of a cube that adds rows.
const N_THREADS: usize = 128;
/// Cubes at most; each goes on with further rows where there are more.
const MAX_CUBES: usize = 1 << 15;

/// The rows of `x` whose numbers `index` says; they are u32, and for [`NO_ROW`] there are zeros.
pub fn gather(_gpu: Gpu, x: &Tensor<2>, index: &Tensor<1, Int>) -> Tensor<2> {
    let ([n_rows], [_, width]) = (index.dims(), x.dims());
    let x = buffer(x);
    let y = empty(&x, [n_rows, width], x.dtype);
    let size = vector_size(width, x.dtype);
    let n = n_rows * width / size;
    let (count, dim) = each(&y.client, n);
    let kind = element(&x);
    gather_values::launch(
        &y.client.clone(),
        count,
        dim,
        size,
        x.into_buffer_arg(),
        numbers(index).into_buffer_arg(),
        y.clone().into_buffer_arg(),
        n,
        width / size,
        kind,
    );
    tensor(y)
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for (kind, size) in activations() {
        for size in [size, 1] {
            let each = super::grid::threads();
            variant!(variants, each, gather_values::GatherValues, [_ _ _ _ _], size, kind);
            variant!(variants, threads, add_rows::AddRows, [_ _ _ _ _], size, kind);
        }
    }
}

#[cube(launch)]
fn gather_values<F: Float, N: Size>(
    x: &[Vector<F, N>],
    index: &[u32],
    y: &mut [Vector<F, N>],
    n_places: usize,
    n_vectors: usize,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let row = index[place / n_vectors];
        let mut value = Vector::<F, N>::new(F::new(0.0));
        if row != NO_ROW {
            value = x[usize::cast_from(row) * n_vectors + place % n_vectors];
        }
        y[place] = value;
    }
}

/// Adds rows of `x` to those of `sum`, which is f32.
pub fn add(_gpu: Gpu, x: &Tensor<2>, additions: Additions, sum: Tensor<2>) -> Tensor<2> {
    let [_, width] = x.dims();
    let Additions { rows, starts, order } = additions;
    let n_rows = rows.len();
    let list = [rows, starts, order].concat();
    let n_numbers = list.len();
    let list: Tensor<1, Int> =
        Tensor::from_data(TensorData::new(list, [n_numbers]), (&x.device(), DType::U32));
    let (x, sum) = (buffer(x), owned(sum));
    let size = vector_size(width, x.dtype);
    let kind = element(&x);
    add_rows::launch(
        &sum.client.clone(),
        CubeCount::Static(n_rows.min(MAX_CUBES) as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        x.into_buffer_arg(),
        numbers(&list).into_buffer_arg(),
        sum.clone().into_buffer_arg(),
        n_rows,
        width / size,
        kind,
    );
    tensor(sum)
}

#[cube(launch)]
fn add_rows<F: Float, N: Size>(
    x: &[Vector<F, N>],
    numbers: &[u32],
    sum: &mut [Vector<f32, N>],
    n_rows: usize,
    n_vectors: usize,
    #[define(F)] _type: ElemType,
) {
    for i in range_stepped(CUBE_POS_X as usize, n_rows, CUBE_COUNT_X as usize) {
        let to = usize::cast_from(numbers[i]) * n_vectors;
        let first = usize::cast_from(numbers[n_rows + i]);
        let end = usize::cast_from(numbers[n_rows + i + 1]);
        for column in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
            let mut total = sum[to + column];
            for k in first..end {
                let from = usize::cast_from(numbers[2 * n_rows + 1 + k]);
                total += Vector::cast_from(x[from * n_vectors + column]);
            }
            sum[to + column] = total;
        }
    }
}
