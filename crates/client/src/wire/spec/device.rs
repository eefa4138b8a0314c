//! `[device]`: where to compute.

use ftl_core::spec::{DeviceSpec, MaxMemory};

use crate::wire::v1;
use v1::device_spec::MaxMemory as Amount;

impl From<DeviceSpec> for v1::DeviceSpec {
    fn from(spec: DeviceSpec) -> Self {
        let DeviceSpec { max_memory, kind } = spec;
        let max_memory = max_memory.map(|amount| match amount {
            MaxMemory::Bytes(bytes) => Amount::MaxMemoryBytes(bytes),
            MaxMemory::Text(text) => Amount::MaxMemoryText(text),
        });
        Self { max_memory, kind }
    }
}

impl From<v1::DeviceSpec> for DeviceSpec {
    fn from(spec: v1::DeviceSpec) -> Self {
        let v1::DeviceSpec { max_memory, kind } = spec;
        let max_memory = max_memory.map(|amount| match amount {
            Amount::MaxMemoryBytes(bytes) => MaxMemory::Bytes(bytes),
            Amount::MaxMemoryText(text) => MaxMemory::Text(text),
        });
        Self { max_memory, kind }
    }
}
