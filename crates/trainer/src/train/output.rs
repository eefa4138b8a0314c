//! The directory of a run: what it may hold before, and what is put there first.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::dataset::DatasetReport;
use ftl_core::{CheckedSpec, Event, Observer, Problem, ProblemKind};

use crate::checkpoint::layout::{
    DIGESTS_JSONL, EVENTS_JSONL, FINAL, REPORT_JSON, SPEC_RESOLVED_JSON, START_JSON, checkpoint_name, step_of,
};
use crate::checkpoint::{Checkpoint, Damaged, newest_valid, set_aside, verify};
use crate::checkpoint::{remove_leftovers, write_file};
use crate::error::TrainError;
use crate::train::Begin;
use crate::train::preflight::Weights;
use crate::train::report::{note, warn};
use crate::train::snapshot::{State, check_spec, read_state};
use crate::train::start::Start;

/// What a run directory holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nothing to go on from.
    Nothing,
    /// A checkpoint to go on from.
    Checkpoint {
        /// Where it is.
        path: PathBuf,
        /// Newer ones that can't be used.
        damaged: Vec<Damaged>,
    },
    /// None, but one of another run to start from.
    Start(Start),
    /// The result: the run is finished.
    Result {
        /// Where it is.
        path: PathBuf,
        /// What the run came to.
        state: Box<State>,
    },
}

/// Looks where to begin; changes nothing.
///
/// # Errors
/// `OutputExists` where a new run would overwrite one, a finished run that was asked for something else, a checkpoint of
/// another run that this one can't start from, and `BrokenCheckpoint` where there are checkpoints and none can be used:
/// that a run begins anew is for a person to say.
pub fn inspect(
    out: &Path,
    begin: Begin,
    spec: &CheckedSpec,
    observer: &mut dyn Observer,
) -> Result<Found, TrainError> {
    let at = |message: String| Problem::new(ProblemKind::OutputExists, message).at(out.display().to_string());
    if out.exists() && !out.is_dir() {
        return Err(at("is a file, a run needs a directory".to_owned())
            .hint("choose another `--out`")
            .into());
    }
    if matches!(begin, Begin::New | Begin::From(_))
        && let Some(name) = run_in(out)?
    {
        return Err(at(format!("holds a run already (`{name}`)"))
            .hint("choose another `--out`, or go on with `--resume`")
            .into());
    }
    match begin {
        Begin::New => Ok(Found::Nothing),
        Begin::From(checkpoint) => {
            let start = Start::at(&checkpoint, spec)?;
            note(observer, format!("starting from {} after step {}", checkpoint.display(), start.step));
            Ok(Found::Start(start))
        }
        Begin::Resume => {
            if let Some(found) = finished(out, spec, observer)? {
                note(observer, "the run is finished already".to_owned());
                return Ok(found);
            }
            let found = newest_valid(out)?;
            for damaged in &found.damaged {
                warn(
                    observer,
                    format!("{} is not used: {}", damaged.checkpoint.path.display(), damaged.problem),
                );
            }
            match found.newest {
                Some(checkpoint) => {
                    note(observer, format!("going on after step {}", checkpoint.step));
                    Ok(Found::Checkpoint { path: checkpoint.path, damaged: found.damaged })
                }
                None if !found.damaged.is_empty() => {
                    // They stay where they are: the next attempt must find them, too.
                    for damaged in &found.damaged {
                        tell(damaged, &damaged.checkpoint.path, observer);
                    }
                    Err(none_is_valid(out, &found.damaged).into())
                }
                None => match Start::again(out, spec)? {
                    Some(start) => {
                        let path = start.checkpoint.display();
                        note(
                            observer,
                            format!(
                                "there is no checkpoint: starting from {path} again, after step {}",
                                start.step
                            ),
                        );
                        Ok(Found::Start(start))
                    }
                    None => {
                        note(observer, "there is no checkpoint: starting from the beginning".to_owned());
                        Ok(Found::Nothing)
                    }
                },
            }
        }
    }
}

/// Whether there is something of a run in `out`: then it can be resumed, and no other can begin there.
///
/// # Errors
/// [`TrainError::File`] if `out` can't be listed.
pub fn holds_run(out: &Path) -> Result<bool, TrainError> {
    run_in(out).map(|name| name.is_some())
}

/// The name of something in `out` that belongs to a run.
fn run_in(out: &Path) -> Result<Option<String>, TrainError> {
    if !out.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(out).map_err(TrainError::file("list", out))? {
        let name = entry.map_err(TrainError::file("list", out))?.file_name().to_string_lossy().into_owned();
        if [SPEC_RESOLVED_JSON, EVENTS_JSONL, DIGESTS_JSONL, START_JSON, FINAL].contains(&name.as_str())
            || step_of(&name).is_some()
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn finished(
    out: &Path,
    spec: &CheckedSpec,
    observer: &mut dyn Observer,
) -> Result<Option<Found>, TrainError> {
    let path = out.join(FINAL);
    if !path.is_dir() {
        return Ok(None);
    }
    if let Err(problem) = verify(&path) {
        warn(observer, format!("{} is written again: {problem}", path.display()));
        return Ok(None);
    }
    let state = read_state(&path)?;
    check_spec(&state.spec, spec, &path)?;
    Ok(Some(Found::Result { path, state: Box::new(state) }))
}

fn tell(damaged: &Damaged, kept_at: &Path, observer: &mut dyn Observer) {
    let Damaged { checkpoint: Checkpoint { step, path }, problem } = damaged;
    observer.observe(&Event::Damaged {
        step: *step,
        path: path.display().to_string(),
        kept_at: kept_at.display().to_string(),
        message: problem.message.clone(),
    });
}

fn none_is_valid(out: &Path, damaged: &[Damaged]) -> Problem {
    let each: Vec<String> = damaged
        .iter()
        .map(|Damaged { checkpoint, problem }| {
            format!("{} {}", checkpoint_name(checkpoint.step), problem.message)
        })
        .collect();
    let message = match damaged.len() {
        1 => format!("the only checkpoint is damaged: {}", each.concat()),
        n => format!("all {n} checkpoints are damaged: {}", each.join("; ")),
    };
    Problem::new(ProblemKind::BrokenCheckpoint, message)
        .at(out.display().to_string())
        .hint("put one back as it was written; or delete them, and the run starts from the beginning")
}

/// Makes the directory, removes what a killed process left unfinished, sets damaged checkpoints aside, and puts there what
/// the run started from, the report on the data and the resolved spec.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn begin(
    (out, spec): (&Path, &CheckedSpec),
    (weights, damaged): (&Weights, &[Damaged]),
    report: &DatasetReport,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    fs::create_dir_all(out).map_err(TrainError::file("create", out))?;
    for Checkpoint { step, path } in remove_leftovers(out)? {
        observer.observe(&Event::Removed { step, path: path.display().to_string() });
    }
    for damaged in damaged {
        let kept_at = set_aside(out, &damaged.checkpoint)?;
        tell(damaged, &kept_at, observer);
    }
    // First: a directory that holds anything else of the run must say where it started.
    match weights {
        Weights::Start(start) => start.write(out)?,
        Weights::Spec | Weights::Checkpoint(_) => {}
    }
    let report = serde_json::to_vec_pretty(report).expect("a report is plain data");
    write_file(&out.join(REPORT_JSON), &report)?;
    write_file(&out.join(SPEC_RESOLVED_JSON), spec.to_json().as_bytes())
}
