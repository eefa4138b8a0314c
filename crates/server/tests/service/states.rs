//! Stop, resume, cancel and delete in every state, from two clients at once.

use ftl_client::{Client, ClientError};
use ftl_core::job::{Job, State};
use ftl_core::{JobId, JobSpec};

use super::support::{ENDLESS, HeldLock, Service, reaches, signal, spec, submit, wait_for};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Stop,
    Resume,
    Cancel,
    Delete,
}

impl Act {
    const ALL: [Self; 4] = [Self::Stop, Self::Resume, Self::Cancel, Self::Delete];

    async fn on(self, client: &Client, id: &JobId) -> Result<(), ClientError> {
        match self {
            Self::Stop => client.stop_job(id).await.map(|_| ()),
            Self::Resume => client.resume_job(id).await.map(|_| ()),
            Self::Cancel => client.cancel_job(id).await.map(|_| ()),
            Self::Delete => client.delete_job(id).await,
        }
    }

    /// Whether the life of a job has it.
    fn is_allowed(self, state: State) -> bool {
        match self {
            Self::Stop => state.transition(State::Stopping).is_ok(),
            Self::Resume => state.transition(State::Queued).is_ok(),
            Self::Cancel => state.transition(State::Cancelled).is_ok(),
            Self::Delete => state.is_at_rest(),
        }
    }
}

/// A service with a job that is in a state and stays there until something is done to it.
struct Scene {
    service: Service,
    job: Job,
    /// What keeps it there.
    held: Held,
}

enum Held {
    Nothing,
    Lock(HeldLock),
    /// A worker that was stopped with SIGSTOP.
    Worker(u32),
}

impl Scene {
    async fn of(home: &std::path::Path, state: State) -> Self {
        let service = Service::start(home).await;
        let client = service.client().await;
        let endless = spec("endless", ENDLESS);
        match state {
            State::Queued => {
                let first = submit(&client, &endless).await;
                reaches(&client, &first.id, State::Running).await;
                let job = submit(&client, &endless).await;
                Self { service, job, held: Held::Nothing }
            }
            State::Starting => {
                let first = submit(&client, &endless).await;
                let job = submit(&client, &endless).await;
                let lock = HeldLock::of(&job.directory);
                client.cancel_job(&first.id).await.expect("it is queued or runs");
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Lock(lock) }
            }
            State::Running => {
                let job = submit(&client, &endless).await;
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Nothing }
            }
            State::Stopping => {
                let (job, worker) = frozen(&service, &client, &endless).await;
                client.stop_job(&job.id).await.expect("it runs");
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Worker(worker) }
            }
            State::Interrupted => {
                let (job, worker) = frozen(&service, &client, &endless).await;
                service.kill();
                // A worker that is paused would be woken by the system, which ends it in its own way.
                signal(worker, libc::SIGKILL);
                let lock = HeldLock::of(&job.directory);
                let service = Service::start(home).await;
                let client = service.client().await;
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Lock(lock) }
            }
            State::Stopped => {
                let job = submit(&client, &endless).await;
                reaches(&client, &job.id, State::Running).await;
                client.stop_job(&job.id).await.expect("it runs");
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Nothing }
            }
            State::Succeeded => {
                let job = submit(&client, &spec("short", 2)).await;
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Nothing }
            }
            State::Failed => {
                let mut refused = endless.clone();
                refused.model.path = Some(home.join("no-model"));
                let job = submit(&client, &refused).await;
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Nothing }
            }
            State::Cancelled => {
                let job = submit(&client, &endless).await;
                client.cancel_job(&job.id).await.expect("it is queued or runs");
                Self { job: reaches(&client, &job.id, state).await, service, held: Held::Nothing }
            }
        }
    }

    /// Lets go of what kept the job where it was.
    fn release(self) -> (Service, Job) {
        match self.held {
            Held::Nothing => {}
            Held::Lock(lock) => drop(lock),
            Held::Worker(pid) if std::path::Path::new(&format!("/proc/{pid}")).exists() => {
                signal(pid, libc::SIGCONT);
            }
            Held::Worker(_) => {}
        }
        (self.service, self.job)
    }
}

