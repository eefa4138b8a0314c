//! Opening: what is made, what is refused and stays as it is, what is copied before it changes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use ftl_core::job::State;
use ftl_store::{Store, StoreError};

use crate::given::{created, record, running, stepped, store, to};

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, |_, _| {})
}

fn refusal(path: &Path) -> StoreError {
    match open(path) {
        Ok(_) => panic!("`{}` was opened", path.display()),
        Err(error) => error,
    }
}

/// Another program's hand on the file.
fn raw(path: &Path, sql: &str) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
    connection
}

/// A database with a job, closed.
fn closed_database() -> (tempfile::TempDir, PathBuf) {
    let given = store();
    created(&given.store, 1);
    let path = given.path();
    drop(given.store);
    (given.folder, path)
}

#[cfg(unix)]
#[test]
fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let given = store();
    created(&given.store, 1);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let mut names = Vec::new();
    for entry in given.folder.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["ftl.db", "ftl.db-shm", "ftl.db-wal", "ftl.db.lock"]);

    let path = given.path();
    drop(given.store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_path_may_hold_what_means_something_in_an_address() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a b.db", "100%25.db", "what?mode=memory.db", "a#b.db", "file:x.db"] {
        let path = folder.path().join(name);
        created(&open(&path).unwrap(), 1);
        let again = open(&path).unwrap();
        assert_eq!(again.jobs_in(&[State::Queued]).wait().unwrap().len(), 1, "{name}");
        assert!(path.exists(), "{name}");
    }
}

#[test]
fn an_empty_file_becomes_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ftl.db");
    std::fs::write(&path, "").unwrap();
    created(&open(&path).unwrap(), 1);
    drop(raw(&folder.path().join("no-tables.db"), "CREATE TABLE t (x); DROP TABLE t;"));
    created(&open(&folder.path().join("no-tables.db")).unwrap(), 1);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&folder.path().join("gone/ftl.db"));
    assert!(matches!(error, StoreError::File { .. }));
    assert!(error.to_string().contains("gone/ftl.db"), "{error}");
}

#[test]
fn one_store_at_a_time_has_a_file_open() {
    let given = store();
    let began = Instant::now();
    let error = refusal(&given.path());
    assert!(matches!(error, StoreError::AlreadyOpen(_)));
    let expected = format!("`{}` is open in another program; end that one first", given.path().display());
    assert_eq!(error.to_string(), expected);
    assert!(began.elapsed().as_secs() < 5, "it did not wait for the other");
    // The first is as good as before.
    let clone = given.store.clone();
    drop(given.store);
    created(&clone, 1);
    assert!(matches!(refusal(&given.folder.path().join("ftl.db")), StoreError::AlreadyOpen(_)));
    drop(clone);
    assert!(open(&given.folder.path().join("ftl.db")).is_ok());
}

/// From the name of its folder, `<yyyy-mm-dd-hhmmss>_<what_it_does>`.
fn newest_migration() -> String {
    let folders = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations")).read_dir().unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let versions = names.filter_map(|name| name.split_once('_').map(|(time, _)| time.replace('-', "")));
    versions.max().unwrap()
}

