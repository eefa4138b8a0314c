//! What the 32 threads of a warp do together.

use std::ffi::c_void;

use super::block::{Block, MeetingKey, Thread, Together};
use crate::give_up;

/// Meets the lanes of a mask. `mine` is what this lane brings and takes.
fn meet<T>(thread: &mut Thread, what: &'static str, mask: u32, mine: &mut T, together: Together) {
    let (index, first) = (thread.index, thread.index - thread.lane as usize);
    let key = MeetingKey { what, first, mask: mask.into() };
    // SAFETY: the block outlives its threads, and they run one at a time.
    unsafe { (*thread.block).meet(index, key, (&raw mut *mine).cast(), together) };
}

/// Meets a whole warp, and ends the program if part of it has ended.
pub fn meet_warp<T>(thread: &mut Thread, what: &'static str, mine: &mut T, together: Together) {
    meet(thread, what, u32::MAX, mine, together);
}

/// What the lanes of a warp brought.
///
/// # Safety
///
/// All of them brought a `T`, which lives while they meet.
pub unsafe fn brought<'a, T>(arrived: &[(usize, *mut c_void)]) -> Vec<&'a mut T> {
    // SAFETY: as the caller promises; each lane brought its own.
    arrived.iter().map(|&(_, mine)| unsafe { &mut *mine.cast::<T>() }).collect()
}

/// The same of a whole warp.
///
/// # Safety
///
/// As [`brought`].
pub unsafe fn whole<'a, T>(arrived: &[(usize, *mut c_void)], what: &str) -> Vec<&'a mut T> {
    if arrived.len() != 32 {
        give_up!("{what} by {} lanes of a warp", arrived.len());
    }
    // SAFETY: as the caller promises.
    unsafe { brought(arrived) }
}

pub extern "C" fn barrier(thread: &mut Thread, mask: u32) {
    meet(thread, "bar.warp", mask, &mut (), |_, _| {});
}

/// The lanes that have not ended. Which of them a GPU would run together at this place can't be told, so a kernel that asks
/// inside a branch that its warp does not take as a whole stands still.
pub extern "C" fn active(thread: &mut Thread) -> u32 {
    let first = thread.index - thread.lane as usize;
    // SAFETY: the block outlives its threads, and they run one at a time.
    let block = unsafe { &*thread.block };
    let lanes = block.threads[first..].iter().take(32).enumerate();
    lanes.filter(|(_, thread)| !thread.has_ended).fold(0, |mask, (lane, _)| mask | 1 << lane)
}

struct Shuffle {
    lane: u32,
    kind: u32,
    value: u32,
    by: u32,
    clamp: u32,
    got: u64,
}

pub extern "C" fn shuffle(thread: &mut Thread, kind: u32, value: u32, by: u32, clamp: u32, mask: u32) -> u64 {
    let mut mine = Shuffle { lane: thread.lane, kind, value, by: by & 31, clamp, got: 0 };
    meet(thread, "shfl", mask, &mut mine, |_, arrived| {
        // SAFETY: every lane that comes for this brings a `Shuffle` of its own stack and waits.
        let mut lanes = unsafe { brought::<Shuffle>(arrived) };
        let values: Vec<(u32, u32)> = lanes.iter().map(|lane| (lane.lane, lane.value)).collect();
        for each in &mut lanes {
            let segment = each.clamp >> 8 & 31;
            let low = each.lane & segment;
            let high = low | (each.clamp & 31 & !segment);
            let (source, in_range) = match each.kind {
                0 => (each.lane ^ each.by, (each.lane ^ each.by) <= high),
                1 => (each.lane.wrapping_sub(each.by), each.lane as i32 - each.by as i32 >= high as i32),
                2 => (each.lane + each.by, each.lane + each.by <= high),
                _ => (low | (each.by & !segment), (low | (each.by & !segment)) <= high),
            };
            let source = if in_range { source } else { each.lane };
            let Some((_, value)) = values.iter().find(|(lane, _)| *lane == source) else {
                give_up!("shfl: lane {} reads lane {source}, which does not take part", each.lane)
            };
            each.got = u64::from(*value) | u64::from(in_range) << 32;
        }
    });
    mine.got
}

struct Vote {
    lane: u32,
    kind: u32,
    value: u32,
    result: u32,
}

