//! Causal grouped-query attention without the S×S matrix: tiles of queries against the keys they see, scores
//! recomputed in the backward pass from the kept log-sum-exp (FlashAttention, Dao et al. 2022). The formulas
//! stand in [`crate::ops::attention`].

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut, Product};
use super::simd::{exp, made, max_of, simd, sum_by, tanh};
use crate::ops::attention::AttentionShape;

/// Queries per tile: the scores stay in the cache and tiles above the diagonal are never computed. At 256 tokens
/// 64 and 96 are about 10 % slower, because the products get too small.
pub(crate) const TILE: usize = 128;

simd! { fn softmax_row(row: &mut [f32], seen: Range<usize>) -> f32 {
    let (before, row) = row.split_at_mut(seen.start);
    let (row, after) = row.split_at_mut(seen.end - seen.start);
    before.fill(0.0);
    after.fill(0.0);
    let max = max_of(row);
    for s in row.iter_mut() {
        *s = exp(*s - max);
    }
    let sum = sum_by(row.len(), |i| row[i]);
    let inverse = 1.0 / sum;
    for s in row.iter_mut() {
        *s *= inverse;
    }
    max + sum.ln()
}}

simd! { fn cap_row(row: &mut [f32], cap: f32) {
    for s in row.iter_mut() {
        *s = cap * tanh(*s / cap);
    }
}}

simd! { fn probability_row(row: &mut [f32], seen: Range<usize>, log_sum_exp: f32) {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
    for s in &mut row[seen] {
        *s = exp(*s - log_sum_exp);
    }
}}

simd! { fn score_gradient_row(p: &[f32], dp: &mut [f32], y: &[f32], dy: &[f32], scale: f32) {
    let delta = sum_by(y.len(), |i| y[i] * dy[i]);
    for (p, dp) in p.iter().zip(dp) {
        *dp = p * (*dp - delta) * scale;
    }
}}

// Both at once: the slope of the cap follows from the score, which the probability takes the place of.
simd! { fn capped_row(p: &mut [f32], dp: &mut [f32], seen: Range<usize>, row: CappedRow<'_>) {
    let CappedRow { y, dy, log_sum_exp, scale, cap } = row;
    let delta = sum_by(y.len(), |i| y[i] * dy[i]);
    for hidden in [0..seen.start, seen.end..p.len()] {
        p[hidden.clone()].fill(0.0);
        dp[hidden].fill(0.0);
    }
    for (p, dp) in p[seen.clone()].iter_mut().zip(&mut dp[seen]) {
        let t = tanh(*p / cap);
        *p = exp(cap * t - log_sum_exp);
        *dp = *p * (*dp - delta) * (1.0 - t * t) * scale;
    }
}}

/// What turns a row of scores and of gradients of probabilities into probabilities and gradients of scores.
struct CappedRow<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    log_sum_exp: f32,
    scale: f32,
    cap: f32,
}

/// A tile of queries and the keys that any of them sees, counted from the segment's start.
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Tile {
    fn all(n_tokens: usize, shape: &AttentionShape) -> impl Iterator<Item = Self> {
        let shape = *shape;
        (0..n_tokens).step_by(TILE).map(move |start| {
            let end = n_tokens.min(start + TILE);
            Self { queries: start..end, keys: shape.first_key(start)..end }
        })
    }

    fn n_scores(&self) -> usize {
        self.queries.len() * self.keys.len()
    }

    /// The keys that the tile's query `row` sees, counted from the tile's first key.
    fn seen(&self, row: usize, shape: &AttentionShape) -> Range<usize> {
        let query = self.queries.start + row;
        shape.first_key(query) - self.keys.start..query + 1 - self.keys.start
    }
}

/// Columns of head `head` in a row of heads.
fn head(head: usize, shape: &AttentionShape) -> Range<usize> {
    head * shape.head_dim..(head + 1) * shape.head_dim
}

fn head_of<'a>(rows: Matrix<'a>, index: usize, shape: &AttentionShape) -> Matrix<'a> {
    rows.cols(head(index, shape))
}

