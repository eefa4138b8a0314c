//! What the names in a request stand for: ids of imported models and datasets, and `org/name` of the Hugging Face
//! cache, become absolute paths. Looks names up and opens nothing.

use std::path::{Path, PathBuf};

use ftl_core::dataset::{Code, DataCheck, Dataset, Finding, ReportSummary, Severity};
use ftl_core::spec::resolved::DataFormat;
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
        self.data(data, &mut called.data, Unfit::Refused, &mut problems).await?;
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

    /// A check with absolute paths in place of all names. One that is about a dataset reads it as it was imported, unless
    /// it says otherwise.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with every name that stands for nothing and every relative path.
    pub async fn data_check(
        &self,
        check: DataCheck,
        dataset: Option<&Dataset>,
    ) -> Result<DataCheck, ServiceError> {
        let mut problems = Vec::new();
        let DataCheck { mut data, mut model } = check;
        if data.train.is_empty() {
            let problem = Problem::new(ProblemKind::MissingKey, "no data file is named").at("data.train");
            problems.push(problem.hint("name at least one file or dataset"));
        }
        let mut called = data.clone();
        self.data(&mut data, &mut called, Unfit::Taken, &mut problems).await?;
        if let Some(name) = &mut model
            && let Some(found) = keep(self.model(name, "model").await, &mut problems)?
        {
            *name = found.path.to_string_lossy().into_owned();
        }
        if let Some(path) = data.chat_template.as_ref().filter(|template| !names_built_in_template(template))
        {
            keep(absolute(path, "data.chat_template").map_err(ServiceError::from), &mut problems)?;
        }
        if !problems.is_empty() {
            return Err(ServiceError::Invalid(problems));
        }
        let imported = dataset.map(|dataset| dataset.facts.format);
        data.format = data.format.or(imported.filter(|format| *format != DataFormat::Auto));
        Ok(DataCheck { data, model })
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
        unfit: Unfit,
        problems: &mut Vec<Problem>,
    ) -> Result<(), ServiceError> {
        for (index, (file, called)) in data.train.iter_mut().zip(&mut called.train).enumerate() {
            let TrainFileSpec { path, weight: _, max_samples: _, columns: _, dataset: _ } = file;
            let field = format!("data.train[{index}].path");
            if let Some(found) = keep(self.dataset(path, &field, unfit).await, problems)? {
                called.path = found.name;
                *path = found.path;
            }
        }
        if let Some(EvalSpec { fraction: _, path: Some(path) }) = &mut data.eval
            && let Some(found) = keep(self.dataset(path, "data.eval.path", unfit).await, problems)?
        {
            *path = found.path;
        }
        Ok(())
    }

    async fn dataset(&self, path: &Path, field: &str, unfit: Unfit) -> Result<Found, ServiceError> {
        if path.is_absolute() {
            return Ok(Found { name: path.to_owned(), path: path.to_owned() });
        }
        let text = path.to_string_lossy();
        if let Ok(id) = text.parse::<DatasetId>() {
            let dataset = self.store.dataset(&id).await?;
            let dataset =
                dataset.ok_or_else(|| unknown(field, format!("there is no dataset `{id}`"), "datasets"))?;
            if let (Unfit::Refused, Some(report)) = (unfit, &dataset.report)
                && !report.is_fit
            {
                return Err(self.unfit(&dataset, report, field).await?);
            }
            return Ok(Found { name: PathBuf::from(dataset.name), path: dataset.path });
        }
        Err(not_absolute(&text, field)
            .hint("give an absolute path, or the id of an imported dataset (`data-…`)")
            .into())
    }

    /// Why no job may train on a dataset: how many errors it has, and the first of them.
    async fn unfit(
        &self,
        dataset: &Dataset,
        report: &ReportSummary,
        field: &str,
    ) -> Result<ServiceError, ServiceError> {
        let Dataset { id, name, .. } = dataset;
        let counts = report.rows;
        let what = match (counts.rejected, counts.accepted) {
            (0, 0) => "has no row to train on".to_owned(),
            (0, _) => format!("has {} errors", report.n_errors),
            (rejected, _) => format!("has {rejected} of {} rows that can't be trained on", counts.read),
        };
        let problem = Problem::new(ProblemKind::BadData, format!("the dataset `{name}` {what}")).at(field);
        let hint = format!(
            "`ftl data show {id}` names them; mend the file, then have it judged again with `ftl data check {id}`"
        );
        let mut problems = vec![problem.hint(hint)];
        // An old report may be gone; its counts are not.
        if let Some(kept) = self.store.report(id, Some(report.number)).await? {
            let errors = kept.report.findings.iter().filter(|found| found.severity == Severity::Error);
            problems.extend(errors.take(N_TOLD).map(told));
        }
        Ok(ServiceError::Invalid(problems))
    }
}

/// A finding of a report as one reason of a refusal.
pub fn told(finding: &Finding) -> Problem {
    let Finding { code, severity: _, path, row, line, message, hint } = finding;
    let kind = if *code == Code::UnreadableFile { ProblemKind::NotFound } else { ProblemKind::BadData };
    let field = match line.or(*row) {
        Some(number) => format!("{path}:{number}"),
        None => path.clone(),
    };
    Problem { hint: hint.clone(), ..Problem::new(kind, message.clone()).at(field) }
}

/// What a dataset's report counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// One with errors is refused.
    Refused,
    /// It is taken all the same: somebody wants to know more of it.
    Taken,
}

/// How many errors of a dataset are told one by one.
const N_TOLD: usize = 3;

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
