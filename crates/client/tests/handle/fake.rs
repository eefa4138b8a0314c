//! A server made of the generated stubs. It writes down what it is asked, and answers what the test said; it runs on
//! threads of its own, so that it can be killed as a process is.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ftl_client::wire::v1;
use ftl_client::wire::v1::checkpoint_service_server::{CheckpointService, CheckpointServiceServer};
use ftl_client::wire::v1::config_service_server::{ConfigService, ConfigServiceServer};
use ftl_client::wire::v1::dataset_service_server::{DatasetService, DatasetServiceServer};
use ftl_client::wire::v1::inference_service_server::{InferenceService, InferenceServiceServer};
use ftl_client::wire::v1::job_service_server::{JobService, JobServiceServer};
use ftl_client::wire::v1::model_service_server::{ModelService, ModelServiceServer};
use ftl_client::wire::v1::prediction_service_server::{PredictionService, PredictionServiceServer};
use ftl_client::wire::v1::system_service_server::{SystemService, SystemServiceServer};
use ftl_client::{Client, Endpoint, Limits};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};

/// What the server is asked and answers; clones are the same.
#[derive(Clone, Default)]
pub struct Fake(Arc<Script>);

#[derive(Default)]
struct Script {
    calls: Mutex<Vec<Call>>,
    answers: Mutex<HashMap<&'static str, VecDeque<Box<dyn Any + Send>>>>,
    n_streams_dropped: AtomicUsize,
}

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: &'static str,
    /// As its `Debug` shows it.
    pub request: String,
    pub authorization: Option<String>,
}

enum Unary<A> {
    Answer(Result<A, Status>),
    Silence,
}

struct Streamed<M> {
    messages: Vec<Result<M, Status>>,
    end: End,
}

/// What follows the messages of a stream.
#[derive(Clone, Copy)]
pub enum End {
    Close,
    Silence,
}

impl Fake {
    /// The next answer to a call of `method`.
    pub fn answer<A: Send + 'static>(&self, method: &'static str, answer: A) {
        self.queue(method, Unary::Answer(Ok(answer)));
    }

    /// The next call of `method` is refused. The type is that of the answer.
    pub fn refuse<A: Send + 'static>(&self, method: &'static str, status: Status) {
        self.queue(method, Unary::<A>::Answer(Err(status)));
    }

    /// The next call of `method` gets no answer.
    pub fn ignore<A: Send + 'static>(&self, method: &'static str) {
        self.queue(method, Unary::<A>::Silence);
    }

    /// The next stream of `method`.
    pub fn stream<M: Send + 'static>(
        &self,
        method: &'static str,
        messages: Vec<Result<M, Status>>,
        end: End,
    ) {
        self.queue(method, Streamed { messages, end });
    }

    fn queue(&self, method: &'static str, answer: impl Any + Send) {
        self.0.answers.lock().expect("no panic").entry(method).or_default().push_back(Box::new(answer));
    }

    /// The requests so far, without the greeting of [`Client::connect`].
    pub fn calls(&self) -> Vec<Call> {
        let greeting = |(place, call): &(usize, Call)| *place != 0 || call.method != "get_system_info";
        let calls = self.0.calls.lock().expect("no panic").clone();
        calls.into_iter().enumerate().filter(greeting).map(|(_, call)| call).collect()
    }

    /// How often `method` was called.
    pub fn n_calls(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| call.method == method).count()
    }

    /// The authorization of the first request.
    pub fn authorization(&self) -> Option<String> {
        self.0.calls.lock().expect("no panic").first().and_then(|call| call.authorization.clone())
    }

    /// Waits until the server has let go of so many streams.
    pub async fn streams_dropped(&self, n_streams: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.0.n_streams_dropped.load(Ordering::SeqCst) < n_streams {
            assert!(Instant::now() < deadline, "the server still holds the stream");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn next<Q: Debug, T: 'static>(&self, method: &'static str, request: &Request<Q>) -> Option<T> {
        let authorization = request.metadata().get("authorization");
        self.0.calls.lock().expect("no panic").push(Call {
            method,
            request: format!("{:?}", request.get_ref()),
            authorization: authorization.map(|value| value.to_str().expect("it is text").to_owned()),
        });
        let answer = self.0.answers.lock().expect("no panic").get_mut(method)?.pop_front()?;
        Some(
            *answer.downcast().unwrap_or_else(|_| panic!("the test's answer to {method} is of another type")),
        )
    }

    async fn unary<Q: Debug, A: 'static>(
        &self,
        method: &'static str,
        request: Request<Q>,
    ) -> Result<Response<A>, Status> {
        let greeting = v1::SystemInfo { start_time: Some(Default::default()), ..Default::default() };
        match self.next::<_, Unary<A>>(method, &request) {
            Some(Unary::Answer(answer)) => answer.map(Response::new),
            Some(Unary::Silence) => std::future::pending().await,
            None => match (Box::new(greeting) as Box<dyn Any>).downcast() {
                Ok(greeting) => Ok(Response::new(*greeting)),
                Err(_) => Err(Status::internal(format!("the test has no answer to {method}"))),
            },
        }
    }

    fn streaming<Q: Debug, M: Send + 'static>(
        &self,
        method: &'static str,
        request: Request<Q>,
    ) -> Result<Response<BoxStream<'static, Result<M, Status>>>, Status> {
        let no_answer = || Status::internal(format!("the test has no answer to {method}"));
        let Streamed { messages, end } = self.next(method, &request).ok_or_else(no_answer)?;
        let dropped = Dropped(self.clone());
        let messages = stream::iter(messages).map(move |message| {
            let _held = &dropped;
            message
        });
        Ok(Response::new(match end {
            End::Close => messages.boxed(),
            End::Silence => messages.chain(stream::pending()).boxed(),
        }))
    }
}