/// Returns the output `[tokens, n_heads · head_dim]` and the log-sum-exp of the scores, for each segment
/// `[n_heads, tokens of the segment]`.
pub fn forward(qkv: &[f32], segments: &[Range<usize>], shape: &AttentionShape) -> (Vec<f32>, Vec<f32>) {
    let n_tokens = qkv.len() / shape.width();
    let width = shape.n_heads * shape.head_dim;
    let qkv = Matrix::new(qkv, n_tokens, shape.width());
    let mut log_sum_exp = vec![0.0; n_tokens * shape.n_heads];
    // SAFETY: the segments are all tokens and the heads all columns, and each task sets its own.
    let y = unsafe {
        made(n_tokens * width, |y| {
            let y = MatrixMut::unset(y, n_tokens, width);
            tasks(segments, &mut log_sum_exp, shape).into_par_iter().for_each_init(
                Vec::new,
                |scores, task| {
                    let Task { segment, head: index, log_sum_exp } = task;
                    let rows = qkv.rows(segment.clone());
                    let (q, k, v) = shape.split(rows, index);
                    let y = y.part(segment, head(index, shape));
                    forward_head([q, k, v], y, log_sum_exp, scores, shape);
                },
            );
        })
    };
    (y, log_sum_exp)
}

struct Task<'a> {
    segment: Range<usize>,
    head: usize,
    log_sum_exp: &'a mut [f32],
}

fn tasks<'a>(segments: &[Range<usize>], mut rest: &'a mut [f32], shape: &AttentionShape) -> Vec<Task<'a>> {
    let mut tasks = Vec::with_capacity(segments.len() * shape.n_heads);
    for segment in segments {
        for head in 0..shape.n_heads {
            let (log_sum_exp, after) = rest.split_at_mut(segment.len());
            rest = after;
            tasks.push(Task { segment: segment.clone(), head, log_sum_exp });
        }
    }
    tasks
}

fn forward_head(
    [q, k, v]: [Matrix<'_>; 3],
    mut y: MatrixMut<'_>,
    log_sum_exp: &mut [f32],
    scores: &mut Vec<f32>,
    shape: &AttentionShape,
) {
    for tile in Tile::all(log_sum_exp.len(), shape) {
        let (n, n_keys) = (tile.queries.len(), tile.keys.len());
        let scores = at_least(scores, tile.n_scores());
        let (k, v) = (k.rows(tile.keys.clone()), v.rows(tile.keys.clone()));
        let q = q.rows(tile.queries.clone());
        MatrixMut::new(scores, n, n_keys).product(Product::SET.scaled(shape.scale).alone(), q, k.t());
        for (row, scores) in scores.chunks_mut(n_keys).enumerate() {
            let seen = tile.seen(row, shape);
            if let Some(cap) = shape.softcap {
                cap_row(&mut scores[seen.clone()], cap);
            }
            log_sum_exp[tile.queries.start + row] = softmax_row(scores, seen);
        }
        y.rows(tile.queries).product(Product::SET.alone(), Matrix::new(scores, n, n_keys), v);
    }
}

/// What the backward pass needs of the forward one, and the gradient of its output.
pub struct Backward<'a> {
    /// Merged q, k, v, `[tokens, width]`.
    pub qkv: &'a [f32],
    /// The output.
    pub y: &'a [f32],
    /// The log-sum-exp of the scores.
    pub log_sum_exp: &'a [f32],
    /// The gradient of the output.
    pub dy: &'a [f32],
}

