//! The factors of low-rank updates as products read them: in the type of activations, and the B factors of parts that share
//! an input as one matrix, each part's own where its outputs and ranks meet, 0 elsewhere. With it the updates of all parts
//! are one product.
//!
//! ```text
//!             ranks of q   ranks of k
//! outputs of q [    B_q         0     ]
//! outputs of k [     0         B_k    ]
//! ```
//!
//! A launch fills many matrices: a model has some hundred factors, all of them small, and all change in every step.

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::global_norm::at_once;
use super::tensor::{buffer, cube_count, element, empty, tensor};
use super::variants::{Variants, activations, variant};
use crate::ops::linear::Lora;

/// Threads of a cube.
const N_THREADS: usize = 256;
/// Values that a cube places.
const CHUNK: usize = 1024;

/// The factors of a layer.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[Σ r, in]`.
    pub a: Tensor<2>,
    /// Block-diagonal, `[out, Σ r]`.
    pub b: Tensor<2>,
}

/// The factors of layers, of which each has so many outputs, in the type of activations.
pub fn factors(gpu: Gpu, layers: &[(&Lora, usize)]) -> Vec<Factors> {
    let mut made = Vec::with_capacity(layers.len());
    // What goes into one matrix is placed by several launches: of a launch no two places may be in one buffer.
    let mut rounds: Vec<Vec<Placed>> = vec![Vec::new()];
    for (lora, n_outputs) in layers {
        let n_ranks = lora.a.value.dims()[0];
        let a = if gpu.dtype() == DType::F32 {
            lora.a.value.clone()
        } else {
            let source = buffer(&lora.a.value);
            let target = empty(&source, lora.a.value.dims(), gpu.dtype());
            rounds[0].push(Placed::whole(source, target.clone()));
            tensor(target)
        };
        let covered: usize = lora.parts.iter().map(|part| part.outputs.len()).sum();
        let shape = [*n_outputs, n_ranks];
        let b = if covered == *n_outputs {
            empty(&buffer(&lora.a.value), shape, gpu.dtype())
        } else {
            buffer(&Tensor::<2>::zeros(shape, (&lora.a.value.device(), gpu.dtype())))
        };
        for (round, part) in lora.parts.iter().enumerate() {
            if rounds.len() == round {
                rounds.push(Vec::new());
            }
            rounds[round].push(Placed {
                source: buffer(&part.b.value),
                target: b.clone(),
                n_rows: part.outputs.len(),
                n_columns: n_ranks,
                first_row: part.outputs.start,
                first_column: part.ranks.start,
                width: part.ranks.len(),
            });
        }
        made.push(Factors { a, b: tensor(b) });
    }
    rounds.iter().for_each(|round| place(round));
    made
}

/// A matrix, and where it goes in rows of another: what is beside it in those rows becomes 0.
#[derive(Clone, Debug)]
struct Placed {
    source: CubeTensor,
    target: CubeTensor,
    n_rows: usize,
    /// Of the target.
    n_columns: usize,
    first_row: usize,
    first_column: usize,
    /// Columns of the source.
    width: usize,
}

impl Placed {
    /// The whole of a matrix of the same shape.
    fn whole(source: CubeTensor, target: CubeTensor) -> Self {
        let [n_rows, n_columns] = [0, 1].map(|axis| source.meta.shape()[axis]);
        Self { source, target, n_rows, n_columns, first_row: 0, first_column: 0, width: n_columns }
    }

    fn n_values(&self) -> usize {
        self.n_rows * self.n_columns
    }
}

fn place(all: &[Placed]) {
    let Some(first) = all.first() else { return };
    let client = first.source.client.clone();
    let types = [element(&first.source), element(&first.target)];
    let numbers = |group: &[Placed], number: fn(&Placed) -> usize| group.iter().map(number).collect();
    for group in all.chunks((at_once(&client) / 2).max(1)) {
        let n_cubes = group.iter().map(|one| one.n_values().div_ceil(CHUNK)).sum();
        place_all::launch(
            &client,
            cube_count(n_cubes),
            CubeDim::new_1d(N_THREADS as u32),
            group.iter().map(|one| one.source.clone().into_buffer_arg()).collect(),
            group.iter().map(|one| one.target.clone().into_buffer_arg()).collect(),
            numbers(group, Placed::n_values),
            numbers(group, |one| one.n_columns),
            numbers(group, |one| one.first_row),
            numbers(group, |one| one.first_column),
            numbers(group, |one| one.width),
            types,
        );
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for (activation, _) in activations() {
        for n in [1, 32] {
            let types = [f32::elem_type_native(), activation];
            variant!(variants, threads, place_all::PlaceAll, [(n)(n)(n)(n)(n)(n)(n)], types);
        }
    }
}

#[cube(launch)]
fn place_all<B: Float, F: Float>(
    sources: &Sequence<Box<[B]>>,
    targets: &mut Sequence<Box<[F]>>,
    n_values: &Sequence<usize>,
    n_columns: &Sequence<usize>,
    first_row: &Sequence<usize>,
    first_column: &Sequence<usize>,
    width: &Sequence<usize>,
    #[define(B, F)] _types: [ElemType; 2],
) {
    let cube = CUBE_POS;
    let mut start = 0usize;
    #[unroll]
    for i in 0..sources.len() {
        let (n, n_columns) = (n_values[i], n_columns[i]);
        let (first_column, width) = (first_column[i], width[i]);
        let end = start + n.div_ceil(CHUNK);
        if cube >= start && cube < end {
            let (source, target) = (&sources[i], targets.index_mut(i));
            let first = (cube - start) * CHUNK + UNIT_POS as usize;
            for step in 0..comptime!(CHUNK / N_THREADS) {
                let at = first + step * N_THREADS;
                if at < n {
                    let (row, column) = (at / n_columns, at % n_columns);
                    let mut value = F::new(0.0);
                    if column >= first_column && column < first_column + width {
                        value = F::cast_from(source[row * width + column - first_column]);
                    }
                    target[first_row[i] * n_columns + at] = value;
                }
            }
        }
        start = end;
    }
}
