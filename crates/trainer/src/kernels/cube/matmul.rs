//! Matrix products: Hopper's own kernel where it fits, else those of CubeCL.
//!
//! Operands are of the type of activations, and may be transposed views or ranges of columns of larger matrices.

use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

use super::Gpu;
use super::tensor::{empty, strided, tensor};
use super::wgmma::{self, Onto, Product};

/// Two matrices, `[m, k]` and `[k, n]`.
pub type Sides<'a> = (&'a Tensor<2>, &'a Tensor<2>);

/// `a b`, in the type `out`.
pub fn product(gpu: Gpu, sides: Sides<'_>, out: DType) -> Tensor<2> {
    scaled_product(gpu, sides, 1.0, out)
}

/// `alpha a b`, in the type `out`.
pub fn scaled_product(_gpu: Gpu, (a, b): Sides<'_>, alpha: f32, out: DType) -> Tensor<2> {
    let (a, b) = (strided(a), strided(b));
    let result = empty(&a, shape(&a, &b), out);
    let how = Product { pair: (&a, &b), second: None, alpha, onto: Onto::Nothing };
    if wgmma::product(how, &result).is_some() {
        return tensor(result);
    }
    let product = tensor(portable(a, b, result));
    if alpha == 1.0 { product } else { product.mul_scalar(alpha) }
}

/// `a b + a2 b2`, in the type of the operands.
pub fn sum_of_products(_gpu: Gpu, (a, b): Sides<'_>, (a2, b2): Sides<'_>) -> Tensor<2> {
    let [a, b, a2, b2] = [a, b, a2, b2].map(strided);
    let result = empty(&a, shape(&a, &b), a.dtype);
    let how = Product { pair: (&a, &b), second: Some((&a2, &b2)), alpha: 1.0, onto: Onto::Nothing };
    if wgmma::product(how, &result).is_some() {
        return tensor(result);
    }
    let beside = empty(&a, shape(&a, &b), a.dtype);
    tensor::<2>(portable(a, b, result)) + tensor(portable(a2, b2, beside))
}

/// `sum + a b` in `f32`, written over `sum`; without one `a b`.
pub fn add_product(gpu: Gpu, sides: Sides<'_>, sum: Option<Tensor<2>>) -> Tensor<2> {
    let Some(sum) = sum else { return product(gpu, sides, DType::F32) };
    let (a, b) = (strided(sides.0), strided(sides.1));
    let onto = super::tensor::owned(sum);
    let how = Product { pair: (&a, &b), second: None, alpha: 1.0, onto: Onto::Sum };
    if wgmma::product(how, &onto).is_some() {
        return tensor(onto);
    }
    let beside = empty(&a, shape(&a, &b), DType::F32);
    tensor::<2>(onto) + tensor(portable(a, b, beside))
}

fn shape(a: &CubeTensor, b: &CubeTensor) -> [usize; 2] {
    [a.meta.shape()[0], b.meta.shape()[1]]
}

fn portable(a: CubeTensor, b: CubeTensor, out: CubeTensor) -> CubeTensor {
    let dtype = out.dtype;
    let product = matmul(a, b, Some(out), MatmulStrategy::default(), dtype);
    product.expect("a product of two matrices that fit together is always possible")
}