/// Counts when a stream is let go of.
struct Dropped(Fake);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.n_streams_dropped.fetch_add(1, Ordering::SeqCst);
    }
}

macro_rules! service {
    (
        $service:ident:
        $($method:ident($request:ident) -> $answer:ty,)+;
        $(stream $stream:ident = $streaming:ident($stream_request:ident) -> $message:ty,)*
    ) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $(type $stream = BoxStream<'static, Result<$message, Status>>;)*

            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<$answer>, Status> {
                self.unary(stringify!($method), request).await
            })+

            $(async fn $streaming(
                &self,
                request: Request<v1::$stream_request>,
            ) -> Result<Response<Self::$stream>, Status> {
                self.streaming(stringify!($streaming), request)
            })*
        }
    };
}

service! {
    JobService:
    create_job(CreateJobRequest) -> v1::Job,
    get_job(GetJobRequest) -> v1::Job,
    list_jobs(ListJobsRequest) -> v1::ListJobsResponse,
    stop_job(StopJobRequest) -> v1::Job,
    resume_job(ResumeJobRequest) -> v1::Job,
    move_job(MoveJobRequest) -> v1::Job,
    get_queue_settings(GetQueueSettingsRequest) -> v1::QueueSettings,
    update_queue_settings(UpdateQueueSettingsRequest) -> v1::QueueSettings,
    cancel_job(CancelJobRequest) -> v1::Job,
    delete_job(DeleteJobRequest) -> (),
    list_attempts(ListAttemptsRequest) -> v1::ListAttemptsResponse,
    list_artifacts(ListArtifactsRequest) -> v1::ListArtifactsResponse,
    get_log(GetLogRequest) -> v1::GetLogResponse,
    ;
    stream WatchEventsStream = watch_events(WatchEventsRequest) -> v1::WatchEventsResponse,
    stream StreamMetricsStream = stream_metrics(StreamMetricsRequest) -> v1::StreamMetricsResponse,
}

