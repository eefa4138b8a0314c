"""System calls that fail: strace's injection."""

import os
import re
import shutil
import subprocess
import tempfile

from record import Skipped

# What a full or broken disk answers. `openat` and `mkdir` are where names are made.
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "openat", "mkdir", "rename", "renameat2")
ERRORS = ("ENOSPC", "EIO")


def need():
    """Skips the row where strace can't be used."""
    if shutil.which("strace") is None:
        raise Skipped("strace is not installed")
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "-e", "trace=none", "true"], capture_output=True, text=True)
    if tried.returncode:
        raise Skipped(f"strace may not trace here: {tried.stderr.strip()}")


def only(paths):
    return [word for path in paths for word in ("-P", str(path))]


def failing(call, error, when, paths=(), log=os.devnull):
    """The words before a program (or `-p PID`) that make its `when`-th `call` fail; strace counts for each thread on its
    own. `when`: `3` once, `3+` from then on."""
    fault = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]
    return ["strace", "-f", "-qq", "-o", str(log), *only(paths), *fault]


def failed_paths(log):
    """The paths of the calls that were made to fail."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.endswith("(INJECTED)")]
    return [path.group(1) for path in (re.search(r'"([^"]*)"', line) for line in lines) if path]


def attach(words, pid):
    """Traces a process that runs already, with the words of `failing`."""
    return subprocess.Popen([*words, "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def counts(run, paths=(), calls=CALLS):
    """How often each call is made, by the thread that makes it most often: the highest `when` that has an effect.
    `run` is given the words before the program."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
        run(["strace", "-f", "-qq", "-o", log.name, *only(paths), "-e", f"trace={','.join(calls)}"])
        by_thread = {}
        for line in log:
            made = re.match(r"(\d+) +(\w+)\(", line)
            if made:
                by_thread[made.groups()] = by_thread.get(made.groups(), 0) + 1
    highest = {}
    for (_, call), n in by_thread.items():
        highest[call] = max(highest.get(call, 0), n)
    return {call: highest[call] for call in CALLS if call in highest}


def places(found, dice, times):
    """(call, error, when): every call once with each error, or as many of them as asked, evenly; half of them once, the
    others from then on."""
    every = [(call, error, n) for call, highest in found.items() for n in range(1, highest + 1) for error in ERRORS]
    if times < len(every):
        offset = dice.random()
        every = [every[int((i + offset) * len(every) / times)] for i in range(times)]
    for index, (call, error, n) in enumerate(every):
        yield call, error, f"{n}+" if dice.random() < 0.5 else str(n)
