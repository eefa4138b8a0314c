//! Answers of a model to held-out prompts.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use ftl_core::event::Sampled;
use ftl_core::job::Prediction;

use super::value::count;
use crate::error::StoreError;
use crate::schema::predictions;

#[derive(Queryable, Selectable)]
#[diesel(table_name = predictions, check_for_backend(Sqlite))]
pub(crate) struct PredictionRow {
    seq: i64,
    attempt: i64,
    step: i64,
    time_unix_ms: i64,
    prompt: String,
    text: String,
    reference: Option<String>,
}

#[derive(Insertable)]
#[diesel(table_name = predictions)]
pub(crate) struct NewPredictionRow<'a> {
    pub(crate) job: &'a str,
    pub(crate) seq: i64,
    pub(crate) attempt: i64,
    pub(crate) step: i64,
    pub(crate) time_unix_ms: i64,
    pub(crate) prompt: &'a str,
    pub(crate) text: &'a str,
    pub(crate) reference: Option<&'a str>,
}

impl PredictionRow {
    /// With the number by which pages are cut.
    pub(crate) fn numbered(self) -> Result<(i64, Prediction), StoreError> {
        let Self { seq, attempt, step, time_unix_ms, prompt, text, reference } = self;
        let prediction = Prediction {
            seq: count("predictions.seq", seq)?,
            attempt: count("predictions.attempt", attempt)?,
            time_unix_ms: count("predictions.time_unix_ms", time_unix_ms)?,
            sampled: Sampled { step: count("predictions.step", step)?, prompt, text, reference },
        };
        Ok((seq, prediction))
    }
}
