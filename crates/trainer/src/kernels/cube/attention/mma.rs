//! The product of tensor cores, `mma.m16n8k16`, and the way of its operands out of shared memory, `ldmatrix` (PTX ISA
//! 9.7.14.5.8 and 9.7.14.5.15); and both spelled out for the tests, on devices that have neither.
//!
//! A fragment is what one of the 32 threads of a plane holds of a matrix. With g = lane / 4 and t = lane % 4, in pairs:
//!
//! ```text
//! a [16 × 16]   (g, 2t) (g + 8, 2t) (g, 2t + 8) (g + 8, 2t + 8)      and the column after each
//! b [16 × 8]    (2t, g) (2t + 8, g)                                  and the row after each
//! c [16 × 8]    (g, 2t) (g + 8, 2t)                                  and the column after each
//! ```

use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

use super::rows::LN_2;

/// Threads of a plane.
pub const PLANE: usize = 32;

/// Which threads compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// The tensor cores.
    Instructions,
    /// Every thread its own values, with what the others hold taken from shared memory: slow, for tests.
    Spelled,
}

/// Memory in which the spelled-out instructions exchange what threads hold.
#[derive(CubeType)]
pub struct Exchange {
    places: Shared<[u32]>,
    values: Shared<[f32]>,
}

/// That memory, for `n_threads`.
#[cube]
pub fn exchange(#[comptime] n_threads: usize, #[comptime] means: Means) -> Exchange {
    let n = comptime!(match means {
        Means::Instructions => 1,
        Means::Spelled => n_threads,
    });
    Exchange { places: Shared::<[u32]>::new_slice(n), values: Shared::<[f32]>::new_slice(comptime!(12 * n)) }
}

/// The lane of this thread. Planes of the device may have another size where no instruction is used.
#[cube]
pub fn lane() -> usize {
    UNIT_POS as usize % PLANE
}

/// Loads four matrices of 8 × 8 values: lane l gives the place of row l % 8 of matrix l / 8, and gets of each matrix the
/// values (l / 4, 2 (l % 4)) and the one after it in the row; of the transposed matrix, where that is asked for.
#[cube]
pub fn load_four<F: Float, N: Size, P: Size>(
    memory: &Shared<[Vector<F, N>]>,
    place: usize,
    exchange: &mut Exchange,
    #[comptime] order: Order,
    #[comptime] means: Means,
) -> Array<Vector<F, P>> {
    if comptime!(means == Means::Instructions) {
        let mma = MmaDefinition::<F, F, f32>::new(16usize, 8usize, 16usize);
        let transpose = comptime!(order == Order::Transposed);
        mma.load_matrix::<Vector<F, N>, P>(&memory[place..place + 1], MatrixIdent::A, 4usize, transpose)
    } else {
        sync_cube();
        exchange.places[UNIT_POS as usize] = place as u32;
        sync_cube();
        let size = N::value();
        let lane = lane();
        let first = UNIT_POS as usize - lane;
        let mut result = Array::<Vector<F, P>>::new(4usize);
        #[unroll]
        for matrix in 0..4usize {
            let mut pair = Vector::<F, P>::empty();
            #[unroll]
            for i in 0..2usize {
                let mut row = lane / 4;
                let mut column = lane % 4 * 2 + i;
                if comptime!(order == Order::Transposed) {
                    let swapped = row;
                    row = column;
                    column = swapped;
                }
                let vector = exchange.places[first + matrix * 8 + row] as usize + column / size;
                pair.insert(i, memory[vector].extract_dynamic(column % size));
            }
            result[matrix] = pair;
        }
        result
    }
}

/// How a matrix in memory becomes a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// As it is.
    Rows,
    /// Transposed.
    Transposed,
}

/// c + a b.
#[cube]
pub fn multiply<F: Float, P: Size, Q: Size>(
    a: &Array<Vector<F, P>>,
    b: &Array<Vector<F, P>>,
    c: &Array<Vector<f32, Q>>,
    exchange: &mut Exchange,
    #[comptime] means: Means,
) -> Array<Vector<f32, Q>> {
    if comptime!(means == Means::Instructions) {
        let mma = MmaDefinition::<F, F, f32>::new(16usize, 8usize, 16usize);
        mma.execute(a, b, c)
    } else {
        let lane = lane();
        let thread = UNIT_POS as usize;
        let first = thread - lane;
        sync_cube();
        #[unroll]
        for i in 0..4usize {
            #[unroll]
            for j in 0..2usize {
                exchange.values[thread * 12 + comptime!(i * 2 + j)] = f32::cast_from(a[i].extract(j));
            }
        }
        #[unroll]
        for i in 0..2usize {
            #[unroll]
            for j in 0..2usize {
                exchange.values[thread * 12 + comptime!(8 + i * 2 + j)] = f32::cast_from(b[i].extract(j));
            }
        }
        sync_cube();
        let mut result = Array::<Vector<f32, Q>>::new(2usize);
        #[unroll]
        for i in 0..2usize {
            let mut pair = c[i];
            #[unroll]
            for j in 0..2usize {
                // Row g + 8 i, column 2 t + j.
                let mut sum = pair.extract(j);
                for k in 0..16usize {
                    let holder_of_a = first + lane / 4 * 4 + k % 8 / 2;
                    let holder_of_b = first + (lane % 4 * 2 + j) * 4 + k % 8 / 2;
                    let a = exchange.values[holder_of_a * 12 + (i + k / 8 * 2) * 2 + k % 2];
                    let b = exchange.values[holder_of_b * 12 + 8 + k / 8 * 2 + k % 2];
                    sum += a * b;
                }
                pair.insert(j, sum);
            }
            result[i] = pair;
        }
        result
    }
}

/// 2 to the power of x.
#[cube]
pub fn power_of_two(x: f32, #[comptime] means: Means) -> f32 {
    if comptime!(means == Means::Instructions) {
        let result: f32;
        gpu_asm!("ex2.approx.ftz.f32 {y}, {x};", y = out(_) result, x = in(_) x, options(nomem));
        result
    } else {
        f32::exp(x * LN_2)
    }
}

/// The largest value of four neighbouring lanes.
#[cube]
pub fn largest_of_four(value: f32, exchange: &mut Exchange, #[comptime] means: Means) -> f32 {
    if comptime!(means == Means::Instructions) {
        let value = f32::max(value, plane_shuffle_xor(value, 1));
        f32::max(value, plane_shuffle_xor(value, 2))
    } else {
        let first = share(value, exchange);
        let mut largest = exchange.values[first];
        #[unroll]
        for i in 1..4usize {
            largest = f32::max(largest, exchange.values[first + i]);
        }
        largest
    }
}

/// The sum of the values of four neighbouring lanes.
#[cube]
pub fn sum_of_four(value: f32, exchange: &mut Exchange, #[comptime] means: Means) -> f32 {
    if comptime!(means == Means::Instructions) {
        let value = value + plane_shuffle_xor(value, 1);
        value + plane_shuffle_xor(value, 2)
    } else {
        let first = share(value, exchange);
        let mut sum = 0.0f32;
        #[unroll]
        for i in 0..4usize {
            sum += exchange.values[first + i];
        }
        sum
    }
}

/// Shares a value of each thread; returns the place of the first of four neighbours.
#[cube]
fn share(value: f32, exchange: &mut Exchange) -> usize {
    sync_cube();
    exchange.values[UNIT_POS as usize] = value;
    sync_cube();
    UNIT_POS as usize / 4 * 4
}
