//! `InferenceService`: what it refuses, and one real answer.

use ftl_client::wire::details::unpack;
use ftl_client::wire::v1;
use ftl_client::wire::v1::inference_part::Kind as Part;
use ftl_client::wire::v1::inference_service_client::InferenceServiceClient;
use ftl_client::wire::v1::weights::Kind;
use ftl_core::JobId;
use ftl_core::job::State;
use ftl_core::spec::resolved::ModelInit;
use tonic::Code;

use super::support::{Service, assert_refused, example, spec};

fn model(model: &str) -> Option<v1::Weights> {
    let weights = v1::ModelWeights { model: model.to_owned(), adapter: None };
    Some(v1::Weights { kind: Some(Kind::Model(weights)) })
}

fn of_job(id: &JobId, which: v1::job_weights::Which) -> Option<v1::Weights> {
    let weights = v1::JobWeights { id: id.to_string(), which: which.into() };
    Some(v1::Weights { kind: Some(Kind::Job(weights)) })
}

fn generate(weights: Option<v1::Weights>) -> v1::GenerateRequest {
    v1::GenerateRequest {
        weights,
        prompt: "Once".to_owned(),
        sampling: Some(v1::Sampling { max_new_tokens: Some(3), ..v1::Sampling::default() }),
        device: Some("cpu".to_owned()),
    }
}

#[tokio::test]
async fn model_goes_on_with_a_text() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let base = example("base-model").display().to_string();
    let mut answer = client.generate(generate(model(&base))).await.expect("it begins").into_inner();
    let mut parts = Vec::new();
    while let Some(response) = answer.message().await.expect("no error") {
        parts.push(response.part.and_then(|part| part.kind).expect("a part"));
    }
    let Some(Part::Started(started)) = parts.first() else { panic!("{parts:?}") };
    assert_eq!(started.device, "cpu");
    let Some(Part::Finished(finished)) = parts.last() else { panic!("{parts:?}") };
    assert!((1..=3).contains(&finished.new_tokens), "{finished:?}");
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_all_at_once() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let request = v1::GenerateRequest {
        weights: model("/models/small"),
        prompt: String::new(),
        sampling: Some(v1::Sampling {
            max_new_tokens: Some(0),
            temperature: Some(-1.0),
            top_p: Some(1.5),
            top_k: Some(0),
            seed: None,
        }),
        device: Some("rocm".to_owned()),
    };
    let status = client.generate(request).await.expect_err("nothing of it is right");
    assert_refused(&status, Code::InvalidArgument, "MISSING_KEY", ("prompt", "the prompt is empty"));
    let fields: Vec<_> = unpack(&status).problems.into_iter().filter_map(|problem| problem.field).collect();
    let expected = ["prompt", "sampling.max_new_tokens", "sampling.temperature", "sampling.top_p", "device"];
    assert_eq!(fields, expected);
    for temperature in [f64::NAN, f64::INFINITY] {
        let sampling = Some(v1::Sampling { temperature: Some(temperature), ..v1::Sampling::default() });
        let request = v1::GenerateRequest { sampling, ..generate(model("/models/small")) };
        let status = client.generate(request).await.expect_err("no number");
        let message = "is out of range; choose a number above 0, or 0 for greedy";
        assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("sampling.temperature", message));
    }
}

#[tokio::test]
async fn conversations_have_messages_of_known_roles() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let chat = |roles: &[&str]| v1::ChatRequest {
        weights: model("/models/small"),
        messages: roles
            .iter()
            .map(|role| v1::ChatMessage { role: (*role).to_owned(), content: "Hi".to_owned() })
            .collect(),
        sampling: None,
        device: None,
    };
    let status = client.chat(chat(&[])).await.expect_err("nobody says anything");
    assert_refused(&status, Code::InvalidArgument, "MISSING_KEY", ("messages", "the conversation is empty"));
    let status = client.chat(chat(&["system", "bot"])).await.expect_err("nobody's role");
    let message = "`bot` is no role, expected one of: system, user, assistant, tool";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("messages[1].role", message));
}

#[tokio::test]
async fn weights_must_be_named_and_be_there() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let status = client.generate(generate(None)).await.expect_err("no weights");
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("weights", "must be given"));
    let status = client.generate(generate(model("small"))).await.expect_err("no path");
    let message = "the path must be absolute, `small` is not";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("weights.model.model", message));
    let weights = v1::ModelWeights { model: "/models/small".to_owned(), adapter: Some("adapter".to_owned()) };
    let weights = Some(v1::Weights { kind: Some(Kind::Model(weights)) });
    let status = client.generate(generate(weights)).await.expect_err("no path");
    let message = "the path must be absolute, `adapter` is not";
    assert_refused(&status, Code::InvalidArgument, "INVALID_VALUE", ("weights.model.adapter", message));

    let absent = JobId::from_bits(1);
    let trained = v1::job_weights::Which::Trained;
    let status = client.generate(generate(of_job(&absent, trained))).await.expect_err("no job");
    let message = format!("there is no job `{absent}`");
    assert_refused(&status, Code::NotFound, "JOB_NOT_FOUND", ("", &message));
}

#[tokio::test]
async fn job_that_has_not_succeeded_has_no_weights_of_its_own() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let id = service.running_job().await;
    // What is left unspecified asks for what the job made.
    for which in [v1::job_weights::Which::Trained, v1::job_weights::Which::Unspecified] {
        let status = client.generate(generate(of_job(&id, which))).await.expect_err("it runs");
        let message = format!("job `{id}` is RUNNING; what it makes is there when it is SUCCEEDED");
        let expected = ("weights.job.which", message.as_str());
        assert_refused(&status, Code::FailedPrecondition, "INVALID_VALUE", expected);
    }
}

#[tokio::test]
async fn base_of_a_job_is_the_model_of_its_spec() {
    let service = Service::start().await;
    let mut client = InferenceServiceClient::new(service.channel().await);
    let mut small = spec();
    small.model.path = Some(example("base-model"));
    let id = service.job_with(small.clone()).await;
    let base = v1::job_weights::Which::Base;
    let mut answer = client.generate(generate(of_job(&id, base))).await.expect("it begins").into_inner();
    let first = answer.message().await.expect("no error").expect("a part").part.and_then(|part| part.kind);
    assert!(matches!(first, Some(Part::Started(_))), "{first:?}");

    small.model.init = Some(ModelInit::Random);
    let id = service.job_with(small).await;
    let status = client.generate(generate(of_job(&id, base))).await.expect_err("nobody has them");
    let message = format!("job `{id}` began with random weights, which are not kept");
    assert_refused(&status, Code::FailedPrecondition, "NOT_FOUND", ("weights.job.which", &message));
    let id = service.running(id).await;
    service.transition(&id, State::Succeeded).await;
    let trained = v1::job_weights::Which::Trained;
    let status = client.generate(generate(of_job(&id, trained))).await.expect_err("its base is gone");
    assert_refused(&status, Code::FailedPrecondition, "NOT_FOUND", ("weights.job.which", &message));
}
