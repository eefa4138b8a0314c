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

mod gpu;

pub use gpu::Chunk;

use std::ops::Deref;

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::data::sample::IGNORED;
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product};
use crate::kernels::{Kernels, cpu, matmul, wide};
use crate::ops::dropout::{Key, Mask};
use crate::ops::linear::{BackwardInput, InputGradient, Linear};
use crate::ops::param::{Gradients, Param};
use gpu::Maker;

/// Logits that exist at once, about 16 MiB in f32.
const CHUNK_LOGITS: usize = 1 << 22;
/// Fewer rows would make the products slow.
const MIN_CHUNK_ROWS: usize = 64;

/// What makes logits of hidden states; stands for its weight.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `[vocab, hidden]`.
    pub weight: &'a Param,
    /// Logits z become `c · tanh(z / c)` with this c.
    pub softcap: Option<f32>,
    /// The same weight with a low-rank update, where there is one.
    pub adapted: Option<&'a Linear>,
    /// The random stream of the update's dropout; `None`: nothing is dropped.
    pub dropout: Option<Key>,
}

impl<'a> Head<'a> {
    /// One that neither limits its logits nor has an update.
    pub fn plain(weight: &'a Param) -> Self {
        Self { weight, softcap: None, adapted: None, dropout: None }
    }

    fn adapted_head(&self) -> Option<AdaptedHead<'a>> {
        let Self { weight: _, softcap, adapted, dropout } = *self;
        adapted.map(|linear| AdaptedHead { linear, softcap, dropout })
    }

    /// Whether nothing of it is trained, so that only the gradient of the hidden states is wanted.
    fn is_frozen(&self) -> bool {
        self.weight.slot.is_none() && self.adapted.is_none()
    }
}

impl Deref for Head<'_> {
    type Target = Param;

    fn deref(&self) -> &Param {
        self.weight
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

/// The negative log-likelihoods of the supervised tokens, in order.
#[derive(Debug)]
pub enum Nll {
    /// They are known.
    Known(Vec<f32>),
    /// A GPU computes them. Reading them waits until it has, so it is better done once the backward pass is on its way.
    OnDevice {
        /// Those of all rows that went through the head.
        nll: Box<Tensor<1>>,
        /// Which of these rows count; `None`: all.
        rows: Option<Vec<u32>>,
    },
}

impl Nll {
    /// Waits for them.
    pub fn read(self) -> Vec<f32> {
        match self {
            Self::Known(nll) => nll,
            Self::OnDevice { nll, rows } => {
                let nll: Vec<f32> = nll.into_data().try_into_vec().expect("likelihoods are f32");
                match rows {
                    Some(rows) => rows.iter().map(|row| nll[*row as usize]).collect(),
                    None => nll,
                }
            }
        }
    }
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
) -> (Nll, Tensor<2>) {
    let supervised = Supervised::of(targets);
    let mut weighted = |weights: &[f32]| {
        let (nll, dh) = match (head.adapted_head(), kernels) {
            (_, Kernels::Cube(gpu)) => {
                let input = (hidden, &supervised);
                return gpu::forward_backward(gpu, Maker::of(head), input, (weights, gradients));
            }
            (Some(head), Kernels::Plain | Kernels::Cpu) => {
                adapted_forward_backward(kernels, head, (hidden, &supervised), (weights, gradients))
            }
            (None, Kernels::Cpu) => cpu_forward_backward(head, hidden, &supervised, (weights, gradients)),
            (None, Kernels::Plain) => {
                plain_forward_backward(kernels, head, (hidden, &supervised), (weights, gradients))
            }
        };
        (Nll::Known(nll), dh)
    };
    match objective {
        Objective::Weighted(weights) => weighted(weights),
        Objective::Coupled(derivative) if head.is_frozen() => {
            let (nll, dh) = weighted(&vec![1.0; supervised.rows.len()]);
            let nll = nll.read();
            let dh = scale_rows(kernels, dh, &supervised.rows, &derivative(&nll));
            (Nll::Known(nll), dh)
        }
        Objective::Coupled(derivative) => {
            let scores = match (head.adapted_head(), kernels) {
                (_, Kernels::Cube(gpu)) => gpu::score(gpu, Maker::of(head), hidden, &supervised),
                (Some(head), Kernels::Plain | Kernels::Cpu) => {
                    adapted_scores(kernels, head, hidden, &supervised)
                }
                (None, Kernels::Plain | Kernels::Cpu) => score(kernels, head, hidden, targets),
            };
            let nll: Vec<f32> = scores.iter().map(|score| score.nll_nats).collect();
            weighted(&derivative(&nll))
        }
    }
}

/// Scores the supervised tokens, in order.
pub fn score(kernels: Kernels, head: Head<'_>, hidden: &Tensor<2>, targets: &[i32]) -> Vec<TokenScore> {
    let supervised = Supervised::of(targets);
    if let Kernels::Cube(gpu) = kernels {
        let head = Head { dropout: None, ..head };
        return gpu::score(gpu, Maker::of(head), hidden, &supervised);
    }
    let mut scores = Vec::with_capacity(supervised.rows.len());
    for chunk in supervised.chunks(head.value.dims()[0]) {
        let logits = logits(kernels, head, &gather(kernels, hidden, chunk.rows));
        scores.extend(score_logits(kernels, logits, chunk.targets));
    }
    scores
}

fn score_logits(kernels: Kernels, logits: Tensor<2>, targets: &[u32]) -> Vec<TokenScore> {
    match kernels {
        Kernels::Cpu => cpu::cross_entropy::score(&cpu::tensor::values(&logits), targets),
        Kernels::Plain | Kernels::Cube(_) => {
            let logits = wide(&logits);
            let best = logits.clone().argmax(1);
            let best: Vec<i64> =
                best.into_data().convert::<i64>().try_into_vec().expect("argmax gives integers");
            let nll = token_nll(activation::log_softmax(logits, 1), targets);
            let nll: Vec<f32> = nll.into_data().try_into_vec().expect("the engine computes in f32");
            let scores = nll.into_iter().zip(best).zip(targets);
            scores
                .map(|((nll_nats, best), target)| TokenScore {
                    nll_nats,
                    correct: best == i64::from(*target),
                })
                .collect()
        }
    }
}

/// The logits of all rows of `hidden`, `[rows, vocab]`, in f32 whatever the model computes in: they are for readers.
pub fn logits(kernels: Kernels, head: Head<'_>, hidden: &Tensor<2>) -> Tensor<2> {
    let logits = match head.adapted {
        Some(linear) => linear.forward(kernels, hidden, None).0,
        None => products(kernels, head.weight, hidden),
    };
    wide(&limited(kernels, logits, head.softcap))
}

fn limited(kernels: Kernels, mut logits: Tensor<2>, softcap: Option<f32>) -> Tensor<2> {
    let Some(cap) = softcap else { return logits };
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            kernels.narrow(wide(&logits).div_scalar(cap).tanh().mul_scalar(cap))
        }
        Kernels::Cpu => {
            let [_, vocab] = logits.dims();
            cpu::tensor::modify(&mut logits, |logits| cpu::cross_entropy::limit(logits, vocab, cap));
            logits
        }
    }
}

