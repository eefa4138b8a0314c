//! What a checkpoint holds, beside the weights, so that a resumed run is the same run.

use std::borrow::Cow;
use std::path::Path;

use ftl_core::metrics::{Rewards, Stepped};
use ftl_core::{CheckedSpec, Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::adapter::peft::{AdapterConfig, write_adapter};
use crate::checkpoint::layout::{CHAT_TEMPLATE_JINJA, FTL_STATE_JSON, TRAINER_STATE_JSON};
use crate::checkpoint::write_file;
use crate::data::encode::Encoder;
use crate::data::load::Prepared;
use crate::data::sample::Sample;
use crate::data::template::source_of;
use crate::error::TrainError;
use crate::export::directory::{copy_companions, write_model};
use crate::model::config::{DecoderConfig, GENERATION_CONFIG_JSON, eos_token_ids_for_generation};
use crate::model::decoder::{Decoder, Trained};
use crate::model::json_file;
use crate::optim::loss_scale::LossScale;
use crate::sha256::hex;
use crate::train::eval::Scores;

/// Counts up when the state's meaning changes.
const STATE_VERSION: u64 = 1;

/// May change too, unless the scores decide when the run ends or which weights are its result.
const EVAL_STEPS: &str = "train.eval_steps";

/// Keys that may change between attempts: they do not touch the weights.
const FREE_KEYS: [&str; 7] = [
    "name",
    "device",
    "predictions",
    "train.logging_steps",
    EVAL_STEPS,
    "train.save_steps",
    "train.save_total_limit",
];

/// `ftl_state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The state's format.
    pub version: u64,
    /// The program that wrote it.
    pub build: String,
    /// Steps taken.
    pub step: u64,
    /// Of them, those that another run had taken, from whose checkpoint this one started.
    #[serde(default)]
    pub start: u64,
    /// The resolved spec.
    pub spec: Value,
    /// SHA-256 of all samples.
    pub data_sha256: String,
    /// SHA-256 of what identifies the base model: its config and the headers of its weights.
    pub base_sha256: String,
    /// What the held-out samples said so far.
    pub scores: Scores,
    /// Whether that ended the run.
    #[serde(default)]
    pub stopped_early: bool,
    /// The steps after which held-out prompts were answered last.
    #[serde(default)]
    pub predicted: Option<u64>,
    /// What the loss is multiplied by from here on.
    #[serde(default)]
    pub loss_scale: LossScale,
}

/// What identifies a run: a checkpoint goes on only where all of it is the same.
#[derive(Clone, Debug)]
pub struct Identity {
    spec: Value,
    data_sha256: String,
    base_sha256: String,
}

impl Identity {
    /// Of this spec over these data and this base.
    pub fn of(spec: &CheckedSpec, data: &Prepared, base: String) -> Self {
        Self { spec: spec_value(spec), data_sha256: data_sha256(data), base_sha256: base }
    }

    /// The state after `step` of a run that began after `start`.
    pub fn state(&self, (start, step): (u64, u64), scores: Scores) -> State {
        let Self { spec, data_sha256, base_sha256 } = self.clone();
        let build = format!("ftl {}", env!("CARGO_PKG_VERSION"));
        let version = STATE_VERSION;
        let (stopped_early, predicted, loss_scale) = (false, None, LossScale::One);
        State {
            version,
            build,
            step,
            start,
            spec,
            data_sha256,
            base_sha256,
            scores,
            stopped_early,
            predicted,
            loss_scale,
        }
    }

    /// SHA-256 of all that the reference's log-probabilities follow from: the base model, the data, and the pairs of them
    /// that are scored.
    pub fn reference_sha256(&self, indexes: [&[usize]; 2]) -> String {
        let Self { spec, data_sha256, base_sha256 } = self;
        let mut hash = Sha256::new();
        for key in ["model", "quantization"] {
            hash.update(spec[key].to_string());
        }
        // Random weights follow from the seed, and what goes through the model together from the batch size.
        for key in ["seed", "per_device_train_batch_size"] {
            hash.update(spec["train"][key].to_string());
        }
        hash.update(data_sha256);
        hash.update(base_sha256);
        for indexes in indexes {
            hash.update((indexes.len() as u64).to_le_bytes());
            indexes.iter().for_each(|index| hash.update((*index as u64).to_le_bytes()));
        }
        hex(hash)
    }

