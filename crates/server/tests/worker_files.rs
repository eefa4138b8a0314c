//! Models and data files, looked at by worker processes.

mod worker_support;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::pin::pin;

use ftl_core::dataset::{CheckPart, DataCheck, DatasetReport, Severity, SplitBy};
use ftl_core::spec::DataSpec;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use ftl_server::error::ServiceError;
use ftl_server::worker::{RenderTask, SplitTask, Workers};
use futures_util::StreamExt;
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

fn plain(path: &Path) -> DataCheck {
    DataCheck { data: DataSpec { train: vec![path.into()], ..DataSpec::default() }, model: None }
}

/// The report, and how often it was told how far it was.
async fn checked(workers: &Workers, check: DataCheck) -> Result<(DatasetReport, usize), ServiceError> {
    let mut n_told = 0;
    let mut parts = pin!(workers.check(check));
    while let Some(part) = parts.next().await {
        match part? {
            CheckPart::Progress(_) => n_told += 1,
            CheckPart::Report(report) => return Ok((*report, n_told)),
        }
    }
    panic!("no report")
}

#[tokio::test]
async fn a_data_file_is_judged_and_how_far_that_is_is_told() {
    let dir = TempDir::new().expect("a directory");
    let path = examples().join("first-run/train.jsonl");
    let (report, n_told) = checked(&workers(dir.path()), plain(&path)).await.expect("a dataset");
    let text = fs::read_to_string(path).expect("the data");
    let file = &report.files[0];
    assert_eq!((file.format, file.bytes), (Some(DataFormat::Messages), text.len() as u64));
    assert_eq!(report.rows.accepted, text.lines().count() as u64);
    assert_eq!(file.sha256.as_ref().map(String::len), Some(64));
    assert!(report.is_fit() && report.tokens.is_none() && n_told > 0, "{report:?} {n_told}");
    // Nothing is left of a task that ended well.
    assert_eq!(fs::read_dir(dir.path().join("workers")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn with_a_model_tokens_and_steps_are_told() {
    let dir = TempDir::new().expect("a directory");
    let check = DataCheck {
        model: Some(base_model().display().to_string()),
        ..plain(&examples().join("first-run/train.jsonl"))
    };
    let (report, _) = checked(&workers(dir.path()), check.clone()).await.expect("a dataset");
    assert!(report.tokens.is_some() && report.steps.is_some(), "{report:?}");
    let nowhere = DataCheck { model: Some("/nowhere".to_owned()), ..check };
    let problems = refused(checked(&workers(dir.path()), nowhere).await);
    assert!(problems[0].to_string().contains("/nowhere"), "{problems:?}");
}

#[tokio::test]
async fn bad_rows_are_in_the_report_one_by_one() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("rows.jsonl");
    let mut text = "{\"text\": \"good\"}\n\n".to_owned();
    for _ in 0..25 {
        let _ = writeln!(text, "{{\"text\": 5}}");
    }
    fs::write(&path, text + "{\n").expect("a file");
    let (report, _) = checked(&workers(dir.path()), plain(&path)).await.expect("a report");
    assert!(!report.is_fit());
    assert_eq!((report.rows.read, report.rows.rejected), (27, 26));
    let errors: Vec<_> = report.findings.iter().filter(|found| found.severity == Severity::Error).collect();
    assert_eq!((errors.len(), errors[0].row), (26, Some(3)), "{errors:?}");
}

#[tokio::test]
async fn a_check_that_nobody_waits_for_ends_its_worker() {
    let dir = TempDir::new().expect("a directory");
    let pid = dir.path().join("pid");
    let program = script(dir.path(), &format!("echo $$ > {}; exec sleep 600", pid.display()));
    let workers = workers_of(&program, dir.path());
    let check = plain(Path::new("/data/x.jsonl"));
    {
        let mut parts = pin!(workers.check(check));
        let never = tokio::time::timeout(std::time::Duration::from_secs(3), parts.next()).await;
        assert!(never.is_err(), "a worker that sleeps says nothing");
    }
    let pid: u32 = fs::read_to_string(&pid).expect("it was started").trim().parse().expect("a number");
    let ended = || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"));
    for _ in 0..200 {
        if ended() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("process {pid} is still there");
}

#[tokio::test]
async fn a_row_is_shown_as_it_is_trained_on() {
    let dir = TempDir::new().expect("a directory");
    let path = examples().join("first-run/train.jsonl");
    let task = |row| RenderTask {
        path: path.clone(),
        format: DataFormat::Auto,
        row,
        model: base_model(),
        chat_template: None,
    };
    let row = workers(dir.path()).render(task(2)).await.expect("a row");
    let [text] = row.texts.as_slice() else { panic!("{row:?}") };
    assert_eq!((row.number, text.role.as_str()), (2, "text"));
    let pieces: String = text.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(pieces, text.text);
    let line = fs::read_to_string(&path).expect("the data");
    let line: serde_json::Value = serde_json::from_str(line.lines().nth(1).expect("a row")).expect("JSON");
    let last = line["messages"].as_array().and_then(|messages| messages.last()).expect("messages");
    let trained: String =
        text.tokens.iter().filter(|token| token.is_trained).map(|token| token.text.as_str()).collect();
    assert!(trained.contains(last["content"].as_str().expect("text")), "{trained}");
    let asked = line["messages"][0]["content"].as_str().expect("text");
    assert!(text.text.contains(asked) && !trained.contains(asked), "{text:?}");

    let problems = refused(workers(dir.path()).render(task(0)).await);
    assert_eq!(problems[0].message, "rows count from 1");
    let problems = refused(workers(dir.path()).render(task(100_000)).await);
    assert_eq!(problems[0].message, "`train.jsonl` has no row 100000");
}

/// The rows of a file that was written by a split.
fn rows_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("it was written").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_file_is_divided_by_content_or_by_place() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("rows.csv");
    let mut text = "instruction,output\n".to_owned();
    for number in 0..200 {
        // Each twice, the second time in other capitals.
        let _ = writeln!(text, "Say {number},Number {number}\nsay {number},NUMBER {number}");
    }
    fs::write(&path, text).expect("a file");
    let split = async |by, name: &str| {
        let (train, eval) =
            (dir.path().join(format!("{name}-train")), dir.path().join(format!("{name}-eval")));
        let task = SplitTask {
            path: path.clone(),
            format: DataFormat::Auto,
            by,
            train: train.clone(),
            eval: eval.clone(),
        };
        workers(dir.path()).split(task).await.map(|()| (rows_of(&train), rows_of(&eval)))
    };
    let (train, eval) = split(SplitBy::Fraction { eval: 0.25, seed: 1 }, "a").await.expect("divided");
    assert_eq!(train.len() + eval.len(), 400);
    assert!((60..140).contains(&eval.len()), "{}", eval.len());
    let lower = |rows: &[String]| -> Vec<String> { rows.iter().map(|row| row.to_lowercase()).collect() };
    let (low_train, low_eval) = (lower(&train), lower(&eval));
    assert!(low_eval.iter().all(|row| !low_train.contains(row)), "rows that say the same were parted");
    assert_eq!(split(SplitBy::Fraction { eval: 0.25, seed: 1 }, "b").await.expect("divided").1, eval);
    assert_ne!(split(SplitBy::Fraction { eval: 0.25, seed: 2 }, "c").await.expect("divided").1, eval);

    let (train, eval) = split(SplitBy::LastRows { eval: 3 }, "d").await.expect("divided");
    assert_eq!((train.len(), eval.len()), (397, 3));
    let last: serde_json::Value = serde_json::from_str(&eval[2]).expect("JSON");
    assert_eq!(last, serde_json::json!({"instruction": "say 199", "output": "NUMBER 199"}));
    let problems = refused(split(SplitBy::LastRows { eval: 400 }, "e").await);
    assert_eq!(
        problems[0].to_string(),
        "place.eval_rows: 400 rows can't be held out: `rows.csv` has 400, and one must stay on each side; hold out fewer"
    );
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
            (
                4,
                "\"broken\"",
                Some(
                    "row 4 of `rows.jsonl` is not valid JSON: it begins with `broken`, as if it were the rest of the row before, at column 1"
                )
            ),
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
    let expected = "the worker process was ended by signal 7 (SIGBUS); it wrote last: `a cosmic ray`; \
                    a file became shorter while it was read, or the disk has a fault; try again; \
                    the crash is written down in `";
    assert!(problem.to_string().starts_with(expected), "{problem}");
    // Its log stays, until the next start.
    let logs = || fs::read_dir(dir.path().join("workers")).expect("a directory").count();
    assert_eq!(logs(), 1);
    drop(workers_of(Path::new(&program), dir.path()));
    assert_eq!(logs(), 0);
}
