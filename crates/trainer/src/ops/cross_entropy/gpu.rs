//! The head on a GPU: chunks large enough for fast products, and nothing that waits for the device between them.
//!
//! What the loss does not count is left out of the products, unless it is so little that gathering the rest costs more.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{AdaptedHead, Head, Nll, Supervised, TokenScore};
use crate::kernels::cube::{self, rows};
use crate::kernels::{Gpu, Kernels, NO_ROW, matmul};
use crate::ops::linear::{self, BackwardInput, InputGradient};
use crate::ops::param::Gradients;

/// Bytes of logits that exist at once. A chunk's products are a thousand rows for a vocabulary of 50,000; a batch of a
/// few thousand tokens has so few chunks that each launch is long.
const CHUNK_BYTES: usize = 128 << 20;
/// Rows of a chunk are a multiple of this, which the tiles of products divide.
const ROWS: usize = 128;
/// Where at most one of so many tokens is not counted, its row goes through with the weight 0.
const TOKENS_PER_GAP: usize = 16;

/// Rows of a batch whose logits the row kernels read, beside what they need to know of them.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The targets of all rows that go through, u32.
    pub targets: &'a Tensor<1, Int>,
    /// The place of the chunk's first row among these.
    pub first: usize,
    /// Logits z become `c · tanh(z / c)` with this c.
    pub softcap: Option<f32>,
}

/// What makes the logits.
#[derive(Clone, Copy)]
pub(super) enum Maker<'a> {
    Plain(Head<'a>),
    Adapted(AdaptedHead<'a>),
}

/// What the backward pass of a chunk needs.
enum Saved {
    Plain,
    Adapted(Box<linear::Saved>),
}

impl<'a> Maker<'a> {
    pub(super) fn of(head: Head<'a>) -> Self {
        head.adapted_head().map_or(Self::Plain(head), Self::Adapted)
    }

    fn softcap(&self) -> Option<f32> {
        match self {
            Self::Plain(head) => head.softcap,
            Self::Adapted(head) => head.softcap,
        }
    }

    fn chunk_rows(&self, gpu: Gpu) -> usize {
        let ([vocab, width], is_trained) = match self {
            Self::Plain(head) => (head.value.dims(), head.slot.is_some()),
            Self::Adapted(head) => (head.linear.weight.dims(), false),
        };
        // The gradient of the head, which takes this much, is made anew and added once for each chunk.
        let of_gradient = if is_trained { vocab * width * DType::F32.size() } else { 0 };
        let n = CHUNK_BYTES.max(of_gradient) / (vocab * gpu.dtype().size());
        (n / ROWS * ROWS).max(ROWS)
    }

    fn forward(&self, kernels: Kernels, h: &Tensor<2>, chunk_index: usize) -> (Tensor<2>, Saved) {
        match self {
            Self::Plain(head) => (super::products(kernels, head.weight, h), Saved::Plain),
            Self::Adapted(head) => {
                let (logits, saved) = head.linear.forward(kernels, h, head.mask(chunk_index).as_ref());
                (logits, Saved::Adapted(Box::new(saved)))
            }
        }
    }

    fn backward(
        &self,
        gpu: Gpu,
        (h, dz, chunk_index): (&Tensor<2>, &Tensor<2>, usize),
        saved: Saved,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let kernels = Kernels::Cube(gpu);
        match (self, saved) {
            (Self::Adapted(head), Saved::Adapted(saved)) => {
                let mask = head.mask(chunk_index);
                let input = BackwardInput { x: h, saved: &saved, dropout: mask.as_ref(), dy: dz };
                let dh = head.linear.backward(kernels, input, InputGradient::Wanted, gradients);
                dh.expect("the gradient was asked for")
            }
            (Self::Plain(head), Saved::Plain) => {
                if let Some(slot) = head.slot {
                    gradients.add_product(gpu, slot, (&dz.clone().transpose(), h));
                }
                matmul(kernels, (dz, &head.value), kernels.dtype())
            }
            (Self::Plain(_), Saved::Adapted(_)) | (Self::Adapted(_), Saved::Plain) => {
                unreachable!("a forward pass keeps what its own backward pass reads")
            }
        }
    }
}

/// As [`forward_backward`](super::forward_backward), for the weighted sum.
pub(super) fn forward_backward(
    gpu: Gpu,
    maker: Maker<'_>,
    (hidden, supervised): (&Tensor<2>, &Supervised),
    (weights, gradients): (&[f32], &mut Gradients),
) -> (Nll, Tensor<2>) {
    let kernels = Kernels::Cube(gpu);
    let ([n_tokens, width], device) = (hidden.dims(), hidden.device());
    if supervised.rows.is_empty() {
        return (Nll::Known(Vec::new()), kernels.narrow(Tensor::zeros([n_tokens, width], &device)));
    }
    let places = Places::of(supervised, n_tokens);
    let h = places.gathered(gpu, hidden);
    let (targets, weights) = (places.targets(&device), places.weights(weights, &device));
    let mut nll = Tensor::empty([places.n()], (&device, DType::F32));
    let mut dh = Vec::new();
    for (chunk_index, range) in places.chunks(maker.chunk_rows(gpu)).enumerate() {
        let chunk = Chunk { targets: &targets, first: range.start, softcap: maker.softcap() };
        let chunk_h = part(&h, range);
        let (logits, saved) = maker.forward(kernels, &chunk_h, chunk_index);
        let dz = cube::cross_entropy::gradient(gpu, logits, (chunk, &weights), &mut nll);
        dh.push(maker.backward(gpu, (&chunk_h, &dz, chunk_index), saved, gradients));
    }
    let dh = if dh.len() == 1 { dh.remove(0) } else { Tensor::cat(dh, 0) };
    let dh = places.spread(gpu, dh);
    (Nll::OnDevice { nll: Box::new(nll), rows: places.counted() }, dh)
}

/// As [`score`](super::score). What is dropped is what the gradient's pass drops.
pub(super) fn score(
    gpu: Gpu,
    maker: Maker<'_>,
    hidden: &Tensor<2>,
    supervised: &Supervised,
) -> Vec<TokenScore> {
    let kernels = Kernels::Cube(gpu);
    if supervised.rows.is_empty() {
        return Vec::new();
    }
    let (places, device) = (Places::of(supervised, hidden.dims()[0]), hidden.device());
    let h = places.gathered(gpu, hidden);
    let targets = places.targets(&device);
    let mut scores = Tensor::empty([places.n(), 2], (&device, DType::F32));
    for (chunk_index, range) in places.chunks(maker.chunk_rows(gpu)).enumerate() {
        let chunk = Chunk { targets: &targets, first: range.start, softcap: maker.softcap() };
        let (logits, _) = maker.forward(kernels, &part(&h, range), chunk_index);
        cube::cross_entropy::score(gpu, &logits, chunk, &mut scores);
    }
    let scores: Vec<f32> = scores.into_data().try_into_vec().expect("scores are f32");
    let score =
        |place: usize| TokenScore { nll_nats: scores[2 * place], correct: scores[2 * place + 1] == 0.0 };
    match places.counted() {
        Some(rows) => rows.iter().map(|row| score(*row as usize)).collect(),
        None => (0..places.n()).map(score).collect(),
    }
}

/// The rows that go through the head.
struct Places<'a> {
    supervised: &'a Supervised,
    n_tokens: usize,
    which: Which,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// All, those that don't count with the weight 0.
    All,
    /// Those that count.
    Counted,
}

