//! Memory of the GPU, which is the computer's, and copies.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{ptr, slice};

use super::result::{INVALID_VALUE, NOT_SUPPORTED, OUT_OF_MEMORY, SUCCESS};
use super::{is_logged, memory_bytes};

const PAGE: usize = 4096;
/// What is written into new memory: it reads as no number. Larger pieces are left as they are, so as not to take real memory
/// that is never used.
const FILLED_BYTES: usize = 64 << 20;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PIECES: Mutex<Option<HashMap<u64, usize>>> = Mutex::new(None);

/// Bytes that programs of this process have.
pub fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// A piece with a page on either side that may not be touched.
fn allocate(n: usize) -> Result<u64, c_int> {
    if n == 0 {
        return Err(INVALID_VALUE);
    }
    let before = ALLOCATED.fetch_add(n, Ordering::Relaxed);
    if before + n > memory_bytes() {
        ALLOCATED.fetch_sub(n, Ordering::Relaxed);
        return Err(OUT_OF_MEMORY);
    }
    let whole = n.next_multiple_of(PAGE);
    // SAFETY: new pages; the inner ones are made accessible.
    let address = unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            whole + 2 * PAGE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            ALLOCATED.fetch_sub(n, Ordering::Relaxed);
            return Err(OUT_OF_MEMORY);
        }
        let inner = start.cast::<u8>().add(PAGE);
        libc::mprotect(inner.cast(), whole, libc::PROT_READ | libc::PROT_WRITE);
        if n <= FILLED_BYTES {
            inner.write_bytes(0xff, whole);
        }
        inner as u64
    };
    let mut pieces = PIECES.lock().expect("nobody panics with it");
    pieces.get_or_insert_default().insert(address, n);
    if is_logged() {
        eprintln!("cuda-on-cpu: {n} bytes more, {} in all", before + n);
    }
    Ok(address)
}

fn free(address: u64) -> c_int {
    let mut pieces = PIECES.lock().expect("nobody panics with it");
    let Some(n) = pieces.get_or_insert_default().remove(&address) else { return INVALID_VALUE };
    ALLOCATED.fetch_sub(n, Ordering::Relaxed);
    // SAFETY: the piece was made by `allocate`, with a page on either side.
    unsafe { libc::munmap((address as *mut u8).sub(PAGE).cast(), n.next_multiple_of(PAGE) + 2 * PAGE) };
    SUCCESS
}

fn give(address: &mut u64, n: usize) -> c_int {
    match allocate(n) {
        Ok(found) => {
            *address = found;
            SUCCESS
        }
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: &mut u64, n: usize) -> c_int {
    give(address, n)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocAsync(address: &mut u64, n: usize, _stream: *const c_void) -> c_int {
    give(address, n)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    free(address)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: u64, _stream: *const c_void) -> c_int {
    free(address)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: &mut usize, total: &mut usize) -> c_int {
    *total = memory_bytes();
    *free = total.saturating_sub(allocated());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(address: &mut *mut c_void, n: usize) -> c_int {
    // SAFETY: plain memory.
    *address = unsafe { libc::malloc(n) };
    if address.is_null() { OUT_OF_MEMORY } else { SUCCESS }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> c_int {
    // SAFETY: made by `cuMemAllocHost_v2`.
    unsafe { libc::free(address) };
    SUCCESS
}

unsafe fn copy(to: u64, from: u64, n: usize) -> c_int {
    // SAFETY: the program gives both; they may overlap.
    unsafe { ptr::copy(from as *const u8, to as *mut u8, n) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, n: usize, _stream: *const c_void) -> c_int {
    // SAFETY: as the program promises.
    unsafe { copy(to, from, n) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, n: usize, _stream: *const c_void) -> c_int {
    // SAFETY: as the program promises.
    unsafe { copy(to, from, n) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, n: usize, _stream: *const c_void) -> c_int {
    // SAFETY: as the program promises.
    unsafe { copy(to, from, n) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(to: u64, value: u8, n: usize, _stream: *const c_void) -> c_int {
    // SAFETY: as the program promises.
    unsafe { slice::from_raw_parts_mut(to as *mut u8, n) }.fill(value);
    SUCCESS
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
struct Copy2D {
    from_x_bytes: usize,
    from_y: usize,
    from_kind: c_uint,
    from_host: u64,
    from_device: u64,
    from_array: u64,
    from_pitch: usize,
    to_x_bytes: usize,
    to_y: usize,
    to_kind: c_uint,
    to_host: u64,
    to_device: u64,
    to_array: u64,
    to_pitch: usize,
    width_bytes: usize,
    height: usize,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpy2DAsync_v2(what: &Copy2D, _stream: *const c_void) -> c_int {
    let place = |kind: c_uint, host: u64, device: u64| match kind {
        // Host and device (`CUmemorytype`).
        1 => Some(host),
        2 => Some(device),
        _ => None,
    };
    let from = place(what.from_kind, what.from_host, what.from_device);
    let to = place(what.to_kind, what.to_host, what.to_device);
    let (Some(from), Some(to)) = (from, to) else { return NOT_SUPPORTED };
    for row in 0..what.height {
        let from = from + ((what.from_y + row) * what.from_pitch + what.from_x_bytes) as u64;
        let to = to + ((what.to_y + row) * what.to_pitch + what.to_x_bytes) as u64;
        // SAFETY: as the program promises.
        unsafe { copy(to, from, what.width_bytes) };
    }
    SUCCESS
}