macro_rules! datasets {
    ($($method:ident($request:ident) -> $answer:ty,)+) => {
        #[tonic::async_trait]
        impl DatasetService for Fake {
            type ValidateDatasetStream = BoxStream<'static, Result<v1::ValidateDatasetResponse, Status>>;

            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<$answer>, Status> {
                self.unary(stringify!($method), request).await
            })+

            async fn validate_dataset(
                &self,
                request: Request<v1::ValidateDatasetRequest>,
            ) -> Result<Response<Self::ValidateDatasetStream>, Status> {
                self.streaming("validate_dataset", request)
            }

            /// Takes what is sent, as `(offset, length)` of each chunk, and then answers.
            async fn upload_dataset(
                &self,
                request: Request<Streaming<v1::UploadDatasetRequest>>,
            ) -> Result<Response<v1::Upload>, Status> {
                let mut messages = request.into_inner();
                let mut chunks = Vec::new();
                while let Some(message) = messages.message().await? {
                    if let Some(v1::upload_dataset_request::Kind::Chunk(chunk)) = message.kind {
                        chunks.push((chunk.offset, chunk.data.len()));
                    }
                }
                self.unary("upload_dataset", Request::new(chunks)).await
            }
        }
    };
}

datasets! {
    import_dataset(ImportDatasetRequest) -> v1::Dataset,
    get_upload(GetUploadRequest) -> v1::Upload,
    list_datasets(ListDatasetsRequest) -> v1::ListDatasetsResponse,
    get_dataset(GetDatasetRequest) -> v1::Dataset,
    preview_dataset(PreviewDatasetRequest) -> v1::PreviewDatasetResponse,
    get_dataset_report(GetDatasetReportRequest) -> v1::KeptDatasetReport,
    list_dataset_reports(ListDatasetReportsRequest) -> v1::ListDatasetReportsResponse,
    render_sample(RenderSampleRequest) -> v1::RenderedRow,
    split_dataset(SplitDatasetRequest) -> v1::SplitDatasetResponse,
    delete_dataset(DeleteDatasetRequest) -> (),
}

service! {
    CheckpointService:
    list_checkpoints(ListCheckpointsRequest) -> v1::ListCheckpointsResponse,
    get_checkpoint(GetCheckpointRequest) -> v1::Checkpoint,
    create_checkpoint(CreateCheckpointRequest) -> v1::Checkpoint,
    pin_checkpoint(PinCheckpointRequest) -> v1::Checkpoint,
    unpin_checkpoint(UnpinCheckpointRequest) -> v1::Checkpoint,
    delete_checkpoint(DeleteCheckpointRequest) -> (),
    verify_checkpoint(VerifyCheckpointRequest) -> v1::Checkpoint,
    export_checkpoint(ExportCheckpointRequest) -> v1::ExportCheckpointResponse,
    ;
}

service! {
    ModelService:
    import_model(ImportModelRequest) -> v1::Model,
    list_models(ListModelsRequest) -> v1::ListModelsResponse,
    inspect_model(InspectModelRequest) -> v1::InspectModelResponse,
    delete_model(DeleteModelRequest) -> (),
    ;
}

service! {
    ConfigService:
    create_config(CreateConfigRequest) -> v1::Config,
    get_config(GetConfigRequest) -> v1::Config,
    list_configs(ListConfigsRequest) -> v1::ListConfigsResponse,
    update_config(UpdateConfigRequest) -> v1::Config,
    delete_config(DeleteConfigRequest) -> (),
    clone_config(CloneConfigRequest) -> v1::Config,
    validate_config(ValidateConfigRequest) -> v1::ValidateConfigResponse,
    list_presets(ListPresetsRequest) -> v1::ListPresetsResponse,
    get_spec_schema(GetSpecSchemaRequest) -> v1::GetSpecSchemaResponse,
    ;
}

