//! The B factors of parts that share an input, as one matrix: each part's own where its outputs and ranks meet, 0
//! elsewhere. With it the updates of all parts are one product.
//!
//! ```text
//!             ranks of q   ranks of k
//! outputs of q [    B_q         0     ]
//! outputs of k [     0         B_k    ]
//! ```

use burn::tensor::Tensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::tensor::{buffer, element, empty, tensor};
use super::variants::{Variants, activations, variant};
use crate::ops::linear::Lora;

/// Threads of a cube.
const N_THREADS: u32 = 256;

/// `[outputs, ranks of all parts]`, in the type of activations.
pub fn block_diagonal(gpu: Gpu, lora: &Lora, n_outputs: usize) -> Tensor<2> {
    let n_ranks = lora.a.value.dims()[0];
    let like = buffer(&lora.a.value);
    let covered: usize = lora.parts.iter().map(|part| part.outputs.len()).sum();
    let shape = [n_outputs, n_ranks];
    let blocks = if covered == n_outputs {
        empty(&like, shape, gpu.dtype())
    } else {
        buffer(&Tensor::<2>::zeros(shape, (&lora.a.value.device(), gpu.dtype())))
    };
    for part in &lora.parts {
        let b = buffer(&part.b.value);
        let n_values = part.outputs.len() * n_ranks;
        let types = [element(&b), element(&blocks)];
        place::launch(
            &blocks.client,
            CubeCount::Static((n_values as u32).div_ceil(N_THREADS), 1, 1),
            CubeDim::new_1d(N_THREADS),
            b.into_buffer_arg(),
            blocks.clone().into_buffer_arg(),
            n_values,
            n_ranks,
            part.outputs.start,
            part.ranks.start,
            part.ranks.len(),
            types,
        );
    }
    tensor(blocks)
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS);
    for (activation, _) in activations() {
        let types = [f32::elem_type_native(), activation];
        variant!(variants, threads, place::Place, [_ _ _ _ _ _ _], types);
    }
}

#[cube(launch)]
fn place<B: Float, F: Float>(
    b: &[B],
    blocks: &mut [F],
    n_values: usize,
    n_ranks: usize,
    first_output: usize,
    first_rank: usize,
    rank: usize,
    #[define(B, F)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS < n_values {
        let (output, column) = (ABSOLUTE_POS / n_ranks, ABSOLUTE_POS % n_ranks);
        let mut value = F::new(0.0);
        if column >= first_rank && column < first_rank + rank {
            value = F::cast_from(b[output * rank + column - first_rank]);
        }
        blocks[first_output * n_ranks + ABSOLUTE_POS] = value;
    }
}
