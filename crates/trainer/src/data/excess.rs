//! Samples that are longer than the limit.

use ftl_core::spec::resolved::ExcessLength;

use super::sample::{IGNORED, Sample};

/// What became of a sample.
#[derive(Clone, Debug, PartialEq)]
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
///
/// A pair fits where both its sides do. Its longer sides are cut each at its own end, as TRL does; a pair of which an
/// answer is cut away, or whose sides become the same, has nothing to compare and is dropped.
pub fn fit(sample: Sample, max_length: usize, strategy: ExcessLength, bos: Option<u32>) -> Fitted {
    if sample.longest_segment() <= max_length {
        return Fitted::Whole(sample);
    }
    match strategy {
        ExcessLength::Error => Fitted::Refused,
        ExcessLength::Drop => Fitted::Dropped,
        ExcessLength::Truncate => truncate(&sample, max_length),
        ExcessLength::Split => split(&sample, max_length, bos),
    }
}

fn truncate(sample: &Sample, max_length: usize) -> Fitted {
    let mut sides = sample.segments().map(|side| side.part(0..side.ids.len().min(max_length)));
    let cut = match (sides.next(), sides.next()) {
        (Some(chosen), Some(rejected)) if chosen != rejected => Sample::pair(chosen, rejected),
        (Some(text), None) => text,
        (Some(_), Some(_)) | (None, _) => return Fitted::Dropped,
    };
    if cut.segments().any(|side| side.supervised_tokens() == 0) { Fitted::Dropped } else { Fitted::Cut(cut) }
}

fn split(sample: &Sample, max_length: usize, bos: Option<u32>) -> Fitted {
    let again = bos.filter(|bos| sample.ids.first() == Some(bos) && max_length > 1);
    let mut kept = Vec::new();
    let mut n_left_out = 0;
    let mut start = 0;
    while start < sample.ids.len() {
        let bos = again.filter(|_| start > 0);
        let end = sample.ids.len().min(start + max_length - usize::from(bos.is_some()));
        let mut piece = sample.part(start..end);
        if let Some(bos) = bos {
            piece.ids.insert(0, bos);
            piece.labels.insert(0, IGNORED);
            piece.weights = piece.weights.map(|weights| [&[1.0], &*weights].concat().into());
        }
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
        Sample::new(ids.to_vec(), ids.iter().map(|id| *id as i32).collect())
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
        let second = Sample::new(vec![1, 5, 6, 7], vec![IGNORED, 5, 6, 7]);
        let kept = vec![learned(&[1, 2, 3, 4]), second];
        assert_eq!(
            fit(learned(&[1, 2, 3, 4, 5, 6, 7]), 4, ExcessLength::Split, Some(1)),
            Fitted::Pieces { kept, n_left_out: 0 }
        );
    }

    #[test]
    fn weights_stay_with_their_labels() {
        let weights: Box<[f32]> = [1.0, 2.0, 3.0, 4.0, 5.0].into();
        let sample = Sample { weights: Some(weights), ..learned(&[1, 2, 3, 4, 5]) };
        let Fitted::Pieces { kept, .. } = fit(sample.clone(), 3, ExcessLength::Split, Some(1)) else {
            panic!("pieces");
        };
        let weights: Vec<_> = kept.iter().map(|piece| piece.weights.as_deref().expect("weights")).collect();
        assert_eq!(weights, [[1.0, 2.0, 3.0].as_slice(), &[1.0, 4.0, 5.0]]);
        let Fitted::Cut(cut) = fit(sample, 2, ExcessLength::Truncate, None) else { panic!("cut") };
        assert_eq!(cut.weights.as_deref(), Some([1.0, 2.0].as_slice()));
    }

    #[test]
    fn pairs_fit_as_a_whole() {
        let answer = |ids: &[u32]| {
            let mut answer = learned(ids);
            answer.labels[0] = IGNORED;
            answer.labels[1] = IGNORED;
            answer
        };
        let pair = || Sample::pair(answer(&[1, 2, 3]), answer(&[1, 2, 4, 5, 6]));
        assert_eq!(fit(pair(), 5, ExcessLength::Error, None), Fitted::Whole(pair()));
        assert_eq!(fit(pair(), 4, ExcessLength::Error, None), Fitted::Refused);
        assert_eq!(fit(pair(), 4, ExcessLength::Drop, None), Fitted::Dropped);
        let cut = Sample::pair(answer(&[1, 2, 3]), answer(&[1, 2, 4, 5]));
        assert_eq!(fit(pair(), 4, ExcessLength::Truncate, None), Fitted::Cut(cut));
        assert_eq!(fit(pair(), 2, ExcessLength::Truncate, None), Fitted::Dropped);
        let alike = Sample::pair(answer(&[1, 2, 3]), answer(&[1, 2, 3, 4]));
        assert_eq!(fit(alike, 3, ExcessLength::Truncate, None), Fitted::Dropped);
    }

    #[test]
    fn what_has_nothing_to_learn_left_is_dropped() {
        let sample = || Sample::new(vec![1, 2, 3, 4, 5], vec![IGNORED, IGNORED, IGNORED, 4, 5]);
        assert_eq!(fit(sample(), 3, ExcessLength::Truncate, None), Fitted::Dropped);
        assert_eq!(
            fit(sample(), 3, ExcessLength::Split, None),
            Fitted::Pieces { kept: vec![Sample::new(vec![4, 5], vec![4, 5])], n_left_out: 1 }
        );
    }
}
