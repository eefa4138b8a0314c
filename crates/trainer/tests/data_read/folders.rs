use std::fs;
use std::path::Path;

use ftl_core::ProblemKind;
use ftl_trainer::data::read::expand;

fn tree(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, "{\"text\": \"a\"}\n").expect("written");
    }
    dir
}

/// The files and the notes, without the folder's own name.
fn expanded(dir: &Path, pattern: &str) -> (Vec<String>, Vec<String>) {
    let path = if pattern.is_empty() { dir.to_owned() } else { dir.join(pattern) };
    let (files, notes) = expand(&path).expect("expands");
    let within = |path: &Path| path.strip_prefix(dir).expect("within").to_string_lossy().into_owned();
    let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
    (
        files.iter().map(|path| within(path)).collect(),
        notes.into_iter().map(|note| note.replace(&name, "DIR")).collect(),
    )
}

#[test]
fn folders_give_their_data_files_by_name() {
    let dir = tree(&[
        "b.jsonl",
        "a.json",
        "c.csv.gz",
        "sub/d.parquet",
        ".hidden.jsonl",
        "README.md",
        "dataset_info.json",
        "notes.docx",
    ]);
    let (files, notes) = expanded(dir.path(), "");
    assert_eq!(files, ["a.json", "b.jsonl", "c.csv.gz", "sub/d.parquet"]);
    assert_eq!(
        notes,
        ["of the folder `DIR` these files are not read, as they are not named as data: `notes.docx`"]
    );
}

#[test]
fn of_splits_only_those_for_training_are_taken() {
    for (names, expected, left_out) in [
        (
            &["train.jsonl", "valid.jsonl", "test.jsonl"][..],
            &["train.jsonl"][..],
            "`test.jsonl`, `valid.jsonl`",
        ),
        (
            &[
                "data/train-00000-of-00002.parquet",
                "data/train-00001-of-00002.parquet",
                "data/validation-00000-of-00001.parquet",
            ],
            &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "`data/validation-00000-of-00001.parquet`",
        ),
        (&["train/a.jsonl", "test/a.jsonl"], &["train/a.jsonl"], "`test/a.jsonl`"),
        (&["all.jsonl", "dev.jsonl"], &["all.jsonl"], "`dev.jsonl`"),
    ] {
        let dir = tree(names);
        let (files, notes) = expanded(dir.path(), "");
        assert_eq!(files, expected);
        assert_eq!(
            notes,
            [format!("of the folder `DIR` these files are not trained on, by their names: {left_out}")]
        );
    }
}

#[test]
fn patterns_give_what_matches_sorted() {
    let dir = tree(&["b.jsonl", "a.jsonl", "c.json", "sub/d.jsonl", "test.jsonl", ".x.jsonl"]);
    assert_eq!(expanded(dir.path(), "*.jsonl").0, ["a.jsonl", "b.jsonl", "test.jsonl"]);
    assert_eq!(expanded(dir.path(), "**/*.jsonl").0, ["a.jsonl", "b.jsonl", "sub/d.jsonl", "test.jsonl"]);
    assert_eq!(expanded(dir.path(), "[ac].json*").0, ["a.jsonl", "c.json"]);
    assert_eq!(expanded(dir.path(), "a.jsonl"), (vec!["a.jsonl".to_owned()], vec![]));
    // A file may be called like a pattern.
    fs::write(dir.path().join("[x].jsonl"), "{}").expect("written");
    assert_eq!(expanded(dir.path(), "[x].jsonl").0, ["[x].jsonl"]);
}

#[test]
fn names_of_nothing_are_refused() {
    let dir = tree(&["test.jsonl"]);
    for (name, kind, expected) in [
        ("missing.jsonl", ProblemKind::NotFound, "the file can't be read: "),
        ("*.parquet", ProblemKind::NotFound, "no data file matches `"),
        ("a[.jsonl", ProblemKind::NotFound, "`"),
        ("", ProblemKind::BadData, "the folder `"),
    ] {
        let path = if name.is_empty() { dir.path().to_owned() } else { dir.path().join(name) };
        let problem = expand(&path).expect_err("refused");
        assert_eq!(problem.kind, kind);
        assert!(problem.message.starts_with(expected), "{problem}");
    }
    let problem = expand(dir.path()).expect_err("refused");
    assert!(
        problem.message.ends_with("holds data for evaluation only, by the names of its files"),
        "{problem}"
    );
    let empty = tree(&["README.md"]);
    let problem = expand(empty.path()).expect_err("refused");
    assert!(problem.message.ends_with("holds no data files"), "{problem}");
}
