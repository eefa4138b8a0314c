//! What makes an NVIDIA card unusable, as functions of plain facts, so that each message has a test without a card.

use std::fmt;

use ftl_core::Problem;
use serde::{Serialize, Serializer};

use super::unusable;

/// Which instructions a card has: NVIDIA's compute capability, `9.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(pub u32, pub u32);

/// A version of CUDA, `12.4`.
pub type CudaVersion = Capability;

/// Kernels use matrix instructions that begin here.
pub const LEAST_CAPABILITY: Capability = Capability(7, 5);

/// CubeCL asks the driver for functions that begin here.
#[cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "called where there are NVIDIA cards")
)]
const LEAST_DRIVER: CudaVersion = Capability(12, 0);

/// With less free, not even the kernels of a toy and its tensors have room.
const LEAST_FREE_BYTES: u64 = 512 << 20;

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Serialize for Capability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whom a card lets compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeMode {
    /// Everybody.
    Shared,
    /// One process at a time.
    Exclusive,
    /// Nobody.
    Prohibited,
}

/// What is known of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its index among those that the process sees.
    pub index: usize,
    /// What NVIDIA calls it.
    pub name: String,
    /// Which instructions it has.
    pub capability: Capability,
    /// Whom it lets compute.
    pub mode: ComputeMode,
    /// Its memory, and how much of it is free; `None`: not known yet.
    pub memory: Option<(u64, u64)>,
}

/// What is known of the compiler of kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvrtc {
    /// Its version.
    pub version: CudaVersion,
    /// Compute capabilities that it compiles for; empty: it does not tell.
    pub capabilities: Vec<Capability>,
}

/// Versions that must fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions<'a> {
    /// The newest CUDA that the driver knows.
    pub driver: CudaVersion,
    /// The compiler.
    pub nvrtc: &'a Nvrtc,
    /// The headers, where their version was found.
    pub headers: Option<CudaVersion>,
}

/// Judges the driver's version.
///
/// # Errors
/// It is too old.
#[cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "called where there are NVIDIA cards")
)]
pub(super) fn of_driver(version: CudaVersion) -> Result<(), Problem> {
    if version >= LEAST_DRIVER {
        return Ok(());
    }
    let message = format!("the NVIDIA driver supports CUDA {version}, and {LEAST_DRIVER} is the least");
    Err(unusable(message, "install driver 525 or newer, or use `--device cpu`"))
}

/// Judges a card.
///
/// # Errors
/// It is too old, closed, or full.
pub fn of_card(card: &Card) -> Result<(), Problem> {
    let Card { index, name, capability, mode, memory } = card;
    if *capability < LEAST_CAPABILITY {
        let message =
            format!("`{name}` has compute capability {capability}, and {LEAST_CAPABILITY} is the least");
        return Err(unusable(message, "choose another GPU, or use `--device cpu`"));
    }
    match mode {
        ComputeMode::Prohibited => {
            let message = format!("`{name}` is closed to computation: its compute mode is `Prohibited`");
            return Err(unusable(message, format!("open it with `nvidia-smi -i {index} -c DEFAULT`")));
        }
        ComputeMode::Shared | ComputeMode::Exclusive => {}
    }
    if let Some((total, free)) = *memory
        && free < LEAST_FREE_BYTES
    {
        let message = format!(
            "`{name}` has only {} MiB of {} MiB free, and {} MiB is the least",
            free >> 20,
            total >> 20,
            LEAST_FREE_BYTES >> 20
        );
        return Err(unusable(message, "end what uses it; `nvidia-smi` lists the processes"));
    }
    Ok(())
}

