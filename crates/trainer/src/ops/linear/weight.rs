//! The matrix of a [`Linear`](super::Linear): dense, or frozen in 4 bits.
//!
//! A matrix in 4 bits is never whole in memory: on the CPU some rows at a time are written into a small buffer, which
//! the product of these rows reads while it is still in the cache; the plain version makes it for one operation.
//!
//! ```text
//! y[:, rows] = x W[rows]ᵀ           dx = Σ_rows dy[:, rows] W[rows]
//! ```

use std::cell::Cell;
use std::ops::Range;

use burn::tensor::{Device, Tensor};

use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product};
use crate::kernels::cpu::simd::made;
use crate::kernels::cpu::tensor;
use crate::kernels::{Kernels, cube};
use crate::ops::param::{Param, Piece, Slot};
use crate::quant::Nf4Tensor;

/// Values of the rows that are made at a time: 1 MiB, which stays in the cache from the writing to the product.
const TILE_VALUES: usize = 1 << 18;
/// Rows that are made at a time at least: fewer make the products slow.
const MIN_TILE_ROWS: usize = 256;

thread_local! {
    /// Kept from one operation to the next.
    static TILE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// The matrix of a linear, `[out, in]`.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few for each block, and each is used in place")]
pub enum Weight {
    /// In the precision of the computation; may be trained.
    Dense(Param),
    /// In 4 bits, frozen.
    Nf4(Nf4Weight),
}

/// Tensors that stand one under the other, each quantized by itself.
#[derive(Clone, Debug)]
pub struct Nf4Weight {
    n_inputs: usize,
    /// As files name them.
    pieces: Vec<Piece>,
    /// Their values.
    parts: Vec<Frozen>,
}

/// The values of one tensor.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few for each block, and each is used in place")]
pub enum Frozen {
    /// In 4 bits.
    Nf4(Nf4Tensor),
    /// As they are: a checkpoint may leave out single linears.
    Dense(Tensor<2>),
}

impl From<Param> for Weight {
    fn from(param: Param) -> Self {
        Self::Dense(param)
    }
}

impl Nf4Weight {
    /// Of tensors that have `n_inputs` columns each, in order.
    ///
    /// # Panics
    /// If there is not one of `parts` for each of `pieces`.
    pub fn new(n_inputs: usize, pieces: Vec<Piece>, parts: Vec<Frozen>) -> Self {
        assert_eq!(pieces.len(), parts.len(), "values for each piece");
        Self { n_inputs, pieces, parts }
    }

    /// The values of each piece.
    pub fn parts(&self) -> &[Frozen] {
        &self.parts
    }

    /// Columns of the matrix.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Rows of the matrix.
    pub fn n_outputs(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.values.end) / self.n_inputs
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match &self.parts[0] {
            Frozen::Nf4(part) => part.device(),
            Frozen::Dense(part) => part.device(),
        }
    }

    fn dequantize(&self) -> Tensor<2> {
        let parts = self.parts.iter().map(|part| match part {
            Frozen::Nf4(part) => {
                let n_rows = part.n_values() / self.n_inputs;
                part.dequantize().reshape([n_rows, self.n_inputs])
            }
            Frozen::Dense(part) => part.clone(),
        });
        Tensor::cat(parts.collect(), 0)
    }

    fn rows_into(&self, rows: Range<usize>, out: &mut [f32]) {
        let wanted = rows.start * self.n_inputs..rows.end * self.n_inputs;
        for (piece, part) in self.pieces.iter().zip(&self.parts) {
            let start = piece.values.start.max(wanted.start);
            let end = piece.values.end.min(wanted.end);
            if start >= end {
                continue;
            }
            let out = &mut out[start - wanted.start..end - wanted.start];
            let values = start - piece.values.start..end - piece.values.start;
            match part {
                Frozen::Nf4(part) => part.dequantize_into(values, out),
                Frozen::Dense(part) => out.copy_from_slice(&tensor::values(part)[values]),
            }
        }
    }
}

