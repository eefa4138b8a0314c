//! Opening a device: each missing piece has its own message, and nothing falls back silently.

use std::fs;

use crate::machine::{Ended, Machine};

const CUDA: [&str; 2] = ["--device", "cuda"];

#[test]
fn each_missing_piece_has_its_own_message() {
    let whole = Machine::whole;
    let on_card = |machine: Machine| machine.with("libcuda", "libcuda.so");
    for (machine, want) in [
        (
            Machine::bare(),
            "the NVIDIA driver's library libcuda.so can't be found; install the NVIDIA driver (in a container, pass the \
             GPU through), or use `--device cpu`",
        ),
        (
            on_card(Machine::bare()),
            "NVRTC (libnvrtc.so), which compiles kernels, can't be found; install the CUDA toolkit, or `pip install \
             nvidia-cuda-nvrtc` and put its `lib` directory on LD_LIBRARY_PATH",
        ),
        (
            on_card(Machine::bare().with("libnvrtc", "libnvrtc.so")),
            "the CUDA headers can't be found; install the CUDA toolkit, or `pip install nvidia-cuda-runtime \
             nvidia-cuda-crt nvidia-cuda-cccl` (13 or newer), and set CUDA_PATH to the directory above `include`",
        ),
        (
            Machine::bare().with_old_driver().with_toolkit(),
            "the NVIDIA driver is too old: its library has no `cuMemGetInfo_v2`; install driver 525 or newer, or use \
             `--device cpu`",
        ),
        (
            whole().set("FAKE_DRIVER", "11040"),
            "the NVIDIA driver supports CUDA 11.4, and 12.0 is the least; install driver 525 or newer, or use `--device \
             cpu`",
        ),
        (
            whole().set("FAKE_INIT", "34"),
            "libcuda.so is the toolkit's stub and not the driver's; take the directory `stubs` off LD_LIBRARY_PATH",
        ),
        (
            whole().set("FAKE_INIT", "100"),
            "the NVIDIA driver has no GPU for this process; check with `nvidia-smi`; in a container, pass the GPU through",
        ),
        (
            whole().set("FAKE_INIT", "803"),
            "the NVIDIA driver's library and its kernel module are of different versions; restart the machine after an \
             update of the driver; in a container, use the host's libcuda.so",
        ),
        (
            whole().set("FAKE_INIT", "999"),
            "the NVIDIA driver failed to start (error 999); check with `nvidia-smi`, and look at the system's log",
        ),
        (
            whole().set("FAKE_CARDS", "0"),
            "no CUDA device was found on this machine; check the driver with `nvidia-smi`, or use `--device cpu`",
        ),
        (
            whole().set("FAKE_CAPABILITY", "61"),
            "`Fake 3000` has compute capability 6.1, and 7.5 is the least; choose another GPU, or use `--device cpu`",
        ),
        (
            whole().set("FAKE_MODE", "2"),
            "`Fake 3000` is closed to computation: its compute mode is `Prohibited`; open it with `nvidia-smi -i 0 -c \
             DEFAULT`",
        ),
        (
            whole().set("FAKE_MODE", "3").set("FAKE_ENTER", "46"),
            "the GPU is in use by another process, and lets one at a time compute; wait for it, or share the GPU with \
             `nvidia-smi -c DEFAULT`",
        ),
        (
            whole().set("FAKE_ENTER", "2"),
            "the GPU has no memory left; end what uses it; `nvidia-smi` lists the processes",
        ),
        (
            whole().set("FAKE_FREE_MIB", "300"),
            "`Fake 3000` has only 300 MiB of 8192 MiB free, and 512 MiB is the least; end what uses it; `nvidia-smi` \
             lists the processes",
        ),
        (
            whole().set("FAKE_DRIVER", "12040"),
            "NVRTC 13.0 is newer than the driver, which supports CUDA 12.4; install NVRTC 12.4 or older, or a newer driver",
        ),
        (
            whole().set("FAKE_CAPABILITY", "120"),
            "NVRTC 13.0 does not compile for the compute capability 12.0 of `Fake 3000`; install a newer NVRTC",
        ),
        (
            whole().set("FAKE_NVRTC", "124"),
            "the CUDA headers are of version 13.0 and NVRTC of 12.4; set CUDA_PATH to a toolkit of NVRTC's version",
        ),
    ] {
        assert_eq!(machine.refused(&CUDA), format!("device.kind: {want}"));
    }
}

