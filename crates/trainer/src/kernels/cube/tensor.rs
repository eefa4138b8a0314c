//! The way from a burn tensor on a GPU to its buffer and back, without copies.

use std::ops::Range;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::Cube;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::RuntimeId;
use cubecl::ir::ElemType;
use cubecl::prelude::CubeCount;

/// The buffer of a tensor, its values in row order.
pub fn buffer<const D: usize>(tensor: &Tensor<D>) -> CubeTensor {
    in_rows(strided(tensor))
}

/// Values in row order, and nothing behind them: to a kernel a buffer is as long as its handle, and that of a part of a tensor
/// goes on to the end of the whole.
fn in_rows(tensor: CubeTensor) -> CubeTensor {
    let mut buffer = into_contiguous(tensor);
    let n_bytes = buffer.meta.shape().iter().product::<usize>() * buffer.dtype.size();
    let n_behind = buffer.handle.size_in_used().saturating_sub(n_bytes as u64);
    if n_behind > 0 {
        buffer.handle = buffer.handle.offset_end(n_behind);
    }
    buffer
}

/// The buffer of whole numbers.
pub fn numbers(tensor: &Tensor<1, Int>) -> CubeTensor {
    let primitive = tensor.clone().try_into_primitive::<Cube>();
    in_rows(primitive.expect("GPU kernels are chosen for plain CubeCL tensors only"))
}

/// The buffer of a tensor, whose values may be in any order: for kernels that go by its strides.
pub fn strided<const D: usize>(tensor: &Tensor<D>) -> CubeTensor {
    let primitive = tensor.clone().try_into_primitive::<Cube>();
    primitive.expect("GPU kernels are chosen for plain CubeCL tensors only")
}

/// Takes a tensor to be written in place, its values in row order; copies first if somebody else holds its buffer.
pub fn owned<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    let primitive = tensor.try_into_primitive::<Cube>();
    let buffer = in_rows(primitive.expect("GPU kernels are chosen for plain CubeCL tensors only"));
    // A copy's rows may begin at places of their own: CUDA's are padded to powers of two.
    if buffer.can_mut() { buffer } else { in_rows(buffer.copy()) }
}

/// Memory for a tensor beside another one. Its values are what lay there.
pub fn empty<const D: usize>(beside: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    let n_bytes = shape.iter().product::<usize>() * dtype.size();
    let handle = beside.client.empty(n_bytes);
    CubeTensor::new_contiguous(
        beside.client.clone(),
        beside.device.clone(),
        Shape::from(shape),
        handle,
        dtype,
    )
}

/// Some columns of a matrix, where they are; copied where a device reads buffers only from places that they don't begin at.
pub fn columns(matrix: &Tensor<2>, range: Range<usize>) -> Tensor<2> {
    let mut part = strided(matrix);
    let n_bytes = range.start * part.meta.strides()[1] * part.dtype.size();
    // CUDA takes any address of a value. What it calls its alignment is that of rows, and no condition.
    let alignment = match part.device.runtime() {
        RuntimeId::Cuda => part.dtype.size(),
        _ => part.client.properties().memory.alignment as usize,
    };
    if !n_bytes.is_multiple_of(alignment) {
        return matrix.clone().narrow(1, range.start, range.len());
    }
    part.handle = part.handle.offset_start(n_bytes as u64);
    part.meta.shape_mut()[1] = range.len();
    tensor(part)
}

/// The tensor of a buffer.
pub fn tensor<const D: usize>(buffer: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(buffer)
}

/// CubeCL's name for the type of a buffer's values.
pub fn element(buffer: &CubeTensor) -> ElemType {
    dtype_to_storage_type(buffer.dtype)
}

/// How many values of a row a thread reads at once: as many as fit into 16 bytes and divide the row.
pub fn vector_size(width: usize, dtype: DType) -> usize {
    let mut size = 16 / dtype.size();
    while !width.is_multiple_of(size) {
        size /= 2;
    }
    size
}

/// So many cubes, or a few more where one dimension cannot count them: a kernel whose cubes may be that many asks for
/// its place with `CUBE_POS` and ends where there is nothing to do.
pub fn cube_count(n_cubes: usize) -> CubeCount {
    /// What every device can count to.
    const MAX: usize = 65_535;
    let rows = n_cubes.div_ceil(MAX).max(1);
    CubeCount::Static(n_cubes.div_ceil(rows).max(1) as u32, rows as u32, 1)
}
