//! Rotary positions.

use burn::tensor::{Device, Tensor, TensorData};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::attention::AttentionShape;
use ftl_trainer::ops::rope::{RopeTable, Turn, rotate};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

const THETA: f64 = 1000.0;

#[derive(Clone, Debug)]
struct Rotation {
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// How much of a head is turned.
    rotary_dim: usize,
    /// What cosines and sines are multiplied by.
    factor: f64,
    positions: Vec<u32>,
    way_back: Turn,
}

impl Rotation {
    fn shape(&self) -> AttentionShape {
        let Self { n_heads, n_kv_heads, head_dim, .. } = *self;
        AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0, window: None, softcap: None }
    }

    fn inputs(&self) -> [Tensor<2>; 2] {
        let mut draw = Draw::new(8);
        [(); 2].map(|()| draw.tensor([self.positions.len(), self.shape().width()]))
    }

    /// Cosine and sine for column `column` of a row at `position`; v and the end of a head are not turned.
    fn cos_sin(&self, position: u32, column: usize) -> [f64; 2] {
        let is_turned = column < (self.n_heads + self.n_kv_heads) * self.head_dim
            && column % self.head_dim < self.rotary_dim;
        if !is_turned {
            return [1.0, 0.0];
        }
        let pair = column % self.head_dim % (self.rotary_dim / 2);
        let (sin, cos) = (f64::from(position) * self.frequency(pair)).sin_cos();
        [cos * self.factor, sin * self.factor]
    }

    fn frequency(&self, pair: usize) -> f64 {
        THETA.powf(-2.0 * pair as f64 / self.rotary_dim as f64)
    }

    fn table(&self) -> RopeTable {
        let n_positions = *self.positions.iter().max().expect("a case has tokens") + 1;
        let half = self.rotary_dim / 2;
        let values = (0..n_positions).flat_map(|position| {
            let [cos, sin] =
                [0, 1].map(|i| (0..half).map(move |pair| self.cos_sin(position, pair)[i] as f32));
            cos.chain(sin)
        });
        let values: Vec<f32> = values.collect();
        let data = TensorData::new(values, [n_positions as usize, self.rotary_dim]);
        RopeTable::new(Tensor::from_data(data, &Device::flex()))
    }

    /// The other column of the pair and its sign: −b for a, a for b.
    fn partner(&self, column: usize) -> (usize, f64) {
        let (half, in_head) = (self.rotary_dim / 2, column % self.head_dim);
        match in_head {
            _ if in_head < half => (column + half, -1.0),
            _ if in_head < self.rotary_dim => (column - half, 1.0),
            _ => (column, 1.0),
        }
    }
}

impl Operation for Rotation {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [qkv, dy] = self.inputs();
        let table = self.table();
        let turn = |x, turn| rotate(kernels, x, &self.positions, &table, (turn, &self.shape()));
        Outcome::from([
            ("y".to_owned(), values(&turn(qkv, Turn::Forward))),
            ("qkv".to_owned(), values(&turn(dy, self.way_back))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let [qkv, dy] = self.inputs();
        let (n, width) = (self.positions.len(), self.shape().width());
        let qkv = reference::leaf(&qkv);
        let angles = |i: usize| {
            let rows = self.positions.iter();
            let values = rows.flat_map(|p| (0..width).map(move |c| self.cos_sin(*p, c)[i] as f32));
            reference::constant(values.collect(), [n, width])
        };
        // The pairs exchanged, by a product with a matrix of signs.
        let mut exchange = vec![0.0; width * width];
        for column in 0..width {
            let (partner, sign) = self.partner(column);
            exchange[partner * width + column] = sign as f32;
        }
        let exchanged = qkv.clone().matmul(reference::constant(exchange, [width, width]));
        let y = qkv.clone() * angles(0) + exchanged * angles(1);
        reference::autodiff(&y, &dy, &[("qkv", &qkv)])
    }

    fn slopes(&self) -> Outcome {
        let [qkv, dy] = self.inputs();
        let width = self.shape().width();
        reference::slopes(&[("qkv", &qkv)], &dy, &|inputs| {
            let rows = inputs[0].chunks(width).zip(&self.positions).flat_map(|(row, position)| {
                (0..width).map(move |column| {
                    let (partner, sign) = self.partner(column);
                    let [cos, sin] = self.cos_sin(*position, column);
                    row[column] * cos + sign * row[partner] * sin
                })
            });
            rows.collect()
        })
    }
}

fn case([n_heads, n_kv_heads, head_dim]: [usize; 3], positions: &[u32]) -> Rotation {
    Rotation {
        n_heads,
        n_kv_heads,
        head_dim,
        rotary_dim: head_dim,
        factor: 1.0,
        positions: positions.to_vec(),
        way_back: Turn::Backward,
    }
}

/// The same for the beginning of each head, scaled.
fn partial(rotary_dim: usize, factor: f64, case: Rotation) -> Rotation {
    Rotation { rotary_dim, factor, ..case }
}

#[test]
fn rope_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(9);
    let restarting: Vec<u32> = (0..17).chain(0..1).chain(0..30).collect();
    let mut cases = vec![case([1, 1, 2], &[0]), case([4, 2, 16], &restarting), case([6, 3, 10], &[7, 7, 0])];
    cases.extend((0..12).map(|_| {
        let (n, n_kv_heads) = (draw.count(1..60), draw.count(1..4));
        let n_heads = n_kv_heads * draw.count(1..4);
        case([n_heads, n_kv_heads, 2 * draw.count(1..20)], &draw.ids(n, 60))
    }));
    cases.push(partial(6, 1.0, case([4, 2, 16], &restarting)));
    cases.push(partial(2, 1.2, case([6, 3, 10], &[7, 7, 0])));
    assert_equals_autodiff(&cases);
}

#[test]
fn rope_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case([1, 1, 2], &[3]), case([4, 2, 6], &[0, 1, 2, 0, 40])]);
    assert_equals_slopes(&[
        partial(4, 1.0, case([4, 2, 6], &[0, 3])),
        partial(6, 0.8, case([4, 2, 6], &[1, 9])),
    ]);
}

#[test]
fn a_gradient_turned_forward_is_noticed() {
    let right = case([4, 2, 6], &[0, 1, 2, 0, 40]);
    assert_differs(&right, &Rotation { way_back: Turn::Forward, ..right.clone() });
}

#[test]
fn a_position_off_by_one_is_noticed() {
    assert_differs(&case([4, 2, 6], &[0, 1, 2, 0, 40]), &case([4, 2, 6], &[0, 1, 2, 0, 41]));
}

#[test]
fn another_part_of_a_head_and_another_factor_are_noticed() {
    let right = partial(4, 1.2, case([4, 2, 6], &[0, 1, 2, 0, 40]));
    assert_differs(&right, &partial(2, 1.2, right.clone()));
    assert_differs(&right, &partial(4, 1.0, right.clone()));
}