impl<'a> Places<'a> {
    fn of(supervised: &'a Supervised, n_tokens: usize) -> Self {
        let n_gaps = n_tokens - supervised.rows.len();
        let which = if n_gaps * TOKENS_PER_GAP <= n_tokens { Which::All } else { Which::Counted };
        Self { supervised, n_tokens, which }
    }

    fn n(&self) -> usize {
        match self.which {
            Which::All => self.n_tokens,
            Which::Counted => self.supervised.rows.len(),
        }
    }

    fn chunks(&self, n_rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let n = self.n();
        (0..n).step_by(n_rows).map(move |start| start..(start + n_rows).min(n))
    }

    /// Values of what counts, at the places of all; those between are `empty`.
    fn laid_out<T: Copy>(&self, values: &[T], empty: T) -> Vec<T> {
        match self.which {
            Which::Counted => values.to_vec(),
            Which::All => {
                let mut all = vec![empty; self.n_tokens];
                let places = self.supervised.rows.iter().zip(values);
                places.for_each(|(row, value)| all[*row as usize] = *value);
                all
            }
        }
    }

    fn targets(&self, device: &Device) -> Tensor<1, Int> {
        numbers(self.laid_out(&self.supervised.targets, 0), device)
    }

    fn weights(&self, weights: &[f32], device: &Device) -> Tensor<1> {
        let weights = self.laid_out(weights, 0.0);
        let n = weights.len();
        Tensor::from_data(TensorData::new(weights, [n]), (device, DType::F32))
    }

    fn gathered(&self, gpu: Gpu, hidden: &Tensor<2>) -> Tensor<2> {
        match self.which {
            Which::All => hidden.clone(),
            Which::Counted => {
                rows::gather(gpu, hidden, &numbers(self.supervised.rows.clone(), &hidden.device()))
            }
        }
    }

    /// The rows of [`gathered`](Self::gathered) back among zeros.
    fn spread(&self, gpu: Gpu, dh: Tensor<2>) -> Tensor<2> {
        match self.which {
            Which::All => dh,
            Which::Counted => {
                let mut places = vec![NO_ROW; self.n_tokens];
                let counted = self.supervised.rows.iter().zip(0..);
                counted.for_each(|(row, place)| places[*row as usize] = place);
                let places = numbers(places, &dh.device());
                rows::gather(gpu, &dh, &places)
            }
        }
    }

    /// The places of what counts; `None`: all.
    fn counted(&self) -> Option<Vec<u32>> {
        let has_gaps = self.which == Which::All && self.supervised.rows.len() < self.n_tokens;
        has_gaps.then(|| self.supervised.rows.clone())
    }
}

fn part(h: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
    if rows.len() == h.dims()[0] { h.clone() } else { h.clone().narrow(0, rows.start, rows.len()) }
}

fn numbers(values: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), (device, DType::U32))
}
