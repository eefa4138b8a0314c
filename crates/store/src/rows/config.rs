//! Kept configs.

use diesel::prelude::*;
use ftl_core::config::Config;

use super::value::{count, from_json, id, integer, json};
use crate::error::StoreError;
use crate::schema::configs;

#[derive(Queryable, Selectable)]
#[diesel(table_name = configs, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ConfigRow {
    number: i64,
    #[diesel(embed)]
    content: ConfigContent,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = configs, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ConfigContent {
    id: String,
    name: String,
    spec: String,
    created_unix_ms: i64,
    updated_unix_ms: i64,
}

impl ConfigRow {
    /// The config with its place in lists.
    pub(crate) fn numbered(self) -> Result<(i64, Config), StoreError> {
        Ok((self.number, self.content.try_into()?))
    }
}

impl TryFrom<ConfigContent> for Config {
    type Error = StoreError;

    fn try_from(row: ConfigContent) -> Result<Self, StoreError> {
        let ConfigContent { id: text, name, spec, created_unix_ms, updated_unix_ms } = row;
        Ok(Self {
            id: id("configs.id", text)?,
            name,
            spec: from_json("configs.spec", &spec)?,
            created_unix_ms: count("configs.created_unix_ms", created_unix_ms)?,
            updated_unix_ms: count("configs.updated_unix_ms", updated_unix_ms)?,
        })
    }
}

impl TryFrom<&Config> for ConfigContent {
    type Error = StoreError;

    fn try_from(config: &Config) -> Result<Self, StoreError> {
        let Config { id, name, spec, created_unix_ms, updated_unix_ms } = config;
        Ok(Self {
            id: id.to_string(),
            name: name.clone(),
            spec: json("configs.spec", spec)?,
            created_unix_ms: integer("configs.created_unix_ms", *created_unix_ms)?,
            updated_unix_ms: integer("configs.updated_unix_ms", *updated_unix_ms)?,
        })
    }
}
