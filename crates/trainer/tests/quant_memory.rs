//! A base that is quantized while it loads is never in memory as a dense model: what the process allocates is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use ftl_core::spec::resolved::{Quantization, Scales};
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::model::open::{Start, open_quantized};
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

/// The decoder, and the most bytes that were held at once while it was opened, beyond those before.
fn opened(dir: &std::path::Path, start: Start, quantization: Quantization) -> (Decoder, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let decoder = open_quantized(dir, start, quantization, &Device::flex()).expect("a model");
    (decoder, PEAK.load(Ordering::Relaxed) - before)
}

#[test]
fn the_dense_model_is_never_in_memory_while_it_is_quantized() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 512,
        "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8,
        "tie_word_embeddings": true, "initializer_range": 0.02,
    });
    fs::write(dir.path().join("config.json"), config.to_string()).expect("a config");
    let random = Start::Random { seed: 3 };
    let n_weights = 4 * (4 * 512 * 512 + 3 * 512 * 2048);
    let dense_bytes = n_weights * size_of::<f32>();

    // Made once as files, so that reading is counted as well.
    let (dense, peak) = opened(dir.path(), random, Quantization::None);
    assert!(peak >= dense_bytes, "counting works: {peak} of {dense_bytes}");
    let tensors = dense.named_tensors(ftl_trainer::ops::param::Owner::Base);
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
