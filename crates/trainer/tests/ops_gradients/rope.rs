//! Rotary positions.

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::config::{Rope, RopeScaling};
use ftl_trainer::model::rope::table;
use ftl_trainer::ops::attention::AttentionShape;
use ftl_trainer::ops::rope::{Turn, rotate};

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
    positions: Vec<u32>,
    way_back: Turn,
}

impl Rotation {
    fn shape(&self) -> AttentionShape {
        let Self { n_heads, n_kv_heads, head_dim, .. } = *self;
        AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0, window: None }
    }

    fn inputs(&self) -> [Tensor<2>; 2] {
        let mut draw = Draw::new(8);
        [(); 2].map(|()| draw.tensor([self.positions.len(), self.shape().width()]))
    }

    /// The angle of column `column` of a row at `position`; v is not turned.
    fn angle(&self, position: u32, column: usize) -> f64 {
        let pair = column % self.head_dim % (self.head_dim / 2);
        let frequency = THETA.powf(-2.0 * pair as f64 / self.head_dim as f64);
        let turned = column < (self.n_heads + self.n_kv_heads) * self.head_dim;
        if turned { f64::from(position) * frequency } else { 0.0 }
    }

    /// The other column of the pair and its sign: −b for a, a for b.
    fn partner(&self, column: usize) -> (usize, f64) {
        let half = self.head_dim / 2;
        if column % self.head_dim < half { (column + half, -1.0) } else { (column - half, 1.0) }
    }
}

impl Operation for Rotation {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [qkv, dy] = self.inputs();
        let rope = Rope { theta: THETA, scaling: RopeScaling::Default };
        let last = self.positions.iter().max().expect("a case has tokens");
        let table = table(&rope, self.head_dim, *last as usize + 1, &Device::flex());
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
        let angles = |of: fn(f64) -> f64| {
            let rows = self.positions.iter();
            let values = rows.flat_map(|p| (0..width).map(move |c| of(self.angle(*p, c)) as f32));
            reference::constant(values.collect(), [n, width])
        };
        // The pairs exchanged, by a product with a matrix of signs.
        let mut exchange = vec![0.0; width * width];
        for column in 0..width {
            let (partner, sign) = self.partner(column);
            exchange[partner * width + column] = sign as f32;
        }
        let exchanged = qkv.clone().matmul(reference::constant(exchange, [width, width]));
        let y = qkv.clone() * angles(f64::cos) + exchanged * angles(f64::sin);
        reference::autodiff(&y, &dy, &[("qkv", &qkv)])
    }

    fn slopes(&self) -> Outcome {
        let [qkv, dy] = self.inputs();
        let width = self.shape().width();
        reference::slopes(&[("qkv", &qkv)], &dy, &|inputs| {
            let rows = inputs[0].chunks(width).zip(&self.positions).flat_map(|(row, position)| {
                (0..width).map(move |column| {
                    let (partner, sign) = self.partner(column);
                    let (sin, cos) = self.angle(*position, column).sin_cos();
                    row[column] * cos + sign * row[partner] * sin
                })
            });
            rows.collect()
        })
    }
}

fn case([n_heads, n_kv_heads, head_dim]: [usize; 3], positions: &[u32]) -> Rotation {
    Rotation { n_heads, n_kv_heads, head_dim, positions: positions.to_vec(), way_back: Turn::Backward }
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
    assert_equals_autodiff(&cases);
}

#[test]
fn rope_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case([1, 1, 2], &[3]), case([4, 2, 6], &[0, 1, 2, 0, 40])]);
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
