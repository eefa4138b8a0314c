//! The backward kernels: delta = y·dy for each query and head; a cube for each key/value head and tile of keys, that goes
//! through the queries for dk and dv; and a cube for each head and tile of queries, that goes through the keys for dq. No
//! two cubes write to the same place, so a run is repeated bit by bit. The price is that scores are computed twice.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::rows::{LOG2_E, Rows, Scoring, from_the_last, keys_of, queries_of, score};
use super::tiles::{self, Slot, Tiles};

/// delta of each query and head, one for each thread.
#[cube(launch)]
pub fn deltas<F: Float, N: Size>(
    y: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    delta: &mut [f32],
    n_vectors: usize,
    #[define(F)] _type: ElemType,
) {
    let index = ABSOLUTE_POS;
    if index < delta.len() {
        let mut sum = Vector::<f32, N>::new(0.0);
        for i in 0..n_vectors {
            let place = index * n_vectors + i;
            sum += Vector::<f32, N>::cast_from(y[place]) * Vector::cast_from(dy[place]);
        }
        let mut of_row = 0.0f32;
        #[unroll]
        for i in 0..sum.vector_size() {
            of_row += sum.extract(i);
        }
        delta[index] = of_row;
    }
}

/// dk and dv of a tile of keys.
#[cube(launch)]
pub fn backward_keys<F: Float, N: Size>(
    qkv: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    spans: &[i32],
    log_sum_exp: &[f32],
    delta: &[f32],
    dqkv: &mut [F],
    n_tokens: usize,
    n_heads: usize,
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
    let n_kv_heads = CUBE_COUNT_X as usize;
    let kv_head = CUBE_POS_X as usize;
    let start = CUBE_POS_Y as usize * n_own;
    let group = n_heads / n_kv_heads;
    let size = N::value();
    let vectors = comptime!(head_dim / size);
    let stride = (n_heads + 2 * n_kv_heads) * vectors;
    let key_head = n_heads + kv_head;
    let value_head = key_head + n_kv_heads;
    let keys =
        Rows { start, end: n_tokens, stride, column: key_head * vectors, slot: comptime!(Slot::Own(0)) };
    let values =
        Rows { start, end: n_tokens, stride, column: value_head * vectors, slot: comptime!(Slot::Own(1)) };

    let mut stage = tiles::stage::<F, N>(tiles);
    let mut dk = tiles::zeros(tiles);
    let mut dv = tiles::zeros(tiles);
    let mut from = Array::<usize>::new(n_rows);
    let mut to = Array::<usize>::new(n_rows);
    #[unroll]
    for r in 0..n_rows {
        let seen = queries_of(start + tiles::row(r, tiles), spans, n_tokens, window);
        from[r] = seen.from;
        to[r] = seen.to;
    }

    tiles::read::<F, N>(qkv, &keys, &mut stage, tiles);
    tiles::read::<F, N>(qkv, &values, &mut stage, tiles);
    let last = queries_of(usize::min(start + n_own, n_tokens) - 1, spans, n_tokens, window).to;
    let first_last = queries_of(start, spans, n_tokens, window).to;
    for head in kv_head * group..(kv_head + 1) * group {
        for query in range_stepped(start, last, n_others) {
            let column = head * vectors;
            let queries =
                Rows { start: query, end: n_tokens, stride, column, slot: comptime!(Slot::Other(0)) };
            let stride = n_heads * vectors;
            let dys = Rows { start: query, end: n_tokens, stride, column, slot: comptime!(Slot::Other(1)) };
            tiles::before_reading(tiles);
            tiles::read::<F, N>(qkv, &queries, &mut stage, tiles);
            tiles::read::<F, N>(dy, &dys, &mut stage, tiles);
            tiles::after_reading(tiles);
            let mut p = tiles::products::<F, N>(qkv, &keys, qkv, &queries, &mut stage, tiles);
            let mut slopes = Array::<f32>::new(comptime!(n_rows * n_columns));
            #[unroll]
            for c in 0..n_columns {
                let place = query + tiles::column(c, tiles);
                let of_query = usize::min(place, n_tokens - 1) * n_heads + head;
                let l = log_sum_exp[of_query] * LOG2_E;
                #[unroll]
                for r in 0..n_rows {
                    let i = comptime!(r * n_columns + c);
                    let s = score(p[i], &scoring, tiles.limit);
                    p[i] = tiles::power_of_two(s.value - l, tiles);
                    slopes[i] = s.slope;
                }
            }
            // Most tiles see all keys.
            if query + 1 < start + n_own || query + n_others > first_last {
                #[unroll]
                for r in 0..n_rows {
                    #[unroll]
                    for c in 0..n_columns {
                        let i = comptime!(r * n_columns + c);
                        let place = query + tiles::column(c, tiles);
                        p[i] = select(place >= from[r] && place < to[r], p[i], 0.0f32);
                    }
                }
            }
            tiles::accumulate::<F, N>(&mut dv, &p, dy, &dys, &mut stage, tiles);
            let dp = tiles::products::<F, N>(qkv, &values, dy, &dys, &mut stage, tiles);
            #[unroll]
            for c in 0..n_columns {
                let place = query + tiles::column(c, tiles);
                let of_query = usize::min(place, n_tokens - 1) * n_heads + head;
                let d = delta[of_query];
                #[unroll]
                for r in 0..n_rows {
                    let i = comptime!(r * n_columns + c);
                    p[i] = p[i] * (dp[i] - d) * slopes[i];
                }
            }
            tiles::accumulate::<F, N>(&mut dk, &p, qkv, &queries, &mut stage, tiles);
        }
    }

    #[unroll]
    for r in 0..n_rows {
        let key = start + tiles::row(r, tiles);
        if key < n_tokens {
            let row = key * (n_heads + 2 * n_kv_heads);
            #[unroll]
            for c in 0..n_result_columns {
                let column = tiles::column(c, tiles);
                if column < head_dim {
                    let i = comptime!(r * n_result_columns + c);
                    dqkv[(row + key_head) * head_dim + column] = F::cast_from(dk[i] * scoring.scale);
                    dqkv[(row + value_head) * head_dim + column] = F::cast_from(dv[i]);
                }
            }
        }
    }
}

