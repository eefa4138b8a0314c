//! Weights, and the gradients of those that are trained.

use std::ops::Range;
use std::sync::OnceLock;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::kernels::{Gpu, Kernels, cpu, cube};

/// A weight. Vectors (norms, biases) have the shape `[1, n]`, so that all weights are one type.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its value.
    pub value: Tensor<2>,
    /// Where its gradient goes; `None`: it is frozen.
    pub slot: Option<Slot>,
    /// Whether it came with the model or with an adapter.
    pub owner: Owner,
    /// The tensors that it holds, as files name them, in order.
    pub pieces: Vec<Piece>,
}

/// Where a weight belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The model.
    Base,
    /// An adapter beside it: factors and magnitudes.
    Adapter,
    /// The model, but as a copy that belongs to an adapter, trained in full and kept in its file.
    Copy,
    /// The model, but with values of an adapter's file, which keeps them: an embedding that was resized. Not trained.
    Kept,
}

/// One tensor of a file inside a [`Param`]: q, k and v are pieces of one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its full name: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Its values among those of the whole, in row order.
    pub values: Range<usize>,
    /// Its shape in files.
    pub shape: Vec<usize>,
}

/// The place of a trained weight among all trained weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

impl Param {
    /// A weight that is not trained and stands in no file.
    pub fn frozen(value: Tensor<2>) -> Self {
        Self { value, slot: None, owner: Owner::Base, pieces: Vec::new() }
    }

    /// Whether it is a norm or a bias rather than a matrix.
    pub fn is_vector(&self) -> bool {
        self.pieces.iter().all(|piece| piece.shape.len() == 1)
    }

    /// Whether weight decay applies: to matrices, and to every tensor of an adapter, DoRA's magnitudes too.
    pub fn decays(&self) -> bool {
        match self.owner {
            Owner::Adapter => true,
            Owner::Base | Owner::Copy | Owner::Kept => !self.is_vector(),
        }
    }
}

/// The gradients of all trained weights, summed over the microbatches of a step. Each takes memory from its first
/// product until it was used.
#[derive(Debug)]
pub struct Gradients {
    shapes: Vec<[usize; 2]>,
    /// Empty: zero.
    sums: Vec<OnceLock<Tensor<2>>>,
    device: Device,
    kernels: Kernels,
}

impl Gradients {
    /// Zeros of the given shapes, in the order of the slots.
    pub fn zeros(shapes: impl IntoIterator<Item = [usize; 2]>, device: &Device, kernels: Kernels) -> Self {
        let shapes: Vec<_> = shapes.into_iter().collect();
        let sums = shapes.iter().map(|_| OnceLock::new()).collect();
        Self { shapes, sums, device: device.clone(), kernels }
    }

    /// Back to zero, for the next step.
    pub fn clear(&mut self) {
        self.sums.iter_mut().for_each(|sum| drop(sum.take()));
    }

    /// Takes the memory of a gradient that will be added to soon. A layer's gradients are reserved together before
    /// its backward pass, so that they fill the place that the activations of the layer before have left; taken one
    /// by one between the temporary values of a pass, they would scatter over the heap and keep it from being reused.
    pub fn reserve(&mut self, slot: Slot) {
        match self.kernels {
            Kernels::Cpu => {
                self.get(slot);
            }
            // There a first gradient is taken as it comes.
            Kernels::Plain | Kernels::Cube(_) => {}
        }
    }

    /// Adds a gradient.
    pub fn add(&mut self, slot: Slot, gradient: Tensor<2>) {
        let sum = match self.sums[slot.0].take() {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.sums[slot.0] = OnceLock::from(sum);
    }

    /// Adds a product of activations, `[out, tokens]` and `[tokens, in]`.
    pub fn add_product(&mut self, gpu: Gpu, slot: Slot, sides: (&Tensor<2>, &Tensor<2>)) {
        let sum = cube::matmul::add_product(gpu, sides, self.sums[slot.0].take());
        self.sums[slot.0] = OnceLock::from(sum);
    }

    /// Lets a CPU kernel add to the values in place.
    pub fn modify(&mut self, slot: Slot, add: impl FnOnce(&mut [f32])) {
        debug_assert_eq!(self.kernels, Kernels::Cpu, "other devices have no slices");
        let mut sum = self.take(slot);
        cpu::tensor::modify(&mut sum, add);
        self.sums[slot.0] = OnceLock::from(sum);
    }

    /// Lets a GPU kernel add to the values in place.
    pub fn change(&mut self, slot: Slot, add: impl FnOnce(Tensor<2>) -> Tensor<2>) {
        let zeros = || Tensor::zeros(self.shapes[slot.0], (&self.device, DType::F32));
        let sum = self.sums[slot.0].take().unwrap_or_else(zeros);
        self.sums[slot.0] = OnceLock::from(add(sum));
    }

    /// The sum so far.
    pub fn get(&self, slot: Slot) -> &Tensor<2> {
        self.sums[slot.0].get_or_init(|| zeros(self.shapes[slot.0], &self.device))
    }

    /// The sum so far, which is zero afterwards and takes no memory here.
    pub fn take(&mut self, slot: Slot) -> Tensor<2> {
        let sum = self.sums[slot.0].take();
        sum.unwrap_or_else(|| zeros(self.shapes[slot.0], &self.device))
    }

    /// All sums, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor<2>> {
        (0..self.sums.len()).map(|slot| self.get(Slot(slot)))
    }
}

/// Zeros for a whole weight. On the CPU `Tensor::zeros` makes them twice for a moment, which leaves holes in the heap
/// that no later weight fits.
pub fn zeros(shape: [usize; 2], device: &Device) -> Tensor<2> {
    let n_values = shape.iter().product();
    Tensor::from_data(TensorData::new(vec![0f32; n_values], shape), device)
}
