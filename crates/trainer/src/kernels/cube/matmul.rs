//! Matrix products.

use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};

use super::Gpu;
use super::tensor::{strided, tensor};

/// The product of two matrices of the same type, either of which may be a transposed view; its result in the type `out`.
///
/// # Shapes
/// - sides: `[m, k]` and `[k, n]`
/// - result: `[m, n]`
pub fn product(_gpu: Gpu, (a, b): (&Tensor<2>, &Tensor<2>), out: DType) -> Tensor<2> {
    let product = matmul(strided(a), strided(b), None, MatmulStrategy::default(), out);
    tensor(product.expect("a product of two matrices that fit together is always possible"))
}
