//! Checkpoints and artifacts.

use ftl_core::Event;
use ftl_core::job::{Artifact, Checkpoint};

use crate::given::{record, running, saved, store};

#[test]
fn checkpoints_follow_from_the_events_that_tell_of_them() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    assert_eq!(given.store.checkpoints(&id).wait().unwrap(), []);
    let records = vec![record(1, saved(20)), record(2, saved(10))];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let checkpoint = |seq: u64, step: u64| Checkpoint {
        step,
        attempt: 1,
        path: format!("/data/jobs/x/checkpoint-{step}").into(),
        bytes: 1000 + step,
        created_unix_ms: 1_700_000_000_000 + seq,
    };
    assert_eq!(given.store.checkpoints(&id).wait().unwrap(), [checkpoint(1, 20), checkpoint(2, 10)]);
}

#[test]
fn a_checkpoint_that_is_written_again_is_listed_once_and_last() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = vec![record(1, saved(10)), record(2, saved(20)), record(3, saved(10))];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let steps: Vec<u64> =
        given.store.checkpoints(&id).wait().unwrap().iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(steps, [20, 10]);
}

#[test]
fn an_artifact_is_as_large_as_its_files() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let path = given.folder.path().join("final");
    std::fs::create_dir_all(path.join("inner")).unwrap();
    std::fs::write(path.join("adapter_model.safetensors"), [0; 300]).unwrap();
    std::fs::write(path.join("inner/config.json"), [0; 40]).unwrap();
    let exported = |path: &std::path::Path, kind: &str| Event::Exported {
        path: path.to_str().unwrap().to_owned(),
        kind: kind.to_owned(),
    };
    let gone = given.folder.path().join("gone");
    let records = vec![record(1, exported(&path, "peft")), record(2, exported(&gone, "model"))];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let artifact = |path, kind: &str, bytes, seq: u64| Artifact {
        kind: kind.to_owned(),
        path,
        bytes,
        created_unix_ms: 1_700_000_000_000 + seq,
    };
    assert_eq!(
        given.store.artifacts(&id).wait().unwrap(),
        [artifact(path, "peft", 340, 1), artifact(gone, "model", 0, 2)]
    );
}
