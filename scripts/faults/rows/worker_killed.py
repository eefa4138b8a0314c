"""SIGKILL to the process that trains at random moments: a worker of the service, and `ftl-train run`.

At most two deaths in a row come before the next checkpoint, since a job is given up after four: the third waits until
there is a new one.
"""

import random
import signal
import subprocess
import time

import evidence
import processes
from programs import Task, train, train_command
from service import AT_REST, Home, Service

ASKED = "final weights bit-equal to the uninterrupted run on the CPU, same machine and thread count"
TIMES = 50
SHORT = 4
TASK = Task(steps=80, save_steps=8)
# Deaths of one job; more would take the next job's.
DEATHS_OF_A_JOB = 6
WITHIN = 180


def run(row, options):
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        began = time.monotonic()
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        # Where in a run it is killed depends on how long a run takes here.
        length = time.monotonic() - began
        row.figures["undisturbed_secs"] = round(length, 2)
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        other = Task(steps=TASK.steps, save_steps=TASK.save_steps, seed=7)
        train(options.programs, other, home / "other")
        row.check(evidence.result(home / "other") != undisturbed, "another seed gives the same weights")

        in_service = row.times // 2
        service = Service(options.programs, home)
        service.start()
        while row.counts["workers killed"] < in_service:
            job_in_service(row, service, dice, (in_service, length, undisturbed))
        row.check(service.terminate() == 0, "the service did not end with 0")
        while row.counts["runs killed"] < row.times - in_service:
            foreground_run(row, options, dice, (home, row.times - in_service, length, undisturbed))
        row.count("kills", row.counts["workers killed"] + row.counts["runs killed"])


def job_in_service(row, service, dice, plan):
    limit, length, undisturbed = plan
    answer = service.submit(TASK, "disturbed")
    if not row.check(answer.outcome == "done", f"the job was refused: {answer.said}"):
        raise SystemExit(1)
    job_id = answer.job["id"]
    directory = service.directory(job_id)
    row.count("jobs")
    killed, without_progress, known = set(), 0, 0
    until = time.monotonic() + WITHIN
    while len(killed) < DEATHS_OF_A_JOB and row.counts["workers killed"] < limit and time.monotonic() < until:
        pid = next(iter(service.workers().get(job_id, set()) - killed), None)
        if pid is None:
            if (service.job(job_id) or {}).get("state") in AT_REST:
                break
            time.sleep(0.02)
            continue
        if without_progress >= 2:
            while len(evidence.checkpoints(directory)) and newest(directory) <= known or newest(directory) == 0:
                if not processes.is_alive(pid) or time.monotonic() > until:
                    break
                time.sleep(0.01)
        time.sleep(dice.uniform(0, length * 0.5))
        if not (processes.is_alive(pid) and processes.send(pid, signal.SIGKILL)):
            continue
        processes.wait_until_gone([pid], 10)
        killed.add(pid)
        row.count("workers killed")
        for damage in evidence.damaged_directories(directory):
            row.check(False, f"after a kill: {damage}")
        without_progress = 0 if newest(directory) > known else without_progress + 1
        known = max(known, newest(directory))
    job = service.wait_until_rest(job_id, WITHIN)
    if row.check(job["state"] == "SUCCEEDED", f"{job_id} is {job['state']}: {job['problems']}"):
        row.check(evidence.result(directory) == undisturbed, f"{job_id} has other weights after {len(killed)} deaths")
        row.count("weights compared")


def newest(directory):
    return max(map(evidence.step_of, evidence.checkpoints(directory)), default=0)


def foreground_run(row, options, dice, plan):
    home, limit, length, undisturbed = plan
    row.count("runs")
    out = home / f"run-{row.counts['runs']}"
    resume = False
    while True:
        command = train_command(options.programs, TASK, out, resume)
        process = subprocess.Popen(
            command, env=options.programs.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if row.counts["runs killed"] < limit:
            try:
                process.wait(dice.uniform(0, length))
            except subprocess.TimeoutExpired:
                process.kill()
                row.count("runs killed")
        said = process.communicate()[1]
        if process.returncode != -signal.SIGKILL:
            break
        for damage in evidence.damaged_directories(out):
            row.check(False, f"after a kill: {damage}")
        # Killed before it wrote anything, it is a new run.
        resume = out.exists()
    row.check(process.returncode == 0, f"a resumed run ended with {process.returncode}: {said}")
    row.check(evidence.result(out) == undisturbed, f"a run has other weights after it was killed ({out.name})")
    row.count("weights compared")
