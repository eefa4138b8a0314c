//! What a computation gave, by name, and how far two outcomes are apart.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

/// Values by name: an output, or the gradient of the input or weight of that name.
pub type Outcome = BTreeMap<String, Vec<f64>>;

/// Differences are relative to the largest value of the name, or to this where all are smaller: inputs are of
/// the order of 1, so values below it are what rounding left of a zero.
const SMALLEST_SCALE: f64 = 1e-2;

/// The values of a tensor, row by row.
pub fn values(tensor: &Tensor<2>) -> Vec<f64> {
    let values: Vec<f32> = tensor.to_data().try_into_vec().expect("the engine computes in f32");
    values.into_iter().map(f64::from).collect()
}

/// The largest difference over all names, relative to the largest value of the name. Infinite where one is not
/// a number.
pub fn difference(got: &Outcome, want: &Outcome) -> f64 {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    got.iter().map(|(name, got)| difference_of(got, &want[name])).fold(0.0, f64::max)
}

/// As [`difference`], for the values of one name.
pub fn difference_of(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(SMALLEST_SCALE, |scale, value| scale.max(value.abs()));
    let differences = got.iter().zip(want).map(|(got, want)| (got - want).abs() / scale);
    differences.fold(0.0, |worst, d| if d.is_finite() { d.max(worst) } else { f64::INFINITY })
}
