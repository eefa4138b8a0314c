//! Trains an adapter from inside another program: a spec made in code, an observer that is told everything, and a
//! signal that can stop the run at any step.
//!
//!     cargo run --release --manifest-path examples/embed/Cargo.toml -- [DIR]
//!
//! Model and data are those of `examples/first-run.toml`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process, thread};

use ftl_core::spec::{
    AdapterKind, AdapterSpec, DataSpec, EvalSpec, JobSpec, MethodKind, MethodSpec, ModelSpec, TrainSpec,
};
use ftl_core::{Event, StopReason, StopSignal};
use ftl_trainer::error::TrainError;
use ftl_trainer::train::{Begin, Outcome, Summary, train};

/// The run is stopped, and can be resumed, if it takes longer than this.
const TIME_LIMIT: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn Error>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // What is left out has the default that `ftl-train schema` prints.
    let spec = JobSpec {
        model: ModelSpec { path: Some(examples.join("base-model")), ..ModelSpec::default() },
        data: DataSpec {
            train: vec![examples.join("first-run/train.jsonl").into()],
            eval: Some(EvalSpec { path: Some(examples.join("first-run/eval.jsonl")), ..EvalSpec::default() }),
            ..DataSpec::default()
        },
        method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
        adapter: AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() },
        train: TrainSpec { learning_rate: Some(3e-3), max_steps: Some(60), ..TrainSpec::default() },
        ..JobSpec::default()
    };
    // Every problem at once; each names the field, the value and what to do.
    let spec = spec.check().map_err(TrainError::from)?;

    let stop = StopSignal::new();
    let timer = stop.clone();
    thread::spawn(move || {
        thread::sleep(TIME_LIMIT);
        timer.raise(StopReason::User);
    });

    // Any `Observer` will do; a closure is one. It is called on the training thread.
    let mut observer = |event: &Event| {
        if let Event::Stepped(stepped) = event
            && stepped.step.is_multiple_of(10)
        {
            println!("step {}: loss {:.4}", stepped.step, stepped.loss_nats);
        }
        if let Event::Evaluated(scores) = event {
            println!("step {}: held-out loss {:.4}", scores.step, scores.loss_nats);
        }
    };

    // A directory of this run alone: everything that the run writes lies in it.
    let out = env::args_os()
        .nth(1)
        .map_or_else(|| env::temp_dir().join(format!("embed-{}", process::id())), PathBuf::from);
    match train(&spec, (&out, Begin::New), &mut observer, &stop)? {
        Outcome::Finished(summary) => {
            let Summary { steps, eval_after, path, .. } = summary;
            let loss = eval_after.ok_or("the spec has held-out data")?.loss_nats;
            println!("trained {steps} steps, held-out loss {loss:.4}, adapter in {}", path.display());
        }
        // `Begin::Resume` on the same directory goes on from there.
        Outcome::Stopped { step, .. } => println!("stopped after {step} steps, saved in {}", out.display()),
    }
    Ok(())
}
