//! `ftl checkpoints`.

use ftl_core::job::{Checkpoint, CheckpointState, State};

use crate::fake::Fake;
use crate::{BEGIN, job, run};

fn checkpoint(step: u64) -> Checkpoint {
    Checkpoint {
        step,
        attempt: 1,
        seq: step * 2,
        path: format!("/data/checkpoint-{step}").into(),
        bytes: 3 << 20,
        created_unix_ms: BEGIN,
        state: CheckpointState::Complete,
        damage: None,
        verified_unix_ms: None,
        eval_loss_nats: None,
        pinned: false,
        last: false,
        best: false,
    }
}

/// Four checkpoints, of which one is best, one pinned, one damaged and one gone.
fn saved() -> Fake {
    let fake = Fake::start();
    fake.world().add(job(2, "second", State::Running));
    fake.world().checkpoints = vec![
        Checkpoint {
            state: CheckpointState::Damaged,
            damage: Some("`optimizer.safetensors` is missing".to_owned()),
            path: "/data/damaged-checkpoint-60".into(),
            ..checkpoint(60)
        },
        Checkpoint { last: true, eval_loss_nats: Some(1.75), ..checkpoint(50) },
        Checkpoint { best: true, pinned: true, eval_loss_nats: Some(1.5), ..checkpoint(40) },
        Checkpoint { state: CheckpointState::Removed, ..checkpoint(30) },
    ];
    fake
}

#[test]
fn checkpoints_are_listed_with_what_stands_out() {
    let fake = saved();
    let ran = run(&fake, &["checkpoints", "ls", "second"]).ended(0);
    let rows: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{ran:?}");
    assert!(
        rows[1].ends_with("damaged-checkpoint-60  damaged: `optimizer.safetensors` is missing"),
        "{ran:?}"
    );
    assert!(rows[2].trim_end().ends_with("/data/checkpoint-50          last"), "{ran:?}");
    assert!(rows[3].contains("3.0 MiB") && rows[3].contains("1.5000"), "{ran:?}");
    assert!(rows[3].ends_with("best, pinned"), "{ran:?}");
    let all = run(&fake, &["checkpoints", "ls", "second", "--all"]).ended(0);
    assert!(all.stdout.trim_end().ends_with("removed"), "{all:?}");
    let document = run(&fake, &["checkpoints", "ls", "last", "--json"]).ended(0).json();
    let second = &document["checkpoints"][1];
    assert_eq!((&second["name"], &second["last"]), (&"checkpoint-50".into(), &true.into()));
    assert_eq!(document["checkpoints"].as_array().map(Vec::len), Some(3));
    fake.world().checkpoints.clear();
    assert!(run(&fake, &["checkpoints", "ls", "last"]).ended(0).stderr.contains("has no checkpoint"));
}

#[test]
fn running_job_is_asked_to_save_and_another_can_not_be() {
    let fake = saved();
    fake.world().checkpoints.remove(0);
    let ran = run(&fake, &["checkpoints", "now", "last"]).ended(0);
    assert_eq!(ran.stdout, "saved after step 50 in /data/checkpoint-50 (3.0 MiB)\n");
    let document = run(&fake, &["checkpoints", "now", "last", "--json"]).ended(0).json();
    assert_eq!(document["checkpoint"]["step"], 50);
    fake.world().add(job(3, "third", State::Queued));
    let ran = run(&fake, &["checkpoints", "now", "third"]).ended(1);
    assert!(ran.stderr.contains("only a worker that trains can save"), "{ran:?}");
}

#[test]
fn checkpoints_are_named_by_step_role_or_name() {
    let fake = saved();
    let ran = run(&fake, &["checkpoints", "pin", "second/50", "last/last", "second/best"]).ended(0);
    let pinned: Vec<&str> = ran.stdout.lines().map(|line| line.rsplit('/').next().expect("a part")).collect();
    assert_eq!(pinned, ["checkpoint-50 pinned", "checkpoint-40 pinned"], "each once");
    assert!(fake.world().checkpoints[1].pinned);
    run(&fake, &["checkpoints", "unpin", "second/checkpoint-50"]).ended(0);
    assert!(!fake.world().checkpoints[1].pinned);
    for (text, expected) in [
        ("second", "`second` names no checkpoint; give JOB/STEP"),
        ("second/7", "there is no checkpoint `checkpoint-7`"),
        ("nothing/7", "nothing"),
    ] {
        let ran = run(&fake, &["checkpoints", "pin", text]).ended(2);
        assert!(ran.stderr.contains(expected), "{ran:?}");
    }
    fake.world().checkpoints.truncate(1);
    let ran = run(&fake, &["checkpoints", "pin", "second/best"]).ended(2);
    assert!(ran.stderr.contains("has no checkpoint with a held-out loss"), "{ran:?}");
}

#[test]
fn damage_is_an_answer_and_ends_with_1() {
    let fake = saved();
    let ran = run(&fake, &["checkpoints", "verify", "second/50"]).ended(0);
    assert!(ran.stdout.ends_with("/checkpoint-50 is as it was written\n"), "{ran:?}");
    let ran = run(&fake, &["checkpoints", "verify", "second/50", "second/damaged-checkpoint-60"]).ended(1);
    assert!(ran.stdout.contains("-60 damaged: `optimizer.safetensors` is missing"), "{ran:?}");
    let document = run(&fake, &["checkpoints", "verify", "second/50", "--json"]).ended(0).json();
    assert_eq!(document["checkpoints"][0]["state"], "COMPLETE");
}

#[test]
fn what_can_not_be_removed_is_said_and_the_others_go() {
    let fake = saved();
    let ran = run(&fake, &["checkpoints", "rm", "second/best", "second/50", "--yes"]).ended(1);
    assert!(ran.stderr.contains("/checkpoint-40: it is pinned; do something else"), "{ran:?}");
    assert!(ran.stdout.ends_with("/checkpoint-50 removed\n"), "{ran:?}");
    assert_eq!(fake.world().checkpoints[1].state, CheckpointState::Removed);
}

#[test]
fn export_asks_for_an_absolute_path() {
    let fake = saved();
    let ran = run(&fake, &["checkpoints", "export", "second/best", "--out", "adapter"]).ended(0);
    let exports = fake.world().exports.clone();
    let (name, path) = &exports[0];
    assert_eq!(name, "checkpoint-40");
    assert!(path.starts_with('/') && path.ends_with("/adapter"), "{path}");
    assert_eq!(ran.stdout, format!("exported to {path} (2.0 MiB)\n"));
}
