//! The two references: burn's autodiff, and central differences in f64.

use burn::tensor::{Device, Tensor, TensorData};

use crate::outcome::{Outcome, values};

/// Half the distance over which a slope is taken. In f64 the error of the cut series and that of rounding are
/// both near 1e-10.
const STEP: f64 = 1e-5;

/// A tensor whose gradient autodiff keeps.
pub fn leaf(tensor: &Tensor<2>) -> Tensor<2> {
    recorded(tensor).require_grad()
}

/// A tensor without a gradient, to be combined with [`leaf`]s.
pub fn recorded<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(tensor.to_data(), &device())
}

/// Constant values, to be combined with [`leaf`]s.
pub fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Where autodiff records.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// y, and the gradient of Σ dy · y in each leaf.
pub fn autodiff(y: &Tensor<2>, dy: &Tensor<2>, leaves: &[(&str, &Tensor<2>)]) -> Outcome {
    let gradients = (y.clone() * recorded(dy)).sum().backward();
    let gradient = |leaf: &Tensor<2>| values(&leaf.grad(&gradients).expect("y depends on every leaf"));
    let mut outcome = Outcome::from([("y".to_owned(), values(&y.clone().inner()))]);
    outcome.extend(leaves.iter().map(|(name, leaf)| ((*name).to_owned(), gradient(leaf))));
    outcome
}

/// y, and the central difference of Σ dy · y in each value of each input.
pub fn slopes(
    inputs: &[(&str, &Tensor<2>)],
    dy: &Tensor<2>,
    formula: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
) -> Outcome {
    let dy = values(dy);
    let mut at: Vec<Vec<f64>> = inputs.iter().map(|(_, input)| values(input)).collect();
    let objective = |at: &[Vec<f64>]| formula(at).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
    let mut outcome = Outcome::from([("y".to_owned(), formula(&at))]);
    for (i, (name, _)) in inputs.iter().enumerate() {
        let mut slopes = Vec::with_capacity(at[i].len());
        for j in 0..at[i].len() {
            let middle = at[i][j];
            let [above, below] = [middle + STEP, middle - STEP].map(|value| {
                at[i][j] = value;
                objective(&at)
            });
            at[i][j] = middle;
            slopes.push((above - below) / (2.0 * STEP));
        }
        outcome.insert((*name).to_owned(), slopes);
    }
    outcome
}
