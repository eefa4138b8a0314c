//! The way from a burn tensor on flex to its values and back, without copies.

use std::ops::Deref;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Int, Tensor, TensorData};

/// The values of a tensor, row by row. While it lives the buffer is shared, and writing to it elsewhere
/// would copy it.
pub struct Values(FlexTensor);

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("the tensor was made contiguous")
    }
}

/// The bytes of a tensor; see [`Values`].
pub struct Bytes(FlexTensor);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice().expect("the tensor holds bytes")
    }
}

/// Reads a tensor of bytes.
pub fn bytes(tensor: &Tensor<1, Int>) -> Bytes {
    let primitive = tensor.clone().try_into_primitive::<Flex>();
    Bytes(primitive.expect("CPU kernels are chosen for plain flex tensors only").to_contiguous())
}

/// Reads a tensor.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Values {
    let primitive = primitive(tensor.clone());
    Values(if primitive.is_contiguous() && primitive.as_slice::<f32>().is_some() {
        primitive
    } else {
        primitive.to_contiguous()
    })
}

/// Changes a tensor in place; copies first only if somebody else holds its buffer.
pub fn modify<const D: usize, R>(tensor: &mut Tensor<D>, change: impl FnOnce(&mut [f32]) -> R) -> R {
    let empty = Tensor::empty([0; D], &tensor.device());
    let primitive = primitive(std::mem::replace(tensor, empty));
    let mut primitive = if primitive.is_contiguous() { primitive } else { primitive.to_contiguous() };
    let result = change(primitive.storage_mut::<f32>());
    *tensor = Tensor::from_primitive::<Flex>(primitive);
    result
}

/// As [`modify`], for a tensor of bytes.
pub fn modify_bytes<R>(tensor: &mut Tensor<1, Int>, change: impl FnOnce(&mut [u8]) -> R) -> R {
    let empty = Tensor::empty([0], &tensor.device());
    let primitive = std::mem::replace(tensor, empty).try_into_primitive::<Flex>();
    let primitive = primitive.expect("CPU kernels are chosen for plain flex tensors only");
    let mut primitive = if primitive.is_contiguous() { primitive } else { primitive.to_contiguous() };
    let result = change(primitive.storage_mut::<u8>());
    *tensor = Tensor::from_primitive::<Flex>(primitive);
    result
}

/// Makes a tensor of values in row order.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(values, shape)))
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("CPU kernels are chosen for plain flex tensors only")
}
