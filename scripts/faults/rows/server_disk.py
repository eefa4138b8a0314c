"""ENOSPC and EIO at every Nth call that writes, of the service: into its database; by its worker; and everywhere, but for
plain `write`, with which threads also wake each other, and no disk is in that. Once, or from then on until space returns
while the service lives.

What a client was told stays true; the service answers all the time; and once the disk works again the job comes to its
end, resumed by a client where it FAILED over the disk, without the service being started again.
"""

import collections
import random
import re
import shutil
import signal
import time

import evidence
import processes
import strace
from bring_to_end import bring_to_end
from programs import SAID, Task, train
from service import Home, Service

ASKED = "typed error, no corruption, the service lives and goes on after space returns, same weights"
TIMES = 300
SHORT = 6
TASK = Task(steps=8, save_steps=3)
# The system's loader could not open a library; the program had not begun.
LOADER_FAILED = 127
SCOPES = {
    "database": strace.CALLS,
    "worker": strace.CALLS,
    "everything": tuple(call for call in strace.CALLS if call != "write"),
}
FULL_SECS = 1.5


def run(row, options):
    strace.need()
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        messages = collections.Counter()
        plan = []
        for scope, calls in SCOPES.items():
            counted = home / f"counted-{scope}"
            found = strace.counts(
                lambda wrapper: whole_life(options, counted, (scope, wrapper)), paths(counted, scope), calls
            )
            row.figures[f"calls, {scope}"] = found
            plan += [(scope, *place) for place in strace.places(found, dice, max(1, row.times // len(SCOPES)))]
        for number, (scope, call, error, when) in enumerate(plan):
            place = home / f"failing-{number}"
            one(row, options, place, (scope, call, error, when), (undisturbed, messages))
            processes.end_all(place)
            if not options.keep:
                shutil.rmtree(place, ignore_errors=True)
            if number % 25 == 24:
                row.say(f"{number + 1} of {len(plan)} places")
        row.figures["answers while it failed"] = dict(messages.most_common(12))


def paths(home, scope):
    if scope != "database":
        return []
    data = home / "data"
    return [data / name for name in ("ftl.db", "ftl.db-wal", "ftl.db-shm", "ftl.db-journal", "ftl.db.lock", "lock")]


def whole_life(options, home, traced):
    """What is counted: a start, a job, an end."""
    scope, wrapper = traced
    home.mkdir()
    service = Service(options.programs, home)
    service.start([] if scope == "worker" else wrapper)
    job_id = service.submit(TASK, "counted").job["id"]
    tracer = attach_to_worker(service, job_id, wrapper) if scope == "worker" else None
    service.wait_until_rest(job_id)
    processes.send(service.pid, signal.SIGTERM)
    service.process.wait(60)
    if tracer:
        tracer.wait(60)


def attach_to_worker(service, job_id, wrapper):
    """Traces the job's worker from its first moments."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for pid in service.workers().get(job_id, ()):
            return strace.attach(wrapper, pid)
        time.sleep(0.002)
    return None


def one(row, options, home, fault, known):
    scope, call, error, when = fault
    undisturbed, messages = known
    what = f"{scope}, {call} {error} {when}"
    home.mkdir()
    service = Service(options.programs, home)
    # The tracer is a grandchild (-D), so that the service lives on when the tracer is killed.
    wrapper = strace.failing(call, error, when, paths(home, scope), home / "calls")
    row.count("places")
    row.count(f"places in {scope}")
    began = time.monotonic()
    tracer = None
    (home / "calls").touch()
    if service.start([] if scope == "worker" else [wrapper[0], "-D", *wrapper[1:]], within=20):
        job_id = submit(row, service, what, (began, messages))
        if job_id and scope == "worker":
            tracer = attach_to_worker(service, job_id, wrapper)
        if job_id:
            time.sleep(max(0, began + FULL_SECS - time.monotonic()))
        heal(service)
        if tracer:
            tracer.kill()
            tracer.wait()
        if not row.check(service.is_running(), f"{what}: the service ended with {service.process.poll()}: {service.log_tail()}"):
            return
    else:
        heal(service)
        ended = service.process.poll()
        if ended is None:
            # It does not answer, though the disk works again.
            row.check(service.wait_until_ready(20), f"{what}: the service does not answer: {service.log_tail()}")
        else:
            is_said = ended in SAID or (ended == LOADER_FAILED and "shared libraries" in "".join(service.log_tail()))
            row.check(is_said and ended != 0, f"{what}: the start ended with {ended}: {service.log_tail()}")
            row.check("panicked" not in "".join(service.log_tail(50)), f"{what}: the start panicked: {service.log_tail()}")
            row.count("starts refused")
            row.check(service.start(), f"{what}: it does not start afterwards: {service.log_tail()}")
        job_id = None
    job_id = job_id or submit(row, service, what, (time.monotonic(), messages))
    if row.check(job_id is not None, f"{what}: no job is taken after the disk works again: {service.log_tail()}"):
        # What describes the CPU's caches decides in which order a worker takes sums.
        is_machine = any(path.startswith("/sys/") for path in strace.failed_paths(home / "calls"))
        bring_to_end(row, service, what, (job_id, None if is_machine else undisturbed))
    row.check(service.terminate() == 0, f"{what}: the service did not end with 0: {service.log_tail()}")
    for wrong in evidence.Database(service.data_dir).wrong():
        row.check(False, f"{what}: the database is wrong: {wrong}")
    row.check("panicked" not in service.log.read_text(errors="replace"), f"{what}: a panic: {panic(service)}")


def panic(service):
    lines = service.log.read_text(errors="replace").splitlines()
    return next((lines[i : i + 3] for i, line in enumerate(lines) if "panicked" in line), [])


def submit(row, service, what, known):
    """The id of a job that was taken, tried for as long as a disk is full, then a little."""
    began, messages = known
    for attempt in range(200):
        answer = service.submit(TASK, f"job-{attempt}")
        if answer.outcome == "done":
            return answer.job["id"]
        problem = ((answer.document or {}).get("problem") or {}).get("message", answer.said)
        messages[re.sub(r"[0-9a-f]{8,}|`[^`]*`", "…", problem)[:160]] += 1
        row.check(service.is_running(), f"{what}: the service ended with {service.process.poll()}: {service.log_tail()}")
        if not service.is_running():
            return None
        if time.monotonic() - began > FULL_SECS:
            heal(service)
        if time.monotonic() - began > FULL_SECS + 20:
            return None
        time.sleep(0.1)
    return None


def heal(service):
    """The disk works again: the tracer goes, and with it the faults."""
    try:
        status = open(f"/proc/{service.process.pid}/status").read()
    except OSError:
        return
    tracer = int(re.search(r"TracerPid:\s+(\d+)", status).group(1))
    if tracer:
        processes.send(tracer, signal.SIGKILL)
        processes.wait_until_gone([tracer], 5)

