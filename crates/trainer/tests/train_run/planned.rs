//! The memory plan of a run: what it refuses, what it proposes, and that its test changes nothing.

use std::process::Command;

use ftl_core::event::NoteLevel;
use ftl_core::job::{Phase, State};
use ftl_core::plan::{Change, MemoryPlan};
use ftl_core::spec::resolved::Checkpointing;
use ftl_core::{Event, JobSpec, ProblemKind, StopSignal};
use ftl_trainer::device::DeviceName;
use ftl_trainer::error::TrainError;
use ftl_trainer::plan::budget::Budget;
use ftl_trainer::plan::{Memory, Planner, plan};
use ftl_trainer::train::{Begin, MemoryUse, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, Ran, token_rows};

/// A job whose tensors count for more than what any program takes.
fn large() -> Job {
    let job = Job::small(24).set("train.per_device_train_batch_size", 8).set("data.max_length", 128);
    let config = std::fs::read_to_string(job.path("model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    for (key, value) in
        [("hidden_size", 256), ("intermediate_size", 704), ("num_hidden_layers", 8), ("head_dim", 64)]
    {
        config[key] = json!(value);
    }
    job.write("model/config.json", &config.to_string());
    job
}

fn planned(job: &Job) -> MemoryPlan {
    plan(&job.checked().expect("a spec")).expect("a plan")
}

#[test]
fn run_that_would_not_fit_is_refused_before_it_writes_anything() {
    let job = Job::small(4).set("device.max_memory", "1MiB");
    let message = job.refused(("out", Begin::New));
    let start = "device.max_memory: the run takes ";
    assert!(message.starts_with(start), "{message}");
    let end = "`device.max_memory` allows 1 MiB; nothing that can be changed in the spec would make it fit; choose a \
               smaller model";
    assert!(message.ends_with(end), "{message}");
    assert!(!job.path("out").exists());
}

#[test]
fn refusal_says_what_would_fit_and_it_does() {
    let job = large();
    let MemoryPlan { peak_bytes, fits, proposals, .. } = planned(&job);
    assert!(fits && proposals.is_empty());
    for share in [0.95, 0.8, 0.6, 0.45] {
        let limit = (peak_bytes as f64 * share) as u64;
        let job = large().set("device.max_memory", limit);
        let MemoryPlan { fits, proposals, available_bytes, .. } = planned(&job);
        assert!(!fits && !proposals.is_empty(), "{share}");
        assert_eq!(available_bytes, Some(limit));
        for proposal in &proposals {
            let set: Vec<String> =
                proposal.changes.iter().map(|Change { key, value }| format!("{key}={value}")).collect();
            let spec = JobSpec::read_with(job.spec_file(), &set).expect("keys").check().expect("values");
            let changed = plan(&spec).expect("a plan");
            assert!(changed.fits, "{set:?}: {changed}");
            assert_eq!(changed.peak_bytes, proposal.peak_bytes, "{set:?}");
        }
    }
    let keys = |share: f64| {
        let limit = (peak_bytes as f64 * share) as u64;
        let proposals = planned(&large().set("device.max_memory", limit)).proposals;
        let keys = proposals.into_iter().flat_map(|proposal| proposal.changes).map(|change| change.key);
        keys.collect::<Vec<_>>()
    };
    let nearly = keys(0.95);
    for key in [
        "train.gradient_checkpointing",
        "train.per_device_train_batch_size",
        "quantization.kind",
        "data.max_length",
    ] {
        assert!(nearly.contains(&key.to_owned()), "{nearly:?}");
    }
}

#[test]
fn what_was_measured_counts_for_what_is_proposed() {
    // What `auto` would choose instead is a proposal, too: what was measured kept everything.
    for checkpointing in ["none", "auto"] {
        let job = large().set("train.gradient_checkpointing", checkpointing);
        let job = job.set("device.max_memory", planned(&large()).peak_bytes);
        let spec = job.checked().expect("a spec");
        let budget = Budget::of(&spec.device, DeviceName::Cpu);
        let planner = Planner::of_spec(&spec, DeviceName::Cpu, budget).expect("a planner");
        let as_planned = planner.plan();
        assert!(as_planned.fits);
        let taken = as_planned.peak_bytes + as_planned.peak_bytes / 10;
        let planner = planner.as_measured(taken);
        let as_measured = planner.plan();
        assert!(
            !as_measured.fits && as_measured.peak_bytes.abs_diff(taken) < 2,
            "{}",
            as_measured.peak_bytes
        );
        let limit = as_measured.available_bytes.expect("a limit");
        assert!(!as_measured.proposals.is_empty());
        for proposal in &as_measured.proposals {
            assert!(proposal.peak_bytes <= limit, "{proposal}");
        }
        let refusal = planner.refusal().to_string();
        assert!(refusal.contains("; what would fit: `train.gradient_checkpointing` = block ("), "{refusal}");
    }
}

#[test]
fn what_is_kept_follows_from_what_is_allowed() {
    let job = large().set("train.gradient_checkpointing", "auto");
    let everything = planned(&job);
    assert_eq!(everything.gradient_checkpointing, Checkpointing::None);
    let job = job.set("device.max_memory", everything.peak_bytes - 1);
    let block = planned(&job);
    assert_eq!((block.fits, block.gradient_checkpointing), (true, Checkpointing::Block));
    assert!(block.peak_bytes < everything.peak_bytes);
}

#[test]
fn plan_of_a_run_is_close_to_what_it_takes() {
    // Other tests of this process allocate at the same time, so the program does it.
    let job = large().set("device.max_memory", "4GiB");
    let ran = job.program("out", &["--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let memory = &ran.json()["summary"]["memory"];
    let [planned, peak] =
        ["planned_bytes", "peak_bytes"].map(|key| memory[key].as_f64().expect("Linux tells"));
    // In so small a run the program's own memory is a third of it; `scripts/plan-against-rss.py` has larger ones.
    assert!((planned - peak).abs() < 16e6, "{planned} planned, {peak} taken");
    assert!(ran.stderr.contains("measured over the longest microbatch"), "{}", ran.stderr);
}

#[test]
fn testing_the_plan_changes_no_bit_of_a_run() {
    for (name, job) in [
        ("lora", kinds(json!({"kind": "lora", "r": 4, "lora_dropout": 0.1})).set("data.packing", true)),
        (
            "noisy",
            kinds(json!({"kind": "lora", "r": 4, "use_dora": true})).set("train.neftune_noise_alpha", 5),
        ),
        ("kept", kinds(json!({"kind": "lora", "r": 4, "modules_to_save": ["embed_tokens", "lm_head"]}))),
        ("full", kinds(json!({"kind": "none"})).set("train.optim", "adamw_8bit")),
        ("in parts", kinds(json!({"kind": "none"})).set("train.max_grad_norm", 0)),
        ("in 4 bits", kinds(json!({"kind": "lora", "r": 4})).set("quantization", json!({"kind": "nf4"}))),
    ] {
        job.finish("untested", Begin::New);
        let job = job.set("device.max_memory", "64GiB").set("train.save_steps", 2);
        let mut tested = Vec::new();
        let stop = StopSignal::new();
        let mut observer = |event: &Event| match event {
            Event::Note { level: NoteLevel::Info, message } if message.contains("measured over") => {
                tested.push(message.clone());
            }
            Event::Stepped(stepped) if stepped.step == 3 => stop.raise(ftl_core::StopReason::User),
            _ => {}
        };
        let stopped = job.train(("tested", Begin::New), &mut observer, &stop);
        assert!(matches!(stopped, Ok(Outcome::Stopped { .. })), "{name}: {stopped:?}");
        assert_eq!(tested.len(), 1, "{name}");
        let summary = job.finish("tested", Begin::Resume);
        assert!(matches!(summary.memory, Some(MemoryUse { peak_bytes: Some(_), .. })), "{summary:?}");
        assert!(job.weights("tested") == job.weights("untested"), "{name}: other weights");
        let numbers = |out| {
            let steps = job.steps(out).into_iter();
            steps.map(|s| (s.step, s.loss_nats.to_bits(), s.grad_norm.to_bits())).collect::<Vec<_>>()
        };
        let [tested, untested] = ["tested", "untested"].map(numbers);
        assert!(untested.iter().all(|step| tested.contains(step)), "{name}: {tested:?} {untested:?}");
    }
}

#[test]
fn run_that_grows_beyond_its_limit_saves_and_ends() {
    /// Which event more memory is taken at.
    type At = fn(&Event) -> bool;
    let limit = "512MiB";
    for (name, at, after) in [
        ("a step", (|event| matches!(event, Event::Stepped(stepped) if stepped.step == 3)) as At, 3),
        ("an evaluation", |event| matches!(event, Event::Evaluated(evaluated) if evaluated.step == 4), 4),
        ("saving", |event| matches!(event, Event::Saved { step: 5, .. }), 5),
        (
            "before the first step",
            |event| matches!(event, Event::Phase { phase: Phase::Evaluating, done: Some(0), .. }),
            0,
        ),
    ] {
        let job = kinds(json!({"kind": "lora", "r": 4}))
            .set("device", json!({"kind": "cpu", "max_memory": limit}))
            .set("train.eval_steps", 2)
            .set("train.save_steps", 5);
        let mut taken = Vec::new();
        let mut observer = |event: &Event| {
            if taken.is_empty() && at(event) {
                taken = vec![1_u8; 768 << 20];
            }
        };
        let ended = job.train(("out", Begin::New), &mut observer, &StopSignal::new());
        drop(taken);
        let Err(TrainError::OutOfMemory { memory: Memory::Cpu, problem }) = ended else {
            panic!("{name}: {ended:?}")
        };
        assert_eq!(problem.kind, ProblemKind::OutOfMemory);
        let message = problem.to_string();
        let end = " MiB more than the 512 MiB that it may take; raise it and resume, since the steps taken are saved, or \
                   choose a smaller model";
        assert!(
            message.starts_with("device.max_memory: the run took ") && message.ends_with(end),
            "{message}"
        );
        assert!(message.contains(&format!(" of memory by step {after}, ")), "{name}: {message}");
        let last = job.events("out").pop().map(|record| record.event);
        let said = Event::State { state: State::Failed, reason: Some(message) };
        assert_eq!(last, Some(said), "{name}");
        assert_eq!(job.names("out").contains(&format!("checkpoint-{after}")), after > 0, "{name}");

        // Nothing is lost, and with memory enough the same run goes on.
        job.finish("whole", Begin::New);
        job.finish("out", Begin::Resume);
        assert!(job.weights("out") == job.weights("whole"), "{name}: other weights");
    }
}

/// A job of six steps.
fn kinds(adapter: Value) -> Job {
    let job = Job::small(12)
        .set("adapter", adapter)
        .set("data.max_length", 64)
        .set("data.eval", json!({"path": "eval.jsonl"}))
        .set("train.max_steps", 6);
    job.write("eval.jsonl", &token_rows(4, 2));
    job
}

#[test]
fn program_says_the_parts_and_whether_they_fit() {
    let job = large();
    let plan = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-train"));
        Ran::of(
            command.arg("plan").arg(job.spec_file()).args(arguments).output().expect("the program starts"),
        )
    };
    let ran = plan(&["--json"]);
    let document = ran.json();
    assert_eq!((ran.code, &document["fits"], &document["device"]), (Some(0), &json!(true), &json!("cpu")));
    let parts = document["parts"].as_object().expect("parts");
    let sum: u64 = parts.values().map(|bytes| bytes.as_u64().expect("bytes")).sum();
    assert_eq!(document["peak_bytes"], sum);
    assert_eq!(document["most_tokens"], 8 * 128);

    let ran = plan(&["--set", "device.max_memory=40MiB", "--json"]);
    let document = ran.json();
    assert_eq!((ran.code, &document["fits"]), (Some(1), &json!(false)));
    assert_eq!(document["available_bytes"], 40 << 20);
    assert!(document["proposals"][0]["changes"][0]["key"].is_string(), "{document}");

    let ran = plan(&["--set", "device.max_memory=40MiB"]);
    assert_eq!(ran.code, Some(1));
    for text in ["weights", " of 40 MiB on cpu, 1024 tokens at once", "it does not fit; what would:\n  `"] {
        assert!(ran.stdout.contains(text), "{}", ran.stdout);
    }
    for (changed, field) in [
        ("model.path=nowhere", job.path("nowhere").to_string_lossy().as_ref()),
        ("adapter.target_modules=[\"x_proj\"]", "adapter.target_modules"),
        ("data.max_length=4096", "data.max_length"),
    ] {
        let ran = plan(&["--set", changed, "--json"]);
        assert_eq!((ran.code, &ran.json()["problem"]["field"]), (Some(2), &json!(field)), "{ran:?}");
    }
    // A batch that fits nowhere, not even into an integer.
    let ran = plan(&["--set", "train.per_device_train_batch_size=1048576", "--json"]);
    assert_eq!((ran.code, &ran.json()["fits"]), (Some(1), &json!(false)), "{ran:?}");
}
