//! Where something heavy computes.

use std::fmt;

use ftl_core::spec::resolved::DeviceKind;

/// Where a training, or a model that answers on a GPU, computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The CPU. Trainings take turns there; what answers on the CPU takes no place.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// A device of Vulkan by index.
    Vulkan(usize),
}

impl Place {
    /// Whether nobody may be at one while somebody is at the other.
    ///
    /// Vulkan numbers devices in its own way, and two of its drivers may show one card twice: which card it is can't be
    /// told from here, so a device of Vulkan excludes every other GPU.
    pub fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Cpu, Self::Cpu) => true,
            (Self::Cpu, Self::Cuda(_) | Self::Vulkan(_)) | (Self::Cuda(_) | Self::Vulkan(_), Self::Cpu) => {
                false
            }
            (Self::Cuda(one), Self::Cuda(other)) => one == other,
            (Self::Vulkan(_), Self::Cuda(_) | Self::Vulkan(_)) | (Self::Cuda(_), Self::Vulkan(_)) => true,
        }
    }

    /// As a worker is told.
    pub fn device(self) -> DeviceKind {
        match self {
            Self::Cpu => DeviceKind::Cpu,
            Self::Cuda(index) => DeviceKind::Cuda(index),
            Self::Vulkan(index) => DeviceKind::Vulkan(index),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("the CPU"),
            Self::Cuda(_) | Self::Vulkan(_) => self.device().fmt(f),
        }
    }
}
