//! NVIDIA GPUs, asked through the same libraries that CubeCL uses, but without its panics where one is missing.

mod library;
mod management;

use burn::tensor::Device;
use ftl_core::Problem;
use ftl_core::spec::resolved::ModelDtype;

pub(super) use library::nvrtc;
pub(super) use management::{driver, process_bytes};

use super::judge::{self, Versions};
use super::{DeviceName, OpenDevice, first_kernel, precision, settings, toolkit, unusable};

/// Opens a card by its index.
///
/// # Errors
/// What is missing, or why the card can't be used.
pub(super) fn open(index: usize, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    let driver = library::start_driver()?;
    let n_cards = library::n_cards()?;
    if index >= n_cards {
        return Err(absent(index, n_cards));
    }
    let card = library::card(index)?;
    judge::of_card(&card)?;
    let nvrtc = nvrtc().ok_or_else(|| {
        unusable("NVRTC (libnvrtc.so), which compiles kernels, can't be found", toolkit::NVRTC_HINT)
    })?;
    let headers = toolkit::headers().map_err(|missing| unusable(missing, toolkit::HEADERS_HINT))?;
    let versions = Versions { driver, nvrtc: &nvrtc, headers: headers.version };
    judge::of_compiler(versions, (&card.name, card.capability))?;
    let precision = precision::of_card((&card.name, card.capability), dtype)?;
    // Last, since it takes memory on the card.
    judge::of_card(&library::entered(card)?)?;
    settings::apply();
    let (device, name) = (Device::cuda(index), DeviceName::Cuda(index));
    first_kernel::run(&device, name)?;
    Ok(OpenDevice { device, name, precision, reason: None })
}

fn absent(index: usize, n_cards: usize) -> Problem {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let limited = visible.map(|list| format!("CUDA_VISIBLE_DEVICES shows `{list}` only; change it, or "));
    let limited = limited.unwrap_or_default();
    match n_cards {
        0 => unusable(
            "no CUDA device was found on this machine",
            format!("{limited}check the driver with `nvidia-smi`, or use `--device cpu`"),
        ),
        n => unusable(
            format!("there is no CUDA device {index}, the machine has {n}"),
            format!("{limited}choose an index up to {}", n - 1),
        ),
    }
}