#[test]
fn a_newer_database_is_refused_and_stays_as_it_is() {
    let (_folder, path) = closed_database();
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')";
    drop(raw(&path, newer));
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path);
    let StoreError::NewerDatabase { version, newest_known, .. } = &error else { panic!("{error}") };
    assert_eq!((version.as_str(), newest_known), ("99991231235959", &newest_migration()));
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` was written by a newer version (it has migration 99991231235959, this program knows up to \
             {}); use that version, or a backup from before",
            path.display(),
            newest_migration()
        )
    );
    assert!(std::fs::read(&path).unwrap() == before);
    // It can be opened again when the newer version's migration is taken back.
    drop(raw(&path, "DELETE FROM __diesel_schema_migrations WHERE version > '9'"));
    assert_eq!(open(&path).unwrap().jobs_in(&[State::Queued]).wait().unwrap().len(), 1);
}

#[test]
fn a_newer_database_that_was_killed_is_refused_with_its_log_as_it_is() {
    let (folder, path) = closed_database();
    // What is written is in the log alone while the connection is open: as after a kill.
    let newer = "PRAGMA journal_mode = WAL; \
                 INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')";
    let writing = raw(&path, newer);
    let killed = folder.path().join("killed.db");
    let files = |path: &Path| {
        let log = PathBuf::from(format!("{}-wal", path.display()));
        (std::fs::read(path).unwrap(), std::fs::read(log).unwrap())
    };
    std::fs::copy(&path, &killed).unwrap();
    std::fs::copy(folder.path().join("ftl.db-wal"), folder.path().join("killed.db-wal")).unwrap();
    drop(writing);
    let before = files(&killed);
    assert!(!before.1.is_empty());
    assert!(matches!(refusal(&killed), StoreError::NewerDatabase { .. }));
    assert!(files(&killed) == before);
}

#[test]
fn what_is_no_database_of_ours_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "a letter to a friend, longer than a hundred bytes of header".repeat(9))
        .unwrap();
    std::fs::write(path("short"), "x").unwrap();
    drop(raw(&path("other"), "CREATE TABLE friends (name TEXT)"));
    drop(raw(
        &path("diesel"),
        "CREATE TABLE friends (name TEXT); CREATE TABLE __diesel_schema_migrations (version TEXT); \
         INSERT INTO __diesel_schema_migrations VALUES ('20200101000000')",
    ));
    for (name, reason) in [
        ("text", "it does not begin as an SQLite database does"),
        ("short", "it does not begin as an SQLite database does"),
        ("other", "it holds other tables"),
        ("diesel", "it has none of the known migrations"),
    ] {
        let before = std::fs::read(path(name)).unwrap();
        let error = refusal(&path(name));
        assert!(matches!(error, StoreError::NotOurs { .. }), "{name}");
        let expected =
            format!("`{}` is no database of FineTune Lab: {reason}; name another file", path(name).display());
        assert_eq!(error.to_string(), expected);
        assert!(std::fs::read(path(name)).unwrap() == before, "{name}");
    }
}

#[test]
fn a_file_with_a_damaged_beginning_is_refused_and_stays_as_it_is() {
    let (_folder, path) = closed_database();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[16..100].fill(0xab);
    std::fs::write(&path, &bytes).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert!(error.to_string().starts_with("the database is damaged; restore a backup: "), "{error}");
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn damage_further_on_is_told_where_it_is_met_and_the_rest_is_answered() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = (1..=5_000).map(|seq| record(seq, stepped(seq))).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    given.store.set_setting("key", "value").wait().unwrap();
    let path = given.path();
    drop(given.store);
    // The last pages are those that were made last: rows of metrics.
    let mut bytes = std::fs::read(&path).unwrap();
    let from = bytes.len() - 100 * 4096;
    bytes[from..].fill(0xab);
    std::fs::write(&path, &bytes).unwrap();

    let store = open(&path).unwrap();
    let error = store.metrics_after(&id, 0, 10_000).wait().unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert_eq!(store.setting("key").wait().unwrap().as_deref(), Some("value"));
    assert_eq!(store.job(&id).wait().unwrap().unwrap().seq, 5_003);
    store.set_setting("key", "another").wait().unwrap();
}

/// As a version before the first would have left it: a table of ours, and no migration.
fn make_old(path: &Path) {
    let tables =
        ["artifacts", "checkpoints", "predictions", "metrics", "job_events", "attempts", "gpu_samples"];
    let rest = ["jobs", "dataset_reports", "datasets", "models", "configs", "settings", "last_write"];
    let drops: String =
        tables.iter().chain(&rest).map(|table| format!("DROP TABLE IF EXISTS {table};")).collect();
    let sql = format!(
        "{drops} DELETE FROM __diesel_schema_migrations; CREATE TABLE IF NOT EXISTS old (x INTEGER);"
    );
    drop(raw(path, &sql));
}

fn copies(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut copies: Vec<String> = entries.filter(|name| name.contains("backup")).collect();
    copies.sort();
    copies
}

#[test]
fn an_older_database_is_copied_before_it_is_migrated_and_three_copies_are_kept() {
    let (folder, path) = closed_database();
    assert_eq!(copies(folder.path()), [""; 0], "a new database and a current one need no copy");
    let mut seen: Vec<String> = Vec::new();
    for round in 1..=5 {
        make_old(&path);
        drop(raw(&path, &format!("INSERT INTO old VALUES ({round})")));
        created(&open(&path).unwrap(), round);
        let now = copies(folder.path());
        let newest = now.last().unwrap().clone();
        assert!(!seen.contains(&newest), "{newest}");
        seen.push(newest.clone());
        assert_eq!(now, seen[seen.len().saturating_sub(3)..], "round {round}");

        // The copy is the database as it was: all rows of the old table, and none of the tables of now.
        let copy = folder.path().join(&newest);
        drop(raw(
            &copy,
            &format!("CREATE TABLE n{round} AS SELECT 1 FROM old WHERE x = {round}; DROP TABLE n{round};"),
        ));
        let mut connection = SqliteConnection::establish(copy.to_str().unwrap()).unwrap();
        assert!(connection.batch_execute("SELECT * FROM jobs").is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn a_backup_is_a_database_with_everything_in_it() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = (1..=100).map(|seq| record(seq, stepped(seq))).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let to_path = given.folder.path().join("copy.db");
    given.store.back_up(&to_path).wait().unwrap();
    given.store.transition(&id, to(State::Stopping)).wait().unwrap();

    let copy = open(&to_path).unwrap();
    assert_eq!(copy.job(&id).wait().unwrap().unwrap().state, State::Running);
    let events = copy.events_after(&id, 0, 1_000).wait().unwrap();
    assert_eq!(events.len(), 103);
    assert_eq!(events, given.store.events_after(&id, 0, 103).wait().unwrap());
}

#[test]
fn a_backup_overwrites_nothing() {
    let given = store();
    let to_path = given.folder.path().join("letter");
    std::fs::write(&to_path, "dear friend").unwrap();
    let error = given.store.back_up(&to_path).wait().unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` could not be used", to_path.display()));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "entity already exists");
    assert_eq!(std::fs::read_to_string(&to_path).unwrap(), "dear friend");
}
