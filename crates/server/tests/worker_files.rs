//! Models and data files, looked at by worker processes.

mod worker_support;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use ftl_server::error::ServiceError;
use tempfile::TempDir;
use worker_support::{base_model, examples, script, workers, workers_of};

fn refused<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> Vec<Problem> {
    match result {
        Err(ServiceError::Invalid(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_model_is_described() {
    let dir = TempDir::new().expect("a directory");
    let workers = workers(dir.path());
    let facts = workers.inspect_model(base_model()).await.expect("a model");
    assert_eq!(facts, ftl_trainer::inspect::model_facts(&base_model()).expect("a model"));
    assert!(facts.parameters > 0 && facts.weight_bytes.is_some(), "{facts:?}");
    // Nothing is left of a task that ended well.
    assert_eq!(fs::read_dir(dir.path().join("workers")).expect("a directory").count(), 0);

    let problems = refused(workers.inspect_model(dir.path().join("nothing")).await);
    assert_eq!(problems[0].kind, ProblemKind::NotFound, "{problems:?}");
}

#[tokio::test]
async fn a_data_file_is_described() {
    let dir = TempDir::new().expect("a directory");
    let path = examples().join("first-run/train.jsonl");
    let facts = workers(dir.path()).read_dataset(path.clone(), DataFormat::Auto).await.expect("a dataset");
    let text = fs::read_to_string(path).expect("the data");
    assert_eq!(facts.format, DataFormat::Messages);
    assert_eq!((facts.n_rows, facts.bytes), (text.lines().count() as u64, text.len() as u64));
    assert_eq!(facts.sha256.len(), 64);
}

#[tokio::test]
async fn bad_rows_are_listed_up_to_twenty() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("rows.jsonl");
    let mut text = "{\"text\": \"good\"}\n\n".to_owned();
    for _ in 0..25 {
        let _ = writeln!(text, "{{\"text\": 5}}");
    }
    fs::write(&path, text + "{\n").expect("a file");
    let problems = refused(workers(dir.path()).read_dataset(path.clone(), DataFormat::Auto).await);
    assert_eq!(problems.len(), 21);
    assert_eq!(problems[0].message, "row 3 of `rows.jsonl` has a number as `text`; expected text");
    assert_eq!(problems[0].field, Some(format!("{}:3", path.display())));
    let expected = "6 more rows can't be used; in all: 25 with a field of the wrong type, 1 not valid JSON";
    assert_eq!(problems[20].message, expected);
}

#[tokio::test]
async fn a_preview_shows_rows_with_what_is_wrong_with_them() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("rows.jsonl");
    fs::write(&path, "{\"text\":\"a\"}\n{\"text\":\"b\"}\n\nbroken\n{\"text\":\"c\"}\n").expect("a file");
    let workers = workers(dir.path());
    let rows = workers.preview(path.clone(), DataFormat::Text, 1, 2).await.expect("rows");
    let rows: Vec<_> =
        rows.iter().map(|row| (row.number, row.json.as_str(), row.problem.as_deref())).collect();
    assert_eq!(
        rows,
        [
            (2, "{\"text\":\"b\"}", None),
            (4, "\"broken\"", Some("row 4 of `rows.jsonl` is not valid JSON: expected value at column 1")),
        ]
    );
    let problems = refused(workers.preview(dir.path().join("none"), DataFormat::Text, 0, 5).await);
    assert_eq!(problems[0].kind, ProblemKind::NotFound);
}

#[tokio::test]
async fn a_worker_that_dies_over_a_file_is_named_with_its_last_words() {
    let dir = TempDir::new().expect("a directory");
    let program = script(dir.path(), "echo a cosmic ray >&2; kill -BUS $$");
    let result = workers_of(&program, dir.path()).inspect_model(base_model()).await;
    let Err(ServiceError::Worker(problem)) = result else { panic!("{result:?}") };
    assert_eq!(
        problem.to_string(),
        "the worker process was ended by signal 7 (SIGBUS); it wrote last: `a cosmic ray`; \
         a file became shorter while it was read, or the disk has a fault; try again"
    );
    // Its log stays, until the next start.
    let logs = || fs::read_dir(dir.path().join("workers")).expect("a directory").count();
    assert_eq!(logs(), 1);
    drop(workers_of(Path::new(&program), dir.path()));
    assert_eq!(logs(), 0);
}
