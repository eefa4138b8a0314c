//! How the attempts that are kept have ended, counted.

use diesel::dsl::count_star;
use diesel::prelude::*;
use ftl_core::job::Exit;

use crate::rows::value::{count, from_json};
use crate::schema::attempts;
use crate::{Reply, Store};

impl Store {
    /// How many attempts have ended in each way, over all jobs that are kept.
    pub fn exit_counts(&self) -> Reply<Vec<(Exit, u64)>> {
        self.read(|connection| {
            let rows: Vec<(Option<String>, i64)> = attempts::table
                .filter(attempts::exit.is_not_null())
                .group_by(attempts::exit)
                .select((attempts::exit, count_star()))
                .load(connection)?;
            let mut counts = Vec::with_capacity(rows.len());
            for (exit, n_attempts) in rows {
                if let Some(exit) = exit {
                    counts.push((from_json("attempts.exit", &exit)?, count("attempts", n_attempts)?));
                }
            }
            Ok(counts)
        })
    }
}
