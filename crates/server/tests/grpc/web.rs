//! gRPC-Web over HTTP/1.1: the same answers as over HTTP/2.

use ftl_client::wire::v1;
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;

use super::http1::{Answer, head, send, web_call};
use super::support::Service;

async fn post(service: &Service, path: &str, message: &[u8]) -> Answer {
    let bearer = format!("Bearer {}", service.token);
    let host = format!("127.0.0.1:{}", service.port);
    let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
    let stream = TcpStream::connect(("127.0.0.1", service.port)).await.expect("it listens");
    send(stream, &web_call(path, &headers, message)).await
}

#[tokio::test]
async fn answer_and_its_code_come_as_frames() {
    let service = Service::start().await;
    let id = service.job().await;
    let answer = post(&service, "/ftl.v1.JobService/ListJobs", b"").await;
    assert_eq!(answer.header("content-type"), Some("application/grpc-web+proto"), "{answer:?}");
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    let (messages, _) = answer.frames();
    let [message] = messages.as_slice() else { panic!("{answer:?}") };
    let list = v1::ListJobsResponse::decode(*message).expect("a list");
    assert_eq!(list.jobs.first().map(|job| job.id.as_str()), Some(id.as_str()));
}

#[tokio::test]
async fn stream_of_events_comes_as_frames() {
    let service = Service::start().await;
    let id = service.running_job().await;
    service.steps(&id, 1, 3).await;
    service.transition(&id, ftl_core::job::State::Succeeded).await;
    let request = v1::WatchEventsRequest { job_id: id.to_string(), after_seq: 0 }.encode_to_vec();
    let answer = post(&service, "/ftl.v1.JobService/WatchEvents", &request).await;
    let (messages, _) = answer.frames();
    // QUEUED, STARTING, RUNNING, three steps, SUCCEEDED.
    assert_eq!((messages.len(), answer.grpc_status()), (7, Some(0)), "{answer:?}");
    for message in messages {
        v1::WatchEventsResponse::decode(message).expect("an event");
    }
}

#[tokio::test]
async fn refusals_of_handlers_have_their_code_and_reason() {
    let service = Service::start().await;
    let request = v1::GetJobRequest { id: "job-7k3v9q2hxm".to_owned() }.encode_to_vec();
    let answer = post(&service, "/ftl.v1.JobService/GetJob", &request).await;
    assert_eq!(answer.grpc_status(), Some(Code::NotFound as i32), "{answer:?}");
    let answer = post(&service, "/ftl.v1.JobService/GetJob", b"\xff\xff\xff").await;
    assert_eq!(answer.grpc_status(), Some(Code::Internal as i32), "{answer:?}");
    let answer = post(&service, "/ftl.v1.JobService/NoSuchMethod", b"").await;
    assert_eq!(answer.grpc_status(), Some(Code::Unimplemented as i32), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_grpc_is_refused_behind_the_guard_too() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.token);
    let host = format!("127.0.0.1:{}", service.port);
    let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
    for (method, path, expected) in [
        ("GET", "/", 400),
        ("GET", "/ftl.v1.JobService/ListJobs", 400),
        ("POST", "/ftl.v1.JobService/ListJobs", 400),
        ("POST", "/metrics", 405),
    ] {
        let stream = TcpStream::connect(("127.0.0.1", service.port)).await.expect("it listens");
        let answer = send(stream, head(method, path, &headers).as_bytes()).await;
        assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
    }
}
