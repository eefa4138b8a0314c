//! The global norm of all gradients, and what follows from it; the formulas stand in [`crate::optim::clip`].
//!
//! Nothing waits for the computer: whether the gradients are finite and by how much they are clipped is decided on the
//! GPU, where the updates read it ([`super::adamw`], [`super::adamw8bit`]).
//!
//! ```text
//! measure   partial sums of squares, one for each 4096 values; then one sum for each slot
//! decide    their sum -> factor of clipping; -1 where it is not finite
//! ```

use std::sync::OnceLock;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_cubecl::Cube;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Gpu;
use super::reduce::sum_over_cube;
use super::tensor::{buffer, cube_count, strided, vector_size};
use super::variants::{Variants, variant};
use crate::optim::clip::NORM_EPSILON;

/// Threads of a cube.
pub(super) const N_THREADS: usize = 256;
/// Values that a cube takes.
pub(super) const CHUNK: usize = 4096;
/// Tensors of one launch at most. More would save little: each buffer costs time of its own.
pub(super) const MAX_TENSORS: usize = 16;
/// Buffers of a launch that are no weight's: one of ours, and one that tells a kernel how long all of them are.
const N_OTHERS: usize = 2;
/// What says that a gradient is not finite, in the place of a factor.
const NOT_FINITE: f32 = -1.0;

/// The sums of squares of all gradients, and what follows from them.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Where the partial sums of each slot begin, and where the last ones end.
    starts: Vec<usize>,
    /// The same on the GPU.
    table: Tensor<1, Int>,
    partial: Tensor<1>,
    /// Of each slot, and then of all together.
    squares: Tensor<1>,
    /// Of each slot by itself, and then of all together.
    factors: Tensor<1>,
    /// Tables of 8-bit codes, once they are used.
    codes: OnceLock<Tensor<1>>,
}

impl Norm {
    /// The factors, and which of them decides.
    pub(super) fn decider(&self, by: By) -> (BufferArg, usize) {
        let slot = match by {
            By::All => self.starts.len() - 1,
            By::Slot(slot) => slot,
        };
        (strided(&self.factors).into_buffer_arg(), slot)
    }

    /// The tables of 8-bit codes, made the first time.
    pub(super) fn codes(&self, make: impl FnOnce() -> Tensor<1>) -> &Tensor<1> {
        self.codes.get_or_init(make)
    }
}

/// Whose gradient decides.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// That of all weights.
    All,
    /// That of one weight, without clipping.
    Slot(usize),
}

/// For gradients of so many values each, in the order of their slots.
pub fn norm(_gpu: Gpu, sizes: &[usize], device: &Device) -> Norm {
    let mut starts = vec![0];
    for size in sizes {
        starts.push(starts[starts.len() - 1] + size.div_ceil(CHUNK));
    }
    let table: Vec<i32> = starts.iter().map(|start| *start as i32).collect();
    let data = TensorData::new(table, [starts.len()]);
    let zeros = |n: usize| Tensor::zeros([n.max(1)], device);
    Norm {
        table: Tensor::from_data(data, (device, DType::I32)),
        partial: zeros(starts[sizes.len()]),
        squares: zeros(sizes.len() + 1),
        factors: zeros(sizes.len() + 1),
        codes: OnceLock::new(),
        starts,
    }
}

/// Takes the sums of squares of some gradients, each with its slot, in ascending order.
pub fn measure(_gpu: Gpu, norm: &mut Norm, gradients: &[(usize, &Tensor<2>)]) {
    let Some((first, _)) = gradients.first() else { return };
    let buffers: Vec<_> = gradients.iter().map(|(slot, gradient)| (*slot, buffer(gradient))).collect();
    let client = buffers[0].1.client.clone();
    let at_once = at_once(&client);
    let size_of = |(_, buffer): &(usize, CubeTensor)| vector_size(n_values(buffer), DType::F32);
    let follows =
        |a: &(usize, CubeTensor), b: &(usize, CubeTensor)| b.0 == a.0 + 1 && size_of(a) == size_of(b);
    for run in buffers.chunk_by(follows) {
        for group in run.chunks(at_once) {
            let first = norm.starts[group[0].0];
            let n_cubes = norm.starts[group[group.len() - 1].0 + 1] - first;
            sum_squares::launch(
                &client,
                cube_count(n_cubes),
                CubeDim::new_1d(N_THREADS as u32),
                size_of(&group[0]),
                group.iter().map(|(_, gradient)| gradient.clone().into_buffer_arg()).collect(),
                strided(&norm.partial).into_buffer_arg(),
                first,
                n_cubes,
            );
        }
    }
    for run in buffers.chunk_by(|a, b| b.0 == a.0 + 1) {
        sum_slots::launch(
            &client,
            cube_count(run.len()),
            CubeDim::new_1d(N_THREADS as u32),
            strided(&norm.partial).into_buffer_arg(),
            table(norm).into_buffer_arg(),
            strided(&norm.squares).into_buffer_arg(),
            strided(&norm.factors).into_buffer_arg(),
            run[0].0,
            run.len(),
        );
    }
    debug_assert!(*first < norm.starts.len(), "a slot that is there");
}

