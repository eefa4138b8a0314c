"""SIGKILL to the service at random moments, while clients submit, stop, resume, cancel, remove and watch.

What a client was told (an answer with yes) or saw (an event in a stream) must be there afterwards, under the same
number and with the same bytes. Workers of one job are looked for all the time.
"""

import dataclasses
import random
import threading
import time

import evidence
import processes
import stream
from programs import SPEC, Task, train
from service import AT_REST, Home, Service, summary

ASKED = "0 acknowledged rows lost, no job stuck, never two workers on one job; same weights as undisturbed"
TIMES = 200
SHORT = 10
SEEDS = (1, 2, 3)
CLIENTS = 4
STEPS = 60
# When, after the start of the service, it is killed: (weight, earliest, latest) in seconds.
MOMENTS = {
    "at work": (5, 0.3, 3.0),
    "starting": (2, 0.0, 0.12),
    "recovering": (2, 0.05, 0.5),
    "ending": (2, 0.3, 2.0),
    "with its workers": (3, 0.5, 3.0),
}
# Far more than a job takes here.
JOB_WITHIN = 180


def task(seed):
    return Task(steps=STEPS, save_steps=12, seed=seed)


@dataclasses.dataclass
class Kept:
    """What one client knows about its job."""

    id: str
    name: str
    seed: int
    # seq: bytes of the event
    seen: dict = dataclasses.field(default_factory=dict)
    highest_seq: int = 0
    # What answers named.
    told_seq: int = 0
    # Answers in order: (command, outcome)
    said: list = dataclasses.field(default_factory=list)
    state: str = ""
    removed: bool = False

    def last(self, *commands):
        """How the last of these commands came out."""
        return next((outcome for command, outcome in reversed(self.said) if command in commands), None)


class Watcher(threading.Thread):
    """Follows a job across the deaths of its service."""

    def __init__(self, row, service, kept):
        super().__init__(daemon=True)
        self.row, self.service, self.kept = row, service, kept
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                for seq, event in stream.watch(self.service.socket, self.kept.id, self.kept.highest_seq):
                    if seq != self.kept.highest_seq + 1:
                        self.row.check(False, f"{self.kept.id}: event {seq} came after {self.kept.highest_seq}")
                    self.kept.seen[seq] = event
                    self.kept.highest_seq = seq
                    if self.over.is_set():
                        return
            except stream.Broken:
                self.row.count("streams broken")
            self.over.wait(0.05)


