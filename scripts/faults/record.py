"""What a row found, as JSON."""

import collections
import datetime
import json
import os
import pathlib
import platform
import time


# Characters of a failure; the end of a log is among them.
LONGEST = 3_000


class Skipped(Exception):
    """The row can't be tried on this machine; says why."""


class Row:
    """Counts what was done, and keeps what went wrong."""

    def __init__(self, name, asked, seed):
        self.name = name
        self.asked = asked
        self.seed = seed
        self.times = 0
        self.skipped = None
        self.counts = collections.Counter()
        self.figures = {}
        self.failures = []
        self.began = time.monotonic()

    def count(self, what, n=1):
        self.counts[what] += n

    def highest(self, what, value):
        self.figures[what] = round(max(self.figures.get(what, 0), value), 3)

    def check(self, holds, failure):
        if not holds:
            self.failures.append(failure[:LONGEST])
            print(f"FAILED: {failure[:LONGEST]}", flush=True)
        return holds

    def say(self, text):
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def document(self, command, versions):
        return {
            "row": self.name,
            "asked": self.asked,
            "holds": None if self.skipped else not self.failures,
            "skipped": self.skipped,
            "counts": dict(sorted(self.counts.items())),
            "figures": self.figures,
            "failures": self.failures,
            "seconds": round(time.monotonic() - self.began, 1),
            "seed": self.seed,
            "command": command,
            "machine": machine(),
            "versions": versions,
            "date": datetime.date.today().isoformat(),
        }


def machine():
    """In words, without names."""
    system = f"{os.cpu_count()}-core {platform.system()} {platform.machine()}"
    virtual = pathlib.Path("/proc/cpuinfo")
    if virtual.exists() and "hypervisor" in virtual.read_text():
        system += " VM"
    return {"words": system, "kernel": platform.release().split("-")[0], "load": round(os.getloadavg()[0], 1)}


def text(document):
    return json.dumps(document, indent=2)
