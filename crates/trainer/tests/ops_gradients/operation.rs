//! What the tests of all operations have in common.

use std::fmt::Debug;

use ftl_trainer::kernels::Kernels;

use crate::outcome::{Outcome, difference};

/// Rounding of f32.
pub const TOLERANCE: f64 = 2e-5;

/// An operation on one set of inputs, made of the case's sizes and a fixed seed.
pub trait Operation: Debug {
    /// The output and all gradients of Σ dy · y, with the operation's own backward.
    fn run(&self, kernels: Kernels) -> Outcome;

    /// The same by burn's autodiff of a naive formula.
    fn autodiff(&self) -> Outcome;

    /// The same by central differences of a naive formula in f64.
    fn slopes(&self) -> Outcome;
}

/// Both versions against each other and against autodiff.
#[expect(clippy::print_stdout, reason = "shows how far from the tolerance the worst case is")]
pub fn assert_equals_autodiff(cases: &[impl Operation]) {
    let mut worst = [0f64; 2];
    for case in cases {
        let [plain, cpu] = [Kernels::Plain, Kernels::Cpu].map(|kernels| case.run(kernels));
        let autodiff = case.autodiff();
        let seen = [difference(&plain, &cpu), difference(&plain, &autodiff).max(difference(&cpu, &autodiff))];
        assert!(
            seen.iter().all(|seen| *seen < TOLERANCE),
            "{case:?}: {:.1e} to each other, {:.1e} to autodiff",
            seen[0],
            seen[1]
        );
        worst = [worst[0].max(seen[0]), worst[1].max(seen[1])];
    }
    println!("worst of {}: plain to cpu {:.1e}, to autodiff {:.1e}", cases.len(), worst[0], worst[1]);
}

/// Both versions against central differences.
#[expect(clippy::print_stdout, reason = "shows how far from the tolerance the worst case is")]
pub fn assert_equals_slopes(cases: &[impl Operation]) {
    let mut worst = 0f64;
    for case in cases {
        let slopes = case.slopes();
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let seen = difference(&case.run(kernels), &slopes);
            assert!(seen < TOLERANCE, "{case:?} {kernels:?}: {seen:.1e}");
            worst = worst.max(seen);
        }
    }
    println!("worst of {}: to central differences {worst:.1e}", cases.len());
}

/// That each reference would tell `wrong` from `right`.
pub fn assert_differs(right: &impl Operation, wrong: &impl Operation) {
    for reference in [right.autodiff(), right.slopes()] {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let seen = difference(&wrong.run(kernels), &reference);
            assert!(seen > 10.0 * TOLERANCE, "{wrong:?} {kernels:?}: {seen:.1e}");
        }
    }
}
