//! Small products in registers: 256 threads as 16 × 16, each with 4 rows of a tile and every 16th column.
//!
//! This runs on every GPU. What the threads share goes through 26 KiB of shared memory in f32, a few columns or rows of
//! a tile at a time.

use cubecl::prelude::*;

use super::rows::Rows;
use super::tiles::Tiles;

/// Rows of a tile.
pub const TILE: usize = 64;

/// Threads of a cube.
pub const N_THREADS: usize = 256;

/// Threads in a row and in a column of a tile.
const SIDE: usize = 16;

/// Rows of a tile that a thread has, and columns of a square tile.
pub const N_ROWS: usize = TILE / SIDE;

/// Values from one row to the next of what is shared: one more than a tile has, so that neighbours lie in different banks.
const PITCH: usize = TILE + 1;

/// Columns that [`products`] reads at a time.
const CHUNK: usize = 16;

/// Values of one side of such a chunk.
const SIDE_SIZE: usize = CHUNK * PITCH;

/// Memory that the threads of a cube share.
#[derive(CubeType)]
pub struct Scratch {
    /// What is read from tensors.
    read: Shared<[f32]>,
    /// Weights of rows.
    weights: Shared<[f32]>,
}

/// The memory.
#[cube]
pub fn scratch(#[comptime] tiles: Tiles) -> Scratch {
    let share = comptime!(usize::from(tiles.in_registers()));
    Scratch {
        read: Shared::<[f32]>::new_slice(comptime!(1.max(share * 2 * SIDE_SIZE))),
        weights: Shared::<[f32]>::new_slice(comptime!(1.max(share * TILE * PITCH))),
    }
}

/// Columns of a head that a thread has.
pub fn n_result_columns(head_dim: usize) -> usize {
    head_dim.div_ceil(SIDE)
}

/// A thread's row `index`, counted from the tile's first.
#[cube]
pub fn row(#[comptime] index: usize) -> usize {
    (UNIT_POS as usize / SIDE) * N_ROWS + index
}

/// A thread's column `index`.
#[cube]
pub fn column(#[comptime] index: usize) -> usize {
    UNIT_POS as usize % SIDE + index * SIDE
}

/// Products of every own row with every other, `[row][column]`.
#[cube]
pub fn products<F: Float, N: Size>(
    own: &[Vector<F, N>],
    own_rows: &Rows,
    other: &[Vector<F, N>],
    other_rows: &Rows,
    scratch: &mut Scratch,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    let head_dim = comptime!(tiles.head_dim);
    let mut sums = Array::<f32>::new(comptime!(N_ROWS * N_ROWS));
    #[unroll]
    for i in 0..comptime!(N_ROWS * N_ROWS) {
        sums[i] = 0.0f32;
    }
    for chunk in 0..comptime!(head_dim.div_ceil(CHUNK)) {
        sync_cube();
        read_columns(own, own_rows, chunk * CHUNK, &mut scratch.read, 0usize, head_dim);
        read_columns(other, other_rows, chunk * CHUNK, &mut scratch.read, SIDE_SIZE, head_dim);
        sync_cube();
        for column_index in 0..CHUNK {
            let start = column_index * PITCH;
            #[unroll]
            for r in 0..N_ROWS {
                let a = scratch.read[start + row(r)];
                #[unroll]
                for c in 0..N_ROWS {
                    sums[comptime!(r * N_ROWS + c)] += a * scratch.read[SIDE_SIZE + start + column(c)];
                }
            }
        }
    }
    sums
}

/// Shares some columns of a tile, transposed.
#[cube]
fn read_columns<F: Float, N: Size>(
    from: &[Vector<F, N>],
    rows: &Rows,
    first_column: usize,
    into: &mut Shared<[f32]>,
    offset: usize,
    #[comptime] head_dim: usize,
) {
    let size = N::value();
    let per_row = comptime!(CHUNK / size);
    #[unroll]
    for i in 0..comptime!(TILE * per_row / N_THREADS) {
        let index = UNIT_POS as usize + i * N_THREADS;
        let row = index / per_row;
        let vector = index % per_row;
        let column = first_column + vector * size;
        let mut values = Vector::<f32, N>::new(0.0);
        if rows.start + row < rows.end && column < head_dim {
            let place = (rows.start + row) * rows.stride + rows.column + column / size;
            values = Vector::cast_from(from[place]);
        }
        #[unroll]
        for element in 0..size {
            into[offset + (vector * size + element) * PITCH + row] = values.extract(element);
        }
    }
}

