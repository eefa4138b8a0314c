//! A machine with some of the pieces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// The headers of CUDA 13 that kernels include.
const HEADERS: [&str; 7] = [
    "cuda_fp16.h",
    "cuda_bf16.h",
    "mma.h",
    "cooperative_groups.h",
    "crt/mma.h",
    "cccl/nv/target",
    "cccl/cuda/barrier",
];

/// Its directories: `lib` for the loader, `cuda` for CUDA_PATH, `model` with a config.
pub struct Machine {
    root: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// How a run of the program ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Machine {
    /// Without anything of NVIDIA's.
    pub fn bare() -> Self {
        let root = TempDir::new().unwrap();
        for directory in ["lib", "cuda", "model", "home"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli_devices/config.json");
        fs::copy(config, root.path().join("model/config.json")).unwrap();
        Self { root, variables: Vec::new() }
    }

    /// With every piece, all of one version.
    pub fn whole() -> Self {
        Self::bare().with("libcuda", "libcuda.so").with("libnvidia-ml", "libnvidia-ml.so.1").with_toolkit()
    }

    /// With NVRTC and headers.
    pub fn with_toolkit(self) -> Self {
        self.with("libnvrtc", "libnvrtc.so").with_headers()
    }

    /// With a library.
    pub fn with(self, source: &str, library: &str) -> Self {
        let directory = self.root.path().join("lib");
        self.compile(source, &directory.join(library), &[])
    }

    /// With a driver of before `cuMemGetInfo_v2`.
    pub fn with_old_driver(self) -> Self {
        let path = self.root.path().join("lib/libcuda.so");
        self.compile("libcuda", &path, &["-DOLD"])
    }

    /// With NVRTC beside the headers and not on the loader's path, as wheels have it.
    pub fn with_nvrtc_beside_headers(self) -> Self {
        let directory = self.root.path().join("cuda/lib");
        fs::create_dir(&directory).unwrap();
        self.compile("libnvrtc", &directory.join("libnvrtc.so.12"), &["-Wl,-soname,libnvrtc.so.12"])
    }

    fn compile(self, source: &str, path: &Path, flags: &[&str]) -> Self {
        let source = format!("{}/tests/cli_devices/fake/{source}.c", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-w"]).args(flags).arg(&source).arg("-o").arg(path);
        assert!(command.status().expect("a C compiler, as linking a Rust program needs").success());
        self
    }

    /// With the headers of CUDA 13.
    pub fn with_headers(self) -> Self {
        self.with_headers_but(&[])
    }

    /// With the headers of CUDA 13, but for some.
    pub fn with_headers_but(self, missing: &[&str]) -> Self {
        let include = self.include();
        for header in HEADERS.into_iter().filter(|header| !missing.contains(header)) {
            let path = include.join(header);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(include.join("cuda_runtime_api.h"), "#define CUDART_VERSION  13000\n").unwrap();
        self
    }

    /// Where headers are.
    pub fn include(&self) -> PathBuf {
        self.root.path().join("cuda/include")
    }

    /// With a variable.
    pub fn set(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    /// Runs the program there, with the model's directory in place of `MODEL`.
    pub fn run(&self, args: &[&str]) -> Ended {
        let path = |name: &str| self.root.path().join(name);
        let model = path("model");
        let args = args.iter().map(|arg| if *arg == "MODEL" { model.to_str().unwrap() } else { arg });
        let output = Command::new(env!("CARGO_BIN_EXE_ftl-train"))
            .args(args)
            .env("LD_LIBRARY_PATH", path("lib"))
            .env("CUDA_PATH", path("cuda"))
            .env("HOME", path("home"))
            .env_remove("CUDA_VISIBLE_DEVICES")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        Ended {
            code: output.status.code().expect("the program ends by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Trains on a device, which must be refused, and returns the problem.
    #[track_caller]
    pub fn refused(&self, more: &[&str]) -> String {
        let bench = ["bench", "--model", "MODEL", "--batch", "1", "--tokens", "8", "--steps", "1", "--json"];
        let Ended { code, stdout, stderr } = self.run(&[&bench, more].concat());
        assert_eq!(code, 2, "{stdout}{stderr}");
        let document: Value = serde_json::from_str(&stdout).unwrap();
        let text = |key: &str| document["problem"][key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}; {}", text("field"), text("message"), text("hint"))
    }
}
