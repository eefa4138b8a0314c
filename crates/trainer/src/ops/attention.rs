//! Causal grouped-query attention (Ainslie et al. 2023) inside segments, in chunks of queries: the S×S matrix
//! never exists.
//!
//! For each head, with the keys j that query i sees (same segment, j ≤ i, and i − j < window where there is one):
//!
//! ```text
//! s_ij = scale · q_i·k_j      L_i = log Σ_j e^s_ij      p_ij = e^(s_ij − L_i)      y_i = Σ_j p_ij v_j
//!
//! dv_j = Σ_i p_ij dy_i        dp_ij = dy_i·v_j          ds_ij = p_ij (dp_ij − y_i·dy_i) · scale
//! dq_i = Σ_j ds_ij k_j        dk_j = Σ_i ds_ij q_i
//! ```
//!
//! Where scores are limited (Gemma 2), c tanh(s / c) stands for s, and ds_ij is multiplied by its slope, 1 − tanh²(s / c).
//!
//! L is kept and p computed again in the backward pass (FlashAttention, Dao et al. 2022).

use std::ops::Range;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData, activation};

use crate::kernels::{Kernels, cast, cpu, cube, wide};

/// Queries per chunk of the plain version.
pub(crate) const CHUNK: usize = 256;

/// Heads and widths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// A query sees this many keys at most, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Scores s become `c · tanh(s / c)` with this c.
    pub softcap: Option<f32>,
}

impl AttentionShape {
    /// Width of merged q, k, v.
    pub fn width(&self) -> usize {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }

    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// The query heads of key/value head `kv_head`.
    pub fn heads_of(&self, kv_head: usize) -> Range<usize> {
        kv_head * self.group()..(kv_head + 1) * self.group()
    }

    /// The first key that query `query` sees, both counted from the segment's start.
    pub fn first_key(&self, query: usize) -> usize {
        self.window.map_or(0, |window| (query + 1).saturating_sub(window))
    }
}

/// The segments of a batch, as the kernels take them: made once for all layers.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    ranges: &'a [Range<usize>],
    /// Where a GPU computes.
    spans: Option<Tensor<1, Int>>,
}

impl<'a> Segments<'a> {
    /// Of consecutive `ranges` that are together all tokens.
    pub fn new(kernels: Kernels, ranges: &'a [Range<usize>], device: &Device) -> Self {
        let spans = match kernels {
            Kernels::Plain | Kernels::Cpu => None,
            Kernels::Cube(_) => ranges.last().map(|last| {
                let ends = |end: fn(&Range<usize>) -> usize| {
                    ranges.iter().flat_map(move |range| range.clone().map(move |_| end(range) as i32))
                };
                let spans: Vec<i32> = ends(|range| range.start).chain(ends(|range| range.end)).collect();
                Tensor::from_data(TensorData::new(spans, [2 * last.end]), (device, DType::I32))
            }),
        };
        Self { ranges, spans }
    }

    /// Each token's segment start, then each token's segment end, `[2 · tokens]`: what kernels of a GPU read.
    pub fn spans(&self) -> &Tensor<1, Int> {
        self.spans.as_ref().expect("segments are made for the kernels that take them, and not of nothing")
    }
}

/// What the backward pass needs.
#[derive(Debug)]
pub struct Saved {
    /// Merged q, k, v after the rotary positions.
    pub qkv: Tensor<2>,
    /// The output.
    pub y: Tensor<2>,
    /// L; its layout is the kernels' own.
    pub log_sum_exp: Tensor<2>,
}

