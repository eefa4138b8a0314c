"""A small disk (tmpfs) that really fills up, while the service works and while `ftl-train run` saves, and is freed again."""

import contextlib
import os
import random
import subprocess
import time

import evidence
from bring_to_end import WITHIN, bring_to_end
from programs import SAID, Task, train
from record import Skipped
from service import Home, Service

ASKED = "typed error, no corruption, goes on after space returns, same weights"
TIMES = 12
SHORT = 3
TASK = Task(steps=40, save_steps=4)
DISK_MIB = 24


@contextlib.contextmanager
def small_disk(place):
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise Skipped(f"no tmpfs can be mounted: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        # Lazily: whatever is still open there is let go of with it.
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk, left):
    """Fills the disk but for so many bytes; the file that does it."""
    ballast = disk / "ballast"
    space = os.statvfs(disk)
    n_bytes = space.f_bavail * space.f_frsize - left
    with ballast.open("wb") as file:
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(n_bytes, 1))
    return ballast


def run(row, options):
    if os.geteuid() != 0:
        raise Skipped("only root may mount a small disk")
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        for number in range(row.times):
            with small_disk(home / f"disk-{number}") as disk:
                act = foreground_run if number % 3 == 2 else service_at_work
                act(row, options, dice, (disk, undisturbed))
        row.count("disks", row.times)


def foreground_run(row, options, dice, plan):
    disk, undisturbed = plan
    left = dice.choice([0, 4096, 100_000, 1_000_000, 3_000_000])
    what = f"`ftl-train run` with {left} bytes left"
    ballast = fill(disk, left)
    out = disk / "run"
    code, _, said = train(options.programs, TASK, out)
    row.check(code in SAID and code != 0, f"{what}: it ended with {code}: {said}")
    row.check("error: " in said and "panicked" not in said, f"{what}: it did not say why: {said}")
    row.check("No space left" in said or "space" in said, f"{what}: the error does not name the full disk: {said}")
    for damage in evidence.damaged_directories(out):
        row.check(False, f"{what}: {damage}")
    ballast.unlink()
    code, _, said = train(options.programs, TASK, out, resume=out.exists())
    row.check(code == 0, f"{what}: it does not go on afterwards: {code}, {said}")
    row.check(evidence.result(out) == undisturbed, f"{what}: other weights than the undisturbed run")
    row.count("runs")


def service_at_work(row, options, dice, plan):
    disk, undisturbed = plan
    service = Service(options.programs, disk)
    # Its log is on the disk too; where that is full, what it says is lost and nothing else.
    if not row.check(service.start(), f"the service does not start on {DISK_MIB} MiB: {service.log_tail()}"):
        return
    # By itself it would begin nothing on so small a disk: jobs wait with the reason DISK_LOW.
    setting = service.ftl("jobs", "queue", "--min-free-disk", "0")
    row.check(setting.outcome == "done", f"the least free space can't be set: {setting.said}")
    job_id = service.submit(TASK, "disturbed").job["id"]
    time.sleep(dice.uniform(0, 2.5))
    left = dice.choice([0, 0, 4096, 65_536, 300_000])
    what = f"service with {left} bytes left"
    ballast = fill(disk, left)
    time.sleep(dice.uniform(1.0, 3.0))
    row.check(service.is_running(), f"{what}: it ended with {service.process.poll()}: {service.log_tail()}")
    row.check(service.ftl("jobs", "ls").outcome == "done", f"{what}: it does not answer while the disk is full")
    row.check(service.job(job_id) is not None, f"{what}: the job, which was acknowledged, is lost")
    while_full = service.submit(TASK, "while full")
    row.count(f"submitted while full: {while_full.outcome}")
    if while_full.outcome != "done":
        problem = (while_full.document or {}).get("problem") or {}
        row.check("disk" in problem.get("message", ""), f"{what}: the refusal does not name the disk: {while_full.said}")
    ballast.unlink()
    jobs = [job_id] + ([while_full.job["id"]] if while_full.outcome == "done" else [])
    for each in jobs:
        bring_to_end(row, service, what, (each, undisturbed))
    again = service.submit(Task(steps=4, save_steps=0), "afterwards")
    if row.check(again.outcome == "done", f"{what}: no job is taken after space returned: {again.said}"):
        job = service.wait_until_rest(again.job["id"], WITHIN)
        row.check(job["state"] == "SUCCEEDED", f"{what}: a job after space returned is {job['state']}: {job['problems']}")
    row.check(service.terminate() == 0, f"{what}: it did not end with 0: {service.log_tail()}")
    for wrong in evidence.Database(service.data_dir).wrong():
        row.check(False, f"{what}: the database is wrong: {wrong}")
    row.count("services")

