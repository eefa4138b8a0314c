//! Small products on tensor cores: 128 threads as 4 planes, each with 16 rows of a tile. A thread has two of those rows
//! and of each 8 columns two neighbours, as the fragments of the instruction are laid out.
//!
//! Whole tiles lie in shared memory as they are in the tensors, in slots. A square tile of weights never leaves the
//! registers: its values are where the next product wants them.

use cubecl::prelude::*;

use super::mma::{self, Exchange, Means, Order, PLANE};
use super::rows::Rows;
use super::tiles::{Slot, Tiles};

/// Own rows of a tile: the more, the less is read.
pub fn n_own(tiles: Tiles) -> usize {
    match tiles.n_slots {
        [1, _] if tiles.head_dim <= 128 => 128,
        _ => 64,
    }
}

/// Other rows that are looked at together: fewer where results take most of a thread's 255 registers.
pub fn n_others(tiles: Tiles) -> usize {
    if tiles.n_results * tiles.head_dim <= 128 { 64 } else { 32 }
}

/// Memory that the threads of a cube share.
#[derive(CubeType)]
pub struct Slots<F: Float, N: Size> {
    rows: Shared<[Vector<F, N>]>,
    exchange: Exchange,
}

/// The memory.
#[cube]
pub fn slots<F: Float, N: Size>(#[comptime] tiles: Tiles) -> Slots<F, N> {
    let share = comptime!(usize::from(!tiles.in_registers()));
    let size = N::value();
    let n_vectors = comptime!(1.max(share * start(Slot::Other(tiles.n_slots[1]), size, tiles)));
    Slots::<F, N> {
        rows: Shared::<[Vector<F, N>]>::new_aligned_slice(n_vectors, 16usize),
        exchange: mma::exchange(tiles.n_threads(), tiles.means()),
    }
}

/// Vectors of a row in a slot: one more than there are, so that neighbouring rows lie in different banks.
fn pitch(size: usize, tiles: Tiles) -> usize {
    tiles.head_dim / size + 1
}

/// The first vector of a slot.
fn start(slot: Slot, size: usize, tiles: Tiles) -> usize {
    let n_rows = match slot {
        Slot::Own(index) => index * tiles.n_own(),
        Slot::Other(index) => tiles.n_slots[0] * tiles.n_own() + index * tiles.n_others(),
    };
    n_rows * pitch(size, tiles)
}

/// Rows of a slot.
fn n_rows_of(slot: Slot, tiles: Tiles) -> usize {
    match slot {
        Slot::Own(_) => tiles.n_own(),
        Slot::Other(_) => tiles.n_others(),
    }
}

/// Bytes of shared memory.
pub fn n_bytes(tiles: Tiles) -> usize {
    16 * start(Slot::Other(tiles.n_slots[1]), 8, tiles) + 1024
}

/// A thread's row `index`, counted from the tile's first.
#[cube]
pub fn row(#[comptime] index: usize) -> usize {
    UNIT_POS as usize / PLANE * 16 + mma::lane() / 4 + index * 8
}

/// A thread's column `index`.
#[cube]
pub fn column(#[comptime] index: usize) -> usize {
    mma::lane() % 4 * 2 + comptime!(index / 2 * 8 + index % 2)
}

/// Puts the rows of a tile into their slot. The threads must meet before and after.
#[cube]
pub fn read<F: Float, N: Size>(
    from: &[Vector<F, N>],
    rows: &Rows,
    slots: &mut Slots<F, N>,
    #[comptime] tiles: Tiles,
) {
    let size = N::value();
    let per_row = comptime!(tiles.head_dim / size);
    let pitch = comptime!(pitch(size, tiles));
    let start = comptime!(start(rows.slot, size, tiles));
    let n_vectors = comptime!(n_rows_of(rows.slot, tiles) * per_row);
    for index in range_stepped(UNIT_POS as usize, n_vectors, comptime!(tiles.n_threads())) {
        let row = index / per_row;
        let vector = index % per_row;
        let mut values = Vector::<F, N>::new(F::new(0.0));
        if rows.start + row < rows.end {
            values = from[(rows.start + row) * rows.stride + rows.column + vector];
        }
        slots.rows[start + row * pitch + vector] = values;
    }
}

