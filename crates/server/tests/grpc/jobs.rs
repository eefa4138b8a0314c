//! `JobService` but for its streams.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_client::wire::details::{STATE, unpack};
use ftl_client::wire::v1;
use ftl_client::wire::v1::job_service_client::JobServiceClient;
use ftl_core::job::{Exit, State};
use ftl_core::spec::TrainFileSpec;
use ftl_core::{JobId, JobSpec};
use ftl_server::jobs::Jobs;
use ftl_server::worker::Workers;
use ftl_store::{AttemptEnd, Change};
use tonic::Code;
use tonic::transport::Channel;

use super::support::{Service, assert_refused, spec};

async fn client(service: &Service) -> JobServiceClient<Channel> {
    JobServiceClient::new(service.channel().await)
}

fn create(spec: JobSpec, request_id: Option<&str>) -> v1::CreateJobRequest {
    v1::CreateJobRequest { spec: Some(spec.into()), request_id: request_id.map(str::to_owned), from: None }
}

fn absent() -> String {
    JobId::from_bits(1).to_string()
}

#[tokio::test]
async fn specs_are_refused_with_every_problem() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let status = client
        .create_job(v1::CreateJobRequest { spec: None, request_id: None, from: None })
        .await
        .expect_err("there is no spec");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("spec", "must be given"));

    let mut bad = spec();
    bad.adapter.r = Some(0);
    bad.train.learning_rate = Some(-1.0);
    let status = client.create_job(create(bad, None)).await.expect_err("two values are out of range");
    let message = "0 is out of range, expected 1 to 65536";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("adapter.r", message));
    assert!(status.message().ends_with("; and 1 more problem"), "{status:?}");
    let fields: Vec<_> = unpack(&status).problems.into_iter().filter_map(|problem| problem.field).collect();
    assert_eq!(fields, ["adapter.r", "train.learning_rate"]);

    let mut numbered = v1::JobSpec::from(spec());
    numbered.method = Some(v1::MethodSpec { kind: 77, ..v1::MethodSpec::default() });
    let request = v1::CreateJobRequest { spec: Some(numbered), request_id: None, from: None };
    let status = client.create_job(request).await.expect_err("there is no such method");
    let message = "`MethodSpec.Kind` has no value 77";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("spec.method.kind", message));
}

#[tokio::test]
async fn relative_paths_of_a_spec_are_refused_with_a_hint() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let mut relative = spec();
    relative.model.path = Some("models/small".into());
    relative.data.train = vec![TrainFileSpec::from("train.jsonl"), TrainFileSpec::from("/data/b.jsonl")];
    relative.data.eval =
        Some(ftl_core::spec::EvalSpec { fraction: None, path: Some("data-7k3v9q2hxm".into()) });
    relative.data.chat_template = Some("template.jinja".into());
    relative.adapter.init_from = Some("adapter".into());
    let status = client.create_job(create(relative, None)).await.expect_err("nothing is absolute");
    let message = "the path must be absolute, `models/small` is not";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("model.path", message));
    let problems = unpack(&status).problems;
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "model.path: the path must be absolute, `models/small` is not; give an absolute path, the id of an imported \
         model (`model-…`), or `org/name` of a model in the Hugging Face cache",
        "data.train[0].path: the path must be absolute, `train.jsonl` is not; give an absolute path, or the id of an \
         imported dataset (`data-…`)",
        "data.eval.path: there is no dataset `data-7k3v9q2hxm`; list the datasets that the service knows, or give an \
         absolute path",
        "data.chat_template: the path must be absolute, `template.jinja` is not; the service does not know your \
         working directory: give the path from `/` on",
        "adapter.init_from: the path must be absolute, `adapter` is not; the service does not know your working \
         directory: give the path from `/` on",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn many_problems_stay_within_what_clients_take() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let mut bad = spec();
    bad.data.train = (0..500).map(|number| TrainFileSpec::from(format!("relative-{number}.jsonl"))).collect();
    // Of what percent-encoding makes most: three bytes of each.
    bad.model.path = Some("ä".repeat(50_000).into());
    let status = client.create_job(create(bad, None)).await.expect_err("every path is relative");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().ends_with("; and 500 more problems"), "{status:?}");
    let problems = unpack(&status).problems;
    assert!((5..500).contains(&problems.len()), "{}", problems.len());
    assert_eq!(problems[1].field.as_deref(), Some("data.train[0].path"));
}

