//! Copies into shared memory that go on beside the threads, and the barriers in shared memory that tell of their end.
//!
//! Copies are made as late as can be: those of the tensor memory accelerator when no thread can go on without them, a
//! thread's own when it waits for them. Whoever reads without waiting finds what was there.

use super::block::{Block, Thread};
use crate::give_up;

/// How a copy exchanges groups of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Swizzle {
    None = 0,
    Bytes32 = 1,
    Bytes64 = 2,
    Bytes128 = 3,
}

impl Swizzle {
    fn of(self, address: usize) -> usize {
        let mask = [0, 1, 3, 7][self as usize];
        address ^ (address >> 7 & mask) << 4
    }

    /// Bytes of a row of the box, at most.
    pub fn span(self) -> usize {
        [usize::MAX, 32, 64, 128][self as usize]
    }
}

/// A tensor in global memory and the box that is copied of it; in the place of the driver's `CUtensorMap`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TensorMap {
    pub address: u64,
    /// Bytes from one to the next, from the second dimension on.
    pub strides: [u64; 4],
    pub sizes: [u32; 5],
    pub box_sizes: [u16; 5],
    pub n_dimensions: u16,
    pub element_bytes: u16,
    pub swizzle: Swizzle,
    /// Tells it from memory that is none.
    pub mark: u32,
}

impl TensorMap {
    pub const MARK: u32 = 0x7e50_4a9d;
}

const _: () = assert!(size_of::<TensorMap>() <= 128, "it takes the place of a CUtensorMap");

/// A copy that a thread makes itself.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    to: u32,
    from: u64,
    n: u32,
    n_read: u32,
}

/// `struct tensor_copy` of `kernel.h`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TensorCopy {
    map: u64,
    to: u32,
    barrier: u32,
    at: [i32; 5],
}

/// A barrier in shared memory, 64 bits: arrivals that are missing (20), arrivals of a phase (20), bytes that are missing (23,
/// as an offset of `NO_BYTES`), the phase (1).
#[derive(Clone, Copy)]
struct Barrier(u64);

const NO_BYTES: i64 = 1 << 22;
/// What a barrier counts to (PTX ISA, "Tx-count").
const MAX_BYTES: i64 = (1 << 20) - 1;

impl Barrier {
    fn missing(self) -> u64 {
        self.0 & 0xf_ffff
    }

    fn count(self) -> u64 {
        self.0 >> 20 & 0xf_ffff
    }

    fn bytes(self) -> i64 {
        (self.0 >> 40 & 0x7f_ffff) as i64 - NO_BYTES
    }

    fn phase(self) -> u64 {
        self.0 >> 63
    }

    fn new(missing: u64, count: u64, bytes: i64, phase: u64) -> Self {
        if bytes.abs() > MAX_BYTES {
            give_up!("a barrier in shared memory that counts {bytes} bytes");
        }
        if missing == 0 && bytes == 0 {
            return Self::new(count, count, 0, phase ^ 1);
        }
        Self(missing | count << 20 | ((bytes + NO_BYTES) as u64) << 40 | phase << 63)
    }
}

fn block(thread: &mut Thread) -> &'static mut Block {
    // SAFETY: the block outlives its threads, and they run one at a time.
    unsafe { &mut *thread.block }
}

fn shared(block: &mut Block, at: usize, n: usize) -> *mut u8 {
    let thread = &block.threads[0];
    if at + n > thread.n_shared as usize {
        give_up!("{n} bytes at {at} of {} bytes of shared memory", thread.n_shared);
    }
    // SAFETY: within shared memory.
    unsafe { thread.shared.add(at) }
}

fn cell(block: &mut Block, address: u32) -> *mut u64 {
    if !address.is_multiple_of(8) {
        give_up!("a barrier at {address} of shared memory");
    }
    shared(block, address as usize, 8).cast()
}

fn read(block: &mut Block, address: u32) -> Barrier {
    // SAFETY: `cell` gives a place in shared memory that is aligned.
    Barrier(unsafe { cell(block, address).read() })
}

fn write(block: &mut Block, address: u32, before: Barrier, after: Barrier) {
    // SAFETY: as above.
    unsafe { cell(block, address).write(after.0) };
    if before.phase() != after.phase() {
        let (woken, waiting): (Vec<_>, Vec<_>) = block.waiting.iter().partition(|(at, _)| *at == address);
        block.waiting = waiting;
        block.ready.extend(woken.into_iter().map(|(_, index)| index));
    }
}

pub extern "C" fn init(thread: &mut Thread, address: u32, count: u32) {
    let barrier = Barrier::new(count.into(), count.into(), 0, 0);
    // SAFETY: as above.
    unsafe { cell(block(thread), address).write(barrier.0) };
}

