//! Modules, kernels, launches, maps of tensors.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::result::{INVALID_PTX, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED, SUCCESS};
use super::{is_logged, max_shared_bytes};
use crate::ptx::{Compiled, compile};
use crate::run::{Launch, Swizzle, TensorMap, launch};

/// What a launch may ask for unless the kernel is told otherwise.
const USUAL_SHARED_BYTES: usize = 48 << 10;

struct Function {
    compiled: Compiled,
    max_dynamic_shared: AtomicUsize,
}

/// Modules live as long as the program, as CubeCL unloads none.
type Module = Vec<Function>;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: &mut *const c_void, image: *const c_char) -> c_int {
    // SAFETY: the program gives PTX, which ends with a zero byte.
    let ptx = unsafe { CStr::from_ptr(image) }.to_string_lossy();
    let kernels = match compile(&ptx) {
        Ok(kernels) => kernels,
        Err(problem) => {
            eprintln!("cuda-on-cpu: {problem}");
            return INVALID_PTX;
        }
    };
    let functions = kernels
        .into_iter()
        .map(|compiled| Function { compiled, max_dynamic_shared: AtomicUsize::new(USUAL_SHARED_BYTES) });
    let loaded: &'static Module = Box::leak(Box::new(functions.collect()));
    *module = std::ptr::from_ref(loaded).cast();
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: &mut *const c_void,
    module: *const c_void,
    name: *const c_char,
) -> c_int {
    // SAFETY: the module was given by `cuModuleLoadData`, and the name ends with a zero byte.
    let (module, name) = unsafe { (&*module.cast::<Module>(), CStr::from_ptr(name).to_string_lossy()) };
    let Some(found) = module.iter().find(|each| each.compiled.kernel.name == name) else { return NOT_FOUND };
    *function = std::ptr::from_ref(found).cast();
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetAttribute(function: *const c_void, attribute: c_int, value: c_int) -> c_int {
    // SAFETY: given by `cuModuleGetFunction`.
    let function = unsafe { &*function.cast::<Function>() };
    // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    if attribute == 8 {
        if value as usize > max_shared_bytes() {
            return INVALID_VALUE;
        }
        function.max_dynamic_shared.store(value as usize, Ordering::Relaxed);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: *const c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    _stream: *const c_void,
    params: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> c_int {
    // SAFETY: given by `cuModuleGetFunction`.
    let function = unsafe { &*function.cast::<Function>() };
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let n_threads: u32 = block.iter().product();
    let too_much_shared = shared_bytes as usize > function.max_dynamic_shared.load(Ordering::Relaxed);
    let too_large = grid_y > 65535 || grid_z > 65535 || n_threads > 1024 || block_z > 64;
    if grid.contains(&0) || n_threads == 0 || too_large || too_much_shared {
        eprintln!(
            "cuda-on-cpu: {}: a launch of {grid:?} x {block:?} with {shared_bytes} bytes",
            function.compiled.kernel.name
        );
        return INVALID_VALUE;
    }
    if is_logged() {
        // SAFETY: the program gives a pointer to each parameter, of which none is smaller than 8 bytes in kernels of CubeCL.
        let params = (0..function.compiled.kernel.n_params)
            .map(|index| unsafe { **params.add(index).cast::<*const u64>() });
        let params: Vec<String> = params.map(|param| format!("{param:#x}")).collect();
        eprintln!(
            "cuda-on-cpu: {} {grid:?} x {block:?} ({})",
            function.compiled.kernel.name,
            params.join(", ")
        );
    }
    launch(&Launch {
        compiled: &function.compiled,
        grid,
        block,
        n_dynamic_shared: shared_bytes as usize,
        params,
    });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuTensorMapEncodeTiled(
    map: *mut TensorMap,
    data_type: c_uint,
    rank: c_uint,
    address: u64,
    sizes: *const u64,
    strides: *const u64,
    box_sizes: *const c_uint,
    element_strides: *const c_uint,
    interleave: c_uint,
    swizzle: c_uint,
    _l2_promotion: c_uint,
    _out_of_bounds: c_uint,
) -> c_int {
    // `CUtensorMapDataType`.
    let element_bytes = match data_type {
        0 => 1,
        1 | 6 | 9 => 2,
        2 | 3 | 7 | 10..=12 => 4,
        4 | 5 | 8 => 8,
        _ => return NOT_SUPPORTED,
    };
    let swizzle = match swizzle {
        0 => Swizzle::None,
        1 => Swizzle::Bytes32,
        2 => Swizzle::Bytes64,
        3 => Swizzle::Bytes128,
        _ => return NOT_SUPPORTED,
    };
    let n = rank as usize;
    if !(1..=5).contains(&n) || interleave != 0 {
        return NOT_SUPPORTED;
    }
    // SAFETY: the program gives as many as the rank says, of strides one less.
    let (sizes, strides, box_sizes, element_strides) = unsafe {
        (
            slice::from_raw_parts(sizes, n),
            slice::from_raw_parts(strides, n - 1),
            slice::from_raw_parts(box_sizes, n),
            slice::from_raw_parts(element_strides, n),
        )
    };
    // What the driver's documentation asks for.
    let row_bytes = box_sizes[0] as usize * element_bytes;
    let is_right = address.is_multiple_of(16)
        && sizes.iter().all(|size| (1..=1 << 32).contains(size))
        && strides.iter().all(|stride| stride % 16 == 0 && *stride < 1 << 40)
        && box_sizes.iter().all(|size| (1..=256).contains(size))
        && element_strides.iter().all(|stride| *stride == 1)
        && row_bytes.is_multiple_of(16)
        && row_bytes <= swizzle.span();
    if !is_right {
        eprintln!(
            "cuda-on-cpu: no map of {sizes:?} at {address:#x}, strides {strides:?}, box {box_sizes:?} of {swizzle:?}"
        );
        return INVALID_VALUE;
    }
    let mut made = TensorMap {
        address,
        strides: [0; 4],
        sizes: [1; 5],
        box_sizes: [1; 5],
        n_dimensions: n as u16,
        element_bytes: element_bytes as u16,
        swizzle,
        mark: TensorMap::MARK,
    };
    made.strides[..n - 1].copy_from_slice(strides);
    for axis in 0..n {
        made.sizes[axis] = sizes[axis].min(u32::MAX.into()) as u32;
        made.box_sizes[axis] = box_sizes[axis] as u16;
    }
    // SAFETY: the program gives room for a `CUtensorMap`, which is larger.
    unsafe { map.write_unaligned(made) };
    SUCCESS
}
