//! Products on tensor cores. Sums are taken in f32, in the order of the summed dimension.

use half::{bf16, f16};

use super::block::{Block, MeetingKey, Thread};
use super::warp::{brought, meet_warp, whole};
use crate::give_up;

/// `struct mma` of `kernel.h`.
#[repr(C)]
pub struct Mma {
    a: [u32; 8],
    b: [u32; 8],
    c: [u32; 8],
    d: [u32; 8],
}

/// `struct wgmma` of `kernel.h`.
#[repr(C)]
pub struct Wgmma {
    a: u64,
    b: u64,
    n: u32,
    scale_d: u32,
    transposed_a: u32,
    transposed_b: u32,
    sign_a: i32,
    sign_b: i32,
    d: [*mut u32; 128],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Bf16,
    F16,
    Tf32,
    F32,
    S8,
}

/// The shapes of `mma`: what is multiplied, how long a sum is, whether sums are f16.
const SHAPES: [(Element, usize, bool); 10] = [
    (Element::Bf16, 16, false),
    (Element::F16, 16, false),
    (Element::Bf16, 8, false),
    (Element::F16, 8, false),
    (Element::Tf32, 8, false),
    (Element::Tf32, 4, false),
    (Element::F16, 16, true),
    (Element::F16, 8, true),
    (Element::S8, 32, false),
    (Element::S8, 16, false),
];

fn widen(element: Element, bits: u16) -> f32 {
    match element {
        Element::Bf16 => bf16::from_bits(bits).to_f32(),
        _ => f16::from_bits(bits).to_f32(),
    }
}

pub extern "C" fn mma(thread: &mut Thread, shape: u32, mine: &mut Mma) {
    macro_rules! of_shape {
        ($($index:literal)*) => {
            match shape {
                $($index => meet_warp(thread, concat!("mma ", $index), mine, |_, arrived| {
                    // SAFETY: every lane that comes for this brings an `Mma` of its own stack and waits.
                    multiply(&mut unsafe { whole(arrived, "mma") }, SHAPES[$index]);
                }),)*
                _ => give_up!("mma shape {shape}"),
            }
        };
    }
    of_shape!(0 1 2 3 4 5 6 7 8 9)
}

fn multiply(lanes: &mut [&mut Mma], (element, k, is_half): (Element, usize, bool)) {
    // How many elements a register has; a thread has as many that lie side by side.
    let n = match element {
        Element::Tf32 | Element::F32 => 1,
        Element::S8 => 4,
        _ => 2,
    };
    let get = |register: u32, part: usize| match element {
        // A tensor core reads 19 bits of a register.
        Element::Tf32 => f32::from_bits(register & 0xffff_e000),
        Element::S8 => f32::from((register >> (8 * part)) as u8 as i8),
        _ => widen(element, (register >> (16 * part)) as u16),
    };
    let (mut a, mut b) = ([[0f32; 32]; 16], [[0f32; 8]; 32]);
    for (index, lane) in lanes.iter().enumerate() {
        let (row, column) = (index / 4, index % 4 * n);
        for (register, value) in lane.a[..(16 * k / n / 32)].iter().enumerate() {
            for part in 0..n {
                a[row + register % 2 * 8][column + register / 2 * 4 * n + part] = get(*value, part);
            }
        }
        for (register, value) in lane.b[..(8 * k / n / 32).max(1)].iter().enumerate() {
            for part in 0..n {
                b[column + register * 4 * n + part][row] = get(*value, part);
            }
        }
    }
    for (index, lane) in lanes.iter_mut().enumerate() {
        for at in 0..4 {
            let (row, column) = (index / 4 + at / 2 * 8, index % 4 * 2 + at % 2);
            let sum = |start: f32| (0..k).fold(start, |sum, k| sum + a[row][k] * b[k][column]);
            if is_half {
                let shift = 16 * (at % 2);
                let start = f16::from_bits((lane.c[at / 2] >> shift) as u16).to_f32();
                let kept = if at % 2 == 0 { 0 } else { lane.d[at / 2] & 0xffff };
                lane.d[at / 2] = kept | u32::from(f16::from_f32(sum(start)).to_bits()) << shift;
            } else if element == Element::S8 {
                let sum = (0..k).map(|k| a[row][k] as i32 * b[k][column] as i32).sum::<i32>();
                lane.d[at] = (lane.c[at] as i32).wrapping_add(sum) as u32;
            } else {
                lane.d[at] = sum(f32::from_bits(lane.c[at])).to_bits();
            }
        }
    }
}

