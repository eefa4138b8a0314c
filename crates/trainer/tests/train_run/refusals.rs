//! What is refused: before anything is written, with a message that says what to do.

use std::fs;
use std::path::Path;

use ftl_core::Event;
use ftl_trainer::checkpoint::verify;
use ftl_trainer::train::{Begin, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, Ran, copy, directory, files, token_rows};

/// Runs the program, which must refuse and leave no directory, and gives back its problems.
fn refusal(job: &Job, arguments: &[&str]) -> (Ran, Value) {
    let ran = job.program("out", &[&["--json"], arguments].concat());
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!job.path("out").exists(), "{ran:?}");
    let document = ran.json();
    assert_eq!(document["problem"], document["problems"][0], "{document}");
    (ran, document["problems"].clone())
}

/// The only problem, as `kind field: message; hint`, with the job's directory as DIR.
fn only_problem(job: &Job) -> String {
    let (ran, problems) = refusal(job, &[]);
    assert_eq!(problems.as_array().expect("a list").len(), 1, "{problems}");
    let text = |key: &str| problems[0][key].as_str().unwrap_or("-").to_owned();
    let line = format!("{}: {}; {}", text("field"), text("message"), text("hint"));
    assert!(ran.stderr.contains(&text("message")), "{ran:?}");
    format!("{} {line}", text("kind")).replace(job.dir.path().to_str().expect("UTF-8"), "DIR")
}

#[test]
fn spec_that_asks_for_nonsense_is_refused() {
    let no_layer = "invalid_value adapter.layers_to_transform: layer 9 is not there: the model has 2 layers; choose \
                    from 0 to 1";
    let no_c_attn = "invalid_value adapter.target_modules: `c_attn` is no linear of this model; choose from q_proj, \
                     k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, embed_tokens, lm_head";
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "train.learing_rate",
            json!(1e-4),
            "unknown_key train.learing_rate: unknown key; did you mean `learning_rate`?",
        ),
        (
            "train.learning_rate",
            json!(1e30),
            "invalid_value train.learning_rate: 1e30 is out of range, expected more than 0 and at most 1; 1e-5 to \
             5e-4 is usual",
        ),
        ("adapter.layers_to_transform", json!([0, 9]), no_layer),
        (
            "method",
            json!({"kind": "dpo", "beta": -1}),
            "invalid_value method.beta: -1 is out of range, expected more than 0; 0.1 is usual",
        ),
        (
            "model.dtype",
            json!("bf16"),
            "device model.dtype: the CPU computes in f32 only, not in `bf16`; use `auto` or `f32` there",
        ),
        (
            "model.path",
            json!("nowhere"),
            "not_found DIR/nowhere: is not a directory; give the directory that holds the model's config.json",
        ),
        (
            "data.train",
            json!(["nothing.jsonl"]),
            "not_found DIR/nothing.jsonl: `nothing.jsonl` can't be read: No such file or directory (os error 2); -",
        ),
        (
            "data.max_length",
            json!(500),
            "invalid_value data.max_length: 500 exceeds the model's context of 128 tokens; choose up to 128",
        ),
        (
            "adapter.r",
            json!(20),
            "invalid_value adapter.r: rank 20 exceeds the smallest target `k_proj` (16 outputs); choose a rank up \
             to 16",
        ),
        ("adapter.target_modules", json!(["q_proj", "c_attn"]), no_c_attn),
        (
            "adapter",
            json!({"kind": "lora", "init_from": "nowhere"}),
            "not_found DIR/nowhere/adapter_config.json: does not exist; -",
        ),
    ];
    for (key, value, expected) in cases {
        assert_eq!(only_problem(&Job::small(4).set(key, value)), expected);
    }
}

#[test]
fn all_problems_of_a_spec_are_told_at_once() {
    let job = Job::small(4)
        .set("train.learning_rate", 2)
        .set("adapter.layers_to_transform", json!([]))
        .set("train.per_device_train_batch_size", 0)
        .set("data.eval", json!({"fraction": 1.5}));
    let (ran, problems) = refusal(&job, &[]);
    let mut fields: Vec<&str> =
        problems.as_array().expect("a list").iter().filter_map(|problem| problem["field"].as_str()).collect();
    fields.sort_unstable();
    let expected = [
        "adapter.layers_to_transform",
        "data.eval.fraction",
        "train.learning_rate",
        "train.per_device_train_batch_size",
    ];
    assert_eq!(fields, expected);
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 4, "{ran:?}");
}

