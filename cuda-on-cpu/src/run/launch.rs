//! A launch: all blocks of a grid.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{ptr, thread};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};

use super::block::{Block, Thread};
use super::copies::make_started;
use crate::give_up;
use crate::ptx::Compiled;

/// Enough for what a kernel keeps of its registers in memory.
const STACK_BYTES: usize = 256 << 10;

/// A kernel and what it is launched with.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub compiled: &'a Compiled,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub n_dynamic_shared: usize,
    /// A pointer to each parameter.
    pub params: *mut *mut c_void,
}

// SAFETY: the parameters are read only.
unsafe impl Sync for Launch<'_> {}

type Kernel = extern "C" fn(*mut Thread, *mut *mut c_void);

/// Runs all blocks, as many side by side as the computer has cores.
pub fn launch(launch: &Launch) {
    static N_LAUNCHES: AtomicU64 = AtomicU64::new(0);
    let seed = N_LAUNCHES.fetch_add(1, Ordering::Relaxed);
    let n_blocks = launch.grid.iter().product::<u32>();
    let n_cores = thread::available_parallelism().map_or(1, |n| n.get() as u32).min(n_blocks);
    let next = AtomicU32::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= n_blocks {
                break;
            }
            run_block(launch, index, seed);
        }
    };
    thread::scope(|scope| {
        for _ in 1..n_cores {
            scope.spawn(work);
        }
        work();
    });
}

fn split(index: u32, sizes: [u32; 3]) -> [u32; 3] {
    [index % sizes[0], index / sizes[0] % sizes[1], index / sizes[0] / sizes[1]]
}

fn run_block(launch: &Launch, index: u32, seed: u64) {
    let n_threads = launch.block.iter().product::<u32>();
    let threads = (0..n_threads).map(|thread| Thread {
        tid: split(thread, launch.block),
        ntid: launch.block,
        ctaid: split(index, launch.grid),
        nctaid: launch.grid,
        lane: thread % 32,
        warp: thread / 32,
        n_shared: 0,
        shared: ptr::null_mut(),
        block: ptr::null_mut(),
        call: ptr::null(),
        index: thread as usize,
        yielder: ptr::null(),
        copies: Vec::new(),
        groups: Vec::new(),
        has_ended: false,
    });
    let n_shared = launch.compiled.kernel.n_static_shared + launch.n_dynamic_shared;
    let seed = (seed << 32 | u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut block = Block::new(threads.collect(), n_shared, seed);
    block.start();
    // SAFETY: the address is the kernel's, which `compile` made with this signature.
    let kernel: Kernel = unsafe { std::mem::transmute(launch.compiled.address) };
    if launch.compiled.kernel.is_alone {
        while let Some(index) = block.next() {
            kernel(&raw mut block.threads[index], launch.params);
        }
        return;
    }
    take_turns(&mut block, kernel, launch);
}

/// A thread of a GPU: its coroutine, and how it is told who it is.
type Turn = Coroutine<(), (), (), DefaultStack>;

fn take_turns(block: &mut Block, kernel: Kernel, launch: &Launch) {
    let params = launch.params as usize;
    let mut turns: Vec<Option<Turn>> = Vec::with_capacity(block.threads.len());
    for thread in &mut block.threads {
        let thread = ptr::from_mut(thread) as usize;
        turns.push(Some(Coroutine::with_stack(stack(), move |yielder, ()| {
            let thread = thread as *mut Thread;
            // SAFETY: the block and its threads stay where they are until all have ended.
            unsafe { (*thread).yielder = ptr::from_ref(yielder) };
            kernel(thread, params as *mut *mut c_void);
        })));
    }
    let block: *mut Block = block;
    loop {
        // SAFETY: coroutines change the block while they run, and only then; here it is used between their turns.
        let Some(index) = (unsafe { (*block).next() }) else {
            // SAFETY: as above.
            if make_started(unsafe { &mut *block }) {
                continue;
            }
            break;
        };
        let turn = turns[index].as_mut().expect("only threads that have not ended are ready");
        if let CoroutineResult::Return(()) = turn.resume(()) {
            // SAFETY: as above.
            let block = unsafe { &mut *block };
            block.ended(index);
            if block.n_alive == 0 && !block.started.is_empty() {
                give_up!("{}: a block ends before its copies of tensors", launch.compiled.kernel.name);
            }
            if let Some(turn) = turns[index].take() {
                give_back(turn.into_stack());
            }
        }
    }
    // SAFETY: as above.
    let block = unsafe { &*block };
    if block.n_alive > 0 {
        block.explain_standstill(&launch.compiled.kernel.name);
    }
}

static STACKS: Mutex<Vec<DefaultStack>> = Mutex::new(Vec::new());

fn stack() -> DefaultStack {
    let used = STACKS.lock().expect("nobody panics with it").pop();
    used.unwrap_or_else(|| match DefaultStack::new(STACK_BYTES) {
        Ok(stack) => stack,
        Err(error) => give_up!("a stack of {STACK_BYTES} bytes: {error}"),
    })
}

fn give_back(stack: DefaultStack) {
    STACKS.lock().expect("nobody panics with it").push(stack);
}
