//! Makes the reference of DPO ready: reads what an earlier attempt found, or scores the pairs with the model that training
//! starts from, and keeps that in the run's directory.

use std::path::Path;

use ftl_core::job::Phase;
use ftl_core::spec::resolved::Every;
use ftl_core::{Event, Observer, ProblemKind, StopSignal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::layout::{LOG_PROBS_JSON, REFERENCE};
use crate::checkpoint::{save, verify};
use crate::data::samples::Samples;
use crate::error::TrainError;
use crate::methods::Method;
use crate::methods::reference::{DataPart, Reference, score};
use crate::model::decoder::Decoder;
use crate::model::json_file;
use crate::ops::param::Owner;
use crate::train::preflight;
use crate::train::report::{Reporter, note};
use crate::train::run::Run;

/// `log_probs.json`.
#[derive(Serialize, Deserialize)]
struct LogProbs {
    /// SHA-256 of all that they follow from.
    of: String,
    /// Of the chosen and the rejected answer of each pair that is trained on, in the order of the data.
    train: Vec<[f64; 2]>,
    /// Of those that are held out.
    eval: Vec<[f64; 2]>,
}

/// Gives the method its reference, if it has one; `false` if stopped before the end.
///
/// # Errors
/// A base model that can't be read any more, and files that can't be written.
pub(super) fn make_ready(run: &mut Run<'_, '_>, stop: &StopSignal) -> Result<bool, TrainError> {
    match run.method {
        Method::Texts | Method::Orpo { .. } => return Ok(true),
        Method::Dpo { .. } => {}
    }
    let [train, eval] = used(run);
    let of = run.identity.reference_sha256([&train, &eval]);
    let found = read(&run.out.join(REFERENCE)).filter(|found| found.of == of);
    let LogProbs { train: of_train, eval: of_eval, .. } = match found {
        Some(found) => found,
        None => {
            let Some(made) = make(run, of, [&train, &eval], stop)? else { return Ok(false) };
            save(run.out, REFERENCE, |dir| json_file::write(&dir.join(LOG_PROBS_JSON), &made))?;
            made
        }
    };
    let mut reference = Reference::default();
    reference.set(DataPart::Train, &train, &of_train);
    reference.set(DataPart::Eval, &eval, &of_eval);
    if let Method::Dpo { reference: place, .. } = &mut run.method {
        *place = reference;
    }
    Ok(true)
}

/// The pairs that the run comes across, in order.
fn used(run: &Run<'_, '_>) -> [Vec<usize>; 2] {
    let n_pairs = run.data.train.len();
    let (mut is_used, mut n_used) = (vec![false; n_pairs], 0);
    for index in (0..run.plan.total_steps()).flat_map(|step| run.plan.step(step)).flatten() {
        n_used += usize::from(!std::mem::replace(&mut is_used[index], true));
        if n_used == n_pairs {
            break;
        }
    }
    let train = (0..n_pairs).filter(|index| is_used[*index]).collect();
    let eval = match run.spec.train.eval {
        Every::Never => Vec::new(),
        Every::Epoch | Every::Steps(_) => (0..run.data.eval.len()).collect(),
    };
    [train, eval]
}

/// What an earlier attempt found; `None` where there is nothing, or it is damaged and better made again.
fn read(dir: &Path) -> Option<LogProbs> {
    verify(dir).ok()?;
    let map = json_file::read_object(&dir.join(LOG_PROBS_JSON), ProblemKind::BrokenCheckpoint).ok()?;
    serde_json::from_value(Value::Object(map)).ok()
}

fn make(
    run: &mut Run<'_, '_>,
    of: String,
    [train, eval]: [&[usize]; 2],
    stop: &StopSignal,
) -> Result<Option<LogProbs>, TrainError> {
    let n_pairs = (train.len() + eval.len()) as u64;
    note(run.reporter, format!("scoring {n_pairs} pairs once with the model that training starts from"));
    let base = base(run)?;
    let batch_size = run.spec.train.per_device_train_batch_size as usize;
    let mut done = 0;
    let reporter: &mut Reporter<'_> = run.reporter;
    let mut progress = |n: usize| {
        done += n as u64;
        let (done, total) = (Some(done), Some(n_pairs));
        reporter.observe(&Event::Phase {
            phase: Phase::Evaluating,
            done,
            total,
            unit: Some("pairs".to_owned()),
        });
    };
    let mut of_part = |part: DataPart, samples: &Samples, indexes: &[usize]| {
        score(&base, (part, samples), (indexes, batch_size), stop, &mut progress)
    };
    let Some(of_train) = of_part(DataPart::Train, &run.data.train, train) else { return Ok(None) };
    let Some(of_eval) = of_part(DataPart::Eval, &run.data.eval, eval) else { return Ok(None) };
    Ok(Some(LogProbs { of, train: of_train, eval: of_eval }))
}

/// The model that training started from, without an adapter.
fn base(run: &Run<'_, '_>) -> Result<Decoder, TrainError> {
    // Modules that an adapter keeps in full have taken the place of the model's own.
    let mut keeps_modules = false;
    run.decoder.for_each_param(&mut |param| match param.owner {
        Owner::Copy | Owner::Kept => keeps_modules = true,
        Owner::Base | Owner::Adapter => {}
    });
    if run.step == 0 && run.adapter.is_none() || run.adapter.is_some() && !keeps_modules {
        return Ok(run.decoder.without_adapter());
    }
    // Full fine-tuning goes on from a checkpoint, whose weights are others.
    let mut base = preflight::base(run.spec, &run.device)?;
    base.grow_vocabulary(run.decoder.config.vocab_size);
    base.reserve_positions(run.data.train.longest().max(run.data.eval.longest()));
    Ok(base)
}