/// A running job whose worker does nothing any more.
async fn frozen(service: &Service, client: &Client, spec: &JobSpec) -> (Job, u32) {
    let job = submit(client, spec).await;
    wait_for(client, &job.id, "a step", |job| job.progress.step > 0).await;
    let worker = service.worker().expect("it trains");
    signal(worker, libc::SIGSTOP);
    (job, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_at_once_are_answered_by_the_life_of_a_job() {
    for state in State::ALL {
        for act in Act::ALL {
            let home = tempfile::tempdir().expect("a directory");
            let scene = Scene::of(home.path(), state).await;
            let (one, other) = (scene.service.client().await, scene.service.client().await);
            let id = scene.job.id.clone();
            let answers = tokio::join!(act.on(&one, &id), act.on(&other, &id));
            let what = format!("{act:?} in {state}: {answers:?}");
            let answers = [answers.0, answers.1];
            let n_done = answers.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(n_done, usize::from(act.is_allowed(state)), "{what}");
            for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                match refusal {
                    ClientError::Precondition(problems) => {
                        let said = problems.iter().map(ToString::to_string).collect::<String>();
                        assert!(State::ALL.iter().any(|state| said.contains(&state.to_string())), "{what}");
                    }
                    // Both may find the job before one of them has deleted it.
                    ClientError::NotFound(_) => assert_eq!((act, n_done), (Act::Delete, 1), "{what}"),
                    other => panic!("{what}: {other:?}"),
                }
            }
            check_after(scene, act, n_done == 1).await;
        }
    }
}

/// What the job comes to, when nothing holds it any more.
async fn check_after(scene: Scene, act: Act, is_done: bool) {
    let state = scene.job.state;
    let (service, job) = scene.release();
    let client = service.client().await;
    match (act, is_done) {
        (Act::Stop, true) => {
            reaches(&client, &job.id, State::Stopped).await;
        }
        (Act::Cancel, true) => {
            let job = reaches(&client, &job.id, State::Cancelled).await;
            assert!(job.ended_unix_ms.is_some());
        }
        (Act::Delete, true) => {
            assert!(matches!(client.job(&job.id).await, Err(ClientError::NotFound(_))));
            assert!(!job.directory.exists());
        }
        (Act::Resume, true) if state == State::Failed => {
            reaches(&client, &job.id, State::Failed).await;
        }
        (Act::Resume, true) => {
            reaches(&client, &job.id, State::Running).await;
        }
        (Act::Stop | Act::Resume | Act::Cancel | Act::Delete, false) => {
            client.job(&job.id).await.expect("it is still there");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_job_goes_on_where_it_was() {
    let home = tempfile::tempdir().expect("a directory");
    let service = Service::start(home.path()).await;
    let client = service.client().await;
    let whole = submit(&client, &spec("whole", 200)).await;
    let whole = reaches(&client, &whole.id, State::Succeeded).await;

    let job = submit(&client, &spec("in parts", 200)).await;
    wait_for(&client, &job.id, "a step", |job| job.progress.step >= 70).await;
    client.stop_job(&job.id).await.expect("it runs");
    let stopped = reaches(&client, &job.id, State::Stopped).await;
    assert!((70..200).contains(&stopped.progress.step), "{stopped:?}");
    client.resume_job(&job.id).await.expect("it is stopped");
    let job = reaches(&client, &job.id, State::Succeeded).await;
    let (ours, theirs) = (super::support::adapter_bytes(&job), super::support::adapter_bytes(&whole));
    assert_eq!(ours, theirs);
    let events = super::support::events(&client, &job.id, 0).await;
    assert_eq!(super::support::steps(&events), (1..=200).collect::<Vec<_>>());
}
