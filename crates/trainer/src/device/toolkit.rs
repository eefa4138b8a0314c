//! Where CUDA's files are. Looks at directories only.
//!
//! Kernels are compiled when they are first used, for which CubeCL needs NVRTC by the loader's names and the CUDA headers
//! in `include` (and `include/cccl`) below `CUDA_PATH`, /usr/local/cuda, /opt/cuda or, with an nvcc there, /usr. Which
//! headers it includes is in `cubecl-cpp`: `ty_includes!`, `op_includes!` and `includes` below `src/cuda`.

use std::ffi::{CString, OsStr};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::judge::{Capability, CudaVersion};

/// The headers that kernels include, and what these include of other packages. On PyPI the first four are in
/// nvidia-cuda-runtime, what `mma.h` consists of is in nvidia-cuda-crt, and the last two are in nvidia-cuda-cccl.
const HEADERS: [&str; 7] =
    ["cuda_fp16.h", "cuda_bf16.h", "mma.h", "cooperative_groups.h", "crt/mma.h", "nv/target", "cuda/barrier"];
/// Directories that NVRTC looks in, below `include`: CUDA 13 has CCCL in one of its own.
const INCLUDED: [&str; 2] = ["", "cccl"];
/// The header that says the version, in the macro `CUDART_VERSION`.
const VERSION_HEADER: &str = "cuda_runtime_api.h";

/// What to do about a missing NVRTC.
pub const NVRTC_HINT: &str = "install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc` and put its `lib` directory on LD_LIBRARY_PATH";
/// What to do about missing headers.
pub const HEADERS_HINT: &str = "install the CUDA toolkit, or `pip install nvidia-cuda-runtime nvidia-cuda-crt \
                                nvidia-cuda-cccl` (13 or newer), and set CUDA_PATH to the directory above `include`";

/// CUDA's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Their directory.
    pub directory: PathBuf,
    /// Their version, where they say it.
    pub version: Option<CudaVersion>,
}

/// The headers that CubeCL will use.
///
/// # Errors
/// Which it would not find; [`HEADERS_HINT`] says what to do.
pub fn headers() -> Result<Headers, String> {
    let nothing = || "the CUDA headers can't be found".to_owned();
    let directory = usual_directory().ok_or_else(nothing)?.join("include");
    let missing = missing_headers(&directory);
    match missing.len() {
        0 => Ok(Headers { version: version(&directory), directory }),
        n if n == HEADERS.len() => Err(nothing()),
        n => Err(format!(
            "the CUDA header{} `{}` can't be found in `{}`",
            if n == 1 { "" } else { "s" },
            missing.join("`, `"),
            directory.display()
        )),
    }
}

fn missing_headers(include: &Path) -> Vec<&'static str> {
    let is_there = |header: &str| INCLUDED.iter().any(|below| include.join(below).join(header).exists());
    HEADERS.into_iter().filter(|header| !is_there(header)).collect()
}

fn version(include: &Path) -> Option<CudaVersion> {
    let text = fs::read(include.join(VERSION_HEADER)).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("#define CUDART_VERSION"))?;
    let number: u32 = line.split_whitespace().next()?.parse().ok()?;
    Some(Capability(number / 1000, number % 1000 / 10))
}

/// Where CubeCL looks for CUDA.
pub fn usual_directory() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CUDA_PATH") {
        return Some(PathBuf::from(path));
    }
    let usual = ["/usr/local/cuda", "/opt/cuda"].into_iter().map(PathBuf::from).find(|path| path.exists());
    usual.or_else(|| Path::new("/usr/bin/nvcc").exists().then(|| PathBuf::from("/usr")))
}

/// CUDA where CubeCL does not look: as a Python environment or a distribution has it. Where none is whole, the one that
/// lacks least, so that somebody can say what it lacks.
pub fn other_directory() -> Option<PathBuf> {
    let mut candidates = Vec::new();
    for packages in site_packages() {
        candidates.extend(subdirectories(&packages.join("nvidia"), "cu"));
    }
    if let Some(conda) = std::env::var_os("CONDA_PREFIX") {
        candidates.push(Path::new(&conda).join(format!("targets/{}-linux", std::env::consts::ARCH)));
        candidates.push(PathBuf::from(conda));
    }
    candidates.extend(subdirectories(Path::new("/usr/local"), "cuda-"));
    candidates.push(PathBuf::from("/usr/lib/cuda"));
    candidates.push(PathBuf::from("/usr"));
    let lacks = |directory: &PathBuf| missing_headers(&directory.join("include")).len();
    candidates.into_iter().filter(|directory| lacks(directory) < HEADERS.len()).min_by_key(lacks)
}

/// Directories of Python packages: of the active environment and of the user.
fn site_packages() -> Vec<PathBuf> {
    let roots = [("VIRTUAL_ENV", "lib"), ("CONDA_PREFIX", "lib"), ("HOME", ".local/lib")];
    let libraries = roots
        .iter()
        .filter_map(|(variable, below)| Some(PathBuf::from(std::env::var_os(variable)?).join(below)));
    libraries
        .flat_map(|library| subdirectories(&library, "python3"))
        .map(|python| python.join("site-packages"))
        .collect()
}

/// Those whose name begins so, the last by name first: the newest version.
fn subdirectories(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let fits = |name: &OsStr| name.to_string_lossy().starts_with(beginning);
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| fits(&entry.file_name())).map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}

/// Loads NVRTC by its path where the loader would not find it by name: beside the headers in use. Once it is loaded, the
/// loader gives it to whoever asks for its name.
pub fn load_nvrtc() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        if find_library("libnvrtc.so").is_some() {
            return;
        }
        let Some(directory) = usual_directory() else { return };
        let beside = ["lib64", "lib"].map(|name| directory.join(name));
        if let Some(path) = first_in(&beside, "libnvrtc.so") {
            load(&path);
        }
    });
}

#[cfg(unix)]
fn load(path: &Path) {
    use std::os::unix::ffi::OsStrExt;

    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        // SAFETY: the path ends with a zero byte. What the library does while it is loaded is NVIDIA's, as it would be
        // were it found by name.
        unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    }
}

#[cfg(not(unix))]
fn load(_path: &Path) {}

/// The first library on the loader's path that is called so, with or without a version behind.
pub fn find_library(name: &str) -> Option<PathBuf> {
    first_in(&library_directories(), name)
}

fn first_in(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().find_map(|directory| {
        let plain = directory.join(name);
        if plain.exists() {
            return Some(plain);
        }
        subdirectories(directory, &format!("{name}.")).pop()
    })
}

/// NVRTC on the loader's path, or beside the headers in use.
pub fn find_nvrtc() -> Option<PathBuf> {
    let beside = || usual_directory().map(|directory| ["lib64", "lib"].map(|name| directory.join(name)));
    find_library("libnvrtc.so").or_else(|| first_in(&beside()?, "libnvrtc.so"))
}

/// Where the loader looks for libraries: `LD_LIBRARY_PATH`, its configuration, and the usual places.
fn library_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect();
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    let more = fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()));
    for text in files.iter().filter_map(|file| fs::read_to_string(file).ok()) {
        let paths = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
        directories.extend(paths.map(PathBuf::from));
    }
    for usual in ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"] {
        directories.push(PathBuf::from(usual));
        directories.push(Path::new(usual).join(format!("{}-linux-gnu", std::env::consts::ARCH)));
    }
    directories.retain(|directory| !directory.as_os_str().is_empty());
    directories
}
