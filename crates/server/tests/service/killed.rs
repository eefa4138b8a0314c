//! The service is killed in mid-run and started again.

use ftl_core::job::{Exit, State};

use super::support::{
    ENDLESS, Service, adapter_bytes, events, reaches, signal, spec, steps, submit, wait_for, workers_of,
};

const N_STEPS: u64 = 300;

/// Every step once, in order, and every number of an event once, in order.
fn check_events(events: &[ftl_core::job::JobEvent], n_steps: u64) {
    assert_eq!(steps(events), (1..=n_steps).collect::<Vec<_>>());
    let seqs: Vec<u64> = events.iter().map(|event| event.record.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_of_a_killed_service_ends_as_if_nothing_had_happened() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let undisturbed = submit(&client, &spec("undisturbed", N_STEPS)).await;
    let undisturbed = reaches(&client, &undisturbed.id, State::Succeeded).await;
    check_events(&events(&client, &undisturbed.id, 0).await, N_STEPS);

    let disturbed = submit(&client, &spec("disturbed", N_STEPS)).await;
    let mut service = Some(service);
    for at_step in [N_STEPS / 3, 2 * N_STEPS / 3] {
        let running = service.take().expect("it was put back");
        let client = running.client().await;
        let job = wait_for(&client, &disturbed.id, "a step", |job| job.progress.step >= at_step).await;
        assert_eq!(job.state, State::Running, "it was to be killed in mid-run");
        running.kill();
        service = Some(Service::start(home.path()).await);
    }
    let service = service.expect("it was put back");
    let client = service.client().await;
    let disturbed = reaches(&client, &disturbed.id, State::Succeeded).await;

    assert_eq!(adapter_bytes(&disturbed), adapter_bytes(&undisturbed));
    check_events(&events(&client, &disturbed.id, 0).await, N_STEPS);
    let attempts = client.attempts(&disturbed.id).await.expect("it exists");
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    assert_eq!(attempts[2].exit, Some(Exit::Ok), "{attempts:?}");

    // Equality must be able to fail.
    let mut other = spec("other", N_STEPS);
    other.train.seed = Some(7);
    let other = submit(&client, &other).await;
    let other = reaches(&client, &other.id, State::Succeeded).await;
    assert_ne!(adapter_bytes(&other), adapter_bytes(&undisturbed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_that_reconnects_sees_every_event_once() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let job = submit(&client, &spec("watched", N_STEPS)).await;
    let watching = tokio::spawn({
        let (client, id) = (client.clone(), job.id.clone());
        async move { events(&client, &id, 0).await }
    });
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= N_STEPS / 2).await;
    service.kill();
    let _service = Service::start(home.path()).await;
    check_events(&watching.await.expect("no panic"), N_STEPS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_is_replaced_and_the_result_is_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let undisturbed = submit(&client, &spec("undisturbed", N_STEPS)).await;
    let undisturbed = reaches(&client, &undisturbed.id, State::Succeeded).await;

    let job = submit(&client, &spec("disturbed", N_STEPS)).await;
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= N_STEPS / 2).await;
    signal(service.worker().expect("it trains"), libc::SIGKILL);
    let job = reaches(&client, &job.id, State::Succeeded).await;
    assert_eq!(adapter_bytes(&job), adapter_bytes(&undisturbed));
    let attempts = client.attempts(&job.id).await.expect("it exists");
    assert_eq!(
        attempts[0].exit,
        Some(Exit::Crashed { signal: Some(libc::SIGKILL), code: None }),
        "{attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_whose_workers_die_again_and_again_fails_with_the_reason() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let mut endless = spec("doomed", ENDLESS);
    endless.train.save_steps = Some(0);
    let job = submit(&client, &endless).await;
    for n_attempts in 1..=4 {
        let what = format!("attempt {n_attempts}");
        wait_for(&client, &job.id, &what, |job| job.n_attempts == n_attempts && job.state == State::Running)
            .await;
        signal(service.worker().expect("it trains"), libc::SIGKILL);
    }
    let job = reaches(&client, &job.id, State::Failed).await;
    assert_eq!(job.n_attempts, 4);
    assert!(job.problems.iter().any(|problem| problem.message.contains("signal 9")), "{:?}", job.problems);
    client.system_info().await.expect("the service lives");
    assert!(workers_of(service.pid()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_that_is_told_to_end_saves_and_goes_on_later() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let job = submit(&client, &spec("patient", N_STEPS)).await;
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= N_STEPS / 2).await;
    assert_eq!(service.terminate(), Some(0));
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let job = reaches(&client, &job.id, State::Succeeded).await;
    check_events(&events(&client, &job.id, 0).await, N_STEPS);
    let attempts = client.attempts(&job.id).await.expect("it exists");
    let exits: Vec<Option<Exit>> = attempts.iter().map(|attempt| attempt.exit).collect();
    assert_eq!(exits, [Some(Exit::Stopped), Some(Exit::Ok)]);
}