service! {
    SystemService:
    get_system_info(GetSystemInfoRequest) -> v1::SystemInfo,
    get_gpus(GetGpusRequest) -> v1::Gpus,
    plan_memory(PlanMemoryRequest) -> v1::MemoryPlan,
    list_gpu_samples(ListGpuSamplesRequest) -> v1::ListGpuSamplesResponse,
    get_storage(GetStorageRequest) -> v1::Storage,
    backup(BackupRequest) -> v1::BackupResponse,
    ;
    stream WatchGpusStream = watch_gpus(WatchGpusRequest) -> v1::Gpus,
}

service! {
    PredictionService:
    list_predictions(ListPredictionsRequest) -> v1::ListPredictionsResponse,
    ;
}

#[tonic::async_trait]
impl InferenceService for Fake {
    type GenerateStream = BoxStream<'static, Result<v1::GenerateResponse, Status>>;
    type ChatStream = BoxStream<'static, Result<v1::ChatResponse, Status>>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        self.streaming("generate", request)
    }

    async fn chat(&self, request: Request<v1::ChatRequest>) -> Result<Response<Self::ChatStream>, Status> {
        self.streaming("chat", request)
    }
}

/// A server that runs until it is killed or dropped.
pub struct Running {
    runtime: Option<Runtime>,
    socket: Option<PathBuf>,
    pub endpoint: Endpoint,
}

impl Running {
    /// On a Unix socket, which must not be there yet.
    pub fn on_socket(socket: &Path, fake: &Fake) -> Self {
        let runtime = Runtime::new().expect("threads");
        let context = runtime.enter();
        let listener = UnixListener::bind(socket).expect("a free path");
        drop(context);
        runtime.spawn(router(fake).serve_with_incoming(UnixListenerStream::new(listener)));
        let endpoint = Endpoint::Unix(socket.to_owned());
        Self { runtime: Some(runtime), socket: Some(socket.to_owned()), endpoint }
    }

    /// On a free loopback port.
    pub fn on_port(fake: &Fake, token: Option<&str>) -> Self {
        let runtime = Runtime::new().expect("threads");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a setting of every socket");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let context = runtime.enter();
        let listener = TcpListener::from_std(listener).expect("it does not block");
        drop(context);
        runtime.spawn(router(fake).serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Endpoint::Http { url, token: token.map(str::to_owned) };
        Self { runtime: Some(runtime), socket: None, endpoint }
    }
}

/// As `kill -9`: connections break in the middle of whatever they carry.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            std::fs::remove_file(socket).expect("it was bound");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn router(fake: &Fake) -> Router {
    Server::builder()
        .add_service(JobServiceServer::new(fake.clone()))
        .add_service(CheckpointServiceServer::new(fake.clone()))
        .add_service(DatasetServiceServer::new(fake.clone()))
        .add_service(ModelServiceServer::new(fake.clone()))
        .add_service(ConfigServiceServer::new(fake.clone()))
        .add_service(InferenceServiceServer::new(fake.clone()))
        .add_service(PredictionServiceServer::new(fake.clone()))
        .add_service(SystemServiceServer::new(fake.clone()))
}

/// Short pauses, and more patience than any test needs.
pub fn limits() -> Limits {
    Limits {
        answer: Duration::from_secs(60),
        long_answer: Duration::from_secs(60),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(10),
        reconnect: Duration::from_secs(60),
        silence: Duration::from_secs(60),
    }
}

/// A server on a socket in a folder of its own, and a client that talks to it.
pub struct Pair {
    pub fake: Fake,
    pub client: Client,
    pub server: Option<Running>,
    pub folder: tempfile::TempDir,
}

impl Pair {
    pub async fn new() -> Self {
        Self::within(limits()).await
    }

    pub async fn within(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = Fake::default();
        let server = Running::on_socket(&folder.path().join("socket"), &fake);
        let client = Client::connect_within(&server.endpoint, limits).await.expect("the server answers");
        Self { fake, client, server: Some(server), folder }
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Another server on the same socket, that answers from the same script.
    pub fn start_again(&mut self) {
        self.server = Some(Running::on_socket(&self.folder.path().join("socket"), &self.fake));
    }
}
