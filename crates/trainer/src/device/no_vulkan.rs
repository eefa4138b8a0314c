//! Vulkan where this program was built without it.

use ftl_core::Problem;
use ftl_core::spec::resolved::ModelDtype;
use serde::Serialize;

use super::{OpenDevice, unusable};

/// A device of Vulkan.
#[derive(Clone, Debug, Serialize)]
pub struct VulkanDevice {
    /// What its maker calls it.
    pub name: String,
}

/// Refuses.
pub(super) fn open(_index: usize, _dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    Err(unusable(
        "this program was built without Vulkan",
        "build it with `--features vulkan`, or use `--device cpu`",
    ))
}

/// None.
pub fn devices() -> Vec<VulkanDevice> {
    Vec::new()
}