fn products(kernels: Kernels, head: &Param, hidden: &Tensor<2>) -> Tensor<2> {
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            matmul(kernels, (hidden, &head.value.clone().transpose()), kernels.dtype())
        }
        Kernels::Cpu => {
            let ([n, width], [vocab, _]) = (hidden.dims(), head.value.dims());
            let (h, w) = (cpu::tensor::values(hidden), cpu::tensor::values(&head.value));
            let logits = cpu::matrix::product(
                Matrix::new(&h, n, width),
                Matrix::new(&w, vocab, width).t(),
                [n, vocab],
            );
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

    fn chunks(&self, vocab: usize) -> impl Iterator<Item = SupervisedChunk<'_>> {
        let size = chunk_rows(vocab);
        let chunks = self.rows.chunks(size).zip(self.targets.chunks(size));
        chunks.map(|(rows, targets)| SupervisedChunk { rows, targets })
    }
}

/// Rows of logits that exist at once.
pub(crate) fn chunk_rows(vocab: usize) -> usize {
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
    for (chunk, weights) in supervised.chunks(vocab).zip(weights.chunks(chunk_rows(vocab))) {
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
    kernels: Kernels,
    head: Head<'_>,
    (hidden, supervised): (&Tensor<2>, &Supervised),
    (weights, gradients): (&[f32], &mut Gradients),
) -> (Vec<f32>, Tensor<2>) {
    let device = hidden.device();
    let mut dh = kernels.narrow(Tensor::zeros(hidden.dims(), &device));
    let [vocab, _] = head.value.dims();
    let mut nll = Vec::with_capacity(supervised.rows.len());
    for (chunk, weights) in supervised.chunks(vocab).zip(weights.chunks(chunk_rows(vocab))) {
        let chunk_h = gather(kernels, hidden, chunk.rows);
        let products = products(kernels, head.weight, &chunk_h);
        let (of_chunk, dz) = plain_gradient(kernels, products, head.softcap, (chunk.targets, weights));
        nll.extend(of_chunk);
        if let Some(slot) = head.slot {
            gradients.add(slot, matmul(kernels, (&dz.clone().transpose(), &chunk_h), DType::F32));
        }
        let rows = index_tensor(chunk.rows, hidden);
        let chunk_dh = matmul(kernels, (&dz, &head.value), kernels.dtype());
        dh = dh.select_assign(0, rows, chunk_dh, IndexingUpdateOp::Add);
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
        Kernels::Plain | Kernels::Cube(_) => {
            let mut of_rows = vec![0.0; n_tokens];
            rows.iter().zip(weights).for_each(|(row, weight)| of_rows[*row as usize] = *weight);
            let weights = column(&of_rows, &dh.device());
            kernels.narrow(wide(&dh) * weights)
        }
    }
}

/// `[values, 1]`
fn column(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), device)
}

