//! What programs call: as much of the driver as CubeCL, burn and this project use. A program that calls more does not find it.

mod device;
mod management;
mod memory;
mod module;
mod stream;

/// The driver's results (`CUresult`).
pub mod result {
    pub const SUCCESS: i32 = 0;
    pub const INVALID_VALUE: i32 = 1;
    pub const OUT_OF_MEMORY: i32 = 2;
    pub const INVALID_DEVICE: i32 = 101;
    pub const INVALID_PTX: i32 = 218;
    pub const NOT_FOUND: i32 = 500;
    pub const NOT_SUPPORTED: i32 = 801;
}

/// A number that the environment gives.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The compute capability, as 90 for 9.0.
pub fn capability() -> u64 {
    setting("CUDA_ON_CPU_CAPABILITY", 90)
}

/// Bytes of shared memory that a block may have (CUDA C++ Programming Guide, "Technical Specifications per Compute
/// Capability").
pub fn max_shared_bytes() -> usize {
    let kib = match capability() {
        ..80 => 64,
        80 | 87 => 163,
        81..90 => 99,
        90..120 => 227,
        _ => 99,
    };
    kib << 10
}

/// Bytes of memory that the GPU has.
pub fn memory_bytes() -> usize {
    (setting("CUDA_ON_CPU_MEMORY_MIB", 8192) << 20) as usize
}

/// Whether launches and allocations are told.
pub fn is_logged() -> bool {
    std::env::var_os("CUDA_ON_CPU_LOG").is_some()
}

pub const NAME: &[u8] = b"CUDA on the CPU\0";

/// Puts a text that ends with a zero byte where a program wants it.
///
/// # Safety
///
/// `to` has room for `n` bytes.
pub unsafe fn put_text(text: &[u8], to: *mut u8, n: usize) {
    let n = text.len().min(n);
    // SAFETY: as the caller promises.
    unsafe { to.copy_from_nonoverlapping(text.as_ptr(), n) };
}
