//! Handlers that panic, behind the same layers as ours.

use std::pin::Pin;

use ftl_client::wire::details::{INCIDENT_ID, unpack};
use ftl_client::wire::v1;
use ftl_client::wire::v1::system_service_client::SystemServiceClient;
use ftl_client::wire::v1::system_service_server::{SystemService, SystemServiceServer};
use ftl_server::connections::Connections;
use ftl_server::guard::Guard;
use ftl_server::telemetry::metrics::Metrics;
use futures_util::{Stream, StreamExt};
use tokio::net::UnixListener;
use tonic::{Code, Request, Response, Status, async_trait};

use super::support::channel;

struct Clumsy;

#[async_trait]
impl SystemService for Clumsy {
    type WatchGpusStream = Pin<Box<dyn Stream<Item = Result<v1::Gpus, Status>> + Send>>;

    async fn get_system_info(
        &self,
        _request: Request<v1::GetSystemInfoRequest>,
    ) -> Result<Response<v1::SystemInfo>, Status> {
        panic!("a secret of the machine");
    }

    async fn get_gpus(&self, _request: Request<v1::GetGpusRequest>) -> Result<Response<v1::Gpus>, Status> {
        Ok(Response::new(v1::Gpus::default()))
    }

    async fn plan_memory(
        &self,
        _request: Request<v1::PlanMemoryRequest>,
    ) -> Result<Response<v1::MemoryPlan>, Status> {
        Ok(Response::new(v1::MemoryPlan::default()))
    }

    async fn list_gpu_samples(
        &self,
        _request: Request<v1::ListGpuSamplesRequest>,
    ) -> Result<Response<v1::ListGpuSamplesResponse>, Status> {
        Ok(Response::new(v1::ListGpuSamplesResponse::default()))
    }

    async fn get_storage(
        &self,
        _request: Request<v1::GetStorageRequest>,
    ) -> Result<Response<v1::Storage>, Status> {
        Ok(Response::new(v1::Storage::default()))
    }

    async fn backup(
        &self,
        _request: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        Ok(Response::new(v1::BackupResponse::default()))
    }

    async fn watch_gpus(
        &self,
        _request: Request<v1::WatchGpusRequest>,
    ) -> Result<Response<Self::WatchGpusStream>, Status> {
        let readings = futures_util::stream::iter(0..3).then(async |number| {
            // What is ready at once would be sent at once, and lost together.
            tokio::task::yield_now().await;
            assert!(number < 2, "a secret of the machine");
            Ok(v1::Gpus::default())
        });
        Ok(Response::new(readings.boxed()))
    }
}

async fn client() -> (tempfile::TempDir, SystemServiceClient<tonic::transport::Channel>) {
    let home = tempfile::tempdir().expect("a directory");
    let socket = home.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let metrics = Metrics::default();
    tokio::spawn(
        ftl_server::server(Guard::unix(&metrics), &metrics)
            .add_service(SystemServiceServer::new(Clumsy))
            .serve_with_incoming(Connections::new(8).over_unix(listener)),
    );
    let client = SystemServiceClient::new(channel(&socket).await);
    (home, client)
}

#[track_caller]
fn assert_incident(status: &Status) {
    let details = unpack(status);
    assert_eq!((status.code(), details.reason.as_str()), (Code::Internal, "INTERNAL"), "{status:?}");
    let incident = details.metadata.get(INCIDENT_ID).expect("an incident id");
    assert_eq!(incident.len(), 12, "{incident}");
    assert!(status.message().contains(incident.as_str()), "{status:?}");
    assert!(!format!("{status:?}").contains("secret"), "{status:?}");
}

#[tokio::test]
async fn panic_of_a_handler_is_internal_with_an_incident_and_the_service_lives() {
    let (_home, mut client) = client().await;
    let first = client.get_system_info(v1::GetSystemInfoRequest {}).await.expect_err("it panics");
    let second = client.get_system_info(v1::GetSystemInfoRequest {}).await.expect_err("it panics");
    assert_incident(&first);
    assert_incident(&second);
    let of = |status: &Status| unpack(status).metadata.get(INCIDENT_ID).cloned();
    assert_ne!(of(&first), of(&second));
    client.get_gpus(v1::GetGpusRequest {}).await.expect("the same connection goes on");
}

#[tokio::test]
async fn panic_in_the_middle_of_a_stream_ends_it_with_internal() {
    let (_home, mut client) = client().await;
    let request = v1::WatchGpusRequest { interval_millis: 0 };
    let mut readings = client.watch_gpus(request).await.expect("it begins").into_inner();
    for _ in 0..2 {
        readings.message().await.expect("a reading").expect("one");
    }
    assert_incident(&readings.message().await.expect_err("it panics"));
    client.get_gpus(v1::GetGpusRequest {}).await.expect("the same connection goes on");
}
