//! Which calls are sent again, and how errors arrive.

use std::time::Duration;

use ftl_client::wire::details::{Details, pack, reason};
use ftl_client::wire::v1;
use ftl_client::{ClientError, Limits};
use ftl_core::dataset::ImportSource;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{JobId, JobSpec, Problem, ProblemKind};
use tonic::{Code, Status};

use crate::draw::{Draw, full};
use crate::fake::{Pair, limits};

fn unavailable() -> Status {
    pack(
        Code::Unavailable,
        "the service is shutting down",
        Details { reason: reason::SHUTTING_DOWN.to_owned(), ..Details::default() },
    )
}

fn gone() -> ClientError {
    ClientError::Unavailable("the service is shutting down".to_owned())
}

#[tokio::test]
async fn reads_are_repeated_while_the_server_is_unavailable() {
    let Pair { fake, client, .. } = &Pair::new().await;
    for _ in 0..4 {
        fake.refuse::<v1::Job>("get_job", unavailable());
    }
    let job = full(Draw::job);
    fake.answer("get_job", v1::Job::from(job.clone()));
    let answer = client.job(&job.id).await.expect("the fifth try");
    assert_eq!(format!("{answer:?}"), format!("{job:?}"));
    assert_eq!(fake.n_calls("get_job"), 5);

    for _ in 0..6 {
        fake.refuse::<v1::Job>("get_job", unavailable());
    }
    assert_eq!(client.job(&job.id).await.expect_err("five are enough"), gone());
    assert_eq!(fake.n_calls("get_job"), 10);
}

#[tokio::test]
async fn reads_outlive_a_restart_of_the_server() {
    let mut pair = Pair::within(Limits { longest_pause: Duration::from_secs(1), ..limits() }).await;
    let job = full(Draw::job);
    pair.kill();
    pair.start_again();
    pair.fake.answer("get_job", v1::Job::from(job.clone()));
    assert_eq!(pair.client.job(&job.id).await.expect("the new server answers").id, job.id);
    pair.kill();
    let error = pair.client.job(&job.id).await.expect_err("nobody is there");
    assert!(matches!(error, ClientError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn changes_are_sent_once() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let id = JobId::from_bits(1);
    fake.refuse::<v1::Job>("stop_job", unavailable());
    assert_eq!(client.stop_job(&id).await.expect_err("unavailable"), gone());
    fake.refuse::<()>("delete_job", unavailable());
    assert_eq!(client.delete_job(&id).await.expect_err("unavailable"), gone());
    fake.refuse::<v1::Dataset>("import_dataset", unavailable());
    let source = ImportSource::Path("/data/train.jsonl".into());
    assert_eq!(
        client.import_dataset(&source, None, DataFormat::Auto).await.expect_err("unavailable"),
        gone()
    );
    fake.refuse::<v1::Job>("create_job", unavailable());
    assert_eq!(client.create_job(&JobSpec::default(), None).await.expect_err("unavailable"), gone());
    assert_eq!(fake.calls().len(), 4);
}

#[tokio::test]
async fn a_job_with_a_request_id_is_asked_for_again() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.refuse::<v1::Job>("create_job", unavailable());
    let job = full(Draw::job);
    fake.answer("create_job", v1::Job::from(job.clone()));
    let answer = client.create_job(&JobSpec::default(), Some("once")).await.expect("the second try");
    assert_eq!(answer.id, job.id);
    let calls = fake.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1]);
    assert!(calls[0].request.contains(r#"request_id: Some("once")"#), "{}", calls[0].request);
}

#[tokio::test]
async fn no_other_error_is_worth_a_repeat() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let id = JobId::from_bits(1);
    for code in
        [Code::Internal, Code::NotFound, Code::ResourceExhausted, Code::DeadlineExceeded, Code::Aborted]
    {
        fake.refuse::<v1::Job>("get_job", Status::new(code, "said"));
        let error = client.job(&id).await.expect_err("it was refused");
        assert_eq!(error, ClientError::from(Status::new(code, "said")));
    }
    assert_eq!(fake.n_calls("get_job"), 5);
}

#[tokio::test]
async fn problems_arrive_whole() {
    let Pair { fake, client, .. } = &Pair::new().await;
    let problems: Vec<Problem> = (1..=30)
        .map(|row| {
            Problem::new(ProblemKind::BadData, format!("row {row} has no `messages` — 🦀"))
                .at("data.train")
                .hint("expected one of: messages, text")
        })
        .collect();
    let details = Details { problems: problems.clone(), ..Details::default() };
    fake.refuse::<v1::Job>("create_job", pack(Code::InvalidArgument, "the spec is refused", details));
    let error = client.create_job(&JobSpec::default(), None).await.expect_err("it was refused");
    assert_eq!(error, ClientError::Refused(problems));
}

#[tokio::test]
async fn silence_ends_with_the_time_of_the_call() {
    let short =
        Limits { answer: Duration::from_millis(500), long_answer: Duration::from_millis(700), ..limits() };
    let Pair { fake, client, server, .. } = &Pair::within(short).await;
    let endpoint = &server.as_ref().expect("it runs").endpoint;
    fake.ignore::<v1::Job>("get_job");
    let error = client.job(&JobId::from_bits(1)).await.expect_err("it says nothing");
    assert_eq!(error, ClientError::TimedOut(format!("`{endpoint}` gave no answer within 0.5 s")));
    fake.ignore::<v1::InspectModelResponse>("inspect_model");
    let error = client.inspect_model("org/name").await.expect_err("it says nothing");
    assert_eq!(error, ClientError::TimedOut(format!("`{endpoint}` gave no answer within 0.7 s")));
}

#[tokio::test]
async fn an_answer_without_a_meaning_names_its_field() {
    let Pair { fake, client, .. } = &Pair::new().await;
    fake.answer("get_job", v1::Job { state: 77, ..full(Draw::job).into() });
    assert_eq!(
        client.job(&JobId::from_bits(1)).await.expect_err("77 is no state").to_string(),
        "the server's answer can't be used: Job.state: `JobState` has no value 77, expected 1 to 9; \
         is the server of this version?"
    );
    fake.answer(
        "list_jobs",
        v1::ListJobsResponse { jobs: vec![v1::Job::default()], next_page_token: String::new() },
    );
    let error = client.jobs(&Default::default(), &[]).await.expect_err("it has no id").to_string();
    assert!(error.contains("ListJobsResponse.jobs[0].id: `` is no id of this kind"), "{error}");
}

#[tokio::test]
async fn a_path_that_no_message_can_carry_is_refused_here() {
    use std::os::unix::ffi::OsStrExt as _;
    let Pair { fake, client, .. } = &Pair::new().await;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/data/\xff.jsonl"));
    let expected = "path: `/data/\u{fffd}.jsonl` is no UTF-8, which a request can't carry; rename it";
    let source = ImportSource::Path(path.to_owned());
    let error = client.import_dataset(&source, None, DataFormat::Auto).await.expect_err("it is no text");
    assert_eq!(error.to_string(), expected);
    let error = client.import_model(path, None).await.expect_err("it is no text");
    assert_eq!(error.to_string(), expected);
    assert_eq!(fake.calls(), []);
}
