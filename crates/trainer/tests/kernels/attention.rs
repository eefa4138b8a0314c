//! Attention: shapes of heads, segments, windows and limited scores.

use std::ops::Range;

use burn::tensor::Device;
use ftl_trainer::kernels::cube::attention::{Units, has_tensor_cores};
use ftl_trainer::kernels::{Gpu, Kernels, Precision, cube};
use ftl_trainer::ops::attention::{self, AttentionShape, Saved, Segments};

use crate::device::{KERNELS, assert_close, device, values};
use crate::random::{self, generator, matrix};

/// Query heads, key/value heads, width of a head.
type Heads = [usize; 3];

struct Case {
    shape: AttentionShape,
    segments: Vec<Range<usize>>,
    qkv: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new([n_heads, n_kv_heads, head_dim]: Heads, lengths: &[usize]) -> Self {
        let scale = (head_dim as f32).powf(-0.5);
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, scale, window: None, softcap: None };
        let mut start = 0;
        let segments = lengths.iter().map(|length| {
            start += length;
            start - length..start
        });
        let segments: Vec<_> = segments.collect();
        let mut rng = generator((n_heads * head_dim + start) as u64);
        // Large enough that some keys matter much more than others.
        let qkv = random::values(&mut rng, start * shape.width()).iter().map(|x| x * 3.0).collect();
        let dy = random::values(&mut rng, start * n_heads * head_dim);
        Self { shape, segments, qkv, dy }
    }

    fn window(mut self, window: usize) -> Self {
        self.shape.window = Some(window);
        self
    }

    fn softcap(mut self, softcap: f32) -> Self {
        self.shape.softcap = Some(softcap);
        self
    }

    /// The case that a device with another type of activations sees.
    fn rounded(&self, kernels: Kernels, device: &Device) -> Self {
        let round = |x: &[f32]| values(kernels.narrow(matrix(x, [1, x.len()], device)));
        Self {
            shape: self.shape,
            segments: self.segments.clone(),
            qkv: round(&self.qkv),
            dy: round(&self.dy),
        }
    }

    /// y, the log-sum-exp, and the gradient of q, k, v.
    fn run(&self, kernels: Kernels, device: &Device) -> [Vec<f32>; 3] {
        let n_tokens = self.segments.last().expect("every case has a segment").end;
        let qkv = kernels.narrow(matrix(&self.qkv, [n_tokens, self.shape.width()], device));
        let width = self.shape.n_heads * self.shape.head_dim;
        let dy = kernels.narrow(matrix(&self.dy, [n_tokens, width], device));
        let segments = Segments::new(kernels, &self.segments, device);
        let saved = attention::forward(kernels, qkv, &segments, &self.shape);
        let (y, log_sum_exp) = (values(saved.y.clone()), values(saved.log_sum_exp.clone()));
        let dqkv = attention::backward(kernels, saved, &dy, &segments, &self.shape);
        [y, log_sum_exp, values(dqkv)]
    }

    /// As [`run`](Self::run), on units of the caller's choice.
    fn run_on(&self, units: Units, kernels: Kernels, device: &Device) -> [Vec<f32>; 3] {
        let n_tokens = self.segments.last().expect("every case has a segment").end;
        let qkv = kernels.narrow(matrix(&self.qkv, [n_tokens, self.shape.width()], device));
        let width = self.shape.n_heads * self.shape.head_dim;
        let dy = kernels.narrow(matrix(&self.dy, [n_tokens, width], device));
        let segments = Segments::new(kernels, &self.segments, device);
        let (y, log_sum_exp) = cube::attention::forward_on(units, &qkv, segments.spans(), &self.shape);
        let saved = Saved { qkv, y: y.clone(), log_sum_exp: log_sum_exp.clone() };
        let dqkv = cube::attention::backward_on(units, &saved, &dy, segments.spans(), &self.shape);
        [values(y), values(log_sum_exp), values(dqkv)]
    }

    #[track_caller]
    fn check(&self, name: &str, device: &Device) {
        self.compare(name, &self.run(KERNELS, device), 2e-5);
    }

    #[track_caller]
    fn compare(&self, name: &str, got: &[Vec<f32>; 3], tolerance: f32) {
        let want = self.run(Kernels::Plain, &Device::flex());
        for (what, (got, want)) in ["y", "log-sum-exp", "dqkv"].iter().zip(got.iter().zip(&want)) {
            assert_close(&format!("{name}, {what}"), got, want, tolerance);
        }
    }
}

