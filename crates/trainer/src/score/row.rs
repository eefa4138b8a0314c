//! Rows to score: what the user gave, cut to the model's context.

use ftl_core::{Problem, ProblemKind};

use crate::data::batch::Batch;
use crate::data::ids::IdsRow;
use crate::data::sample::{IGNORED, Sample};
use crate::model::config::DecoderConfig;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    pub(super) pieces: Vec<Piece>,
    pub(super) n_tokens: usize,
}

/// What is computed at once of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) batch: Batch,
    /// Tokens at the start that only give context: they belong to an earlier piece.
    pub(super) n_repeated: usize,
    /// Where the first of the others stands in the row.
    pub(super) first_place: usize,
}

impl ScoreRow {
    /// Tokens of the row as it was given, padding included.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// A text of any length.
    ///
    /// What is longer than `context` is computed in windows. Each begins with the second half of the one before, and
    /// with the text's first token again where that is `bos`; the rest of it is new. So every token but the first is
    /// scored once, given at least half a context:
    ///
    /// ```text
    /// context 5, text <s> a b c d e f g        windows  <s> a b c d   <s> d e f g
    ///                                        predicted    a b c d e          f g
    /// ```
    ///
    /// # Panics
    /// If `context` is below 4 and the text longer.
    pub fn of_text(ids: &[u32], context: usize, bos: Option<u32>) -> Self {
        let n_tokens = ids.len();
        let again: &[u32] = if bos.is_some() && ids.first().copied() == bos { &ids[..1] } else { &[] };
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < n_tokens {
            let (head, n_before) = if done == 0 {
                (&[][..], 0)
            } else {
                assert!(context >= 4, "a window has room for something old and something new");
                (again, context / 2 - again.len())
            };
            let start = done - n_before;
            let end = n_tokens.min(start + context - head.len());
            let ids_of_piece = [head, &ids[start..end]].concat();
            let mut batch = Batch::default();
            batch.push(&ids_of_piece, &vec![IGNORED; ids_of_piece.len()]);
            let n_repeated = head.len() + n_before;
            for (place, target) in (done..end).zip(&mut batch.targets[n_repeated..]) {
                *target = ids.get(place + 1).map_or(IGNORED, |id| *id as i32);
            }
            pieces.push(Piece { batch, n_repeated, first_place: done });
            done = end;
        }
        Self { pieces, n_tokens }
    }

    /// What the model can't take; `index` is the row's.
    pub(super) fn problems(&self, index: usize, config: &DecoderConfig) -> Vec<Problem> {
        let (context, vocab_size) = (config.max_positions, config.vocab_size);
        let mut problems = Vec::new();
        for batch in self.pieces.iter().map(|piece| &piece.batch) {
            if let Some(longest) = batch.segments.iter().map(|segment| segment.len()).max()
                && longest > context
            {
                let message =
                    format!("row {index} has {longest} tokens, more than the model's context of {context}");
                problems.push(
                    Problem::new(ProblemKind::InvalidValue, message)
                        .hint("shorten it, or choose a model with more context"),
                );
            } else if let Some(position) = batch.positions.iter().find(|at| **at as usize >= context) {
                let message = format!(
                    "row {index} has the position {position}, but the model's context ends at {}",
                    context - 1
                );
                problems.push(Problem::new(ProblemKind::InvalidValue, message));
            }
            let targets = batch.targets.iter().filter(|target| **target != IGNORED);
            let mut ids = batch.ids.iter().map(|id| i64::from(*id)).chain(targets.map(|id| i64::from(*id)));
            if let Some(id) = ids.find(|id| usize::try_from(*id).is_ok_and(|id| id >= vocab_size) || *id < 0)
            {
                let message = format!("row {index} has the id {id}; the model has {vocab_size} ids from 0");
                problems.push(
                    Problem::new(ProblemKind::BadData, message)
                        .hint("the tokens are those of another model's tokenizer"),
                );
            }
        }
        problems
    }
}

impl Piece {
    /// Where in the row token `index` of the batch stands, unless it only gives context.
    pub(super) fn place(&self, index: usize) -> Option<usize> {
        Some(self.first_place + index.checked_sub(self.n_repeated)?)
    }
}

impl From<IdsRow> for ScoreRow {
    fn from(row: IdsRow) -> Self {
        let IdsRow { batch, places, n_given } = row;
        // Padding is at the ends only, so the tokens stand one behind the other.
        let first_place = places.first().copied().unwrap_or(0);
        Self { pieces: vec![Piece { batch, n_repeated: 0, first_place }], n_tokens: n_given }
    }
}

impl From<&Sample> for ScoreRow {
    fn from(sample: &Sample) -> Self {
        let batch = Batch::of([sample]);
        Self { pieces: vec![Piece { batch, n_repeated: 0, first_place: 0 }], n_tokens: sample.ids.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_predict_every_token_once() {
        let ids: Vec<u32> = (0..9).collect();
        let row = ScoreRow::of_text(&ids, 5, Some(0));
        let windows: Vec<_> =
            row.pieces.iter().map(|piece| (piece.batch.ids.clone(), piece.batch.targets.clone())).collect();
        assert_eq!(
            windows,
            [
                (vec![0, 1, 2, 3, 4], vec![1, 2, 3, 4, 5]),
                (vec![0, 4, 5, 6, 7], vec![IGNORED, IGNORED, 6, 7, 8]),
                (vec![0, 7, 8], vec![IGNORED, IGNORED, IGNORED]),
            ]
        );
        for (n_tokens, context, bos) in
            [(1, 4, None), (7, 7, Some(0)), (8, 7, Some(0)), (100, 4, Some(0)), (100, 9, None)]
        {
            let ids: Vec<u32> = (0..n_tokens).collect();
            let row = ScoreRow::of_text(&ids, context, bos);
            let mut predicted = Vec::new();
            for piece in &row.pieces {
                assert!(piece.batch.n_tokens() <= context);
                for (index, target) in piece.batch.targets.iter().enumerate() {
                    if *target != IGNORED {
                        let place = piece.place(index).expect("targets are new") + 1;
                        assert_eq!(place, *target as usize);
                        predicted.push(place as u32);
                    }
                }
            }
            assert_eq!(predicted, (1..n_tokens).collect::<Vec<_>>());
        }
    }
}