#[test]
fn directory_that_holds_a_run_is_refused_and_left_alone() {
    let job = Job::small(4);
    job.finish("out", Begin::New);
    let before = (job.names("out"), job.result("out"), job.events("out"));
    let ran = job.program("out", &["--json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let problem = &ran.json()["problem"];
    assert_eq!(problem["kind"], "output_exists");
    let message = problem["message"].as_str().expect("a message");
    assert!(message.starts_with("holds a run already (`"), "{message}");
    assert_eq!(problem["hint"], "choose another `--out`, or go on with `--resume`");
    assert_eq!((job.names("out"), job.result("out"), job.events("out")), before);
    // A directory that holds something else is none of ours, and no hindrance.
    fs::create_dir(job.path("other")).expect("a directory");
    job.write("other/notes.txt", "mine");
    job.finish("other", Begin::New);
    assert_eq!(fs::read_to_string(job.path("other/notes.txt")).expect("a file"), "mine");
}

#[test]
fn file_in_place_of_a_directory_is_refused_and_left_alone() {
    let job = Job::small(4);
    job.write("out", "mine");
    for arguments in [["--json"].as_slice(), &["--json", "--resume"]] {
        let ran = job.program("out", arguments);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(ran.json()["problem"]["message"], "is a file, a run needs a directory");
    }
    assert_eq!(fs::read_to_string(job.path("out")).expect("a file"), "mine");
}

#[test]
fn models_that_the_engine_does_not_have_are_refused_with_those_it_has() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for name in ["gpt2", "qwen3_moe"] {
        let job = Job::small(4).set("model", json!({"path": fixtures.join("models").join(name)}));
        let found = only_problem(&job);
        let expected = format!("`model_type` is `{name}`, which the engine does not have; supported: ");
        assert!(found.starts_with("unsupported_model ") && found.contains(&expected), "{found}");
        assert!(found.contains("llama (LlamaForCausalLM)"), "{found}");
    }
}

#[test]
fn damaged_models_are_refused() {
    let Some(data) = directory("FTL_DATA") else { return };
    let stories = data.join("models/stories260K");
    for (name, expected) in [
        ("bad_offsets", "has an unsound header"),
        ("config_more_layers", "config.json says num_hidden_layers = 6, but the files have 5 layers"),
        (
            "config_wrong_hidden",
            "config.json says hidden_size = 128, which gives `model.embed_tokens.weight` the shape [512, 128]",
        ),
        ("huge_header", "its header would have 1152921504606846976 bytes"),
        ("lfs_pointer", "is a git-lfs pointer, not the file itself"),
        ("truncated", "is cut off: its header promises 1040128 bytes of tensors, the file has 55136"),
    ] {
        let job = Job::small(4).set("model", json!({"path": "damaged"}));
        copy(&stories, &job.path("damaged"));
        for (file, bytes) in files(&data.join("dirty_models").join(name)) {
            // The weights of some are those of the undamaged model.
            if !bytes.is_empty() {
                fs::write(job.path("damaged").join(file), bytes).expect("a copy");
            }
        }
        let (_, problems) = refusal(&job, &[]);
        let first = &problems[0];
        assert_eq!(first["kind"], "broken_model", "{problems}");
        assert!(first["message"].as_str().is_some_and(|text| text.contains(expected)), "{name}: {problems}");
    }
    let job = Job::small(4).set("model", json!({"path": stories}));
    job.finish("out", Begin::New);
}

#[test]
fn bad_rows_are_refused_with_their_lines() {
    let long: Vec<u64> = (0..200).map(|i| 4 + i % 50).collect();
    for (row, expected) in [
        ("{\"input_ids\": [4, 5".to_owned(), "is not valid JSON"),
        (
            json!({"input_ids": [4, 600]}).to_string(),
            "has the id 600 at place 1; the model has 512 ids from 0",
        ),
        (json!({"input_ids": [4, 5], "labels": [4]}).to_string(), "labels"),
        (json!({"text": "a"}).to_string(), "is in the format `text`, but its file is read as `tokens`"),
        (json!({"input_ids": [4, 5], "labels": [-100, -100]}).to_string(), "has no token to learn"),
        (json!({"input_ids": long}).to_string(), "has 200 tokens, more than the 128 of `data.max_length`"),
    ] {
        let job = Job::small(1);
        job.write("train.jsonl", &format!("{}{row}\n{}", token_rows(2, 1), token_rows(2, 2)));
        let found = only_problem(&job);
        assert!(found.starts_with("bad_data DIR/train.jsonl:3: row 3 of `train.jsonl` "), "{found}");
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn adapter_that_does_not_fit_is_refused() {
    let job = Job::small(4);
    job.finish("first", Begin::New);
    let next = || Job::small(4).set("adapter", json!({"kind": "lora", "init_from": job.path("first/final")}));
    let other_rank = next().set("adapter.r", 8);
    assert_eq!(
        only_problem(&other_rank),
        "invalid_value adapter.r: the spec says 8, the adapter that training goes on from has 4; drop the key, or \
         start a new adapter"
    );
    let narrow = next();
    let config = fs::read_to_string(narrow.path("model/config.json")).expect("a config");
    narrow
        .write("model/config.json", &config.replace("\"intermediate_size\":48", "\"intermediate_size\":40"));
    let (_, problems) = refusal(&narrow, &[]);
    assert_eq!(problems[0]["kind"], "broken_adapter");
    assert_eq!(
        problems[0]["message"],
        "`base_model.model.model.layers.0.mlp.gate_proj.lora_B.weight` has shape [48, 4], expected [40, 4]"
    );
    let job = next();
    job.finish("out", Begin::New);
}

#[test]
fn checkpoint_of_another_run_is_refused() {
    let job = || {
        let job = Job::small(8).set("train.save_steps", 1).set("train.max_steps", 5);
        let stopped =
            job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 2));
        assert!(matches!(stopped, Outcome::Stopped { step: 2, .. }));
        job
    };
    let untouched = |job: &Job, expected: &str| {
        let before = (job.names("out"), job.events("out"), files(&job.path("out/checkpoint-2")));
        let found =
            job.refused(("out", Begin::Resume)).replace(job.dir.path().to_str().expect("UTF-8"), "DIR");
        assert_eq!(found, expected);
        let ran = job.program("out", &["--resume", "--json"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(ran.json()["problem"]["kind"], "broken_checkpoint");
        assert_eq!((job.names("out"), job.events("out"), files(&job.path("out/checkpoint-2"))), before);
    };
    untouched(
        &job().set("train.seed", 43),
        "DIR/out/checkpoint-2: was written with train.seed = 42, the job asks for 43; set `train.seed` back to \
         resume, or start a new job",
    );
    untouched(
        &job().set("train.max_steps", 6),
        "DIR/out/checkpoint-2: was written with train.max_steps = 5, the job asks for 6; set `train.max_steps` \
         back to resume, or start a new job",
    );
    let other_data = job();
    other_data.write("train.jsonl", &token_rows(8, 3));
    untouched(
        &other_data,
        "DIR/out/checkpoint-2: was written on other training data than the files hold now; put the data back to \
         resume, or start a new job",
    );
    let other_base = job();
    let config = fs::read_to_string(other_base.path("model/config.json")).expect("a config");
    other_base.write("model/config.json", &config.replace("10000.0", "20000.0"));
    untouched(
        &other_base,
        "DIR/out/checkpoint-2: was written on another base model than the directory holds now; put the model back \
         to resume, or start a new job",
    );
    job().finish("out", Begin::Resume);
}

#[test]
fn full_disk_fails_with_its_reason_and_leaves_whole_checkpoints() {
    let job = Job::small(8).set("train.save_steps", 1).set("train.save_total_limit", 99);
    fs::create_dir(job.path("out")).expect("a directory");
    let out = job.path("out");
    let Some(disk) = Disk::mount(&out) else {
        println!("skipped: a small file system can't be mounted here");
        return;
    };
    let ran = job.program("out", &["--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let problem = &ran.json()["problem"];
    assert_eq!(problem["kind"], "io");
    let message = problem["message"].as_str().expect("a message");
    assert!(message.contains("No space left on device"), "{message}");
    let mut names = job.names("out");
    names.retain(|name| name.starts_with("checkpoint-"));
    assert!(!names.is_empty(), "the disk was full too early");
    for name in names {
        verify(&job.path("out").join(name)).expect("as it was written");
    }
    drop(disk);
}

/// A file system of half a megabyte.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let mut command = std::process::Command::new("mount");
        let command = command.args(["-t", "tmpfs", "-o", "size=640k", "tmpfs"]).arg(path);
        command.output().is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}
