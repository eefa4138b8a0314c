//! Causal grouped-query attention inside segments (FlashAttention, Dao et al. 2022): no S×S matrix, no atomics.
//!
//! The formulas stand in [`crate::ops::attention`]. Forward is one launch, backward three.

mod backward;
mod forward;
mod mma;
mod registers;
mod rows;
mod tensor_cores;
mod tiles;

use std::sync::OnceLock;

use burn::tensor::{DType, Int, Tensor};
use cubecl::ir::ElemType;
use cubecl::ir::features::MmaConfig;
use cubecl::prelude::*;
use ftl_core::{Problem, ProblemKind};

pub use self::tiles::Units;

use self::rows::{LOG2_E, Limit, ScoringLaunch};
use self::tiles::Tiles;
use super::Gpu;
use super::tensor::{buffer, element, empty, numbers, strided, tensor};
use super::variants::{Variants, activations, variant};
use crate::ops::attention::{AttentionShape, Saved};

/// Threads of the kernel for delta.
const DELTA_THREADS: usize = 128;

/// Own and other matrices that the forward kernel reads: queries; keys and values.
const FORWARD: [usize; 2] = [1, 2];

/// The same of both backward kernels: keys and values, queries and dy, or the other way round.
const BACKWARD: [usize; 2] = [2, 2];

/// Returns the output and the log-sum-exp of the scores, `[tokens, n_heads]`.
pub fn forward(
    _gpu: Gpu,
    qkv: &Tensor<2>,
    spans: &Tensor<1, Int>,
    shape: &AttentionShape,
) -> (Tensor<2>, Tensor<2>) {
    forward_on(units_of(qkv, shape), qkv, spans, shape)
}

/// The gradient of merged q, k, v.
pub fn backward(
    _gpu: Gpu,
    saved: &Saved,
    dy: &Tensor<2>,
    spans: &Tensor<1, Int>,
    shape: &AttentionShape,
) -> Tensor<2> {
    backward_on(units_of(&saved.qkv, shape), saved, dy, spans, shape)
}

/// As [`forward`], on units of the caller's choice.
pub fn forward_on(
    units: Units,
    qkv: &Tensor<2>,
    spans: &Tensor<1, Int>,
    shape: &AttentionShape,
) -> (Tensor<2>, Tensor<2>) {
    let [n_tokens, _] = qkv.dims();
    let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
    let (qkv, spans) = (buffer(qkv), numbers(spans));
    let y = empty(&qkv, [n_tokens, n_heads * head_dim], qkv.dtype);
    let log_sum_exp = empty(&qkv, [n_tokens, n_heads], DType::F32);
    let tiles = Tiles { units, head_dim, limit: limit_of(shape), n_slots: FORWARD, n_results: 1 };
    let dtype = element(&qkv);
    forward::forward_tile::launch(
        &y.client.clone(),
        CubeCount::Static(n_heads as u32, n_tokens.div_ceil(tiles.n_own()) as u32, 1),
        CubeDim::new_1d(tiles.n_threads() as u32),
        vector_size(tiles, qkv.dtype),
        qkv.into_buffer_arg(),
        spans.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        log_sum_exp.clone().into_buffer_arg(),
        n_tokens,
        n_kv_heads,
        shape.window.unwrap_or(n_tokens),
        scoring(shape),
        tiles,
        dtype,
    );
    (tensor(y), tensor(log_sum_exp))
}

