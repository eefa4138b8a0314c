//! How many threads go over values that are alike, one each.

use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Threads of a cube.
const N_THREADS: u32 = 256;

/// Cubes with at least `n` threads together, and their shape. What a thread works on is `ABSOLUTE_POS`, if that is
/// below `n`.
pub fn each(client: &Client, n: usize) -> (CubeCount, CubeDim) {
    let dim = threads();
    (calculate_cube_count_elemwise(client, n, dim), dim)
}

/// The shape of these cubes.
pub fn threads() -> CubeDim {
    CubeDim::new_1d(N_THREADS)
}
