use ftl_core::JobSpec;
use ftl_core::config::Preset;

use super::fake::Fake;
use super::{run, spec_file};

fn kept() -> Fake {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let ran = run(&fake, &["config", "save", "usual", spec.to_str().expect("UTF-8")]).ended(0);
    let id = fake.world().configs[0].id.clone();
    assert_eq!(ran.stdout, format!("{id} usual\n"));
    assert_eq!(ran.stderr, format!("train with it: `ftl train {id}`\n"));
    fake
}

#[test]
fn kept_spec_has_absolute_paths() {
    let fake = kept();
    assert_eq!(fake.world().configs[0].spec.model.path, Some(fake.dir.path().join("tiny")));
}

#[test]
fn name_that_is_taken_is_replaced_on_demand_only() {
    let fake = kept();
    let spec = spec_file(fake.dir.path());
    let spec = spec.to_str().expect("UTF-8");
    let ran = run(&fake, &["config", "save", "usual", spec, "--set", "adapter.r=4"]).ended(2);
    let expected = "error: name: another config is called `usual`; choose another name, or replace it with `--replace`\n";
    assert_eq!(ran.stderr, expected);
    assert_eq!(fake.world().configs[0].spec.adapter.r, None);
    run(&fake, &["config", "save", "usual", spec, "--set", "adapter.r=4", "--replace"]).ended(0);
    assert_eq!(fake.world().configs[0].spec.adapter.r, Some(4));
    assert_eq!(fake.world().configs.len(), 1);
}

#[test]
fn kept_specs_are_listed_shown_copied_and_forgotten() {
    let fake = kept();
    let ran = run(&fake, &["config", "ls"]).ended(0);
    assert!(ran.stdout.contains("  usual  "), "{ran:?}");
    let toml = run(&fake, &["config", "show", "usual"]).ended(0).stdout;
    let path = fake.dir.path().join("again.toml");
    std::fs::write(&path, &toml).expect("a spec");
    assert_eq!(JobSpec::read(&path).expect("it can be read again"), fake.world().configs[0].spec);
    let json = run(&fake, &["config", "show", "usual", "--format", "json"]).ended(0).json();
    assert_eq!(json["method"]["kind"], "sft");
    let document = run(&fake, &["config", "show", "usual", "--json"]).ended(0).json();
    assert_eq!(document["config"]["name"], "usual");
    run(&fake, &["config", "clone", "usual", "other"]).ended(0);
    assert_eq!(fake.world().configs[0].name, "other");
    let specs: Vec<JobSpec> = fake.world().configs.iter().map(|config| config.spec.clone()).collect();
    assert_eq!(specs[0], specs[1]);
    let ran = run(&fake, &["config", "rm", "usual", "other", "--json"]).ended(0);
    assert_eq!(ran.json()["removed"].as_array().expect("a list").len(), 2);
    assert!(fake.world().configs.is_empty());
    assert!(run(&fake, &["config", "ls"]).ended(0).stderr.starts_with("no kept specs"));
    let ran = run(&fake, &["config", "show", "usual"]).ended(2);
    assert!(ran.stderr.starts_with("error: there is no config whose id begins with `usual`"), "{ran:?}");
}

#[test]
fn spec_is_judged_without_training() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let spec = spec.to_str().expect("UTF-8");
    let ran = run(&fake, &["config", "validate", spec]).ended(0);
    assert!(ran.stdout.contains("learning_rate = 0.0002"), "every default is written out: {ran:?}");
    let document = run(&fake, &["config", "validate", spec, "--json"]).ended(0).json();
    assert_eq!(document["resolved"]["adapter"]["r"], 16);
    let ran = run(&fake, &["config", "validate", spec, "--set", "adapter.r=0"]).ended(2);
    assert!(ran.stderr.starts_with("error: adapter.r: 0 is out of range"), "{ran:?}");
    assert!(fake.world().jobs.is_empty());
}

#[test]
fn presets_are_listed_and_printed() {
    let fake = Fake::start();
    let spec = JobSpec::from_value(serde_json::json!({"method": {"kind": "sft"}})).expect("a spec");
    fake.world().presets =
        vec![Preset { name: "quick".to_owned(), description: "To try it.".to_owned(), spec }];
    let ran = run(&fake, &["config", "presets"]).ended(0);
    assert_eq!(ran.stdout, "NAME   WHEN TO CHOOSE IT\nquick  To try it.\n");
    assert_eq!(run(&fake, &["config", "presets", "quick"]).ended(0).stdout, "[method]\nkind = \"sft\"\n");
    assert_eq!(run(&fake, &["config", "presets", "--json"]).ended(0).json()["presets"][0]["name"], "quick");
    let ran = run(&fake, &["config", "presets", "slow"]).ended(2);
    assert_eq!(ran.stderr, "error: there is no preset `slow`; expected one of: quick\n");
}

#[test]
fn schema_needs_no_service() {
    let home = tempfile::tempdir().expect("a directory");
    let ran =
        super::Ran::from(super::bare(home.path()).args(["config", "schema"]).output().expect("it runs"));
    assert_eq!(ran.ended(0).json(), JobSpec::json_schema());
}
