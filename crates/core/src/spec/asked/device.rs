//! `[device]`: where to compute, and how much memory it may take.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ProblemKind};
use crate::spec::resolved::DeviceKind;

/// Where to compute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceSpec {
    /// Memory that the run may take, in bytes or as in `8GiB`; one that would take more is refused before its first step,
    /// and one that takes more later is saved and ended. On a GPU it is what tensors have reserved and 512 MiB for CUDA
    /// and its kernels, on the CPU what the process grew by. Default: what is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<MaxMemory>,
    /// `auto`, `cpu`, `cuda`, `cuda:1`, `vulkan` or `vulkan:1`. `cuda` is the first CUDA device, in the service any that is
    /// free; `auto` is `cuda` where one can be used, else the CPU, and says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "auto"))]
    pub kind: Option<String>,
}

/// An amount of memory, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MaxMemory {
    /// Bytes.
    Bytes(u64),
    /// A number and a unit: `8GiB`, `500 MB`.
    Text(String),
}

/// Units by their lower-case names, in bytes.
const UNITS: [(&str, u64); 8] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl MaxMemory {
    /// The amount in bytes.
    ///
    /// # Errors
    /// A [`Problem`] without a field if the text is no number with a unit, or it is zero or above 2^63 bytes.
    pub fn bytes(&self) -> Result<u64, Problem> {
        let bytes = match self {
            Self::Bytes(bytes) => Some(*bytes),
            Self::Text(text) => bytes_from_text(text),
        };
        // TOML, in which the resolved spec can be written, has no larger integers.
        bytes.filter(|bytes| (1..=i64::MAX as u64).contains(bytes)).ok_or_else(|| {
            Problem::new(ProblemKind::InvalidValue, format!("`{self}` is not an amount of memory"))
                .hint("give bytes, or a number with one of the units B, kB, MB, GB, KiB, MiB, GiB, TiB, as in `8GiB`")
        })
    }
}

fn bytes_from_text(text: &str) -> Option<u64> {
    let text = text.trim();
    let end_of_number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end_of_number);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(*factor);
    }
    let bytes = number.parse::<f64>().ok()? * *factor as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

impl fmt::Display for MaxMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::AnyCuda => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
        }
    }
}

impl FromStr for DeviceKind {
    type Err = Problem;

    /// # Errors
    /// A [`Problem`] without a field: [`ProblemKind::InvalidValue`].
    fn from_str(text: &str) -> Result<Self, Problem> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, index.parse::<u16>().ok().map(usize::from)),
            None => (text, Some(0)),
        };
        match (name, index) {
            ("auto", _) if text == name => Ok(Self::Auto),
            ("cpu", _) if text == name => Ok(Self::Cpu),
            ("cuda", _) if text == name => Ok(Self::AnyCuda),
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            ("vulkan", Some(index)) => Ok(Self::Vulkan(index)),
            (_, _) => Err(Problem::new(ProblemKind::InvalidValue, format!("`{text}` is not a device"))
                .hint("use `auto`, `cpu`, `cuda`, `vulkan` or, for the second GPU, `cuda:1`")),
        }
    }
}
