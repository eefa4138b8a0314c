//! Token embeddings: `y[t] = W[ids[t]]`, and `dW[ids[t]] += dy[t]`; with a low-rank update, of which PEFT calls the
//! factors `lora_embedding_A` and `lora_embedding_B`:
//!
//! ```text
//! u[t] = A[:, ids[t]]      y += s u Bᵀ      dB += s dyᵀ u      dA[:, ids[t]] += s dy[t] B
//! ```
//!
//! As in PEFT, nothing is dropped here.

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData};

use super::param::{Gradients, Param};
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product, product};
use crate::kernels::cpu::tensor;
use crate::kernels::{Kernels, cube, wide};

/// The low-rank update of an embedding.
#[derive(Clone, Debug)]
pub struct EmbeddingLora {
    /// `[r, vocab]`.
    pub a: Param,
    /// `[hidden, r]`.
    pub b: Param,
    /// `lora_alpha / r`, or `lora_alpha / √r`.
    pub scale: f32,
}

/// Looks the tokens up.
///
/// # Shapes
/// - `weight`: `[vocab, hidden]`
/// - output: `[ids, hidden]`
pub fn forward(kernels: Kernels, weight: &Param, ids: &[u32]) -> Tensor<2> {
    match kernels {
        Kernels::Plain => weight.value.clone().select(0, indices(ids, weight)),
        Kernels::Cpu => {
            let [_, hidden] = weight.value.dims();
            let table = tensor::values(&weight.value);
            let mut y = Vec::with_capacity(ids.len() * hidden);
            ids.iter().for_each(|id| y.extend_from_slice(&table[*id as usize * hidden..][..hidden]));
            tensor::tensor(y, [ids.len(), hidden])
        }
        Kernels::Cube(gpu) => {
            let ids = Tensor::from_data(
                TensorData::new(ids.to_vec(), [ids.len()]),
                (&weight.value.device(), DType::U32),
            );
            kernels.narrow(cube::rows::gather(gpu, &weight.value, &ids))
        }
    }
}

