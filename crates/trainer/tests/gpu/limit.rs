//! `device.max_memory` while a run goes on.

use std::path::Path;

use burn::tensor::Tensor;
use ftl_core::{Event, JobSpec, Signals};
use ftl_trainer::device::DeviceName;
use ftl_trainer::error::TrainError;
use ftl_trainer::plan::Memory;
use ftl_trainer::train::{Begin, Outcome, train};

use crate::device::devices;

/// Values of f32 that fill 128 MiB.
const BALLAST: usize = 32 << 20;

#[test]
fn a_run_whose_pools_grow_beyond_its_limit_saves_and_ends() {
    let Some((open, _)) = devices().first() else { return };
    if open.name == DeviceName::Cpu {
        return;
    }
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/first-run.toml");
    let with = |key: &str| {
        let changes = ["train.max_steps=3", "train.logging_steps=1", "train.eval_steps=0", key];
        let device = format!("device.kind={}", open.name);
        let changes: Vec<String> = changes.into_iter().chain([&*device]).map(str::to_owned).collect();
        JobSpec::read_with(&spec, &changes).expect("keys").check().expect("values")
    };
    let out = tempfile::TempDir::new().expect("a directory");
    let mut ballast = None;
    let mut grow = |event: &Event| match event {
        Event::Stepped(stepped) if stepped.step == 2 => {
            ballast = Some(Tensor::<1>::empty([BALLAST], &open.device));
        }
        _ => {}
    };
    // The small model and 512 MiB for the rest fit; with the ballast they do not.
    let path = out.path().join("run");
    let ended = train(&with("device.max_memory=600MiB"), (&path, Begin::New), &mut grow, Signals::default());
    let Err(TrainError::OutOfMemory { memory: Memory::Gpu, problem }) = ended else { panic!("{ended:?}") };
    assert!(problem.message.contains(" of memory by step 2, "), "{problem}");
    assert!(path.join("checkpoint-2").is_dir());
    drop(ballast);

    let roomy = with("device.max_memory=2GiB");
    let ended = train(&roomy, (&path, Begin::Resume), &mut |_: &Event| {}, Signals::default());
    assert!(matches!(ended, Ok(Outcome::Finished(_))), "{ended:?}");
}
