//! Kept configs.

use diesel::prelude::*;
use ftl_core::config::Config;
use ftl_core::{ConfigId, JobSpec, Page, PageRequest};

use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::fault::Outcome;
use crate::jobs::taken;
use crate::page::{Cut, List};
use crate::rows::config::{ConfigContent, ConfigRow};
use crate::rows::value::{integer, json};
use crate::schema::configs;
use crate::{Reply, Store};

impl Store {
    /// Keeps a config.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::IdTaken`].
    pub fn create_config(&self, config: Config) -> Reply<Config> {
        self.write(move |transaction| {
            name_is_free(transaction.connection, &config.name, &config.id)?;
            let row = ConfigContent::try_from(&config)?;
            let inserted = diesel::insert_into(configs::table).values(row).execute(transaction.connection);
            inserted.map_err(|error| taken(error, StoreError::IdTaken))?;
            Ok(config.clone())
        })
    }

    /// A config.
    pub fn config(&self, id: &ConfigId) -> Reply<Option<Config>> {
        let id = id.clone();
        self.read(move |connection| load(connection, &id))
    }

    /// Configs, newest first.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`].
    pub fn configs(&self, page: &PageRequest) -> Reply<Page<Config>> {
        let cut = match Cut::new(List::Configs, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            let rows: Vec<ConfigRow> = configs::table
                .filter(configs::number.lt(cut.before))
                .order(configs::number.desc())
                .limit(cut.limit())
                .select(ConfigRow::as_select())
                .load(connection)?;
            Ok(cut.page(rows.into_iter().map(ConfigRow::numbered).collect::<Result<_, _>>()?))
        })
    }

    /// Gives a config another name and spec.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NameTaken`].
    pub fn update_config(&self, id: &ConfigId, name: String, spec: JobSpec) -> Reply<Config> {
        let id = id.clone();
        self.write(move |transaction| {
            name_is_free(transaction.connection, &name, &id)?;
            let row = (
                configs::name.eq(&name),
                configs::spec.eq(json("configs.spec", &spec)?),
                configs::updated_unix_ms.eq(integer("configs.updated_unix_ms", now_unix_ms())?),
            );
            let changed = diesel::update(configs::table.filter(configs::id.eq(id.as_str()))).set(row);
            changed.execute(transaction.connection)?;
            load(transaction.connection, &id)?.ok_or_else(|| StoreError::NotFound.into())
        })
    }

    /// Forgets a config. Answers whether there was one.
    pub fn delete_config(&self, id: &ConfigId) -> Reply<bool> {
        let id = id.clone();
        self.write(move |transaction| {
            let gone = diesel::delete(configs::table.filter(configs::id.eq(id.as_str())));
            Ok(gone.execute(transaction.connection)? > 0)
        })
    }
}

fn load(connection: &mut SqliteConnection, id: &ConfigId) -> Outcome<Option<Config>> {
    let row: Option<ConfigContent> = configs::table
        .filter(configs::id.eq(id.as_str()))
        .select(ConfigContent::as_select())
        .first(connection)
        .optional()?;
    Ok(row.map(Config::try_from).transpose()?)
}

/// Refuses a name that a config other than this one has.
fn name_is_free(connection: &mut SqliteConnection, name: &str, id: &ConfigId) -> Outcome<()> {
    let holder: Option<String> =
        configs::table.filter(configs::name.eq(name)).select(configs::id).first(connection).optional()?;
    match holder {
        Some(holder) if holder != id.as_str() => Err(StoreError::NameTaken.into()),
        Some(_) | None => Ok(()),
    }
}