/// From all sums to the factor that all gradients are multiplied by, which takes the loss scale away again.
pub fn decide(_gpu: Gpu, norm: &mut Norm, max_norm: Option<f64>, loss_scale: f64) {
    let n_slots = norm.starts.len() - 1;
    let squares = strided(&norm.squares);
    choose_factor::launch(
        &squares.client.clone(),
        CubeCount::Static(1, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        squares.into_buffer_arg(),
        strided(&norm.factors).into_buffer_arg(),
        n_slots,
        // The sums are those of the scaled gradients: the limit is scaled alike.
        max_norm.map_or(f32::MAX, |max_norm| (max_norm * loss_scale) as f32),
        (NORM_EPSILON * loss_scale) as f32,
        (1.0 / loss_scale) as f32,
    );
}

/// The sum of squares of each slot, and then that of all. This waits for the GPU.
pub fn squares(_gpu: Gpu, norm: &Norm) -> Vec<f32> {
    norm.squares.to_data().try_into_vec().expect("sums are f32")
}

fn table(norm: &Norm) -> CubeTensor {
    let primitive = norm.table.clone().try_into_primitive::<Cube>();
    primitive.expect("GPU kernels are chosen for plain CubeCL tensors only")
}

/// How many values a buffer has.
pub(super) fn n_values(buffer: &CubeTensor) -> usize {
    buffer.meta.shape().iter().product()
}

/// How many buffers one launch takes beside the others.
pub(super) fn at_once(client: &Client) -> usize {
    let wanted = match client.name() {
        "cuda" => 4 * MAX_TENSORS,
        // Other drivers take long to compile the code for many, and their launches cost less.
        _ => 8,
    };
    wanted.min(client.properties().hardware.max_bindings as usize - N_OTHERS)
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for size in [4, 1] {
        for n in [1, 4 * MAX_TENSORS] {
            variant!(variants, threads, sum_squares::SumSquares, [(n) _ _ _], size);
        }
    }
    variant!(variants, threads, sum_slots::SumSlots, [_ _ _ _ _ _]);
    variant!(variants, threads, choose_factor::ChooseFactor, [_ _ _ _ _ _]);
}

/// Values of all gradients, chunk by chunk: cube number c takes the chunk that is c-th over all tensors.
#[cube(launch)]
fn sum_squares<N: Size>(
    gradients: &Sequence<Box<[Vector<f32, N>]>>,
    partial: &mut [f32],
    first_partial: usize,
    n_cubes: usize,
) {
    let cube = CUBE_POS;
    if cube >= n_cubes {
        terminate!();
    }
    let size = N::value();
    let mut of_thread = 0.0f32;
    let mut start = 0usize;
    #[unroll]
    for i in 0..gradients.len() {
        let gradient = &gradients[i];
        let n = gradient.len();
        let end = start + n.div_ceil(comptime!(CHUNK / size));
        if cube >= start && cube < end {
            let first = (cube - start) * comptime!(CHUNK / size) + UNIT_POS as usize;
            let mut sum = Vector::<f32, N>::new(0.0);
            #[unroll]
            for step in 0..comptime!(CHUNK / size / N_THREADS) {
                let at = first + step * N_THREADS;
                if at < n {
                    let g = gradient[at];
                    sum += g * g;
                }
            }
            #[unroll]
            for j in 0..size {
                of_thread += sum.extract(j);
            }
        }
        start = end;
    }
    let total = sum_over_cube(of_thread, N_THREADS);
    if UNIT_POS == 0 {
        partial[first_partial + cube] = total;
    }
}

/// A cube for each slot.
#[cube(launch)]
fn sum_slots(
    partial: &[f32],
    starts: &[i32],
    squares: &mut [f32],
    factors: &mut [f32],
    first_slot: usize,
    n_slots: usize,
) {
    if CUBE_POS >= n_slots {
        terminate!();
    }
    let slot = first_slot + CUBE_POS;
    let start = starts[slot] as usize;
    let end = starts[slot + 1] as usize;
    let mut sum = 0.0f32;
    for i in range_stepped(start + UNIT_POS as usize, end, N_THREADS) {
        sum += partial[i];
    }
    let total = sum_over_cube(sum, N_THREADS);
    if UNIT_POS == 0 {
        squares[slot] = total;
        factors[slot] = factor(total, 1.0);
    }
}

/// One cube.
#[cube(launch)]
fn choose_factor(
    squares: &mut [f32],
    factors: &mut [f32],
    n_slots: usize,
    max_norm: f32,
    epsilon: f32,
    unscale: f32,
) {
    let mut sum = 0.0f32;
    for i in range_stepped(UNIT_POS as usize, n_slots, N_THREADS) {
        sum += squares[i];
    }
    let total = sum_over_cube(sum, N_THREADS);
    if UNIT_POS == 0 {
        squares[n_slots] = total;
        factors[n_slots] = factor(total, (max_norm / (f32::sqrt(total) + epsilon)).min(1.0) * unscale);
    }
}

/// `wanted`, if the squares are finite. Asked of their bits, since compilers may take for granted that all is finite.
#[cube]
fn factor(squares: f32, wanted: f32) -> f32 {
    let exponent = (u32::reinterpret(squares) >> 23) & 255;
    let mut factor = wanted;
    if exponent == 255 {
        factor = NOT_FINITE;
    }
    factor
}
