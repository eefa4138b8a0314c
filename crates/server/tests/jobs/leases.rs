//! One task on a GPU at a time, several GPUs at once, none, and one that comes back.

use std::fs;
use std::path::Path;

use ftl_core::inference::{InferencePart, Prompt, SamplingSpec};
use ftl_core::job::{QueueSettings, State, WaitingReason};
use ftl_core::{Event, Problem};
use ftl_server::error::ServiceError;
use ftl_server::worker::InferTask;
use futures_util::StreamExt;

use super::harness::Harness;

#[test]
fn jobs_train_at_once_where_they_have_different_places() {
    let harness = Harness::start(2);
    let jobs: Vec<_> = ["cuda", "cpu", "auto", "cuda", "cpu"].map(|device| harness.create(device).id).into();
    let devices: Vec<String> = jobs[..3]
        .iter()
        .map(|id| {
            harness.reaches(id, State::Running);
            harness.told(id).device
        })
        .collect();
    assert_eq!(devices, ["cuda:0", "cpu", "cuda:1"]);
    let waits = harness.waits(&jobs[3], WaitingReason::GpuBusy);
    assert_eq!(waits.waiting.expect("it waits").message, "other jobs have every GPU");
    harness.waits(&jobs[4], WaitingReason::CpuBusy);
    // What they are given is not written into the spec.
    assert_eq!(harness.job(&jobs[0]).spec.device.kind.as_deref(), Some("cuda"));

    harness.command(&jobs[2], "finish");
    harness.reaches(&jobs[2], State::Succeeded);
    assert_eq!(harness.reaches(&jobs[3], State::Running).waiting, None);
    assert_eq!(harness.told(&jobs[3]).device, "cuda:1");
    harness.command(&jobs[1], "crash");
    // Its place in the queue is before the younger one.
    harness.until(&jobs[1], "another attempt", |job| job.n_attempts == 2 && job.state == State::Running);
    assert_eq!(harness.job(&jobs[4]).state, State::Queued);
}

#[test]
fn a_job_waits_for_its_gpu_and_holds_up_nobody() {
    let harness = Harness::start(0);
    let any = harness.create("cuda").id;
    let second = harness.create("cuda:1").id;
    let other = harness.create("cpu").id;
    harness.reaches(&other, State::Running);
    let waits = harness.waits(&any, WaitingReason::GpuUnavailable);
    assert_eq!(
        waits.waiting.expect("it waits").message,
        "there is no `cuda`, and it starts when there is: no NVIDIA driver is installed"
    );
    harness.cards.set(1);
    harness.reaches(&any, State::Running);
    assert_eq!(harness.told(&any).device, "cuda:0");
    let waits = harness.until(&second, "another reason", |job| {
        job.waiting.as_ref().is_some_and(|waiting| waiting.message.ends_with("what can be used is `cuda:0`"))
    });
    assert_eq!((waits.state, waits.n_attempts), (State::Queued, 0));
    harness.cards.set(2);
    harness.reaches(&second, State::Running);
    let notes: Vec<String> = harness
        .store()
        .events_after(&second, 0, 100)
        .wait()
        .expect("events")
        .into_iter()
        .filter_map(|event| match event.record.event {
            Event::Note { message, .. } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(notes.len(), 2, "one for each change: {notes:?}");
    assert!(notes.iter().all(|note| note.starts_with("waits: there is no `cuda:1`")), "{notes:?}");
}

#[test]
fn a_start_waits_for_room_on_the_disk() {
    let harness = Harness::start(0);
    let set = |min_free_disk_bytes| {
        harness
            .on(async |jobs| jobs.set_queue_settings(QueueSettings { min_free_disk_bytes }).await)
            .expect("it is set");
    };
    set(1 << 60);
    let job = harness.create("cpu").id;
    let waits = harness.waits(&job, WaitingReason::DiskLow);
    assert!(waits.waiting.expect("it waits").message.contains("less than the 1099511627776 MiB free"));
    assert_eq!(
        harness.on(async |jobs| jobs.queue_settings().await).expect("it is read").min_free_disk_bytes,
        1 << 60
    );
    set(0);
    harness.reaches(&job, State::Running);
}

fn question(model: &Path, device: &str) -> InferTask {
    InferTask {
        model: model.to_owned(),
        adapter: None,
        prompt: Prompt::Text("The".to_owned()),
        sampling: SamplingSpec::default(),
        device: Some(device.to_owned()),
    }
}

/// Where it was computed, or why not.
async fn answer(harness: &Harness, model: &Path, device: &str) -> Result<String, Problem> {
    let parts = harness.workers().infer(question(model, device)).await.expect("a device");
    let parts: Vec<_> = parts.collect().await;
    match parts.into_iter().next().expect("a part") {
        Ok(InferencePart::Started { device, .. }) => Ok(device),
        Ok(other) => panic!("{other:?}"),
        Err(ServiceError::Precondition(problem)) => Err(problem),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_model_that_answers_nobody_gives_way_and_one_that_answers_is_waited_for() {
    let harness = Harness::start(1);
    let model = harness.data().join("model");
    fs::create_dir_all(&model).expect("a directory");
    assert_eq!(harness.block_on(answer(&harness, &model, "auto")), Ok("cuda:0".to_owned()));
    // It is idle now, and has the GPU.
    let first = harness.create("cuda").id;
    harness.reaches(&first, State::Running);

    let refused = harness.block_on(answer(&harness, &model, "cuda:0")).expect_err("the GPU trains");
    assert_eq!(
        refused.to_string(),
        "device: `cuda:0` is taken by jobs, and a GPU does one thing at a time; ask again when `ftl jobs ls` shows them \
         done, stop one, or ask for the device `cpu`"
    );
    harness.block_on(answer(&harness, &model, "auto")).expect_err("nothing falls back to the CPU by itself");
    assert_eq!(harness.block_on(answer(&harness, &model, "cpu")), Ok("cpu".to_owned()));

    harness.command(&first, "finish");
    harness.reaches(&first, State::Succeeded);
    fs::write(model.join("hold"), "").expect("a file");
    let (second, waits) = harness.block_on(async {
        let mut parts = Box::pin(harness.workers().infer(question(&model, "cuda")).await.expect("a device"));
        let started = parts.next().await.expect("a part");
        assert!(matches!(started, Ok(InferencePart::Started { .. })), "{started:?}");
        let id = harness.workers().leases().held();
        assert_eq!(id.len(), 1, "{id:?}");
        (parts, ())
    });
    let () = waits;
    let job = harness.create("cuda").id;
    let waits = harness.waits(&job, WaitingReason::GpuBusy);
    assert_eq!(waits.waiting.expect("it waits").message, "a model that answers on cuda:0 ends first");
    fs::remove_file(model.join("hold")).expect("a file");
    let rest: Vec<_> = harness.block_on(second.collect());
    assert!(matches!(rest.last(), Some(Ok(InferencePart::Finished { .. }))), "the answer is whole: {rest:?}");
    harness.reaches(&job, State::Running);
}
