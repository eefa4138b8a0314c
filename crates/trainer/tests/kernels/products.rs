//! Products in 16 bits, however their operands lie in memory.

use burn::tensor::{DType, Device, Tensor};
use ftl_trainer::kernels::cube::matmul::add_product;
use ftl_trainer::kernels::{Gpu, Kernels, Precision, cast, matmul};
use rand::RngExt;

use crate::device::{assert_close, device, values};
use crate::random::{self, generator, matrix};

/// Which axis of a matrix is contiguous.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rows,
    Columns,
}

/// A matrix of random numbers that 16 bits hold exactly, on the CPU and on the device.
fn operand(seed: u64, shape: [usize; 2], order: Order, device: &Device) -> [Tensor<2>; 2] {
    let [m, n] = shape;
    let drawn = random::values(&mut generator(seed), m * n);
    let drawn: Vec<f32> = drawn.iter().map(|value| (value * 64.0).round() / 64.0).collect();
    let made = |device: &Device| match order {
        Order::Rows => matrix(&drawn, [m, n], device),
        Order::Columns => matrix(&drawn, [n, m], device).transpose(),
    };
    let on_device = match order {
        Order::Rows => cast(matrix(&drawn, [m, n], device), DType::BF16),
        Order::Columns => cast(matrix(&drawn, [n, m], device), DType::BF16).transpose(),
    };
    [made(&Device::flex()), on_device]
}

#[test]
fn products_of_any_layout_equal_those_on_the_cpu() {
    let Some(device) = device().filter(|device| device.supports_dtype(DType::BF16)) else { return };
    let kernels = Kernels::Cube(Gpu { precision: Precision::Bf16 });
    let orders =
        [Order::Rows, Order::Columns].into_iter().flat_map(|a| [(a, Order::Rows), (a, Order::Columns)]);
    let mut rng = generator(9);
    for (a, b) in orders {
        for round in 0..6 {
            // The last rounds have rows that the copy engine can't read.
            let unit = if round < 4 { 8 } else { 1 };
            let [m, k, n] = [700, 500, 600].map(|most| rng.random_range(1..=most / unit) * unit);
            let [[a_cpu, a_gpu], [b_cpu, b_gpu]] =
                [operand(round, [m, k], a, &device), operand(round + 100, [k, n], b, &device)];
            let want = values(a_cpu.matmul(b_cpu));
            for (out, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 5e-3)] {
                let got = values(matmul(kernels, (&a_gpu, &b_gpu), out));
                assert_close(&format!("{a:?} {b:?} {m} {k} {n} to {out:?}"), &got, &want, tolerance);
            }
        }
    }
}

#[test]
fn long_sums_of_few_values_equal_those_on_the_cpu() {
    let Some(device) = device().filter(|device| device.supports_dtype(DType::BF16)) else { return };
    let gpu = Gpu { precision: Precision::Bf16 };
    for (seed, a, b) in
        [(1, Order::Rows, Order::Columns), (2, Order::Rows, Order::Rows), (3, Order::Columns, Order::Rows)]
    {
        let [m, k, n] = [136, 8200, 48];
        let [[a_cpu, a_gpu], [b_cpu, b_gpu]] =
            [operand(seed, [m, k], a, &device), operand(seed + 100, [k, n], b, &device)];
        let want = values(a_cpu.matmul(b_cpu));
        let got = values(matmul(Kernels::Cube(gpu), (&a_gpu, &b_gpu), DType::BF16));
        assert_close(&format!("{a:?} {b:?}"), &got, &want, 5e-3);
        let first = add_product(gpu, (&a_gpu, &b_gpu), None);
        let twice = values(add_product(gpu, (&a_gpu, &b_gpu), Some(first)));
        let want: Vec<f32> = want.iter().map(|value| 2.0 * value).collect();
        assert_close(&format!("twice {a:?} {b:?}"), &twice, &want, 1e-5);
    }
}
