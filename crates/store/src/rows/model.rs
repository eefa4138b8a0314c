//! Imported models.

use diesel::prelude::*;

use super::value::{count, from_json, id, integer, json, path, path_text};
use crate::error::StoreError;
use crate::models::StoredModel;
use crate::schema::models;

#[derive(Queryable, Selectable)]
#[diesel(table_name = models, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ModelRow {
    number: i64,
    #[diesel(embed)]
    content: ModelContent,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = models, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ModelContent {
    id: String,
    name: String,
    path: String,
    facts: String,
    created_unix_ms: i64,
}

impl ModelRow {
    /// The model with its place in lists.
    pub(crate) fn numbered(self) -> Result<(i64, StoredModel), StoreError> {
        Ok((self.number, self.content.try_into()?))
    }
}

impl TryFrom<ModelContent> for StoredModel {
    type Error = StoreError;

    fn try_from(row: ModelContent) -> Result<Self, StoreError> {
        let ModelContent { id: text, name, path: place, facts, created_unix_ms } = row;
        Ok(Self {
            id: id("models.id", text)?,
            name,
            path: path(place),
            facts: from_json("models.facts", &facts)?,
            created_unix_ms: count("models.created_unix_ms", created_unix_ms)?,
        })
    }
}

impl TryFrom<&StoredModel> for ModelContent {
    type Error = StoreError;

    fn try_from(model: &StoredModel) -> Result<Self, StoreError> {
        let StoredModel { id, name, path, facts, created_unix_ms } = model;
        Ok(Self {
            id: id.to_string(),
            name: name.clone(),
            path: path_text("models.path", path)?,
            facts: json("models.facts", facts)?,
            created_unix_ms: integer("models.created_unix_ms", *created_unix_ms)?,
        })
    }
}
