//! Output head and cross-entropy together, in chunks of supervised tokens, so that the logits of a whole batch
//! never exist. The gradient is made on the way forward.
//!
//! For a supervised token with hidden state h, target t, logits z = h Wᵀ, and w the derivative of what is minimised
//! with respect to its nll:
//!
//! ```text
//! nll = log Σ_v e^z_v − z_t      dz = (softmax(z) − 1[v = t]) · w      dh = dz W      dW += dzᵀ h
//! ```
//!
//! Where w follows from the scores of the whole batch ([`Objective::Coupled`]), dh is made as if it were 1 and
//! multiplied once it is known, so the head is used no more often. Only the gradient of the head itself needs w first:
//! then the scores are taken in a pass of their own.
//!
//! Where logits are limited (Gemma 2), c tanh(z / c) stands for z, and dz is multiplied by its slope, 1 − tanh²(z / c).

use std::ops::Deref;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use super::param::{Gradients, Param};
use crate::data::sample::IGNORED;
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product};
use crate::kernels::{Kernels, cpu};

/// Logits that exist at once, about 16 MiB in f32.
const CHUNK_LOGITS: usize = 1 << 22;
/// Fewer rows would make the products slow.
const MIN_CHUNK_ROWS: usize = 64;

/// The output head; stands for its weight.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[vocab, hidden]`.
    pub weight: &'a Param,
    /// Logits z become `c · tanh(z / c)` with this c.
    pub softcap: Option<f32>,
}

impl Deref for Head<'_> {
    type Target = Param;

    fn deref(&self) -> &Param {
        self.weight
    }
}

impl Head<'_> {
    /// Whether nothing of it is trained, so that only the gradient of the hidden states is wanted.
    fn is_frozen(&self) -> bool {
        self.weight.slot.is_none()
    }
}

/// What one token's prediction was worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// Negative log-likelihood of the target.
    pub nll_nats: f32,
    /// Whether the target was the most likely token.
    pub correct: bool,
}

/// What is minimised: a function of the negative log-likelihoods of a batch's supervised tokens, in order.
pub enum Objective<'a> {
    /// The sum of each times its weight.
    Weighted(&'a [f32]),
    /// Any other: it is given all of them and says its derivative with respect to each.
    Coupled(&'a mut dyn FnMut(&[f32]) -> Vec<f32>),
}

/// Scores the supervised tokens and makes the gradient of the objective.
///
/// # Shapes
/// - `hidden`: `[tokens, hidden]`, after the final norm
/// - `targets`: `[tokens]`, [`IGNORED`] where the loss does not count
/// - returned: the negative log-likelihoods of the supervised tokens, and the gradient of the objective with respect
///   to `hidden`
pub fn forward_backward(
    kernels: Kernels,
    head: Head<'_>,
    (hidden, targets): (&Tensor<2>, &[i32]),
    objective: Objective<'_>,
    gradients: &mut Gradients,
) -> (Vec<f32>, Tensor<2>) {
    let supervised = Supervised::of(targets);
    let mut weighted = |weights: &[f32]| match kernels {
        Kernels::Cpu => cpu_forward_backward(head, hidden, &supervised, (weights, gradients)),
        Kernels::Plain => plain_forward_backward(head, hidden, &supervised, (weights, gradients)),
    };
    match objective {
        Objective::Weighted(weights) => weighted(weights),
        Objective::Coupled(derivative) if head.is_frozen() => {
            let (nll, dh) = weighted(&vec![1.0; supervised.rows.len()]);
            let dh = scale_rows(kernels, dh, &supervised.rows, &derivative(&nll));
            (nll, dh)
        }
        Objective::Coupled(derivative) => {
            let scores = score(kernels, head, hidden, targets);
            let nll: Vec<f32> = scores.iter().map(|score| score.nll_nats).collect();
            weighted(&derivative(&nll))
        }
    }
}

/// Scores the supervised tokens, in order.
pub fn score(kernels: Kernels, head: Head<'_>, hidden: &Tensor<2>, targets: &[i32]) -> Vec<TokenScore> {
    let supervised = Supervised::of(targets);
    let mut scores = Vec::with_capacity(supervised.rows.len());
    for chunk in supervised.chunks(&head) {
        let logits = logits(kernels, head, &gather(kernels, hidden, chunk.rows));
        match kernels {
            Kernels::Cpu => {
                scores.extend(cpu::cross_entropy::score(&cpu::tensor::values(&logits), chunk.targets));
            }
            Kernels::Plain => {
                let best = logits.clone().argmax(1);
                let best: Vec<i64> =
                    best.into_data().convert::<i64>().try_into_vec().expect("argmax gives integers");
                let nll = token_nll(activation::log_softmax(logits, 1), chunk.targets);
                let nll: Vec<f32> = nll.into_data().try_into_vec().expect("the engine computes in f32");
                scores.extend(nll.iter().zip(best).zip(chunk.targets).map(|((nll, best), target)| {
                    TokenScore { nll_nats: *nll, correct: best == i64::from(*target) }
                }));
            }
        }
    }
    scores
}

/// The logits of all rows of `hidden`, `[rows, vocab]`.
pub fn logits(kernels: Kernels, head: Head<'_>, hidden: &Tensor<2>) -> Tensor<2> {
    match kernels {
        Kernels::Plain => {
            let logits = hidden.clone().matmul(head.value.clone().transpose());
            match head.softcap {
                Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
                None => logits,
            }
        }
        Kernels::Cpu => {
            let ([n, width], [vocab, _]) = (hidden.dims(), head.value.dims());
            let (h, w) = (cpu::tensor::values(hidden), cpu::tensor::values(&head.value));
            let mut logits = cpu::matrix::product(
                Matrix::new(&h, n, width),
                Matrix::new(&w, vocab, width).t(),
                [n, vocab],
            );
            if let Some(cap) = head.softcap {
                cpu::cross_entropy::limit(&mut logits, vocab, cap);
            }
            cpu::tensor::tensor(logits, [n, vocab])
        }
    }
}

/// The rows of a batch that the loss counts.
struct Supervised {
    rows: Vec<u32>,
    targets: Vec<u32>,
}

struct SupervisedChunk<'a> {
    rows: &'a [u32],
    targets: &'a [u32],
}

