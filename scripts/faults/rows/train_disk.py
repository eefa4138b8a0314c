"""ENOSPC and EIO at every Nth call of `ftl-train run` that writes: once, or from then on as on a full disk.

When the disk works again the run goes on, and its weights are those of an undisturbed one.
"""

import collections
import random
import re
import shutil

import evidence
import strace
from programs import SAID, Task, train
from service import Home

ASKED = "typed error, no corruption, goes on after space returns, same weights"
TIMES = 400
SHORT = 14
TASK = Task(steps=8, save_steps=3)
# The system's loader could not open a library; the program had not begun.
LOADER_FAILED = 127


def run(row, options):
    strace.need()
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        found = strace.counts(lambda wrapper: train(options.programs, TASK, home / "counted", wrapper=wrapper))
        row.figures["calls"] = found
        row.figures["places"] = sum(found.values()) * len(strace.ERRORS)
        messages = collections.Counter()
        for number, (call, error, when) in enumerate(strace.places(found, dice, row.times)):
            out = home / f"failing-{number}"
            what = f"{call} {error} {when}"
            code, _, said = train(options.programs, TASK, out, wrapper=strace.failing(call, error, when, log=home / "calls"))
            judge(row, what, code, said)
            if code:
                errors = re.findall(r"^error: ([^`]*)", said, re.M)
                messages[errors[-1].strip() if errors else "nothing, as stderr failed"] += 1
            for damage in evidence.damaged_directories(out):
                row.check(False, f"{what}: {damage}")
            if code:
                resume = out.exists()
                code, _, said = train(options.programs, TASK, out, resume=resume)
                row.check(code == 0, f"{what}: it does not go on afterwards: {code}, {said}")
            if any(path.startswith("/sys/") for path in strace.failed_paths(home / "calls")):
                # What the kernel says of the CPU's caches decides in which order sums are taken: to the program it is
                # another machine.
                row.count("faults in what describes the machine, weights not compared")
            else:
                row.check(evidence.result(out) == undisturbed, f"{what}: other weights than the undisturbed run")
            row.count("runs")
            row.count(f"runs with {error}")
            shutil.rmtree(out, ignore_errors=True)
            if number % 50 == 49:
                row.say(f"{number + 1} places")
        row.figures["messages"] = dict(messages.most_common(12))


def judge(row, what, code, said):
    if code == LOADER_FAILED and "shared libraries" in said:
        row.count("runs that were not loaded")
        return
    row.check(code in SAID, f"{what}: the run ended with {code}: {said[-2000:]}")
    if code:
        row.count("runs that ended with an error")
        # Where stderr itself fails from then on, nothing can be said.
        is_said = "error" in said or (call_of(what) == "write" and what.endswith("+"))
        row.check(is_said, f"{what}: the run ended with {code} and did not say why: {said[-500:]}")
        row.check("panicked" not in said, f"{what}: a panic: {said[-2000:]}")
    else:
        row.count("runs that did without")


def call_of(what):
    return what.split()[0]
