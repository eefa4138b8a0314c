//! `ftl jobs queue`, `move`, and `resume` as a new job.

use ftl_core::JobSpec;
use ftl_core::job::{Job, Move, MoveTo, Parent, State, Waiting, WaitingReason};
use serde_json::json;

use super::{fake::Fake, id, job, run};

fn spec() -> JobSpec {
    let spec = json!({
        "name": "old",
        "model": {"path": "/models/small"},
        "data": {"train": "/data/train.jsonl"},
        "method": {"kind": "sft"},
        "adapter": {"kind": "lora"},
        "device": {"kind": "cuda"},
    });
    serde_json::from_value(spec).expect("a spec")
}

/// Two jobs in the queue, the younger one before the older.
fn queued() -> Fake {
    let fake = Fake::start();
    let waiting = Waiting { reason: WaitingReason::GpuUnavailable, message: "no GPU can be used".to_owned() };
    let job = |bits, name, place| Job { queue_place: Some(place), ..job(bits, name, State::Queued) };
    fake.world().add(Job { waiting: Some(waiting), spec: spec(), ..job(1, "first", 2) });
    fake.world().add(job(2, "second", 1));
    fake.world().min_free_disk_bytes = 1 << 30;
    fake
}

#[test]
fn queue_lists_in_its_order_and_says_what_is_waited_for() {
    let fake = queued();
    let ran = run(&fake, &["jobs", "queue"]).ended(0);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["PLACE", "ID", "NAME", "DEVICE", "WAITS"]);
    assert_eq!(lines[1][..3], ["1", id(2).as_str(), "second"]);
    assert_eq!(lines[2], ["2", id(1).as_str(), "first", "cuda", "no", "GPU", "can", "be", "used"]);
    let shown = run(&fake, &["jobs", "show", "first"]).ended(0).stdout;
    assert!(shown.contains("no GPU can be used") && shown.contains("2 of the queue"), "{shown}");
    let document = run(&fake, &["jobs", "queue", "--json"]).ended(0).json();
    assert_eq!(document["settings"], json!({"min_free_disk_bytes": 1 << 30}));
    assert_eq!(document["jobs"][1]["waiting"]["reason"], "GPU_UNAVAILABLE");
}

#[test]
fn the_disk_that_starts_need_is_set_in_usual_units() {
    let fake = queued();
    for (size, bytes) in [("5GiB", 5 << 30), ("0", 0), ("1234", 1234)] {
        let ran = run(&fake, &["jobs", "queue", "--min-free-disk", size, "--json"]).ended(0);
        assert_eq!(ran.json()["settings"]["min_free_disk_bytes"], json!(bytes));
        assert_eq!(fake.world().min_free_disk_bytes, bytes);
    }
    let ran = run(&fake, &["jobs", "queue", "--min-free-disk", "much"]).ended(2);
    assert!(ran.stderr.contains("--min-free-disk: `much` is not an amount"), "{}", ran.stderr);
}

#[test]
fn a_job_is_moved_to_one_place() {
    let fake = queued();
    let cases: [(&[&str], MoveTo, Option<u64>); 4] = [
        (&["--first"], MoveTo::First, None),
        (&["--last", "--from-place", "2"], MoveTo::Last, Some(2)),
        (&["--before", "second"], MoveTo::Before(id(2)), None),
        (&["--after", "second"], MoveTo::After(id(2)), None),
    ];
    for (flags, to, from_place) in cases {
        let ran = run(&fake, &[&["jobs", "move", "first"], flags].concat()).ended(0);
        assert_eq!(ran.stdout, format!("{} is at place 2 of the queue\n", id(1)));
        assert_eq!(fake.world().moves.pop(), Some(Move { job: id(1), to, from_place }));
    }
    run(&fake, &["jobs", "move", "first"]).ended(2);
    run(&fake, &["jobs", "move", "first", "--first", "--last"]).ended(2);
    assert!(fake.world().moves.is_empty());
}

#[test]
fn resume_with_changed_settings_makes_a_new_job() {
    let fake = Fake::start();
    fake.world().add(Job { spec: spec(), ..job(1, "old", State::Failed) });
    let flags = ["--set", "train.learning_rate=1e-5", "--name", "slower", "--json"];
    let made = run(&fake, &[&["jobs", "resume", "old"], &flags[..]].concat()).ended(0).json()["job"].clone();
    assert_eq!((&made["name"], &made["spec"]["train"]["learning_rate"]), (&json!("slower"), &json!(1e-5)));
    let parent = |step| serde_json::to_value(Parent { job: id(1), step }).expect("JSON");
    assert_eq!(made["parent"], parent(50));
    let made =
        run(&fake, &["jobs", "resume", "old", "--step", "20", "--json"]).ended(0).json()["job"].clone();
    assert_eq!((&made["parent"], &made["name"]), (&parent(20), &json!("old")));
    assert_eq!(fake.world().jobs.iter().filter(|job| job.state == State::Failed).count(), 1);
    let ran = run(&fake, &["jobs", "resume", &id(1).to_string(), "--set", "train.learning_rate=-1"]).ended(2);
    assert!(ran.stderr.contains("train.learning_rate"), "{}", ran.stderr);
    assert_eq!(fake.world().jobs.len(), 3);
}
