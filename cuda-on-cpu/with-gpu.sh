#!/usr/bin/env bash
# Runs a command on a computer whose GPU is the CPU; see README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# In a folder of its own: cargo puts its folders on the loader's path, and whatever it runs would find a GPU.
target=${CUDA_ON_CPU_TARGET:-$here/target}
cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$target"
if [[ -z ${CUDA_PATH:-} ]]; then
    CUDA_PATH=$("${CUDA_PYTHON:-python3}" -c 'import glob, nvidia
print(sorted(path for root in nvidia.__path__ for path in glob.glob(root + "/cu*"))[-1])')
fi
export CUDA_PATH

# The names that programs load, for one library: what they know of each other is the same.
drivers=$(mktemp -d)
trap 'rm -rf "$drivers"' EXIT
for name in libcuda.so libcuda.so.1 libnvidia-ml.so libnvidia-ml.so.1; do
    ln -s "$target/release/libcuda.so" "$drivers/$name"
done
LD_LIBRARY_PATH=$drivers:$CUDA_PATH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@"
