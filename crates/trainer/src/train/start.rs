//! A run that starts from a checkpoint of another run, with other settings.
//!
//! Weights, the optimizer's moments, the loss scale and the count of steps are the checkpoint's. What would change their
//! shape or meaning must be as it was: the model (by its content), quantization, the adapter but for its dropout, the
//! method's kind, the optimizer and its betas, and the seed where the base is random. Everything else is the new
//! spec's: rate, schedule and order of data are those that it has at the step that was reached, and `max_steps` and
//! `num_train_epochs` count from the beginning. Held-out scores begin anew, since they may be those of other data, and
//! the best checkpoint of the other run is not in this one's directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::{Duration, ModelInit};
use ftl_core::{CheckedSpec, Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::layout::{MANIFEST_JSON, OPTIMIZER_SAFETENSORS, START_JSON, temporary_name};
use crate::checkpoint::{list, sync_dir, verify};
use crate::error::TrainError;
use crate::model::fingerprint::fingerprint;
use crate::model::json_file;
use crate::sha256::hex;
use crate::train::snapshot::{
    Difference, State, check_version, is_within, read_state, spec_differences, spec_value,
};

/// Sections and keys that may be set anew.
const FREE: [&str; 7] = ["name", "device", "predictions", "data", "train", "method", "model.dtype"];
/// Keys of other sections that may be, too: dropout has no weights.
const ALSO_FREE: [&str; 1] = ["adapter.lora_dropout"];
/// Keys of [`FREE`] sections that may not: what the moments are means of, and over how many steps.
const FIXED: [&str; 4] = ["method.kind", "train.optim", "train.adam_beta1", "train.adam_beta2"];
/// The base is compared by what is in it; it may have moved.
const BASE: &str = "model.path";

/// `start.json`: where a run started, so that a later attempt finds it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The checkpoint of another run.
    pub checkpoint: PathBuf,
    /// The steps that were taken there.
    pub step: u64,
    /// SHA-256 of its manifest, which has those of all its files.
    manifest_sha256: String,
}

impl Start {
    /// At `checkpoint`, for a run of `spec`.
    ///
    /// # Errors
    /// `BrokenCheckpoint` where it is damaged or no checkpoint, and a problem for each key that may not be changed.
    pub fn at(checkpoint: &Path, spec: &CheckedSpec) -> Result<Self, TrainError> {
        verify(checkpoint).map_err(|problem| or_its_own(problem, checkpoint))?;
        if !checkpoint.join(OPTIMIZER_SAFETENSORS).is_file() {
            let message = format!("is no checkpoint: it has no `{OPTIMIZER_SAFETENSORS}`");
            return Err(Problem::new(ProblemKind::BrokenCheckpoint, message)
                .at(checkpoint.display().to_string())
                .hint("name a `checkpoint-` directory of a run")
                .into());
        }
        let state = read_state(checkpoint)?;
        check_version(&state, checkpoint)?;
        check_spec(&state, spec)?;
        let path = checkpoint.canonicalize().map_err(TrainError::file("find", checkpoint))?;
        Ok(Self { manifest_sha256: manifest_sha256(&path)?, checkpoint: path, step: state.step })
    }

    /// Where the run in `out` started; `None` where it began at step 0.
    ///
    /// # Errors
    /// `BrokenCheckpoint` where the checkpoint is not there any more or is another, and as [`at`](Self::at).
    pub fn again(out: &Path, spec: &CheckedSpec) -> Result<Option<Self>, TrainError> {
        let path = out.join(START_JSON);
        if !path.exists() {
            return Ok(None);
        }
        let broken = |message: String| {
            Problem::new(ProblemKind::BrokenCheckpoint, message)
                .at(path.display().to_string())
                .hint("put the checkpoint back, or start the run anew in another directory")
        };
        let map = json_file::read_object(&path, ProblemKind::BrokenCheckpoint)?;
        let was: Self = serde_json::from_value(Value::Object(map))
            .map_err(|error| broken(format!("does not say where the run started: {error}")))?;
        let is = Self::at(&was.checkpoint, spec)?;
        if is.manifest_sha256 != was.manifest_sha256 {
            let path = was.checkpoint.display();
            return Err(
                broken(format!("the run started from `{path}`, which is another checkpoint now")).into()
            );
        }
        Ok(Some(is))
    }