#[tokio::test]
async fn request_id_makes_a_repeated_request_answer_with_the_same_job() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let first = client.create_job(create(spec(), Some("one"))).await.expect("a good spec").into_inner();
    let again = client.create_job(create(spec(), Some("one"))).await.expect("the same").into_inner();
    assert_eq!(first.id, again.id);
    let other = client.create_job(create(spec(), Some("two"))).await.expect("another").into_inner();
    assert_ne!(first.id, other.id);

    let mut changed = spec();
    changed.train.seed = Some(7);
    let status = client.create_job(create(changed, Some("one"))).await.expect_err("another spec");
    let message = "the request id was used for a job with another spec";
    assert_refused(&status, Code::AlreadyExists, "INVALID_VALUE", ("request_id", message));

    for (id, message) in
        [(String::new(), "the request id is empty"), ("é".repeat(129), "has 129 characters, at most 128")]
    {
        let status = client.create_job(create(spec(), Some(&id))).await.expect_err(message);
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("request_id", message));
    }
    client.create_job(create(spec(), Some(&"é".repeat(128)))).await.expect("as long as it may be");
}

#[tokio::test]
async fn ids_of_nothing_are_not_found() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let id = absent();
    let job_id = id.clone();
    let statuses = [
        client.get_job(v1::GetJobRequest { id: id.clone() }).await.map(|_| ()),
        client.stop_job(v1::StopJobRequest { id: id.clone() }).await.map(|_| ()),
        client.resume_job(v1::ResumeJobRequest { id: id.clone() }).await.map(|_| ()),
        client.cancel_job(v1::CancelJobRequest { id: id.clone() }).await.map(|_| ()),
        client.delete_job(v1::DeleteJobRequest { id: id.clone() }).await.map(|_| ()),
        client.watch_events(v1::WatchEventsRequest { job_id: id.clone(), after_seq: 0 }).await.map(|_| ()),
        client.list_attempts(v1::ListAttemptsRequest { job_id: id.clone() }).await.map(|_| ()),
        client.list_artifacts(v1::ListArtifactsRequest { job_id: id.clone() }).await.map(|_| ()),
        client.get_log(v1::GetLogRequest { job_id: id.clone(), attempt: 0 }).await.map(|_| ()),
        client
            .stream_metrics(v1::StreamMetricsRequest { job_id, after_seq: 0, committed_only: true })
            .await
            .map(|_| ()),
    ];
    for status in statuses {
        let status = status.expect_err("nothing has this id");
        assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", &format!("there is no job `{id}`")));
        assert_eq!(unpack(&status).metadata.get("id"), Some(&id));
    }
}

#[tokio::test]
async fn malformed_ids_are_refused_at_their_field() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let status = client.get_job(v1::GetJobRequest { id: String::new() }).await.expect_err("no id");
    assert_refused(&status, Code::InvalidArgument, "MISSING_KEY", ("id", "the id is missing"));
    let dataset = "data-7k3v9q2hxm".to_owned();
    let status = client.get_job(v1::GetJobRequest { id: dataset.clone() }).await.expect_err("a dataset's id");
    let message = "`data-7k3v9q2hxm` is no id of this kind, expected `job-` and 10 digits or letters";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("id", message));
    let request = v1::WatchEventsRequest { job_id: dataset, after_seq: 0 };
    let status = client.watch_events(request).await.expect_err("a dataset's id");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("job_id", message));
}

#[tokio::test]
async fn what_the_state_of_a_job_does_not_allow_is_a_failed_precondition() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let id = service.job().await.to_string();
    let status = client.stop_job(v1::StopJobRequest { id: id.clone() }).await.expect_err("nobody is at it");
    let message = "a job that is QUEUED can't become STOPPING";
    assert_refused(&status, Code::FailedPrecondition, "ILLEGAL_TRANSITION", ("", message));
    assert_eq!(unpack(&status).metadata.get(STATE).map(String::as_str), Some("QUEUED"));
    let status =
        client.resume_job(v1::ResumeJobRequest { id: id.clone() }).await.expect_err("it waits already");
    let message = "a job that is QUEUED can't become QUEUED";
    assert_refused(&status, Code::FailedPrecondition, "ILLEGAL_TRANSITION", ("", message));
    let status =
        client.delete_job(v1::DeleteJobRequest { id: id.clone() }).await.expect_err("it is not at rest");
    let message = "a job that is QUEUED can't be removed";
    assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", ("", message));

    let cancelled = client.cancel_job(v1::CancelJobRequest { id: id.clone() }).await.expect("it may be");
    assert_eq!(cancelled.into_inner().state(), v1::JobState::Cancelled);
    let status = client.cancel_job(v1::CancelJobRequest { id: id.clone() }).await.expect_err("it is over");
    let message = "a job that is CANCELLED can't become CANCELLED";
    assert_refused(&status, Code::FailedPrecondition, "ILLEGAL_TRANSITION", ("", message));
    client.delete_job(v1::DeleteJobRequest { id: id.clone() }).await.expect("it is at rest");
    client.get_job(v1::GetJobRequest { id }).await.expect_err("it is gone");
}

