//! What a job's model answered to held-out prompts. [`append`](crate::append) keeps them together with their events.

use diesel::prelude::*;
use ftl_core::job::Prediction;
use ftl_core::{JobId, Page, PageRequest};

use crate::events::must_exist;
use crate::page::{Cut, List};
use crate::rows::prediction::PredictionRow;
use crate::schema::predictions;
use crate::{Reply, Store};

impl Store {
    /// The answers of a job's model, newest first. A step that was taken again has its answers twice.
    ///
    /// # Errors
    /// [`StoreError::NotFound`](crate::StoreError::NotFound) without such a job,
    /// [`StoreError::BadPageToken`](crate::StoreError::BadPageToken).
    pub fn predictions(&self, id: &JobId, page: &PageRequest) -> Reply<Page<Prediction>> {
        let cut = match Cut::new(List::Predictions, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        let job = id.clone();
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            let rows: Vec<PredictionRow> = predictions::table
                .filter(predictions::job.eq(job.as_str()))
                .filter(predictions::seq.lt(cut.before))
                .order(predictions::seq.desc())
                .limit(cut.limit())
                .select(PredictionRow::as_select())
                .load(connection)?;
            Ok(cut.page(rows.into_iter().map(PredictionRow::numbered).collect::<Result<_, _>>()?))
        })
    }
}
