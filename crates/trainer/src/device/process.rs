//! Settings of the whole process, made by programs at their start: the library does not make them.

use super::toolkit;

/// Tells glibc to keep freed memory for the next step.
///
/// A step frees and takes the same large buffers again and again. By default glibc gives them back to the kernel,
/// which then faults every page in anew: about a tenth of the time of a CPU step. Changes the whole process, so
/// programs call it and the library does not.
pub fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator; it is called before other threads exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

/// Sets variables that CUDA and CubeCL read, where the user did not: GPUs are counted as `nvidia-smi` counts them, and
/// CUDA is found where the wheels of PyPI, conda or a distribution put it. Call it before other threads exist.
pub fn prepare() {
    if !super::BUILT_WITH_CUDA {
        return;
    }
    set_default("CUDA_DEVICE_ORDER", || Some("PCI_BUS_ID".into()));
    set_default("CUDA_PATH", || {
        toolkit::usual_directory().is_none().then(toolkit::other_directory).flatten()
    });
}

fn set_default(variable: &str, value: impl FnOnce() -> Option<std::path::PathBuf>) {
    if std::env::var_os(variable).is_none()
        && let Some(value) = value()
    {
        // SAFETY: called at the start of a program, before a thread could read the environment.
        unsafe { std::env::set_var(variable, value) };
    }
}
