//! The norms of queries and keys, and their rotary positions in the same pass.
//!
//! The formulas stand in [`crate::ops::qk_norm`] and [`crate::ops::rope`]. What is normalized together is the work of a
//! team: a plane where that is a head, a cube where it is all heads. A thread takes pairs of vectors, those that turn
//! together; what is not turned is paired, too, its first half with its second.

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::norm::offset;
use super::reduce::{sum_of_vector, sum_over_cube};
use super::rope::sign;
use super::tensor::{buffer, element, empty, numbers, owned, tensor};
use super::variants::{Variants, activations, variant};
use crate::kernels::cast;
use crate::ops::attention::AttentionShape;
use crate::ops::qk_norm::{BackwardInput, QkNorm};
use crate::ops::rope::{Rotation, Turn};

/// Threads of a cube.
const N_THREADS: usize = 128;
/// Cubes at most; each goes on with further groups where there are more.
const MAX_CUBES: usize = 1 << 15;
/// Planes of a cube, where they have the 32 threads of NVIDIA's. Others take more turns, or fewer.
const USUAL_PLANES: usize = N_THREADS / 32;

/// Who works on what is normalized together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Team {
    /// A plane, on a head.
    Plane,
    /// A cube, on all heads of a kind.
    Cube,
}

/// Whether pairs are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Turned {
    Yes,
    No,
}

/// The kernel that fits, and what it is told: widths are in vectors.
struct Plan {
    size: usize,
    team: Team,
    turned: Turned,
    n_tokens: usize,
    n_heads: [usize; 2],
    /// Groups of q and of k in a token.
    n_groups: [usize; 2],
    row: usize,
    head: usize,
    /// Half of what is turned of a head.
    half: usize,
    types: [ElemType; 2],
    weights: [CubeTensor; 2],
    positions: CubeTensor,
    cos_sin: CubeTensor,
}

impl Plan {
    fn new(
        norm: &QkNorm,
        (qkv, shape): (&Tensor<2>, &AttentionShape),
        rotation: Option<Rotation<'_>>,
    ) -> Self {
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
        let [n_tokens, width] = qkv.dims();
        let rotary_dim = rotation.map_or(0, |rotation| rotation.table.cos_sin.dims()[1]);
        // No larger, so that a plane of 32 threads has work for all of them on heads of 128 values and more.
        let fits = |size: &usize| {
            [rotary_dim, head_dim - rotary_dim].iter().all(|width| width.is_multiple_of(2 * size))
        };
        let size = [2, 1].into_iter().find(fits).expect("a head has an even number of values");
        let (team, n_groups) = if norm.q.value.dims()[1] == head_dim {
            (Team::Plane, [n_heads, n_kv_heads])
        } else {
            (Team::Cube, [1, 1])
        };
        let q = buffer(&norm.q.value);
        let k = buffer(&cast(norm.k.value.clone(), q.dtype));
        let (turned, positions, cos_sin) = match rotation {
            Some(Rotation { positions, table }) => {
                let positions = table.positions_on(&qkv.device(), positions);
                (Turned::Yes, numbers(&positions), buffer(&table.cos_sin))
            }
            // Not read.
            None => (Turned::No, empty(&q, [1], DType::U32), empty(&q, [1, size], DType::F32)),
        };
        Self {
            size,
            team,
            turned,
            n_tokens,
            n_heads: [n_heads, n_kv_heads],
            n_groups,
            row: width / size,
            head: head_dim / size,
            half: rotary_dim / 2 / size,
            types: [element(&buffer(qkv)), element(&q)],
            weights: [q, k],
            positions,
            cos_sin,
        }
    }

    fn cubes(&self, n_groups: usize) -> CubeCount {
        let n = match self.team {
            Team::Plane => (self.n_tokens * n_groups).div_ceil(USUAL_PLANES),
            Team::Cube => self.n_tokens * n_groups,
        };
        CubeCount::Static(n.min(MAX_CUBES) as u32, 1, 1)
    }
}