/// The negative log-likelihoods of products with a head, which are limited first, and the gradient of each times its
/// weight.
fn plain_gradient(
    kernels: Kernels,
    products: Tensor<2>,
    softcap: Option<f32>,
    (targets, weights): (&[u32], &[f32]),
) -> (Vec<f32>, Tensor<2>) {
    let logits = limited(Kernels::Plain, wide(&products), softcap);
    // Its exponential is closer to p than burn's `softmax`, which loses digits in a large vocabulary on flex.
    let log_p = activation::log_softmax(logits.clone(), 1);
    let nll: Vec<f32> =
        token_nll(log_p.clone(), targets).into_data().try_into_vec().expect("the engine computes in f32");
    // Not `one_hot`: it asks the device whether all targets are in range, and refuses one class.
    let index = index_tensor(targets, &log_p).reshape([targets.len(), 1]);
    let weights = column(weights, &log_p.device());
    let dz = (log_p.exp() * weights.clone()).scatter(1, index, weights.neg(), IndexingUpdateOp::Add);
    let dz = match softcap {
        Some(cap) => dz * logits.div_scalar(cap).square().neg().add_scalar(1.0),
        None => dz,
    };
    (nll, kernels.narrow(dz))
}

/// A head with a low-rank update.
#[derive(Clone, Copy)]
struct AdaptedHead<'a> {
    linear: &'a Linear,
    softcap: Option<f32>,
    dropout: Option<Key>,
}

impl AdaptedHead<'_> {
    /// What is dropped of the rows of a chunk.
    fn mask(&self, chunk_index: usize) -> Option<Mask> {
        let prob = self.linear.lora.as_ref().map_or(0.0, |lora| lora.dropout_prob);
        let key = self.dropout.filter(|_| prob > 0.0)?;
        Some(Mask::new(key.fold(chunk_index as u64), prob))
    }
}

/// As [`score`], with what the gradient's pass drops.
fn adapted_scores(
    kernels: Kernels,
    head: AdaptedHead<'_>,
    hidden: &Tensor<2>,
    supervised: &Supervised,
) -> Vec<TokenScore> {
    let [vocab, _] = head.linear.weight.dims();
    let scores = supervised.chunks(vocab).enumerate().flat_map(|(chunk_index, chunk)| {
        let chunk_h = gather(kernels, hidden, chunk.rows);
        let (products, _) = head.linear.forward(kernels, &chunk_h, head.mask(chunk_index).as_ref());
        score_logits(kernels, limited(kernels, products, head.softcap), chunk.targets)
    });
    scores.collect()
}

fn adapted_forward_backward(
    kernels: Kernels,
    head: AdaptedHead<'_>,
    (hidden, supervised): (&Tensor<2>, &Supervised),
    (weights, gradients): (&[f32], &mut Gradients),
) -> (Vec<f32>, Tensor<2>) {
    let mut dh = kernels.narrow(Tensor::zeros(hidden.dims(), &hidden.device()));
    let ([_, width], [vocab, _]) = (hidden.dims(), head.linear.weight.dims());
    let mut nll = Vec::with_capacity(supervised.rows.len());
    let weighted = supervised.chunks(vocab).zip(weights.chunks(chunk_rows(vocab)));
    for (chunk_index, (chunk, weights)) in weighted.enumerate() {
        let chunk_h = gather(kernels, hidden, chunk.rows);
        let mask = head.mask(chunk_index);
        let (mut logits, saved) = head.linear.forward(kernels, &chunk_h, mask.as_ref());
        let dz = match kernels {
            Kernels::Plain | Kernels::Cube(_) => {
                let (of_chunk, dz) = plain_gradient(kernels, logits, head.softcap, (chunk.targets, weights));
                nll.extend(of_chunk);
                dz
            }
            Kernels::Cpu => {
                nll.extend(cpu::tensor::modify(&mut logits, |logits| {
                    cpu::cross_entropy::gradient(logits, chunk.targets, weights, head.softcap)
                }));
                logits
            }
        };
        let input = BackwardInput { x: &chunk_h, saved: &saved, dropout: mask.as_ref(), dy: &dz };
        let chunk_dh = head
            .linear
            .backward(kernels, input, InputGradient::Wanted, gradients)
            .expect("the gradient was asked for");
        match kernels {
            Kernels::Plain | Kernels::Cube(_) => {
                let rows = index_tensor(chunk.rows, hidden);
                dh = dh.select_assign(0, rows, chunk_dh, IndexingUpdateOp::Add);
            }
            Kernels::Cpu => {
                let chunk_dh = cpu::tensor::values(&chunk_dh);
                cpu::tensor::modify(&mut dh, |dh| {
                    for (row, chunk_dh) in chunk.rows.iter().zip(chunk_dh.chunks(width)) {
                        dh[*row as usize * width..][..width].copy_from_slice(chunk_dh);
                    }
                });
            }
        }
    }
    (nll, dh)
}

fn gather(kernels: Kernels, hidden: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => hidden.clone().select(0, index_tensor(rows, hidden)),
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
