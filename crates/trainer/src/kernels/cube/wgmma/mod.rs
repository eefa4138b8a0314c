//! Matrix products on Hopper's tensor cores: `wgmma` (sm_90a), which CubeCL has no operation for, as inline PTX.
//!
//! A cube makes a tile of 128 rows and up to 256 columns of the result. One thread asks the copy engine (TMA) for the
//! operands' tiles of 64 values of k, several stages ahead; two groups of 128 threads multiply, 64 rows each, with their
//! sums in registers. Operands lie in shared memory in rows of 128 bytes, whose chunks of 16 bytes are permuted
//! (`SWIZZLE_128B`), as the tensor cores read them. A matrix may lie with k or with its other axis contiguous: the
//! descriptor says which, so that `x Wᵀ`, `dy W` and `dyᵀ x` all read their operands where they are.
//!
//! A second pair of operands continues the sum: `x Wᵀ + u Bᵀ`, with which a low-rank update needs no pass of its own.
//!
//! Reference: PTX ISA 8.0, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions".

mod instruction;
mod kernel;
mod parts;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::Tma;
use cubecl::prelude::*;
use cubecl::zspace::shape;

use self::kernel::multiply_tiles;
use self::parts::{add_parts, sum_parts};
use super::tensor::{element, empty};
use super::variants::{Variants, variant};

/// Rows of a cube's tile, 64 for each group of 128 threads.
const TILE_M: usize = 128;
/// Values of k that are multiplied at a time: a row of 128 bytes.
const TILE_K: usize = 64;
/// Tiles of k in flight: 4 × 48 KiB with 256 columns, of the 227 KiB that there are.
const N_STAGES: usize = 4;
/// Two groups that multiply, and a plane that loads.
const N_THREADS: u32 = 2 * 128 + 32;
/// Tiles of rows that are worked on together, so that they share what is in the L2 cache.
const GROUP_M: u32 = 8;
/// Values of a box that is read with the other axis than k contiguous: 64 rows of 64.
const BOX: usize = 64 * 64;

/// Which axis of an operand is contiguous in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Major {
    /// That of k: both sides of `x Wᵀ`.
    K,
    /// The other: `W` in `dy W`.
    Other,
}

/// What becomes of what the result holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Onto {
    /// It is overwritten.
    Nothing,
    /// The product is added to it.
    Sum,
}

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// How the operands of both pairs lie.
    pub majors: [[Major; 2]; 2],
    /// What becomes of what the result holds.
    pub onto: Onto,
    /// The operands' type, as PTX says it.
    pub ptx_type: &'static str,
}

/// A matrix on its way to the copy engine.
struct Operand {
    matrix: CubeTensor,
    major: Major,
}

/// Operands of a product: `[m, k]` and `[k, n]`, either of them in any order of its axes.
pub type Pair<'a> = (&'a CubeTensor, &'a CubeTensor);

/// Whether a device has these instructions. Cards after Hopper have the copy engine too, and know more of it.
pub fn is_available(client: &Client) -> bool {
    has_instructions(client.properties())
}

fn has_instructions(device: &DeviceProperties) -> bool {
    let tma = &device.features.tma;
    tma.contains(Tma::Base) && !tma.contains(Tma::Im2colWide)
}

/// What is computed: `alpha (a b + a2 b2)`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// a and b.
    pub pair: Pair<'a>,
    /// a2 and b2, where there is a second product.
    pub second: Option<Pair<'a>>,
    /// Multiplies the sum.
    pub alpha: f32,
    /// What becomes of what the result holds.
    pub onto: Onto,
}

/// Makes a product, where type, addresses and rows of the operands allow it; `None`: nothing was done.
///
/// # Shapes
/// - `out`: `[m, n]`, contiguous
pub fn product(product: Product<'_>, out: &CubeTensor) -> Option<()> {
    let Product { pair, second, alpha, onto } = product;
    let ptx_type = match pair.0.dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => return None,
    };
    let [m, n] = [out.meta.shape()[0], out.meta.shape()[1]];
    if !n.is_multiple_of(2) || !is_available(&out.client) {
        return None;
    }
    let [a, b] = operands(pair)?;
    let [a2, b2] = operands(second.unwrap_or(pair))?;
    let n_steps = |(a, _): Pair<'_>| a.meta.shape()[1].div_ceil(TILE_K) as u32;
    let majors = [[a.major, b.major], [a2.major, b2.major]];
    let tile_n = match n {
        ..=64 => 64,
        65..=128 => 128,
        _ => 256,
    };
    let (n_steps, n_second) = (n_steps(pair), second.map_or(0, n_steps));
    let n_tiles = (m.div_ceil(TILE_M) * n.div_ceil(tile_n)) as u32;
    let n_parts = n_parts(&out.client, n_tiles, n_steps + n_second);
    let launch = |out, onto, alpha| {
        Launch {
            variant: Variant { majors, onto, ptx_type },
            operands: [a, b, a2, b2],
            out,
            sizes: [m as u32, n as u32, n_steps, n_second],
            parts: [n_tiles, n_parts],
            alpha,
        }
        .with(tile_n);
    };
    if n_parts == 1 {
        launch(out, onto, alpha);
    } else {
        let parts = empty(out, [n_parts as usize * m, n], DType::F32);
        launch(&parts, Onto::Nothing, 1.0);
        add_parts(parts, out, [n_parts as usize, m * n], (alpha, onto));
    }
    Some(())
}