/// Adds the gradient of the table to `gradients` if it is trained.
pub fn backward(kernels: Kernels, weight: &Param, ids: &[u32], dy: &Tensor<2>, gradients: &mut Gradients) {
    let Some(slot) = weight.slot else { return };
    match kernels {
        Kernels::Plain => {
            let zeros = Tensor::zeros(weight.value.dims(), &weight.value.device());
            gradients
                .add(slot, zeros.select_assign(0, indices(ids, weight), dy.clone(), IndexingUpdateOp::Add));
        }
        Kernels::Cube(gpu) => {
            gradients.change(slot, |sum| cube::rows::add(gpu, dy, Additions::of(ids), sum));
        }
        Kernels::Cpu => {
            let [_, hidden] = weight.value.dims();
            let dy = tensor::values(dy);
            gradients.modify(slot, |dweight| {
                for (id, dy) in ids.iter().zip(dy.chunks(hidden)) {
                    let row = &mut dweight[*id as usize * hidden..][..hidden];
                    row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            });
        }
    }
}

impl EmbeddingLora {
    /// Shows both factors.
    pub fn for_each_param(&self, show: &mut dyn FnMut(&Param)) {
        show(&self.a);
        show(&self.b);
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        change(&mut self.a);
        change(&mut self.b);
    }

    /// `s u Bᵀ` added to `y`, `[ids, hidden]`.
    pub fn forward(&self, kernels: Kernels, ids: &[u32], mut y: Tensor<2>) -> Tensor<2> {
        match kernels {
            Kernels::Plain | Kernels::Cube(_) => {
                let update = self.u_plain(ids).matmul(wide(&self.b.value).transpose());
                kernels.narrow(wide(&y) + update.mul_scalar(self.scale))
            }
            Kernels::Cpu => {
                let ([hidden, r], n) = (self.b.value.dims(), ids.len());
                let (u, b) = (self.u_cpu(ids), tensor::values(&self.b.value));
                let (u, b) = (Matrix::new(&u, n, r), Matrix::new(&b, hidden, r));
                tensor::modify(&mut y, |y| {
                    MatrixMut::new(y, n, hidden).product(Product::ADD.scaled(self.scale), u, b.t());
                });
                y
            }
        }
    }

    /// Adds the gradients of both factors to `gradients` if they are trained.
    pub fn backward(&self, kernels: Kernels, ids: &[u32], dy: &Tensor<2>, gradients: &mut Gradients) {
        match kernels {
            Kernels::Plain | Kernels::Cube(_) => {
                let dy = wide(dy).mul_scalar(self.scale);
                if let Some(slot) = self.b.slot {
                    gradients.add(slot, dy.clone().transpose().matmul(self.u_plain(ids)));
                }
                if let Some(slot) = self.a.slot {
                    let du = dy.matmul(wide(&self.b.value)).transpose(); // [r, ids]
                    let zeros = Tensor::zeros(self.a.value.dims(), &self.a.value.device());
                    gradients
                        .add(slot, zeros.select_assign(1, indices(ids, &self.a), du, IndexingUpdateOp::Add));
                }
            }
            Kernels::Cpu => {
                let ([hidden, r], n, [_, vocab]) = (self.b.value.dims(), ids.len(), self.a.value.dims());
                let dy = tensor::values(dy);
                let dy = Matrix::new(&dy, n, hidden);
                if let Some(slot) = self.b.slot {
                    let u = self.u_cpu(ids);
                    gradients.modify(slot, |db| {
                        let how = Product::ADD.scaled(self.scale);
                        MatrixMut::new(db, hidden, r).product(how, dy.t(), Matrix::new(&u, n, r));
                    });
                }
                if let Some(slot) = self.a.slot {
                    let b = tensor::values(&self.b.value);
                    let du = product(dy, Matrix::new(&b, hidden, r), [n, r]);
                    gradients.modify(slot, |da| {
                        for (id, du) in ids.iter().zip(du.chunks(r)) {
                            for (rank, du) in du.iter().enumerate() {
                                da[rank * vocab + *id as usize] += du * self.scale;
                            }
                        }
                    });
                }
            }
        }
    }

    /// `[ids, r]`.
    fn u_plain(&self, ids: &[u32]) -> Tensor<2> {
        wide(&self.a.value.clone().select(1, indices(ids, &self.a))).transpose()
    }

    fn u_cpu(&self, ids: &[u32]) -> Vec<f32> {
        let [r, vocab] = self.a.value.dims();
        let a = tensor::values(&self.a.value);
        ids.iter()
            .flat_map(|id| (0..r).map(|rank| a[rank * vocab + *id as usize]).collect::<Vec<_>>())
            .collect()
    }
}

fn indices(ids: &[u32], weight: &Param) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let n = ids.len();
    Tensor::from_data(TensorData::new(ids, [n]), &weight.value.device())
}

/// Rows that are added to others: row `order[k]` for each k from `starts[i]` to `starts[i + 1]` to row `rows[i]`. So no
/// two threads add to one value, and the sum always goes in the same order.
#[derive(Clone, Debug)]
pub struct Additions {
    /// Rows that something is added to, each once.
    pub rows: Vec<u32>,
    /// One more than rows.
    pub starts: Vec<u32>,
    /// Rows that are added.
    pub order: Vec<u32>,
}

impl Additions {
    /// Adds row t to row `to[t]`.
    pub fn of(to: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..to.len() as u32).collect();
        order.sort_by_key(|from| to[*from as usize]);
        let (mut rows, mut starts) = (Vec::new(), Vec::new());
        for (k, from) in order.iter().enumerate() {
            let row = to[*from as usize];
            if rows.last() != Some(&row) {
                rows.push(row);
                starts.push(k as u32);
            }
        }
        starts.push(to.len() as u32);
        Self { rows, starts, order }
    }
}
