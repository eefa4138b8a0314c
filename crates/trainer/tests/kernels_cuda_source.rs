//! The CUDA C++ of every kernel, made without a device.
//!
//! With `FTL_KERNEL_SOURCES=DIR` it is written there, a folder for each architecture, for `scripts/check-kernels.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use cubecl::cmma::MatrixLayout;
use cubecl::ir::features::{Plane, Tma};
use cubecl::ir::{
    ContiguousElements, DeviceIdentity, DeviceProperties, ElemType, FloatKind, HardwareProperties,
    MemoryDeviceProperties, MmaProperties, OpaqueType, TargetProperties, VectorSize,
};
use cubecl::prelude::CubeKernel;
use cubecl::{Compiler, define_kernel};
use cubecl_cpp::cuda::arch::CudaArchitecture;
use cubecl_cpp::cuda::mma::CudaCmmaCompiler;
use cubecl_cpp::cuda::mma::manual::contiguous_elements_cuda;
use cubecl_cpp::cuda::supported_mma_combinations;
use cubecl_cpp::register_supported_types;
use cubecl_cpp::shared::{
    CompilationOptions, CppCompiler, CppSupportedFeatures, register_mma_features, register_wmma_features,
};
use cubecl_cpp::target::Cuda;
use ftl_trainer::kernels::cube::variants::Variants;

/// Turing, Ampere, Ada, Hopper and Blackwell.
const ARCHITECTURES: [(u32, &str); 5] =
    [(75, "sm_75"), (80, "sm_80"), (89, "sm_89"), (90, "sm_90a"), (100, "sm_100")];

/// What a launch reserves of shared memory at most, in KiB (CUDA C++ Programming Guide, "Technical Specifications per
/// Compute Capability").
fn max_shared_kib(architecture: u32) -> usize {
    match architecture {
        75 => 64,
        80 => 163,
        89 => 99,
        _ => 227,
    }
}

/// What CubeCL's CUDA runtime says about a card (`cubecl-cuda`, `runtime.rs`), as far as kernels ask.
fn device(version: u32) -> DeviceProperties {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 1024,
        max_shared_memory_size: max_shared_kib(version) * 1024,
        max_cube_count: (i32::MAX as u32, u16::MAX.into(), u16::MAX.into()),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: Some(8),
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity =
        DeviceIdentity { name: "described".into(), fingerprint: format!("ptx_sm{version}"), physical: None };
    let mut device = DeviceProperties::new(
        Default::default(),
        MemoryDeviceProperties::new(u64::MAX, 512),
        hardware,
        cubecl::profile::TimingMethod::Device,
        identity,
    );
    register_supported_types(&mut device);
    device.register_opaque_type(OpaqueType::Barrier);
    device.features.plane.insert(Plane::Sync);
    device.features.plane.insert(Plane::Ops);
    device.features.plane.insert(Plane::NonUniformControlFlow);
    device.features.memory_reinterpret = true;
    device.features.alignment = true;
    let halves = [FloatKind::F16, FloatKind::BF16].map(ElemType::Float);
    device.features.matmul.ldmatrix.extend(halves);
    if version >= 80 {
        device.features.copy_async = true;
    }
    if version >= 90 {
        device.features.tma.insert(Tma::Base);
        device.register_opaque_type(OpaqueType::TensorMap);
        device.features.cube_cluster = true;
        device.features.matmul.stmatrix.extend(halves);
    }
    if version >= 100 {
        device.features.tma.insert(Tma::Im2colWide);
    }
    let architecture = CudaArchitecture { version, tensor_cores: true };
    register_wmma_features(CudaCmmaCompiler::Cpp.supported_cmma_combinations(&architecture), &mut device);
    register_mma_features(supported_mma_combinations(&architecture), &mut device);
    device
}

fn target() -> TargetProperties {
    let mma = MmaProperties {
        register_size_bits: 32,
        const_plane_size: 32,
        register_layout_a: MatrixLayout::RowMajor,
        register_layout_b: MatrixLayout::ColMajor,
        register_layout_acc: MatrixLayout::RowMajor,
        register_duplication_a: 1,
        register_duplication_b: 1,
        register_duplication_acc: 1,
        contiguous_elements: ContiguousElements::new(contiguous_elements_cuda),
    };
    TargetProperties { mma }
}

fn options(version: u32) -> CompilationOptions {
    let supports_features = CppSupportedFeatures {
        grid_constants: true,
        clusters: version >= 90,
        elect_sync: version >= 90,
        fast_tanh: true,
        ..CppSupportedFeatures::default()
    };
    CompilationOptions { supports_features, ..CompilationOptions::default() }
}

/// Its name, and its source under a line that says what a launch of it reserves.
fn source(kernel: &dyn CubeKernel, options: &CompilationOptions) -> (String, String) {
    let definition = define_kernel(kernel).unwrap_or_else(|error| panic!("{}: {error}", kernel.name()));
    let (name, threads) = (definition.settings.kernel_name.clone(), definition.settings.cube_dim);
    let compiled = CppCompiler::<Cuda>::default().compile(definition, options);
    let compiled = compiled.unwrap_or_else(|error| panic!("{name}: {error}"));
    let n_threads = threads.x * threads.y * threads.z;
    let head = format!("// threads: {n_threads}, dynamic shared memory: {}", compiled.shared_memory_size);
    (name, format!("{head}\n{compiled}"))
}

#[test]
fn every_kernel_has_cuda_source() {
    let dir = env::var_os("FTL_KERNEL_SOURCES").map(PathBuf::from);
    let mut listed = BTreeSet::new();
    for (version, folder) in ARCHITECTURES {
        let mut sources = BTreeMap::new();
        for kernel in Variants::of(device(version), target()) {
            let (name, source) = source(&*kernel, &options(version));
            assert!(source.contains("__global__"), "{name} is a kernel:\n{source}");
            // The name has a hash of everything that the kernel follows from: the same name is the same kernel.
            sources.insert(name, source);
        }
        listed.extend(sources.keys().cloned());
        if let Some(dir) = &dir {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (name, source) in sources {
                fs::write(folder.join(format!("{name}.cu")), source).expect("the folder can be written");
            }
        }
    }
    let missing: Vec<_> = defined(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/cube"))
        .into_iter()
        .filter(|name| !listed.iter().any(|listed| listed.starts_with(name.as_str())))
        .collect();
    assert!(missing.is_empty(), "no `variants` lists {missing:?}");
}

/// The names of all kernels in a folder.
fn defined(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            names.extend(defined(&path));
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        for kernel in text.split("#[cube(launch").skip(1) {
            let (_, name) = kernel.split_once("fn ").expect("a function follows");
            names.push(name.split(['<', '(']).next().expect("it has a name").to_owned());
        }
    }
    assert!(!names.is_empty(), "{} has kernels", dir.display());
    names
}
