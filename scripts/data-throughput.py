"""How fast `ftl-train check` reads data before anything is tokenized, and how much memory it takes.

    python3 scripts/data-throughput.py PROGRAM DATA [--bytes 1e9] [--rounds 3] [--out RECORD.json]

PROGRAM is a release build of ftl-train. DATA holds `datasets/` with real files (JSON Lines, JSON arrays). Their rows are
written as JSON Lines, one file for each format, over and over, until there are so many bytes; each gets a number of its
own in its first text, so that no row repeats another and the table of what was said grows as it would. The files are
removed again. Threads are those of the machine.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

# Rows that show the same format together make one file.
SOURCES = {
    "messages": ["openai_messages/sft_messages_from_kto.jsonl", "openai_messages/reason_tool_use_demo_50.jsonl"],
    "alpaca": ["alpaca/alpaca_en_demo.json", "alpaca/identity.json"],
    "question_answer": ["question_answer/gsm8k_train_first2000.jsonl"],
    "prompt_completion": ["prompt_completion/wwdc25_train.jsonl"],
    "text": ["text/c4_demo.jsonl"],
}


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def numbered(value, number):
    """The same row with a number in its first text of some length."""
    done = False

    def walk(value):
        nonlocal done
        if isinstance(value, str) and not done and len(value) > 12:
            done = True
            return f"{number} {value}"
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    return walk(value)


def write(rows, path, n_bytes):
    written = n_rows = 0
    with path.open("w", encoding="utf-8") as file:
        while written < n_bytes:
            row = numbered(rows[n_rows % len(rows)], n_rows)
            line = json.dumps(row, ensure_ascii=False) + "\n"
            file.write(line)
            written += len(line.encode())
            n_rows += 1
    return n_rows


def measure(program, files):
    """Seconds and peak resident bytes of one check."""
    command = ["/usr/bin/time", "-v", program, "check", "--json", "--data", *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in (0, 2):
        sys.exit(result.stderr)
    wall = re.search(r"Elapsed .*: (?:(\d+):)?(\d+):([\d.]+)", result.stderr)
    hours, minutes, seconds = wall.groups()
    peak = int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", result.stderr).group(1)) * 1024
    cpu = sum(float(re.search(rf"{kind} time \(seconds\): ([\d.]+)", result.stderr).group(1)) for kind in ("User", "System"))
    report = json.loads(result.stdout)
    return {
        "seconds": int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds),
        "cpu_seconds": cpu,
        "peak_rss_bytes": peak,
        "rows": report["rows"]["read"],
        "duplicates": report["duplicates"],
        "load": os.getloadavg()[0],
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program")
    arguments.add_argument("data", type=pathlib.Path)
    arguments.add_argument("--bytes", type=float, default=1e9)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--out", type=pathlib.Path)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, sources in SOURCES.items():
            rows = [row for source in sources for row in rows_of(asked.data / "datasets" / source)]
            path = pathlib.Path(folder) / f"{name}.jsonl"
            write(rows, path, asked.bytes / len(SOURCES))
            files.append(path)
        n_bytes = sum(path.stat().st_size for path in files)
        rounds = [measure(asked.program, files) for _ in range(asked.rounds)]
    for each in rounds:
        each["megabytes_per_sec"] = n_bytes / 1e6 / each["seconds"]
    record = {
        "command": " ".join(["python3", *sys.argv]),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "bytes": n_bytes,
        "megabytes_per_sec": statistics.median(each["megabytes_per_sec"] for each in rounds),
        "peak_rss_bytes": max(each["peak_rss_bytes"] for each in rounds),
        "rounds": rounds,
    }
    text = json.dumps(record, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