impl Supervised {
    fn of(targets: &[i32]) -> Self {
        let counted = targets.iter().enumerate().filter(|(_, target)| **target != IGNORED);
        let (rows, targets) = counted.map(|(row, target)| (row as u32, *target as u32)).unzip();
        Self { rows, targets }
    }

    fn chunks(&self, head: &Param) -> impl Iterator<Item = SupervisedChunk<'_>> {
        let size = chunk_rows(head);
        let chunks = self.rows.chunks(size).zip(self.targets.chunks(size));
        chunks.map(|(rows, targets)| SupervisedChunk { rows, targets })
    }
}

fn chunk_rows(head: &Param) -> usize {
    let [vocab, _] = head.value.dims();
    (CHUNK_LOGITS / vocab).max(MIN_CHUNK_ROWS)
}

fn cpu_forward_backward(
    head: Head<'_>,
    hidden: &Tensor<2>,
    supervised: &Supervised,
    (weights, gradients): (&[f32], &mut Gradients),
) -> (Vec<f32>, Tensor<2>) {
    let ([n_tokens, width], [vocab, _]) = (hidden.dims(), head.value.dims());
    let (h, w) = (cpu::tensor::values(hidden), cpu::tensor::values(&head.value));
    let w = Matrix::new(&w, vocab, width);
    let mut dh = vec![0.0; n_tokens * width];
    let (mut logits, mut chunk_dh) = (Vec::new(), Vec::new());
    let mut nll = Vec::with_capacity(supervised.rows.len());
    for (chunk, weights) in supervised.chunks(&head).zip(weights.chunks(chunk_rows(&head))) {
        let n = chunk.rows.len();
        let chunk_h: Vec<f32> =
            chunk.rows.iter().flat_map(|row| &h[*row as usize * width..][..width]).copied().collect();
        let chunk_h = Matrix::new(&chunk_h, n, width);
        // Shrinks only for the last chunk, so the buffers are made once.
        logits.resize(n * vocab, 0.0);
        chunk_dh.resize(n * width, 0.0);
        MatrixMut::new(&mut logits, n, vocab).product(Product::SET, chunk_h, w.t());
        nll.extend(cpu::cross_entropy::gradient(&mut logits, chunk.targets, weights, head.softcap));
        let dz = Matrix::new(&logits, n, vocab);
        MatrixMut::new(&mut chunk_dh, n, width).product(Product::SET, dz, w);
        for (row, chunk_dh) in chunk.rows.iter().zip(chunk_dh.chunks(width)) {
            dh[*row as usize * width..][..width].copy_from_slice(chunk_dh);
        }
        if let Some(slot) = head.slot {
            gradients.modify(slot, |dw| {
                MatrixMut::new(dw, vocab, width).product(Product::ADD, dz.t(), chunk_h);
            });
        }
    }
    (nll, cpu::tensor::tensor(dh, [n_tokens, width]))
}

