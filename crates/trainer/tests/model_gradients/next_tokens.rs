//! The next tokens of a sequence, with keys and values kept.

use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::decoder::Decoder;
use serde_json::{Value, json};

use crate::decoder::{VARIANTS, VOCAB, batch, random};
use crate::draw::Draw;
use crate::outcome::{difference_of, values};

const TOLERANCE: f64 = 1e-4;

#[test]
fn next_logits_are_the_logits_of_the_whole_sequence() {
    let sequence = batch(&[23], 1);
    let pieces: [&[usize]; 4] = [&[1; 23], &[23], &[7, 1, 1, 14], &[22, 1]];
    let mut worst = 0f64;
    for (variant, kernels) in
        VARIANTS.into_iter().flat_map(|v| [Kernels::Plain, Kernels::Cpu].map(|kernels| (v, kernels)))
    {
        let decoder = variant.decoder(kernels);
        let whole = decoder.logits(&sequence);
        for lengths in pieces {
            let (mut cache, mut end) = (decoder.cache(), 0);
            for length in lengths {
                let ids = &sequence.ids[end..end + length];
                end += length;
                let next = values(&decoder.next_logits(ids, &mut cache));
                let seen = difference_of(&next, &values(&whole.clone().narrow(0, end - 1, 1)));
                assert!(seen < TOLERANCE, "{variant:?} {kernels:?} {lengths:?}: {seen:.1e}");
                worst = worst.max(seen);

                // Without the tokens before it shows.
                if end > *length {
                    let forgotten = values(&decoder.next_logits(ids, &mut decoder.cache()));
                    assert!(difference_of(&forgotten, &next) > 100.0 * TOLERANCE);
                }
            }
        }
    }
    println!("worst {worst:.1e}");
}

#[test]
fn a_copied_cache_goes_its_own_way() {
    let sequence = batch(&[12], 1);
    let decoder = VARIANTS[0].decoder(Kernels::Cpu);
    let mut cache = decoder.cache();
    decoder.next_logits(&sequence.ids[..10], &mut cache);
    let mut copy = cache.clone();
    let other = values(&decoder.next_logits(&[0, 1, 2], &mut copy));
    let next = values(&decoder.next_logits(&sequence.ids[10..], &mut cache));
    let whole = values(&decoder.logits(&sequence).narrow(0, 11, 1));
    assert!(difference_of(&next, &whole) < TOLERANCE);
    assert!(difference_of(&other, &whole) > 100.0 * TOLERANCE);
}

/// A decoder whose angles depend on how long a sequence is; 12 tokens are short.
fn length_dependent(scaling: Value) -> Decoder {
    let Value::Object(config) = json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 36,
        "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.25, "max_position_embeddings": 12,
        "rope_scaling": scaling,
    }) else {
        unreachable!("the config is an object")
    };
    random(config, Kernels::Cpu, &mut Draw::new(31))
}

fn beginning(sequence: &Batch, n_tokens: usize) -> Batch {
    let mut beginning = Batch::default();
    beginning.push(&sequence.ids[..n_tokens], &vec![0; n_tokens]);
    beginning
}

#[test]
fn a_sequence_that_outgrows_its_angles_goes_on_as_a_long_one() {
    let long =
        json!({"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [4.0, 8.0, 16.0]});
    let dynamic = json!({"rope_type": "dynamic", "factor": 8.0});
    let sequence = batch(&[23], 1);
    // Those of `dynamic` change with every token from here on; earlier keys stay as they are.
    for (decoder, last) in [(length_dependent(long), 23), (length_dependent(dynamic), 13)] {
        for lengths in [vec![1; last], vec![5, 1, 6, 1], vec![10, last - 10]] {
            let (mut cache, mut end) = (decoder.cache(), 0);
            for length in lengths {
                let next = decoder.next_logits(&sequence.ids[end..end + length], &mut cache);
                end += length;
                if end == last && last == 13 {
                    continue;
                }
                let alone = decoder.logits(&beginning(&sequence, end)).narrow(0, end - 1, 1);
                let seen = difference_of(&values(&next), &values(&alone));
                assert!(seen < TOLERANCE, "{end}: {seen:.1e}");
            }
        }
        // As parts of a longer sequence its first tokens are turned otherwise.
        let within = decoder.logits(&beginning(&sequence, 13)).narrow(0, 9, 1);
        let alone = decoder.logits(&beginning(&sequence, 10)).narrow(0, 9, 1);
        assert!(difference_of(&values(&within), &values(&alone)) > 10.0 * TOLERANCE);
    }
}
