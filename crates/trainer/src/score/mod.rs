//! How well a model predicts given tokens: the negative log-likelihood of each, and the logits where wanted.
//!
//! A row is what the user gave as one: a row of ids, a sample of a dataset, a text. It is computed in pieces, each
//! within the model's context.

mod logits_file;
mod row;

pub use logits_file::LogitsFile;
pub use row::ScoreRow;

use ftl_core::{Problem, ProblemKind};

use crate::data::batch::Batch;
use crate::data::sample::IGNORED;
use crate::error::TrainError;
use crate::model::decoder::Decoder;
use crate::ops::cross_entropy;
use row::Piece;

/// Short pieces are computed together up to this many tokens.
const TOKENS_AT_ONCE: usize = 1024;
/// Logits that exist at once, 64 MiB in f32.
const LOGITS_AT_ONCE: usize = 1 << 24;

/// What rows are worth to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// For each row and each of its tokens the negative log-likelihood in nats, given the tokens before; `None` where
    /// nothing is predicted or scored.
    pub token_nll: Vec<Vec<Option<f32>>>,
}

impl Scores {
    /// How many tokens are scored.
    pub fn n_tokens(&self) -> u64 {
        self.scored().count() as u64
    }

    /// The mean over the scored tokens; `None` where there are none.
    pub fn loss_nats(&self) -> Option<f64> {
        let n_tokens = self.n_tokens();
        (n_tokens > 0).then(|| self.scored().map(f64::from).sum::<f64>() / n_tokens as f64)
    }

    fn scored(&self) -> impl Iterator<Item = f32> {
        self.token_nll.iter().flatten().filter_map(|nll| *nll)
    }
}

/// Scores `rows`, and writes the logits of every token that is not padding to `logits`.
///
/// # Errors
/// Rows that the model can't take, all of them, before anything is computed; a score that is no number; a file that
/// can't be written.
pub fn score(
    decoder: &mut Decoder,
    rows: &[ScoreRow],
    mut logits: Option<&mut LogitsFile>,
) -> Result<Scores, TrainError> {
    let problems: Vec<Problem> =
        rows.iter().enumerate().flat_map(|(index, row)| row.problems(index, &decoder.config)).collect();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let positions = rows.iter().flat_map(|row| &row.pieces).flat_map(|piece| &piece.batch.positions);
    decoder.reserve_positions(positions.max().map_or(0, |last| *last as usize + 1));

    let mut scores = Scores { token_nll: rows.iter().map(|row| vec![None; row.n_tokens]).collect() };
    for group in groups(rows) {
        let batch = joined(&group);
        let hidden = decoder.hidden(&batch);
        let head = decoder.output_head();
        let nll = cross_entropy::score(decoder.kernels, head, &hidden, &batch.targets);
        let mut nll = nll.into_iter().map(|score| score.nll_nats);
        for (row_index, piece) in &group {
            for (index, target) in piece.batch.targets.iter().enumerate() {
                if *target == IGNORED {
                    continue;
                }
                let nll = nll.next().expect("one score for each target");
                let predicted = piece.place(index).expect("repeated tokens have no target") + 1;
                if !nll.is_finite() {
                    return Err(TrainError::Diverged(not_finite(*row_index, predicted, nll)));
                }
                scores.token_nll[*row_index][predicted] = Some(nll);
            }
        }
        if let Some(file) = &mut logits {
            let at_once = (LOGITS_AT_ONCE / decoder.config.vocab_size).max(1);
            let mut start = 0;
            for (row_index, piece) in &group {
                let tokens = start + piece.n_repeated..start + piece.batch.n_tokens();
                let mut place = piece.first_place;
                for from in tokens.clone().step_by(at_once) {
                    let n = at_once.min(tokens.end - from);
                    let hidden = hidden.clone().narrow(0, from, n);
                    let logits = cross_entropy::logits(decoder.kernels, head, &hidden);
                    let values: Vec<f32> =
                        logits.into_data().try_into_vec().expect("the engine computes in f32");
                    file.write([*row_index, place], &values)?;
                    place += n;
                }
                start = tokens.end;
            }
        }
    }
    Ok(scores)
}

type Group<'a> = Vec<(usize, &'a Piece)>;

/// Consecutive pieces, together as many tokens as are computed at once, or one longer piece.
fn groups(rows: &[ScoreRow]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut n_tokens = usize::MAX;
    for (row_index, row) in rows.iter().enumerate() {
        for piece in &row.pieces {
            n_tokens = n_tokens.saturating_add(piece.batch.n_tokens());
            if n_tokens > TOKENS_AT_ONCE {
                groups.push(Vec::new());
                n_tokens = piece.batch.n_tokens();
            }
            groups.last_mut().expect("the first piece makes one").push((row_index, piece));
        }
    }
    groups
}

fn joined(group: &Group<'_>) -> Batch {
    let mut batch = Batch::default();
    // Scores are of single tokens, whatever they weigh together.
    for (_, Piece { batch: Batch { ids, positions, targets, weights: _, segments }, .. }) in group {
        let start = batch.ids.len();
        batch.ids.extend(ids);
        batch.positions.extend(positions);
        batch.targets.extend(targets);
        batch.segments.extend(segments.iter().map(|segment| start + segment.start..start + segment.end));
    }
    batch
}

fn not_finite(row_index: usize, place: usize, nll: f32) -> Problem {
    let message = format!("token {place} of row {row_index} has a negative log-likelihood of {nll}");
    Problem::new(ProblemKind::Diverged, message).hint("the weights are damaged, or a training diverged")
}
