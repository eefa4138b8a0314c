"""Compiles the CUDA C++ of the kernels for real architectures, without a GPU, and prints what each one takes.

    FTL_KERNEL_SOURCES=DIR cargo test --release -p ftl-trainer --features cli,cuda,vulkan --test kernels_cuda_source
    python scripts/check-kernels.py DIR [sm_90a ...]

DIR holds a folder for each architecture with a file for each kernel. Python needs the packages nvidia-cuda-nvrtc,
nvidia-cuda-runtime, nvidia-cuda-crt and nvidia-cuda-cccl. Fails if a kernel does not compile, or takes more registers or
shared memory than a block may have. Kernels that keep registers in memory ("spills") are slow, not wrong: they are named.
"""

import argparse
import ctypes
import glob
import multiprocessing
import os
import re
import sys

# Shared memory that one block may have (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
MAX_SHARED = {"sm_75": 64, "sm_80": 163, "sm_89": 99, "sm_90a": 227, "sm_100": 227}

nvrtc = None
include = []


def find_toolkit():
    """The compiler's library and the folders of headers, out of the wheels."""
    import nvidia

    def find(pattern):
        found = [path for root in nvidia.__path__ for path in glob.glob(os.path.join(root, pattern), recursive=True)]
        if not found:
            sys.exit(f"no {pattern} in {list(nvidia.__path__)}; install nvidia-cuda-nvrtc, -runtime, -crt and -cccl")
        return sorted(found)[-1]

    library = find("**/lib/libnvrtc.so.*")
    headers = [os.path.dirname(find("**/include/cuda_runtime.h")), find("**/include/cccl")]
    return library, headers


def start(library, headers):
    global nvrtc, include
    nvrtc = ctypes.CDLL(library)
    include = headers


def compile_kernel(job):
    """Returns the compiler's status and everything it said."""
    architecture, path = job
    with open(path, "rb") as file:
        source = file.read()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, None, 0, None, None)
    options = [f"--gpu-architecture={architecture}", "-lineinfo", "--ptxas-options=-v"]
    options += [f"--include-path={path}" for path in include]
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    head = source.split(b"\n", 1)[0].decode()
    return architecture, path, head, status, log.value.decode(errors="replace")


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("architectures", nargs="*", help="sm_75, sm_90a …; all that DIR has, unless given")
    asked = parser.parse_args()
    architectures = asked.architectures or sorted(os.listdir(asked.dir), key=lambda name: number(r"(\d+)", name))
    jobs = [(architecture, path) for architecture in architectures
            for path in sorted(glob.glob(os.path.join(asked.dir, architecture, "*.cu")))]
    if not jobs:
        sys.exit(f"no kernels in {asked.dir}")
    wrong, spilling = [], []
    print(f"{'arch':7} {'registers':>9} {'threads':>7} {'shared':>7} {'stack':>6} {'spills':>6}  kernel")
    with multiprocessing.Pool(initializer=start, initargs=find_toolkit()) as pool:
        for architecture, path, head, status, log in pool.imap(compile_kernel, jobs):
            # The hash at the end tells one variant from another and says nothing.
            name = re.sub(r"_[0-9a-f]{8,}$", "", os.path.basename(path)[:-3])
            if status != 0:
                print(f"{architecture:7} does not compile: {path}\n{log}")
                wrong.append(f"{architecture} {name}: does not compile")
                continue
            registers = number(r"Used (\d+) registers", log)
            threads = number(r"threads: (\d+)", head)
            shared = number(r"dynamic shared memory: (\d+)", head) + number(r"(\d+) bytes smem", log)
            stack = number(r"(\d+) bytes stack frame", log)
            spills = number(r"(\d+) bytes spill stores", log) + number(r"(\d+) bytes spill loads", log)
            print(f"{architecture:7} {registers:9} {threads:7} {shared:7} {stack:6} {spills:6}  {name}")
            if spills:
                spilling.append(f"{architecture} {name}: spills {spills} bytes")
            if shared > MAX_SHARED.get(architecture, 48) * 1024:
                wrong.append(f"{architecture} {name}: {shared} bytes of shared memory")
            if registers * max(threads, 32) > 65536:
                wrong.append(f"{architecture} {name}: {registers} registers for {threads} threads")
    print(f"{len(jobs)} kernels compiled for {len(architectures)} architectures, {len(wrong)} problems")
    for line in spilling + wrong:
        print(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