/// Into how many parts the sums are cut. A result of a few tiles, such as a narrow factor's, would keep a few
/// multiprocessors busy for long; then others take a share of k each, and their sums are added up. That is another launch and
/// another pass over the result, so only long sums are cut.
fn n_parts(client: &Client, n_tiles: u32, n_steps: u32) -> u32 {
    /// Fewer steps of k than these end before another launch would have begun.
    const LONG: u32 = 64;
    /// Steps that a part has at least.
    const SHORTEST: u32 = 16;
    let n_processors = client.properties().hardware.num_streaming_multiprocessors.unwrap_or(1);
    if n_steps < LONG {
        return 1;
    }
    (n_processors / n_tiles).min(n_steps / SHORTEST).max(1)
}

fn operands((a, b): Pair<'_>) -> Option<[Operand; 2]> {
    Some([Operand::of(a, 1)?, Operand::of(b, 0)?])
}

impl Operand {
    /// `k_axis` is the axis along which sums go. The copy engine wants one axis contiguous and rows of whole 16 bytes.
    fn of(matrix: &CubeTensor, k_axis: usize) -> Option<Self> {
        let strides = matrix.meta.strides();
        let major = match (strides[k_axis], strides[1 - k_axis]) {
            (1, _) => Major::K,
            (_, 1) => Major::Other,
            (_, _) => return None,
        };
        let mut matrix = matrix.clone();
        let rows_axis = match major {
            Major::K => 1 - k_axis,
            Major::Other => k_axis,
        };
        let fits = |bytes: usize| bytes.is_multiple_of(16);
        let offset = matrix.handle.offset_start.unwrap_or(0) as usize;
        if !fits(strides[rows_axis] * matrix.dtype.size()) || !fits(offset) {
            return None;
        }
        if rows_axis == 1 {
            matrix.meta.swap(0, 1);
        }
        Some(Self { matrix, major })
    }

    /// A box has 64 columns and up to `rows` rows, or 64 rows where those are of k.
    fn map(self, rows: usize) -> TensorMapArg<Tiled> {
        let rows = match self.major {
            Major::K => rows,
            Major::Other => TILE_K,
        };
        let ty = element(&self.matrix);
        TensorMapArg::new(TiledArgs { tile_size: shape![rows, TILE_K] }, self.matrix.into_tensor_arg(), ty)
            .with_swizzle(TensorMapSwizzle::B128)
            .with_prefetch(TensorMapPrefetch::B256)
    }
}

/// What is launched, but for the number of columns of a tile.
struct Launch<'a> {
    variant: Variant,
    operands: [Operand; 4],
    out: &'a CubeTensor,
    /// m, n, and the tiles of k of both pairs.
    sizes: [u32; 4],
    /// Tiles, and parts of k.
    parts: [u32; 2],
    alpha: f32,
}

impl Launch<'_> {
    /// Makes tiles of `tile_n` columns.
    fn with(self, tile_n: usize) {
        let Self { variant, operands: [a, b, a2, b2], out, sizes, parts: [n_tiles, n_parts], alpha } = self;
        let [m, n, n_steps, n_second] = sizes;
        let types = [element(&a.matrix), element(out)];
        multiply_tiles::launch(
            &out.client,
            CubeCount::Static(n_tiles, n_parts, 1),
            CubeDim::new_1d(N_THREADS),
            // The sums of a thread: 64 rows of a tile over 128 threads.
            tile_n / 2,
            a.map(TILE_M),
            b.map(tile_n),
            a2.map(TILE_M),
            b2.map(tile_n),
            out.clone().into_buffer_arg(),
            m,
            n,
            n_steps,
            n_second,
            (n_steps + n_second).div_ceil(n_parts),
            alpha,
            variant,
            types,
        );
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    if !has_instructions(variants.device()) {
        return;
    }
    let threads = CubeDim::new_1d(N_THREADS);
    let (bf16, f16) = (half::bf16::elem_type_native(), half::f16::elem_type_native());
    let f32 = f32::elem_type_native();
    for onto in [Onto::Nothing, Onto::Sum] {
        for out in [f32, bf16] {
            variant!(variants, CubeDim::new_1d(256), sum_parts::SumParts, [_ _ _ _ _], onto, out);
        }
    }
    for sums in [32, 64, 128] {
        for (majors, onto, types, ptx_type) in [
            ([Major::K, Major::K], Onto::Nothing, [bf16, bf16], "bf16"),
            ([Major::K, Major::Other], Onto::Nothing, [bf16, bf16], "bf16"),
            ([Major::Other, Major::Other], Onto::Nothing, [bf16, f32], "bf16"),
            ([Major::Other, Major::Other], Onto::Sum, [bf16, f32], "bf16"),
            ([Major::K, Major::Other], Onto::Nothing, [f16, f16], "f16"),
        ] {
            let variant = Variant { majors: [majors; 2], onto, ptx_type };
            variant!(
                variants,
                threads,
                multiply_tiles::MultiplyTiles,
                [_ _ _ _ _ _ _ _ _ _ _],
                sums,
                variant,
                types
            );
        }
    }
}
