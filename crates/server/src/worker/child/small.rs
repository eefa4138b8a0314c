//! Tasks of one question and one answer.

use std::path::Path;

use ftl_core::spec::resolved::DataFormat;
use ftl_core::{JobSpec, Problem};
use ftl_trainer::data::preview::preview as preview_rows;
use ftl_trainer::inspect::model_facts;
use ftl_trainer::plan::plan;

use super::link::Link;
use super::{hello, say};
use crate::worker::exit;
use crate::worker::frame::FrameError;
use crate::worker::message::FromWorker;

/// Why a task has no answer.
pub(super) enum Trouble {
    /// The input can't be used.
    Refused(Vec<Problem>),
    /// The server does not take the answer.
    Unsent(FrameError),
}

impl From<Vec<Problem>> for Trouble {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Refused(problems)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Refused(vec![problem])
    }
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Self {
        Self::Unsent(error)
    }
}

/// Does one, and ends as it says.
pub(super) fn run(link: &Link, nonce: String, task: impl FnOnce(&Link) -> Result<(), Trouble>) -> u8 {
    let done = link.send(&hello(nonce)).map_err(Trouble::from).and_then(|()| task(link));
    let (last, code) = match done {
        Ok(()) => (FromWorker::Finished, exit::DONE),
        Err(Trouble::Refused(problems)) => (FromWorker::Refused { problems }, exit::REFUSED),
        Err(Trouble::Unsent(error)) => return unsent(&error),
    };
    match link.send(&last) {
        Ok(()) => code,
        Err(error) => unsent(&error),
    }
}

fn unsent(error: &FrameError) -> u8 {
    say(format_args!("the server does not take the answer: {error}"));
    exit::USAGE
}

pub(super) fn inspect_model(link: &Link, path: &Path) -> Result<(), Trouble> {
    Ok(link.send(&FromWorker::Model(model_facts(path)?))?)
}

pub(super) fn preview(link: &Link, path: &Path, format: DataFormat, rows: (u64, u32)) -> Result<(), Trouble> {
    for row in preview_rows(path, format, rows)? {
        link.send(&FromWorker::Row(row))?;
    }
    Ok(())
}

pub(super) fn plan_memory(link: &Link, spec: &JobSpec) -> Result<(), Trouble> {
    Ok(link.send(&FromWorker::Plan(plan(&spec.check()?)?))?)
}
