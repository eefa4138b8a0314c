//! NVML, as much of it as tells about memory. The same library under another name, so that both know the same.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::{NAME, capability, memory, memory_bytes, put_text, setting};

const OK: c_int = 0;
const INSUFFICIENT_SIZE: c_int = 7;
const NOT_SUPPORTED: c_int = 3;

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_int {
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> c_int {
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(_error: c_int) -> *const c_char {
    c"not known to cuda-on-cpu".as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(text: *mut c_char, n: c_uint) -> c_int {
    // SAFETY: the program gives room for `n` bytes.
    unsafe { put_text(b"0.0\0", text.cast(), n as usize) };
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: &mut c_int) -> c_int {
    *version = setting("CUDA_ON_CPU_DRIVER", 13020) as c_int;
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion(version: &mut c_int) -> c_int {
    nvmlSystemGetCudaDriverVersion_v2(version)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount_v2(n: &mut c_uint) -> c_int {
    *n = 1;
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex_v2(_index: c_uint, device: &mut *const c_void) -> c_int {
    *device = NAME.as_ptr().cast();
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(_device: *const c_void, text: *mut c_char, n: c_uint) -> c_int {
    // SAFETY: as above.
    unsafe { put_text(NAME, text.cast(), n as usize) };
    OK
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(_device: *const c_void, text: *mut c_char, n: c_uint) -> c_int {
    // SAFETY: as above.
    unsafe { put_text(b"GPU-cuda-on-the-cpu\0", text.cast(), n as usize) };
    OK
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
struct Memory {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo_v2(_device: *const c_void, found: &mut Memory) -> c_int {
    found.total = memory_bytes() as u64;
    found.used = memory::allocated() as u64;
    found.free = found.total - found.used;
    found.reserved = 0;
    OK
}

/// `nvmlProcessInfo_t`.
#[repr(C)]
struct Process {
    pid: c_uint,
    used: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    _device: *const c_void,
    n: &mut c_uint,
    found: *mut Process,
) -> c_int {
    let room = *n;
    *n = 1;
    if room == 0 || found.is_null() {
        return INSUFFICIENT_SIZE;
    }
    let used = memory::allocated() as u64;
    // SAFETY: the program gives room for as many as it says.
    unsafe {
        found.write(Process {
            pid: std::process::id(),
            used,
            gpu_instance: u32::MAX,
            compute_instance: u32::MAX,
        })
    };
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCudaComputeCapability(
    _device: *const c_void,
    major: &mut c_int,
    minor: &mut c_int,
) -> c_int {
    (*major, *minor) = (capability() as c_int / 10, capability() as c_int % 10);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetComputeMode(_device: *const c_void, mode: &mut c_int) -> c_int {
    *mode = 0;
    OK
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUtilizationRates(_device: *const c_void, _rates: *mut c_void) -> c_int {
    NOT_SUPPORTED
}
