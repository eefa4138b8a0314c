//! Imported models.

use std::path::PathBuf;

use diesel::prelude::*;
use ftl_core::model::ModelFacts;
use ftl_core::{ModelId, Page, PageRequest};

use crate::error::StoreError;
use crate::jobs::taken;
use crate::page::{Cut, List};
use crate::rows::model::{ModelContent, ModelRow};
use crate::schema::models;
use crate::{Reply, Store};

/// A model that a person imported: [`ftl_core::model::Model`] without those that come from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// Its id.
    pub id: ModelId,
    /// What the user calls it.
    pub name: String,
    /// Its directory, which is referred to and not copied. Several models may have the same.
    pub path: PathBuf,
    /// What its directory held when it was imported.
    pub facts: ModelFacts,
    /// When it was imported.
    pub created_unix_ms: u64,
}

impl Store {
    /// Keeps a model.
    ///
    /// # Errors
    /// [`StoreError::IdTaken`].
    pub fn create_model(&self, model: StoredModel) -> Reply<StoredModel> {
        self.write(move |transaction| {
            let row = ModelContent::try_from(&model)?;
            let inserted = diesel::insert_into(models::table).values(row).execute(transaction.connection);
            inserted.map_err(|error| taken(error, StoreError::IdTaken))?;
            Ok(model.clone())
        })
    }

    /// A model.
    pub fn model(&self, id: &ModelId) -> Reply<Option<StoredModel>> {
        let id = id.clone();
        self.read(move |connection| {
            let row: Option<ModelContent> = models::table
                .filter(models::id.eq(id.as_str()))
                .select(ModelContent::as_select())
                .first(connection)
                .optional()?;
            Ok(row.map(StoredModel::try_from).transpose()?)
        })
    }

    /// Models, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`].
    pub fn models(&self, page: &PageRequest) -> Reply<Page<StoredModel>> {
        let cut = match Cut::new(List::Models, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            let rows: Vec<ModelRow> = models::table
                .filter(models::number.lt(cut.before))
                .order(models::number.desc())
                .limit(cut.limit())
                .select(ModelRow::as_select())
                .load(connection)?;
            Ok(cut.page(rows.into_iter().map(ModelRow::numbered).collect::<Result<_, _>>()?))
        })
    }

    /// Forgets a model; its directory stays. Answers whether there was one.
    pub fn delete_model(&self, id: &ModelId) -> Reply<bool> {
        let id = id.clone();
        self.write(move |transaction| {
            let gone = diesel::delete(models::table.filter(models::id.eq(id.as_str())));
            Ok(gone.execute(transaction.connection)? > 0)
        })
    }
}
