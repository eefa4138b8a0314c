//! The datasets of the service: imported, uploaded, judged, divided and forgotten. Workers read the files; the store
//! keeps what they found.
//!
//! | file | does |
//! |---|---|
//! | this one | import, split, delete |
//! | `check` | judges data, and keeps the report where it is one of a dataset |
//! | `uploads` | files that clients send in pieces |
//! | `files` | the files that datasets own |

mod check;
mod files;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftl_core::dataset::{DataCheck, Dataset, FileOwner, ImportSource, RenderedRow, SplitBy};
use ftl_core::job::State;
use ftl_core::spec::DataSpec;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, Problem, ProblemKind};
use ftl_store::{NewReport, Store, StoreError};

use crate::data_dir::{DataDir, now_unix_ms};
use crate::error::ServiceError;
use crate::resolve::Resolver;
use crate::worker::{RenderTask, SplitTask, Workers};

use files::{FileName, Folder};

pub use uploads::{Chunk, ContentHash, MAX_CHUNK_BYTES, Receiving, Uploads};

/// States in which a job will read its data again.
const READING: [State; 5] =
    [State::Queued, State::Starting, State::Running, State::Stopping, State::Interrupted];

/// The datasets of the service. Clones share them.
#[derive(Clone)]
pub struct Datasets(Arc<Shared>);

struct Shared {
    store: Store,
    workers: Workers,
    dir: DataDir,
    resolver: Resolver,
    uploads: Uploads,
}

/// A dataset that is to be made of a file.
struct New {
    id: DatasetId,
    name: String,
    path: PathBuf,
    owner: FileOwner,
    format: DataFormat,
}

impl Datasets {
    /// Deletes what an earlier service left half done.
    ///
    /// # Errors
    /// A directory that can't be read, and what the store refuses.
    pub async fn start(
        store: Store,
        workers: Workers,
        dir: DataDir,
        resolver: Resolver,
    ) -> Result<Self, ServiceError> {
        let uploads = dir.uploads();
        let uploads = blocking(move || Uploads::open(uploads)).await??;
        let folders = dir.datasets();
        for id in blocking(move || files::marked(&folders)).await?? {
            let folders = dir.datasets();
            if store.dataset(&id).await?.is_some() {
                blocking(move || files::keep(&folders, &id)).await?;
            } else {
                tracing::warn!(dataset.id = %id, "the folder of a dataset that was not kept is deleted");
                blocking(move || files::delete(&folders, &id)).await??;
            }
        }
        Ok(Self(Arc::new(Shared { store, workers, dir, resolver, uploads })))
    }

