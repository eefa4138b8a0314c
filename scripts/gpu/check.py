"""What `check.sh` does, part by part. Each part has a limit of its own, and the record is written after each."""

import argparse
import glob
import json
import os
import platform
import signal
import statistics
import sys
import time

from measure import flops_per_token, last_json, run

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "bin", "ftl-train")
GIB = 1 << 30

# Most important first: (shape, method, rows, tokens, segments, recompute, budget in bytes).
CASES = [
    ("smol135m", "lora", 1, 2048, 1, False, None),
    ("llama1b", "lora", 1, 2048, 1, False, None),
    ("llama8b", "qlora", 1, 2048, 1, True, 8 * GIB),
    ("qwen06b", "lora", 1, 2048, 1, False, None),
    ("llama3b", "lora", 1, 2048, 1, False, None),
    ("smol135m", "lora", 4, 2048, 1, False, None),
    ("llama1b", "lora", 4, 2048, 1, True, None),
    ("smol135m", "lora", 1, 2048, 4, False, None),
    ("llama1b", "qlora", 1, 2048, 1, False, None),
    ("llama1b", "lora", 1, 2048, 4, False, None),
    ("qwen06b", "qlora", 4, 2048, 1, True, None),
    ("llama3b", "qlora", 1, 2048, 1, True, None),
]
# What a machine without a card can do to show that this script works.
DRY_CASES = [("small30m", "lora", 1, 64, 2, False, None), ("small30m", "qlora", 1, 64, 1, True, 8 * GIB)]
RANK = 16
# Loss and norm of a step of ours on the GPU against ours on the CPU.
STEP_TOLERANCE = {"f32": 2e-3, "bf16": 2e-2}