/// Attends inside each segment. The output is `Saved::y`.
///
/// # Shapes
/// - `qkv`: `[tokens, (n_heads + 2 · n_kv_heads) · head_dim]`
/// - output: `[tokens, n_heads · head_dim]`
pub fn forward(kernels: Kernels, qkv: Tensor<2>, segments: &Segments<'_>, shape: &AttentionShape) -> Saved {
    let [n_tokens, _] = qkv.dims();
    let width = shape.n_heads * shape.head_dim;
    match kernels {
        Kernels::Cpu => {
            let (y, log_sum_exp) =
                cpu::attention::forward(&cpu::tensor::values(&qkv), segments.ranges, shape);
            Saved {
                qkv,
                y: cpu::tensor::tensor(y, [n_tokens, width]),
                log_sum_exp: cpu::tensor::tensor(log_sum_exp, [n_tokens, shape.n_heads]),
            }
        }
        Kernels::Cube(gpu) => {
            let (y, log_sum_exp) = cube::attention::forward(gpu, &qkv, segments.spans(), shape);
            Saved { qkv, y, log_sum_exp }
        }
        Kernels::Plain => {
            let chunks = plain_chunks(segments.ranges, shape).map(|chunk| {
                let [q, k, v] = chunk.operands(&qkv, shape);
                let scores = chunk.scores(q, k, shape).0; // [kv, group · queries, keys]
                let max = scores.clone().max_dim(2);
                let log_sum_exp = (scores.clone() - max.clone()).exp().sum_dim(2).log() + max;
                let y = (scores - log_sum_exp.clone()).exp().matmul(v);
                (flat(y, shape.n_heads), flat(log_sum_exp, shape.n_heads))
            });
            let (y, log_sum_exp) = chunks.unzip::<_, _, Vec<_>, Vec<_>>();
            Saved { qkv, y: Tensor::cat(y, 0), log_sum_exp: Tensor::cat(log_sum_exp, 0) }
        }
    }
}

/// The gradient of merged q, k, v.
pub fn backward(
    kernels: Kernels,
    saved: Saved,
    dy: &Tensor<2>,
    segments: &Segments<'_>,
    shape: &AttentionShape,
) -> Tensor<2> {
    match kernels {
        Kernels::Cube(gpu) => {
            let dy = kernels.narrow(dy.clone());
            cube::attention::backward(gpu, &saved, &dy, segments.spans(), shape)
        }
        Kernels::Cpu => {
            let Saved { qkv, y, log_sum_exp } = saved;
            let input = cpu::attention::Backward {
                qkv: &cpu::tensor::values(&qkv),
                y: &cpu::tensor::values(&y),
                log_sum_exp: &cpu::tensor::values(&log_sum_exp),
                dy: &cpu::tensor::values(dy),
            };
            cpu::tensor::tensor(cpu::attention::backward(&input, segments.ranges, shape), qkv.dims())
        }
        Kernels::Plain => {
            let Saved { qkv, y, log_sum_exp } = saved;
            let mut dqkv = Tensor::zeros(qkv.dims(), &qkv.device());
            for chunk in plain_chunks(segments.ranges, shape) {
                let [q, k, v] = chunk.operands(&qkv, shape);
                let rows = |x: &Tensor<2>| wide(x).narrow(0, chunk.queries.start, chunk.queries.len());
                let dy = heads(rows(dy), shape.n_heads, shape);
                let y = heads(rows(&y), shape.n_heads, shape);
                let log_sum_exp = heads(rows(&log_sum_exp), shape.n_heads, shape);
                let (scores, slope) = chunk.scores(q.clone(), k.clone(), shape);
                let p = (scores - log_sum_exp).exp();
                let dp = dy.clone().matmul(v.swap_dims(1, 2));
                let delta = (y * dy.clone()).sum_dim(2);
                let ds = (p.clone() * (dp - delta)).mul_scalar(shape.scale);
                let ds = match slope {
                    Some(slope) => ds * slope,
                    None => ds,
                };
                let dq = flat(ds.clone().matmul(k), shape.n_heads);
                let dk = flat(ds.swap_dims(1, 2).matmul(q), shape.n_kv_heads);
                let dv = flat(p.swap_dims(1, 2).matmul(dy), shape.n_kv_heads);
                let [query_width, kv_width] = [dq.dims()[1], dk.dims()[1]];
                let mut add = |rows: &Range<usize>, column: usize, width: usize, d: Tensor<2>| {
                    let area = [rows.clone(), column..column + width];
                    let sum = dqkv.clone().slice(area.clone()) + d;
                    dqkv = dqkv.clone().slice_assign(area, sum);
                };
                add(&chunk.queries, 0, query_width, dq);
                add(&chunk.keys, query_width, kv_width, dk);
                add(&chunk.keys, query_width + kv_width, kv_width, dv);
            }
            dqkv
        }
    }
}