    /// Writes `start.json` into `out`, whole or not at all and for good: nothing else says where the run started.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub(super) fn write(&self, out: &Path) -> Result<(), TrainError> {
        let (path, temporary) = (out.join(START_JSON), out.join(temporary_name(START_JSON)));
        let bytes = serde_json::to_vec_pretty(self).expect("a start is plain data");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(TrainError::file("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(TrainError::file("rename", &temporary))?;
        sync_dir(out)
    }

    /// Whether steps are left for a run of so many in all.
    pub(super) fn check_steps(&self, spec: &CheckedSpec, total_steps: u64) -> Result<(), Problem> {
        let step = self.step;
        if step < total_steps {
            return Ok(());
        }
        let key = match spec.train.duration {
            Duration::Steps(_) => "train.max_steps",
            Duration::Epochs(_) => "train.num_train_epochs",
        };
        let message = format!(
            "the job has {total_steps} steps in all, the checkpoint that training starts from has {step} already"
        );
        Err(Problem::new(ProblemKind::InvalidValue, message)
            .at(key)
            .hint(format!("ask for more: the {step} count among them")))
    }
}

/// A run's directory is named by mistake for one of its checkpoints.
fn or_its_own(problem: Problem, checkpoint: &Path) -> Problem {
    if let Err(error) = fs::metadata(checkpoint)
        && error.kind() == io::ErrorKind::NotFound
    {
        let at = checkpoint.display().to_string();
        return Problem::new(ProblemKind::NotFound, "there is no such checkpoint").at(at);
    }
    match list(checkpoint).ok().and_then(|mut checkpoints| checkpoints.pop()) {
        Some(newest) => problem.hint(format!("it is a run; name its checkpoint `{}`", newest.path.display())),
        None => problem,
    }
}

fn manifest_sha256(checkpoint: &Path) -> Result<String, TrainError> {
    let path = checkpoint.join(MANIFEST_JSON);
    let bytes = fs::read(&path).map_err(TrainError::file("read", &path))?;
    Ok(hex(Sha256::new().chain_update(bytes)))
}

/// Whether a run of `spec` can take over what `state` is the state of.
fn check_spec(state: &State, spec: &CheckedSpec) -> Result<(), Vec<Problem>> {
    let spec_is = spec_value(spec);
    let mut differences = spec_differences(&state.spec, &spec_is);
    // A model that can't be read is told of where it is opened.
    let is_other_base = fingerprint(&spec.model.path).is_ok_and(|base| base != state.base_sha256);
    let mut problems = Vec::new();
    if is_other_base && !differences.iter().any(|difference| difference.key == BASE) {
        let path = spec.model.path.display();
        let message = format!("`{path}` holds another model now than when the checkpoint was written");
        problems.push(fixed(BASE, message));
    }
    // Random weights follow from the seed.
    let is_random = spec.model.init == ModelInit::Random;
    differences.retain(|Difference { key, .. }| match key.as_str() {
        BASE => is_other_base,
        "train.seed" => is_random,
        key => is_within(key, &FIXED) || !(is_within(key, &FREE) || is_within(key, &ALSO_FREE)),
    });
    problems.extend(differences.into_iter().map(|Difference { key, was, is }| {
        fixed(&key, format!("the checkpoint that training starts from has {was}, the job asks for {is}"))
    }));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn fixed(key: &str, message: String) -> Problem {
    Problem::new(ProblemKind::InvalidValue, message).at(key).hint(
        "set it back, or begin without the checkpoint: its weights and moments would mean something else",
    )
}
