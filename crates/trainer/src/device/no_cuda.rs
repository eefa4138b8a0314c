//! NVIDIA GPUs where this program was built without them.

use ftl_core::Problem;
use ftl_core::spec::resolved::ModelDtype;

use super::driver::NvidiaDriver;
use super::{Nvrtc, OpenDevice, unusable};

/// Refuses.
pub(super) fn open(_index: usize, _dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    Err(unusable(
        "this program was built without CUDA",
        "build it with `--features cuda`, or use `--device cpu`",
    ))
}

/// Asks nobody.
pub(super) fn driver() -> Result<NvidiaDriver, String> {
    Err("this program was built without CUDA".to_owned())
}

/// Asks nobody.
pub(super) fn process_bytes() -> Option<u64> {
    None
}

/// Asks nobody.
pub(super) fn nvrtc() -> Option<Nvrtc> {
    None
}