impl Weight {
    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(param) => param.value.dims(),
            Self::Nf4(weight) => [weight.n_outputs(), weight.n_inputs],
        }
    }

    /// Where its gradient goes; `None`: it is frozen.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Dense(param) => param.slot,
            Self::Nf4(_) => None,
        }
    }

    /// The tensors that it holds, as files name them, in order.
    pub fn pieces(&self) -> &[Piece] {
        match self {
            Self::Dense(param) => &param.pieces,
            Self::Nf4(weight) => &weight.pieces,
        }
    }

    /// What an optimizer could train or a file could hold; `None` where it is quantized.
    pub fn param(&self) -> Option<&Param> {
        match self {
            Self::Dense(param) => Some(param),
            Self::Nf4(_) => None,
        }
    }

    /// As [`param`](Self::param), to change it.
    pub fn param_mut(&mut self) -> Option<&mut Param> {
        match self {
            Self::Dense(param) => Some(param),
            Self::Nf4(_) => None,
        }
    }

    /// The whole matrix as the products see it; one in 4 bits is made anew. On a GPU that is in a buffer that the next
    /// one is made in, once this one was let go.
    pub fn dense(&self, kernels: Kernels) -> Tensor<2> {
        match (self, kernels) {
            (Self::Dense(param), _) => param.value.clone(),
            (Self::Nf4(weight), Kernels::Plain | Kernels::Cpu) => weight.dequantize(),
            (Self::Nf4(weight), Kernels::Cube(gpu)) => cube::nf4::dense(gpu, weight),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(param) => param.value.device(),
            Self::Nf4(weight) => weight.device(),
        }
    }

    /// `x Wᵀ` on the CPU, `[tokens, out]`.
    pub fn times(&self, x: Matrix<'_>) -> Vec<f32> {
        let (n, [n_out, _]) = (x.n_rows(), self.dims());
        // SAFETY: the tiles are all columns of y; their products set every value and read none.
        unsafe { made(n * n_out, |y| self.multiply(Product::SET, x, MatrixMut::unset(y, n, n_out))) }
    }

    /// `y = x Wᵀ` or `y += x Wᵀ` on the CPU.
    pub fn multiply(&self, how: Product, x: Matrix<'_>, mut y: MatrixMut<'_>) {
        self.for_each_tile(0..self.dims()[0], |rows, tile| y.cols(rows).product(how, x, tile.t()));
    }

    /// `dy W` on the CPU, `[tokens, in]`.
    pub fn times_transposed(&self, dy: Matrix<'_>) -> Vec<f32> {
        let (n, [n_out, n_in]) = (dy.n_rows(), self.dims());
        // SAFETY: the product with the first tile sets every value of dx and reads none.
        unsafe {
            made(n * n_in, |dx| {
                let mut dx = MatrixMut::unset(dx, n, n_in);
                self.for_each_tile(0..n_out, |rows, tile| {
                    let how = if rows.start == 0 { Product::SET } else { Product::ADD };
                    dx.product(how, dy.cols(rows), tile);
                });
            })
        }
    }

    /// Shows some rows of the matrix to a CPU kernel: all of them at once where it is dense, else some at a time, in
    /// order. Each tile comes with its rows, counted in the whole matrix.
    pub fn for_each_tile(&self, rows: Range<usize>, mut show: impl FnMut(Range<usize>, Matrix<'_>)) {
        let [n_outputs, n_inputs] = self.dims();
        match self {
            Self::Dense(param) => {
                let values = tensor::values(&param.value);
                show(rows.clone(), Matrix::new(&values, n_outputs, n_inputs).rows(rows));
            }
            Self::Nf4(weight) => {
                // Taken out while it is used, so that nothing that runs meanwhile on this thread can meet it.
                let mut tile = TILE.take();
                let n_rows = (TILE_VALUES / n_inputs).max(MIN_TILE_ROWS).min(rows.len());
                if tile.len() < n_rows * n_inputs {
                    tile.resize(n_rows * n_inputs, 0.0);
                }
                for start in rows.clone().step_by(n_rows) {
                    let rows = start..(start + n_rows).min(rows.end);
                    let values = &mut tile[..rows.len() * n_inputs];
                    weight.rows_into(rows.clone(), values);
                    show(rows.clone(), Matrix::new(values, rows.len(), n_inputs));
                }
                TILE.set(tile);
            }
        }
    }
}