#[test]
fn attention_of_every_shape_of_heads_equals_the_plain_version() {
    let Some(device) = device() else { return };
    for heads in
        [[4, 4, 16], [6, 2, 64], [3, 1, 80], [2, 1, 96], [2, 2, 128], [1, 1, 256], [2, 1, 6], [2, 1, 5]]
    {
        Case::new(heads, &[70, 1, 30]).check(&format!("heads {heads:?}"), &device);
    }
}

#[test]
fn attention_stays_inside_segments_of_any_length() {
    let Some(device) = device() else { return };
    for lengths in [&[1][..], &[64], &[65, 63], &[1, 1, 1, 200], &[130, 5, 64, 7], &[3; 40]] {
        Case::new([2, 1, 32], lengths).check(&format!("segments {lengths:?}"), &device);
    }
}

#[test]
fn attention_through_a_window_equals_the_plain_version() {
    let Some(device) = device() else { return };
    for window in [1, 2, 63, 64, 65, 100, 1000] {
        let case = Case::new([2, 1, 32], &[150, 40]).window(window);
        case.check(&format!("window {window}"), &device);
    }
}

#[test]
fn attention_with_limited_scores_equals_the_plain_version() {
    let Some(device) = device() else { return };
    Case::new([4, 2, 32], &[90, 20]).softcap(2.0).check("limited", &device);
    Case::new([4, 2, 32], &[90, 20]).softcap(3.0).window(50).check("limited, through a window", &device);
}

#[test]
fn attention_is_repeated_bit_by_bit() {
    let Some(device) = device() else { return };
    let case = Case::new([4, 2, 32], &[100, 60]);
    assert_eq!(case.run(KERNELS, &device), case.run(KERNELS, &device));
}

#[test]
fn a_forgotten_segment_is_noticed() {
    let Some(device) = device() else { return };
    let case = Case::new([2, 1, 32], &[40, 40]);
    let joined = Case { segments: Case::new([2, 1, 32], &[80]).segments, ..Case::new([2, 1, 32], &[40, 40]) };
    for (got, want) in case.run(KERNELS, &device).iter().zip(&joined.run(KERNELS, &device)) {
        assert_ne!(got, want);
    }
}

/// What tensor cores do, spelled out in `f32`: their fragments, the layout of their tiles and the order of their products
/// are tested where there are none.
#[test]
fn attention_on_spelled_out_tensor_cores_equals_the_plain_version() {
    let Some(device) = device() else { return };
    let case = Case::new([2, 1, 16], &[70, 1, 30]);
    let got = case.run_on(Units::SpelledTensorCores, KERNELS, &device);
    case.compare("spelled out", &got, 2e-5);
    let case = Case::new([4, 2, 16], &[3, 90, 10]).window(40);
    let got = case.run_on(Units::SpelledTensorCores, KERNELS, &device);
    case.compare("spelled out, through a window", &got, 2e-5);
}

/// In 16 bits: what is read, and the probabilities, are rounded to 8 or 11 of them.
#[test]
fn attention_on_tensor_cores_equals_the_plain_version() {
    let Some(device) = device() else { return };
    for (precision, tolerance) in [(Precision::Bf16, 1.5e-2), (Precision::F16, 3e-3)] {
        let kernels = Kernels::Cube(Gpu { precision });
        if !device.supports_dtype(precision.dtype()) {
            eprintln!("skipped: the device has no {precision}");
            continue;
        }
        for heads in [[2, 1, 16], [4, 2, 64], [2, 1, 80], [2, 1, 96], [2, 1, 128], [1, 1, 256]] {
            let case = Case::new(heads, &[150, 1, 64, 30]);
            check_on_tensor_cores(&case, kernels, &device, tolerance);
            check_on_tensor_cores(&case.window(70).softcap(20.0), kernels, &device, tolerance);
        }
    }
}

#[track_caller]
fn check_on_tensor_cores(case: &Case, kernels: Kernels, device: &Device, tolerance: f32) {
    let qkv =
        kernels.narrow(matrix(&case.qkv, [case.qkv.len() / case.shape.width(), case.shape.width()], device));
    let name = format!("{:?}, {:?}", kernels.dtype(), case.shape);
    if !has_tensor_cores(&qkv, case.shape.head_dim) {
        eprintln!("skipped: no tensor cores for {name}");
        return;
    }
    for units in [Units::TensorCores, Units::Registers] {
        let got = case.run_on(units, kernels, device);
        case.rounded(kernels, device).compare(&format!("{units:?}, {name}"), &got, tolerance);
        assert_eq!(got, case.run_on(units, kernels, device), "{units:?}, {name}: the same bits again");
    }
}
