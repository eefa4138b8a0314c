//! What kernels call, as `kernel.h` declares it.

use std::ffi::{CStr, c_char};

use super::block::Thread;
use super::{copies, products, warp};
use crate::give_up;

/// `struct calls` of `kernel.h`.
#[repr(C)]
pub struct Calls {
    barrier: extern "C" fn(&mut Thread, u32, u32),
    warp_barrier: extern "C" fn(&mut Thread, u32),
    active: extern "C" fn(&mut Thread) -> u32,
    shuffle: extern "C" fn(&mut Thread, u32, u32, u32, u32, u32) -> u64,
    ballot: extern "C" fn(&mut Thread, u32, u32) -> u32,
    reduce: extern "C" fn(&mut Thread, u32, u32, u32) -> u32,
    ldmatrix: extern "C" fn(&mut Thread, u32, u32, u32, &mut [u32; 4]),
    stmatrix: extern "C" fn(&mut Thread, u32, u32, u32, &mut [u32; 4]),
    mma: extern "C" fn(&mut Thread, u32, &mut products::Mma),
    wmma: extern "C" fn(&mut Thread, u32, u32, u32, &mut products::Mma),
    wgmma: extern "C" fn(&mut Thread, u32, &mut products::Wgmma),
    mbarrier_init: extern "C" fn(&mut Thread, u32, u32),
    mbarrier_arrive: extern "C" fn(&mut Thread, u32, u32, u32) -> u64,
    mbarrier_wait: extern "C" fn(&mut Thread, u32, u32, u32) -> u32,
    copy_tensor: extern "C" fn(&mut Thread, u32, &copies::TensorCopy),
    copy_later: extern "C" fn(&mut Thread, u32, u64, u32, u32),
    commit_copies: extern "C" fn(&mut Thread),
    wait_copies: extern "C" fn(&mut Thread, u32),
    stop: extern "C" fn(&mut Thread, *const c_char),
}

pub static CALLS: Calls = Calls {
    barrier,
    warp_barrier: warp::barrier,
    active: warp::active,
    shuffle: warp::shuffle,
    ballot: warp::ballot,
    reduce: warp::reduce,
    ldmatrix: warp::load_matrices,
    stmatrix: warp::store_matrices,
    mma: products::mma,
    wmma: products::wmma,
    wgmma: products::wgmma,
    mbarrier_init: copies::init,
    mbarrier_arrive: copies::arrive,
    mbarrier_wait: copies::wait,
    copy_tensor: copies::copy_tensor,
    copy_later: copies::copy_later,
    commit_copies: copies::commit,
    wait_copies: copies::wait_copies,
    stop,
};

extern "C" fn barrier(thread: &mut Thread, id: u32, n_threads: u32) {
    let index = thread.index;
    // SAFETY: the block outlives its threads, and they run one at a time.
    unsafe { (*thread.block).barrier(index, id, n_threads as usize) };
}

extern "C" fn stop(_: &mut Thread, why: *const c_char) {
    // SAFETY: kernels pass a literal.
    give_up!("a kernel stops: {}", unsafe { CStr::from_ptr(why) }.to_string_lossy())
}
