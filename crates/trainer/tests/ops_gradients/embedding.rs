//! Token embeddings.

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::embedding;
use ftl_trainer::ops::param::{Gradients, Param, Slot};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Embedding {
    vocab: usize,
    hidden: usize,
    ids: Vec<u32>,
}

impl Embedding {
    fn inputs(&self) -> (Tensor<2>, Tensor<2>) {
        let mut draw = Draw::new(5);
        (draw.tensor([self.vocab, self.hidden]), draw.tensor([self.ids.len(), self.hidden]))
    }
}

impl Operation for Embedding {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (weight, dy) = self.inputs();
        let mut gradients = Gradients::zeros([weight.dims()], &Device::flex(), kernels);
        let weight = Param { slot: Some(Slot(0)), ..Param::frozen(weight) };
        let y = embedding::forward(kernels, &weight, &self.ids);
        embedding::backward(kernels, &weight, &self.ids, &dy, &mut gradients);
        Outcome::from([("y".to_owned(), values(&y)), ("weight".to_owned(), values(gradients.get(Slot(0))))])
    }

    fn autodiff(&self) -> Outcome {
        let (weight, dy) = self.inputs();
        let weight = reference::leaf(&weight);
        // As a product with one-hot rows.
        let n = self.ids.len();
        let mut one_hot = vec![0.0; n * self.vocab];
        self.ids.iter().enumerate().for_each(|(row, id)| one_hot[row * self.vocab + *id as usize] = 1.0);
        let y = reference::constant(one_hot, [n, self.vocab]).matmul(weight.clone());
        reference::autodiff(&y, &dy, &[("weight", &weight)])
    }

    fn slopes(&self) -> Outcome {
        let (weight, dy) = self.inputs();
        reference::slopes(&[("weight", &weight)], &dy, &|inputs| {
            let rows = self.ids.iter().map(|id| &inputs[0][*id as usize * self.hidden..][..self.hidden]);
            rows.flatten().copied().collect()
        })
    }
}

fn case(vocab: usize, hidden: usize, ids: &[u32]) -> Embedding {
    Embedding { vocab, hidden, ids: ids.to_vec() }
}

#[test]
fn embedding_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(6);
    let mut cases = vec![case(1, 1, &[0, 0, 0]), case(5, 3, &[4, 0, 4, 4, 2]), case(300, 40, &[299])];
    cases.extend((0..12).map(|_| {
        let (vocab, n) = (draw.count(1..60), draw.count(1..200));
        case(vocab, draw.count(1..40), &draw.ids(n, vocab))
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn embedding_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case(1, 1, &[0, 0]), case(6, 3, &[5, 0, 5, 5, 2])]);
}

#[test]
fn another_token_is_noticed() {
    assert_differs(&case(6, 3, &[5, 0, 5, 5, 2]), &case(6, 3, &[5, 0, 4, 5, 2]));
}
