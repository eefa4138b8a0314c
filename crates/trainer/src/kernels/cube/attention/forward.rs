//! The forward kernel: a cube for each head and tile of queries, with the online softmax of FlashAttention (Dao et al.
//! 2022): while tiles of keys go by, each query keeps the largest score so far, and what was summed is scaled down
//! whenever a larger one comes.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::rows::{LN_2, Rows, Scoring, from_the_last, keys_of, score};
use super::tiles::{self, Slot, Tiles};

/// Below every score; what stands for the score of a key that is not seen.
const HIDDEN: f32 = -1e30;

/// y and the log-sum-exp of a tile of queries.
#[cube(launch)]
pub fn forward_tile<F: Float, N: Size>(
    qkv: &[Vector<F, N>],
    spans: &[i32],
    y: &mut [F],
    log_sum_exp: &mut [f32],
    n_tokens: usize,
    n_kv_heads: usize,
    window: usize,
    scoring: Scoring,
    #[comptime] tiles: Tiles,
    #[define(F)] _type: ElemType,
) {
    let head_dim = comptime!(tiles.head_dim);
    let n_own = comptime!(tiles.n_own());
    let n_others = comptime!(tiles.n_others());
    let n_rows = comptime!(tiles.n_rows());
    let n_columns = comptime!(tiles.n_columns());
    let n_result_columns = comptime!(tiles.n_result_columns());
    let n_heads = CUBE_COUNT_X as usize;
    let head = CUBE_POS_X as usize;
    // Later queries see more keys: the longest tiles start first.
    let start = from_the_last(CUBE_POS_Y as usize, CUBE_COUNT_Y as usize) * n_own;
    let key_head = n_heads + head / (n_heads / n_kv_heads);
    let size = N::value();
    let vectors = comptime!(head_dim / size);
    let stride = (n_heads + 2 * n_kv_heads) * vectors;
    let queries =
        Rows { start, end: n_tokens, stride, column: head * vectors, slot: comptime!(Slot::Own(0)) };

    let mut stage = tiles::stage::<F, N>(tiles);
    let mut sums = tiles::zeros(tiles);
    let mut largest = Array::<f32>::new(n_rows);
    let mut total = Array::<f32>::new(n_rows);
    let mut from = Array::<usize>::new(n_rows);
    let mut to = Array::<usize>::new(n_rows);
    #[unroll]
    for r in 0..n_rows {
        largest[r] = HIDDEN;
        total[r] = 0.0f32;
        let seen = keys_of(start + tiles::row(r, tiles), spans, n_tokens, window);
        from[r] = seen.from;
        to[r] = seen.to;
    }

    tiles::read::<F, N>(qkv, &queries, &mut stage, tiles);
    let first = keys_of(start, spans, n_tokens, window).from;
    let last = usize::min(start + n_own, n_tokens);
    let last_first = keys_of(last - 1, spans, n_tokens, window).from;
    for key in range_stepped(first, last, n_others) {
        let column = key_head * vectors;
        let keys = Rows { start: key, end: n_tokens, stride, column, slot: comptime!(Slot::Other(0)) };
        let column = (key_head + n_kv_heads) * vectors;
        let values = Rows { start: key, end: n_tokens, stride, column, slot: comptime!(Slot::Other(1)) };
        tiles::before_reading(tiles);
        tiles::read::<F, N>(qkv, &keys, &mut stage, tiles);
        tiles::read::<F, N>(qkv, &values, &mut stage, tiles);
        tiles::after_reading(tiles);
        let mut weights = tiles::products::<F, N>(qkv, &queries, qkv, &keys, &mut stage, tiles);
        let mut highest = Array::<f32>::new(n_rows);
        #[unroll]
        for r in 0..n_rows {
            highest[r] = HIDDEN;
            #[unroll]
            for c in 0..n_columns {
                let i = comptime!(r * n_columns + c);
                weights[i] = score(weights[i], &scoring, tiles.limit).value;
            }
        }
        // Most tiles are seen by all queries.
        if key < last_first || key + n_others > start + 1 {
            #[unroll]
            for r in 0..n_rows {
                #[unroll]
                for c in 0..n_columns {
                    let i = comptime!(r * n_columns + c);
                    let place = key + tiles::column(c, tiles);
                    weights[i] = select(place >= from[r] && place < to[r], weights[i], HIDDEN);
                }
            }
        }
        #[unroll]
        for r in 0..n_rows {
            #[unroll]
            for c in 0..n_columns {
                highest[r] = f32::max(highest[r], weights[comptime!(r * n_columns + c)]);
            }
        }
        let highest = tiles::largest_of_rows::<F, N>(&highest, &mut stage, tiles);
        #[unroll]
        for r in 0..n_rows {
            let before = largest[r];
            let now = f32::max(before, highest[r]);
            // A query that has seen nothing so far gets weights of 0 all the same.
            let base = select(now > HIDDEN, now, 0.0f32);
            let factor = tiles::power_of_two(before - base, tiles);
            largest[r] = now;
            total[r] *= factor;
            #[unroll]
            for c in 0..n_result_columns {
                sums[comptime!(r * n_result_columns + c)] *= factor;
            }
            #[unroll]
            for c in 0..n_columns {
                let i = comptime!(r * n_columns + c);
                weights[i] = tiles::power_of_two(weights[i] - base, tiles);
                total[r] += weights[i];
            }
        }
        tiles::accumulate::<F, N>(&mut sums, &weights, qkv, &values, &mut stage, tiles);
    }

    let total = tiles::sum_of_rows::<F, N>(&total, &mut stage, tiles);
    #[unroll]
    for r in 0..n_rows {
        let query = start + tiles::row(r, tiles);
        if query < n_tokens {
            let place = query * n_heads + head;
            let factor = 1.0f32 / total[r];
            #[unroll]
            for c in 0..n_result_columns {
                let column = tiles::column(c, tiles);
                if column < head_dim {
                    let value = sums[comptime!(r * n_result_columns + c)] * factor;
                    y[place * head_dim + column] = F::cast_from(value);
                }
            }
            if tiles::column(0usize, tiles) == 0 {
                log_sum_exp[place] = largest[r] * LN_2 + f32::ln(total[r]);
            }
        }
    }
}