pub extern "C" fn arrive(thread: &mut Thread, address: u32, count: u32, bytes: u32) -> u64 {
    let block = block(thread);
    let before = read(block, address);
    let Some(missing) = before.missing().checked_sub(count.into()) else {
        give_up!("{count} arrive at a barrier in shared memory that waits for {}", before.missing())
    };
    let after = Barrier::new(missing, before.count(), before.bytes() + i64::from(bytes), before.phase());
    write(block, address, before, after);
    before.0
}

fn has_completed(block: &mut Block, address: u32, parity: u32) -> bool {
    read(block, address).phase() != u64::from(parity & 1)
}

pub extern "C" fn wait(thread: &mut Thread, address: u32, parity: u32, blocking: u32) -> u32 {
    let index = thread.index;
    let block = block(thread);
    while !has_completed(block, address, parity) {
        if blocking == 0 {
            // Others go on, and a copy is made, before it asks again.
            make_started(block);
            block.ready.push(index);
            block.wait(index);
            return has_completed(block, address, parity).into();
        }
        block.waiting.push((address, index));
        block.wait(index);
    }
    1
}

/// Makes the copies that tell the barrier of the oldest one; whether there were any.
pub fn make_started(block: &mut Block) -> bool {
    let Some(barrier) = block.started.first().map(|copy| copy.barrier) else { return false };
    let (now, later): (Vec<_>, Vec<_>) = block.started.iter().partition(|copy| copy.barrier == barrier);
    block.started = later;
    for copy in &now {
        make(block, copy);
    }
    true
}

pub extern "C" fn copy_tensor(thread: &mut Thread, n_dimensions: u32, copy: &TensorCopy) {
    // SAFETY: a kernel got the map from the program; what has no mark is refused.
    let map = unsafe { *(copy.map as *const TensorMap) };
    if map.mark != TensorMap::MARK || u32::from(map.n_dimensions) != n_dimensions {
        give_up!("a copy of a tensor of {n_dimensions} dimensions without its map");
    }
    if !copy.to.is_multiple_of(128) {
        give_up!("a copy of a tensor to {} of shared memory", copy.to);
    }
    block(thread).started.push(*copy);
}

/// Copies the box; what lies outside of the tensor is 0.
fn make(block: &mut Block, copy: &TensorCopy) {
    // SAFETY: checked by `copy_tensor`; the program keeps it until the launch has ended.
    let map = unsafe { *(copy.map as *const TensorMap) };
    let (n, bytes) = (map.n_dimensions as usize, map.element_bytes as usize);
    let n_elements: usize = map.box_sizes[..n].iter().map(|size| *size as usize).product();
    let mut index = [0usize; 5];
    for element in 0..n_elements {
        let (mut inside, mut from) = (true, map.address);
        for (axis, index) in index[..n].iter().enumerate() {
            let at = i64::from(copy.at[axis]) + *index as i64;
            inside &= (0..i64::from(map.sizes[axis])).contains(&at);
            let stride = if axis == 0 { bytes as u64 } else { map.strides[axis - 1] };
            from = from.wrapping_add((at as u64).wrapping_mul(stride));
        }
        let to = shared(block, map.swizzle.of(copy.to as usize + element * bytes), bytes);
        // SAFETY: `to` is in shared memory; `from` is in the tensor whose memory the program gave.
        unsafe {
            match inside {
                true => to.copy_from_nonoverlapping(from as *const u8, bytes),
                false => to.write_bytes(0, bytes),
            }
        }
        for (index, size) in index.iter_mut().zip(&map.box_sizes[..n]) {
            *index += 1;
            if *index < *size as usize {
                break;
            }
            *index = 0;
        }
    }
    let before = read(block, copy.barrier);
    let left = before.bytes() - (n_elements * bytes) as i64;
    let after = Barrier::new(before.missing(), before.count(), left, before.phase());
    write(block, copy.barrier, before, after);
}

pub extern "C" fn copy_later(thread: &mut Thread, to: u32, from: u64, n: u32, n_read: u32) {
    if !to.is_multiple_of(n) || !from.is_multiple_of(u64::from(n)) {
        give_up!("cp.async of {n} bytes from {from:#x} to {to}");
    }
    thread.copies.push(Copied { to, from, n, n_read: n_read.min(n) });
}

pub extern "C" fn commit(thread: &mut Thread) {
    let group = std::mem::take(&mut thread.copies);
    thread.groups.push(group);
}

/// Makes the copies of all groups but the last `at_most`.
pub extern "C" fn wait_copies(thread: &mut Thread, at_most: u32) {
    let n = thread.groups.len().saturating_sub(at_most as usize);
    let groups: Vec<Vec<Copied>> = thread.groups.drain(..n).collect();
    let block = block(thread);
    for Copied { to, from, n, n_read } in groups.into_iter().flatten() {
        let to = shared(block, to as usize, n as usize);
        // SAFETY: `to` is in shared memory; the kernel gives `from`, as for any load.
        unsafe {
            to.copy_from_nonoverlapping(from as *const u8, n_read as usize);
            to.add(n_read as usize).write_bytes(0, (n - n_read) as usize);
        }
    }
}
