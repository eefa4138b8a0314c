use ftl_core::dataset::PreviewRow;

use super::fake::Fake;
use super::{ftl, run};

fn imported() -> Fake {
    let fake = Fake::start();
    std::fs::write(fake.dir.path().join("train.jsonl"), "{}").expect("a file");
    let mut command = ftl(&fake, &["data", "import", "train.jsonl", "--format", "prompt_completion"]);
    let ran = super::Ran::from(command.current_dir(fake.dir.path()).output().expect("it runs")).ended(0);
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
    assert_eq!(cells[..6], [id.as_str(), "train.jsonl", "prompt_completion", "1,234", "4.0", "KiB"]);
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
