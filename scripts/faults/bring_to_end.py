"""A job whose disk failed, when the disk works again: it comes to its end, resumed by a client where it FAILED over the
disk, and made what an undisturbed run makes."""

import evidence
from service import AT_REST, summary

WITHIN = 90
# Resumed that often, it has run on a disk that works long since.
TRIES = 4


def bring_to_end(row, service, what, known):
    """`known`: the job's id, and the weights of an undisturbed run, or `None` where they can't be compared."""
    job_id, undisturbed = known
    for _ in range(TRIES):
        job = service.wait_until_rest(job_id, WITHIN)
        is_at_rest = job is not None and job["state"] in AT_REST
        if not row.check(is_at_rest, f"{what}: the job stands still: {summary(job)}: {service.log_tail()}"):
            return
        if job["state"] != "FAILED":
            break
        row.count("jobs that FAILED over the disk and were resumed")
        row.check(job["problems"], f"{what}: the job FAILED without a problem: {summary(job)}")
        answer = service.ftl("jobs", "resume", job_id)
        row.check(answer.outcome == "done", f"{what}: it can't be resumed: {answer.said}")
    if row.check(job["state"] == "SUCCEEDED", f"{what}: the job is {summary(job)}: {service.log_tail()}"):
        directory = service.directory(job_id)
        for damage in evidence.damaged_directories(directory):
            row.check(False, f"{what}: {damage}")
        if undisturbed is not None:
            row.check(evidence.result(directory) == undisturbed, f"{what}: other weights than the undisturbed run")
            row.count("weights compared")
