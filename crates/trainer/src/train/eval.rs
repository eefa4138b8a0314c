//! Scores held-out samples.

use ftl_core::metrics::Evaluated;
use ftl_core::stop::StopSignal;

use crate::data::batch::Batch;
use crate::data::sample::Sample;
use crate::model::decoder::Decoder;

/// Scores `samples` after `step`, `batch_size` of them at once; `None` if stopped before the end.
pub fn evaluate(
    decoder: &Decoder,
    samples: &[Sample],
    (batch_size, step): (usize, u64),
    stop: &StopSignal,
) -> Option<Evaluated> {
    let (mut sum_nats, mut n_correct, mut n_tokens) = (0.0, 0u64, 0u64);
    for samples in samples.chunks(batch_size) {
        if stop.raised().is_some() {
            return None;
        }
        for score in decoder.score(&Batch::of(samples)) {
            sum_nats += f64::from(score.nll_nats);
            n_correct += u64::from(score.correct);
            n_tokens += 1;
        }
    }
    let loss_nats = sum_nats / n_tokens as f64;
    Some(Evaluated {
        step,
        loss_nats,
        perplexity: loss_nats.exp(),
        token_accuracy: n_correct as f64 / n_tokens as f64,
        tokens: n_tokens,
    })
}