class Client(threading.Thread):
    """One person with one job after the other."""

    def __init__(self, row, service, number, ending):
        super().__init__(daemon=True)
        self.row, self.service, self.number, self.ending = row, service, number, ending
        self.random = random.Random(f"{row.seed}-client-{number}")
        self.jobs = []
        # Names of jobs whose submission nobody answered.
        self.unknown = []
        self.configs = []
        self.fault = None

    def run(self):
        try:
            count = 0
            while not self.ending.is_set():
                count += 1
                self.one_job(f"client-{self.number}-job-{count}")
        except Exception as error:  # A thread's fault must fail the row, not vanish.
            self.fault = f"client {self.number}: {error!r}"

    def ask(self, kept, command, *words):
        """Asks until somebody answers: yes or no. A no after an unanswered try may follow from that try's success."""
        until = time.monotonic() + JOB_WITHIN
        tries = 0
        while True:
            answer = self.service.ftl("jobs", command, *words, kept.id)
            tries += 1
            self.row.count(f"{command}: {answer.outcome}")
            if answer.outcome != "unknown":
                outcome = answer.outcome if answer.outcome == "done" or tries == 1 else "refused after unknown"
                kept.said.append((command, outcome))
                if answer.outcome == "done" and command != "rm":
                    kept.told_seq = max(kept.told_seq, answer.job["seq"])
                return outcome
            if time.monotonic() > until:
                self.row.check(False, f"{kept.id}: nobody answered `{command}` for {JOB_WITHIN} s: {answer.said}")
                return "unknown"
            time.sleep(self.random.uniform(0.02, 0.2))

    def one_job(self, name):
        seed = self.random.choice(SEEDS)
        answer = self.service.submit(task(seed), name)
        self.row.count(f"submit: {answer.outcome}")
        if answer.outcome != "done":
            self.row.check(answer.outcome == "unknown", f"{name} was refused: {answer.said}")
            self.unknown.append(name)
            time.sleep(0.1)
            return
        kept = Kept(answer.job["id"], name, seed)
        self.jobs.append(kept)
        watcher = Watcher(self.row, self.service, kept)
        watcher.start()
        try:
            self.life(kept)
        finally:
            watcher.over.set()

    def life(self, kept):
        story = self.random.choice(["run", "run", "stop", "stop", "cancel", "remove", "config"])
        if story == "config":
            name = f"config-of-{kept.name}"
            answer = self.service.ftl("config", "save", name, SPEC)
            self.row.count(f"config: {answer.outcome}")
            if answer.outcome == "done":
                self.configs.append(name)
        if story == "stop":
            for _ in range(self.random.randint(1, 3)):
                time.sleep(self.random.uniform(0.0, 2.5))
                # A job that waits, or is over, can't be stopped.
                if self.ask(kept, "stop").startswith("refused"):
                    job = self.service.job(kept.id)
                    if job and job["state"] in AT_REST:
                        break
                    continue
                self.rest(kept)
                if kept.state != "STOPPED":
                    break
                if self.ask(kept, "resume").startswith("refused") and kept.last("resume") == "refused":
                    self.row.check(False, f"{kept.id} was STOPPED and could not be resumed")
        if story == "cancel":
            time.sleep(self.random.uniform(0.0, 3.0))
            self.ask(kept, "cancel", "--yes")
        self.rest(kept)
        # A job whose workers died again and again before they had saved is given up, as docs/service.md says.
        while kept.state == "FAILED" and kept.last("cancel") is None:
            self.row.count("jobs given up after deaths without progress, resumed by the client")
            if self.ask(kept, "resume") == "refused":
                break
            self.rest(kept)
        if story == "remove" and kept.state in AT_REST:
            kept.removed = self.ask(kept, "rm", "--yes") in ("done", "refused after unknown")

    def rest(self, kept):
        """Waits until the job is at rest."""
        until = time.monotonic() + JOB_WITHIN
        while time.monotonic() < until:
            job = self.service.job(kept.id)
            if job:
                self.row.check(job["seq"] >= kept.told_seq, f"{kept.id}: seq {job['seq']} after {kept.told_seq}")
                kept.told_seq = max(kept.told_seq, job["seq"])
                if job["state"] in AT_REST:
                    kept.state = job["state"]
                    return
            time.sleep(0.1)
        self.row.check(False, f"{kept.id} ({kept.name}) did not come to rest within {JOB_WITHIN} s: {summary(job)}")
        kept.state = "stuck"


class Lookout(threading.Thread):
    """Looks for two workers on one job."""

    def __init__(self, row, home):
        super().__init__(daemon=True)
        self.row, self.home = row, home
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.03):
            for twice in processes.two_at_once(self.home):
                self.row.check(False, f"two workers on one job: {twice}")
            self.row.count("looks for two workers on one job")


def run(row, options):
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        undisturbed = {}
        for seed in SEEDS:
            out = home / f"undisturbed-{seed}"
            code, _, said = train(options.programs, task(seed), out)
            row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
            undisturbed[seed] = evidence.result(out)
        row.check(len(set(undisturbed.values())) == len(SEEDS), "runs with different seeds have the same weights")

        service = Service(options.programs, home)
        ending = threading.Event()
        clients = [Client(row, service, number, ending) for number in range(CLIENTS)]
        lookout = Lookout(row, home)
        lookout.start()
        for client in clients:
            client.start()
        database = evidence.Database(service.data_dir)
        names = list(MOMENTS)
        weights = [MOMENTS[name][0] for name in names]
        for number in range(row.times):
            moment = dice.choices(names, weights)[0]
            _, earliest, latest = MOMENTS[moment]
            service.spawn()
            time.sleep(dice.uniform(earliest, latest))
            if not service.is_running():
                row.check(False, f"the service ended by itself with {service.process.returncode}: {service.log_tail()}")
            if moment == "ending" and service.is_running():
                service.process.terminate()
                time.sleep(dice.uniform(0.0, 0.6))
            workers = [pid for pids in service.workers().values() for pid in pids] if moment == "with its workers" else []
            service.kill()
            for pid in workers:
                processes.send(pid, 9)
            row.count(f"killed {moment}")
            if number % 10 == 9:
                for wrong in database.wrong():
                    row.check(False, f"after kill {number + 1} the database is wrong: {wrong}")
            if number % 20 == 19:
                row.say(f"{number + 1} kills, {sum(len(client.jobs) for client in clients)} jobs")
            # Sometimes its orphans have saved before the next one comes, mostly not.
            time.sleep(dice.choice([0, 0, 0.1, 1.0]))
        service.start()
        ending.set()
        for client in clients:
            client.join(3 * JOB_WITHIN)
            row.check(not client.is_alive(), f"client {client.number} does not come to its end")
            row.check(client.fault is None, client.fault)
        lookout.over.set()
        lookout.join()
        afterwards(row, service, clients, undisturbed)
        row.check(service.terminate() == 0, "the service did not end with 0 when it was told to end")
        for wrong in database.wrong():
            row.check(False, f"at the end the database is wrong: {wrong}")
        row.count("kills", row.times)


