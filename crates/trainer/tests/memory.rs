//! What is never in memory at once: what the process allocates is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ftl_core::spec::resolved::{AdamW, MomentFormat, Quantization, Scales};
use ftl_trainer::data::batch::Batch;
use ftl_trainer::device::OpenDevice;
use ftl_trainer::model::decoder::{Decoder, Keep, LossPass, TrainPass, Trained};
use ftl_trainer::model::open::{Start, open_quantized};
use ftl_trainer::ops::cross_entropy::Objective;
use ftl_trainer::ops::param::{Gradients, Param};
use ftl_trainer::train::optimizer::Optimizer;
use serde_json::json;

/// Counts bytes on their way to the system's allocator.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Counts are of the whole process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What `act` returns, and the most bytes that were held at once meanwhile, beyond those before.
fn peak_of<R>(act: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = act();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// The decoder, and the most bytes that were held at once while it was opened, beyond those before.
fn opened(dir: &std::path::Path, start: Start, quantization: Quantization) -> (Decoder, usize) {
    peak_of(|| open_quantized(dir, start, quantization, &OpenDevice::cpu()).expect("a model"))
}

fn write_config(dir: &std::path::Path, n_layers: usize) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 512,
        "intermediate_size": 2048, "num_hidden_layers": n_layers, "num_attention_heads": 8,
        "num_key_value_heads": 8, "tie_word_embeddings": true, "initializer_range": 0.02,
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("a config");
}

/// Weights of a layer's linears.
const N_LAYER_WEIGHTS: usize = 4 * 512 * 512 + 3 * 512 * 2048;

#[test]
fn the_dense_model_is_never_in_memory_while_it_is_quantized() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::TempDir::new().expect("a directory");
    write_config(dir.path(), 4);
    let random = Start::Random { seed: 3 };
    let dense_bytes = 4 * N_LAYER_WEIGHTS * size_of::<f32>();

    // Made once as files, so that reading is counted as well.
    let (dense, peak) = opened(dir.path(), random, Quantization::None);
    // A little less: the buffer of a test that ended before may be given back meanwhile.
    assert!(peak >= dense_bytes / 10 * 9, "counting works: {peak} of {dense_bytes}");
    let tensors = dense.named_tensors(Trained::Base);
    let written = ftl_trainer::export::directory::write_model(dir.path(), &dense.config, |spec| {
        Ok(std::borrow::Cow::Owned(tensors.values(&spec.name)))
    });
    written.expect("a model directory");
    drop((tensors, dense));

    for start in [random, Start::Pretrained] {
        for scales in [Scales::F32, Scales::Double] {
            let (decoder, peak) = opened(dir.path(), start, Quantization::Nf4(scales));
            assert!(decoder.is_quantized());
            // The codes are an eighth of it, the scales a sixteenth of the codes; beside them there are one tensor's
            // pieces and what is small.
            assert!(peak * 5 < dense_bytes, "{start:?} {scales:?}: {peak} of {dense_bytes}");
        }
    }
}

#[test]
fn gradients_are_in_memory_only_while_they_are_needed() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::TempDir::new().expect("a directory");
    write_config(dir.path(), 8);
    let (mut decoder, _) = opened(dir.path(), Start::Random { seed: 3 }, Quantization::None);
    decoder.reserve_positions(8);
    decoder.train(Trained::Base);
    let mut batch = Batch::default();
    batch.push(&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let how = LossPass { scale: 0.1, keep: Keep::Everything, dropout: None, noise: None };
    let adamw = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let layer_bytes = N_LAYER_WEIGHTS * size_of::<f32>();

    let mut optimizer = Optimizer::new(&decoder, (adamw, MomentFormat::F32), None);
    let mut gradients = decoder.zero_gradients();
    let ((), all_at_once) = peak_of(|| {
        decoder.loss_and_gradients(&batch, how, &mut gradients);
        optimizer.step(&mut decoder, &mut gradients, 1e-4);
    });
    assert!(all_at_once > 8 * layer_bytes, "counting works: {all_at_once} of {layer_bytes} for each layer");
    // After the update nothing is left of them.
    let ((), again) = peak_of(|| {
        decoder.loss_and_gradients(&batch, how, &mut gradients);
        optimizer.step(&mut decoder, &mut gradients, 1e-4);
    });
    assert!(again > 8 * layer_bytes, "{again}");

    assert!(optimizer.can_step_in_parts(1) && !optimizer.can_step_in_parts(2));
    let ((), in_parts) = peak_of(|| {
        let mut step = optimizer.begin_step(&decoder, 1e-4);
        let update = &mut |param: &mut Param, gradients: &mut Gradients| step.update(param, gradients);
        let pass = TrainPass { keep: Keep::Everything, dropout: None, noise: None };
        let weights = batch.scaled_weights(0.1);
        let objective = Objective::Weighted(&weights);
        decoder.objective_and_updates(&batch, objective, (pass, &mut gradients), update);
    });
    // One layer's gradients, and what a layer works with.
    assert!(in_parts < 2 * layer_bytes, "{in_parts} of {layer_bytes} for each layer");

    let (_, dense) = peak_of(|| Optimizer::new(&decoder, (adamw, MomentFormat::F32), None));
    let (_, coded) = peak_of(|| Optimizer::new(&decoder, (adamw, MomentFormat::Blockwise8Bit), None));
    assert!(dense > 16 * layer_bytes && coded * 3 < dense, "{dense} {coded}");
}
