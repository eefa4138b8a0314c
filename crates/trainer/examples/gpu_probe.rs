//! temporary probe
use burn::tensor::{DType, Device, Tensor, TensorData};
use ftl_trainer::kernels::{Gpu, Kernels, Precision, matmul};
use std::time::Instant;
fn random(shape: [usize; 2], device: &Device) -> Tensor<2> {
    let mut s = 12345u64 + shape[0] as u64;
    let v: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((s >> 40) as f32 / (1u32 << 24) as f32) - 0.5
        })
        .collect();
    Tensor::<2>::from_data(TensorData::new(v, shape), device).cast(DType::BF16)
}
fn main() {
    let device = Device::cuda(0);
    let kernels = Kernels::Cube(Gpu { precision: Precision::Bf16 });
    for (m, n, k, l) in [
        (2048, 16384, 2048, "NT"),
        (2048, 2048, 16384, "NN"),
        (8192, 3072, 2048, "NT"),
        (8192, 3072, 576, "NT"),
        (8192, 576, 3072, "NN"),
        (2048, 2048, 8192, "NT"),
        (2048, 960, 576, "NT"),
        (2048, 3072, 576, "NT"),
        (2048, 32, 2048, "NT"),
        (8192, 32, 2048, "NT"),
        (8192, 2048, 32, "NN"),
        (32, 2048, 8192, "TN"),
        (2048, 32, 8192, "TN"),
        (4096, 4096, 4096, "TN"),
        (8192, 8192, 8192, "NT"),
    ] {
        let a = if l == "TN" { random([k, m], &device).transpose() } else { random([m, k], &device) };
        let b = if l == "NT" { random([n, k], &device).transpose() } else { random([k, n], &device) };
        let t = Instant::now();
        let mut c = matmul(kernels, (&a, &b), DType::BF16);
        device.sync().unwrap();
        let first = t.elapsed().as_secs_f64();
        for _ in 0..3 {
            c = matmul(kernels, (&a, &b), DType::BF16);
        }
        device.sync().unwrap();
        let n_iter = 50;
        let t = Instant::now();
        for _ in 0..n_iter {
            c = matmul(kernels, (&a, &b), DType::BF16);
        }
        let host = t.elapsed().as_secs_f64() / n_iter as f64;
        device.sync().unwrap();
        let sec = t.elapsed().as_secs_f64() / n_iter as f64;
        drop(c);
        println!(
            "{m}x{n}x{k} {l}: {:.0} TFLOP/s {:.1} us host {:.1} us, first {first:.2}s",
            2.0 * (m * n * k) as f64 / sec / 1e12,
            sec * 1e6,
            host * 1e6
        );
    }
}