/// dq of a tile of queries.
#[cube(launch)]
pub fn backward_queries<F: Float, N: Size>(
    qkv: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    spans: &[i32],
    log_sum_exp: &[f32],
    delta: &[f32],
    dqkv: &mut [F],
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
    let start = from_the_last(CUBE_POS_Y as usize, CUBE_COUNT_Y as usize) * n_own;
    let key_head = n_heads + head / (n_heads / n_kv_heads);
    let size = N::value();
    let vectors = comptime!(head_dim / size);
    let stride = (n_heads + 2 * n_kv_heads) * vectors;
    let dy_stride = n_heads * vectors;
    let queries =
        Rows { start, end: n_tokens, stride, column: head * vectors, slot: comptime!(Slot::Own(0)) };
    let dys = Rows {
        start,
        end: n_tokens,
        stride: dy_stride,
        column: head * vectors,
        slot: comptime!(Slot::Own(1)),
    };

    let mut stage = tiles::stage::<F, N>(tiles);
    let mut dq = tiles::zeros(tiles);
    let mut from = Array::<usize>::new(n_rows);
    let mut to = Array::<usize>::new(n_rows);
    let mut l = Array::<f32>::new(n_rows);
    let mut d = Array::<f32>::new(n_rows);
    #[unroll]
    for r in 0..n_rows {
        let query = start + tiles::row(r, tiles);
        let seen = keys_of(query, spans, n_tokens, window);
        from[r] = seen.from;
        to[r] = seen.to;
        let of_query = usize::min(query, n_tokens - 1) * n_heads + head;
        l[r] = log_sum_exp[of_query] * LOG2_E;
        d[r] = delta[of_query];
    }

    tiles::read::<F, N>(qkv, &queries, &mut stage, tiles);
    tiles::read::<F, N>(dy, &dys, &mut stage, tiles);
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
        let mut p = tiles::products::<F, N>(qkv, &queries, qkv, &keys, &mut stage, tiles);
        let mut slopes = Array::<f32>::new(comptime!(n_rows * n_columns));
        #[unroll]
        for r in 0..n_rows {
            #[unroll]
            for c in 0..n_columns {
                let i = comptime!(r * n_columns + c);
                let s = score(p[i], &scoring, tiles.limit);
                p[i] = tiles::power_of_two(s.value - l[r], tiles);
                slopes[i] = s.slope;
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
                    p[i] = select(place >= from[r] && place < to[r], p[i], 0.0f32);
                }
            }
        }
        let dp = tiles::products::<F, N>(dy, &dys, qkv, &values, &mut stage, tiles);
        #[unroll]
        for r in 0..n_rows {
            #[unroll]
            for c in 0..n_columns {
                let i = comptime!(r * n_columns + c);
                p[i] = p[i] * (dp[i] - d[r]) * slopes[i];
            }
        }
        tiles::accumulate::<F, N>(&mut dq, &p, qkv, &keys, &mut stage, tiles);
    }

    #[unroll]
    for r in 0..n_rows {
        let query = start + tiles::row(r, tiles);
        if query < n_tokens {
            let row = query * (n_heads + 2 * n_kv_heads) + head;
            #[unroll]
            for c in 0..n_result_columns {
                let column = tiles::column(c, tiles);
                if column < head_dim {
                    let value = dq[comptime!(r * n_result_columns + c)] * scoring.scale;
                    dqkv[row * head_dim + column] = F::cast_from(value);
                }
            }
        }
    }
}