/// As [`backward`], on units of the caller's choice.
pub fn backward_on(
    units: Units,
    saved: &Saved,
    dy: &Tensor<2>,
    spans: &Tensor<1, Int>,
    shape: &AttentionShape,
) -> Tensor<2> {
    let [n_tokens, width] = saved.qkv.dims();
    let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
    let (qkv, y, dy) = (buffer(&saved.qkv), buffer(&saved.y), buffer(dy));
    let (log_sum_exp, spans) = (buffer(&saved.log_sum_exp), numbers(spans));
    let client = qkv.client.clone();
    let delta = empty(&qkv, [n_tokens, n_heads], DType::F32);
    let dqkv = empty(&qkv, [n_tokens, width], qkv.dtype);
    let tiles = Tiles { units, head_dim, limit: limit_of(shape), n_slots: BACKWARD, n_results: 1 };
    let of_keys = Tiles { n_results: 2, ..tiles };
    let window = shape.window.unwrap_or(n_tokens);
    let size = vector_size(tiles, qkv.dtype);
    let dtype = element(&qkv);
    let n_tiles = |tiles: Tiles| n_tokens.div_ceil(tiles.n_own()) as u32;
    backward::deltas::launch(
        &client,
        CubeCount::Static((n_tokens * n_heads).div_ceil(DELTA_THREADS) as u32, 1, 1),
        CubeDim::new_1d(DELTA_THREADS as u32),
        size,
        y.into_buffer_arg(),
        dy.clone().into_buffer_arg(),
        delta.clone().into_buffer_arg(),
        head_dim / size,
        dtype,
    );
    backward::backward_keys::launch(
        &client,
        CubeCount::Static(n_kv_heads as u32, n_tiles(of_keys), of_keys.n_parts() as u32),
        CubeDim::new_1d(of_keys.n_threads() as u32),
        size,
        qkv.clone().into_buffer_arg(),
        dy.clone().into_buffer_arg(),
        spans.clone().into_buffer_arg(),
        log_sum_exp.clone().into_buffer_arg(),
        delta.clone().into_buffer_arg(),
        dqkv.clone().into_buffer_arg(),
        n_tokens,
        n_heads,
        window,
        scoring(shape),
        of_keys,
        dtype,
    );
    backward::backward_queries::launch(
        &client,
        CubeCount::Static(n_heads as u32, n_tiles(tiles), 1),
        CubeDim::new_1d(tiles.n_threads() as u32),
        size,
        qkv.into_buffer_arg(),
        dy.into_buffer_arg(),
        spans.into_buffer_arg(),
        log_sum_exp.into_buffer_arg(),
        delta.into_buffer_arg(),
        dqkv.clone().into_buffer_arg(),
        n_tokens,
        n_kv_heads,
        window,
        scoring(shape),
        tiles,
        dtype,
    );
    tensor(dqkv)
}

/// Who computes the products of attention: tensor cores where the device has them for the type of activations and the
/// memory for their tiles, and [`most`] allows them.
fn units_of(qkv: &Tensor<2>, shape: &AttentionShape) -> Units {
    static MOST: OnceLock<Units> = OnceLock::new();
    let most = *MOST.get_or_init(|| most().expect("opening a device refuses what is no unit"));
    if most == Units::TensorCores && has_tensor_cores(qkv, shape.head_dim) { most } else { Units::Registers }
}

/// The best that may compute: `FTL_ATTENTION=registers` forbids tensor cores, to compare; `tensor-cores` is the default.
///
/// # Errors
/// Any other value.
pub fn most() -> Result<Units, Problem> {
    named(std::env::var("FTL_ATTENTION").ok().as_deref())
}

fn named(name: Option<&str>) -> Result<Units, Problem> {
    match name {
        Some("registers") => Ok(Units::Registers),
        Some("tensor-cores") | None => Ok(Units::TensorCores),
        Some(other) => {
            Err(Problem::new(ProblemKind::InvalidValue, format!("`{other}` is no unit for attention"))
                .at("FTL_ATTENTION")
                .hint("choose `registers` or `tensor-cores`, or unset it"))
        }
    }
}

/// Whether [`Units::TensorCores`] can compute on these q, k, v.
pub fn has_tensor_cores(qkv: &Tensor<2>, head_dim: usize) -> bool {
    let qkv = strided(qkv);
    can_use_tensor_cores(qkv.client.properties(), element(&qkv), head_dim)
}