/// Rows of a, columns of b, length of the sums, as `ptx::fragments` numbers them.
const FRAGMENTS: [[usize; 3]; 4] = [[16, 16, 16], [8, 32, 16], [32, 8, 16], [16, 16, 8]];

/// What a lane brings to a product of fragments.
struct Fragments<'a> {
    shape: usize,
    element: Element,
    /// Whether the sums that go in and those that come out are f16.
    halves: [bool; 2],
    registers: &'a mut Mma,
}

pub extern "C" fn wmma(thread: &mut Thread, shape: u32, element: u32, halves: u32, mine: &mut Mma) {
    let element = match element {
        0 => Element::Bf16,
        1 => Element::F16,
        _ => Element::Tf32,
    };
    let halves = [halves & 2 != 0, halves & 1 != 0];
    let mut mine = Fragments { shape: shape as usize, element, halves, registers: mine };
    meet_warp(thread, "wmma", &mut mine, |_, arrived| {
        // SAFETY: every lane that comes for this brings `Fragments` of its own stack and waits.
        let mut lanes = unsafe { whole::<Fragments>(arrived, "wmma") };
        let [m, n, k] = FRAGMENTS[lanes[0].shape];
        let (element, [half_in, half_out]) = (lanes[0].element, lanes[0].halves);
        // The elements of a matrix in row order, as many to each lane.
        let gather = |pick: fn(&Mma) -> &[u32; 8], size: usize, element: Element| -> Vec<f32> {
            let per_lane = size / 32;
            let value = |at: usize| read(pick(lanes[at / per_lane].registers), at % per_lane, element);
            (0..size).map(value).collect()
        };
        let sums = |is_half: bool| if is_half { Element::F16 } else { Element::F32 };
        let (a, b) = (gather(|m| &m.a, m * k, element), gather(|m| &m.b, k * n, element));
        let mut c = gather(|m| &m.c, m * n, sums(half_in));
        for (at, sum) in c.iter_mut().enumerate() {
            let (row, column) = (at / n, at % n);
            *sum = (0..k).fold(*sum, |sum, k_| sum + a[row * k + k_] * b[k_ * n + column]);
        }
        for (lane, sums) in lanes.iter_mut().zip(c.chunks(m * n / 32)) {
            for (at, sum) in sums.iter().enumerate() {
                let d = &mut lane.registers.d;
                match half_out {
                    true => {
                        let kept = if at % 2 == 0 { 0 } else { d[at / 2] & 0xffff };
                        d[at / 2] = kept | u32::from(f16::from_f32(*sum).to_bits()) << (16 * (at % 2));
                    }
                    false => d[at] = sum.to_bits(),
                }
            }
        }
    });
}

fn read(registers: &[u32; 8], at: usize, element: Element) -> f32 {
    match element {
        Element::F32 => f32::from_bits(registers[at]),
        Element::Tf32 => f32::from_bits(registers[at] & 0xffff_e000),
        _ => widen(element, (registers[at / 2] >> (16 * (at % 2))) as u16),
    }
}

