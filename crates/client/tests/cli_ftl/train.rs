use std::path::Path;

use ftl_core::job::State;
use ftl_core::spec::{DataSpec, ModelSpec};
use ftl_core::{ConfigId, JobSpec};

use super::fake::Fake;
use super::{ftl, run, spec_file};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn spec_becomes_a_job_with_absolute_paths() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let ran = run(&fake, &["train", text(&spec), "--name", "mine", "--set", "train.seed=7"]).ended(0);
    let job = fake.world().jobs[0].clone();
    assert_eq!(job.name, "mine");
    assert_eq!(job.spec.model.path, Some(fake.dir.path().join("tiny")));
    assert_eq!(job.spec.data.train[0].path, fake.dir.path().join("train.jsonl"));
    assert_eq!(job.spec.train.seed, Some(7));
    assert!(ran.stdout.starts_with(&format!("{} QUEUED", job.id)), "{ran:?}");
    assert!(ran.stderr.contains(&format!("ftl jobs watch {}", job.id)), "{ran:?}");
    let request_id = fake.world().request_ids[0].clone().expect("a request id");
    run(&fake, &["train", text(&spec)]).ended(0);
    assert_ne!(
        fake.world().request_ids[1].as_ref(),
        Some(&request_id),
        "each command makes a job of its own"
    );
}

#[test]
fn json_has_id_state_and_steps_side_by_side() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let document = run(&fake, &["--json", "train", text(&spec)]).ended(0).json();
    let job = &document["job"];
    assert_eq!(job["id"], fake.world().jobs[0].id.as_str());
    assert_eq!(job["state"], "QUEUED");
    assert_eq!(job["phase"], serde_json::Value::Null);
    assert_eq!(job["step"], 0);
    assert!(job.get("total_steps").is_some() && job.get("progress").is_none(), "{job}");
    assert_eq!(job["spec"]["method"]["kind"], "sft");
}

#[test]
fn all_problems_of_a_spec_are_told_without_a_service() {
    let fake = Fake::start();
    let spec = fake.dir.path().join("bad.toml");
    std::fs::write(
        &spec,
        "model.path = \"m\"\nmethod.kind = \"sft\"\nadapter.kind = \"lora\"\nadapter.r = 0\n",
    )
    .expect("a spec");
    let mut command = ftl(&fake, &["--json", "train", text(&spec)]);
    command.env("FTL_SERVER", "unix:/nowhere/at/all");
    let ran = super::Ran::from(command.output().expect("it runs")).ended(2);
    let document = ran.json();
    let fields: Vec<&str> =
        document["problems"].as_array().expect("a list").iter().filter_map(|p| p["field"].as_str()).collect();
    assert_eq!(fields, ["data.train", "adapter.r"], "{document}");
    assert_eq!(document["problem"], document["problems"][0]);
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    assert!(ran.stderr.contains("error: adapter.r: 0 is out of range, expected 1 to 65536"), "{ran:?}");
}

#[test]
fn ids_and_names_of_the_cache_are_left_to_the_service() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let train = |model: &str, data: &str| {
        let model = format!("model.path={model}");
        let data = format!("data.train={data}");
        run(&fake, &["train", text(&spec), "--set", &model, "--set", &data]).ended(0);
        let spec = fake.world().jobs[0].spec.clone();
        (spec.model.path.expect("a model"), spec.data.train[0].path.clone())
    };
    let ids = train("model-7k3v9q2hxm", "data-0123456789");
    assert_eq!(ids, ("model-7k3v9q2hxm".into(), "data-0123456789".into()));
    assert_eq!(train("org/name", "a.jsonl").0, Path::new("org/name"));
    std::fs::create_dir_all(fake.dir.path().join("org/name")).expect("a directory");
    assert_eq!(train("org/name", "a.jsonl").0, fake.dir.path().join("org/name"), "a directory is nearer");
    assert_eq!(train("./other/name", "a.jsonl").0, fake.dir.path().join("other/name"));
}

#[test]
fn kept_config_is_a_spec_too() {
    let fake = Fake::start();
    let spec = JobSpec::from_value(serde_json::json!({
        "model": {"path": "/m"}, "data": {"train": "/d.jsonl"}, "method": {"kind": "sft"}, "adapter": {"kind": "lora"},
    }))
    .expect("a spec");
    let id = ConfigId::from_bits(77);
    let config = ftl_core::config::Config {
        id: id.clone(),
        name: "usual".to_owned(),
        spec,
        created_unix_ms: super::BEGIN,
        updated_unix_ms: super::BEGIN,
    };
    fake.world().configs.push(config);
    for config in ["usual", id.as_str(), &id.as_str()[..12]] {
        run(&fake, &["train", config, "--set", "adapter.r=4"]).ended(0);
        let spec = fake.world().jobs[0].spec.clone();
        assert_eq!(spec.model, ModelSpec { path: Some("/m".into()), ..ModelSpec::default() });
        assert_eq!(spec.data, DataSpec { train: vec!["/d.jsonl".into()], ..DataSpec::default() });
        assert_eq!(spec.adapter.r, Some(4));
    }
    assert_eq!(fake.world().jobs.len(), 3);
}

#[test]
fn spec_that_is_not_there_is_refused() {
    let fake = Fake::start();
    let ran = run(&fake, &["train", "nothing"]).ended(2);
    assert!(
        ran.stderr
            .contains("error: nothing: there is no such spec file, and no kept config with this id or name"),
        "{ran:?}"
    );
    let ran = run(&fake, &["train", "nothing.toml"]).ended(2);
    assert!(ran.stderr.contains("error: nothing.toml: the spec file can't be read"), "{ran:?}");
    let ran = run(&fake, &["train", "some/thing"]).ended(2);
    assert!(ran.stderr.contains("error: some/thing: the spec file can't be read"), "{ran:?}");
    assert_eq!(fake.world().jobs.iter().filter(|job| job.state == State::Queued).count(), 0);
}

#[test]
fn plan_says_the_parts_and_what_would_fit() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let ran = run(&fake, &["plan", text(&spec)]).ended(0);
    let lines = [
        "weights         512 MiB",
        "activations    1.00 GiB",
        "peak           1.50 GiB of 8.00 GiB on cpu, 8192 tokens at once, gradient_checkpointing = none",
    ];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), lines);
    let document = run(&fake, &["plan", text(&spec), "--json"]).ended(0).json();
    assert_eq!(
        (&document["plan"]["fits"], &document["plan"]["parts"]["weights"]),
        (&true.into(), &(512 << 20).into())
    );

    let ran = run(&fake, &["plan", text(&spec), "--set", "device.max_memory=1073741824"]).ended(1);
    let end = "it does not fit; what would:\n  `train.gradient_checkpointing` = block (600 MiB)\n";
    assert!(ran.stdout.ends_with(end), "{ran:?}");
    assert!(fake.world().jobs.is_empty());
    let ran = run(&fake, &["plan", text(&spec), "--set", "adapter.r=0"]).ended(2);
    assert!(ran.stderr.contains("adapter.r: 0 is out of range"), "{ran:?}");
}
