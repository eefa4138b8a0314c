//! Problems.

use ftl_core::{Problem, ProblemKind};

use super::numbered::numbered;
use super::{Numbered as _, WireError, each, v1};

numbered!(
    ProblemKind, v1::problem::Kind, "Problem.Kind":
    Syntax, UnknownKey, MissingKey, InvalidValue, NotAvailable, NotFound, BrokenModel, UnsupportedModel,
    BrokenAdapter, BadData, BadTemplate, OutputExists, BrokenCheckpoint, Diverged, Device, OutOfMemory, Worker,
    Storage,
);

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> Self {
        let Problem { kind, field, message, hint } = problem;
        Self { kind: kind.number(), field, message, hint }
    }
}

impl TryFrom<v1::Problem> for Problem {
    type Error = WireError;

    fn try_from(problem: v1::Problem) -> Result<Self, WireError> {
        let v1::Problem { kind, field, message, hint } = problem;
        Ok(Self { kind: ProblemKind::required("Problem", "kind", kind)?, field, message, hint })
    }
}

impl From<Vec<Problem>> for v1::ProblemList {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems: problems.into_iter().map(v1::Problem::from).collect() }
    }
}

impl TryFrom<v1::ProblemList> for Vec<Problem> {
    type Error = WireError;

    fn try_from(list: v1::ProblemList) -> Result<Self, WireError> {
        let v1::ProblemList { problems } = list;
        each("ProblemList", "problems", problems)
    }
}
