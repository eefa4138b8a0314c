//! Checkpoints of jobs that are at work: made on demand, pinned meanwhile, damaged between attempts.

use std::fs;

use ftl_client::{Client, ClientError, Show};
use ftl_core::job::{Checkpoint, CheckpointState, State};
use ftl_core::{Event, JobId, PageRequest};

use crate::support::{ENDLESS, Service, adapter_bytes, events, reaches, spec, submit, wait_for};

async fn on_disk(client: &Client, id: &JobId) -> Vec<Checkpoint> {
    let page = PageRequest { page_size: 1_000, page_token: None };
    client.checkpoints(id, &page, Show::OnDisk).await.expect("a list").items
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_is_made_on_demand_and_the_result_is_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let mut asked = spec("asked", 400);
    asked.train.save_steps = Some(0);
    let whole = submit(&client, &asked).await.id;
    let whole = reaches(&client, &whole, State::Succeeded).await;
    assert_eq!(on_disk(&client, &whole.id).await, []);

    let id = submit(&client, &asked).await.id;
    let error = client.save_checkpoint(&whole.id).await.expect_err("it is done");
    assert!(matches!(error, ClientError::Precondition(_)), "{error:?}");
    wait_for(&client, &id, "its first step", |job| job.progress.step > 0).await;
    let first = client.save_checkpoint(&id).await.expect("it trains");
    let second = client.save_checkpoint(&id).await.expect("it trains");
    assert!(first.step >= 1 && second.step > first.step, "{first:?} {second:?}");
    assert!(second.path.join("MANIFEST.json").exists());
    let job = reaches(&client, &id, State::Succeeded).await;
    assert_eq!(adapter_bytes(&job), adapter_bytes(&whole));
    let listed = on_disk(&client, &id).await;
    let steps: Vec<u64> = listed.iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(steps, [second.step, first.step]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_checkpoint_hears_that_the_job_ended() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let mut endless = spec("endless", ENDLESS);
    endless.train.save_steps = Some(0);
    let id = submit(&client, &endless).await.id;
    wait_for(&client, &id, "its first step", |job| job.progress.step > 0).await;
    // The worker is held, so that it can't save before it is killed.
    crate::support::signal(service.worker().expect("it trains"), libc::SIGSTOP);
    let waiting = tokio::spawn({
        let (client, id) = (client.clone(), id.clone());
        async move { client.save_checkpoint(&id).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client.cancel_job(&id).await.expect("it may be");
    let error = waiting.await.expect("no panic").expect_err("nothing was saved");
    let text = error.to_string();
    assert!(text.contains("the worker ended before it saved once more; the job is CANCELLED"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_is_true_while_a_worker_deletes_and_a_pin_holds() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let mut limited = spec("limited", ENDLESS);
    limited.train.save_steps = Some(1);
    limited.train.save_total_limit = Some(2);
    let id = submit(&client, &limited).await.id;
    wait_for(&client, &id, "its first steps", |job| job.progress.step > 5).await;
    // One of them is deleted in this moment, perhaps; then the answer is no.
    let pinned = loop {
        let newest = on_disk(&client, &id).await.remove(0);
        match client.pin_checkpoint(&id, &newest.name()).await {
            Ok(pinned) => break pinned,
            Err(ClientError::Precondition(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    let until = pinned.step + 20;
    wait_for(&client, &id, "twenty steps more", |job| job.progress.step > until).await;
    client.stop_job(&id).await.expect("it trains");
    let job = reaches(&client, &id, State::Stopped).await;
    let listed = on_disk(&client, &id).await;
    let mut names: Vec<String> = listed.iter().map(Checkpoint::name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!((listed[2].step, listed[2].pinned), (pinned.step, true));
    let mut there: Vec<String> = fs::read_dir(&job.directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("checkpoint-") && !name.ends_with(".pinned"))
        .collect();
    names.sort();
    there.sort();
    assert_eq!(names, there);
    let whole = client.verify_checkpoint(&id, &pinned.name()).await.expect("a worker");
    assert_eq!(whole.state, CheckpointState::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_checkpoint_is_named_kept_and_the_previous_one_used() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let whole = submit(&client, &spec("whole", 200)).await.id;
    let whole = reaches(&client, &whole, State::Succeeded).await;

    let id = submit(&client, &spec("damaged", 200)).await.id;
    wait_for(&client, &id, "step 60", |job| job.progress.step >= 60).await;
    client.stop_job(&id).await.expect("it trains");
    let job = reaches(&client, &id, State::Stopped).await;
    let newest = on_disk(&client, &id).await.remove(0);
    assert!(newest.last && newest.step >= 60, "{newest:?}");
    let file = newest.path.join("optimizer.safetensors");
    let mut bytes = fs::read(&file).expect("a file of the checkpoint");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&file, &bytes).expect("damaged");
    client.resume_job(&id).await.expect("it is stopped");
    let done = reaches(&client, &id, State::Succeeded).await;
    assert_eq!(adapter_bytes(&done), adapter_bytes(&whole));
    let told = events(&client, &id, job.seq).await;
    let told: Vec<_> =
        told.into_iter().filter(|event| matches!(event.record.event, Event::Damaged { .. })).collect();
    let [damaged] = &told[..] else { panic!("{told:?}") };
    let Event::Damaged { step, kept_at, message, .. } = &damaged.record.event else { panic!("{damaged:?}") };
    assert_eq!(*step, newest.step);
    assert!(message.contains("`optimizer.safetensors`"), "{message}");
    assert_eq!(fs::read(std::path::Path::new(kept_at).join("optimizer.safetensors")).expect("kept"), bytes);
    let listed = on_disk(&client, &id).await;
    let kept = listed.iter().find(|checkpoint| checkpoint.path.display().to_string() == *kept_at);
    let kept = kept.unwrap_or_else(|| panic!("{listed:?}"));
    assert_eq!((kept.state, kept.step), (CheckpointState::Damaged, newest.step));
    client.delete_checkpoint(&id, &kept.name()).await.expect("nobody needs it");
    assert!(!kept.path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_checkpoints_are_all_damaged_fails_and_names_them() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let id = submit(&client, &spec("damaged", ENDLESS)).await.id;
    wait_for(&client, &id, "step 60", |job| job.progress.step >= 60).await;
    client.stop_job(&id).await.expect("it trains");
    reaches(&client, &id, State::Stopped).await;
    let saved = on_disk(&client, &id).await;
    assert!(saved.len() >= 2, "{saved:?}");
    for checkpoint in &saved {
        fs::write(checkpoint.path.join("ftl_state.json"), "{}").expect("damaged");
    }
    client.resume_job(&id).await.expect("it is stopped");
    let failed = reaches(&client, &id, State::Failed).await;
    let text = failed.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for checkpoint in &saved {
        assert!(text.contains(&format!("{} `ftl_state.json`", checkpoint.name())), "{text}");
    }
    let listed = on_disk(&client, &id).await;
    assert_eq!(listed.len(), saved.len());
    assert!(listed.iter().all(|checkpoint| checkpoint.state == CheckpointState::Damaged), "{listed:?}");
}
