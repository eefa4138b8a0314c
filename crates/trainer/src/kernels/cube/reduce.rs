//! Sums and maxima over the threads of a cube.

use cubecl::prelude::*;

/// The sum of every thread's `value`, given to all of them. Every thread of the cube must come here.
#[cube]
pub fn sum_over_cube(value: f32, #[comptime] n_threads: usize) -> f32 {
    // One place for each plane; planes have 4 threads at least.
    let mut sums = Shared::<[f32]>::new_slice(comptime!(n_threads.div_ceil(4)));
    let of_plane = plane_sum(value);
    if UNIT_POS_PLANE == 0 {
        sums[PLANE_POS as usize] = of_plane;
    }
    sync_cube();
    let n_planes = CUBE_DIM / PLANE_DIM;
    let mut sum = 0.0f32;
    for plane in 0..n_planes {
        sum += sums[plane as usize];
    }
    // Whoever sums next writes to the same places.
    sync_cube();
    sum
}

/// The largest of every thread's `value`, given to all of them. Every thread of the cube must come here.
#[cube]
pub fn max_over_cube(value: f32, #[comptime] n_threads: usize) -> f32 {
    let mut largest = Shared::<[f32]>::new_slice(comptime!(n_threads.div_ceil(4)));
    let of_plane = plane_max(value);
    if UNIT_POS_PLANE == 0 {
        largest[PLANE_POS as usize] = of_plane;
    }
    sync_cube();
    let n_planes = CUBE_DIM / PLANE_DIM;
    let mut max = of_plane;
    for plane in 0..n_planes {
        max = f32::max(max, largest[plane as usize]);
    }
    sync_cube();
    max
}

/// The sum of the values of a vector.
#[cube]
pub fn sum_of_vector<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..vector.vector_size() {
        sum += vector.extract(i);
    }
    sum
}