/// Shares the weights of rows, for [`accumulate`].
#[cube]
fn share_weights(weights: &Array<f32>, scratch: &mut Scratch) {
    sync_cube();
    #[unroll]
    for r in 0..N_ROWS {
        #[unroll]
        for c in 0..N_ROWS {
            scratch.weights[column(c) * PITCH + row(r)] = weights[comptime!(r * N_ROWS + c)];
        }
    }
}

/// Adds the sum of the other rows, each times its weight, to every own row of `sums`, `[row][column]`.
#[cube]
pub fn accumulate<F: Float, N: Size>(
    sums: &mut Array<f32>,
    weights: &Array<f32>,
    other: &[Vector<F, N>],
    rows: &Rows,
    scratch: &mut Scratch,
    #[comptime] tiles: Tiles,
) {
    share_weights(weights, scratch);
    let head_dim = comptime!(tiles.head_dim);
    let size = N::value();
    let n_columns = comptime!(tiles.n_result_columns());
    let width = comptime!(n_columns * SIDE);
    let per_row = comptime!(width / size);
    let n_rows = comptime!(rows_at_a_time(width));
    for first in range_stepped(0usize, TILE, n_rows) {
        sync_cube();
        for index in range_stepped(UNIT_POS as usize, comptime!(n_rows * per_row), N_THREADS) {
            let row = index / per_row;
            let vector = index % per_row;
            let column = vector * size;
            let row_in_all = rows.start + first + row;
            let mut values = Vector::<f32, N>::new(0.0);
            if row_in_all < rows.end && column < head_dim {
                values = Vector::cast_from(other[row_in_all * rows.stride + rows.column + vector]);
            }
            #[unroll]
            for element in 0..size {
                scratch.read[row * width + column + element] = values.extract(element);
            }
        }
        sync_cube();
        for other_row in 0..n_rows {
            let start = (first + other_row) * PITCH;
            #[unroll]
            for c in 0..n_columns {
                let value = scratch.read[other_row * width + column(c)];
                #[unroll]
                for r in 0..N_ROWS {
                    sums[comptime!(r * n_columns + c)] += scratch.weights[start + row(r)] * value;
                }
            }
        }
    }
}

/// How many rows of this width fit into what is shared, as a divisor of the tile.
fn rows_at_a_time(width: usize) -> usize {
    let fitting = (2 * SIDE_SIZE / width).clamp(1, TILE);
    1 << fitting.ilog2()
}

/// The largest value of each row, given to all threads that have a part of it.
#[cube]
pub fn largest_of_rows(of_thread: &Array<f32>, scratch: &mut Scratch) -> Array<f32> {
    share_row_values(of_thread, scratch);
    let mut result = Array::<f32>::new(N_ROWS);
    #[unroll]
    for r in 0..N_ROWS {
        let mut largest = scratch.read[row(r) * comptime!(SIDE + 1)];
        for thread in 1..SIDE {
            largest = f32::max(largest, scratch.read[row(r) * comptime!(SIDE + 1) + thread]);
        }
        result[r] = largest;
    }
    result
}

/// The sum of each row, given to all threads that have a part of it.
#[cube]
pub fn sum_of_rows(of_thread: &Array<f32>, scratch: &mut Scratch) -> Array<f32> {
    share_row_values(of_thread, scratch);
    let mut result = Array::<f32>::new(N_ROWS);
    #[unroll]
    for r in 0..N_ROWS {
        let mut sum = 0.0f32;
        for thread in 0..SIDE {
            sum += scratch.read[row(r) * comptime!(SIDE + 1) + thread];
        }
        result[r] = sum;
    }
    result
}

#[cube]
fn share_row_values(of_thread: &Array<f32>, scratch: &mut Scratch) {
    sync_cube();
    #[unroll]
    for r in 0..N_ROWS {
        scratch.read[row(r) * comptime!(SIDE + 1) + column(0usize)] = of_thread[r];
    }
    sync_cube();
}
