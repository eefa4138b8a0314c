//! A run's directory as it stands, and what two of them say about their steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use serde_json::Value;

use super::{CheckpointComparison, FileDifference, StepComparison};
use crate::checkpoint::layout::{DIGESTS_JSONL, FINAL, SPEC_RESOLVED_JSON, checkpoint_name};
use crate::checkpoint::{Manifest, list, verify};
use crate::error::TrainError;
use crate::model::json_file;
use crate::train::digests::{StepDigest, read};
use crate::train::snapshot::read_state;

/// A run, as far as it got.
pub(super) struct TakenRun {
    pub(super) dir: PathBuf,
    pub(super) spec: Value,
    digests: BTreeMap<u64, StepDigest>,
    /// The steps after which there is a checkpoint.
    checkpoints: Vec<u64>,
    /// The steps of the result; `None`: the run is not finished.
    pub(super) finished: Option<u64>,
}

impl TakenRun {
    pub(super) fn open(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join(SPEC_RESOLVED_JSON);
        if !path.is_file() {
            let message = format!("holds no run: there is no `{SPEC_RESOLVED_JSON}`");
            return Err(Problem::new(ProblemKind::NotFound, message)
                .at(dir.display().to_string())
                .hint("name the directory that a run was given with `--out`")
                .into());
        }
        let spec = Value::Object(json_file::read_object(&path, ProblemKind::BrokenCheckpoint)?);
        let digests = read(&dir.join(DIGESTS_JSONL))?;
        let checkpoints = list(dir)?.into_iter().map(|checkpoint| checkpoint.step).collect();
        let result = dir.join(FINAL);
        let finished = match result.is_dir() {
            true => {
                verify(&result)?;
                Some(read_state(&result)?.step)
            }
            false => None,
        };
        Ok(Self { dir: dir.to_owned(), spec, digests, checkpoints, finished })
    }

    /// The steps after which it stands.
    fn step(&self) -> u64 {
        let taken = self.digests.last_key_value().map(|(step, _)| *step);
        let saved = self.checkpoints.last().copied();
        self.finished.or(taken.max(saved)).unwrap_or(0)
    }
}

pub(super) fn compare_steps(a: &TakenRun, b: &TakenRun) -> StepComparison {
    let both = || a.digests.values().filter_map(|of_a| Some((of_a, b.digests.get(&of_a.step)?)));
    StepComparison {
        a: a.step(),
        b: b.step(),
        compared: both().count() as u64,
        first_difference: both().find_map(|(of_a, of_b)| of_a.difference(of_b)),
    }
}

/// Compares what is trained: weights and moments. The other files say what the run is called and where its model lies.
pub(super) fn compare_checkpoints(a: &TakenRun, b: &TakenRun) -> Result<CheckpointComparison, TrainError> {
    let both = a.checkpoints.iter().copied().filter(|step| b.checkpoints.contains(step));
    let compared: Vec<u64> = both.collect();
    let mut first_difference = None;
    for step in &compared {
        let tensors = |run: &TakenRun| -> Result<BTreeMap<String, String>, TrainError> {
            let files = Manifest::read(&run.dir.join(checkpoint_name(*step)))?.files;
            let tensors = files.into_iter().filter(|file| file.path.ends_with(".safetensors"));
            Ok(tensors.map(|file| (file.path, file.sha256)).collect())
        };
        let (of_a, of_b) = (tensors(a)?, tensors(b)?);
        let mut files = of_a.keys().chain(of_b.keys());
        if let Some(file) = files.find(|file| of_a.get(*file) != of_b.get(*file)) {
            first_difference = Some(FileDifference { step: *step, file: file.clone() });
            break;
        }
    }
    Ok(CheckpointComparison { compared, first_difference })
}
