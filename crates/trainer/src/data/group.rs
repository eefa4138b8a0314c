//! Samples of similar length together, as transformers' `LengthGroupedSampler` puts them: a drawn order is cut into
//! parts of many batches, each part sorted by length. Nothing is padded here, so it saves no work; microbatches differ
//! less within their neighbourhood, and the largest of all is the first, so that memory that will not do says so at
//! once.

/// Batches of a part; transformers' `megabatch_mult`.
const MAX_BATCHES: usize = 50;
/// With few samples a part is at most this share of them, so that the order stays random.
const LEAST_PARTS: usize = 4;

/// Sorts parts of `order` by `lengths`, longest first, and puts the longest sample of all in front. `batch_size` is
/// that of a step, accumulation included.
pub fn by_length(mut order: Vec<usize>, lengths: &[usize], batch_size: usize) -> Vec<usize> {
    let n_batches = (order.len() / batch_size.saturating_mul(LEAST_PARTS)).clamp(1, MAX_BATCHES);
    let part = batch_size.saturating_mul(n_batches);
    for samples in order.chunks_mut(part) {
        samples.sort_by_key(|sample| std::cmp::Reverse(lengths[*sample]));
    }
    // Of equals the first part's, as transformers' `argmax` chooses.
    let longest =
        (0..order.len()).step_by(part).max_by_key(|start| (lengths[order[*start]], usize::MAX - start));
    if let Some(longest) = longest {
        order.swap(0, longest);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::by_length;

    #[test]
    fn parts_are_sorted_and_the_longest_is_first() {
        // 16 samples, batch 2: two batches in a part.
        let lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3];
        let grouped = by_length((0..16).collect(), &lengths, 2);
        assert_eq!(grouped, [5, 0, 1, 3, 2, 7, 4, 6, 11, 8, 10, 9, 12, 14, 13, 15]);
        let mut all = grouped;
        all.sort_unstable();
        assert_eq!(all, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn few_samples_are_one_part() {
        assert_eq!(by_length(vec![0, 1, 2], &[1, 3, 2], 4), [1, 2, 0]);
        assert_eq!(by_length(Vec::new(), &[], 4), [0; 0]);
    }
}
