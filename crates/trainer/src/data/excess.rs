//! Samples that are longer than the limit.

use ftl_core::spec::resolved::ExcessLength;

use super::sample::{IGNORED, Sample};

/// What became of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitted {
    /// It is short enough.
    Whole(Sample),
    /// Its end was cut off.
    Cut(Sample),
    /// It became several; those without a supervised token are left out.
    Pieces {
        /// The samples, in order.
        kept: Vec<Sample>,
        /// How many were left out.
        n_left_out: usize,
    },
    /// It is left out.
    Dropped,
    /// The strategy is to refuse it.
    Refused,
}

/// Fits `sample` into `max_length` tokens, at least 2.
///
/// A split sample's pieces are consecutive and do not overlap. Where the sample begins with `bos`, each piece does,
/// and that added token is not learned:
///
/// ```text
/// max_length 4    <s> a b c d e f   ->   <s> a b c | <s> d e f
/// ```
pub fn fit(sample: Sample, max_length: usize, strategy: ExcessLength, bos: Option<u32>) -> Fitted {
    if sample.ids.len() <= max_length {
        return Fitted::Whole(sample);
    }
    match strategy {
        ExcessLength::Error => Fitted::Refused,
        ExcessLength::Drop => Fitted::Dropped,
        ExcessLength::Truncate => {
            let Sample { mut ids, mut labels } = sample;
            ids.truncate(max_length);
            labels.truncate(max_length);
            let sample = Sample { ids, labels };
            if sample.supervised_tokens() == 0 { Fitted::Dropped } else { Fitted::Cut(sample) }
        }
        ExcessLength::Split => split(&sample, max_length, bos),
    }
}

fn split(sample: &Sample, max_length: usize, bos: Option<u32>) -> Fitted {
    let again = bos.filter(|bos| sample.ids.first() == Some(bos) && max_length > 1);
    let mut kept = Vec::new();
    let mut n_left_out = 0;
    let mut start = 0;
    while start < sample.ids.len() {
        let mut piece = Sample { ids: Vec::new(), labels: Vec::new() };
        if let Some(bos) = again.filter(|_| start > 0) {
            piece.ids.push(bos);
            piece.labels.push(IGNORED);
        }
        let end = sample.ids.len().min(start + max_length - piece.ids.len());
        piece.ids.extend_from_slice(&sample.ids[start..end]);
        piece.labels.extend_from_slice(&sample.labels[start..end]);
        start = end;
        if piece.supervised_tokens() == 0 {
            n_left_out += 1;
        } else {
            kept.push(piece);
        }
    }
    if kept.is_empty() { Fitted::Dropped } else { Fitted::Pieces { kept, n_left_out } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(ids: &[u32]) -> Sample {
        Sample { ids: ids.to_vec(), labels: ids.iter().map(|id| *id as i32).collect() }
    }

    #[test]
    fn what_fits_stays() {
        for strategy in [ExcessLength::Error, ExcessLength::Drop, ExcessLength::Truncate, ExcessLength::Split]
        {
            assert_eq!(fit(learned(&[1, 2, 3]), 3, strategy, Some(1)), Fitted::Whole(learned(&[1, 2, 3])));
        }
    }

    #[test]
    fn what_does_not_fit_follows_the_strategy() {
        let long = || learned(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(fit(long(), 4, ExcessLength::Error, None), Fitted::Refused);
        assert_eq!(fit(long(), 4, ExcessLength::Drop, None), Fitted::Dropped);
        assert_eq!(fit(long(), 4, ExcessLength::Truncate, None), Fitted::Cut(learned(&[1, 2, 3, 4])));
        let kept = vec![learned(&[1, 2, 3, 4]), learned(&[5, 6, 7])];
        assert_eq!(fit(long(), 4, ExcessLength::Split, Some(9)), Fitted::Pieces { kept, n_left_out: 0 });
    }

    #[test]
    fn pieces_begin_as_the_sample_does() {
        let second = Sample { ids: vec![1, 5, 6, 7], labels: vec![IGNORED, 5, 6, 7] };
        let kept = vec![learned(&[1, 2, 3, 4]), second];
        assert_eq!(
            fit(learned(&[1, 2, 3, 4, 5, 6, 7]), 4, ExcessLength::Split, Some(1)),
            Fitted::Pieces { kept, n_left_out: 0 }
        );
    }

    #[test]
    fn what_has_nothing_to_learn_left_is_dropped() {
        let sample = || Sample { ids: vec![1, 2, 3, 4, 5], labels: vec![IGNORED, IGNORED, IGNORED, 4, 5] };
        assert_eq!(fit(sample(), 3, ExcessLength::Truncate, None), Fitted::Dropped);
        assert_eq!(
            fit(sample(), 3, ExcessLength::Split, None),
            Fitted::Pieces { kept: vec![Sample { ids: vec![4, 5], labels: vec![4, 5] }], n_left_out: 1 }
        );
    }
}