def afterwards(row, service, clients, undisturbed):
    """Compares what clients know with what is there."""
    listed = service.ftl("jobs", "ls", "--limit", 10_000).document["jobs"]
    there = {job["id"]: job for job in listed}
    names = {job["name"] for job in listed}
    unknown = {name for client in clients for name in client.unknown}
    known = {kept.id: kept for client in clients for kept in client.jobs}
    for job in listed:
        row.check(job["id"] in known or job["name"] in unknown, f"nobody asked for {job['id']} ({job['name']})")
        if job["id"] not in known:
            row.count("jobs whose submission was not answered and that are there")
            job = service.wait_until_rest(job["id"], JOB_WITHIN)
            row.check(job["state"] == "SUCCEEDED", f"{job['id']}, whose submission was not answered, is {job['state']}")
    row.count("names whose submission was not answered", len(unknown - names))
    for kept in known.values():
        row.count("jobs")
        job = there.get(kept.id)
        if kept.removed:
            row.check(job is None, f"{kept.id} was removed and is there")
            row.check(not service.directory(kept.id).exists(), f"the files of {kept.id}, which was removed, are there")
            row.count("removed")
            continue
        if not row.check(job is not None, f"{kept.id} was acknowledged and is lost"):
            continue
        check_events(row, service, kept, job)
        row.count(f"ended {job['state']}")
        expected = expected_states(kept)
        row.check(job["state"] in expected, f"{kept.id} is {job['state']} after {kept.said}, not one of {expected}")
        for damage in evidence.damaged_directories(service.directory(kept.id)):
            row.check(False, f"{kept.id}: {damage}")
        if job["state"] == "SUCCEEDED":
            weights = evidence.result(service.directory(kept.id))
            row.check(weights == undisturbed[kept.seed], f"{kept.id} has other weights than an undisturbed run")
            row.count("weights compared")
    configs = {config["name"] for config in service.ftl("config", "ls").document["configs"]}
    for name in [name for client in clients for name in client.configs]:
        row.check(name in configs, f"the config `{name}` was acknowledged and is lost")
        row.count("configs")


def check_events(row, service, kept, job):
    again = dict(stream.watch(service.socket, kept.id))
    row.check(sorted(again) == list(range(1, job["seq"] + 1)), f"{kept.id}: the events' numbers have gaps")
    row.check(job["seq"] >= kept.told_seq, f"{kept.id} ends at seq {job['seq']}, a client was told of {kept.told_seq}")
    for seq, event in kept.seen.items():
        row.check(again.get(seq) == event, f"{kept.id}: event {seq} was seen and is lost or another")
    row.count("events seen in streams and found again", len(kept.seen))
    steps = {step for step in map(stream.step_of, again.values()) if step is not None}
    if job["state"] == "SUCCEEDED":
        missing = set(range(1, STEPS + 1)) - steps
        row.check(not missing, f"{kept.id} has not reported the steps {sorted(missing)}")


def expected_states(kept):
    if kept.last("cancel") in ("done", "refused after unknown"):
        # Refused after nobody answered: cancelled by that, or over before.
        return {"CANCELLED"} if kept.last("cancel") == "done" else {"CANCELLED", "SUCCEEDED"}
    last = kept.last("stop", "resume")
    if last is None or last == "refused":
        return {"SUCCEEDED"}
    command = next(command for command, _ in reversed(kept.said) if command in ("stop", "resume"))
    if command == "resume":
        return {"SUCCEEDED"}
    # A worker may have been done before it heard of it.
    return {"STOPPED", "SUCCEEDED"}
