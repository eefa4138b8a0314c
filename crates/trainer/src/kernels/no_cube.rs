//! What stands for [`cube`](crate::kernels::cube) in a program that was built without GPUs: the same functions, of which
//! none can be called, since there is no value of [`Gpu`].

use burn::tensor::{DType, Device};

use super::{Kernels, Precision};

/// No GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {}

impl Gpu {
    /// The type of activations.
    pub fn dtype(self) -> DType {
        match self {}
    }
}

/// The kernels of a device that is not the CPU.
pub fn kernels_of(_device: &Device, _precision: Precision) -> Kernels {
    Kernels::Plain
}

/// Functions that take a [`Gpu`], with the signatures of their namesakes.
macro_rules! never {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        $(
            #[doc = "As the kernel of this name; never called."]
            #[expect(unused_variables, reason = "the signature is the kernel's")]
            pub fn $name(gpu: super::Gpu, $($argument: $kind),*) $(-> $result)? {
                match gpu {}
            }
        )*
    };
}

/// The norm of all gradients.
pub mod global_norm {
    use burn::tensor::{Device, Tensor};

    /// Made by a GPU only. That it could be made keeps the compiler from calling what follows unreachable.
    #[derive(Clone, Copy, Debug)]
    pub struct Norm;

    /// Whose gradient decides.
    #[derive(Clone, Copy, Debug)]
    pub enum By {
        /// That of all weights.
        All,
        /// That of one weight.
        Slot(usize),
    }

    never! {
        fn norm(sizes: &[usize], device: &Device) -> Norm;
        fn measure(norm: &mut Norm, gradients: &[(usize, &Tensor<2>)]);
        fn decide(norm: &mut Norm, max_norm: Option<f64>, loss_scale: f64);
        fn squares(norm: &Norm) -> Vec<f32>;
    }
}

/// Low-rank updates.
pub mod lora {
    use burn::tensor::Tensor;

    use crate::ops::linear::Lora;

    /// The factors of a layer.
    #[derive(Clone, Debug)]
    pub struct Factors {
        /// `[Σ r, in]`.
        pub a: Tensor<2>,
        /// Block-diagonal, `[out, Σ r]`.
        pub b: Tensor<2>,
    }

    never! {
        fn factors(layers: &[(&Lora, usize)]) -> Vec<Factors>;
    }
}

/// AdamW over all trained weights.
pub mod adamw {
    use burn::tensor::Tensor;

    use super::global_norm::{By, Norm};
    use crate::optim::adamw::{Coefficients, Moments};

    /// A weight with what its update reads and writes.
    #[derive(Debug)]
    pub struct Update<'a, M = Moments> {
        /// The weight.
        pub weight: Tensor<2>,
        /// Its gradient.
        pub gradient: &'a Tensor<2>,
        /// Its moments.
        pub moments: &'a mut M,
    }

    never! {
        fn update(decider: (&Norm, By), updates: Vec<Update<'_>>, coefficients: &Coefficients) -> Vec<Tensor<2>>;
    }
}

/// AdamW with moments in 8 bits.
pub mod adamw8bit {
    use burn::tensor::Tensor;

    use super::adamw::Update;
    use super::global_norm::{By, Norm};
    use crate::optim::adamw::Coefficients;
    use crate::optim::adamw8bit::BlockMoments;

    never! {
        fn update(
            decider: (&Norm, By),
            update: Update<'_, BlockMoments>,
            coefficients: &Coefficients,
        ) -> Tensor<2>;
    }
}

/// Attention.
pub mod attention {
    use burn::tensor::{Int, Tensor};

    use crate::ops::attention::{AttentionShape, Saved};

    never! {
        fn forward(qkv: &Tensor<2>, spans: &Tensor<1, Int>, shape: &AttentionShape) -> (Tensor<2>, Tensor<2>);
        fn backward(saved: &Saved, dy: &Tensor<2>, spans: &Tensor<1, Int>, shape: &AttentionShape) -> Tensor<2>;
    }
}

/// Products.
pub mod matmul {
    use burn::tensor::{DType, Tensor};

    /// Two matrices.
    pub type Sides<'a> = (&'a Tensor<2>, &'a Tensor<2>);

