"""What /proc says about the processes of a test."""

import fcntl
import os
import pathlib
import re
import signal
import time

WRITES = 0o3


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def files_of(pid):
    """(descriptor, path) of every open file; nothing of a process that is gone."""
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append((name, os.readlink(f"/proc/{pid}/fd/{name}")))
            except OSError:
                continue
    except OSError:
        pass
    return found


def may_write(pid, descriptor):
    try:
        flags = re.search(r"^flags:\s+([0-7]+)", pathlib.Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(), re.M)
    except OSError:
        return False
    return bool(flags and int(flags.group(1), 8) & WRITES)


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def is_alive(pid):
    """A zombie has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def is_worker(pid):
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return len(words) > 1 and words[1] == b"worker"


def of_home(home):
    """Processes that have a file open below `home`."""
    inside = f"{home}/"
    return [pid for pid in pids() if any(path.startswith(inside) for _, path in files_of(pid)) and pid != os.getpid()]


def workers(home):
    """Workers of services of this home, by their job's directory. A worker has its log open from its first moment."""
    jobs = f"{home}/data/jobs/"
    found = {}
    for pid in pids():
        if not is_worker(pid):
            continue
        for _, path in files_of(pid):
            if path.startswith(jobs):
                found.setdefault(path[len(jobs) :].split("/")[0], set()).add(pid)
                break
    return found


def writers(home):
    """Processes that write into a job's journal, which a worker opens once it has the job's lock: {job: {pid: journal}}."""
    jobs = f"{home}/data/jobs/"
    found = {}
    for pid in pids():
        if not is_worker(pid):
            continue
        for descriptor, path in files_of(pid):
            if path.startswith(jobs) and path.endswith("/events.jsonl") and may_write(pid, descriptor):
                found.setdefault(path[len(jobs) :].split("/")[0], {})[pid] = path
    return found


def two_at_once(home):
    """Jobs that two processes write to at the same moment."""
    twice = []
    for job, by_pid in writers(home).items():
        if len(by_pid) < 2:
            continue
        # They were looked at one after the other. Whoever still writes now wrote at the moment when the last was seen.
        still = writers(home).get(job, {})
        both = sorted(set(by_pid) & set(still))
        if len(both) > 1:
            twice.append(f"{job}: processes {both}")
    return twice


def send(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def wait_until_gone(pids_, seconds):
    """The processes that are left after so many seconds."""
    until = time.monotonic() + seconds
    left = [pid for pid in pids_ if is_alive(pid)]
    while left and time.monotonic() < until:
        time.sleep(0.02)
        left = [pid for pid in left if is_alive(pid)]
    return left


def end_all(home):
    """Kills whatever still works in a home; how many there were."""
    left = of_home(home)
    for pid in left:
        send(pid, signal.SIGKILL)
    wait_until_gone(left, 10)
    return len(left)


def is_locked(path):
    """Whether another process holds the lock of this file."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
