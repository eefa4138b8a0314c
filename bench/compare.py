#!/usr/bin/env python3
"""Measures `ftl-train bench` beside transformers + peft, in alternation on one machine, and keeps the record.

    python3 bench/compare.py --program target/release/ftl-train --python /path/to/venv/bin/python \
        --rounds 5 --out bench/results/2026-11-22-lora-small30m-cpu.json

The Python needs torch, transformers and peft. `--method` is lora, full, or qlora: the peer has none for a CPU, so ours
in 4 bits is measured beside ours with LoRA, under the same policies. Each round runs the peer, ours, the peer with gradient checkpointing
and ours with block recompute, one after the other, and notes how many cores other processes used meanwhile: a round
with more than 0.2 is no clean measurement. Figures are ratios of medians over the rounds.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NOISY_CORES = 0.2
METHODS = {
    "lora": "LoRA r = 16 on all linears",
    "qlora": "LoRA r = 16 on all linears in NF4 with scales in 8 bits",
    "full": "all weights",
}


def busy_secs():
    """CPU time that all processes of the machine have used."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(limit_secs=60):
    end = time.time() + limit_secs
    while time.time() < end:
        before = busy_secs()
        time.sleep(1)
        if busy_secs() - before < 0.1:
            return


def run(command):
    """Runs a command and returns the JSON of its last line, with the cores that others used."""
    wait_until_idle()
    busy, start, own = busy_secs(), time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own_secs = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
    result = json.loads(done.stdout.strip().splitlines()[-1])
    result["others_cores"] = round((busy_secs() - busy - own_secs) / (time.time() - start), 3)
    return result


def figures(result):
    """Speed and peak memory, whoever measured them."""
    if "tokens_per_s_median" in result:
        return result["tokens_per_s_median"], result["peak_rss_mib"]
    return result["tokens_per_sec"]["median"], result["peak_rss_bytes"] / 2**20


def summary(rounds, ours, peer):
    speed = [figures(r[ours])[0] / figures(r[peer])[0] for r in rounds]
    memory = [figures(r[ours])[1] / figures(r[peer])[1] for r in rounds]
    return {
        "tokens_per_sec_ratio": {"min": min(speed), "median": statistics.median(speed), "max": max(speed)},
        "peak_memory_ratio": {"min": min(memory), "median": statistics.median(memory), "max": max(memory)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/ftl-train")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--shape", default="small30m")
    parser.add_argument("--method", choices=["lora", "qlora", "full"], default="lora")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    commands, comparisons = measured(args)
    rounds = []
    for number in range(args.rounds):
        results = {name: run(command) for name, command in commands.items()}
        rounds.append(results)
        for name, result in results.items():
            speed, memory = figures(result)
            noise = "  NOISY" if result["others_cores"] > NOISY_CORES else ""
            print(f"round {number + 1}  {name:<20} {speed:8.0f} tokens/s  {memory:7.0f} MiB{noise}", flush=True)
    record = {
        "what": f"{METHODS[args.method]}, f32, {args.shape}, {args.batch} x {args.tokens}",
        "machine": {"cores": os.cpu_count(), "processor": processor(), "system": platform.platform()},
        "commands": {name: shown(command, args) for name, command in commands.items()},
        **{f"{one}_to_{other}": summary(rounds, one, other) for one, other in comparisons},
        "rounds": rounds,
    }
    with open(args.out, "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    for one, other in comparisons:
        print(f"{one}_to_{other}", json.dumps(record[f"{one}_to_{other}"]))


def measured(args):
    """The commands of a round by name, and which are compared with which."""
    numbers = [f"--batch={args.batch}", f"--steps={args.steps}", f"--warmup={args.warmup}"]

    def ours(method, *more):
        return [args.program, "bench", "--json", "--device=cpu", f"--method={method}", "--r=16",
                f"--tokens={args.tokens}", f"--model={HERE}/configs/{args.shape}", *numbers, *more]

    block = "--gradient-checkpointing=block"
    if args.method == "qlora":
        commands = {
            "lora": ours("lora"),
            "qlora": ours("qlora"),
            "lora_block": ours("lora", block),
            "qlora_block": ours("qlora", block),
        }
        return commands, [("qlora", "lora"), ("qlora_block", "lora_block")]
    peer = [args.python, f"{HERE}/bench_peer.py", f"--model={args.shape}", f"--method={args.method}", "--rank=16",
            f"--seq={args.tokens}", f"--threads={os.cpu_count()}", *numbers]
    commands = {
        "peer": peer,
        "ours": ours(args.method),
        "peer_checkpointing": [*peer, "--grad-ckpt"],
        "ours_block": ours(args.method, block),
    }
    return commands, [("ours", "peer"), ("ours_block", "peer"), ("ours_block", "peer_checkpointing")]


def shown(command, args):
    """A command without the places where this machine has its programs and this repository."""
    text = " ".join(command).replace(HERE, "bench")
    return text.replace(args.program, "ftl-train", 1).replace(args.python, "python", 1)


def processor():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else "unknown"


if __name__ == "__main__":
    main()
