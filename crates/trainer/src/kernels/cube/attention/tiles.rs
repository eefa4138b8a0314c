//! Tiles of one head, and the few operations on them that the kernels are made of. Each is computed in [`registers`], or
//! on [`tensor_cores`]; what a kernel does with the results does not depend on that.
//!
//! A tile has rows of its own, which it computes results for, and goes through other rows. The products of its own rows
//! with some others are a matrix of which every thread holds some rows and, of each, some columns; the results, one row
//! for each of its own, are laid out alike.

use cubecl::prelude::*;

use super::mma::{self, Means};
use super::rows::{LN_2, Limit, Rows};
use super::{registers, tensor_cores};

/// Who computes small products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Units {
    /// Each thread, in `f32`.
    Registers,
    /// Planes of 32 threads with tensor cores.
    TensorCores,
    /// The same with the instructions of tensor cores spelled out, for tests.
    SpelledTensorCores,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiles {
    /// Who computes.
    pub units: Units,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether scores are limited.
    pub limit: Limit,
    /// Matrices of which own rows are read, and matrices of which other rows are.
    pub n_slots: [usize; 2],
    /// Results that a thread has a part of.
    pub n_results: usize,
}

/// Which of those matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Of own rows.
    Own(usize),
    /// Of other rows.
    Other(usize),
}

impl Tiles {
    /// Own rows of a tile.
    pub fn n_own(&self) -> usize {
        match self.units {
            Units::Registers => registers::TILE,
            Units::TensorCores => tensor_cores::n_own(*self),
            Units::SpelledTensorCores => 32,
        }
    }

    /// Other rows that are looked at together.
    pub fn n_others(&self) -> usize {
        match self.units {
            Units::Registers => registers::TILE,
            Units::TensorCores => tensor_cores::n_others(*self),
            Units::SpelledTensorCores => 32,
        }
    }

    /// Threads of a cube.
    pub fn n_threads(&self) -> usize {
        match self.units {
            Units::Registers => registers::N_THREADS,
            Units::TensorCores | Units::SpelledTensorCores => self.n_own() * 2,
        }
    }

    /// Own rows of which a thread has a part.
    pub fn n_rows(&self) -> usize {
        match self.units {
            Units::Registers => registers::N_ROWS,
            Units::TensorCores | Units::SpelledTensorCores => 2,
        }
    }

    /// Others whose products with each of its rows a thread has.
    pub fn n_columns(&self) -> usize {
        match self.units {
            Units::Registers => registers::N_ROWS,
            Units::TensorCores | Units::SpelledTensorCores => self.n_others() / 4,
        }
    }

    /// Columns of a result of which a thread has a part; in registers some may lie behind the head's last.
    pub fn n_result_columns(&self) -> usize {
        match self.units {
            Units::Registers => registers::n_result_columns(self.head_dim),
            Units::TensorCores | Units::SpelledTensorCores => self.head_dim / 4,
        }
    }

    /// What the instructions of tensor cores are.
    pub fn means(&self) -> Means {
        match self.units {
            Units::Registers | Units::TensorCores => Means::Instructions,
            Units::SpelledTensorCores => Means::Spelled,
        }
    }

    /// Whether small products are computed in registers.
    pub fn in_registers(&self) -> bool {
        self.units == Units::Registers
    }
}

/// Memory that the threads of a cube share.
#[derive(CubeType)]
pub struct Stage<F: Float, N: Size> {
    /// For [`registers`].
    pub scratch: registers::Scratch,
    /// For [`tensor_cores`].
    pub slots: tensor_cores::Slots<F, N>,
}

/// The memory.
#[cube]
pub fn stage<F: Float, N: Size>(#[comptime] tiles: Tiles) -> Stage<F, N> {
    Stage::<F, N> { scratch: registers::scratch(tiles), slots: tensor_cores::slots::<F, N>(tiles) }
}

/// A thread's row `index`, counted from the tile's first.
#[cube]
pub fn row(#[comptime] index: usize, #[comptime] tiles: Tiles) -> usize {
    if comptime!(tiles.in_registers()) { registers::row(index) } else { tensor_cores::row(index) }
}

