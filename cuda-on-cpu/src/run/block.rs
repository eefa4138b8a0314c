//! A block: its threads, its shared memory and its barriers.

use std::ffi::c_void;

use corosensei::Yielder;

use super::calls::{CALLS, Calls};
use super::copies::{Copied, TensorCopy};
use crate::give_up;

/// A GPU thread. `kernel.h` has its first part.
#[repr(C)]
pub struct Thread {
    pub tid: [u32; 3],
    pub ntid: [u32; 3],
    pub ctaid: [u32; 3],
    pub nctaid: [u32; 3],
    pub lane: u32,
    pub warp: u32,
    pub n_shared: u32,
    pub shared: *mut u8,
    pub block: *mut Block,
    pub call: *const Calls,
    pub index: usize,
    /// Gives the turn to another thread.
    pub yielder: *const Yielder<(), ()>,
    /// What it copies itself: not yet in a group, and the groups.
    pub copies: Vec<Copied>,
    pub groups: Vec<Vec<Copied>>,
    pub has_ended: bool,
}

/// A block.
pub struct Block {
    /// In the order of their index.
    pub threads: Vec<Thread>,
    /// Those whose turn may come.
    pub ready: Vec<usize>,
    /// Whose turn it is; `None` while one ends.
    running: Option<usize>,
    pub n_alive: usize,
    pub meetings: Vec<Meeting>,
    /// Which threads wait for which barriers in shared memory.
    pub waiting: Vec<(u32, usize)>,
    /// What the tensor memory accelerator has been told to copy.
    pub started: Vec<TensorCopy>,
    barriers: Vec<Barrier>,
    random: u64,
    _shared: Vec<Line>,
}

/// As aligned as the memory of a multiprocessor.
#[repr(align(1024))]
#[derive(Clone, Copy)]
struct Line {
    _bytes: [u8; 1024],
}

struct Barrier {
    id: u32,
    /// 0: all threads that have not ended.
    n_threads: usize,
    arrived: Vec<usize>,
}

/// What threads do once all of them have come.
pub type Together = fn(&mut Block, &[(usize, *mut c_void)]);

/// Threads that wait for others, to do something together.
pub struct Meeting {
    pub key: MeetingKey,
    n_wanted: usize,
    arrived: Vec<(usize, *mut c_void)>,
    together: Together,
}

/// Which threads meet, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeetingKey {
    pub what: &'static str,
    /// The first thread that could take part.
    pub first: usize,
    /// Those of them that do.
    pub mask: u128,
}

impl Block {
    /// A block of threads whose shared memory has `n_shared` bytes. `threads.block` is set by [`Block::start`].
    pub fn new(threads: Vec<Thread>, n_shared: usize, seed: u64) -> Self {
        // Shared memory is not empty when a block begins; what is read from it unwritten is not a number.
        let shared = vec![Line { _bytes: [0xff; 1024] }; n_shared.div_ceil(1024).max(1)];
        Self {
            ready: Vec::with_capacity(threads.len()),
            running: None,
            n_alive: threads.len(),
            threads,
            meetings: Vec::new(),
            waiting: Vec::new(),
            started: Vec::new(),
            barriers: Vec::new(),
            random: seed | 1,
            _shared: shared,
        }
    }

    /// Ties the threads to the block, which must not move from here on.
    pub fn start(&mut self) {
        let block: *mut Block = self;
        let shared = self._shared.as_mut_ptr().cast::<u8>();
        let n_shared = self._shared.len() * 1024;
        for thread in &mut self.threads {
            thread.block = block;
            thread.shared = shared;
            thread.n_shared = n_shared as u32;
            thread.call = &raw const CALLS;
        }
        self.ready.extend(0..self.threads.len());
    }

