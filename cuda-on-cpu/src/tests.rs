//! Small kernels in PTX, and what comes out of them.

use std::ffi::c_void;

use crate::ptx::compile;
use crate::run::{Launch, launch};

/// Runs the body of a kernel in one block of threads. It has `%out`, the address of as many 32-bit words as there are
/// threads and then of those that `input` has, and `%me`, the address of the thread's own.
fn run(n_threads: u32, declarations: &str, body: &str, input: &[u32]) -> Vec<u32> {
    let ptx = format!(
        ".version 9.0\n.target sm_90a\n.address_size 64\n{declarations}\n.visible .entry kernel(.param .u64 kernel_param_0)\n{{
        .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %d<9>, %out, %me;
        ld.param.u64 %out, [kernel_param_0];
        mov.u32 %r0, %tid.x;
        mul.wide.u32 %me, %r0, 4;
        add.s64 %me, %out, %me;
        {body}
        ret;\n}}\n"
    );
    let compiled = compile(&ptx).unwrap_or_else(|problem| panic!("{problem}"));
    let mut out = vec![0u32; n_threads as usize];
    out.extend_from_slice(input);
    let mut address = out.as_mut_ptr();
    let mut params = [(&raw mut address).cast::<c_void>()];
    let (grid, block) = ([1; 3], [n_threads, 1, 1]);
    launch(&Launch {
        compiled: &compiled[0],
        grid,
        block,
        n_dynamic_shared: 4096,
        params: params.as_mut_ptr(),
    });
    out.truncate(n_threads as usize);
    out
}

/// The result of one instruction that ends in `%r1`, by one thread.
fn one(body: &str) -> u32 {
    run(1, "", &format!("{body} st.global.u32 [%me], %r1;"), &[])[0]
}

#[test]
fn integers() {
    for (body, want) in [
        ("mul.hi.u32 %r1, 0xffffffff, 0xffffffff;", 0xffff_fffe),
        ("mov.u32 %r2, -7; shr.s32 %r1, %r2, 1;", -4i32 as u32),
        ("mov.u32 %r2, 1; mov.u32 %r3, 32; shl.b32 %r1, %r2, %r3;", 0),
        ("mov.u32 %r2, 0x12345678; mov.u32 %r3, 0x9abcdef0; shf.l.wrap.b32 %r1, %r2, %r3, 8;", 0xbcde_f012),
        ("mov.u32 %r2, 0x12345678; mov.u32 %r3, 0x9abcdef0; prmt.b32 %r1, %r2, %r3, 0x7531;", 0x9ade_1256),
        ("mov.u32 %r2, 0xf0; bfe.s32 %r1, %r2, 4, 4;", u32::MAX),
        ("mov.u32 %r2, 0xff; mov.u32 %r3, 0; bfi.b32 %r1, %r2, %r3, 4, 4;", 0xf0),
        ("mov.u32 %r2, 12; lop3.b32 %r1, %r2, 10, 6, 0x96;", 12 ^ 10 ^ 6),
        ("mov.u32 %r2, -1; mov.u32 %r3, 1; setp.lt.u32 %p1, %r2, %r3; selp.b32 %r1, 5, 6, %p1;", 6),
        ("mov.u32 %r2, -1; mov.u32 %r3, 1; setp.lt.s32 %p1, %r2, %r3; selp.b32 %r1, 5, 6, %p1;", 5),
        ("mov.u32 %r2, 100000; cvt.s16.s32 %h1, %r2; cvt.s32.s16 %r1, %h1;", -31072i32 as u32),
        ("mov.u32 %r2, 7; mov.u32 %r1, 1; setp.eq.u32 %p1, %r2, 7; @!%p1 mov.u32 %r1, 2;", 1),
    ] {
        assert_eq!(one(body), want, "{body}");
    }
}

#[test]
fn floats() {
    let of = |body: &str| f32::from_bits(one(&format!("{body} mov.b32 %r1, %f1;")));
    for (body, want) in [
        // 1 + 2^-24 lies between two floats.
        ("add.rn.f32 %f1, 0f3F800000, 0f33800000;", 1.0),
        ("add.rp.f32 %f1, 0f3F800000, 0f33800000;", 1.0 + f32::EPSILON),
        ("fma.rm.f32 %f1, 0fBF800000, 0f3F800000, 0fB3800000;", -1.0 - f32::EPSILON),
        ("max.f32 %f1, 0f7FC00000, 0f40000000;", 2.0),
        ("cvt.sat.f32.f32 %f1, 0fC0000000;", 0.0),
        ("cvt.rni.f32.f32 %f1, 0f40200000;", 2.0),
        ("mov.b32 %r2, 0x3f80c000; cvt.rn.bf16.f32 %h1, %r2; cvt.f32.bf16 %f1, %h1;", 1.007_812_5),
        ("mov.b32 %r2, 0x477fff00; cvt.rn.f16.f32 %h1, %r2; cvt.f32.f16 %f1, %h1;", f32::INFINITY),
    ] {
        assert_eq!(of(body), want, "{body}");
    }
    assert_eq!(one("cvt.rzi.s32.f32 %r1, 0fC0600000;"), -3i32 as u32);
    assert_eq!(one("cvt.rzi.u32.f32 %r1, 0fC0600000;"), 0);
    assert_eq!(one("setp.ltu.f32 %p1, 0f7FC00000, 0f00000000; selp.b32 %r1, 1, 0, %p1;"), 1);
    assert_eq!(one("setp.ne.f32 %p1, 0f7FC00000, 0f00000000; selp.b32 %r1, 1, 0, %p1;"), 0);
}

