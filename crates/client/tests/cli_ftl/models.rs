use ftl_core::model::{Model, ModelSource};

use super::fake::Fake;
use super::run;

/// A fake with one model imported and one in the cache.
fn two_models() -> Fake {
    let fake = Fake::start();
    let dir = fake.dir.path().join("tiny");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("config.json"), "{}").expect("a file");
    fake.world().models.push(Model {
        name: "org/cached".to_owned(),
        path: "/cache/org/cached".into(),
        source: ModelSource::HuggingFaceCache { revision: "abc".to_owned() },
    });
    let ran = run(&fake, &["models", "import", dir.to_str().expect("UTF-8"), "--name", "mine"]).ended(0);
    assert!(ran.stdout.contains("LlamaForCausalLM (llama)") && ran.stdout.contains("1,234,567"), "{ran:?}");
    assert!(ran.stderr.starts_with("name it in a spec as `model.path = \"model-"), "{ran:?}");
    fake
}

#[test]
fn imported_and_cached_models_are_listed() {
    let fake = two_models();
    let ran = run(&fake, &["models", "ls"]).ended(0);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][1..6], ["mine", "llama", "1,234,567", "5.0", "MiB"]);
    assert_eq!(lines[2], ["(cache)", "org/cached", "/cache/org/cached"]);
    let document = run(&fake, &["models", "ls", "--json"]).ended(0).json();
    assert_eq!(document["models"][0]["source"]["kind"], "imported");
    assert_eq!(
        run(&Fake::start(), &["models", "ls"]).ended(0).stderr,
        "no models; `ftl models import DIR` adds one\n"
    );
}

#[test]
fn directory_without_a_model_is_refused() {
    let fake = Fake::start();
    let ran = run(&fake, &["models", "import", "/nowhere", "--json"]).ended(2);
    assert_eq!(ran.json()["problem"]["kind"], "broken_model");
}

#[test]
fn inspect_takes_a_directory_a_name_or_the_cache() {
    let fake = two_models();
    let ModelSource::Imported { id, .. } = fake.world().models[0].source.clone() else { panic!("imported") };
    let dir = fake.dir.path().join("tiny");
    let dir = dir.to_str().expect("UTF-8");
    for (text, asked) in
        [(dir, dir), ("mine", id.as_str()), (id.as_str(), id.as_str()), ("org/cached", "org/cached")]
    {
        let document = run(&fake, &["models", "inspect", text, "--json"]).ended(0).json();
        assert_eq!(document["path"], format!("<{asked}>"));
        assert_eq!(document["facts"]["n_layers"], 4);
    }
    let ran = run(&fake, &["models", "inspect", "mine"]).ended(0);
    assert!(ran.stdout.contains("LoRA targets   q_proj, v_proj\n"), "{ran:?}");
    let ran = run(&fake, &["models", "inspect", "nobody/nothing"]).ended(2);
    assert_eq!(ran.stderr, "error: there is no model `nobody/nothing`\n");
}

#[test]
fn imported_models_are_forgotten_and_cached_ones_are_not_ours() {
    let fake = two_models();
    let ran = run(&fake, &["models", "rm", "org/cached"]).ended(2);
    assert!(
        ran.stderr.starts_with("error: there is no imported model whose id begins with `org/cached`"),
        "{ran:?}"
    );
    run(&fake, &["models", "rm", "mine"]).ended(0);
    assert_eq!(fake.world().models.len(), 1);
}
