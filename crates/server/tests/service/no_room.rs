//! The database can't be written for a while, as on a full disk; the disk of the jobs can.

use std::time::{Duration, Instant};

use ftl_client::ClientError;
use ftl_core::JobId;
use ftl_core::job::{Exit, Job, State};

use super::support::{ENDLESS, LONG, Service, events, reaches, spec, steps, submit, wait_for};

/// No file of the process may grow to more than this from now on; what it started before may go on.
fn limit_files(pid: u32, bytes: libc::rlim_t) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are to a `rlimit` that lives as long as the call, or null.
    let asked =
        unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_FSIZE, std::ptr::null(), &mut limits) };
    assert_eq!(asked, 0, "{}", std::io::Error::last_os_error());
    // The hard limit stays, so that the soft one can be raised again.
    limits.rlim_cur = bytes;
    // SAFETY: as above.
    let set = unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_FSIZE, &limits, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn journal_bytes(job: &Job) -> u64 {
    std::fs::metadata(job.directory.join("attempts/1/events.jsonl")).expect("it has begun").len()
}

async fn step(client: &ftl_client::Client, id: &JobId) -> u64 {
    client.job(id).await.expect("what is read is answered").progress.step
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_goes_on_while_the_database_has_no_room_and_no_event_is_lost() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let job = submit(&client, &spec("in need", ENDLESS)).await;
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= 20).await;
    let worker = service.worker().expect("it trains");

    limit_files(service.pid(), 1);
    let refused = client.create_job(&spec("refused", 1), None).await.expect_err("nothing can be kept");
    assert!(matches!(refused, ClientError::Internal { .. } | ClientError::Exhausted(_)), "{refused:?}");
    // The worker trains on, and what it does is seen by nobody.
    let (before, kept) = (journal_bytes(&job), step(&client, &job.id).await);
    let until = Instant::now() + LONG;
    while journal_bytes(&job) < before + 50_000 {
        assert!(Instant::now() < until, "the worker stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((service.worker(), step(&client, &job.id).await), (Some(worker), kept));

    limit_files(service.pid(), libc::RLIM_INFINITY);
    wait_for(&client, &job.id, "later steps", |job| job.progress.step > kept + 20).await;
    submit(&client, &spec("accepted", 1)).await;
    client.stop_job(&job.id).await.expect("it runs");
    let job = reaches(&client, &job.id, State::Stopped).await;
    let seen = events(&client, &job.id, 0).await;
    assert_eq!(steps(&seen), (1..=job.progress.step).collect::<Vec<_>>());
    let seqs: Vec<u64> = seen.iter().map(|event| event.record.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let attempts = client.attempts(&job.id).await.expect("it exists");
    assert_eq!(attempts.iter().map(|attempt| attempt.exit).collect::<Vec<_>>(), [Some(Exit::Stopped)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_a_job_is_kept_when_there_is_room_again() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let n_steps = 150;
    let job = submit(&client, &spec("ends unseen", n_steps)).await;
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= 20).await;
    limit_files(service.pid(), 1);
    let until = Instant::now() + LONG;
    while service.worker().is_some() {
        assert!(Instant::now() < until, "the worker does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unseen = client.job(&job.id).await.expect("what is read is answered");
    assert_eq!(unseen.state, State::Running);
    assert!(unseen.progress.step < n_steps, "it was to end unseen: {unseen:?}");
    limit_files(service.pid(), libc::RLIM_INFINITY);
    let job = reaches(&client, &job.id, State::Succeeded).await;
    assert_eq!(steps(&events(&client, &job.id, 0).await), (1..=n_steps).collect::<Vec<_>>());
    let attempts = client.attempts(&job.id).await.expect("it exists");
    assert_eq!(attempts.iter().map(|attempt| attempt.exit).collect::<Vec<_>>(), [Some(Exit::Ok)]);
}
