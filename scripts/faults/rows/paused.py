"""A lid that is closed: processes that stand still for a while (SIGSTOP) and go on (SIGCONT); and, where libfaketime is
installed, a clock that jumps."""

import glob
import random
import signal
import time

import evidence
import processes
from programs import Task, train
from service import Home, Service

ASKED = "jobs go on after a pause of service, worker or both, and after jumps of the clock; same weights"
TIMES = 12
SHORT = 4
TASK = Task(steps=120, save_steps=20)
LONGEST_SECS = 8.0
# Where there is less time.
LONGEST_SECS_SHORT = 3.0
ORPHAN = "worker whose service dies"
WHOM = ["service", "worker", "both", ORPHAN]
JUMPS = ["+3650d", "-3650d", "+1h", "-1h"]


def run(row, options):
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        service = Service(options.programs, home)
        service.start()
        for number in range(row.times):
            whom = WHOM[number % len(WHOM)]
            pause(row, service, dice, (whom, undisturbed))
        row.check(service.terminate() == 0, "the service did not end with 0")
        jumps(row, options, dice, (home, undisturbed))


def pause(row, service, dice, plan):
    whom, undisturbed = plan
    job_id = service.submit(TASK, f"pause of {whom}").job["id"]
    until = time.monotonic() + 60
    while not (writers := processes.writers(service.home).get(job_id)) and time.monotonic() < until:
        time.sleep(0.02)
    if not row.check(bool(writers), f"no worker works on {job_id}"):
        return
    time.sleep(dice.uniform(0, 1))
    worker = next(iter(writers))
    stopped = {"service": [service.process.pid], "worker": [worker], "both": [service.process.pid, worker], ORPHAN: [worker]}[whom]
    for pid in stopped:
        processes.send(pid, signal.SIGSTOP)
    seconds = dice.uniform(0.5, LONGEST_SECS if row.times > SHORT else LONGEST_SECS_SHORT)
    if whom == ORPHAN:
        service.kill()
        # The kernel lets a stopped process go on when its parent dies; the next service waits until it has saved.
        row.check(service.start(), f"the service does not start while an orphan is there: {service.log_tail()}")
    time.sleep(seconds)
    for twice in processes.two_at_once(service.home):
        row.check(False, f"two workers on one job after a pause of {whom}: {twice}")
    for pid in reversed(stopped):
        processes.send(pid, signal.SIGCONT)
    row.highest("longest_pause_secs", seconds)
    job = service.wait_until_rest(job_id)
    row.check(job["state"] == "SUCCEEDED", f"{job_id} is {job['state']} after a pause of {whom}: {job['problems']}")
    row.check(evidence.result(service.directory(job_id)) == undisturbed, f"{job_id} has other weights after a pause of {whom}")
    expected = 2 if whom == ORPHAN else 1
    row.check(
        job["n_attempts"] == expected, f"{job_id}: {job['n_attempts']} attempts after a pause of {whom} for {seconds:.0f} s"
    )
    row.count(f"pauses of {whom}")


def faketime():
    folders = ["/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime"]
    return next((path for folder in folders for path in glob.glob(f"{folder}/libfaketimeMT.so.1")), None)


def jumps(row, options, dice, plan):
    """The clock of each next service is another; a job goes on across them."""
    home, undisturbed = plan
    library = faketime()
    if library is None:
        row.figures["clock"] = "not tried: libfaketime is not installed"
        row.say(row.figures["clock"])
        return
    service = Service(options.programs, home)
    service.start()
    job_id = service.submit(TASK, "clock").job["id"]
    last_seq = 0
    for jump in dice.sample(JUMPS, len(JUMPS)):
        time.sleep(dice.uniform(0.3, 1.0))
        service.kill()
        service.start(wrapper=["env", f"LD_PRELOAD={library}", f"FAKETIME={jump}", "FAKETIME_DONT_FAKE_MONOTONIC=1"])
        job = service.job(job_id)
        if row.check(job is not None, f"the service does not answer with its clock at {jump}: {service.log_tail()}"):
            row.check(job["seq"] >= last_seq, f"seq went from {last_seq} to {job['seq']} with the clock at {jump}")
            last_seq = job["seq"]
        row.count("jumps of the clock")
    job = service.wait_until_rest(job_id)
    row.check(job["state"] == "SUCCEEDED", f"{job_id} is {job['state']} after the clock jumped: {job['problems']}")
    row.check(evidence.result(service.directory(job_id)) == undisturbed, f"{job_id} has other weights after the clock jumped")
    row.check(service.terminate() == 0, "the service did not end with 0")
