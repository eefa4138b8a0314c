//! The instruction, as inline PTX, and the descriptors of its operands.

use cubecl::intrinsic;
use cubecl::prelude::*;

use super::Major;

/// The address of shared memory in units of 16 bytes, as descriptors have it.
#[cube]
pub(super) fn address<F: Float>(start: &[F]) -> u64 {
    let pointer = start.as_ptr();
    let address: u32;
    gpu_asm!(
        "{{ .reg .u64 t; cvta.to.shared.u64 t, {p}; cvt.u32.u64 {d}, t; }}",
        p = in(_) pointer, d = out(_) address, options(nomem),
    );
    ((address & 0x3FFFF) >> 4) as u64
}

/// Descriptors of tiles, but for their addresses: strides in units of 16 bytes, and the permutation of 128 bytes.
fn layout(major: Major) -> u64 {
    // From 8 rows to the next 8 it is 1024 bytes; from 64 columns to the next 64 a box, where they are not in one row.
    let leading = match major {
        Major::K => 1,
        Major::Other => 8192 / 16,
    };
    leading << 16 | (1024 / 16) << 32 | 1 << 62
}

/// What is added to a descriptor for the next 16 values of k: 32 bytes along a row, or 16 rows.
fn next_16(major: Major) -> u64 {
    match major {
        Major::K => 32 / 16,
        Major::Other => 16 * 128 / 16,
    }
}

/// The instruction's name for an operand that does not lie with k contiguous.
fn transposed(major: Major) -> u8 {
    match major {
        Major::K => 0,
        Major::Other => 1,
    }
}

/// Moves sums into the registers that the instruction works on. The compiler makes both the same.
fn moves(n_sums: usize) -> String {
    (0..n_sums).map(|i| format!("mov.f32 %{i}, %{};", n_sums + i)).collect()
}

/// The value of a variable: assembly would be given its address.
#[cube]
fn loaded<Sums: Size>(value: Vector<f32, Sums>) -> Vector<f32, Sums> {
    intrinsic!(|scope| value.read_value(scope).into())
}

/// `sums + A B` for a tile of 64 values of k.
#[cube]
pub(super) fn multiply<Sums: Size>(
    sums: Vector<f32, Sums>,
    start_a: u64,
    start_b: u64,
    #[comptime] majors: [Major; 2],
    #[comptime] ty: &'static str,
) -> Vector<f32, Sums> {
    let n_sums = sums.vector_size();
    let n = comptime!(2 * n_sums);
    let moves = comptime!(moves(n_sums));
    let [transposed_a, transposed_b] = comptime!(majors.map(transposed));
    let [next_a, next_b] = comptime!(majors.map(next_16));
    let a = start_a + comptime!(layout(majors[0]));
    let b = start_b + comptime!(layout(majors[1]));
    let out: Vector<f32, Sums>;
    gpu_asm!(
        "{{ .reg .pred p; .reg .b64 da, db; // {c}",
        "setp.ne.b32 p, 1, 0; mov.b64 da, {a}; mov.b64 db, {b};",
        "{moves}",
        "wgmma.fence.sync.aligned;",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "add.s64 da, da, {next_a}; add.s64 db, db, {next_b};",
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {d}, da, db, p, 1, 1, {transposed_a}, {transposed_b};",
        "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }}",
        c = in(_) loaded::<Sums>(sums), a = in(_) a, b = in(_) b, d = out(_) out,
    );
    out
}
