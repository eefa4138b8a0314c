//! Every method with nothing and with rubbish; reflection and health.

use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::raw::{call, methods};
use super::support::Service;

/// Methods that an empty request asks something sensible of.
const NEED_NOTHING: [&str; 12] = [
    "/ftl.v1.ConfigService/GetSpecSchema",
    "/ftl.v1.ConfigService/ListConfigs",
    "/ftl.v1.ConfigService/ListPresets",
    "/ftl.v1.DatasetService/ListDatasets",
    "/ftl.v1.JobService/GetQueueSettings",
    "/ftl.v1.JobService/ListJobs",
    "/ftl.v1.ModelService/ListModels",
    "/ftl.v1.SystemService/GetGpus",
    "/ftl.v1.SystemService/GetStorage",
    "/ftl.v1.SystemService/GetSystemInfo",
    "/ftl.v1.SystemService/ListGpuSamples",
    "/ftl.v1.SystemService/WatchGpus",
];

#[tokio::test]
async fn empty_request_is_answered_or_refused_by_every_method() {
    let service = Service::start().await;
    let channel = service.channel().await;
    for method in methods() {
        let answer = call(&channel, &method.path, None, MetadataMap::new()).await;
        if NEED_NOTHING.contains(&method.path.as_str()) {
            answer.expect(&method.path);
        } else {
            let status = answer.expect_err(&method.path);
            assert_eq!(status.code(), Code::InvalidArgument, "{}: {status:?}", method.path);
        }
    }
}

#[tokio::test]
async fn rubbish_in_the_first_field_is_refused_by_every_method() {
    let service = Service::start().await;
    let channel = service.channel().await;
    let long = "x".repeat(100_000);
    let rubbish = [
        "x",
        "job-",
        "job-7k3v9q2hx",
        "job-7K3V9Q2HXM",
        "data-7k3v9q2hxmm",
        "../../etc/passwd",
        "job-7k3v9q2hxm\n",
        "' OR 1=1 --",
        "\u{0}",
        "𝕁𝕠𝕓",
        long.as_str(),
    ];
    let mut n_methods = 0;
    for method in methods().into_iter().filter(|method| method.takes_text) {
        n_methods += 1;
        for text in rubbish {
            let answer = call(&channel, &method.path, Some(text), MetadataMap::new()).await;
            let status = answer.expect_err(&method.path);
            assert_eq!(status.code(), Code::InvalidArgument, "{} of {text:.20}: {status:?}", method.path);
            assert!(status.message().len() < 2_000, "{}: {}", method.path, status.message());
        }
    }
    assert!(n_methods > 20, "{n_methods}");
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let service = Service::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(service.channel().await);
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("it is served")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    let expected = [
        "ftl.v1.CheckpointService",
        "ftl.v1.ConfigService",
        "ftl.v1.DatasetService",
        "ftl.v1.InferenceService",
        "ftl.v1.JobService",
        "ftl.v1.ModelService",
        "ftl.v1.PredictionService",
        "ftl.v1.SystemService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn health_says_that_the_service_serves() {
    let service = Service::start().await;
    let mut health = HealthClient::new(service.channel().await);
    let answer = health.check(HealthCheckRequest { service: String::new() }).await.expect("an answer");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}
