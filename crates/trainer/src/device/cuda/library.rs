//! libcuda and NVRTC by their C functions, of which each is looked up: an old library may lack some.

use std::ffi::{c_char, c_int, c_uint, c_void};

use cudarc::{driver, nvrtc as compiler};
use ftl_core::Problem;

use crate::device::first_kernel::caught;
use crate::device::judge::{self, Capability, Card, ComputeMode, CudaVersion, Nvrtc};
use crate::device::{toolkit, unusable};

/// A code of the driver that is no error.
const SUCCESS: c_int = 0;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_MODE`.
const COMPUTE_MODE: c_int = 20;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
const CAPABILITY_MINOR: c_int = 76;

/// Codes of the driver (`CUresult` in cuda.h) that a user can do something about.
const CODES: [(c_int, &str, &str); 9] = [
    (2, "the GPU has no memory left", "end what uses it; `nvidia-smi` lists the processes"),
    (
        34,
        "libcuda.so is the toolkit's stub and not the driver's",
        "take the directory `stubs` off LD_LIBRARY_PATH",
    ),
    (35, "the NVIDIA driver is too old for its own library", "install driver 525 or newer"),
    (46, "the GPU is in use by another process, and lets one at a time compute", EXCLUSIVE_HINT),
    (
        100,
        "the NVIDIA driver has no GPU for this process",
        "check with `nvidia-smi`; in a container, pass the GPU through",
    ),
    (101, "the NVIDIA driver does not know this GPU", "check CUDA_VISIBLE_DEVICES and `nvidia-smi`"),
    (802, "the NVIDIA driver is not ready yet", "wait for its services (fabric manager), then try again"),
    (
        803,
        "the NVIDIA driver's library and its kernel module are of different versions",
        "restart the machine after an update of the driver; in a container, use the host's libcuda.so",
    ),
    (804, "the CUDA compatibility package does not fit this GPU", "take its directory off LD_LIBRARY_PATH"),
];

const EXCLUSIVE_HINT: &str = "wait for it, or share the GPU with `nvidia-smi -c DEFAULT`";

/// A function of libcuda.
fn of_driver<F: Copy>(name: &str) -> Result<F, Problem> {
    let found = caught(|| {
        // SAFETY: the library is the one CubeCL uses; callers name the type that cuda.h gives the function.
        unsafe { driver::sys::culib().get::<F>(name.as_bytes()).map(|function| *function).ok() }
    });
    found.ok().flatten().ok_or_else(|| {
        let message = format!("the NVIDIA driver is too old: its library has no `{name}`");
        unusable(message, "install driver 525 or newer, or use `--device cpu`")
    })
}

fn checked(code: c_int, what: &str) -> Result<(), Problem> {
    if code == SUCCESS {
        return Ok(());
    }
    Err(match CODES.iter().find(|(known, _, _)| *known == code) {
        Some((_, message, hint)) => unusable(*message, *hint),
        None => unusable(
            format!("the NVIDIA driver failed to {what} (error {code})"),
            "check with `nvidia-smi`, and look at the system's log",
        ),
    })
}

/// Starts the driver and returns the newest CUDA that it knows.
pub(super) fn start_driver() -> Result<CudaVersion, Problem> {
    // SAFETY: only tries to load each name that the library may have.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(unusable(
            "the NVIDIA driver's library libcuda.so can't be found",
            "install the NVIDIA driver (in a container, pass the GPU through), or use `--device cpu`",
        ));
    }
    let init: unsafe extern "C" fn(c_uint) -> c_int = of_driver("cuInit")?;
    // SAFETY: as in cuda.h.
    checked(unsafe { init(0) }, "start")?;
    let version: unsafe extern "C" fn(*mut c_int) -> c_int = of_driver("cuDriverGetVersion")?;
    let mut number = 0;
    // SAFETY: writes one number.
    checked(unsafe { version(&mut number) }, "say its version")?;
    let version = from_thousands(number);
    judge::of_driver(version)?;
    Ok(version)
}

/// `12040` is 12.4.
fn from_thousands(number: c_int) -> CudaVersion {
    Capability(number as u32 / 1000, number as u32 % 1000 / 10)
}

/// How many cards this process sees.
pub(super) fn n_cards() -> Result<usize, Problem> {
    let count: unsafe extern "C" fn(*mut c_int) -> c_int = of_driver("cuDeviceGetCount")?;
    let mut n = 0;
    // SAFETY: writes one number.
    checked(unsafe { count(&mut n) }, "count the GPUs")?;
    Ok(usize::try_from(n).unwrap_or(0))
}

/// What is known of a card before anything runs on it.
pub(super) fn card(index: usize) -> Result<Card, Problem> {
    let device = handle(index)?;
    let name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int = of_driver("cuDeviceGetName")?;
    let mut text = [0u8; 256];
    // SAFETY: writes at most as many bytes as there are.
    checked(unsafe { name(text.as_mut_ptr().cast(), text.len() as c_int, device) }, "name the GPU")?;
    let name = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int =
        of_driver("cuDeviceGetAttribute")?;
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: writes one number.
        checked(unsafe { attribute(&mut value, which, device) }, "describe the GPU").map(|()| value as u32)
    };
    Ok(Card {
        index,
        name: String::from_utf8_lossy(name).into_owned(),
        capability: Capability(attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?),
        mode: match attribute(COMPUTE_MODE)? {
            0 => ComputeMode::Shared,
            2 => ComputeMode::Prohibited,
            _ => ComputeMode::Exclusive,
        },
        memory: None,
    })
}

fn handle(index: usize) -> Result<c_int, Problem> {
    let get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int = of_driver("cuDeviceGet")?;
    let mut device = 0;
    // SAFETY: writes one number.
    checked(unsafe { get(&mut device, index as c_int) }, "open the GPU")?;
    Ok(device)
}

/// The card with its memory, after the process took its place on it. The place (CUDA's primary context) is kept: CubeCL
/// takes the same one, and making it is most of the time that opening takes.
pub(super) fn entered(card: Card) -> Result<Card, Problem> {
    let device = handle(card.index)?;
    let mut context: *mut c_void = std::ptr::null_mut();
    let retain: unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int =
        of_driver("cuDevicePrimaryCtxRetain")?;
    // SAFETY: writes one pointer.
    checked(unsafe { retain(&mut context, device) }, "open the GPU")?;
    let enter: unsafe extern "C" fn(*mut c_void) -> c_int = of_driver("cuCtxSetCurrent")?;
    // SAFETY: the context was just made.
    checked(unsafe { enter(context) }, "open the GPU")?;
    let memory: unsafe extern "C" fn(*mut usize, *mut usize) -> c_int = of_driver("cuMemGetInfo_v2")?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: writes two numbers, of the current context's device.
    checked(unsafe { memory(&mut free, &mut total) }, "say how much memory is free")?;
    Ok(Card { memory: Some((total as u64, free as u64)), ..card })
}

/// The compiler of kernels, by its own words.
pub(in crate::device) fn nvrtc() -> Option<Nvrtc> {
    toolkit::load_nvrtc();
    // SAFETY: only tries to load each name that the library may have.
    if !unsafe { compiler::sys::is_culib_present() } {
        return None;
    }
    type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
    type Count = unsafe extern "C" fn(*mut c_int) -> c_int;
    let (mut major, mut minor, mut n) = (0, 0, 0);
    let version: Version = of_compiler("nvrtcVersion")?;
    // SAFETY: writes two numbers.
    if unsafe { version(&mut major, &mut minor) } != SUCCESS {
        return None;
    }
    let mut numbers = Vec::new();
    if let (Some(count), Some(list)) =
        (of_compiler::<Count>("nvrtcGetNumSupportedArchs"), of_compiler::<Count>("nvrtcGetSupportedArchs"))
        // SAFETY: writes one number.
        && unsafe { count(&mut n) } == SUCCESS
    {
        numbers = vec![0; usize::try_from(n).unwrap_or(0)];
        // SAFETY: writes as many numbers as it just said.
        if unsafe { list(numbers.as_mut_ptr()) } != SUCCESS {
            numbers.clear();
        }
    }
    let capabilities = numbers.into_iter().map(|number| Capability(number as u32 / 10, number as u32 % 10));
    Some(Nvrtc { version: Capability(major as u32, minor as u32), capabilities: capabilities.collect() })
}

/// A function of NVRTC; `None`: this version does not have it.
fn of_compiler<F: Copy>(name: &str) -> Option<F> {
    // SAFETY: the library is the one CubeCL uses; callers name the type that nvrtc.h gives the function.
    caught(|| unsafe { compiler::sys::culib().get::<F>(name.as_bytes()).map(|function| *function).ok() })
        .ok()
        .flatten()
}
