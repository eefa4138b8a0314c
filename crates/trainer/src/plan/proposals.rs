//! What would make a run fit: one change each, and where no single one is enough, several together.
//!
//! Every proposal is planned by the same function as the run itself.

use ftl_core::plan::{Change, Proposal};
use ftl_core::spec::resolved::{
    Adapter, Checkpointing, ExcessLength, LearnsFrom, Lora, MomentFormat, Quantization, Scales,
};

use super::planner::{Lengths, Planner};
use crate::model::decoder::Keep;

/// Lengths that are proposed are multiples of this.
const LENGTH_STEP: usize = 64;

/// A step has no more microbatches, as the spec is judged.
const MOST_MICROBATCHES: u64 = 1 << 20;

/// A change that may be tried: what it does to the plan, or `None` where it changes nothing any more.
type Try = fn(&Planner) -> Option<Changed>;

/// A plan with the keys that were changed.
struct Changed {
    planner: Planner,
    changes: Vec<Change>,
}

/// What costs least comes first: recomputing, then what leaves the run's result nearly as it is.
const STEPS: [Try; 6] = [recompute, smaller_batch, coded_moments, quantized, smaller_rank, shorter];

/// Single changes that fit, each by itself; if there is none, the first of the changes together that do.
pub(super) fn that_fit(planner: &Planner) -> Vec<Proposal> {
    let single: Vec<Proposal> = STEPS.iter().filter_map(|step| fitting(planner, *step)).collect();
    if single.is_empty() { together(planner).into_iter().collect() } else { single }
}

/// The least of one kind of change that fits.
fn fitting(planner: &Planner, step: Try) -> Option<Proposal> {
    let mut now = step(planner)?;
    loop {
        if let Some(proposal) = now.fits() {
            return Some(proposal);
        }
        let next = step(&now.planner)?;
        now = Changed { changes: merged(now.changes, next.changes), planner: next.planner };
    }
}

/// Change upon change, each as far as it goes, until they fit together.
fn together(planner: &Planner) -> Option<Proposal> {
    let mut now = Changed { planner: planner.clone(), changes: Vec::new() };
    for step in STEPS {
        while let Some(next) = step(&now.planner) {
            now = Changed { changes: merged(now.changes, next.changes), planner: next.planner };
            if let Some(proposal) = now.fits() {
                return Some(proposal);
            }
        }
    }
    None
}

impl Changed {
    fn new<const N: usize>(planner: Planner, changes: [(&str, String); N]) -> Option<Self> {
        let changes = changes.map(|(key, value)| Change { key: key.to_owned(), value });
        Some(Self { planner, changes: changes.into() })
    }

    fn fits(&self) -> Option<Proposal> {
        let peak_bytes = self.planner.peak_bytes();
        let fits = self.planner.budget.allows(peak_bytes);
        fits.then(|| Proposal { changes: self.changes.clone(), peak_bytes })
    }
}

/// The later value of a key counts.
fn merged(mut changes: Vec<Change>, later: Vec<Change>) -> Vec<Change> {
    for change in later {
        match changes.iter_mut().find(|earlier| earlier.key == change.key) {
            Some(earlier) => *earlier = change,
            None => changes.push(change),
        }
    }
    changes
}

fn recompute(planner: &Planner) -> Option<Changed> {
    if planner.keep() == Keep::BlockInputs {
        return None;
    }
    let mut planner = planner.clone();
    planner.spec.train.gradient_checkpointing = Checkpointing::Block;
    Changed::new(planner, [("train.gradient_checkpointing", "block".to_owned())])
}

/// The next smaller batch that leaves as many rows in a step.
fn smaller_batch(planner: &Planner) -> Option<Changed> {
    let mut planner = planner.clone();
    let train = &mut planner.spec.train;
    let batch = train.per_device_train_batch_size;
    let smaller = (1..batch).rev().find(|smaller| batch.is_multiple_of(*smaller))?;
    train.per_device_train_batch_size = smaller;
    let accumulation = train.gradient_accumulation_steps * (batch / smaller);
    train.gradient_accumulation_steps = Some(accumulation).filter(|n| *n <= MOST_MICROBATCHES)?;
    let accumulation = train.gradient_accumulation_steps.to_string();
    let changes = [
        ("train.per_device_train_batch_size", smaller.to_string()),
        ("train.gradient_accumulation_steps", accumulation),
    ];
    Changed::new(planner, changes)
}

fn coded_moments(planner: &Planner) -> Option<Changed> {
    let mut planner = planner.clone();
    match planner.spec.train.moments {
        MomentFormat::F32 => planner.spec.train.moments = MomentFormat::Blockwise8Bit,
        MomentFormat::Blockwise8Bit => return None,
    }
    Changed::new(planner, [("train.optim", "adamw_8bit".to_owned())])
}

fn quantized(planner: &Planner) -> Option<Changed> {
    if !planner.can_quantize() {
        return None;
    }
    let mut planner = planner.clone();
    planner.spec.quantization = Quantization::Nf4(Scales::Double);
    Changed::new(planner, [("quantization.kind", "nf4".to_owned())])
}

/// Half the rank, with as large an update.
fn smaller_rank(planner: &Planner) -> Option<Changed> {
    let mut planner = planner.clone();
    let adapter = planner.adapter.as_mut()?;
    let is_fresh = match &planner.spec.adapter {
        Adapter::Lora(Lora::Fresh(_)) => true,
        Adapter::Lora(Lora::From { .. }) | Adapter::None => false,
    };
    if !is_fresh || adapter.r < 2 {
        return None;
    }
    let smaller = adapter.r / 2;
    adapter.lora_alpha *= smaller as f64 / adapter.r as f64;
    adapter.r = smaller;
    let changes =
        [("adapter.r", smaller.to_string()), ("adapter.lora_alpha", adapter.lora_alpha.to_string())];
    Changed::new(planner, changes)
}

/// The next shorter length.
fn shorter(planner: &Planner) -> Option<Changed> {
    let mut planner = planner.clone();
    let Lengths { longest_row, longest_segment, .. } = planner.lengths;
    let longest = match planner.spec.method.learns_from() {
        LearnsFrom::Texts => longest_row,
        LearnsFrom::Pairs => longest_segment,
    };
    let length = longest.checked_sub(1)? / LENGTH_STEP * LENGTH_STEP;
    if length == 0 {
        return None;
    }
    planner.lengths.longest_segment = longest_segment.min(length);
    let row = match planner.spec.method.learns_from() {
        LearnsFrom::Texts => length,
        LearnsFrom::Pairs => 2 * length,
    };
    planner.lengths.longest_row = longest_row.min(row);
    planner.lengths.longest_eval = planner.lengths.longest_eval.min(row);
    let length = ("data.max_length", length.to_string());
    match planner.spec.data.excess_length_strategy {
        ExcessLength::Error => {
            Changed::new(planner, [length, ("data.excess_length_strategy", "truncate".to_owned())])
        }
        ExcessLength::Drop | ExcessLength::Truncate | ExcessLength::Split => Changed::new(planner, [length]),
    }
}
