//! What a run may take: the spec's limit, or what is free before it begins.

use ftl_core::spec::resolved;

use crate::device::{DeviceName, driver};
use crate::memory;

/// What is free is not planned to the last byte: others take and give back while the run goes on.
const SHARE_OF_FREE: f64 = 0.95;

/// What a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `device.max_memory`.
    Asked(u64),
    /// What is free.
    Free(u64),
    /// Nobody knows.
    Unknown,
}

impl Budget {
    /// Of a run on `device` that has taken nothing yet.
    pub fn of(asked: &resolved::Device, device: DeviceName) -> Self {
        match (asked.max_memory_bytes, free_bytes(device)) {
            (Some(bytes), Some(free)) if bytes > free => Self::Free(free),
            (Some(bytes), _) => Self::Asked(bytes),
            (None, Some(free)) => Self::Free(free),
            (None, None) => Self::Unknown,
        }
    }

    /// The bytes of it, where they are known.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Asked(bytes) => Some(bytes),
            Self::Free(bytes) => Some((bytes as f64 * SHARE_OF_FREE) as u64),
            Self::Unknown => None,
        }
    }

    /// Whether so much may be taken.
    pub fn allows(self, n_bytes: u64) -> bool {
        self.bytes().is_none_or(|bytes| n_bytes <= bytes)
    }
}

/// What nobody uses of the memory that `device` computes in: RAM, or the GPU's, as its driver says.
pub fn free_bytes(device: DeviceName) -> Option<u64> {
    match device {
        DeviceName::Cpu => memory::available_bytes(),
        DeviceName::Cuda(index) => driver::nvidia_driver().ok()?.gpus.get(index).map(|gpu| gpu.free_bytes),
        // Vulkan does not tell.
        DeviceName::Vulkan(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_limit_is_used_to_the_last_byte_and_what_is_free_is_not() {
        assert!(Budget::Asked(100).allows(100) && !Budget::Asked(100).allows(101));
        assert!(Budget::Free(100).allows(95) && !Budget::Free(100).allows(96));
        assert!(Budget::Unknown.allows(u64::MAX));
    }
}
