"""A service in a directory of its own, and what clients say to it."""

import dataclasses
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import processes
from programs import SPEC, document

AT_REST = {"STOPPED", "SUCCEEDED", "FAILED", "CANCELLED"}
# A call that nobody answers in this time counts as one whose outcome nobody knows.
CALL_WITHIN = 40
# What `ftl` says where the service was gone or did not answer: done or not, nobody knows.
UNKNOWN_KINDS = {"unavailable", "timed_out", "protocol", "io", "internal"}


@dataclasses.dataclass
class Answer:
    """`done`: the service said yes; `refused`: it said no; `unknown`: it said nothing."""

    outcome: str
    document: object
    code: int
    said: str

    @property
    def job(self):
        found = self.document or {}
        return found.get("job") or next(iter(found.get("jobs") or []), None)


class Home:
    """A temporary directory that is gone afterwards, with every process that works in it."""

    def __init__(self, keep=False, place=None):
        self.keep = keep
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="ftl-faults-", dir=place))

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        processes.end_all(self.path)
        if self.keep:
            print(f"kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Service:
    def __init__(self, programs, home):
        self.programs = programs
        self.home = pathlib.Path(home)
        self.data_dir = self.home / "data"
        self.socket = self.home / "run" / "ftl.sock"
        self.log = self.home / "server.log"
        self.process = None

    def command(self):
        serve = ["serve", "--data-dir", str(self.data_dir), "--socket", str(self.socket)]
        return [self.programs.path("ftl-server"), *serve]

    def spawn(self, wrapper=()):
        """Starts it and does not wait. With a wrapper (strace) the process is the wrapper's."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, *self.command()],
                env=self.programs.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        return self

    def start(self, wrapper=(), within=60):
        """Starts it and waits until it answers; whether it does."""
        self.spawn(wrapper)
        return self.wait_until_ready(within)

    def wait_until_ready(self, within=60):
        until = time.monotonic() + within
        while time.monotonic() < until and self.process.poll() is None:
            if self.ftl("status", timeout=10).outcome == "done":
                return True
            time.sleep(0.02)
        return False

    @property
    def pid(self):
        """The service itself, also where a wrapper started it."""
        if self.process is None:
            return None
        own = self.programs.path("ftl-server")
        for pid in [self.process.pid, *(p for p in processes.pids() if processes.parent_of(p) == self.process.pid)]:
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[:2] == [own, "serve"]:
                return pid
        return None

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL, and waits until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self, within=60):
        """SIGTERM: the exit code, or `None` where it did not end in time and was killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def log_tail(self, lines=15):
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def ftl(self, *words, timeout=CALL_WITHIN):
        command = [self.programs.path("ftl"), "--server", f"unix:{self.socket}", "--json", *map(str, words)]
        try:
            done = subprocess.run(
                command, env=self.programs.environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return Answer("unknown", None, -1, f"no answer within {timeout} s")
        found = document(done.stdout)
        if done.returncode == 0:
            return Answer("done", found, 0, done.stderr.strip())
        problem = (found or {}).get("problem") or {}
        if not problem:
            problem = next((p for p in (found or {}).get("problems") or []), {})
        outcome = "unknown" if not problem or problem.get("kind") in UNKNOWN_KINDS else "refused"
        return Answer(outcome, found, done.returncode, done.stderr.strip())

    def submit(self, task, name):
        return self.ftl("train", SPEC, "--name", name, *task.sets())

    def job(self, job_id):
        """The job, or `None` where nobody says."""
        answer = self.ftl("jobs", "show", job_id)
        return answer.job if answer.outcome == "done" else None

    def directory(self, job_id):
        return self.data_dir / "jobs" / job_id

    def wait_for(self, job_id, is_there, within):
        """The job when `is_there` says so, or as it was seen last."""
        until = time.monotonic() + within
        seen = None
        while time.monotonic() < until:
            seen = self.job(job_id) or seen
            if seen and is_there(seen):
                return seen
            time.sleep(0.1)
        return seen

    def wait_until_rest(self, job_id, within=120):
        return self.wait_for(job_id, lambda job: job["state"] in AT_REST, within)

    def workers(self):
        return processes.workers(self.home)


def summary(job):
    """A job in a sentence about a failure."""
    keys = ("id", "name", "state", "reason", "problems", "phase", "step", "n_attempts", "seq")
    return job and {key: job.get(key) for key in keys}