/// Attends the next tokens of one sequence to all of it: the queries are its last tokens.
///
/// # Shapes
/// - `q`: `[new tokens, n_heads · head_dim]`, output the same
/// - `k`, `v`: `[all tokens, n_kv_heads · head_dim]`
pub fn cached(q: Tensor<2>, k: &Tensor<2>, v: &Tensor<2>, shape: &AttentionShape) -> Tensor<2> {
    let ([n_new, _], [n_all, _]) = (q.dims(), k.dims());
    let before = n_all - n_new;
    let chunks = (0..n_new).step_by(CHUNK).map(|start| {
        let end = n_new.min(start + CHUNK);
        let queries = before + start..before + end;
        let keys = shape.first_key(queries.start)..queries.end;
        let chunk = PlainChunk { queries, keys: keys.clone(), segment_start: 0 };
        let rows = |x: &Tensor<2>| heads(wide(x).narrow(0, keys.start, keys.len()), shape.n_kv_heads, shape);
        let q = heads(wide(&q).narrow(0, start, end - start), shape.n_heads, shape);
        let p = activation::softmax(chunk.scores(q, rows(k), shape).0, 2);
        flat(p.matmul(rows(v)), shape.n_heads)
    });
    cast(Tensor::cat(chunks.collect(), 0), k.dtype())
}

/// A chunk of queries and the keys that any of them sees, as rows of the batch.
struct PlainChunk {
    queries: Range<usize>,
    keys: Range<usize>,
    segment_start: usize,
}

fn plain_chunks(segments: &[Range<usize>], shape: &AttentionShape) -> impl Iterator<Item = PlainChunk> {
    segments.iter().flat_map(move |segment| {
        segment.clone().step_by(CHUNK).map(move |start| {
            let end = segment.end.min(start + CHUNK);
            let first = segment.start + shape.first_key(start - segment.start);
            PlainChunk { queries: start..end, keys: first..end, segment_start: segment.start }
        })
    })
}

impl PlainChunk {
    /// q `[kv, group · queries, head_dim]`, k and v `[kv, keys, head_dim]`.
    fn operands(&self, qkv: &Tensor<2>, shape: &AttentionShape) -> [Tensor<3>; 3] {
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
        let part = |rows: &Range<usize>, first: usize, n: usize| {
            let columns = first * head_dim..(first + n) * head_dim;
            heads(wide(&qkv.clone().slice([rows.clone(), columns])), n, shape)
        };
        [
            part(&self.queries, 0, n_heads),
            part(&self.keys, n_heads, n_kv_heads),
            part(&self.keys, n_heads + n_kv_heads, n_kv_heads),
        ]
    }

    /// `[kv, group · queries, keys]`, negative infinity where a query does not see a key; and the slope of the limit,
    /// where there is one.
    fn scores(&self, q: Tensor<3>, k: Tensor<3>, shape: &AttentionShape) -> (Tensor<3>, Option<Tensor<3>>) {
        let hidden: Vec<bool> = self
            .queries
            .clone()
            .flat_map(|query| {
                let first = self.segment_start + shape.first_key(query - self.segment_start);
                self.keys.clone().map(move |key| key > query || key < first)
            })
            .collect();
        let (n, n_keys) = (self.queries.len(), self.keys.len());
        let hidden = TensorData::new(hidden, [1, n, n_keys]);
        let hidden = Tensor::<3, Bool>::from_data(hidden, &q.device()).repeat_dim(1, shape.group());
        let hidden = hidden.repeat_dim(0, shape.n_kv_heads);
        let scores = q.matmul(k.swap_dims(1, 2)).mul_scalar(shape.scale);
        let (scores, slope) = match shape.softcap {
            None => (scores, None),
            Some(cap) => {
                let t = scores.div_scalar(cap).tanh();
                (t.clone().mul_scalar(cap), Some(t.square().neg().add_scalar(1.0)))
            }
        };
        (scores.mask_fill(hidden, f32::NEG_INFINITY), slope)
    }
}

/// `[tokens, n · width]` to `[kv, n / kv · tokens, width]`: heads that share keys lie end to end.
fn heads(x: Tensor<2>, n: usize, shape: &AttentionShape) -> Tensor<3> {
    let [n_tokens, width] = x.dims();
    let by_head = x.reshape([n_tokens, n, width / n]).swap_dims(0, 1);
    by_head.reshape([shape.n_kv_heads, n / shape.n_kv_heads * n_tokens, width / n])
}

/// The way back from [`heads`].
fn flat(x: Tensor<3>, n: usize) -> Tensor<2> {
    let [n_kv_heads, n_rows, width] = x.dims();
    let n_tokens = n_kv_heads * n_rows / n;
    x.reshape([n, n_tokens, width]).swap_dims(0, 1).reshape([n_tokens, n * width])
}