/// Returns merged q, k, v with q and k normalized and then turned, and `1 / rms` of each group.
pub fn forward(
    _gpu: Gpu,
    norm: &QkNorm,
    (qkv, shape): (&Tensor<2>, &AttentionShape),
    rotation: Option<Rotation<'_>>,
) -> (Tensor<2>, Tensor<2>) {
    let plan = Plan::new(norm, (qkv, shape), rotation);
    let qkv = buffer(qkv);
    let [q_groups, k_groups] = plan.n_groups;
    let y = empty(&qkv, [plan.n_tokens, plan.row * plan.size], qkv.dtype);
    let inverse_rms = empty(&qkv, [plan.n_tokens, q_groups + k_groups], DType::F32);
    let cubes = plan.cubes(q_groups + 2 * k_groups);
    let [q, k] = plan.weights;
    forward_groups::launch(
        &y.client.clone(),
        cubes,
        CubeDim::new_1d(N_THREADS as u32),
        plan.size,
        qkv.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        inverse_rms.clone().into_buffer_arg(),
        q.into_buffer_arg(),
        k.into_buffer_arg(),
        plan.positions.into_buffer_arg(),
        plan.cos_sin.into_buffer_arg(),
        plan.n_tokens,
        plan.n_heads[0],
        plan.n_heads[1],
        q_groups,
        k_groups,
        plan.row,
        plan.head,
        plan.half,
        norm.eps as f32,
        offset(norm.meaning),
        plan.team,
        plan.turned,
        plan.types,
    );
    (tensor(y), tensor(inverse_rms))
}

