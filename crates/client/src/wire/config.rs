//! Kept specs, presets, and the verdict on a spec.

use ftl_core::Problem;
use ftl_core::config::{Config, Preset};
use ftl_core::spec::JobSpec;

use super::error::{id, optional};
use super::time::{timestamp, unix_ms};
use super::{WireError, each, required, v1};

impl From<Config> for v1::Config {
    fn from(config: Config) -> Self {
        let Config { id, name, spec, created_unix_ms, updated_unix_ms } = config;
        Self {
            id: id.into(),
            name,
            spec: Some(spec.into()),
            create_time: Some(timestamp(created_unix_ms)),
            update_time: Some(timestamp(updated_unix_ms)),
        }
    }
}

impl TryFrom<v1::Config> for Config {
    type Error = WireError;

    fn try_from(config: v1::Config) -> Result<Self, WireError> {
        const NAME: &str = "Config";
        let v1::Config { id: text, name, spec, create_time, update_time } = config;
        Ok(Self {
            id: id(NAME, "id", text)?,
            name,
            spec: required(NAME, "spec", spec)?,
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
            updated_unix_ms: unix_ms(NAME, "update_time", update_time)?,
        })
    }
}

impl From<Preset> for v1::Preset {
    fn from(preset: Preset) -> Self {
        let Preset { name, description, spec } = preset;
        Self { name, description, spec: Some(spec.into()) }
    }
}

impl TryFrom<v1::Preset> for Preset {
    type Error = WireError;

    fn try_from(preset: v1::Preset) -> Result<Self, WireError> {
        let v1::Preset { name, description, spec } = preset;
        Ok(Self { name, description, spec: required("Preset", "spec", spec)? })
    }
}

/// What a spec was found to be: with every default written out, or what is wrong with it.
pub type Verdict = Result<JobSpec, Vec<Problem>>;

/// The answer that tells a verdict.
pub fn verdict_response(verdict: Verdict) -> v1::ValidateConfigResponse {
    let (resolved, problems) = match verdict {
        Ok(resolved) => (Some(resolved.into()), Vec::new()),
        Err(problems) => (None, problems.into_iter().map(v1::Problem::from).collect()),
    };
    v1::ValidateConfigResponse { resolved, problems }
}

/// The verdict that an answer tells.
///
/// # Errors
/// [`WireError`] if a field has no meaning, or the answer holds neither a spec nor a problem, or both.
pub fn verdict(response: v1::ValidateConfigResponse) -> Result<Verdict, WireError> {
    const NAME: &str = "ValidateConfigResponse";
    let v1::ValidateConfigResponse { resolved, problems } = response;
    let problems: Vec<Problem> = each(NAME, "problems", problems)?;
    match (optional(NAME, "resolved", resolved)?, problems.is_empty()) {
        (Some(resolved), true) => Ok(Ok(resolved)),
        (None, false) => Ok(Err(problems)),
        (Some(_), false) => Err(WireError::new(NAME, "resolved", "stands beside problems")),
        (None, true) => Err(WireError::missing(NAME, "resolved")),
    }
}