    /// The files that clients send.
    pub fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// The dataset of this id.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn dataset(&self, id: &DatasetId) -> Result<Dataset, ServiceError> {
        let dataset = self.0.store.dataset(id).await?;
        dataset.ok_or_else(|| ServiceError::NotFound { what: "dataset", id: id.to_string() })
    }

    /// Judges a file and keeps it with the report, whatever that says.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for a file that can't be read at all.
    pub async fn import(
        &self,
        source: ImportSource,
        name: String,
        format: DataFormat,
    ) -> Result<Dataset, ServiceError> {
        let id = DatasetId::from_bits(random_bits()?);
        match source {
            ImportSource::Path(path) => {
                let new = New { id, name, path, owner: FileOwner::User, format };
                only(self.keep(vec![new]).await?)
            }
            ImportSource::Upload { sha256, file_name } => {
                let hash: ContentHash =
                    sha256.parse().map_err(|problem: Problem| problem.at("upload.sha256"))?;
                let file_name = FileName::new(&file_name)?;
                // Until the end: nobody else imports it, and what is imported is not sent again.
                let _lease = self.0.uploads.lease(&hash)?;
                let upload = self.0.uploads.complete(&hash)?;
                let (datasets, of, from) = (self.0.dir.datasets(), id.clone(), upload.clone());
                let (folder, path) = blocking(move || {
                    let folder = Folder::make(&datasets, &of)?;
                    let path = folder.link(&from, &file_name)?;
                    Ok::<_, ServiceError>((folder, path))
                })
                .await??;
                let new = New { id, name, path, owner: FileOwner::Service, format };
                let dataset = only(self.keep(vec![new]).await?)?;
                folder.keep();
                if let Err(error) = std::fs::remove_file(&upload) {
                    tracing::warn!(%error, "an upload that was imported stays");
                }
                Ok(dataset)
            }
        }
    }

    /// Judges each file by itself, then keeps all of them or none.
    async fn keep(&self, new: Vec<New>) -> Result<Vec<Dataset>, ServiceError> {
        let mut judged = Vec::new();
        for New { id, name, path, owner, format } in new {
            let check = by_itself(&path, format);
            let report = self.report(check.clone()).await?;
            let facts = check::facts(&report)?;
            let created_unix_ms = now_unix_ms();
            let dataset = Dataset { id, name, path, owner, facts, report: None, created_unix_ms };
            judged.push((dataset, NewReport { created_unix_ms, check, report }));
        }
        Ok(self.0.store.create_datasets(judged).await?)
    }

    /// Writes the rows of a dataset into two new ones: what is trained on, and what is held out.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], and [`ServiceError::Invalid`] where a side would be empty or the file can't be read.
    pub async fn split(
        &self,
        id: &DatasetId,
        by: SplitBy,
        (train_name, eval_name): (String, String),
    ) -> Result<(Dataset, Dataset), ServiceError> {
        check_split(by)?;
        let dataset = self.dataset(id).await?;
        let or_else = |name: String, ending: &str| match name.is_empty() {
            true => format!("{}-{ending}", dataset.name),
            false => name,
        };
        let (train_name, eval_name) = (or_else(train_name, "train"), or_else(eval_name, "eval"));
        let ids = [DatasetId::from_bits(random_bits()?), DatasetId::from_bits(random_bits()?)];
        let datasets = self.0.dir.datasets();
        let (train_id, eval_id) = (ids[0].clone(), ids[1].clone());
        let folders = blocking(move || {
            Ok::<_, ServiceError>((Folder::make(&datasets, &train_id)?, Folder::make(&datasets, &eval_id)?))
        });
        let (train_folder, eval_folder) = folders.await??;
        let train = train_folder.file(&FileName::new("train.jsonl")?);
        let eval = eval_folder.file(&FileName::new("eval.jsonl")?);
        let format = dataset.facts.format;
        let task = SplitTask { path: dataset.path, format, by, train: train.clone(), eval: eval.clone() };
        self.0.workers.split(task).await?;
        let [train_id, eval_id] = ids;
        let owner = FileOwner::Service;
        let made = self
            .keep(vec![
                New { id: train_id, name: train_name, path: train, owner, format },
                New { id: eval_id, name: eval_name, path: eval, owner, format },
            ])
            .await?;
        train_folder.keep();
        eval_folder.keep();
        let mut made = made.into_iter();
        match (made.next(), made.next()) {
            (Some(train), Some(eval)) => Ok((train, eval)),
            (_, _) => Err(ServiceError::Internal("two datasets were to be made".into())),
        }
    }

    /// A row as a model is trained on it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], and [`ServiceError::Invalid`] for a row or a model that can't be used.
    pub async fn render(
        &self,
        id: &DatasetId,
        row: u64,
        model: &str,
        chat_template: Option<PathBuf>,
    ) -> Result<RenderedRow, ServiceError> {
        let dataset = self.dataset(id).await?;
        let model = self.0.resolver.model_directory(model, "model").await?;
        let (path, format) = (dataset.path, dataset.facts.format);
        self.0.workers.render(RenderTask { path, format, row, model, chat_template }).await
    }

    /// Forgets a dataset. Its file goes where it is the service's own.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Precondition`] where a job will read a file that would go.
    pub async fn delete(&self, id: &DatasetId) -> Result<(), ServiceError> {
        let dataset = self.dataset(id).await?;
        if dataset.owner == FileOwner::Service {
            self.check_unread(&dataset).await?;
        }
        if dataset.owner == FileOwner::User {
            return found(self.0.store.delete_dataset(id).await?, id);
        }
        let (datasets, of) = (self.0.dir.datasets(), id.clone());
        blocking(move || files::mark(&datasets, &of)).await?;
        // The row first: a marked folder without one is deleted at the next start, a row without its file would stay.
        let deleted = self.0.store.delete_dataset(id).await;
        let (datasets, of) = (self.0.dir.datasets(), id.clone());
        match &deleted {
            Ok(_) => blocking(move || files::delete(&datasets, &of)).await??,
            // The next start finds out.
            Err(StoreError::OutcomeUnknown(_)) => {}
            Err(_) => blocking(move || files::keep(&datasets, &of)).await?,
        }
        found(deleted?, id)
    }

    async fn check_unread(&self, dataset: &Dataset) -> Result<(), ServiceError> {
        let jobs = self.0.store.jobs_in(&READING).await?;
        let reads = |data: &DataSpec| {
            let eval = data.eval.iter().filter_map(|eval| eval.path.as_deref());
            data.train.iter().map(|file| file.path.as_path()).chain(eval).any(|path| path == dataset.path)
        };
        let Some(job) = jobs.iter().find(|job| reads(&job.spec.data)) else { return Ok(()) };
        let message = format!("job `{}`, which is {}, reads the file of this dataset", job.id, job.state);
        let problem = Problem::new(ProblemKind::InvalidValue, message).at("id");
        Err(ServiceError::Precondition(problem.hint("wait for that job, or cancel it")))
    }
}

fn found(was_there: bool, id: &DatasetId) -> Result<(), ServiceError> {
    if was_there { Ok(()) } else { Err(ServiceError::NotFound { what: "dataset", id: id.to_string() }) }
}

/// The check of a file without a model or anything else to hold it against.
fn by_itself(path: &Path, format: DataFormat) -> DataCheck {
    let format = Some(format).filter(|format| *format != DataFormat::Auto);
    let data = DataSpec { train: vec![path.into()], format, ..DataSpec::default() };
    DataCheck { data, model: None }
}

fn check_split(by: SplitBy) -> Result<(), Problem> {
    let (field, message) = match by {
        SplitBy::Fraction { eval, seed: _ } if !(eval > 0.0 && eval < 1.0) => {
            ("fraction.eval", format!("{eval} is no share of rows; choose a number above 0 and below 1"))
        }
        SplitBy::LastRows { eval: 0 } => {
            ("place.eval_rows", "0 rows can't be held out; choose 1 or more".to_owned())
        }
        SplitBy::Fraction { .. } | SplitBy::LastRows { .. } => return Ok(()),
    };
    Err(Problem::new(ProblemKind::InvalidValue, message).at(field))
}

fn only(made: Vec<Dataset>) -> Result<Dataset, ServiceError> {
    made.into_iter().next().ok_or_else(|| ServiceError::Internal("a dataset was to be made".into()))
}

fn random_bits() -> Result<u64, ServiceError> {
    getrandom::u64().map_err(|error| ServiceError::Internal(Box::new(error)))
}

/// Does what may wait for a disk on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServiceError::Internal(Box::new(error)))
}
