//! The RPCs of `proto/ftl/v1`, one file per service. Handlers convert, call and convert; what is decided is decided by
//! those that they call.
//!
//! | file | does |
//! |---|---|
//! | this one | what all handlers share, and the router of all services |
//! | `request` | what every request must fulfil: ids, names, pages |
//! | `follow`, `tail` | streams of a job's events |
//! | the others | one service each |

mod checkpoint;
mod config;
mod dataset;
mod follow;
mod inference;
mod job;
mod model;
mod prediction;
mod request;
mod system;
mod tail;

use std::future::Future;
use std::sync::Arc;

use ftl_client::wire::FILE_DESCRIPTOR_SET;
use ftl_client::wire::v1::checkpoint_service_server::CheckpointServiceServer;
use ftl_client::wire::v1::config_service_server::ConfigServiceServer;
use ftl_client::wire::v1::dataset_service_server::DatasetServiceServer;
use ftl_client::wire::v1::inference_service_server::InferenceServiceServer;
use ftl_client::wire::v1::job_service_server::JobServiceServer;
use ftl_client::wire::v1::model_service_server::ModelServiceServer;
use ftl_client::wire::v1::prediction_service_server::PredictionServiceServer;
use ftl_client::wire::v1::system_service_server::SystemServiceServer;
use ftl_core::{Problem, ProblemKind};
use ftl_store::Store;
use futures_util::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use follow::Following;

use crate::commits::Commits;
use crate::data_dir::{DataDir, now_unix_ms};
use crate::datasets::Datasets;
use crate::error::ServiceError;
use crate::hugging_face::Cache;
use crate::jobs::Jobs;
use crate::resolve::Resolver;
use crate::telemetry::gpus::GpuReader;
use crate::telemetry::metrics::{Metrics, Sources};
use crate::worker::Workers;

/// Largest message that is taken. A spec has some KiB, a long conversation some hundred.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
pub use follow::MAX_FOLLOWERS;

/// Streams that may be open at once, those of events aside: they hold files, prompts and answers.
pub const MAX_STREAMS: usize = 256;

/// The handlers of all services. Clones share everything.
#[derive(Clone)]
struct Api(Arc<Shared>);

/// The parts of the service that handlers call.
pub struct Parts {
    /// What is kept.
    pub store: Store,
    /// What opens models and data.
    pub workers: Workers,
    /// What is done with datasets.
    pub datasets: Datasets,
    /// What happens to jobs.
    pub jobs: Jobs,
    /// Who hears of new events.
    pub commits: Commits,
    /// Where files are.
    pub dir: DataDir,
    /// What names in requests stand for.
    pub resolver: Resolver,
    /// Models that other programs downloaded.
    pub cache: Cache,
    /// Raised when the service is to end: every stream ends with it.
    pub shutdown: CancellationToken,
}

struct Shared {
    parts: Parts,
    gpus: GpuReader,
    streams: Arc<Semaphore>,
    following: Following,
    started_unix_ms: u64,
}

/// A handler's stream.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Every service, with health and reflection, ready to be put behind a guard.
pub struct Services {
    /// The router of all services.
    pub routes: Routes,
    /// Whether the service says that it serves.
    pub health: HealthReporter,
    /// What it counts.
    pub metrics: Metrics,
}

impl Services {
    /// The services over these parts.
    pub fn new(parts: Parts) -> Self {
        let api = Api(Arc::new(Shared {
            gpus: GpuReader::new(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            following: Following::new(),
            started_unix_ms: now_unix_ms(),
            parts,
        }));
        let metrics = Metrics::default();
        metrics.look_at(Sources {
            store: api.store().clone(),
            dir: api.0.parts.dir.clone(),
            gpus: api.0.gpus.clone(),
            streams: vec![
                (Arc::clone(&api.0.streams), MAX_STREAMS),
                (Arc::clone(&api.0.following.open), MAX_FOLLOWERS),
            ],
            started_unix_ms: api.0.started_unix_ms,
        });
        let (health, health_server) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were generated together with the code that serves them");
        macro_rules! limited {
            ($server:ident) => {
                $server::new(api.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
            };
        }
        let routes = Routes::new(limited!(JobServiceServer))
            .add_service(limited!(CheckpointServiceServer))
            .add_service(limited!(DatasetServiceServer))
            .add_service(limited!(ModelServiceServer))
            .add_service(limited!(ConfigServiceServer))
            .add_service(limited!(InferenceServiceServer))
            .add_service(limited!(PredictionServiceServer))
            .add_service(limited!(SystemServiceServer))
            .add_service(health_server)
            .add_service(reflection);
        Self { routes: routes.prepare(), health, metrics }
    }
}

impl Api {
    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// A place among the open streams, held until it is dropped.
    fn slot(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        self.place(&self.0.streams, MAX_STREAMS)
    }

    /// A place among the streams of events, held until it is dropped.
    fn follower(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        self.place(&self.0.following.open, MAX_FOLLOWERS)
    }

    fn place(&self, places: &Arc<Semaphore>, n_places: usize) -> Result<OwnedSemaphorePermit, ServiceError> {
        if self.0.parts.shutdown.is_cancelled() {
            return Err(ServiceError::ShuttingDown);
        }
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            let message =
                format!("{n_places} streams of this kind are open, which is as many as the service gives");
            ServiceError::Exhausted(
                Problem::new(ProblemKind::InvalidValue, message)
                    .hint("end some, or ask again later; GetJob and ListJobs need no stream"),
            )
        })
    }

    /// Waits for an answer, but not past the end of the service.
    async fn until_shutdown<T>(
        &self,
        answer: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        tokio::select! {
            biased;
            () = self.0.parts.shutdown.cancelled() => Err(ServiceError::ShuttingDown),
            answer = answer => answer,
        }
    }

    /// Does what may wait for a disk or driver on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| ServiceError::Internal(Box::new(error)))
    }
}

/// Random bits for a new id.
fn random_bits() -> Result<u64, ServiceError> {
    getrandom::u64().map_err(|error| ServiceError::Internal(Box::new(error)))
}