    never! {
        fn product(sides: Sides<'_>, out: DType) -> Tensor<2>;
        fn scaled_product(sides: Sides<'_>, alpha: f32, out: DType) -> Tensor<2>;
        fn sum_of_products(first: Sides<'_>, second: Sides<'_>) -> Tensor<2>;
        fn add_product(sides: Sides<'_>, sum: Option<Tensor<2>>) -> Tensor<2>;
    }
}

/// Views.
pub mod tensor {
    use std::ops::Range;

    use burn::tensor::Tensor;

    /// Some columns of a matrix.
    pub fn columns(matrix: &Tensor<2>, range: Range<usize>) -> Tensor<2> {
        matrix.clone().narrow(1, range.start, range.len())
    }
}

/// 4-bit weights.
pub mod nf4 {
    use burn::tensor::Tensor;

    use crate::ops::linear::Nf4Weight;

    never! {
        fn dense(weight: &Nf4Weight) -> Tensor<2>;
    }
}

/// RMS normalization.
pub mod norm {
    use burn::tensor::Tensor;

    use crate::ops::norm::{BackwardInput, RmsNorm};

    never! {
        fn forward(norm: &RmsNorm, x: &Tensor<2>) -> (Tensor<2>, Tensor<2>);
        fn forward_added(
            norm: &RmsNorm,
            x: &Tensor<2>,
            added: Tensor<2>,
        ) -> (Tensor<2>, Tensor<2>, Tensor<2>);
        fn backward_alone(norm: &RmsNorm, input: BackwardInput<'_>) -> Tensor<2>;
        fn backward(norm: &RmsNorm, input: BackwardInput<'_>, dx: &mut Tensor<2>);
    }
}

/// The gradients of norms' weights.
pub mod norm_weight {
    use burn::tensor::Tensor;

    use crate::ops::norm::Groups;

    never! {
        fn gradient(input: (&Tensor<2>, &Tensor<2>, &Tensor<2>), groups: Groups) -> Tensor<2>;
    }
}

/// The norms of queries and keys.
pub mod qk_norm {
    use burn::tensor::Tensor;

    use crate::ops::attention::AttentionShape;
    use crate::ops::qk_norm::{BackwardInput, QkNorm};
    use crate::ops::rope::Rotation;

    never! {
        fn forward(
            norm: &QkNorm,
            input: (&Tensor<2>, &AttentionShape),
            rotation: Option<Rotation<'_>>,
        ) -> (Tensor<2>, Tensor<2>);
        fn backward(
            norm: &QkNorm,
            input: BackwardInput<'_>,
            d: (Tensor<2>, Option<Rotation<'_>>),
        ) -> Tensor<2>;
    }
}

/// The gate of the MLP.
pub mod gated_mlp {
    use burn::tensor::Tensor;

    use crate::ops::gated_mlp::Activation;

    never! {
        fn forward(activation: Activation, gate_up: &Tensor<2>) -> Tensor<2>;
        fn backward(activation: Activation, gate_up: Tensor<2>, dy: &Tensor<2>) -> Tensor<2>;
    }
}

/// Rotary positions.
pub mod rope {
    use burn::tensor::{Int, Tensor};

    use crate::ops::attention::AttentionShape;
    use crate::ops::rope::Turn;

    never! {
        fn rotate(
            qkv: Tensor<2>,
            angles: (&Tensor<1, Int>, &Tensor<2>),
            how: (Turn, &AttentionShape),
        ) -> Tensor<2>;
    }
}

/// Rows of the cross-entropy.
pub mod cross_entropy {
    use burn::tensor::Tensor;

    use crate::ops::cross_entropy::Chunk;

    never! {
        fn gradient(logits: Tensor<2>, of_rows: (Chunk<'_>, &Tensor<1>), nll: &mut Tensor<1>) -> Tensor<2>;
        fn score(logits: &Tensor<2>, chunk: Chunk<'_>, scores: &mut Tensor<2>);
    }
}

/// Rows by their numbers.
pub mod rows {
    use burn::tensor::{Int, Tensor};

    use crate::ops::embedding::Additions;

    never! {
        fn gather(x: &Tensor<2>, index: &Tensor<1, Int>) -> Tensor<2>;
        fn add(x: &Tensor<2>, additions: Additions, sum: Tensor<2>) -> Tensor<2>;
    }
}

/// Dropout and noise.
pub mod random {
    use burn::tensor::Tensor;

    use crate::ops::dropout::Mask;
    use crate::ops::neftune::Noise;

    never! {
        fn dropped(mask: &Mask, x: &Tensor<2>) -> Tensor<2>;
        fn add_dropped(mask: &Mask, x: &Tensor<2>, sum: &mut Tensor<2>);
        fn add_noise(noise: &Noise, magnitudes: &Tensor<1>, x: &mut Tensor<2>);
    }
}
