"""SIGTERM in the middle of a step, to `ftl-train run`, to a worker, and to the service.

Steps have 24 microbatches, so that the signal nearly always comes within one.
"""

import random
import signal
import subprocess
import time

import evidence
import processes
from programs import Task, train, train_command
from service import AT_REST, Home, Service

ASKED = "checkpoint and exit within 30 s, no finished step lost"
TIMES = 50
SHORT = 3
LIMIT_SECS = 30
TASK = Task(steps=16, save_steps=0, accumulation=24)
WITHIN = 240


def run(row, options):
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        began = time.monotonic()
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        length = time.monotonic() - began
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        row.figures["undisturbed_secs"] = round(length, 2)
        row.figures["step_secs"] = round(length / TASK.steps, 2)
        plan = (length, evidence.result(home / "undisturbed"))
        shares = {"runs": row.times - 2 * (row.times // 3), "workers": row.times // 3, "services": row.times // 3}
        while row.counts["runs told to end"] < shares["runs"]:
            foreground_run(row, options, dice, (home, shares["runs"], *plan))
        service = Service(options.programs, home)
        service.start()
        for whom in ("workers", "services"):
            while row.counts[f"{whom} told to end"] < shares[whom]:
                job(row, service, dice, (whom, shares[whom], *plan))
        row.check(service.terminate() == 0, "the service did not end with 0")
        row.count("signals", sum(row.counts[f"{whom} told to end"] for whom in shares))


def check_saved(row, what, out, last_steps):
    """The newest checkpoint has every step that was reported, and is whole."""
    last = max(last_steps, default=0)
    saved = max(map(evidence.step_of, evidence.checkpoints(out)), default=0)
    # Told when it was done already: the result has them all.
    if evidence.result(out) is not None:
        saved = TASK.steps
    row.check(saved == last, f"{what}: step {last} was reported, the newest checkpoint is of step {saved}")
    for damage in evidence.damaged_directories(out):
        row.check(False, f"{what}: {damage}")


def foreground_run(row, options, dice, plan):
    home, limit, length, undisturbed = plan
    row.count("runs")
    out = home / f"run-{row.counts['runs']}"
    resume = False
    while True:
        process = subprocess.Popen(
            train_command(options.programs, TASK, out, resume),
            env=options.programs.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        told = False
        if row.counts["runs told to end"] < limit:
            try:
                process.wait(dice.uniform(0.15, length * 0.6))
            except subprocess.TimeoutExpired:
                process.terminate()
                told = time.monotonic()
        said = process.communicate()[1]
        if not told or process.returncode == 0:
            break
        row.highest("slowest_exit_secs", time.monotonic() - told)
        row.check(time.monotonic() - told < LIMIT_SECS, f"a run took {time.monotonic() - told:.1f} s to save and end")
        row.check(process.returncode == 3, f"a run that was told to end ended with {process.returncode}: {said}")
        row.count("runs told to end")
        check_saved(row, "a run", out, evidence.steps_in(evidence.events(out / "events.jsonl")))
        resume = out.exists()
    row.check(process.returncode == 0, f"a resumed run ended with {process.returncode}: {said}")
    row.check(evidence.result(out) == undisturbed, f"{out.name} has other weights than an undisturbed run")
    row.count("weights compared")


def job(row, service, dice, plan):
    whom, limit, length, undisturbed = plan
    answer = service.submit(TASK, "told")
    if not row.check(answer.outcome == "done", f"the job was refused: {answer.said}"):
        raise SystemExit(1)
    row.count("jobs")
    job_id = answer.job["id"]
    directory = service.directory(job_id)
    told = set()
    until = time.monotonic() + WITHIN
    while row.counts[f"{whom} told to end"] < limit and time.monotonic() < until:
        pid = next(iter(set(processes.writers(service.home).get(job_id, {})) - told), None)
        if pid is None:
            if (service.job(job_id) or {}).get("state") in AT_REST:
                break
            time.sleep(0.02)
            continue
        time.sleep(dice.uniform(0, length * 0.4))
        if not processes.is_alive(pid):
            continue
        told.add(pid)
        began = time.monotonic()
        if whom == "services":
            code = service.terminate(2 * LIMIT_SECS)
            row.check(code == 0, f"a service that was told to end ended with {code}")
        else:
            processes.send(pid, signal.SIGTERM)
        left = processes.wait_until_gone([pid], 2 * LIMIT_SECS)
        row.highest("slowest_exit_secs", time.monotonic() - began)
        row.check(not left and time.monotonic() - began < LIMIT_SECS, f"it took {time.monotonic() - began:.1f} s to save and end")
        row.count(f"{whom} told to end")
        if whom == "services":
            check_saved(row, "a job", directory, reported(directory))
            service.start()
    found = service.wait_until_rest(job_id, WITHIN)
    if row.check(found["state"] == "SUCCEEDED", f"{job_id} is {found['state']}: {found['problems']}"):
        row.check(evidence.result(directory) == undisturbed, f"{job_id} has other weights than an undisturbed run")
        row.count("weights compared")
        check_no_step_twice(row, job_id, directory)


def reported(directory):
    """The steps in the journals of all attempts."""
    return [step for journal in journals(directory) for step in evidence.steps_in(evidence.events(journal))]


def journals(directory):
    return sorted(directory.glob("attempts/*/events.jsonl"), key=lambda path: int(path.parent.name))


def check_no_step_twice(row, job_id, directory):
    """A finished step that was lost would have been taken again."""
    steps = reported(directory)
    row.check(steps == list(range(1, TASK.steps + 1)), f"{job_id}: the steps that were reported are {steps}")
