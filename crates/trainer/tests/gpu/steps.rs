//! Many steps in a row.

use ftl_core::spec::resolved::{self, MomentFormat};
use ftl_trainer::adapter::lora::{self, LoraSource};
use ftl_trainer::adapter::peft::AdapterConfig;
use ftl_trainer::data::batch::Batch;
use ftl_trainer::model::decoder::{Keep, LossPass, Trained};
use ftl_trainer::model::open::{Start, open_decoder};
use ftl_trainer::train::optimizer::Optimizer;

use crate::device::devices;
use crate::golden::directory;

/// A batch whose rows are as long in every step, so that all take the same memory.
fn batch(step: u32) -> Batch {
    let mut batch = Batch::default();
    for row in 0..2 {
        let ids: Vec<u32> = (0..48).map(|i| (i * 7 + row * 13 + step % 4) % 400 + 5).collect();
        let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        batch.push(&ids, &labels);
    }
    batch
}

#[test]
fn a_hundred_steps_stay_finite_learn_and_take_no_more_memory() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for (device, _) in devices() {
        let mut decoder =
            open_decoder(&fixtures.join("models/llama"), Start::Pretrained, device).expect("a golden model");
        let config = AdapterConfig { r: 8, lora_alpha: 16.0, ..AdapterConfig::default() };
        lora::attach(&mut decoder, &config, LoraSource::Fresh { seed: 1 }).expect("it fits");
        decoder.train(Trained::Adapter);
        decoder.reserve_positions(48);
        let adamw = resolved::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
        let mut optimizer = Optimizer::new(&decoder, (adamw, MomentFormat::F32), Some(1.0));
        let mut gradients = decoder.zero_gradients();
        let reserved = || device.device.memory_pool_usage().map(|usage| usage.bytes_reserved);
        let (mut losses, mut early) = (Vec::new(), None);
        for step in 0..100 {
            let batch = batch(step);
            let scale = 1.0 / batch.n_supervised() as f64;
            let pass = LossPass { scale, keep: Keep::Everything, dropout: None, noise: None };
            gradients.clear();
            losses.push(decoder.loss_and_gradients(&batch, pass, &mut gradients) * scale);
            let norm = optimizer.step(&mut decoder, &mut gradients, 5e-3);
            assert!(
                losses[step as usize].is_finite() && norm.is_finite(),
                "step {step}: {losses:?}, norm {norm}"
            );
            if step == 20 {
                early = reserved();
            }
        }
        let (first, last) = (losses[0], losses[99]);
        println!(
            "{} on {}: loss {first:.3} to {last:.3}, {:?} bytes reserved",
            device.precision,
            device.name,
            reserved()
        );
        assert!(last < first - 1.0, "{first} to {last}");
        if let (Some(early), Some(late)) = (early, reserved()) {
            // Descriptions of launches come and go by the kilobyte.
            assert!(late <= early + early / 100, "{early} bytes after 20 and {late} after 100 steps");
        }
    }
}
