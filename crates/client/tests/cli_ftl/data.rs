use std::path::PathBuf;

use ftl_core::dataset::{
    Code, CodeCount, DataCheck, DatasetReport, FileOwner, Finding, PreviewRow, RowCounts, Severity, SplitBy,
};
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::spec::{DataSpec, EvalSpec};

use super::fake::Fake;
use super::{Ran, ftl, run};

fn good() -> DatasetReport {
    let rows = RowCounts { read: 1_234, accepted: 1_234, ..RowCounts::default() };
    DatasetReport { rows, ..DatasetReport::default() }
}

fn bad() -> DatasetReport {
    let finding = Finding {
        code: Code::NotJson,
        severity: Severity::Error,
        path: "/data/train.jsonl".to_owned(),
        row: Some(7),
        line: None,
        message: "row 7 of `train.jsonl` is not valid JSON".to_owned(),
        hint: None,
    };
    DatasetReport {
        rows: RowCounts { read: 3, accepted: 2, rejected: 1, dropped: 0 },
        counts: vec![CodeCount { code: Code::NotJson, severity: Severity::Error, rows: 1 }],
        findings: vec![finding],
        ..DatasetReport::default()
    }
}

/// Runs the program in the fake's directory, where `train.jsonl` is.
fn run_there(fake: &Fake, args: &[&str]) -> Ran {
    ftl(fake, args).current_dir(fake.dir.path()).output().expect("it runs").into()
}

fn imported() -> Fake {
    let fake = Fake::start();
    fake.world().report = good();
    std::fs::write(fake.dir.path().join("train.jsonl"), "{}").expect("a file");
    let ran = run_there(&fake, &["data", "import", "train.jsonl", "--format", "prompt_completion"]).ended(0);
    let id = fake.world().datasets[0].id.clone();
    assert!(ran.stdout.contains("prompt_completion") && ran.stdout.contains("1,234"), "{ran:?}");
    assert_eq!(ran.stderr, format!("name it in a spec as `data.train = \"{id}\"`\n"));
    fake
}

#[test]
fn relative_path_is_made_absolute_here() {
    let fake = imported();
    let world = fake.world();
    let path = std::fs::canonicalize(&world.datasets[0].path).expect("it exists");
    assert_eq!(path, std::fs::canonicalize(fake.dir.path()).expect("it exists").join("train.jsonl"));
}

#[test]
fn file_that_is_not_there_is_refused() {
    let fake = Fake::start();
    let ran = run(&fake, &["data", "import", "/nowhere/x.jsonl", "--json"]).ended(2);
    assert_eq!(ran.json()["problem"]["kind"], "not_found");
    assert_eq!(ran.stderr, "error: /nowhere/x.jsonl: the file does not exist\n");
    let ran = run(&fake, &["data", "import", "x", "--format", "excel"]).ended(2);
    assert!(ran.stderr.contains("invalid value 'excel'"), "{ran:?}");
}

#[test]
fn datasets_are_listed_and_shown() {
    let fake = imported();
    let id = fake.world().datasets[0].id.clone();
    let ran = run(&fake, &["data", "ls"]).ended(0);
    let cells: Vec<&str> = ran.stdout.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(cells[..7], [id.as_str(), "train.jsonl", "prompt_completion", "1,234", "4.0", "KiB", "yes"]);
    let document = run(&fake, &["data", "ls", "--json"]).ended(0).json();
    assert_eq!(document["datasets"][0]["facts"]["n_rows"], 1_234);
    for text in ["train.jsonl", id.as_str(), &id.as_str()[5..]] {
        let document = run(&fake, &["data", "show", text, "--json"]).ended(0).json();
        assert_eq!(document["dataset"]["id"], id.as_str(), "{text}");
    }
    let ran = run(&fake, &["data", "show", "zebra"]).ended(2);
    assert!(ran.stderr.starts_with("error: there is no dataset whose id begins with `zebra`"), "{ran:?}");
    assert_eq!(
        run(&Fake::start(), &["data", "ls"]).ended(0).stderr,
        "no datasets; `ftl data import PATH` adds one\n"
    );
}

#[test]
fn preview_prints_rows_and_their_problems() {
    let fake = imported();
    let row = |number: u64| PreviewRow {
        number,
        json: format!("{{\"text\":\"row {number}\"}}"),
        problem: (number == 2).then(|| "it is empty".to_owned()),
    };
    fake.world().rows = (1..=12).map(row).collect();
    let ran = run(&fake, &["data", "preview", "train.jsonl", "--limit", "2"]).ended(0);
    assert_eq!(ran.stdout, "1  {\"text\":\"row 1\"}\n2  {\"text\":\"row 2\"}\n   problem: it is empty\n");
    assert_eq!(ran.stderr, "there are more rows; see --limit\n");
    let document = run(&fake, &["data", "preview", "train.jsonl", "--json"]).ended(0).json();
    assert_eq!((document["rows"].as_array().expect("a list").len(), &document["more"]), (10, &true.into()));
    assert_eq!(document["rows"][1]["problem"], "it is empty");
}

