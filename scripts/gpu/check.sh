#!/usr/bin/env bash
# Everything that needs a GPU, in one command, on a machine with an NVIDIA card: no cargo, no network. Run it where
# `pack.sh` put it. Its programs lie beside it; the peer (transformers + peft) is measured where the Python has them.
#
#     ./check.sh [--out record.json] [--deadline-secs 540] [--python python3] [--only PART,…] [--dry-run]
#
# It ends by itself, does the most important first, and has written what it has whenever it is stopped.
set -euo pipefail
cd "$(dirname "$0")"
if [[ -e programs.tar.xz && ! -e bin/ftl-train ]]; then
    tar --extract --xz --file programs.tar.xz
fi
exec python3 check.py "$@"
