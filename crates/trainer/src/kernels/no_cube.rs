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
            #[expect(clippy::too_many_arguments, unused_variables, reason = "the signature is the kernel's")]
            pub fn $name(gpu: super::Gpu, $($argument: $kind),*) $(-> $result)? {
                match gpu {}
            }
        )*
    };
}

/// Products.
pub mod matmul {
    use burn::tensor::{DType, Tensor};

    never! {
        fn product(sides: (&Tensor<2>, &Tensor<2>), out: DType) -> Tensor<2>;
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
        fn backward(norm: &RmsNorm, input: BackwardInput<'_>, dx: &mut Tensor<2>);
    }
}