#[test]
fn datasets_are_forgotten() {
    let fake = imported();
    let id = fake.world().datasets[0].id.clone();
    let ran = run(&fake, &["data", "rm", "train.jsonl", id.as_str()]).ended(0);
    assert_eq!(ran.stdout, format!("{id} forgotten\n"));
    assert!(fake.world().datasets.is_empty());
}

#[test]
fn a_check_prints_the_report_and_its_code_says_whether_the_data_are_fit() {
    let fake = Fake::start();
    std::fs::write(fake.dir.path().join("train.jsonl"), "{}").expect("a file");
    fake.world().report = good();
    let ran = run_there(&fake, &["data", "check", "train.jsonl"]).ended(0);
    assert_eq!((ran.stdout.trim_end(), ran.stderr.as_str()), (good().to_string().as_str(), ""));
    let document = run_there(&fake, &["data", "check", "train.jsonl", "--json"]).ended(0).json();
    assert_eq!((&document["fit"], &document["report"]["rows"]["accepted"]), (&true.into(), &1_234.into()));

    fake.world().report = bad();
    let ran = run_there(&fake, &["data", "check", "train.jsonl"]).ended(2);
    assert!(ran.stdout.contains("row 7 of `train.jsonl` is not valid JSON"), "{ran:?}");
    let document = run_there(&fake, &["data", "check", "train.jsonl", "--json"]).ended(2).json();
    assert_eq!((&document["fit"], &document["report"]["findings"][0]["row"]), (&false.into(), &7.into()));
}

#[test]
fn a_check_asks_for_what_its_flags_say() {
    let fake = imported();
    let id = fake.world().datasets[0].id.to_string();
    let there = std::fs::canonicalize(fake.dir.path()).expect("it exists");
    let asked = |args: &[&str]| -> DataCheck {
        run_there(&fake, args).ended(0);
        fake.world().checks.pop().expect("it was asked")
    };
    let train = |path: PathBuf| DataSpec { train: vec![path.into()], ..DataSpec::default() };

    // A file that is there is a file; what is none may be a dataset.
    let file = asked(&["data", "check", "train.jsonl"]).data.train.remove(0).path;
    assert_eq!(std::fs::canonicalize(file).expect("it exists"), there.join("train.jsonl"));
    std::fs::remove_file(there.join("train.jsonl")).expect("it was there");
    for text in ["train.jsonl", id.as_str(), &id[5..9]] {
        assert_eq!(asked(&["data", "check", text]).data, train(PathBuf::from(&id)), "{text}");
    }
    let there_alone = asked(&["data", "check", "/on/the/server/*.jsonl"]);
    assert_eq!(there_alone, DataCheck { data: train("/on/the/server/*.jsonl".into()), model: None });

    let all = asked(&[
        "data",
        "check",
        "/a",
        "/b",
        "--model",
        "org/small",
        "--format",
        "sharegpt",
        "--eval",
        &id,
        "--max-length",
        "512",
        "--excess-length-strategy",
        "drop",
        "--chat-template",
        "/t.jinja",
    ]);
    let data = DataSpec {
        train: vec!["/a".into(), "/b".into()],
        format: Some(DataFormat::Sharegpt),
        eval: Some(EvalSpec { fraction: None, path: Some(PathBuf::from(&id)) }),
        max_length: Some(512),
        excess_length_strategy: Some(ExcessLength::Drop),
        chat_template: Some("/t.jinja".into()),
        ..DataSpec::default()
    };
    assert_eq!(all, DataCheck { data, model: Some("org/small".to_owned()) });

    let spec = "[model]\npath = \"/models/tiny\"\n[data]\ntrain = [\"rows.jsonl\"]\npacking = true\n";
    std::fs::write(there.join("job.toml"), spec).expect("a file");
    let of_spec = asked(&["data", "check", "--spec", "job.toml"]);
    assert_eq!(of_spec.model.as_deref(), Some("/models/tiny"));
    assert_eq!(of_spec.data.packing, Some(true));
    assert!(of_spec.data.train[0].path.is_absolute(), "{of_spec:?}");
}

#[test]
fn checks_of_nothing_are_refused() {
    let fake = imported();
    let ran = run(&fake, &["data", "check", "zebra"]).ended(2);
    let expected =
        "error: zebra: there is no such file here, and no dataset with this id or name; see `ftl data ls`\n";
    assert_eq!(ran.stderr, expected);
    run(&fake, &["data", "check"]).ended(2);
    let ran = run(&fake, &["data", "check", "/a", "--max-length", "5"]).ended(2);
    assert!(ran.stderr.contains("--model"), "{ran:?}");
    assert_eq!(fake.world().checks, []);
}