pub extern "C" fn wgmma(thread: &mut Thread, element: u32, mine: &mut Wgmma) {
    let key = MeetingKey {
        what: if element == 0 { "wgmma bf16" } else { "wgmma f16" },
        first: thread.index / 128 * 128,
        mask: u128::MAX,
    };
    let together = match element {
        0 => |block: &mut Block, arrived: &[(usize, *mut std::ffi::c_void)]| {
            group(block, arrived, Element::Bf16)
        },
        _ => |block: &mut Block, arrived: &[(usize, *mut std::ffi::c_void)]| {
            group(block, arrived, Element::F16)
        },
    };
    // SAFETY: the block outlives its threads, and they run one at a time.
    unsafe { (*thread.block).meet(thread.index, key, (&raw mut *mine).cast(), together) };
}

/// A product of 64 rows by the four warps of a group.
fn group(block: &mut Block, arrived: &[(usize, *mut std::ffi::c_void)], element: Element) {
    if arrived.len() != 128 {
        give_up!("wgmma by {} threads", arrived.len());
    }
    // SAFETY: every thread that comes for this brings a `Wgmma` of its own stack and waits.
    let threads = unsafe { brought::<Wgmma>(arrived) };
    let first = &threads[0];
    if threads
        .iter()
        .any(|each| (each.a, each.b, each.n, each.scale_d) != (first.a, first.b, first.n, first.scale_d))
    {
        give_up!("wgmma: the threads do not agree about its operands");
    }
    let n = first.n as usize;
    let (sign_a, sign_b) = (first.sign_a as f32, first.sign_b as f32);
    let a = operand(block, first.a, 64, first.transposed_a != 0, element);
    let b = operand(block, first.b, n, first.transposed_b != 0, element);
    let mut sums = vec![0f32; 64 * n];
    for (row, sums) in sums.chunks_mut(n).enumerate() {
        for k in 0..16 {
            let a = a[k * 64 + row] * sign_a * sign_b;
            for (sum, b) in sums.iter_mut().zip(&b[k * n..][..n]) {
                *sum += a * b;
            }
        }
    }
    for (index, thread) in threads.iter().enumerate() {
        let (warp, lane) = (index / 32, index % 32);
        for at in 0..n / 2 {
            let row = warp * 16 + lane / 4 + at / 2 % 2 * 8;
            let column = at / 4 * 8 + lane % 4 * 2 + at % 2;
            // SAFETY: each thread has n / 2 sums, on its own stack.
            let sum = unsafe { &mut *thread.d[at] };
            let before = if first.scale_d == 0 { 0.0 } else { f32::from_bits(*sum) };
            *sum = (before + sums[row * n + column]).to_bits();
        }
    }
}

/// An operand in shared memory, as `[16][rows]` (PTX ISA, "Asynchronous warpgroup level matrix shared memory layout").
fn operand(block: &Block, descriptor: u64, rows: usize, transposed: bool, element: Element) -> Vec<f32> {
    let field = |shift: u32| (descriptor >> shift & 0x3fff) as usize * 16;
    let (start, leading, stride) = (field(0), field(16), field(32));
    let (swizzled, row_bytes) = match descriptor >> 62 {
        1 => (7, 128),
        2 => (3, 64),
        3 => (1, 32),
        _ => give_up!("wgmma: an operand without a swizzle"),
    };
    let thread = &block.threads[0];
    let mut values = vec![0f32; 16 * rows];
    for k in 0..16 {
        for row in 0..rows {
            let at = if transposed {
                // Rows lie side by side, `row_bytes` of them, then the next of the summed dimension.
                let per_line = row_bytes / 2;
                start + row / per_line * leading + k / 8 * stride + k % 8 * row_bytes + row % per_line * 2
            } else {
                start + row / 8 * stride + row % 8 * row_bytes + k * 2
            };
            let at = at ^ (at >> 7 & swizzled) << 4;
            if at + 2 > thread.n_shared as usize {
                give_up!("wgmma reads at {at} of {} bytes of shared memory", thread.n_shared);
            }
            // SAFETY: within shared memory, which the block owns.
            let bits = unsafe { thread.shared.add(at).cast::<u16>().read() };
            values[k * rows + row] = widen(element, bits);
        }
    }
    values
}