/// Judges whether the compiler fits the driver and the card, and the headers the compiler.
///
/// # Errors
/// It does not.
pub fn of_compiler(versions: Versions<'_>, (name, capability): (&str, Capability)) -> Result<(), Problem> {
    let Versions { driver, nvrtc: Nvrtc { version, capabilities }, headers } = versions;
    // A driver loads no PTX that is newer than itself, not even of the same major version.
    if *version > driver {
        let message = format!("NVRTC {version} is newer than the driver, which supports CUDA {driver}");
        return Err(unusable(message, format!("install NVRTC {driver} or older, or a newer driver")));
    }
    if !capabilities.is_empty() && !capabilities.contains(&capability) {
        let message =
            format!("NVRTC {version} does not compile for the compute capability {capability} of `{name}`");
        let hint = if capabilities.iter().all(|known| *known < capability) { "a newer" } else { "an older" };
        return Err(unusable(message, format!("install {hint} NVRTC")));
    }
    if let Some(headers) = headers.filter(|headers| headers.0 != version.0) {
        let message = format!("the CUDA headers are of version {headers} and NVRTC of {version}");
        return Err(unusable(message, "set CUDA_PATH to a toolkit of NVRTC's version"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            index: 1,
            name: "Card".to_owned(),
            capability: Capability(8, 6),
            mode: ComputeMode::Shared,
            memory: Some((8 << 30, 7 << 30)),
        }
    }

    #[test]
    fn cards_that_are_old_closed_or_full_are_refused() {
        assert_eq!(of_card(&card()), Ok(()));
        assert_eq!(of_card(&Card { mode: ComputeMode::Exclusive, memory: None, ..card() }), Ok(()));
        for (card, message) in [
            (
                Card { capability: Capability(7, 0), ..card() },
                "`Card` has compute capability 7.0, and 7.5 is the least; choose another GPU, or use `--device cpu`",
            ),
            (
                Card { mode: ComputeMode::Prohibited, ..card() },
                "`Card` is closed to computation: its compute mode is `Prohibited`; open it with `nvidia-smi -i 1 -c \
                 DEFAULT`",
            ),
            (
                Card { memory: Some((8 << 30, 200 << 20)), ..card() },
                "`Card` has only 200 MiB of 8192 MiB free, and 512 MiB is the least; end what uses it; `nvidia-smi` lists \
                 the processes",
            ),
        ] {
            assert_eq!(of_card(&card).expect_err(message).to_string(), format!("device.kind: {message}"));
        }
    }

    #[test]
    fn a_compiler_must_fit_driver_card_and_headers() {
        let nvrtc =
            |version, capabilities: &[Capability]| Nvrtc { version, capabilities: capabilities.to_vec() };
        let known = [Capability(7, 5), Capability(8, 6), Capability(9, 0)];
        let judge = |driver, nvrtc: Nvrtc, headers, capability| {
            of_compiler(Versions { driver, nvrtc: &nvrtc, headers }, ("Card", capability))
                .map_err(|problem| problem.to_string())
        };
        let (v12_4, v12_8, v13_0) = (Capability(12, 4), Capability(12, 8), Capability(13, 0));
        assert_eq!(judge(v13_0, nvrtc(v12_4, &known), Some(v12_8), Capability(8, 6)), Ok(()));
        assert_eq!(judge(v13_0, nvrtc(v13_0, &[]), None, Capability(12, 0)), Ok(()));
        for (got, want) in [
            (
                judge(v12_4, nvrtc(v12_8, &known), None, Capability(8, 6)),
                "NVRTC 12.8 is newer than the driver, which supports CUDA 12.4; install NVRTC 12.4 or older, or a newer \
                 driver",
            ),
            (
                judge(v13_0, nvrtc(v12_4, &known), None, Capability(12, 0)),
                "NVRTC 12.4 does not compile for the compute capability 12.0 of `Card`; install a newer NVRTC",
            ),
            (
                judge(v13_0, nvrtc(v13_0, &known[1..]), None, Capability(7, 5)),
                "NVRTC 13.0 does not compile for the compute capability 7.5 of `Card`; install an older NVRTC",
            ),
            (
                judge(v13_0, nvrtc(v13_0, &known), Some(v12_4), Capability(9, 0)),
                "the CUDA headers are of version 12.4 and NVRTC of 13.0; set CUDA_PATH to a toolkit of NVRTC's version",
            ),
        ] {
            assert_eq!(got.expect_err(want), format!("device.kind: {want}"));
        }
    }

    #[test]
    fn an_old_driver_is_refused() {
        assert_eq!(of_driver(Capability(12, 0)), Ok(()));
        assert_eq!(
            of_driver(Capability(11, 4)).expect_err("old").to_string(),
            "device.kind: the NVIDIA driver supports CUDA 11.4, and 12.0 is the least; install driver 525 or newer, or use \
             `--device cpu`"
        );
    }
}
