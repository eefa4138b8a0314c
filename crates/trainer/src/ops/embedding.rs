//! Token embeddings: `y[t] = W[ids[t]]`, and `dW[ids[t]] += dy[t]`.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::param::{Gradients, Param};
use crate::kernels::{Kernels, cpu};

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
            let table = cpu::tensor::values(&weight.value);
            let mut y = Vec::with_capacity(ids.len() * hidden);
            ids.iter().for_each(|id| y.extend_from_slice(&table[*id as usize * hidden..][..hidden]));
            cpu::tensor::tensor(y, [ids.len(), hidden])
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
        Kernels::Cpu => {
            let [_, hidden] = weight.value.dims();
            let dy = cpu::tensor::values(dy);
            gradients.modify(slot, |dweight| {
                for (id, dy) in ids.iter().zip(dy.chunks(hidden)) {
                    let row = &mut dweight[*id as usize * hidden..][..hidden];
                    row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            });
        }
    }
}

fn indices(ids: &[u32], weight: &Param) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let n = ids.len();
    Tensor::from_data(TensorData::new(ids, [n]), &weight.value.device())
}