#[test]
fn data_with_errors_are_imported_and_said_to_be_unfit() {
    let fake = Fake::start();
    std::fs::write(fake.dir.path().join("train.jsonl"), "{}").expect("a file");
    fake.world().report = bad();
    let ran = run_there(&fake, &["data", "import", "train.jsonl"]).ended(2);
    let id = fake.world().datasets[0].id.to_string();
    assert_eq!(
        ran.stderr,
        format!("it is kept, but no job can train on it so; `ftl data show {id} --report` says why\n")
    );
    assert!(ran.stdout.contains("NO; 2 of 3 rows can be trained on, 1 errors, 0 warnings"), "{ran:?}");
    let ran = run(&fake, &["data", "ls"]).ended(0);
    assert!(ran.stdout.lines().nth(1).expect("a row").contains(" NO "), "{ran:?}");

    let ran = run(&fake, &["data", "show", &id, "--report"]).ended(0);
    assert_eq!(ran.stdout.trim_end(), bad().to_string());
    let document = run(&fake, &["data", "show", &id, "--report", "1", "--json"]).ended(0).json();
    assert_eq!(document["report"]["report"]["findings"][0]["code"], "not_json");
    let document = run(&fake, &["data", "show", &id, "--json"]).ended(0).json();
    assert_eq!(
        (&document["reports"][0]["number"], &document["reports"][0]["is_fit"]),
        (&1.into(), &false.into())
    );
    let ran = run(&fake, &["data", "show", &id, "--report", "2"]).ended(2);
    assert_eq!(ran.stderr, format!("error: there is no report `{id}/2`\n"));
}

#[test]
fn a_file_is_sent_where_it_can_not_be_read() {
    let fake = Fake::start();
    fake.world().report = good();
    std::fs::write(fake.dir.path().join("mine.jsonl"), "{\"text\": \"a\"}\n").expect("a file");
    let ran = run_there(&fake, &["data", "import", "mine.jsonl", "--upload", "--name", "called"]).ended(0);
    let world = fake.world();
    let dataset = &world.datasets[0];
    assert_eq!((dataset.name.as_str(), dataset.owner), ("called", FileOwner::Service));
    assert_eq!(dataset.path.file_name().and_then(|name| name.to_str()), Some("mine.jsonl"));
    assert_eq!(world.uploads.values().collect::<Vec<_>>(), [b"{\"text\": \"a\"}\n"]);
    assert!(ran.stdout.contains("it goes with the dataset"), "{ran:?}");
    drop(world);
    let ran = run_there(&fake, &["data", "import", ".", "--upload"]).ended(2);
    assert!(ran.stderr.contains("a folder can't be sent, only a file"), "{ran:?}");
}

#[test]
fn a_row_is_shown_with_its_trained_tokens_marked() {
    let fake = imported();
    let ran = run(&fake, &["data", "render", "train.jsonl", "--model", "org/small", "--row", "3"]).ended(0);
    assert_eq!(ran.stdout, "org/small⟦ says hi\u{fffd}⟧\n");
    assert_eq!(ran.stderr, "2 of 3 tokens are trained (between ⟦ and ⟧)\n");
    let args = ["data", "render", "train.jsonl", "--model", "org/small", "--row", "3", "--json"];
    let document = run(&fake, &args).ended(0).json();
    assert_eq!(document["row"]["number"], 3);
    assert_eq!(document["row"]["texts"][0]["tokens"][1]["is_trained"], true);
}

#[test]
fn a_dataset_is_divided_by_fraction_or_by_place() {
    let fake = imported();
    let ran = run(&fake, &["data", "split", "train.jsonl", "--fraction", "0.1"]).ended(0);
    let (train, eval) = {
        let world = fake.world();
        (world.datasets[1].id.to_string(), world.datasets[0].id.to_string())
    };
    let expected = format!(
        "train  {train}  train.jsonl-train  1,234 rows\neval   {eval}  train.jsonl-eval  1,234 rows\n"
    );
    assert_eq!(ran.stdout, expected);
    let args =
        ["data", "split", &train, "--last-rows", "5", "--train-name", "a", "--eval-name", "b", "--json"];
    let document = run(&fake, &args).ended(0).json();
    assert_eq!((&document["train"]["name"], &document["eval"]["name"]), (&"a".into(), &"b".into()));
    let expected = [SplitBy::Fraction { eval: 0.1, seed: 42 }, SplitBy::LastRows { eval: 5 }];
    assert_eq!(fake.world().splits, expected);
    run(&fake, &["data", "split", &train]).ended(2);
    run(&fake, &["data", "split", &train, "--fraction", "0.1", "--last-rows", "5"]).ended(2);
}