#[test]
fn lanes_exchange_values() {
    let swapped = run(64, "", "shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1; st.global.u32 [%me], %r1;", &[]);
    assert!(swapped.iter().enumerate().all(|(index, value)| *value == index as u32 ^ 1), "{swapped:?}");
    let up = run(32, "", "shfl.sync.up.b32 %r1, %r0, 2, 0, -1; st.global.u32 [%me], %r1;", &[]);
    assert_eq!(up[..5], [0, 1, 0, 1, 2]);
    let even = "and.b32 %r1, %r0, 1; setp.eq.u32 %p1, %r1, 0; vote.sync.ballot.b32 %r1, %p1, -1; st.global.u32 [%me], %r1;";
    assert_eq!(run(32, "", even, &[]), [0x5555_5555; 32]);
}

#[test]
fn a_barrier_keeps_threads_from_reading_too_early() {
    let declared = ".shared .align 4 .b8 cells[1024];";
    let body = |barrier: &str| {
        format!(
            "mov.u32 %r1, cells; shl.b32 %r2, %r0, 2; add.u32 %r3, %r1, %r2; xor.b32 %r4, %r2, 1020; add.u32 %r4, %r1, %r4;
             st.shared.u32 [%r3], %r0; {barrier} ld.shared.u32 %r5, [%r4]; st.global.u32 [%me], %r5;"
        )
    };
    let mirrored = run(256, declared, &body("bar.sync 0;"), &[]);
    assert!(mirrored.iter().enumerate().all(|(index, value)| *value == 255 - index as u32));
    // A barrier of other threads is none: in a random order some find what was there before.
    let early = run(256, declared, &body("bar.warp.sync -1;"), &[]);
    assert!(early.contains(&u32::MAX), "{early:?}");
}

#[test]
fn a_product_of_a_warp() {
    // a[row][k] = row + k, b[k][column] = column - k, as bf16 pairs in the order that the registers have.
    let bf16 = |value: i32| (value as f32).to_bits() >> 16;
    let pair = |first: i32, second: i32| bf16(first) | bf16(second) << 16;
    let mut input = Vec::new();
    for lane in 0..32i32 {
        let (group, within) = (lane / 4, lane % 4 * 2);
        for (rows, ks) in [(0, 0), (8, 0), (0, 8), (8, 8)] {
            let first = group + rows + within + ks;
            input.push(pair(first, first + 1));
        }
        for ks in [0, 8] {
            let first = group - within - ks;
            input.push(pair(first, first - 1));
        }
    }
    let body = "mul.lo.u32 %r1, %r0, 24; cvt.u64.u32 %d1, %r1; add.s64 %d1, %out, %d1;
        ld.global.u32 %r2, [%d1+128]; ld.global.u32 %r3, [%d1+132]; ld.global.u32 %r4, [%d1+136];
        ld.global.u32 %r5, [%d1+140]; ld.global.u32 %r6, [%d1+144]; ld.global.u32 %r7, [%d1+148];
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r2, %r3, %r4, %r5}, {%r6, %r7},
            {0f00000000, 0f00000000, 0f00000000, 0f3F800000};
        mov.b32 %r8, %f4; st.global.u32 [%me], %r8;";
    let got = run(32, "", body, &input);
    for (lane, got) in got.into_iter().enumerate() {
        let (row, column) = (lane as i32 / 4 + 8, lane as i32 % 4 * 2 + 1);
        let want: i32 = (0..16).map(|k| (row + k) * (column - k)).sum();
        assert_eq!(f32::from_bits(got), want as f32 + 1.0, "lane {lane}");
    }
}

#[test]
fn a_copy_is_there_once_it_was_waited_for() {
    let declared = ".shared .align 16 .b8 cells[16];";
    let body = |wait: &str| {
        format!(
            "mov.u32 %r1, cells; cp.async.ca.shared.global [%r1], [%out+16], 16; cp.async.commit_group; {wait}
             ld.shared.u32 %r2, [%r1+4]; st.global.u32 [%me], %r2;"
        )
    };
    // Four threads: what they copy is behind their four words.
    let input = [1, 2, 3, 4];
    assert_eq!(run(4, declared, &body("cp.async.wait_group 0;"), &input), [2; 4]);
    assert_eq!(run(4, declared, &body("cp.async.wait_group 1;"), &input), [u32::MAX; 4]);
}

#[test]
fn what_is_not_known_is_named() {
    for (instruction, why) in [
        ("tcgen05.alloc.b32 %r1, 5", "an instruction that is not known here"),
        ("min.u16x2 %r1, %r1, %r1", "packed or saturating integers, which are not known here"),
        ("add.sat.s32 %r1, %r1, %r1", "packed or saturating integers, which are not known here"),
        ("redux.sync.min.f32 %r1, %r1, -1", "a reduction of floats"),
        ("ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r1, %r1}, [%r1]", "a shape that is not known"),
    ] {
        let ptx = format!(
            ".version 9.0\n.visible .entry kernel()\n{{\n.reg .b32 %r<2>;\n{instruction};\nret;\n}}\n"
        );
        let problem = compile(&ptx).expect_err("nothing here knows it");
        assert_eq!(problem, format!("{why}: {instruction}"));
    }
}
