//! The next tokens of a sequence, with keys and values kept.

use ftl_trainer::kernels::Kernels;

use crate::decoder::{VARIANTS, batch};
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