fn can_use_tensor_cores(properties: &DeviceProperties, dtype: ElemType, head_dim: usize) -> bool {
    let product =
        MmaConfig { a_type: dtype, b_type: dtype, cd_type: f32::elem_type_native(), m: 16, n: 8, k: 16 };
    let matmul = &properties.features.matmul;
    let tiles =
        Tiles { units: Units::TensorCores, head_dim, limit: Limit::None, n_slots: BACKWARD, n_results: 1 };
    dtype.size() == 2
        && head_dim.is_multiple_of(16)
        && matmul.mma.contains(&product)
        && matmul.ldmatrix.contains(&dtype)
        && properties.hardware.plane_size_min == 32
        && properties.hardware.plane_size_max == 32
        && tensor_cores::n_bytes(tiles) <= properties.hardware.max_shared_memory_size
}

/// Whether the kernels are compiled for limited scores.
fn limit_of(shape: &AttentionShape) -> Limit {
    match shape.softcap {
        None => Limit::None,
        Some(_) => Limit::Tanh,
    }
}

/// What makes scores of products.
fn scoring(shape: &AttentionShape) -> ScoringLaunch {
    let (factor, cap) = match shape.softcap {
        None => (shape.scale * LOG2_E, 1.0),
        Some(cap) => (shape.scale / cap, cap * LOG2_E),
    };
    ScoringLaunch::new(factor, cap, shape.scale)
}

/// Values that a thread reads at once: 16 bytes of a whole number of 8 columns on tensor cores; in registers 4 at most, so
/// that what is read at a time divides among the threads.
fn vector_size(tiles: Tiles, dtype: DType) -> usize {
    if !tiles.in_registers() {
        return 16 / dtype.size();
    }
    let divides = |size: &usize| tiles.head_dim.is_multiple_of(*size);
    [4, 2, 1].into_iter().find(divides).expect("1 divides everything")
}

/// What is compiled without a device: in registers a usual head and one that vectors don't divide, on tensor cores every
/// width that models have.
pub(super) fn variants(variants: &mut Variants) {
    for (dtype, most) in activations() {
        for (head_dim, size) in [(128, 4), (50, 2)] {
            of_tiles(variants, (Units::Registers, Limit::Tanh), (head_dim, size), dtype);
        }
        for (head_dim, limit) in
            [(64, Limit::None), (80, Limit::None), (96, Limit::None), (128, Limit::None), (256, Limit::Tanh)]
        {
            if can_use_tensor_cores(variants.device(), dtype, head_dim) {
                of_tiles(variants, (Units::TensorCores, limit), (head_dim, most), dtype);
            }
        }
    }
}

fn of_tiles(
    variants: &mut Variants,
    (units, limit): (Units, Limit),
    (head_dim, size): (usize, usize),
    dtype: ElemType,
) {
    let forward = Tiles { units, head_dim, limit, n_slots: FORWARD, n_results: 1 };
    let of_queries = Tiles { n_slots: BACKWARD, ..forward };
    let of_keys = Tiles { n_results: 2, ..of_queries };
    let threads = |n: usize| CubeDim::new_1d(n as u32);
    variant!(variants, threads(DELTA_THREADS), backward::deltas::Deltas, [_ _ _ _], size, dtype);
    variant!(
        variants,
        threads(forward.n_threads()),
        forward::forward_tile::ForwardTile,
        [_ _ _ _ _ _ _ _],
        size,
        forward,
        dtype
    );
    variant!(
        variants,
        threads(of_keys.n_threads()),
        backward::backward_keys::BackwardKeys,
        [_ _ _ _ _ _ _ _ _ _],
        size,
        of_keys,
        dtype
    );
    variant!(
        variants,
        threads(of_queries.n_threads()),
        backward::backward_queries::BackwardQueries,
        [_ _ _ _ _ _ _ _ _ _],
        size,
        of_queries,
        dtype
    );
}

#[cfg(test)]
mod tests {
    use super::{Units, named};

    #[test]
    fn units_that_there_are_not_are_refused() {
        assert_eq!(named(None), Ok(Units::TensorCores));
        assert_eq!(named(Some("registers")), Ok(Units::Registers));
        let problem = named(Some("tensor cores")).unwrap_err();
        assert_eq!(problem.message, "`tensor cores` is no unit for attention");
        assert_eq!(problem.field.as_deref(), Some("FTL_ATTENTION"));
    }
}
