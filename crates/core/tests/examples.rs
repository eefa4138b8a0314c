//! The specs that the project ships are accepted.

use std::path::{Path, PathBuf};

use ftl_core::spec::JobSpec;
use ftl_core::spec::resolved::{Adapter, Eval, ModelInit};

#[test]
fn the_first_run_is_accepted_and_finds_its_files() {
    let spec = JobSpec::read(example("first-run.toml")).expect("it is read").check().expect("it is accepted");
    assert!(matches!(spec.adapter, Adapter::Lora(_)));
    assert!(spec.model.path.join("config.json").is_file());
    assert!(spec.data.train.iter().all(|file| file.path.is_file()));
    assert!(matches!(spec.data.eval, Eval::File(path) if path.is_file()));
}

#[test]
fn the_base_model_is_made_from_nothing_once_a_text_is_given() {
    let path = example("base-model/pretrain.toml");
    let problems = JobSpec::read(&path).expect("it is read").check().expect_err("it names no text");
    let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_deref()).collect();
    assert_eq!(fields, [Some("data.train")]);

    let text = r#"data.train=["/tmp/pretrain.jsonl"]"#.to_owned();
    let spec = JobSpec::read_with(&path, &[text]).expect("it is read").check().expect("it is accepted");
    assert_eq!(spec.model.init, ModelInit::Random);
    assert_eq!(spec.adapter, Adapter::None);
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}