#[tokio::test]
async fn lists_come_in_pages_newest_first_and_by_state() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(service.job().await.to_string());
    }
    service.transition(&ids[1].parse().expect("an id"), State::Cancelled).await;
    ids.reverse();
    let mut request = v1::ListJobsRequest { page_size: 2, page_token: String::new(), states: vec![] };
    let mut found = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = client.list_jobs(request.clone()).await.expect("a page").into_inner();
        sizes.push(page.jobs.len());
        found.extend(page.jobs.into_iter().map(|job| job.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((found, sizes), (ids.clone(), vec![2, 2, 1]));

    let states = vec![v1::JobState::Cancelled.into()];
    let request = v1::ListJobsRequest { page_size: 0, page_token: String::new(), states };
    let cancelled = client.list_jobs(request).await.expect("a page").into_inner().jobs;
    assert_eq!(cancelled.iter().map(|job| &job.id).collect::<Vec<_>>(), [&ids[3]]);

    let bad = |page_token: &str, states: Vec<i32>| v1::ListJobsRequest {
        page_size: 0,
        page_token: page_token.to_owned(),
        states,
    };
    let status = client.list_jobs(bad("rubbish", vec![])).await.expect_err("no token of ours");
    let message = "the page token was not given out for this list";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("page_token", message));
    let status = client.list_jobs(bad("", vec![1, 99])).await.expect_err("no state");
    let message = "`JobState` has no value 99, expected 1 to 9";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("states[1]", message));
    let status = client.list_jobs(bad("", vec![0])).await.expect_err("no state");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("states[0]", "must be given"));
}

#[tokio::test]
async fn log_is_the_end_of_what_the_worker_wrote() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let queued = service.job().await;
    let log = |id: &JobId, attempt| v1::GetLogRequest { job_id: id.to_string(), attempt };
    let status = client.get_log(log(&queued, 0)).await.expect_err("no worker");
    let message = "no worker was started for this job yet, so there is no log";
    assert_refused(&status, Code::FailedPrecondition, "NOT_FOUND", ("", message));

    let id = service.running_job().await;
    let path = service.dir.attempt_log(&id, 1);
    fs::create_dir_all(path.parent().expect("the attempt's directory")).expect("made");
    let mut bytes = vec![b'a'; 300 << 10];
    bytes.extend(b"\xff the end\n");
    fs::write(&path, bytes).expect("written");
    for attempt in [0, 1] {
        let answer = client.get_log(log(&id, attempt)).await.expect("a log").into_inner();
        assert_eq!(answer.attempt, 1);
        assert!(answer.text.ends_with("aa\u{fffd} the end\n"), "{}", answer.text.len());
        // What is no UTF-8 takes three bytes in place of one.
        assert_eq!(answer.text.len(), (256 << 10) + 2);
    }
    let status = client.get_log(log(&id, 2)).await.expect_err("there is one attempt");
    let message = format!("there is no attempt `{id}/2`");
    assert_refused(&status, Code::NotFound, "ATTEMPT_NOT_FOUND", ("", &message));
}

#[tokio::test]
async fn attempt_without_a_log_file_has_the_end_that_was_kept() {
    let service = Service::start().await;
    let id = service.running_job().await;
    let change = Change { to: State::Failed, reason: None, problems: vec![] };
    let end = AttemptEnd {
        exit: Exit::SpawnFailed,
        log_tail: Some("no such program".to_owned()),
        change: Some(change),
    };
    service.store.end_attempt(&id, 1, end).await.expect("kept");
    let request = v1::GetLogRequest { job_id: id.to_string(), attempt: 0 };
    let answer = client(&service).await.get_log(request).await.expect("an answer").into_inner();
    assert_eq!(answer.text, "no such program");
}

#[tokio::test]
async fn files_of_a_job_whose_deletion_a_dead_service_began_are_removed_and_no_others() {
    let service = Service::start().await;
    let directory = |id: &JobId| {
        let directory = service.dir.job(id);
        fs::create_dir_all(directory.join("checkpoint-5")).expect("a directory");
        directory
    };
    let marked = |directory: &Path| fs::write(directory.join("deleted"), "").expect("written");
    let id = service.job().await;
    service.transition(&id, State::Cancelled).await;
    let stays = directory(&id);
    marked(&stays);
    let deleted = directory(&JobId::from_bits(1));
    marked(&deleted);
    // Of a database that was put back by an older one.
    let unknown = directory(&JobId::from_bits(2));

    let program = PathBuf::from(env!("CARGO_BIN_EXE_ftl-server"));
    let workers = Workers::start(program, service.dir.workers()).expect("a place for logs");
    Jobs::start(service.store.clone(), workers, service.dir.clone()).await.expect("it takes over");
    assert!(!deleted.exists());
    assert!(unknown.join("checkpoint-5").is_dir());
    assert!(stays.join("checkpoint-5").is_dir() && !stays.join("deleted").exists());
}