fn plain_forward_backward(
    head: Head<'_>,
    hidden: &Tensor<2>,
    supervised: &Supervised,
    (weights, gradients): (&[f32], &mut Gradients),
) -> (Vec<f32>, Tensor<2>) {
    let device = hidden.device();
    let mut dh = Tensor::zeros(hidden.dims(), &device);
    let mut nll = Vec::with_capacity(supervised.rows.len());
    for (chunk, weights) in supervised.chunks(&head).zip(weights.chunks(chunk_rows(&head))) {
        let chunk_h = gather(Kernels::Plain, hidden, chunk.rows);
        // Its exponential is closer to p than burn's `softmax`, which loses digits in a large vocabulary on flex.
        let logits = logits(Kernels::Plain, head, &chunk_h);
        let log_p = activation::log_softmax(logits.clone(), 1);
        nll.extend::<Vec<f32>>(
            token_nll(log_p.clone(), chunk.targets)
                .into_data()
                .try_into_vec()
                .expect("the engine computes in f32"),
        );
        // Not `one_hot`: it asks the device whether all targets are in range, and refuses one class.
        let targets = index_tensor(chunk.targets, hidden).reshape([chunk.targets.len(), 1]);
        let weights = column(weights, &device);
        let dz = (log_p.exp() * weights.clone()).scatter(1, targets, weights.neg(), IndexingUpdateOp::Add);
        let dz = match head.softcap {
            Some(cap) => dz * logits.div_scalar(cap).square().neg().add_scalar(1.0),
            None => dz,
        };
        if let Some(slot) = head.slot {
            gradients.add(slot, dz.clone().transpose().matmul(chunk_h));
        }
        let rows = index_tensor(chunk.rows, hidden);
        dh = dh.select_assign(0, rows, dz.matmul(head.value.clone()), IndexingUpdateOp::Add);
    }
    (nll, dh)
}

/// Multiplies each of the `rows` by its weight; the others are zero.
fn scale_rows(kernels: Kernels, mut dh: Tensor<2>, rows: &[u32], weights: &[f32]) -> Tensor<2> {
    let [n_tokens, width] = dh.dims();
    match kernels {
        Kernels::Cpu => {
            cpu::tensor::modify(&mut dh, |dh| {
                for (row, weight) in rows.iter().zip(weights) {
                    dh[*row as usize * width..][..width].iter_mut().for_each(|dh| *dh *= weight);
                }
            });
            dh
        }
        Kernels::Plain => {
            let mut of_rows = vec![0.0; n_tokens];
            rows.iter().zip(weights).for_each(|(row, weight)| of_rows[*row as usize] = *weight);
            let weights = column(&of_rows, &dh.device());
            dh * weights
        }
    }
}

/// `[values, 1]`
fn column(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), device)
}

fn gather(kernels: Kernels, hidden: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
    match kernels {
        Kernels::Plain => hidden.clone().select(0, index_tensor(rows, hidden)),
        Kernels::Cpu => {
            let [_, width] = hidden.dims();
            let h = cpu::tensor::values(hidden);
            let gathered =
                rows.iter().flat_map(|row| &h[*row as usize * width..][..width]).copied().collect();
            cpu::tensor::tensor(gathered, [rows.len(), width])
        }
    }
}

fn token_nll(log_p: Tensor<2>, targets: &[u32]) -> Tensor<2> {
    let index = index_tensor(targets, &log_p).reshape([targets.len(), 1]);
    log_p.gather(1, index).neg()
}

fn index_tensor(values: &[u32], like: &Tensor<2>) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), &like.device())
}
