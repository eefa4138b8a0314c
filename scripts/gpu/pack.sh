#!/usr/bin/env bash
# Puts into one directory what `check.sh` needs on a machine with a GPU: the program and two test binaries, stripped and
# compressed, the peer's script, shapes, and a few small models with transformers' numbers.
#
#     FTL_FIXTURES=DIR scripts/gpu/pack.sh OUT
set -euo pipefail
out=$(mkdir -p "${1:?the directory to fill}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
build=(--release --locked -p ftl-trainer --features "cli,cuda,vulkan")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
# The tests' build makes the program too; a build of its own would compile burn once more, without what tests add.
cargo test "${build[@]}" --test kernels --test gpu --no-run --message-format json >"$work/messages"
python3 - "$work" <<'PYTHON'
import json, shutil, sys
work = sys.argv[1]
for line in open(f"{work}/messages"):
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] in ("ftl-train", "kernels", "gpu"):
        shutil.copy(message["executable"], f"{work}/bin/{message['target']['name']}")
PYTHON
strip "$work"/bin/*
# The three share most of their code, which a dictionary as large as all of them finds again.
tar --create --directory "$work" bin | xz --x86 --lzma2=preset=6,dict=384MiB >"$out/programs.tar.xz"

cp scripts/gpu/check.sh scripts/gpu/check.py scripts/gpu/measure.py bench/bench_peer.py "$out"
mkdir -p "$out/configs"
cp -r bench/configs/. "$out/configs"
for name in llama qwen2 qwen3 gemma2 olmo2 phi3; do
    mkdir -p "$out/fixtures/models/$name"
    cp "${FTL_FIXTURES:?the directory of reference numbers}/models/$name"/* "$out/fixtures/models/$name"
done
git describe --always --dirty >"$out/commit"
rm -rf "$out/bin"
du -sh "$out"
