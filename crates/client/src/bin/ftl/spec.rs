//! The spec that a command is given: a file, or a config that was kept.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use ftl_core::{ConfigId, JobSpec, Problem, ProblemKind};

use crate::connection::Context;
use crate::find;
use crate::output::Failure;

/// Endings of spec files; what has one is no name of a config.
const ENDINGS: [&str; 4] = ["toml", "json", "yaml", "yml"];

/// Flags of commands that take a spec.
#[derive(Debug, clap::Args)]
pub struct SpecArgs {
    /// A spec file (TOML, JSON or YAML), or the id or name of a kept config.
    spec: PathBuf,
    /// Change a key of the spec: `--set train.learning_rate=1e-4`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl SpecArgs {
    /// A spec without changes.
    pub fn of(spec: PathBuf) -> Self {
        Self { spec, overrides: Vec::new() }
    }

    /// The spec with the changes, its relative paths made absolute: those of a file against its directory, those of
    /// changes to a kept config against the working directory. Ids and names of models stay, they mean something to
    /// the service.
    ///
    /// # Errors
    /// All that is wrong with the file or the changes; or there is neither a file nor a config.
    pub async fn read(&self, context: &Context) -> Result<JobSpec, Failure> {
        let Self { spec: path, overrides } = self;
        match self.as_config_name() {
            None => {
                let spec = JobSpec::read_as_written(path, overrides)?;
                let file = std::path::absolute(path)?;
                Ok(placed(spec, file.parent().unwrap_or(Path::new("/"))))
            }
            Some(name) => {
                let client = context.client().await?;
                let config = find::config_if_any(&client, name).await?.ok_or_else(|| {
                    let message = "there is no such spec file, and no kept config with this id or name";
                    Problem::new(ProblemKind::NotFound, message)
                        .at(name)
                        .hint("see `ftl config ls`; `ftl config presets` lists specs to start from")
                })?;
                Ok(placed(config.spec.changed(overrides)?, &std::env::current_dir()?))
            }
        }
    }

    /// The text, where it can't be a file.
    fn as_config_name(&self) -> Option<&str> {
        let path = &self.spec;
        let text = path.to_str()?;
        if text.parse::<ConfigId>().is_ok() {
            return Some(text);
        }
        let is_name = path.components().count() == 1
            && !path.exists()
            && !path.extension().and_then(OsStr::to_str).is_some_and(|ending| ENDINGS.contains(&ending));
        is_name.then_some(text)
    }
}

/// A spec that a job has, changed. Relative paths of changes are against the working directory.
///
/// # Errors
/// All that is wrong with the changes.
pub fn changed(spec: &JobSpec, overrides: &[String]) -> Result<JobSpec, Failure> {
    Ok(placed(spec.changed(overrides)?, &std::env::current_dir()?))
}

/// The spec with absolute paths. `model.path = "org/name"` is left to the service where no such directory exists.
fn placed(mut spec: JobSpec, base: &Path) -> JobSpec {
    let cached = spec.model.path.clone().filter(|path| is_cached_name(path) && !base.join(path).exists());
    spec.make_paths_absolute(base);
    if let Some(name) = cached {
        spec.model.path = Some(name);
    }
    spec
}

/// Whether a path reads like a name in the Hugging Face cache: two parts of letters, digits, `.`, `_` and `-`.
pub fn is_cached_name(path: &Path) -> bool {
    let is_part = |part: Component<'_>| match part {
        Component::Normal(part) => part.to_str().is_some_and(|text| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        }),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    };
    path.components().count() == 2 && path.components().all(is_part)
}
