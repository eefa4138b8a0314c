//! What a model would see of an example: its tokens, which of them are learned, and what the limit takes away.

use ftl_core::Problem;
use ftl_core::dataset::Code;
use ftl_core::spec::resolved::{ExcessLength, LossOn};

use super::Wanted;
use crate::data::encode::{Encoded, Encoder, Refusal};
use crate::data::excess::{Fitted, fit};
use crate::data::fault::Fault;
use crate::data::format::Example;
use crate::data::judge::content_of_tokens;
use crate::data::sample::{IGNORED, Sample};

/// A model's side of the pass.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Its way from examples to tokens.
    pub encoder: &'a Encoder,
    /// Longest sample in tokens, at least 2.
    pub max_length: usize,
    /// What happens to longer ones.
    pub strategy: ExcessLength,
    /// Which tokens the loss counts.
    pub loss_on: LossOn,
    /// Ids that it has, from 0.
    pub vocab_size: usize,
}

/// What a model would see of an example.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Equal where all tokens and labels are.
    pub tokens: u64,
    /// Tokens before anything is cut; of a pair those of the longer side.
    pub n_tokens: u64,
    /// What is trained on; empty where it is left out.
    pub pieces: Vec<Piece>,
    /// The samples themselves, as many as `pieces`; none where only verdicts are wanted.
    pub samples: Vec<Sample>,
    /// What the limit takes away; `None`: it is short enough.
    pub cut: Option<Lost>,
    /// Whether it is a conversation or instruction whose turns end with a token.
    pub has_turns: bool,
    /// Whether the token that ends its answers is learned, before anything is cut.
    pub has_end: bool,
}

/// A sample that is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Equal where tokens and labels are.
    pub hash: u64,
    /// Tokens that go through the model.
    pub n_tokens: u32,
    /// Those that the loss counts, of a pair on both sides.
    pub n_supervised: u32,
}

/// What the limit takes away of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Tokens.
    pub tokens: u64,
    /// Those of them that would have been learned.
    pub supervised: u64,
    /// Whether the token that ends its answer is among them.
    pub end: bool,
}

