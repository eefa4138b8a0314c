//! The kernel: one thread loads, two groups multiply; see the module above.

use cubecl::ir::ElemType;
use cubecl::prelude::barrier::Barrier;
use cubecl::prelude::*;

use super::instruction::{address, multiply};
use super::{BOX, GROUP_M, Major, N_STAGES, Onto, TILE_K, TILE_M, Variant};

/// `out = alpha (A B + A2 B2)`, `[m, n]`, or added to it.
///
/// `n_steps` and `n_second` count tiles of k. What is outside of an operand counts as 0, what is outside of the result is not
/// written. Cubes with another y make a result of their own, behind those before, of the next `per_part` tiles of k.
#[cube(launch)]
pub(super) fn multiply_tiles<F: Float, O: Float, Sums: Size>(
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
                    if UNIT_POS == 0 || UNIT_POS == 128 {
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
