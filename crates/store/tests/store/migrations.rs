//! The migrations, and whether `schema.rs` says what they make.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use ftl_core::dataset::{Dataset, FileOwner};
use ftl_core::event::Sampled;
use ftl_core::job::State;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::system::GpuSample;
use ftl_core::{DatasetId, Event, JobId, PageRequest};
use ftl_store::Store;

use crate::datasets::dataset;
use crate::given::{created_in, evaluated, note, record, running, saved, stepped, store};

#[path = "../../src/schema.rs"]
mod schema;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn migrations() -> FileBasedMigrations {
    FileBasedMigrations::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations")).unwrap()
}

fn names(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let rows: Vec<Name> = diesel::sql_query(sql).load(connection).unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                      AND name NOT LIKE '__diesel%' ORDER BY name";

/// A database with a row in every table, and a connection to it that is no store's.
fn filled() -> (tempfile::TempDir, SqliteConnection) {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let exported = Event::Exported { path: "/nowhere".to_owned(), kind: "peft".to_owned() };
    let reference = Some("this".to_owned());
    let sampled = Sampled { step: 1, prompt: "what?".to_owned(), text: "that".to_owned(), reference };
    let events = [stepped(1), saved(1), exported, note("n"), Event::Sampled(sampled)];
    let records = (1..).zip(events).map(|(seq, event)| record(seq, event)).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let sample = GpuSample {
        job: id,
        time_unix_ms: 1,
        index: 0,
        uuid: "GPU-1".to_owned(),
        memory_total_bytes: 2,
        memory_used_bytes: 1,
        utilization_percent: None,
        temperature_celsius: None,
        power_watts: None,
    };
    given.store.append_gpu_samples(vec![sample]).wait().unwrap();
    created_in(&given.store, 2, State::Failed);
    given.store.create_datasets(vec![dataset(1, DataFormat::Text)]).wait().unwrap();
    given.store.set_setting("key", "value").wait().unwrap();
    let path = given.path();
    drop(given.store);
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA foreign_keys = ON").unwrap();
    (given.folder, connection)
}

#[test]
fn migrations_go_up_down_and_up_again_on_a_filled_database() {
    let (_folder, mut connection) = filled();
    assert!(!connection.has_pending_migration(migrations()).unwrap());
    let tables = names(&mut connection, TABLES);
    assert_eq!(
        tables,
        [
            "artifacts",
            "attempts",
            "checkpoints",
            "configs",
            "dataset_reports",
            "datasets",
            "gpu_samples",
            "job_events",
            "jobs",
            "last_write",
            "metrics",
            "models",
            "predictions",
            "settings"
        ]
    );
    connection.revert_all_migrations(migrations()).unwrap();
    assert_eq!(names(&mut connection, TABLES), [""; 0]);
    connection.run_pending_migrations(migrations()).unwrap();
    assert_eq!(names(&mut connection, TABLES), tables);
    let broken: Vec<Name> = diesel::sql_query("SELECT \"table\" AS name FROM pragma_foreign_key_check")
        .load(&mut connection)
        .unwrap();
    assert!(broken.is_empty());
}

/// Reverts the migration of this version and all that came after it.
fn revert_to(connection: &mut SqliteConnection, version: &str) {
    while connection.revert_last_migration(migrations()).unwrap().to_string() != version {}
}

#[test]
fn a_checkpoint_of_before_is_complete_and_has_the_loss_after_its_step() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let evaluated = [evaluated(10, 2.0), evaluated(10, 1.5), evaluated(20, f64::NAN)];
    let records = [saved(10), saved(20), saved(30)].into_iter().chain(evaluated);
    let records = (1..).zip(records).map(|(seq, event)| record(seq, event)).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let before = given.store.checkpoints(&id).wait().unwrap();
    let path = given.path();
    drop(given.store);
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    revert_to(&mut connection, "20261128000002");
    drop(connection);
    let store = Store::open(&path, |_, _| {}).unwrap();
    let after = store.checkpoints(&id).wait().unwrap();
    assert_eq!(after, before);
    assert_eq!(after[0].eval_loss_nats, Some(1.5));
    assert_eq!((after[1].eval_loss_nats, after[2].eval_loss_nats), (None, None));
}