/// Products of every own row with every other, `[row][column]`.
#[cube]
pub fn products<F: Float, N: Size>(
    slots: &mut Slots<F, N>,
    own_rows: &Rows,
    other_rows: &Rows,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    let size!(P) = 2usize;
    let size = N::value();
    let means = comptime!(tiles.means());
    // Spelled out, every step waits for all threads: what compiles kernels for a CPU takes minutes over many of them.
    let unroll = comptime!(means == Means::Instructions);
    let pitch = comptime!(pitch(size, tiles));
    let own_start = comptime!(start(own_rows.slot, size, tiles));
    let other_start = comptime!(start(other_rows.slot, size, tiles));
    let n_columns = comptime!(tiles.n_columns());
    let lane = mma::lane();
    // The row and the eight columns of a matrix whose place this lane gives.
    let own_row = UNIT_POS as usize / PLANE * 16 + lane / 8 % 2 * 8 + lane % 8;
    let own_eight = lane / 16;
    let other_row = lane / 16 * 8 + lane % 8;
    let other_eight = lane / 8 % 2;
    let mut sums = Array::<f32>::new(comptime!(2 * n_columns));
    #[unroll]
    for i in 0..comptime!(2 * n_columns) {
        sums[i] = 0.0f32;
    }
    for k in 0..comptime!(tiles.head_dim / 16) {
        let place = own_start + own_row * pitch + (k * 2 + own_eight) * comptime!(8 / size);
        let a = mma::load_four::<F, N, P>(&slots.rows, place, &mut slots.exchange, Order::Rows, means);
        #[unroll(unroll)]
        for pair in 0..comptime!(tiles.n_others() / 16) {
            let row = pair * 16 + other_row;
            let place = other_start + row * pitch + (k * 2 + other_eight) * comptime!(8 / size);
            let b = mma::load_four::<F, N, P>(&slots.rows, place, &mut slots.exchange, Order::Rows, means);
            multiply_into::<F, P>(&mut sums, n_columns, pair, &a, &b, &mut slots.exchange, means);
        }
    }
    sums
}

/// Adds the sum of the other rows, each times its weight, to every own row of `sums`, `[row][column]`.
#[cube]
pub fn accumulate<F: Float, N: Size>(
    sums: &mut Array<f32>,
    weights: &Array<f32>,
    slots: &mut Slots<F, N>,
    other_rows: &Rows,
    #[comptime] tiles: Tiles,
) {
    let size!(P) = 2usize;
    let size = N::value();
    let means = comptime!(tiles.means());
    // Spelled out, every step waits for all threads: what compiles kernels for a CPU takes minutes over many of them.
    let unroll = comptime!(means == Means::Instructions);
    let pitch = comptime!(pitch(size, tiles));
    let other_start = comptime!(start(other_rows.slot, size, tiles));
    let n_columns = comptime!(tiles.n_result_columns());
    let lane = mma::lane();
    let other_row = lane / 8 % 2 * 8 + lane % 8;
    let other_eight = lane / 16;
    #[unroll(unroll)]
    for k in 0..comptime!(tiles.n_others() / 16) {
        let mut a = Array::<Vector<F, P>>::new(4usize);
        #[unroll]
        for i in 0..4usize {
            let mut pair = Vector::<F, P>::empty();
            #[unroll]
            for j in 0..2usize {
                let weight = weights[k * 4 + comptime!(i % 2 * tiles.n_columns() + i / 2 * 2 + j)];
                pair.insert(j, F::cast_from(weight));
            }
            a[i] = pair;
        }
        #[unroll(unroll)]
        for pair in 0..comptime!(tiles.head_dim / 16) {
            let row = k * 16 + other_row;
            let place = other_start + row * pitch + (pair * 2 + other_eight) * comptime!(8 / size);
            let b =
                mma::load_four::<F, N, P>(&slots.rows, place, &mut slots.exchange, Order::Transposed, means);
            multiply_into::<F, P>(sums, n_columns, pair, &a, &b, &mut slots.exchange, means);
        }
    }
}

/// Adds the products of a with two matrices of eight columns to 16 columns of `sums`, which has `pitch` values in a row.
#[cube]
fn multiply_into<F: Float, P: Size>(
    sums: &mut Array<f32>,
    #[comptime] pitch: usize,
    pair: usize,
    a: &Array<Vector<F, P>>,
    b: &Array<Vector<F, P>>,
    exchange: &mut Exchange,
    #[comptime] means: Means,
) {
    #[unroll(means == Means::Instructions)]
    for eight in 0..2usize {
        let mut half = Array::<Vector<F, P>>::new(2usize);
        half[0] = b[eight * 2];
        half[1] = b[eight * 2 + 1];
        let mut c = Array::<Vector<f32, P>>::new(2usize);
        #[unroll]
        for i in 0..2usize {
            let mut values = Vector::<f32, P>::empty();
            #[unroll]
            for j in 0..2usize {
                values.insert(j, sums[pair * 4 + eight * 2 + comptime!(i * pitch + j)]);
            }
            c[i] = values;
        }
        let c = mma::multiply::<F, P, P>(a, &half, &c, exchange, means);
        #[unroll]
        for i in 0..2usize {
            #[unroll]
            for j in 0..2usize {
                sums[pair * 4 + eight * 2 + comptime!(i * pitch + j)] = c[i].extract(j);
            }
        }
    }
}

/// The largest value of each row, given to all threads that have a part of it.
#[cube]
pub fn largest_of_rows<F: Float, N: Size>(
    of_thread: &Array<f32>,
    slots: &mut Slots<F, N>,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    let mut result = Array::<f32>::new(2usize);
    #[unroll]
    for r in 0..2usize {
        result[r] = mma::largest_of_four(of_thread[r], &mut slots.exchange, comptime!(tiles.means()));
    }
    result
}

/// The sum of each row, given to all threads that have a part of it.
#[cube]
pub fn sum_of_rows<F: Float, N: Size>(
    of_thread: &Array<f32>,
    slots: &mut Slots<F, N>,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    let mut result = Array::<f32>::new(2usize);
    #[unroll]
    for r in 0..2usize {
        result[r] = mma::sum_of_four(of_thread[r], &mut slots.exchange, comptime!(tiles.means()));
    }
    result
}
