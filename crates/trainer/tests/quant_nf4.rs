//! Codes, scales and values in 4 bits are bitsandbytes' bit for bit.
//!
//! The reference is `nf4/nf4.safetensors` of the directory in `FTL_FIXTURES`, made with bitsandbytes 0.50.2 on a CPU.

#[path = "support/golden.rs"]
#[expect(dead_code, reason = "only the directory is used here")]
mod golden;

use burn::tensor::Device;
use ftl_core::spec::resolved::Scales;
use ftl_trainer::quant::double::DoubleQuantized;
use ftl_trainer::quant::{Nf4Tensor, Quantizer, StoredScales, double, dynamic, nf4};
use half::bf16;
use safetensors::{Dtype, SafeTensors};

struct Reference(Vec<u8>);

impl Reference {
    fn read() -> Option<Self> {
        let path = golden::directory("FTL_FIXTURES")?.join("nf4/nf4.safetensors");
        Some(Self(std::fs::read(path).expect("the reference numbers")))
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("safetensors")
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        match tensor.dtype() {
            Dtype::F32 => tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::BF16 => {
                tensor.data().as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            other => panic!("{name} is stored as {other:?}"),
        }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.file().tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec()
    }

    fn is_bf16(&self, name: &str) -> bool {
        self.file().tensor(name).expect("a weight").dtype() == Dtype::BF16
    }

    fn cases(&self) -> Vec<String> {
        let file = self.file();
        let mut cases: Vec<String> =
            file.names().iter().filter_map(|name| name.strip_suffix(".weight")).map(str::to_owned).collect();
        cases.sort();
        assert!(!cases.is_empty());
        cases
    }
}

fn quantize(values: &[f32], scales: Scales, n_at_once: usize) -> Nf4Tensor {
    let mut quantizer = Quantizer::new(values.len());
    values.chunks(n_at_once).for_each(|chunk| quantizer.push(chunk));
    quantizer.finish(scales, &Device::flex())
}

fn bits(values: &[f32]) -> Vec<u32> {
    // A weight of -0 and one of +0 are the same weight.
    values.iter().map(|value| (value + 0.0).to_bits()).collect()
}

#[test]
fn levels_are_those_of_bitsandbytes() {
    let Some(reference) = Reference::read() else { return };
    assert_eq!(bits(&nf4::LEVELS), bits(&reference.floats("nf4_code")));
    assert_eq!(bits(&dynamic::SIGNED.levels), bits(&reference.floats("dynamic_8bit_code")));
}

#[test]
fn codes_and_scales_are_those_of_bitsandbytes() {
    let Some(reference) = Reference::read() else { return };
    for case in reference.cases() {
        let weight = reference.floats(&format!("{case}.weight"));
        for n_at_once in [64, 640, usize::MAX] {
            let single = |name: &str| format!("{case}.single.{name}");
            let (codes, scales) = quantize(&weight, Scales::F32, n_at_once).stored();
            assert_eq!(codes, reference.bytes(&single("packed")), "{case}");
            let StoredScales::Single(scales) = scales else { panic!("{case}: scales in f32 were asked for") };
            assert_eq!(bits(&scales), bits(&reference.floats(&single("absmax"))), "{case}");

            let double = |name: &str| format!("{case}.double.{name}");
            let (codes, scales) = quantize(&weight, Scales::Double, n_at_once).stored();
            assert_eq!(codes, reference.bytes(&double("packed")), "{case}");
            let StoredScales::Double(DoubleQuantized { codes, absmax, offset }) = scales else {
                panic!("{case}: scales in 8 bits were asked for")
            };
            assert_eq!(offset.to_bits(), reference.floats(&double("offset"))[0].to_bits(), "{case}");
            assert_eq!(bits(&absmax), bits(&reference.floats(&double("nested_absmax"))), "{case}");
            assert_eq!(codes, reference.bytes(&double("absmax")), "{case}");
        }
    }
}

#[test]
fn values_are_those_of_bitsandbytes_generic_path() {
    let Some(reference) = Reference::read() else { return };
    for case in reference.cases() {
        let weight = reference.floats(&format!("{case}.weight"));
        for (scales, name) in [(Scales::F32, "single"), (Scales::Double, "double")] {
            let tensor = quantize(&weight, scales, usize::MAX);
            let name = format!("{case}.{name}.dequant");
            let want = reference.floats(&name);
            let mut got = vec![f32::NAN; weight.len()];
            tensor.dequantize_into(0..weight.len(), &mut got);
            let plain: Vec<f32> = tensor.dequantize().into_data().try_into_vec().expect("f32");
            assert_eq!(bits(&got), bits(&plain), "{name}: the two versions");
            // bitsandbytes gives a bf16 weight back in bf16.
            if reference.is_bf16(&name) {
                got.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32());
            }
            assert_eq!(bits(&got), bits(&want), "{name}");
        }
    }
}

#[test]
fn any_range_of_values_is_that_part_of_all() {
    let weight: Vec<f32> = (0..40_000).map(|i| ((i * 7919) % 1013) as f32 / 1013.0 - 0.5).collect();
    let tensor = quantize(&weight, Scales::Double, usize::MAX);
    let mut all = vec![0.0; weight.len()];
    tensor.dequantize_into(0..weight.len(), &mut all);
    for range in [0..0, 0..1, 1..2, 63..65, 64..128, 100..39_999, 17_001..33_400, 39_999..40_000] {
        let mut part = vec![0.0; range.len()];
        tensor.dequantize_into(range.clone(), &mut part);
        assert_eq!(part, all[range]);
    }
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > 0.1;
    assert!(!weight.iter().zip(&all).any(far) && weight != all);
}

#[test]
fn zeros_stay_zeros() {
    for (n_values, scales) in [(128, Scales::F32), (128, Scales::Double), (70, Scales::F32)] {
        let tensor = quantize(&vec![0.0; n_values], scales, usize::MAX);
        let values: Vec<f32> = tensor.dequantize().into_data().try_into_vec().expect("f32");
        assert!(values.iter().all(|value| *value == 0.0), "{n_values}");
    }
}

#[test]
fn mean_rounds_as_that_of_torch() {
    // torch 2.15.0 on one thread: the mean of `(i * 7919) % 1013 / 1013` in float32.
    for (n, want) in MEANS {
        let values: Vec<f32> = (0..n).map(|i| (f64::from((i * 7919) % 1013) / 1013.0) as f32).collect();
        assert_eq!(double::mean(&values).to_bits(), want, "{n}");
    }
}

const MEANS: [(u32, u32); 11] = [
    (1, 0x00000000),
    (3, 0x3ef7d433),
    (7, 0x3ee77c97),
    (8, 0x3ef8bc05),
    (31, 0x3f04c7fd),
    (100, 0x3f00014c),
    (1013, 0x3effbf4e),
    (5000, 0x3effd294),
    (27_648, 0x3effc4bb),
    (131_072, 0x3effbff8),
    (250_001, 0x3effbfbd),
];