#[test]
fn a_dataset_of_before_there_were_reports_is_the_users_and_has_none() {
    let (folder, mut connection) = filled();
    revert_to(&mut connection, "20261128000000");
    drop(connection);
    let store = Store::open(&folder.path().join("ftl.db"), |_, _| {}).unwrap();
    let found = store.dataset(&DatasetId::from_bits(1)).wait().unwrap().unwrap();
    let before = dataset(1, DataFormat::Text).0;
    assert_eq!(found, Dataset { owner: FileOwner::User, report: None, ..before });
    assert_eq!(store.reports(&found.id).wait().unwrap(), []);
}

#[test]
fn answers_of_before_they_had_a_table_are_found_in_the_events() {
    let (folder, mut connection) = filled();
    revert_to(&mut connection, "20261128000003");
    drop(connection);
    let store = Store::open(&folder.path().join("ftl.db"), |_, _| {}).unwrap();
    let id = JobId::from_bits(1);
    let found = store.predictions(&id, &PageRequest::default()).wait().unwrap().items;
    assert_eq!(found.len(), 1);
    let told = store.events_after(&id, found[0].seq - 1, 1).wait().unwrap().remove(0);
    assert_eq!((found[0].attempt, found[0].time_unix_ms), (told.attempt, told.record.time_unix_ms));
    assert_eq!(Event::Sampled(found[0].sampled.clone()), told.record.event);
}

#[test]
fn tables_are_strict() {
    let (_folder, mut connection) = filled();
    let lax = "SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 \
               AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '__diesel%'";
    assert_eq!(names(&mut connection, lax), [""; 0]);
    let all = "SELECT count(*) AS n FROM pragma_table_list WHERE strict = 1";
    let strict: Count = diesel::sql_query(all).get_result(&mut connection).unwrap();
    assert_eq!(strict.n, 14);
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let (_folder, mut connection) = filled();
    for sql in [
        "UPDATE jobs SET state = 'PAUSED'",
        "UPDATE jobs SET phase = 'DREAMING' WHERE state = 'RUNNING'",
        "UPDATE jobs SET phase = 'TRAINING' WHERE state = 'FAILED'",
        "UPDATE attempts SET ended_unix_ms = 1",
        "UPDATE metrics SET kind = 'evaluated'",
        "UPDATE metrics SET kind = 'guessed'",
        "UPDATE metrics SET attempt = 9",
        "UPDATE metrics SET tokens = 'many'",
        "UPDATE job_events SET job = 'job-0000000000'",
        "INSERT INTO attempts (job, number, started_unix_ms) VALUES ('job-0000000000', 1, 0)",
        "UPDATE checkpoints SET state = 'LOST'",
        "UPDATE checkpoints SET state = 'DAMAGED'",
        "UPDATE checkpoints SET damage = 'cut'",
        "UPDATE checkpoints SET pinned = 2",
        "UPDATE datasets SET owner = 'nobody'",
        "UPDATE dataset_reports SET number = 0",
        "UPDATE dataset_reports SET dataset = 'data-0000000000'",
        "UPDATE gpu_samples SET job = 'job-0000000000'",
        "UPDATE predictions SET attempt = 9",
        "INSERT INTO last_write (only, mark) VALUES (2, 'x')",
    ] {
        assert!(connection.batch_execute(sql).is_err(), "{sql}");
    }
    // That one can differ.
    connection.batch_execute("UPDATE jobs SET phase = 'TRAINING' WHERE state = 'RUNNING'").unwrap();
}

#[test]
fn the_schema_file_has_the_columns_of_the_tables() {
    let (_folder, mut connection) = filled();
    let mut n_tables = 0;
    macro_rules! same_columns {
        ($($table:ident),*) => {$({
            let query = schema::$table::table.select(schema::$table::all_columns);
            let sql = diesel::debug_query::<Sqlite, _>(&query).to_string();
            let list = sql.split("FROM").next().unwrap().to_owned();
            let prefix = concat!("`", stringify!($table), "`.`");
            let mut columns: Vec<&str> =
                list.split(prefix).skip(1).map(|rest| rest.split('`').next().unwrap()).collect();
            let table_info =
                concat!("SELECT name FROM pragma_table_info('", stringify!($table), "') ORDER BY cid");
            assert_eq!(columns, names(&mut connection, table_info), stringify!($table));
            columns.sort_unstable();
            columns.dedup();
            assert!(columns.len() > 1, stringify!($table));
            n_tables += 1;
        })*};
    }
    same_columns!(
        artifacts,
        attempts,
        checkpoints,
        configs,
        dataset_reports,
        datasets,
        gpu_samples,
        job_events,
        jobs,
        last_write,
        metrics,
        models,
        predictions,
        settings
    );
    assert_eq!(n_tables, names(&mut connection, TABLES).len());
}