pub extern "C" fn ballot(thread: &mut Thread, predicate: u32, mask: u32) -> u32 {
    let mut mine = Vote { lane: thread.lane, kind: 0, value: predicate, result: 0 };
    meet(thread, "vote", mask, &mut mine, |_, arrived| {
        // SAFETY: every lane that comes for this brings a `Vote` of its own stack and waits.
        let mut lanes = unsafe { brought::<Vote>(arrived) };
        let ballot = lanes.iter().fold(0, |ballot, lane| ballot | u32::from(lane.value != 0) << lane.lane);
        lanes.iter_mut().for_each(|lane| lane.result = ballot);
    });
    mine.result
}

pub extern "C" fn reduce(thread: &mut Thread, kind: u32, value: u32, mask: u32) -> u32 {
    let mut mine = Vote { lane: thread.lane, kind, value, result: 0 };
    meet(thread, "redux", mask, &mut mine, |_, arrived| {
        // SAFETY: as above.
        let mut lanes = unsafe { brought::<Vote>(arrived) };
        let kind = lanes[0].kind;
        let combine = |a: u32, b: u32| match kind {
            0 | 16 => a.wrapping_add(b),
            1 => a & b,
            2 => a | b,
            3 => a ^ b,
            4 => a.min(b),
            5 => a.max(b),
            20 => (a as i32).min(b as i32) as u32,
            21 => (a as i32).max(b as i32) as u32,
            _ => give_up!("redux {kind}"),
        };
        let result = lanes.iter().map(|lane| lane.value).reduce(combine).unwrap_or_default();
        lanes.iter_mut().for_each(|lane| lane.result = result);
    });
    mine.result
}

struct Matrices {
    address: u32,
    n: u32,
    transposed: bool,
    values: [u32; 4],
}

pub extern "C" fn load_matrices(
    thread: &mut Thread,
    address: u32,
    n: u32,
    transposed: u32,
    to: &mut [u32; 4],
) {
    let mut mine = Matrices { address, n, transposed: transposed != 0, values: [0; 4] };
    meet_warp(thread, "ldmatrix", &mut mine, |block, arrived| {
        // SAFETY: every lane that comes for this brings a `Matrices` of its own stack and waits.
        let mut lanes = unsafe { whole::<Matrices>(arrived, "ldmatrix") };
        let (n, transposed) = (lanes[0].n as usize, lanes[0].transposed);
        for matrix in 0..n {
            let rows: Vec<u32> = (0..8).map(|row| lanes[matrix * 8 + row].address).collect();
            for (index, lane) in lanes.iter_mut().enumerate() {
                let pair = [0, 1].map(|second| {
                    let (row, column) = (index / 4, index % 4 * 2 + second);
                    let (row, column) = if transposed { (column, row) } else { (row, column) };
                    u32::from(shared(block, rows[row], column))
                });
                lane.values[matrix] = pair[0] | pair[1] << 16;
            }
        }
    });
    to[..n as usize].copy_from_slice(&mine.values[..n as usize]);
}

pub extern "C" fn store_matrices(
    thread: &mut Thread,
    address: u32,
    n: u32,
    transposed: u32,
    from: &mut [u32; 4],
) {
    let mut values = [0; 4];
    values[..n as usize].copy_from_slice(&from[..n as usize]);
    let mut mine = Matrices { address, n, transposed: transposed != 0, values };
    meet_warp(thread, "stmatrix", &mut mine, |block, arrived| {
        // SAFETY: as above.
        let lanes = unsafe { whole::<Matrices>(arrived, "stmatrix") };
        for matrix in 0..lanes[0].n as usize {
            for (index, lane) in lanes.iter().enumerate() {
                for second in 0..2 {
                    let (row, column) = (index / 4, index % 4 * 2 + second);
                    let (row, column) = if lane.transposed { (column, row) } else { (row, column) };
                    let value = (lane.values[matrix] >> (16 * second)) as u16;
                    *place(block, lanes[matrix * 8 + row].address, column) = value;
                }
            }
        }
    });
}

fn shared(block: &mut Block, row: u32, column: usize) -> u16 {
    *place(block, row, column)
}

fn place<'a>(block: &mut Block, row: u32, column: usize) -> &'a mut u16 {
    let thread = &block.threads[0];
    if !row.is_multiple_of(16) || row + 16 > thread.n_shared {
        give_up!("a row of a matrix at {row} of {} bytes of shared memory", thread.n_shared);
    }
    // SAFETY: within shared memory, which the block owns.
    unsafe { &mut *thread.shared.add(row as usize).cast::<u16>().add(column) }
}