    /// Compares a checkpoint's state with this run.
    ///
    /// # Errors
    /// A problem for each difference that would make another run of it.
    pub fn check(&self, state: &State, checkpoint: &Path) -> Result<(), Vec<Problem>> {
        let broken = |message: String| {
            Problem::new(ProblemKind::BrokenCheckpoint, message).at(checkpoint.display().to_string())
        };
        check_version(state, checkpoint).map_err(|problem| vec![problem])?;
        let mut problems = spec_problems(&state.spec, &self.spec, checkpoint);
        if state.base_sha256 != self.base_sha256 {
            problems.push(
                broken("was written on another base model than the directory holds now".to_owned())
                    .hint("put the model back to resume, or start a new job"),
            );
        }
        if problems.is_empty() && state.data_sha256 != self.data_sha256 {
            problems.push(
                broken("was written on other training data than the files hold now".to_owned())
                    .hint("put the data back to resume, or start a new job"),
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// Whether this program knows what the state means.
///
/// # Errors
/// `BrokenCheckpoint` if not.
pub(super) fn check_version(state: &State, checkpoint: &Path) -> Result<(), Problem> {
    if state.version == STATE_VERSION {
        return Ok(());
    }
    let message =
        format!("was written in state format {}, this program reads {STATE_VERSION}", state.version);
    Err(Problem::new(ProblemKind::BrokenCheckpoint, message)
        .at(checkpoint.display().to_string())
        .hint("resume with the program that wrote it"))
}

/// Compares the spec of a finished run with the one that is asked for.
///
/// # Errors
/// A problem for each difference that would make another run of it.
pub fn check_spec(was: &Value, spec: &CheckedSpec, path: &Path) -> Result<(), Vec<Problem>> {
    let problems = spec_problems(was, &spec_value(spec), path);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

pub(super) fn spec_value(spec: &CheckedSpec) -> Value {
    serde_json::to_value(spec.to_spec()).expect("a spec is plain data")
}

fn spec_problems(was: &Value, is: &Value, path: &Path) -> Vec<Problem> {
    let differences = resume_differences(was, is).into_iter();
    let problems = differences.map(|Difference { key, was, is }| {
        let message = format!("was written with {key} = {was}, the job asks for {is}");
        Problem::new(ProblemKind::BrokenCheckpoint, message)
            .at(path.display().to_string())
            .hint(format!("set `{key}` back to resume, or start a new job"))
    });
    problems.collect()
}

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, with dots.
    pub key: String,
    /// Its value in the first of two specs, as JSON; `nothing` where it has none.
    pub was: String,
    /// Its value in the second.
    pub is: String,
}

/// Whether `key` is one of `keys` or below one.
pub(super) fn is_within(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|of| key == *of || key.strip_prefix(of).is_some_and(|rest| rest.starts_with('.')))
}

/// Leaves of the two specs that differ, without those that may when a run is resumed.
fn resume_differences(was: &Value, is: &Value) -> Vec<Difference> {
    let chosen_by_scores = [was, is].into_iter().any(is_chosen_by_scores);
    let mut differences = spec_differences(was, is);
    differences.retain(|Difference { key, .. }| {
        (chosen_by_scores && key == EVAL_STEPS) || !is_within(key, &FREE_KEYS)
    });
    differences
}

/// Leaves of the two specs that differ.
pub fn spec_differences(was: &Value, is: &Value) -> Vec<Difference> {
    let (mut old, mut new) = (Map::new(), Map::new());
    flatten(was, String::new(), &mut old);
    flatten(is, String::new(), &mut new);
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Difference { key: key.clone(), was: text(old.get(key)), is: text(new.get(key)) })
        .collect()
}

/// Whether it matters for the result when the held-out data is scored.
fn is_chosen_by_scores(spec: &Value) -> bool {
    let train = &spec["train"];
    train["load_best_model_at_end"] == true
        || train["early_stopping_patience"].as_u64().is_some_and(|patience| patience != 0)
}

fn flatten(value: &Value, path: String, leaves: &mut Map<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, path, leaves);
            }
        }
        Value::Null => {}
        leaf => {
            leaves.insert(path, leaf.clone());
        }
    }
}

fn data_sha256(data: &Prepared) -> String {
    let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
    for samples in [&data.train, &data.eval] {
        hash.update((samples.len() as u64).to_le_bytes());
        for sample in samples.iter() {
            // One piece of bytes: hashing four at a time takes several times as long.
            bytes.clear();
            for Sample { ids, labels, weights, rejected: _ } in sample.segments() {
                bytes.extend((ids.len() as u64).to_le_bytes());
                bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
                bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
                bytes.extend(weights.iter().flatten().flat_map(|weight| weight.to_le_bytes()));
            }
            hash.update(&bytes);
        }
    }
    hex(hash)
}