/// A thread's column `index`, of products or of results.
#[cube]
pub fn column(#[comptime] index: usize, #[comptime] tiles: Tiles) -> usize {
    if comptime!(tiles.in_registers()) { registers::column(index) } else { tensor_cores::column(index) }
}

/// Zeros, for a result.
#[cube]
pub fn zeros(#[comptime] tiles: Tiles) -> Array<f32> {
    let n = comptime!(tiles.n_rows() * tiles.n_result_columns());
    let mut values = Array::<f32>::new(n);
    #[unroll]
    for i in 0..n {
        values[i] = 0.0f32;
    }
    values
}

/// 2 to the power of x.
#[cube]
pub fn power_of_two(x: f32, #[comptime] tiles: Tiles) -> f32 {
    if comptime!(tiles.in_registers()) {
        f32::exp(x * LN_2)
    } else {
        mma::power_of_two(x, comptime!(tiles.means()))
    }
}

/// Waits until all threads are done with the slots that are read next.
#[cube]
pub fn before_reading(#[comptime] tiles: Tiles) {
    if comptime!(!tiles.in_registers()) {
        sync_cube();
    }
}

/// Reads rows into their slot.
#[cube]
pub fn read<F: Float, N: Size>(
    from: &[Vector<F, N>],
    rows: &Rows,
    stage: &mut Stage<F, N>,
    #[comptime] tiles: Tiles,
) {
    if comptime!(!tiles.in_registers()) {
        tensor_cores::read::<F, N>(from, rows, &mut stage.slots, tiles);
    }
}

/// Waits until all threads have read.
#[cube]
pub fn after_reading(#[comptime] tiles: Tiles) {
    if comptime!(!tiles.in_registers()) {
        sync_cube();
    }
}

/// Products of own rows with others, `[row][column]`. Both must have been read into their slots.
#[cube]
pub fn products<F: Float, N: Size>(
    own: &[Vector<F, N>],
    own_rows: &Rows,
    other: &[Vector<F, N>],
    other_rows: &Rows,
    stage: &mut Stage<F, N>,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    if comptime!(tiles.in_registers()) {
        registers::products::<F, N>(own, own_rows, other, other_rows, &mut stage.scratch, tiles)
    } else {
        tensor_cores::products::<F, N>(&mut stage.slots, own_rows, other_rows, tiles)
    }
}

/// Adds the sum of other rows, each times its weight `[row][column]`, to a result. They must have been read into their
/// slot.
#[cube]
pub fn accumulate<F: Float, N: Size>(
    result: &mut Array<f32>,
    weights: &Array<f32>,
    other: &[Vector<F, N>],
    other_rows: &Rows,
    stage: &mut Stage<F, N>,
    #[comptime] tiles: Tiles,
) {
    if comptime!(tiles.in_registers()) {
        registers::accumulate::<F, N>(result, weights, other, other_rows, &mut stage.scratch, tiles);
    } else {
        tensor_cores::accumulate::<F, N>(result, weights, &mut stage.slots, other_rows, tiles);
    }
}

/// The largest value of each row, given to all threads that have a part of it.
#[cube]
pub fn largest_of_rows<F: Float, N: Size>(
    of_thread: &Array<f32>,
    stage: &mut Stage<F, N>,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    if comptime!(tiles.in_registers()) {
        registers::largest_of_rows(of_thread, &mut stage.scratch)
    } else {
        tensor_cores::largest_of_rows::<F, N>(of_thread, &mut stage.slots, tiles)
    }
}

/// The sum of each row, given to all threads that have a part of it.
#[cube]
pub fn sum_of_rows<F: Float, N: Size>(
    of_thread: &Array<f32>,
    stage: &mut Stage<F, N>,
    #[comptime] tiles: Tiles,
) -> Array<f32> {
    if comptime!(tiles.in_registers()) {
        registers::sum_of_rows(of_thread, &mut stage.scratch)
    } else {
        tensor_cores::sum_of_rows::<F, N>(of_thread, &mut stage.slots, tiles)
    }
}