#[test]
fn headers_that_kernels_include_are_asked_for_by_name() {
    let without = |missing: &[&str]| {
        let machine = Machine::bare().with("libcuda", "libcuda.so").with("libnvrtc", "libnvrtc.so");
        let machine = machine.with_headers_but(missing);
        (machine.refused(&CUDA), machine.include())
    };
    for (missing, named) in [
        // What a wheel of its own has.
        (&["crt/mma.h"][..], "header `crt/mma.h`"),
        (&["mma.h"], "header `mma.h`"),
        (&["cuda_bf16.h"], "header `cuda_bf16.h`"),
        (&["cooperative_groups.h"], "header `cooperative_groups.h`"),
        (&["cccl/nv/target", "cccl/cuda/barrier"], "headers `nv/target`, `cuda/barrier`"),
    ] {
        let (problem, include) = without(missing);
        let start =
            format!("device.kind: the CUDA {named} can't be found in `{}`; install ", include.display());
        assert!(problem.starts_with(&start) && problem.contains(" nvidia-cuda-crt "), "{problem}");
    }
    // Nothing is missing where CCCL lies among the others, as CUDA 12 has it.
    let machine = Machine::whole();
    fs::rename(machine.include().join("cccl/nv"), machine.include().join("nv")).unwrap();
    fs::rename(machine.include().join("cccl/cuda"), machine.include().join("cuda")).unwrap();
    let problem = machine.refused(&CUDA);
    assert!(problem.starts_with("device.kind: the first kernel on cuda:0 failed: "), "{problem}");
}

#[test]
fn an_index_beyond_the_last_card_is_refused() {
    let machine = Machine::whole().set("FAKE_CARDS", "2");
    assert_eq!(
        machine.refused(&["--device", "cuda:5"]),
        "device.kind: there is no CUDA device 5, the machine has 2; choose an index up to 1"
    );
    let limited = machine.set("CUDA_VISIBLE_DEVICES", "3,1");
    assert_eq!(
        limited.refused(&["--device", "cuda:5"]),
        "device.kind: there is no CUDA device 5, the machine has 2; CUDA_VISIBLE_DEVICES shows `3,1` only; change it, or \
         choose an index up to 1"
    );
}

#[test]
fn bf16_is_refused_where_the_card_has_none() {
    let machine = Machine::whole().set("FAKE_CAPABILITY", "75");
    assert_eq!(
        machine.refused(&["--device", "cuda", "--dtype", "bf16"]),
        "model.dtype: `Fake 3000` has compute capability 7.5 and does not compute in `bf16`, which begins at 8.0; use \
         `auto` or `f32`"
    );
}

#[test]
fn a_panic_while_opening_becomes_a_problem() {
    let problem = Machine::whole().refused(&CUDA);
    assert!(problem.starts_with("device.kind: the first kernel on cuda:0 failed: "), "{problem}");
}

#[test]
fn nvrtc_is_found_beside_the_headers() {
    let machine = Machine::bare().with("libcuda", "libcuda.so").with_headers().with_nvrtc_beside_headers();
    let problem = machine.set("FAKE_CAPABILITY", "120").refused(&CUDA);
    assert!(problem.contains("NVRTC 13.0 does not compile"), "{problem}");
}

#[test]
fn auto_says_why_it_took_the_cpu() {
    let bench = ["bench", "--model", "MODEL", "--batch", "1", "--tokens", "8", "--steps", "1"];
    for (machine, why) in [
        (Machine::bare(), "the NVIDIA driver's library libcuda.so can't be found"),
        (
            Machine::whole().set("FAKE_CAPABILITY", "61"),
            "`Fake 3000` has compute capability 6.1, and 7.5 is the least",
        ),
    ] {
        let Ended { code, stdout, stderr } = machine.run(&bench);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("f32 on cpu"), "{stdout}");
        assert!(stderr.contains(&format!("computing in f32 on cpu: {why}")), "{stderr}");
    }
    let problem = Machine::bare().refused(&["--dtype", "bf16"]);
    assert!(
        problem.starts_with(
            "model.dtype: the CPU computes in f32 only, not in `bf16`, and no GPU can be used: the NVIDIA driver's library"
        ),
        "{problem}"
    );
}