class Check:
    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + args.deadline_secs
        self.device = "cpu" if args.dry_run else "cuda"
        self.record = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "ended": None, "parts": {}}
        commit = os.path.join(HERE, "commit")
        self.record["commit"] = open(commit).read().strip() if os.path.exists(commit) else None

    def left(self):
        return self.end - time.monotonic()

    def write(self):
        partial = self.args.out + ".partial"
        with open(partial, "w") as file:
            json.dump(self.record, file, indent=1)
            file.write("\n")
        os.replace(partial, self.args.out)

    def keep(self, name, result):
        self.record["parts"][name] = result
        self.write()

    def say(self, text):
        print(f"[{self.args.deadline_secs - self.left():5.0f} s] {text}", flush=True)

    def run(self, command, limit_secs, environment=None):
        result = run(command, min(limit_secs, self.left() - 3), environment)
        if result["code"] != 0:
            ending = "was stopped at its limit" if result["code"] is None else f"ended with {result['code']}"
            self.say(f"{os.path.basename(command[0])} {ending}: {result['output'][-1500:]}")
        return result

    # The parts.

    def machine(self):
        query = "name,driver_version,memory.total,memory.used,clocks.max.sm,power.limit"
        cards = self.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], 20) if not self.args.dry_run else None
        doctor = self.run([PROGRAM, "doctor", "--json"], 30)
        self.keep(
            "machine",
            {
                "cards": cards and cards["output"].strip(),
                "host": platform.platform(),
                "n_cpus": os.cpu_count(),
                "doctor": last_json(doctor["output"]),
                "has_peer": self.has_peer,
            },
        )
        self.say(f"{cards and cards['output'].strip()}; the peer is {'there' if self.has_peer else 'missing'}")

    def smallest(self):
        """One step of a small model on the GPU and on the CPU: a product, our kernels, a whole LoRA step."""
        bench = [PROGRAM, "bench", "--model", f"{HERE}/configs/small30m", "--batch", "1", "--tokens", "64", "--steps", "2"]
        bench += ["--warmup", "1", "--json"]
        cpu = last_json(self.run([*bench, "--device", "cpu"], 60)["output"])
        results = {"cpu": cpu}
        for dtype in ["f32"] if self.args.dry_run else ["f32", "bf16"]:
            done = self.run([*bench, "--device", self.device, "--dtype", dtype], 120)
            got = last_json(done["output"])
            result = {"secs": done["secs"], "code": done["code"], "bench": got}
            if done["code"] == 0 and cpu:
                off = {key: abs(got[key] / cpu[key] - 1) for key in ("first_loss_nats", "first_grad_norm")}
                result |= {"off": off, "passed": max(off.values()) < STEP_TOLERANCE[dtype]}
                self.say(f"a step in {dtype}: loss {off['first_loss_nats']:.1e} and norm {off['first_grad_norm']:.1e} off the CPU")
            else:
                result |= {"passed": False, "output": done["output"][-4000:]}
            results[dtype] = result
            self.keep("smallest", results)

    def tests(self, name):
        environment = {"FTL_FIXTURES": f"{HERE}/fixtures"}
        program = os.path.join(HERE, "bin", name)
        # One after the other: they share the card, and its memory is compared.
        done = self.run([program, "--nocapture", "--test-threads", "1"], 150 if name == "kernels" else 100, environment)
        lines = done["output"].splitlines()
        totals = [line for line in lines if line.startswith("test result")]
        failed = [line for line in lines if line.startswith("test ") and line.endswith("FAILED")]
        self.keep(
            name, {"code": done["code"], "secs": done["secs"], "totals": totals, "failed": failed, "output": done["output"][-20000:]}
        )
        self.say(f"{name}: {totals[-1] if totals else 'no result'} in {done['secs']} s")

    def rate(self):
        """The card's bf16 rate, for the share of it that training reaches."""
        code = (
            "import torch,time,json\n"
            "a=torch.randn(8192,8192,device='cuda',dtype=torch.bfloat16);b=torch.randn_like(a)\n"
            "for _ in range(5): a@b\n"
            "torch.cuda.synchronize();t=time.perf_counter()\n"
            "for _ in range(20): a@b\n"
            "torch.cuda.synchronize();print(json.dumps({'flops':20*2*8192**3/(time.perf_counter()-t)}))"
        )
        if not self.has_peer or self.args.dry_run:
            return
        found = last_json(self.run([self.args.python, "-c", code], 60)["output"])
        self.keep("bf16_rate", found)

    def speed(self):
        """Ours and the peer's in alternation: one round over all cases, then more while there is time."""
        results = self.record["parts"].setdefault("speed", [])
        cases = DRY_CASES if self.args.dry_run else CASES
        for case in cases:
            shape, method, rows, tokens, segments, recompute, budget = case
            config = json.load(open(f"{HERE}/configs/{shape}/config.json"))
            flops = flops_per_token(config, method, RANK, tokens // segments)
            results.append(
                {
                    "shape": shape, "method": method, "rows": rows, "tokens": tokens, "segments": segments,
                    "recompute": recompute, "budget_bytes": budget, "flops_per_token": flops, "ours": [], "peer": [],
                }
            )  # fmt: skip
        for round_index in range(self.args.rounds):
            for result in results:
                sides = ["ours", "peer"] if round_index % 2 == 0 else ["peer", "ours"]
                for side in sides:
                    if self.left() < 25:
                        return
                    if side == "peer" and not self.has_peer:
                        continue
                    # What failed once fails again.
                    if result[side] and result[side][-1]["tokens_per_sec"] is None:
                        continue
                    done = self.ours(result) if side == "ours" else self.peer(result)
                    result[side].append(done)
                    self.summarize(result)
                    self.write()
                self.say(self.line(result))

    def ours(self, case):
        command = [PROGRAM, "bench", "--model", f"{HERE}/configs/{case['shape']}", "--method", case["method"]]
        command += ["--r", str(RANK), "--batch", str(case["rows"]), "--tokens", str(case["tokens"]), "--segments", str(case["segments"])]
        command += ["--device", self.device, "--warmup", "3", "--steps", "10", "--json"]
        if case["recompute"]:
            command += ["--gradient-checkpointing", "block"]
        done = self.run(command, 120)
        found = last_json(done["output"]) or {}
        speed = found.get("tokens_per_sec") or {}
        if done["code"] == 0:
            del done["output"]
        return {**done, "tokens_per_sec": speed.get("median"), "bench": found}

    def peer(self, case):
        command = [self.args.python, f"{HERE}/bench_peer.py", "--config", f"{HERE}/configs/{case['shape']}", "--method", case["method"]]
        command += ["--batch", str(case["rows"]), "--seq", str(case["tokens"]), "--segments", str(case["segments"])]
        command += ["--device", self.device, "--warmup", "3", "--steps", "10", "--rank", str(RANK), "--alpha", str(2 * RANK)]
        if case["recompute"]:
            command += ["--grad-ckpt"]
        done = self.run(command, 120)
        found = last_json(done["output"]) or {}
        if done["code"] == 0:
            del done["output"]
        return {**done, "tokens_per_sec": found.get("tokens_per_s_median"), "bench": found}

    def summarize(self, case):
        rate = (self.record["parts"].get("bf16_rate") or {}).get("flops")
        summary = {}
        for side in ("ours", "peer"):
            speeds = [run["tokens_per_sec"] for run in case[side] if run["tokens_per_sec"]]
            if not speeds:
                continue
            speed = statistics.median(speeds)
            peaks = [run["peak_gpu_bytes"] or run["peak_gpu_delta_bytes"] for run in case[side]]
            summary[side] = {
                "tokens_per_sec": speed,
                "mfu": speed * case["flops_per_token"] / rate if rate else None,
                "peak_gpu_bytes": max((peak for peak in peaks if peak), default=None),
            }
        if "ours" in summary and "peer" in summary:
            summary["speed_ratio"] = summary["ours"]["tokens_per_sec"] / summary["peer"]["tokens_per_sec"]
        peak = summary.get("ours", {}).get("peak_gpu_bytes")
        if peak and case["budget_bytes"]:
            summary["fits_budget"] = peak <= case["budget_bytes"]
        plan = case.get("plan")
        if peak and plan:
            summary["plan_ratio"] = plan["peak_bytes"] / peak
        case["summary"] = summary

    def line(self, case):
        parts = [f"{case['shape']} {case['method']} {case['rows']}x{case['tokens']}/{case['segments']}"]
        for side in ("ours", "peer"):
            found = case.get("summary", {}).get(side)
            if found:
                peak = f"{found['peak_gpu_bytes'] / GIB:.2f} GiB" if found["peak_gpu_bytes"] else "memory unknown"
                mfu = f", {found['mfu']:.1%} of the card" if found["mfu"] else ""
                parts.append(f"{side} {found['tokens_per_sec']:.0f} tok/s{mfu}, {peak}")
        return "; ".join(parts)

    def plans(self):
        """What the memory plan says of each case, where this program has one."""
        if "plan" not in self.run([PROGRAM, "--help"], 10)["output"].split():
            return
        data = os.path.join(os.path.dirname(os.path.abspath(self.args.out)), "plan-data.jsonl")
        for case in self.record["parts"].get("speed", []):
            if self.left() < 10:
                return
            ids = list(range(5, 5 + case["tokens"] // case["segments"]))
            with open(data, "w") as file:
                file.writelines(json.dumps({"input_ids": ids}) + "\n" for _ in range(case["rows"] * case["segments"]))
            spec = {
                "model": {"path": f"{HERE}/configs/{case['shape']}", "init": "random"},
                "data": {"train": data, "format": "tokens", "max_length": case["tokens"], "packing": case["segments"] > 1},
                "method": {"kind": "sft"},
                "adapter": {"kind": "lora", "r": RANK, "lora_alpha": 2 * RANK},
                "quantization": {"kind": "nf4" if case["method"] == "qlora" else "none"},
                "train": {
                    "per_device_train_batch_size": case["rows"],
                    "max_steps": 10,
                    "gradient_checkpointing": "block" if case["recompute"] else "none",
                },
                "device": {"kind": self.device},
            }
            path = data.replace("plan-data.jsonl", "plan-spec.json")
            with open(path, "w") as file:
                json.dump(spec, file)
            done = self.run([PROGRAM, "plan", path, "--json"], 30)
            found = last_json(done["output"])
            if found and "peak_bytes" in found:
                case["plan"] = found
                self.summarize(case)
            self.write()

    def all(self):
        look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'transformers', 'peft'))))"
        self.has_peer = run([self.args.python, "-c", look], 30)["code"] == 0
        parts = [
            ("machine", self.machine),
            ("smallest", self.smallest),
            ("kernels", lambda: self.tests("kernels")),
            ("gpu", lambda: self.tests("gpu")),
            ("rate", self.rate),
            ("speed", self.speed),
            ("plans", self.plans),
        ]
        wanted = self.args.only.split(",") if self.args.only else [name for name, _ in parts]
        for name, part in parts:
            if name not in wanted:
                continue
            if self.left() < 15:
                self.say(f"no time is left for {name}")
                break
            try:
                part()
            except Exception as error:  # One part must not take the others along.
                self.say(f"{name} failed: {error!r}")
                self.keep(f"{name}_error", repr(error))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="record.json")
    parser.add_argument("--deadline-secs", type=float, default=540)
    parser.add_argument("--python", default=sys.executable, help="one that has torch, transformers and peft")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="parts: machine,smallest,kernels,gpu,rate,speed,plans")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, to see that the script works")
    check = Check(parser.parse_args())

    def stopped(number, _):
        raise SystemExit(f"stopped by signal {number}")

    signal.signal(signal.SIGTERM, stopped)
    ending = "by itself"
    try:
        check.all()
    except (SystemExit, KeyboardInterrupt) as why:
        ending = str(why) or "stopped"
        raise
    finally:
        check.record["ended"] = {"how": ending, "secs": round(check.args.deadline_secs - check.left(), 1)}
        check.write()
        for leftover in glob.glob(os.path.join(os.path.dirname(os.path.abspath(check.args.out)), "plan-*.json*")):
            os.remove(leftover)
    check.say(f"the record is {check.args.out}")


main()
