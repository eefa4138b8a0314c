//! AdamW and the global norm.

use burn::tensor::Device;
use ftl_core::spec::resolved::AdamW;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::param::{Gradients, Slot};
use ftl_trainer::optim::adamw::{Coefficients, Decay, Moments, update};
use ftl_trainer::optim::clip::{factor, global_norm};

use crate::draw::Draw;
use crate::operation::TOLERANCE;
use crate::outcome::{Outcome, difference, difference_of, values};

#[derive(Clone, Copy, Debug)]
struct Run {
    shape: [usize; 2],
    n_steps: u64,
    decay: Decay,
    clip: f64,
    /// The number of the first step.
    first: u64,
}

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-3, weight_decay: 0.1 };

fn learning_rate(step: u64) -> f64 {
    0.02 / step as f64
}

impl Run {
    fn gradient_of(&self, step: u64) -> burn::tensor::Tensor<2> {
        Draw::new(100 + step).tensor(self.shape)
    }

    fn run(&self, kernels: Kernels) -> Outcome {
        let mut weight = Draw::new(20).tensor(self.shape);
        let mut moments = Moments::zeros(&weight);
        for step in 1..=self.n_steps {
            let gradient = self.gradient_of(step);
            let step = self.first - 1 + step;
            let coefficients = Coefficients::new(&ADAMW, self.decay, learning_rate(step), step, self.clip);
            update(kernels, &mut weight, &gradient, &mut moments, &coefficients);
        }
        Outcome::from([
            ("weight".to_owned(), values(&weight)),
            ("first".to_owned(), values(&moments.first)),
            ("second".to_owned(), values(&moments.second)),
        ])
    }

    /// Algorithm 2 of the paper, with its bias-corrected moments.
    fn formula(&self) -> Outcome {
        let AdamW { beta1, beta2, epsilon, weight_decay } = ADAMW;
        let mut weight = values(&Draw::new(20).tensor(self.shape));
        let (mut m, mut v) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
        for step in 1..=self.n_steps {
            let gradient = values(&self.gradient_of(step));
            let (rate, t) = (learning_rate(step), step as i32);
            let decay = match self.decay {
                Decay::Applies => weight_decay,
                Decay::Exempt => 0.0,
            };
            for i in 0..weight.len() {
                let g = gradient[i] * self.clip;
                m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - beta1.powi(t)), v[i] / (1.0 - beta2.powi(t)));
                weight[i] -= rate * decay * weight[i];
                weight[i] -= rate * m_hat / (v_hat.sqrt() + epsilon);
            }
        }
        Outcome::from([("weight".to_owned(), weight), ("first".to_owned(), m), ("second".to_owned(), v)])
    }
}

const RUN: Run = Run { shape: [9, 7], n_steps: 6, decay: Decay::Applies, clip: 0.5, first: 1 };

#[test]
fn adamw_follows_its_formula() {
    let mut worst = 0f64;
    // 32,768 values are one task of the CPU version.
    for shape in [[1, 1], [9, 7], [181, 182]] {
        for (decay, clip) in [(Decay::Applies, 1.0), (Decay::Exempt, 1.0), (Decay::Applies, 0.25)] {
            let run = Run { shape, decay, clip, ..RUN };
            for kernels in [Kernels::Plain, Kernels::Cpu] {
                let seen = difference(&run.run(kernels), &run.formula());
                assert!(seen < TOLERANCE, "{run:?} {kernels:?}: {seen:.1e}");
                worst = worst.max(seen);
            }
        }
    }
    println!("worst {worst:.1e}");
}

#[test]
fn adamw_without_decay_or_clipping_or_off_by_a_step_is_noticed() {
    for wrong in [
        Run { decay: Decay::Exempt, ..RUN },
        Run { clip: 1.0, ..RUN },
        Run { first: 2, ..RUN },
        Run { n_steps: 5, ..RUN },
    ] {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let seen = difference(&wrong.run(kernels), &RUN.formula());
            assert!(seen > 10.0 * TOLERANCE, "{wrong:?} {kernels:?}: {seen:.1e}");
        }
    }
}

#[test]
fn the_global_norm_is_over_all_gradients() {
    let mut draw = Draw::new(21);
    // 65,536 values are one task of the CPU version.
    let shapes = [[1, 1], [3, 5], [300, 300]];
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let mut gradients = Gradients::zeros(shapes, &Device::flex(), kernels);
        let mut squares = 0.0;
        for (slot, shape) in shapes.into_iter().enumerate() {
            let gradient = draw.tensor(shape);
            squares += values(&gradient).iter().map(|value| value * value).sum::<f64>();
            gradients.add(Slot(slot), gradient);
        }
        let norm = global_norm(kernels, &gradients);
        assert!(difference_of(&[norm], &[squares.sqrt()]) < TOLERANCE);
        assert!((factor(norm, Some(norm / 2.0)) - 0.5).abs() < TOLERANCE);
        assert!(factor(norm, Some(2.0 * norm)) == 1.0 && factor(norm, None) == 1.0);
        gradients.clear();
        assert!(global_norm(kernels, &gradients) == 0.0);
    }
}
