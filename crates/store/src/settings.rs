//! Settings of the service: texts by key.

use diesel::prelude::*;

use crate::schema::settings;
use crate::{Reply, Store};

impl Store {
    /// A setting.
    pub fn setting(&self, key: &str) -> Reply<Option<String>> {
        let key = key.to_owned();
        self.read(move |connection| {
            Ok(settings::table.find(key).select(settings::value).first(connection).optional()?)
        })
    }

    /// Sets a setting.
    pub fn set_setting(&self, key: &str, value: &str) -> Reply<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(move |transaction| {
            let row = (settings::key.eq(&key), settings::value.eq(&value));
            diesel::replace_into(settings::table).values(row).execute(transaction.connection)?;
            Ok(())
        })
    }
}
