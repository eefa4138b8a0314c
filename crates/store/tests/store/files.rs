//! Artifacts.

use ftl_core::Event;
use ftl_core::job::Artifact;

use crate::given::{record, running, store};

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
