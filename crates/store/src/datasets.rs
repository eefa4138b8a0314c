//! Imported datasets.

use diesel::prelude::*;
use ftl_core::dataset::Dataset;
use ftl_core::{DatasetId, Page, PageRequest};

use crate::dataset_reports::{NewReport, insert};
use crate::error::StoreError;
use crate::jobs::taken;
use crate::page::{Cut, List};
use crate::rows::dataset::{DatasetContent, DatasetRow};
use crate::schema::datasets;
use crate::{Reply, Store};

impl Store {
    /// Keeps datasets, each with the first report on it, which becomes its `report`; all of them or none.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`].
    pub fn create_datasets(&self, new: Vec<(Dataset, NewReport)>) -> Reply<Vec<Dataset>> {
        self.write(move |transaction| {
            let mut made = Vec::new();
            for (dataset, report) in &new {
                let report = report.numbered(1);
                let dataset = Dataset { report: Some(report.summary.clone()), ..dataset.clone() };
                let row = DatasetContent::try_from(&dataset)?;
                let inserted =
                    diesel::insert_into(datasets::table).values(row).execute(transaction.connection);
                inserted.map_err(|error| taken(error, StoreError::IdTaken))?;
                insert(transaction.connection, &dataset.id, &report)?;
                made.push(dataset);
            }
            Ok(made)
        })
    }

    /// A dataset.
    pub fn dataset(&self, id: &DatasetId) -> Reply<Option<Dataset>> {
        let id = id.clone();
        self.read(move |connection| {
            let row: Option<DatasetContent> = datasets::table
                .filter(datasets::id.eq(id.as_str()))
                .select(DatasetContent::as_select())
                .first(connection)
                .optional()?;
            Ok(row.map(Dataset::try_from).transpose()?)
        })
    }

    /// Datasets, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`].
    pub fn datasets(&self, page: &PageRequest) -> Reply<Page<Dataset>> {
        let cut = match Cut::new(List::Datasets, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            let rows: Vec<DatasetRow> = datasets::table
                .filter(datasets::number.lt(cut.before))
                .order(datasets::number.desc())
                .limit(cut.limit())
                .select(DatasetRow::as_select())
                .load(connection)?;
            Ok(cut.page(rows.into_iter().map(DatasetRow::numbered).collect::<Result<_, _>>()?))
        })
    }

    /// Forgets a dataset and its reports; its file stays. Answers whether there was one.
    pub fn delete_dataset(&self, id: &DatasetId) -> Reply<bool> {
        let id = id.clone();
        self.write(move |transaction| {
            let gone = diesel::delete(datasets::table.filter(datasets::id.eq(id.as_str())));
            Ok(gone.execute(transaction.connection)? > 0)
        })
    }
}