/// Returns the gradient of the merged q, k, v.
pub fn backward(input: &Backward<'_>, segments: &[Range<usize>], shape: &AttentionShape) -> Vec<f32> {
    let Backward { qkv, y, log_sum_exp, dy } = *input;
    let n_tokens = qkv.len() / shape.width();
    let width = shape.n_heads * shape.head_dim;
    let (qkv, y) = (Matrix::new(qkv, n_tokens, shape.width()), Matrix::new(y, n_tokens, width));
    let dy = Matrix::new(dy, n_tokens, width);
    let mut dqkv = vec![0.0; n_tokens * shape.width()];
    let whole = MatrixMut::new(&mut dqkv, n_tokens, shape.width());
    // One task for each segment and key/value head: it alone writes that head's dk and dv.
    let tasks: Vec<_> =
        segments.iter().flat_map(|s| (0..shape.n_kv_heads).map(move |kv_head| (s, kv_head))).collect();
    tasks.into_par_iter().for_each_init(Default::default, |buffers, (segment, kv_head)| {
        for index in shape.heads_of(kv_head) {
            let (q, k, v) = shape.split(qkv.rows(segment.clone()), index);
            let start = segment.start * shape.n_heads + index * segment.len();
            let saved = HeadSaved {
                qkv: [q, k, v],
                y: head_of(y.rows(segment.clone()), index, shape),
                dy: head_of(dy.rows(segment.clone()), index, shape),
                log_sum_exp: &log_sum_exp[start..start + segment.len()],
            };
            let columns = [index, shape.n_heads + kv_head, shape.n_heads + shape.n_kv_heads + kv_head];
            // SAFETY: a query head belongs to one key/value head, and a task owns its segment's rows of both.
            let gradients = columns.map(|i| unsafe { whole.part(segment.clone(), head(i, shape)) });
            backward_head(&saved, gradients, buffers, shape);
        }
    });
    dqkv
}

struct HeadSaved<'a> {
    qkv: [Matrix<'a>; 3],
    y: Matrix<'a>,
    dy: Matrix<'a>,
    log_sum_exp: &'a [f32],
}

fn backward_head(
    saved: &HeadSaved<'_>,
    [mut dq, mut dk, mut dv]: [MatrixMut<'_>; 3],
    (p, dp): &mut (Vec<f32>, Vec<f32>),
    shape: &AttentionShape,
) {
    let [q, k, v] = saved.qkv;
    for tile in Tile::all(saved.log_sum_exp.len(), shape) {
        let (n, n_keys) = (tile.queries.len(), tile.keys.len());
        let (p, dp) = (at_least(p, tile.n_scores()), at_least(dp, tile.n_scores()));
        let (q, dy) = (q.rows(tile.queries.clone()), saved.dy.rows(tile.queries.clone()));
        let (k, v) = (k.rows(tile.keys.clone()), v.rows(tile.keys.clone()));
        MatrixMut::new(p, n, n_keys).product(Product::SET.scaled(shape.scale).alone(), q, k.t());
        MatrixMut::new(dp, n, n_keys).product(Product::SET.alone(), dy, v.t());
        for (row, (p, dp)) in p.chunks_mut(n_keys).zip(dp.chunks_mut(n_keys)).enumerate() {
            let query = tile.queries.start + row;
            let (y, dy, log_sum_exp) = (saved.y.row(query), dy.row(row), saved.log_sum_exp[query]);
            let seen = tile.seen(row, shape);
            match shape.softcap {
                None => {
                    probability_row(p, seen, log_sum_exp);
                    score_gradient_row(p, dp, y, dy, shape.scale);
                }
                Some(cap) => {
                    let row = CappedRow { y, dy, log_sum_exp, scale: shape.scale, cap };
                    capped_row(p, dp, seen, row);
                }
            }
        }
        let (p, dp) = (Matrix::new(p, n, n_keys), Matrix::new(dp, n, n_keys));
        dq.rows(tile.queries).product(Product::SET.alone(), dp, k);
        dk.rows(tile.keys.clone()).product(Product::ADD.alone(), dp.t(), q);
        dv.rows(tile.keys).product(Product::ADD.alone(), p.t(), dy);
    }
}

/// The first `n` values of a buffer that grows as needed.
fn at_least(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

impl AttentionShape {
    /// q of head `index`, and k and v of its group, out of rows of merged q, k, v.
    fn split<'a>(&self, rows: Matrix<'a>, index: usize) -> (Matrix<'a>, Matrix<'a>, Matrix<'a>) {
        let kv_head = index / self.group();
        let k = self.n_heads + kv_head;
        let [q, k, v] = [index, k, k + self.n_kv_heads].map(|i| head_of(rows, i, self));
        (q, k, v)
    }
}