/// Turns `d`, the gradient of the output of [`forward`], into that of its input.
pub fn backward(
    _gpu: Gpu,
    norm: &QkNorm,
    input: BackwardInput<'_>,
    (d, rotation): (Tensor<2>, Option<Rotation<'_>>),
) -> Tensor<2> {
    let plan = Plan::new(norm, (input.qkv, input.shape), rotation);
    let (qkv, inverse_rms, d) = (buffer(input.qkv), buffer(input.inverse_rms), owned(d));
    let [q_groups, k_groups] = plan.n_groups;
    let cubes = plan.cubes(q_groups + k_groups);
    let [q, k] = plan.weights;
    backward_groups::launch(
        &d.client.clone(),
        cubes,
        CubeDim::new_1d(N_THREADS as u32),
        plan.size,
        qkv.into_buffer_arg(),
        d.clone().into_buffer_arg(),
        inverse_rms.into_buffer_arg(),
        q.into_buffer_arg(),
        k.into_buffer_arg(),
        plan.positions.into_buffer_arg(),
        plan.cos_sin.into_buffer_arg(),
        plan.n_tokens,
        plan.n_heads[0],
        plan.n_heads[1],
        q_groups,
        k_groups,
        plan.row,
        plan.head,
        plan.half,
        sign(Turn::Backward),
        offset(norm.meaning),
        plan.team,
        plan.turned,
        plan.types,
    );
    tensor(d)
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    let teams = [(Team::Plane, Turned::Yes), (Team::Plane, Turned::No), (Team::Cube, Turned::Yes)];
    for (kind, _) in activations() {
        for (team, turned) in teams {
            for (size, weight) in [(2, kind), (1, kind), (2, f32::elem_type_native())] {
                let types = [kind, weight];
                variant!(
                    variants,
                    threads,
                    forward_groups::ForwardGroups,
                    [_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _],
                    size,
                    team,
                    turned,
                    types
                );
                variant!(
                    variants,
                    threads,
                    backward_groups::BackwardGroups,
                    [_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _],
                    size,
                    team,
                    turned,
                    types
                );
            }
        }
    }
}

#[cube(launch)]
fn forward_groups<F: Float, W: Float, N: Size>(
    qkv: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    inverse_rms: &mut [f32],
    q_weight: &[Vector<W, N>],
    k_weight: &[Vector<W, N>],
    positions: &[u32],
    cos_sin: &[Vector<f32, N>],
    n_tokens: usize,
    n_heads: usize,
    n_kv_heads: usize,
    q_groups: usize,
    k_groups: usize,
    row: usize,
    head: usize,
    half: usize,
    eps: f32,
    offset: f32,
    #[comptime] team: Team,
    #[comptime] turned: Turned,
    #[define(F, W)] _types: [ElemType; 2],
) {
    let n_groups = q_groups + 2 * k_groups;
    let (first, step, lane, n_lanes) = place_of_thread(team);
    for work in range_stepped(first, n_tokens * n_groups, step) {
        let (token, group) = (work / n_groups, work % n_groups);
        let (first_head, heads) = heads_of_group(group, n_heads, n_kv_heads, team);
        let start = token * row + first_head * head;
        let n_pairs = heads * head / 2;
        if group < q_groups + k_groups {
            let mut sum = Vector::<f32, N>::new(0.0);
            for pair in range_stepped(lane, n_pairs, n_lanes) {
                let (a_place, b_place) = places_of_pair(pair, head, half);
                let a = Vector::<f32, N>::cast_from(qkv[start + a_place]);
                let b = Vector::<f32, N>::cast_from(qkv[start + b_place]);
                sum += a * a + b * b;
            }
            let total = sum_over_team(sum_of_vector::<N>(sum), team);
            let mean = total / f32::cast_from(heads * head * sum.vector_size());
            let r = 1.0f32 / f32::sqrt(mean + eps);
            if lane == 0 {
                inverse_rms[token * (q_groups + k_groups) + group] = r;
            }
            for pair in range_stepped(lane, n_pairs, n_lanes) {
                let (a_place, b_place) = places_of_pair(pair, head, half);
                let mut a_weight = q_weight[a_place];
                let mut b_weight = q_weight[b_place];
                if group >= q_groups {
                    a_weight = k_weight[a_place];
                    b_weight = k_weight[b_place];
                }
                let a_factor = Vector::<f32, N>::cast_from(a_weight) + Vector::new(offset);
                let b_factor = Vector::<f32, N>::cast_from(b_weight) + Vector::new(offset);
                let mut a = Vector::<f32, N>::cast_from(qkv[start + a_place]) * Vector::new(r) * a_factor;
                let mut b = Vector::<f32, N>::cast_from(qkv[start + b_place]) * Vector::new(r) * b_factor;
                match turned {
                    Turned::No => {}
                    Turned::Yes => {
                        let in_head = pair % (head / 2);
                        if in_head < half {
                            let angle = usize::cast_from(positions[token]) * 2 * half + in_head;
                            let (cos, sin) = (cos_sin[angle], cos_sin[angle + half]);
                            let turned_a = a * cos - b * sin;
                            b = b * cos + a * sin;
                            a = turned_a;
                        }
                    }
                }
                y[start + a_place] = Vector::cast_from(a);
                y[start + b_place] = Vector::cast_from(b);
            }
        } else {
            for i in range_stepped(lane, heads * head, n_lanes) {
                y[start + i] = qkv[start + i];
            }
        }
    }
}

#[cube(launch)]
fn backward_groups<F: Float, W: Float, N: Size>(
    qkv: &[Vector<F, N>],
    d: &mut [Vector<F, N>],
    inverse_rms: &[f32],
    q_weight: &[Vector<W, N>],
    k_weight: &[Vector<W, N>],
    positions: &[u32],
    cos_sin: &[Vector<f32, N>],
    n_tokens: usize,
    n_heads: usize,
    n_kv_heads: usize,
    q_groups: usize,
    k_groups: usize,
    row: usize,
    head: usize,
    half: usize,
    sign: f32,
    offset: f32,
    #[comptime] team: Team,
    #[comptime] turned: Turned,
    #[define(F, W)] _types: [ElemType; 2],
) {
    let n_groups = q_groups + k_groups;
    let (first, step, lane, n_lanes) = place_of_thread(team);
    for work in range_stepped(first, n_tokens * n_groups, step) {
        let (token, group) = (work / n_groups, work % n_groups);
        let (first_head, heads) = heads_of_group(group, n_heads, n_kv_heads, team);
        let start = token * row + first_head * head;
        let n_pairs = heads * head / 2;
        let r = inverse_rms[work];
        let mut sum = Vector::<f32, N>::new(0.0);
        // First the sum, and the gradient before the turn in the place of that behind it; then the gradient of the input.
        for pair in range_stepped(lane, n_pairs, n_lanes) {
            let (a_place, b_place) = places_of_pair(pair, head, half);
            let mut a_weight = q_weight[a_place];
            let mut b_weight = q_weight[b_place];
            if group >= q_groups {
                a_weight = k_weight[a_place];
                b_weight = k_weight[b_place];
            }
            let a_factor = Vector::<f32, N>::cast_from(a_weight) + Vector::new(offset);
            let b_factor = Vector::<f32, N>::cast_from(b_weight) + Vector::new(offset);
            let mut a = Vector::<f32, N>::cast_from(d[start + a_place]);
            let mut b = Vector::<f32, N>::cast_from(d[start + b_place]);
            match turned {
                Turned::No => {}
                Turned::Yes => {
                    let in_head = pair % (head / 2);
                    if in_head < half {
                        let angle = usize::cast_from(positions[token]) * 2 * half + in_head;
                        let (cos, sin) = (cos_sin[angle], cos_sin[angle + half] * Vector::new(sign));
                        let turned_a = a * cos - b * sin;
                        b = b * cos + a * sin;
                        a = turned_a;
                        d[start + a_place] = Vector::cast_from(a);
                        d[start + b_place] = Vector::cast_from(b);
                    }
                }
            }
            sum += a * a_factor * Vector::cast_from(qkv[start + a_place]);
            sum += b * b_factor * Vector::cast_from(qkv[start + b_place]);
        }
        let total = sum_over_team(sum_of_vector::<N>(sum), team);
        let c = total / f32::cast_from(heads * head * sum.vector_size()) * r * r * r;
        for pair in range_stepped(lane, n_pairs, n_lanes) {
            let (a_place, b_place) = places_of_pair(pair, head, half);
            let mut a_weight = q_weight[a_place];
            let mut b_weight = q_weight[b_place];
            if group >= q_groups {
                a_weight = k_weight[a_place];
                b_weight = k_weight[b_place];
            }
            let a_factor = Vector::<f32, N>::cast_from(a_weight) + Vector::new(offset);
            let b_factor = Vector::<f32, N>::cast_from(b_weight) + Vector::new(offset);
            let a = Vector::<f32, N>::cast_from(d[start + a_place]) * a_factor * Vector::new(r);
            let b = Vector::<f32, N>::cast_from(d[start + b_place]) * b_factor * Vector::new(r);
            let a_back = a - Vector::cast_from(qkv[start + a_place]) * Vector::new(c);
            let b_back = b - Vector::cast_from(qkv[start + b_place]) * Vector::new(c);
            d[start + a_place] = Vector::cast_from(a_back);
            d[start + b_place] = Vector::cast_from(b_back);
        }
    }
}

/// The first group of a thread's team and how many further its next one is, and its place in the team and the team's
/// size.
#[cube]
fn place_of_thread(#[comptime] team: Team) -> (usize, usize, usize, usize) {
    match team {
        Team::Plane => {
            let n_planes = CUBE_DIM / PLANE_DIM;
            (
                (CUBE_POS_X * n_planes + PLANE_POS) as usize,
                (CUBE_COUNT_X * n_planes) as usize,
                UNIT_POS_PLANE as usize,
                PLANE_DIM as usize,
            )
        }
        Team::Cube => (CUBE_POS_X as usize, CUBE_COUNT_X as usize, UNIT_POS as usize, CUBE_DIM as usize),
    }
}

/// The first head of a group, and how many it has. Groups are those of q, of k, then of v.
#[cube]
fn heads_of_group(group: usize, n_heads: usize, n_kv_heads: usize, #[comptime] team: Team) -> (usize, usize) {
    match team {
        Team::Plane => (group, 1usize.runtime()),
        Team::Cube => {
            let mut first = 0usize.runtime();
            let mut n = n_heads;
            if group > 0 {
                first = n_heads + (group - 1) * n_kv_heads;
                n = n_kv_heads;
            }
            (first, n)
        }
    }
}

/// The vectors of a pair, counted from the start of the group's first head.
#[cube]
fn places_of_pair(pair: usize, head: usize, half: usize) -> (usize, usize) {
    let n_pairs = head / 2;
    let in_head = pair % n_pairs;
    let mut a = pair / n_pairs * head + in_head;
    let mut b = a + half;
    if in_head >= half {
        b = a + n_pairs;
        a += half;
    }
    (a, b)
}

#[cube]
fn sum_over_team(value: f32, #[comptime] team: Team) -> f32 {
    match team {
        Team::Plane => plane_sum(value),
        Team::Cube => sum_over_cube(value, N_THREADS),
    }
}
