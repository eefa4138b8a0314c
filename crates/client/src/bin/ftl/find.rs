//! What the user means by a job, dataset, model or config: an id, the beginning of one, or a name.

use ftl_client::Client;
use ftl_core::config::Config;
use ftl_core::dataset::Dataset;
use ftl_core::job::Job;
use ftl_core::model::{Model, ModelSource};
use ftl_core::{ConfigId, DatasetId, JobId, ModelId, PageRequest, Problem, ProblemKind};

use crate::output::Failure;
use crate::pages;

/// Stands for the newest job.
const LAST: &str = "last";
/// Ids that a refusal lists.
const MOST_LISTED: usize = 5;

/// The job that `text` means: an id, the beginning of one with or without `job-`, a name, or `last`.
///
/// # Errors
/// A [`Problem`] if it means none or several.
pub async fn job(client: &Client, text: &str) -> Result<JobId, Failure> {
    if text == LAST {
        let newest = client.jobs(&PageRequest { page_size: 1, page_token: None }, &[]).await?;
        return newest.items.into_iter().next().map(|job| job.id).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, "there is no job yet")
                .hint("make one with `ftl train SPEC`")
                .into()
        });
    }
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let jobs = pages::all(async |page| client.jobs(&page, &[]).await).await?;
    let named = |job: &Job| Named { id: job.id.to_string(), name: job.name.clone() };
    Ok(chosen(text, Kind::JOB, &jobs, named)?.id.clone())
}

/// The job that `text` means, where it means one.
///
/// # Errors
/// A [`Problem`] if it means several.
pub async fn job_if_any(client: &Client, text: &str) -> Result<Option<JobId>, Failure> {
    if text == LAST {
        return job(client, text).await.map(Some);
    }
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let jobs = pages::all(async |page| client.jobs(&page, &[]).await).await?;
    let named = |job: &Job| Named { id: job.id.to_string(), name: job.name.clone() };
    Ok(choose(text, Kind::JOB, &jobs, named)?.map(|job| job.id.clone()))
}

/// The dataset that `text` means.
///
/// # Errors
/// A [`Problem`] if it means none or several.
pub async fn dataset(client: &Client, text: &str) -> Result<DatasetId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let datasets = pages::all(async |page| client.datasets(&page).await).await?;
    let named = |dataset: &Dataset| Named { id: dataset.id.to_string(), name: dataset.name.clone() };
    Ok(chosen(text, Kind::DATASET, &datasets, named)?.id.clone())
}

/// The dataset that `text` means, where it means one.
///
/// # Errors
/// A [`Problem`] if it means several.
pub async fn dataset_if_any(client: &Client, text: &str) -> Result<Option<DatasetId>, Failure> {
    let datasets = pages::all(async |page| client.datasets(&page).await).await?;
    let named = |dataset: &Dataset| Named { id: dataset.id.to_string(), name: dataset.name.clone() };
    Ok(choose(text, Kind::DATASET, &datasets, named)?.map(|dataset| dataset.id.clone()))
}

/// The imported model that `text` means, where it means one.
///
/// # Errors
/// A [`Problem`] if it means several.
pub async fn imported_model(client: &Client, text: &str) -> Result<Option<ModelId>, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    let models = pages::all(async |page| client.models(&page).await).await?;
    let imported: Vec<(ModelId, String)> = models
        .into_iter()
        .filter_map(|Model { name, path: _, source }| match source {
            ModelSource::Imported { id, .. } => Some((id, name)),
            ModelSource::HuggingFaceCache { .. } => None,
        })
        .collect();
    let named = |(id, name): &(ModelId, String)| Named { id: id.to_string(), name: name.clone() };
    Ok(choose(text, Kind::MODEL, &imported, named)?.map(|(id, _)| id.clone()))
}

/// The imported model that `text` means.
///
/// # Errors
/// A [`Problem`] if it means none or several.
pub async fn model(client: &Client, text: &str) -> Result<ModelId, Failure> {
    imported_model(client, text).await?.ok_or_else(|| none(text, Kind::MODEL).into())
}

/// The kept config that `text` means, where it means one.
///
/// # Errors
/// A [`Problem`] if it means several.
pub async fn config_if_any(client: &Client, text: &str) -> Result<Option<Config>, Failure> {
    if let Ok(id) = text.parse::<ConfigId>() {
        return Ok(Some(client.config(&id).await?));
    }
    let configs = pages::all(async |page| client.configs(&page).await).await?;
    let named = |config: &Config| Named { id: config.id.to_string(), name: config.name.clone() };
    Ok(choose(text, Kind::CONFIG, &configs, named)?.cloned())
}

/// The kept config that `text` means.
///
/// # Errors
/// A [`Problem`] if it means none or several.
pub async fn config(client: &Client, text: &str) -> Result<Config, Failure> {
    config_if_any(client, text).await?.ok_or_else(|| none(text, Kind::CONFIG).into())
}

/// What is looked for.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    prefix: &'static str,
    list: &'static str,
}

impl Kind {
    const JOB: Self = Self { name: "job", prefix: JobId::PREFIX, list: "ftl jobs ls" };
    const DATASET: Self = Self { name: "dataset", prefix: DatasetId::PREFIX, list: "ftl data ls" };
    const MODEL: Self = Self { name: "imported model", prefix: ModelId::PREFIX, list: "ftl models ls" };
    const CONFIG: Self = Self { name: "config", prefix: ConfigId::PREFIX, list: "ftl config ls" };
}

struct Named {
    id: String,
    name: String,
}

fn chosen<'a, T>(
    text: &str,
    kind: Kind,
    items: &'a [T],
    named: impl Fn(&T) -> Named,
) -> Result<&'a T, Problem> {
    choose(text, kind, items, named)?.ok_or_else(|| none(text, kind))
}

/// The one item whose name is `text`, or whose id begins with it.
fn choose<'a, T>(
    text: &str,
    kind: Kind,
    items: &'a [T],
    named: impl Fn(&T) -> Named,
) -> Result<Option<&'a T>, Problem> {
    let is_meant = |item: &&T| {
        let Named { id, name } = named(item);
        let digits = id.strip_prefix(kind.prefix).unwrap_or(&id);
        !text.is_empty() && (name == text || id.starts_with(text) || digits.starts_with(text))
    };
    let meant: Vec<&T> = items.iter().filter(is_meant).collect();
    if let [] | [_] = meant.as_slice() {
        return Ok(meant.first().copied());
    }
    let mut ids: Vec<String> = meant.iter().take(MOST_LISTED).map(|item| named(item).id).collect();
    if meant.len() > MOST_LISTED {
        ids.push("…".to_owned());
    }
    let message = format!("`{text}` stands for {} {}s: {}", meant.len(), kind.name, ids.join(", "));
    Err(Problem::new(ProblemKind::InvalidValue, message).hint("give the id, or more of its beginning"))
}

fn none(text: &str, kind: Kind) -> Problem {
    let message = format!("there is no {} whose id begins with `{text}` or whose name it is", kind.name);
    Problem::new(ProblemKind::NotFound, message).hint(format!("see `{}`", kind.list))
}
