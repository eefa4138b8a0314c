#!/usr/bin/env python3
"""The memory plan against what runs take on a CPU: plans each of some specs, runs it, and compares the peaks.

    scripts/plan-against-rss.py FTL_TRAIN [--json FILE] [NAME...]

FTL_TRAIN is the program, built with `cargo build --release -p ftl-trainer --features cli`. Models have the shapes of
bench/configs or of other families and random weights; rows are as long as their specs allow. Both peaks are beyond what
the process took before the run (resident memory, the kernel's VmHWM). Ends with 1 if a plan is off by more than 5 %.
"""

import argparse
import json
import os
import pathlib
import platform
import random
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "crates/trainer/tests/fixtures/tokenizers/chatml"
TOLERANCE = 0.05
N_STEPS = 3

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 640, "num_hidden_layers": 12,
    "num_attention_heads": 10, "num_key_value_heads": 5, "head_dim": 128, "intermediate_size": 1920,
    "vocab_size": 16384, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}
GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": 640, "num_hidden_layers": 10,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 96, "intermediate_size": 2560,
    "vocab_size": 16384, "tie_word_embeddings": True, "max_position_embeddings": 2048, "sliding_window": 256,
    "query_pre_attn_scalar": 96, "hidden_activation": "gelu_pytorch_tanh",
}
PHI3 = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 768, "num_hidden_layers": 10,
    "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 2048, "vocab_size": 16384,
    "tie_word_embeddings": False, "max_position_embeddings": 2048, "pad_token_id": 0,
}

LORA = {"kind": "lora", "r": 16}
FULL = {"kind": "none"}


def case(model, batch, tokens, adapter=LORA, method="sft", **changes):
    return {"model": model, "batch": batch, "tokens": tokens, "adapter": adapter, "method": method, "changes": changes}


CASES = {
    "lora small30m 4x256": case("small30m", 4, 256),
    "lora small30m 4x512 block": case("small30m", 4, 512, train={"gradient_checkpointing": "block"}),
    "full small30m 2x256": case("small30m", 2, 256, FULL),
    "full small30m 4x256 in parts, 8 bits": case(
        "small30m", 4, 256, FULL, train={"max_grad_norm": 0, "optim": "adamw_8bit"}),
    "lora smol135m 1x512": case("smol135m", 1, 512),
    "qlora smol135m 2x512 block": case(
        "smol135m", 2, 512, quantization={"kind": "nf4"}, train={"gradient_checkpointing": "block"}),
    "full smol135m 1x256": case("smol135m", 1, 256, FULL),
    "dpo lora smol135m 1x2x256": case("smol135m", 1, 256, method="dpo"),
    "dora qwen3 2x384 with dropout": case(
        QWEN3, 2, 384, {"kind": "lora", "r": 16, "use_dora": True, "lora_dropout": 0.1}),
    "qlora gemma2 2x384, 2 microbatches": case(
        GEMMA2, 2, 384, quantization={"kind": "nf4"}, train={"gradient_accumulation_steps": 2}),
    "lora phi3 packed 2x512": case(PHI3, 2, 512, data={"packing": True}),
    "lora smol135m 1x1024 block, scored and asked": case(
        "smol135m", 1, 1024, train={"gradient_checkpointing": "block"}, data={"eval": {"path": "eval.jsonl"}},
        predictions={"count": 2, "max_new_tokens": 8}),
    "lora qwen3 1x512 with embedding and head": case(
        QWEN3, 1, 512, {"kind": "lora", "r": 8, "modules_to_save": ["embed_tokens", "lm_head"]}),
}


def ids(draw, n):
    return [draw.randrange(3, 500) for _ in range(n)]


def rows(the_case):
    """Rows as long as the spec allows; of packed ones, pieces that fill them."""
    draw, tokens = random.Random(1), the_case["tokens"]
    n_rows = N_STEPS * the_case["batch"] * the_case["changes"].get("train", {}).get("gradient_accumulation_steps", 1)
    for _ in range(n_rows):
        if the_case["method"] == "dpo":
            row = {}
            for side in ("chosen", "rejected"):
                row[f"{side}_input_ids"] = ids(draw, tokens)
                row[f"{side}_labels"] = [-100] * (tokens // 2) + row[f"{side}_input_ids"][tokens // 2:]
            yield row
        elif the_case["changes"].get("data", {}).get("packing"):
            yield from ({"input_ids": ids(draw, tokens // 4)} for _ in range(4))
        else:
            yield {"input_ids": ids(draw, tokens)}


def write(the_case, directory):
    model = directory / "model"
    shutil.copytree(TOKENIZER, model)
    if isinstance(the_case["model"], str):
        shutil.copy(ROOT / "bench/configs" / the_case["model"] / "config.json", model)
    else:
        (model / "config.json").write_text(json.dumps(the_case["model"]))
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(the_case)))
    held_out = [{"input_ids": row, "labels": [-100] * (len(row) // 2) + row[len(row) // 2:]}
                for row in (ids(random.Random(i), the_case["tokens"]) for i in range(2))]
    (directory / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    spec = {
        "model": {"path": "model", "init": "random"},
        "data": {"train": ["train.jsonl"], "format": "tokens", "max_length": the_case["tokens"]},
        "method": {"kind": the_case["method"]},
        "adapter": the_case["adapter"],
        "train": {
            "per_device_train_batch_size": the_case["batch"], "max_steps": N_STEPS, "learning_rate": 1e-5,
            "gradient_checkpointing": "none", "save_steps": 2,
        },
        "device": {"kind": "cpu"},
    }
    for section, keys in the_case["changes"].items():
        spec.setdefault(section, {}).update(keys)
    (directory / "spec.json").write_text(json.dumps(spec))


def ask(program, *arguments):
    done = subprocess.run([program, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def measure(program, name):
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        write(CASES[name], directory)
        spec = directory / "spec.json"
        plan = ask(program, "plan", spec)
        memory = ask(program, "run", spec, "--out", directory / "out")["summary"]["memory"]
    return {
        "name": name,
        "planned_bytes": plan["peak_bytes"],
        "planned_with_data_bytes": memory["planned_bytes"],
        "measured_bytes": memory["peak_bytes"],
        "off": plan["peak_bytes"] / memory["peak_bytes"] - 1,
        "parts": plan["parts"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("names", nargs="*", help="which specs; default: all")
    parser.add_argument("--json", type=pathlib.Path, help="write the record there")
    arguments = parser.parse_args()
    program = arguments.program.resolve()

    records = []
    print(f"{'spec':<42} {'planned':>9} {'measured':>9} {'off':>7}   parts of the plan, MiB")
    for name in arguments.names or CASES:
        record = measure(program, name)
        records.append(record)
        mib = lambda n: f"{n / 2**20:.0f}"
        parts = " ".join(f"{part} {mib(n)}" for part, n in record["parts"].items() if n >= 2**19)
        print(f"{name:<42} {mib(record['planned_bytes']):>9} {mib(record['measured_bytes']):>9} "
              f"{record['off']:>+7.1%}   {parts}", flush=True)
    worst = max(abs(record["off"]) for record in records)
    print(f"worst: {worst:.1%}")
    if arguments.json:
        about = {"command": " ".join(["scripts/plan-against-rss.py", "ftl-train", *arguments.names]),
                 "machine": platform.machine(), "kernel": platform.release(), "n_threads": os.cpu_count(),
                 "libc": " ".join(platform.libc_ver())}
        arguments.json.write_text(json.dumps({"about": about, "specs": records}, indent=2) + "\n")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
