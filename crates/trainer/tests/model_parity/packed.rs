//! Several documents in one row.

use std::fs;
use std::path::Path;

use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::decoder::Decoder;

use crate::golden::{self, Tensors, directory, json};
use crate::outcome::{difference_of, values};

/// Relative to the largest logit or negative log-likelihood: as `models/llama` suggests for its logits.
const TOLERANCE: f64 = 1e-4 / 5.0;

#[test]
fn packed_documents_score_as_alone_in_transformers() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    // Trees of reference numbers have other models.
    let folder = fs::read_dir(fixtures.join("packed")).expect("packed rows");
    let mut models: Vec<_> = folder.map(|entry| entry.expect("an entry").file_name()).collect();
    models.sort();
    assert!(!models.is_empty());
    models.iter().for_each(|model| check(&fixtures, &model.to_string_lossy()));
}

#[expect(clippy::print_stdout, reason = "shows how far from the tolerance each model is")]
fn check(fixtures: &Path, model: &str) {
    let dir = fixtures.join("packed").join(model);
    let (tensors, json) = (Tensors::read(&dir.join("golden.safetensors")), json(&dir.join("golden.json")));
    let ids: Vec<u32> = tensors.rows("input_ids")[0].iter().map(|id| *id as u32).collect();
    let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let ends: Vec<usize> = tensors.rows("cu_seqlens")[0].iter().map(|end| *end as usize).collect();
    let mut batch = Batch::default();
    for document in ends.windows(2).map(|pair| pair[0]..pair[1]) {
        batch.push(&ids[document.clone()], &labels[document]);
    }
    let positions: Vec<u32> =
        tensors.rows("position_ids")[0].iter().map(|position| *position as u32).collect();
    assert_eq!(batch.positions, positions);

    let nll = tensors.rows("token_nll").concat();
    let borders: Vec<usize> = ends[1..].iter().map(|end| end - 1).collect();
    let nll: Vec<f64> = (0..nll.len()).filter(|t| !borders.contains(t)).map(|t| nll[t]).collect();
    assert_eq!(nll.len() as u64, json["label_tokens"].as_u64().expect("a count"));
    let last_logits = tensors.rows("logits_last_document").concat();
    let last = batch.segments.last().expect("documents").clone();

    let decoder = golden::decoder(&fixtures.join("models").join(model));
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let decoder = Decoder { kernels, ..decoder.clone() };
        let scores = |batch: &Batch| -> Vec<f64> {
            decoder.score(batch).iter().map(|score| score.nll_nats.into()).collect()
        };
        let logits = |batch: &Batch| values(&decoder.logits(batch).narrow(0, last.start, last.len()));
        let seen = [difference_of(&scores(&batch), &nll), difference_of(&logits(&batch), &last_logits)];
        println!("{model} {kernels:?}: token nll {:.1e}, logits {:.1e}", seen[0], seen[1]);
        assert!(seen.iter().all(|seen| *seen < TOLERANCE));
        let loss = scores(&batch).iter().sum::<f64>() / nll.len() as f64;
        assert!(difference_of(&[loss], &[json["loss"].as_f64().expect("a number")]) < TOLERANCE);

        let whole = 0..batch.n_tokens();
        let borderless = Batch { segments: vec![whole], ..batch.clone() };
        assert!(difference_of(&scores(&borderless), &nll) > 100.0 * TOLERANCE);
        assert!(difference_of(&logits(&borderless), &last_logits) > 100.0 * TOLERANCE);
    }
}
