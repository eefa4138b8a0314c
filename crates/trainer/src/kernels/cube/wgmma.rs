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

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::intrinsic;
use cubecl::ir::ElemType;
use cubecl::ir::features::Tma;
use cubecl::prelude::barrier::Barrier;
use cubecl::prelude::*;
use cubecl::zspace::shape;

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

/// Adds the sums of parts up and puts them where they belong.
fn add_parts(
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

/// `out = alpha (A B + A2 B2)`, `[m, n]`, or added to it.
///
/// `n_steps` and `n_second` count tiles of k. What is outside of an operand counts as 0, what is outside of the result is not
/// written. Cubes with another y make a result of their own, behind those before, of the next `per_part` tiles of k.
#[cube(launch)]
fn multiply_tiles<F: Float, O: Float, Sums: Size>(
    a: &TensorMap<F, Tiled>,
    b: &TensorMap<F, Tiled>,
    a2: &TensorMap<F, Tiled>,
    b2: &TensorMap<F, Tiled>,
    out: &mut [Vector<O, Const<2>>],
    m: u32,
    n: u32,
    n_steps: u32,
    n_second: u32,
    per_part: u32,
    alpha: f32,
    #[comptime] variant: Variant,
    #[define(F, O)] _types: [ElemType; 2],
) {
    let mut sums = Vector::<f32, Sums>::new(0.0);
    let n_sums = sums.vector_size();
    let tile_n = comptime!(2 * n_sums);
    let tile_n_u32 = comptime!(tile_n as u32);
    let n_tiles_m = m.div_ceil(128u32);
    let n_tiles_n = n.div_ceil(tile_n_u32);
    // Tiles go down a band of rows before they go on to the next columns.
    let per_band = GROUP_M * n_tiles_n;
    let first_m = CUBE_POS_X / per_band * GROUP_M;
    let in_band = u32::min(n_tiles_m - first_m, GROUP_M);
    let first_row = (first_m + (CUBE_POS_X % per_band) % in_band) * 128;
    let first_column = (CUBE_POS_X % per_band) / in_band * tile_n_u32;

    let size_a = comptime!(TILE_M * TILE_K);
    let size_b = comptime!(tile_n * TILE_K);
    let mut stages_a = Shared::<[F]>::new_aligned_slice(comptime!(N_STAGES * size_a), 1024usize);
    let mut stages_b = Shared::<[F]>::new_aligned_slice(comptime!(N_STAGES * size_b), 1024usize);
    let mut full = Sequence::<Shared<Barrier>>::new();
    let mut empty = Sequence::<Shared<Barrier>>::new();
    #[unroll]
    for _ in 0..N_STAGES {
        full.push(Barrier::shared_uninit());
        empty.push(Barrier::shared_uninit());
    }
    if UNIT_POS == 0 {
        #[unroll]
        for stage in 0..N_STAGES {
            full[stage].init_manual(1);
            empty[stage].init_manual(2);
        }
    }
    sync_async_proxy_shared();
    sync_cube();

    let first_step = CUBE_POS_Y * per_part;
    // A last part may be left without any.
    let n_all = u32::min(u32::max(n_steps + n_second, first_step) - first_step, per_part);
    let n_rounds = n_all.div_ceil(comptime!(N_STAGES as u32));
    if UNIT_POS >= 256 {
        if UNIT_POS == 256 {
            for round in 0..n_rounds {
                #[unroll]
                for stage in 0..N_STAGES {
                    let local = round * comptime!(N_STAGES as u32) + comptime!(stage as u32);
                    let step = first_step + local;
                    if local < n_all {
                        empty[stage].wait_parity((round & 1) ^ 1);
                        let to_a = &mut stages_a[stage * size_a..(stage + 1) * size_a];
                        let to_b = &mut stages_b[stage * size_b..(stage + 1) * size_b];
                        full[stage].arrive_and_expect_tx(1, comptime!((2 * (size_a + size_b)) as u32));
                        let (row, column) = (first_row as i32, first_column as i32);
                        if step < n_steps {
                            let k = (step * 64) as i32;
                            load::<F>(&full[stage], a, to_a, row, k, comptime!(variant.majors[0][0]), TILE_M);
                            load::<F>(
                                &full[stage],
                                b,
                                to_b,
                                column,
                                k,
                                comptime!(variant.majors[0][1]),
                                tile_n,
                            );
                        } else {
                            let k = ((step - n_steps) * 64) as i32;
                            load::<F>(
                                &full[stage],
                                a2,
                                to_a,
                                row,
                                k,
                                comptime!(variant.majors[1][0]),
                                TILE_M,
                            );
                            load::<F>(
                                &full[stage],
                                b2,
                                to_b,
                                column,
                                k,
                                comptime!(variant.majors[1][1]),
                                tile_n,
                            );
                        }
                    }
                }
            }
        }
    } else {
        // A group's 64 rows, or the 64 columns of its box, are 8192 bytes.
        let of_group = (UNIT_POS / 128 * comptime!(8192u32 / 16)) as u64;
        for round in 0..n_rounds {
            #[unroll]
            for stage in 0..N_STAGES {
                let local = round * comptime!(N_STAGES as u32) + comptime!(stage as u32);
                let step = first_step + local;
                if local < n_all {
                    full[stage].wait_parity(round & 1);
                    let start_a = address::<F>(&stages_a[stage * size_a..(stage + 1) * size_a]) + of_group;
                    let start_b = address::<F>(&stages_b[stage * size_b..(stage + 1) * size_b]);
                    if step < n_steps {
                        sums = multiply::<Sums>(
                            sums,
                            start_a,
                            start_b,
                            comptime!(variant.majors[0]),
                            comptime!(variant.ptx_type),
                        );
                    } else {
                        sums = multiply::<Sums>(
                            sums,
                            start_a,
                            start_b,
                            comptime!(variant.majors[1]),
                            comptime!(variant.ptx_type),
                        );
                    }
                    if UNIT_POS % 128 == 0 {
                        empty[stage].arrive();
                    }
                }
            }
        }
        // How a tile lies in the registers: PTX ISA, figure "WGMMA .m64nNk16 register fragment layout for accumulator".
        let lane = UNIT_POS % 32;
        let row = first_row + UNIT_POS / 32 * 16 + lane / 4;
        let column = first_column + lane % 4 * 2;
        #[unroll]
        for j in 0..comptime!(n_sums / 4) {
            let c = column + comptime!(8 * j as u32);
            #[unroll]
            for half in 0..2usize {
                let r = row + comptime!(8 * half as u32);
                if r < m && c < n {
                    let of_part = CUBE_POS_Y as usize * m as usize + r as usize;
                    let at = (of_part * n as usize + c as usize) / 2;
                    let mut pair = Vector::<f32, Const<2>>::new(0.0);
                    pair.insert(0usize, sums.extract(4 * j + 2 * half) * alpha);
                    pair.insert(1usize, sums.extract(4 * j + 2 * half + 1) * alpha);
                    if comptime!(variant.onto == Onto::Sum) {
                        pair += Vector::cast_from(out[at]);
                    }
                    out[at] = Vector::cast_from(pair);
                }
            }
        }
    }
}

/// `out = alpha Σ parts`, or added to it.
#[cube(launch)]
fn sum_parts<O: Float>(
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

/// Asks for a tile: `n_rows` of the operand's other axis from `row` on, 64 of k.
#[cube]
fn load<F: Float>(
    barrier: &Barrier,
    map: &TensorMap<F, Tiled>,
    stage: &mut [F],
    row: i32,
    k: i32,
    #[comptime] major: Major,
    #[comptime] n_rows: usize,
) {
    match comptime!(major) {
        Major::K => barrier.tma_load_2d(map, stage, row, k),
        Major::Other =>
        {
            #[unroll]
            for i in 0..comptime!(n_rows / 64) {
                let part = &mut stage[i * BOX..(i + 1) * BOX];
                barrier.tma_load_2d(map, part, k, row + comptime!(64 * i as i32));
            }
        }
    }
}

/// The address of shared memory in units of 16 bytes, as descriptors have it.
#[cube]
fn address<F: Float>(start: &[F]) -> u64 {
    let pointer = start.as_ptr();
    let address: u32;
    gpu_asm!(
        "{{ .reg .u64 t; cvta.to.shared.u64 t, {p}; cvt.u32.u64 {d}, t; }}",
        p = in(_) pointer, d = out(_) address, options(nomem),
    );
    ((address & 0x3FFFF) >> 4) as u64
}

/// Descriptors of tiles, but for their addresses: strides in units of 16 bytes, and the permutation of 128 bytes.
fn layout(major: Major) -> u64 {
    // From 8 rows to the next 8 it is 1024 bytes; from 64 columns to the next 64 a box, where they are not in one row.
    let leading = match major {
        Major::K => 1,
        Major::Other => 8192 / 16,
    };
    leading << 16 | (1024 / 16) << 32 | 1 << 62
}

/// What is added to a descriptor for the next 16 values of k: 32 bytes along a row, or 16 rows.
fn next_16(major: Major) -> u64 {
    match major {
        Major::K => 32 / 16,
        Major::Other => 16 * 128 / 16,
    }
}

/// The instruction's name for an operand that does not lie with k contiguous.
fn transposed(major: Major) -> u8 {
    match major {
        Major::K => 0,
        Major::Other => 1,
    }
}

/// Moves sums into the registers that the instruction works on. The compiler makes both the same.
fn moves(n_sums: usize) -> String {
    (0..n_sums).map(|i| format!("mov.f32 %{i}, %{};", n_sums + i)).collect()
}

/// The value of a variable: assembly would be given its address.
#[cube]
fn loaded<Sums: Size>(value: Vector<f32, Sums>) -> Vector<f32, Sums> {
    intrinsic!(|scope| value.read_value(scope).into())
}

/// `sums + A B` for a tile of 64 values of k.
#[cube]
fn multiply<Sums: Size>(
    sums: Vector<f32, Sums>,
    start_a: u64,
    start_b: u64,
    #[comptime] majors: [Major; 2],
    #[comptime] ty: &'static str,
) -> Vector<f32, Sums> {
    let n_sums = sums.vector_size();
    let n = comptime!(2 * n_sums);
    let moves = comptime!(moves(n_sums));
    let [transposed_a, transposed_b] = comptime!(majors.map(transposed));
    let [next_a, next_b] = comptime!(majors.map(next_16));
    let a = start_a + comptime!(layout(majors[0]));
    let b = start_b + comptime!(layout(majors[1]));
    let out: Vector<f32, Sums>;
    gpu_asm!(
        "{{ .reg .pred p; .reg .b64 da, db; // {c}",
        "setp.ne.b32 p, 1, 0; mov.b64 da, {a}; mov.b64 db, {b};",
        "{moves}",
        "wgmma.fence.sync.aligned;",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }}",
        c = in(_) loaded::<Sums>(sums), a = in(_) a, b = in(_) b, d = out(_) out,
    );
    out
}
