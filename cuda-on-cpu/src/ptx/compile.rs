//! C to code that runs: the computer's C compiler, whose results are kept by what was compiled.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, CString, c_void};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use super::translate::{Kernel, translate};

const HEADER: &str = include_str!("../kernel.h");
const FLAGS: [&str; 9] = [
    "-O1",
    "-march=x86-64-v3",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-fPIC",
    "-shared",
    "-w",
    "-std=gnu11",
];

/// A kernel that runs.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub kernel: Kernel,
    /// `void kernel(struct thread *, void **)`.
    pub address: usize,
}

/// The kernels of a module in PTX.
///
/// # Errors
///
/// What was not understood, or the compiler's words.
pub fn compile(ptx: &str) -> Result<Vec<Compiled>, String> {
    let translated = translate(ptx)?;
    let library = library(&translated.source)?;
    let name = CString::new(library.to_string_lossy().as_bytes())
        .map_err(|_| "the path has a zero byte".to_owned())?;
    // SAFETY: the library was made above; it has no constructors.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        // SAFETY: after a failure `dlerror` gives a text.
        let why = unsafe { CStr::from_ptr(libc::dlerror()) };
        return Err(why.to_string_lossy().into_owned());
    }
    translated.kernels.into_iter().map(|kernel| find(handle, kernel)).collect()
}

fn find(library: *mut c_void, kernel: Kernel) -> Result<Compiled, String> {
    let name = CString::new(kernel.name.as_str()).map_err(|_| "the name has a zero byte".to_owned())?;
    // SAFETY: the handle is an open library's.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) } as usize;
    if address == 0 {
        Err(format!("{} is not in its library", kernel.name))
    } else {
        Ok(Compiled { kernel, address })
    }
}

/// Where compiled kernels are kept: `CUDA_ON_CPU_CACHE`, or the folder for temporary files.
fn cache() -> PathBuf {
    env::var_os("CUDA_ON_CPU_CACHE").map_or_else(|| env::temp_dir().join("cuda-on-cpu"), PathBuf::from)
}

fn library(source: &str) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    (source, HEADER, FLAGS).hash(&mut hasher);
    let folder = cache();
    let library = folder.join(format!("{:016x}.so", hasher.finish()));
    if library.exists() {
        return Ok(library);
    }
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let own = folder.join(format!("{:016x}-{}", hasher.finish(), process::id()));
    let result = build(&own, source, &library);
    if env::var_os("CUDA_ON_CPU_KEEP").is_none() {
        let _ = fs::remove_dir_all(&own);
    }
    result.map(|()| library)
}

fn build(folder: &Path, source: &str, library: &Path) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(say)?;
    fs::write(folder.join("kernel.h"), HEADER).map_err(say)?;
    fs::write(folder.join("kernel.c"), source).map_err(say)?;
    let output = Command::new("cc")
        .args(FLAGS)
        .args(["-o", "kernel.so", "kernel.c"])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("cc: {error}"))?;
    if !output.status.success() {
        return Err(format!("cc refuses {}:\n{}", folder.display(), String::from_utf8_lossy(&output.stderr)));
    }
    fs::rename(folder.join("kernel.so"), library).map_err(say)
}