impl Model<'_> {
    /// Makes tokens of `example`, and fits them. Warnings go to `faults`.
    ///
    /// # Errors
    /// Why it can't be trained on.
    pub(super) fn learn(
        &self,
        example: &Example,
        wanted: Wanted,
        faults: &mut Vec<Fault>,
    ) -> Result<Learned, Fault> {
        let sides = example.sides();
        let is_conversation =
            sides.iter().any(|side| matches!(side, Example::Conversation(_) | Example::Instruction { .. }));
        let encoded = self.encoder.sample(example, self.loss_on).map_err(|refusal| match refusal {
            Refusal::Row(fault) => fault,
            Refusal::Job(problem) => no_template(problem),
        })?;
        let Encoded { sample, mut notices } = encoded;
        self.check_vocabulary(&sample)?;
        if let Some(empty) = sample.segments().find(|segment| segment.supervised_tokens() == 0) {
            let what = if empty.ids.len() < 2 {
                "is empty, so there is nothing to learn"
            } else {
                "has no token to learn"
            };
            return Err(Fault::new(Code::NothingToLearn, what));
        }
        if sample.rejected.as_deref().is_some_and(|rejected| rejected.ids == sample.ids) {
            return Err(Fault::new(Code::SamePair, "has the same tokens as chosen and rejected answer"));
        }
        let ends_in = |sample: &Sample| sample.segments().all(|segment| self.ends(segment));
        let has_end = ends_in(&sample);
        faults.append(&mut notices);
        let (n_tokens, is_pair) = (sample.longest_segment(), sample.rejected.is_some());
        let (all_tokens, all_supervised) = (sample.n_tokens() as u64, supervised(&sample));
        let tokens = content_of_tokens(&sample);
        let tail = (n_tokens > self.max_length).then(|| self.tail(&sample, has_end));
        let fitted = fit(sample, self.max_length, self.strategy, self.encoder.tokenizer.bos());
        let limit = self.max_length;
        let (samples, cut) = match fitted {
            Fitted::Whole(sample) => (vec![sample], None),
            Fitted::Refused => {
                faults.push(too_long(n_tokens, limit, is_pair));
                (Vec::new(), tail)
            }
            Fitted::Dropped => {
                let what = format!(
                    "has {n_tokens} tokens, more than the {limit} of `data.max_length`, and is left out"
                );
                faults.push(Fault::new(Code::Dropped, what));
                (Vec::new(), Some(Lost { tokens: all_tokens, supervised: all_supervised, end: has_end }))
            }
            Fitted::Cut(sample) => {
                faults.push(Fault::new(
                    Code::CutOff,
                    format!("has {n_tokens} tokens and is cut off at the {limit} of `data.max_length`"),
                ));
                (vec![sample], tail)
            }
            Fitted::Pieces { kept, n_left_out } => {
                let left_out = match n_left_out {
                    0 => String::new(),
                    n => format!("; {n} more without a token to learn are left out"),
                };
                faults.push(Fault::new(
                    Code::SplitUp,
                    format!("has {n_tokens} tokens and becomes {} samples{left_out}", kept.len()),
                ));
                let lost = Lost {
                    tokens: all_tokens.saturating_sub(kept.iter().map(|piece| piece.n_tokens() as u64).sum()),
                    supervised: all_supervised.saturating_sub(kept.iter().map(supervised).sum()),
                    end: has_end && !kept.last().is_some_and(ends_in),
                };
                (kept, Some(lost))
            }
        };
        let piece = |sample: &Sample| Piece {
            hash: content_of_tokens(sample),
            n_tokens: u32::try_from(sample.n_tokens()).unwrap_or(u32::MAX),
            n_supervised: u32::try_from(supervised(sample)).unwrap_or(u32::MAX),
        };
        Ok(Learned {
            tokens,
            n_tokens: n_tokens as u64,
            pieces: samples.iter().map(piece).collect(),
            samples: match wanted {
                Wanted::Verdicts => Vec::new(),
                Wanted::Samples | Wanted::Examples => samples,
            },
            cut,
            has_turns: is_conversation,
            has_end,
        })
    }

    /// What lies beyond the limit.
    fn tail(&self, sample: &Sample, has_end: bool) -> Lost {
        let mut lost = Lost::default();
        for segment in sample.segments().filter(|segment| segment.ids.len() > self.max_length) {
            let labels = &segment.labels[self.max_length..];
            lost.tokens += labels.len() as u64;
            lost.supervised += labels.iter().filter(|label| **label != IGNORED).count() as u64;
            lost.end = lost.end || has_end && labels.iter().any(|label| *label != IGNORED);
        }
        lost
    }

    /// Whether a control token is learned at the end. Two are looked at, since white space behind the end token is
    /// learned where the template says so.
    fn ends(&self, segment: &Sample) -> bool {
        let learned = segment.ids.iter().zip(&segment.labels).rev().filter(|(_, label)| **label != IGNORED);
        learned.take(2).any(|(id, _)| self.encoder.tokenizer.is_special(*id))
    }

    fn check_vocabulary(&self, sample: &Sample) -> Result<(), Fault> {
        let n_known = self.vocab_size;
        let is_known = |id: i64| usize::try_from(id).is_ok_and(|id| id < n_known);
        let refuse = |what: &str, id: i64, index: usize| {
            Fault::new(
                Code::UnknownToken,
                format!("has the {what} {id} at place {index}; the model has {n_known} ids from 0"),
            )
            .hint(
                "if the tokenizer has added tokens, train them: `adapter.modules_to_save` = [\"embed_tokens\", \
                 \"lm_head\"], or `adapter.kind` = `none`",
            )
        };
        let tokens =
            sample.segments().flat_map(|segment| segment.ids.iter().zip(&segment.labels).enumerate());
        for (index, (id, label)) in tokens {
            if !is_known(i64::from(*id)) {
                return Err(refuse("id", i64::from(*id), index));
            }
            if *label != IGNORED && !is_known(i64::from(*label)) {
                return Err(refuse("label", i64::from(*label), index));
            }
        }
        Ok(())
    }
}

fn supervised(sample: &Sample) -> u64 {
    sample.segments().map(Sample::supervised_tokens).sum::<usize>() as u64
}

/// What the job lacks, said of a row that needs it.
fn no_template(problem: Problem) -> Fault {
    let what = "holds messages, which need a chat template, and the model has none";
    Fault { hint: problem.hint, ..Fault::new(Code::NoTemplate, what) }
}

fn too_long(n_tokens: usize, limit: usize, is_pair: bool) -> Fault {
    let what = format!("has {n_tokens} tokens, more than the {limit} of `data.max_length`");
    Fault::new(Code::TooLong, what).hint(if is_pair {
        "raise `data.max_length`, or set `data.excess_length_strategy` to drop or truncate"
    } else {
        "raise `data.max_length`, or set `data.excess_length_strategy` to drop, truncate or split"
    })
}