    /// Whose turn it is, by chance: what depends on an order that a GPU does not promise shows.
    pub fn next(&mut self) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let index = self.random as usize % self.ready.len();
        self.running = Some(self.ready.swap_remove(index));
        self.running
    }

    /// A thread has returned: barriers and meetings no longer wait for it.
    pub fn ended(&mut self, index: usize) {
        self.threads[index].has_ended = true;
        self.running = None;
        self.n_alive -= 1;
        for at in 0..self.barriers.len() {
            self.open(at);
        }
        let mut at = 0;
        while at < self.meetings.len() {
            self.meetings[at].n_wanted = self.n_alive_of(self.meetings[at].key);
            if !self.hold(at) {
                at += 1;
            }
        }
    }

    fn n_alive_of(&self, key: MeetingKey) -> usize {
        let threads = self.threads[key.first..].iter().take(128).enumerate();
        threads.filter(|(bit, thread)| key.mask >> bit & 1 == 1 && !thread.has_ended).count()
    }

    /// A barrier of the block.
    pub fn barrier(&mut self, index: usize, id: u32, n_threads: usize) {
        let at = self.barriers.iter().position(|barrier| barrier.id == id).unwrap_or_else(|| {
            self.barriers.push(Barrier { id, n_threads, arrived: Vec::new() });
            self.barriers.len() - 1
        });
        let barrier = &mut self.barriers[at];
        barrier.n_threads = n_threads;
        barrier.arrived.push(index);
        if !self.open(at) {
            self.wait(index);
        }
    }

    /// Opens a barrier at which all have arrived. The one that runs is not made ready: it has its turn.
    fn open(&mut self, at: usize) -> bool {
        let barrier = &mut self.barriers[at];
        let wanted = if barrier.n_threads == 0 { self.n_alive } else { barrier.n_threads };
        if barrier.arrived.is_empty() || barrier.arrived.len() < wanted {
            return false;
        }
        let arrived = std::mem::take(&mut barrier.arrived);
        self.ready.extend(arrived.into_iter().filter(|index| Some(*index) != self.running));
        true
    }

    /// Waits until all threads of a key have come; the last one does what they came for.
    pub fn meet(&mut self, index: usize, key: MeetingKey, mine: *mut c_void, together: Together) {
        let at = self.meetings.iter().position(|meeting| meeting.key == key).unwrap_or_else(|| {
            let n_wanted = self.n_alive_of(key);
            self.meetings.push(Meeting { key, n_wanted, arrived: Vec::new(), together });
            self.meetings.len() - 1
        });
        self.meetings[at].arrived.push((index, mine));
        if !self.hold(at) {
            self.wait(index);
        }
    }

    fn hold(&mut self, at: usize) -> bool {
        if self.meetings[at].arrived.len() < self.meetings[at].n_wanted {
            return false;
        }
        let mut meeting = self.meetings.swap_remove(at);
        meeting.arrived.sort_by_key(|(index, _)| *index);
        (meeting.together)(self, &meeting.arrived);
        let arrived = meeting.arrived.iter().map(|(index, _)| *index);
        self.ready.extend(arrived.filter(|index| Some(*index) != self.running));
        true
    }

    /// Gives the turn away until somebody makes the thread ready.
    pub fn wait(&mut self, index: usize) {
        let yielder = self.threads[index].yielder;
        debug_assert_eq!(self.running, Some(index));
        // SAFETY: a thread that runs has its yielder, which lives as long as its coroutine.
        unsafe { (*yielder).suspend(()) };
    }

    /// Ends the program when no thread can go on.
    pub fn explain_standstill(&self, kernel: &str) -> ! {
        let barriers: Vec<String> = self
            .barriers
            .iter()
            .filter(|barrier| !barrier.arrived.is_empty())
            .map(|barrier| format!("{} at barrier {}", barrier.arrived.len(), barrier.id))
            .collect();
        let meetings: Vec<String> = self
            .meetings
            .iter()
            .map(|meeting| format!("{} at {:?}", meeting.arrived.len(), meeting.key))
            .collect();
        let waiting: Vec<String> = self
            .waiting
            .iter()
            .map(|(address, index)| format!("thread {index} for the barrier at {address}"))
            .collect();
        give_up!(
            "{kernel}: {} of {} threads wait for each other: {}",
            self.n_alive,
            self.threads.len(),
            [barriers, meetings, waiting].concat().join("; ")
        )
    }
}
