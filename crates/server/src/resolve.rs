//! What the names in a request stand for: ids of imported models and datasets, and `org/name` of the Hugging Face
//! cache, become absolute paths. Looks names up and opens nothing.

use std::path::{Path, PathBuf};

use ftl_core::spec::{DataSpec, EvalSpec, JobSpec, ModelSpec, TrainFileSpec, names_built_in_template};
use ftl_core::{DatasetId, ModelId, Problem, ProblemKind};
use ftl_store::Store;

use crate::error::ServiceError;
use crate::hugging_face::Cache;

/// Finds out what names stand for.
#[derive(Clone)]
pub struct Resolver {
    store: Store,
    cache: Cache,
}

/// A name with the place that it stands for.
struct Found {
    /// What a person calls it.
    name: PathBuf,
    path: PathBuf,
}

impl Resolver {
    /// Looks in `store` and `cache`.
    pub fn new(store: Store, cache: Cache) -> Self {
        Self { store, cache }
    }

    /// A spec with absolute paths in place of all names.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with every name that stands for nothing and every relative path.
    pub async fn spec(&self, spec: JobSpec) -> Result<JobSpec, ServiceError> {
        let mut problems = Vec::new();
        // The same spec with what people call its model and data, from which its default name is made: the directory
        // of a cached model is called after a commit.
        let mut called = spec.clone();
        let mut spec = spec;
        let JobSpec {
            name: _,
            model,
            data,
            method: _,
            adapter,
            quantization: _,
            train: _,
            predictions: _,
            device: _,
        } = &mut spec;
        let ModelSpec { path, dtype: _, init: _ } = model;
        if let Some(path) = path {
            let text = path.to_string_lossy().into_owned();
            if let Some(found) = keep(self.model(&text, "model.path").await, &mut problems)? {
                called.model.path = Some(found.name);
                *path = found.path;
            }
        }
        self.data(data, &mut called.data, &mut problems).await?;
        let template = data.chat_template.as_ref().filter(|template| !names_built_in_template(template));
        for (path, field) in
            [(template, "data.chat_template"), (adapter.init_from.as_ref(), "adapter.init_from")]
        {
            if let Some(path) = path {
                keep(absolute(path, field).map_err(ServiceError::from), &mut problems)?;
            }
        }
        if !problems.is_empty() {
            return Err(ServiceError::Invalid(problems));
        }
        if spec.name.is_none() {
            // Where the spec is refused, its name does not matter.
            spec.name = called.check().ok().map(|checked| checked.name);
        }
        Ok(spec)
    }

    /// The directory of a model: an absolute path, the id of an imported model, or `org/name` of the cache.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] at `field`.
    pub async fn model_directory(&self, text: &str, field: &str) -> Result<PathBuf, ServiceError> {
        Ok(self.model(text, field).await?.path)
    }

    async fn model(&self, text: &str, field: &str) -> Result<Found, ServiceError> {
        let path = Path::new(text);
        if path.is_absolute() {
            return Ok(Found { name: path.to_owned(), path: path.to_owned() });
        }
        if let Ok(id) = text.parse::<ModelId>() {
            let model = self.store.model(&id).await?;
            let model = model.ok_or_else(|| unknown(field, format!("there is no model `{id}`"), "models"))?;
            return Ok(Found { name: PathBuf::from(model.name), path: model.path });
        }
        let cache = self.cache.clone();
        let asked = text.to_owned();
        let found = tokio::task::spawn_blocking(move || cache.find(&asked));
        match found.await.map_err(|error| ServiceError::Internal(Box::new(error)))? {
            Some(model) => Ok(Found { name: PathBuf::from(model.name), path: model.path }),
            None => Err(not_absolute(text, field)
                .hint(
                    "give an absolute path, the id of an imported model (`model-…`), or `org/name` of a model \
                     in the Hugging Face cache",
                )
                .into()),
        }
    }

    async fn data(
        &self,
        data: &mut DataSpec,
        called: &mut DataSpec,
        problems: &mut Vec<Problem>,
    ) -> Result<(), ServiceError> {
        for (index, (file, called)) in data.train.iter_mut().zip(&mut called.train).enumerate() {
            let TrainFileSpec { path, weight: _, max_samples: _ } = file;
            let field = format!("data.train[{index}].path");
            if let Some(found) = keep(self.dataset(path, &field).await, problems)? {
                called.path = found.name;
                *path = found.path;
            }
        }
        if let Some(EvalSpec { fraction: _, path: Some(path) }) = &mut data.eval
            && let Some(found) = keep(self.dataset(path, "data.eval.path").await, problems)?
        {
            *path = found.path;
        }
        Ok(())
    }

    async fn dataset(&self, path: &Path, field: &str) -> Result<Found, ServiceError> {
        if path.is_absolute() {
            return Ok(Found { name: path.to_owned(), path: path.to_owned() });
        }
        let text = path.to_string_lossy();
        if let Ok(id) = text.parse::<DatasetId>() {
            let dataset = self.store.dataset(&id).await?;
            let dataset =
                dataset.ok_or_else(|| unknown(field, format!("there is no dataset `{id}`"), "datasets"))?;
            return Ok(Found { name: PathBuf::from(dataset.name), path: dataset.path });
        }
        Err(not_absolute(&text, field)
            .hint("give an absolute path, or the id of an imported dataset (`data-…`)")
            .into())
    }
}

/// Refuses a relative path: the service does not stand where its caller stands.
///
/// # Errors
/// [`Problem`] at `field`.
pub fn absolute(path: &Path, field: &str) -> Result<(), Problem> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(not_absolute(&path.to_string_lossy(), field)
        .hint("the service does not know your working directory: give the path from `/` on"))
}

fn not_absolute(text: &str, field: &str) -> Problem {
    let message = match text {
        "" => "the path is empty and must be absolute".to_owned(),
        text => format!("the path must be absolute, `{text}` is not"),
    };
    Problem::new(ProblemKind::InvalidValue, message).at(field)
}

fn unknown(field: &str, message: String, list: &str) -> ServiceError {
    Problem::new(ProblemKind::NotFound, message)
        .at(field)
        .hint(format!("list the {list} that the service knows, or give an absolute path"))
        .into()
}

/// Collects what the caller can mend, so that all of it is told at once; everything else ends the request.
fn keep<T>(found: Result<T, ServiceError>, problems: &mut Vec<Problem>) -> Result<Option<T>, ServiceError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ServiceError::Invalid(more)) => {
            problems.extend(more);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}
