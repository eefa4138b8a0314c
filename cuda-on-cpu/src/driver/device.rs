//! The one device and its context.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::result::{INVALID_DEVICE, INVALID_VALUE, NOT_FOUND, SUCCESS};
use super::{NAME, capability, max_shared_bytes, memory_bytes, put_text, setting};

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: &mut c_int) -> c_int {
    *version = setting("CUDA_ON_CPU_DRIVER", 13020) as c_int;
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(n: &mut c_int) -> c_int {
    *n = 1;
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: &mut c_int, index: c_int) -> c_int {
    *device = index;
    if index == 0 { SUCCESS } else { INVALID_DEVICE }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, n: c_int, _device: c_int) -> c_int {
    // SAFETY: the program gives room for `n` bytes.
    unsafe { put_text(NAME, name.cast(), n as usize) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetPCIBusId(name: *mut c_char, n: c_int, _device: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { put_text(b"0000:01:00.0\0", name.cast(), n as usize) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetUuid_v2(uuid: &mut [u8; 16], _device: c_int) -> c_int {
    *uuid = *b"cuda-on-the-cpu.";
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: &mut usize, _device: c_int) -> c_int {
    *bytes = memory_bytes();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: &mut c_int, which: c_int, _device: c_int) -> c_int {
    let capability = capability() as c_int;
    // The numbers of `CUdevice_attribute`.
    *value = match which {
        // Threads of a block, in all and along x, y and z.
        1..=3 => 1024,
        4 => 64,
        // Blocks of a grid along x, y and z.
        5 => c_int::MAX,
        6 | 7 => 65535,
        8 => 48 << 10,
        // Threads of a warp.
        10 => 32,
        // Registers of a block.
        12 => 65536,
        13 => 1_000_000,
        // Multiprocessors: few, so that work is cut as for a GPU that it fills.
        16 => setting("CUDA_ON_CPU_MULTIPROCESSORS", 4) as c_int,
        // May be computed on by every process.
        20 => 0,
        38 => 32 << 20,
        // Threads of a multiprocessor.
        39 => 2048,
        41 => 1,
        75 => capability / 10,
        76 => capability % 10,
        81 => max_shared_bytes() as c_int + 1024,
        97 => max_shared_bytes() as c_int,
        // Cooperative launches, and several GPUs: none.
        _ => 0,
    };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: &mut *const c_void, _device: c_int) -> c_int {
    *context = NAME.as_ptr().cast();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(_context: *const c_void) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: &mut *const c_void) -> c_int {
    *context = NAME.as_ptr().cast();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> c_int {
    for priority in [least, greatest].into_iter().filter(|priority| !priority.is_null()) {
        // SAFETY: the program gives a place.
        unsafe { priority.write(0) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(error: c_int, name: &mut *const c_char) -> c_int {
    *name = match error {
        0 => c"CUDA_SUCCESS",
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        101 => c"CUDA_ERROR_INVALID_DEVICE",
        218 => c"CUDA_ERROR_INVALID_PTX",
        500 => c"CUDA_ERROR_NOT_FOUND",
        801 => c"CUDA_ERROR_NOT_SUPPORTED",
        _ => return INVALID_VALUE,
    }
    .as_ptr();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(error: c_int, text: &mut *const c_char) -> c_int {
    cuGetErrorName(error, text)
}

/// Functions that NVIDIA's own libraries share; NVRTC does without.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(table: &mut *const c_void, _id: *const c_void) -> c_int {
    *table = std::ptr::null();
    NOT_FOUND
}
