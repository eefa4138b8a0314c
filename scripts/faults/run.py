#!/usr/bin/env python3
"""Faults against the release programs: each row of the table in README.md is tried as often as asked.

    python3 scripts/faults/run.py ROW… [--times N | --short] [--seed S] [--bin DIR] [--record FILE]

Ends with 0 when what each row asks held (or could not be tried here, which it says). Prints a JSON document for each.
"""

import argparse
import importlib
import pathlib
import random
import shlex
import signal
import sys

from programs import ROOT, Missing, Programs
from record import Row, Skipped, text

ROWS = {
    "kill-server": "server_killed",
    "kill-worker": "worker_killed",
    "terminate": "told_to_end",
    "inject-train": "train_disk",
    "inject-server": "server_disk",
    "full-disk": "full_disk",
    "damage": "checkpoint_damaged",
    "second-server": "second_server",
    "pause": "paused",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=[*ROWS, "all"], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--times", type=int, help="how often; each row has its own default")
    parser.add_argument("--short", action="store_true", help="as often as CI does, instead of --times")
    parser.add_argument("--seed", type=int, help="of the moments and places; a new one each time")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target" / "release", help="where the programs are")
    parser.add_argument("--record", type=pathlib.Path, help="also write the documents to this file")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--keep", action="store_true", help="leave the directories for a look")
    return parser.parse_args()


def main():
    options = arguments()
    # Told to end: directories and processes are cleaned up all the same.
    signal.signal(signal.SIGTERM, told_to_end)
    try:
        options.programs = Programs(options.bin, options.threads)
    except Missing as error:
        sys.exit(str(error))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    documents = [one(name, options, seed) for name in (ROWS if "all" in options.rows else options.rows)]
    if options.record:
        whole = documents[0] if len(documents) == 1 else documents
        options.record.write_text(text(whole) + "\n")
    broken = [document["row"] for document in documents if document["holds"] is False]
    sys.exit(f"did not hold: {', '.join(broken)}" if broken else 0)


def told_to_end(*_):
    # A second signal must not end the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def one(name, options, seed):
    module = importlib.import_module(f"rows.{ROWS[name]}")
    row = Row(name, module.ASKED, seed)
    row.times = module.SHORT if options.short else options.times or module.TIMES
    print(f"=== {name}, {row.times} times, seed {seed}: {module.ASKED}", flush=True)
    words = ["python3", "scripts/faults/run.py", name, "--times", row.times, "--seed", seed, "--threads", options.threads]
    command = shlex.join(map(str, words))
    try:
        module.run(row, options)
    except Skipped as reason:
        row.skipped = str(reason)
        print(f"skipped: {reason}")
    document = row.document(command, options.programs.versions())
    print(text(document), flush=True)
    return document


if __name__ == "__main__":
    main()