/// Writes the trained weights as PEFT or transformers load them, with the tokenizer's files. The template that the
/// spec gave, with which the conversations were rendered, takes the place of the model's own.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn write_weights(
    dir: &Path,
    decoder: &Decoder,
    adapter: Option<&AdapterConfig>,
    spec: &CheckedSpec,
) -> Result<(), TrainError> {
    match adapter {
        Some(adapter) => {
            let tensors = decoder.named_tensors(Trained::Adapter);
            write_adapter(dir, adapter, &decoder.config, |spec| Ok(Cow::Owned(tensors.values(&spec.name))))?;
        }
        None => {
            let tensors = decoder.named_tensors(Trained::Base);
            write_model(dir, &decoder.config, |spec| Ok(Cow::Owned(tensors.values(&spec.name))))?;
        }
    }
    copy_companions(&spec.model.path, dir)?;
    match &spec.data.chat_template {
        Some(template) => {
            write_file(&dir.join(CHAT_TEMPLATE_JINJA), source_of(template)?.as_bytes())?;
            stop_where_the_template_does(dir, &spec.model.path, &decoder.config)
        }
        None => Ok(()),
    }
}

/// Adds the token with which the template in `dir` ends an answer to those that end a generation. The base may never have
/// seen it, and whoever loads the result would go on generating behind it.
fn stop_where_the_template_does(dir: &Path, base: &Path, config: &DecoderConfig) -> Result<(), TrainError> {
    let Some(end) = Encoder::load(dir, None)?.turn_end() else { return Ok(()) };
    let mut stops = eos_token_ids_for_generation(base, config)?;
    if stops.contains(&end) {
        return Ok(());
    }
    stops.push(end);
    let path = dir.join(GENERATION_CONFIG_JSON);
    let mut settings =
        if path.exists() { json_file::read_object(&path, ProblemKind::BrokenModel)? } else { Map::new() };
    settings.insert("eos_token_id".to_owned(), json!(stops));
    json_file::write(&path, &settings)
}

/// Writes where the run stands, for us and for the tools that read transformers' `trainer_state.json`.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn write_state(
    dir: &Path,
    state: &State,
    (history, max_steps): (&[Value], u64),
) -> Result<(), TrainError> {
    json_file::write(&dir.join(FTL_STATE_JSON), state)?;
    let trainer_state = json!({
        "best_global_step": state.scores.best.as_ref().map(|best| best.step),
        "best_metric": state.scores.best.as_ref().map(|best| best.loss_nats),
        "epoch": history.last().map(|entry| entry["epoch"].clone()),
        "global_step": state.step,
        "is_local_process_zero": true,
        "is_world_process_zero": true,
        "log_history": history,
        "max_steps": max_steps,
    });
    json_file::write(&dir.join(TRAINER_STATE_JSON), &trainer_state)
}

/// A step as `trainer_state.json` logs it.
pub fn history_entry(stepped: &Stepped) -> Value {
    let mut entry = json!({
        "epoch": stepped.epoch,
        "grad_norm": stepped.grad_norm,
        "learning_rate": stepped.learning_rate,
        "loss": stepped.loss_nats,
        "step": stepped.step,
    });
    // As TRL's trainers log them.
    if let Some(Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy }) =
        stepped.rewards
    {
        entry["rewards/chosen"] = json!(rewards_chosen);
        entry["rewards/rejected"] = json!(rewards_rejected);
        entry["rewards/margins"] = json!(reward_margin);
        entry["rewards/accuracies"] = json!(reward_accuracy);
    }
    entry
}

/// The steps that a checkpoint logged; nothing depends on them, so a file without them is no fault.
pub fn read_history(dir: &Path) -> Vec<Value> {
    let map = json_file::read_object(&dir.join(TRAINER_STATE_JSON), ProblemKind::BrokenCheckpoint);
    match map.ok().and_then(|mut map| map.remove("log_history")) {
        Some(Value::Array(history)) => history,
        Some(_) | None => Vec::new(),
    }
}

/// Reads what [`write_state`] wrote.
///
/// # Errors
/// `BrokenCheckpoint` where a file is not what it should be.
pub fn read_state(dir: &Path) -> Result<State, Problem> {
    let path = dir.join(FTL_STATE_JSON);
    let map = json_file::read_object(&path, ProblemKind::BrokenCheckpoint)?;
    serde_json::from_value(Value::Object(map)).map_err(|error| {
        Problem::new(ProblemKind::BrokenCheckpoint, format!("is not a checkpoint's state: {error}"))
            .at(path.display().to_string())
    })
}
