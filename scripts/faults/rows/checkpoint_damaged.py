"""A flipped bit, a cut, a missing and an added byte in each file of the newest checkpoint.

Detected means: the run that goes on names the checkpoint in its events, goes on from the one before, and has the weights
of an undisturbed run in the end.
"""

import random
import shutil
import time

import evidence
from programs import Task, train
from service import Home, Service

ASKED = "always detected, previous checkpoint used, damage named in the events"
TIMES = 100
SHORT = 8
TASK = Task(steps=16, save_steps=6)
# Where the run is stopped to be damaged: after its second checkpoint, before its end.
KEPT = ("checkpoint-6", "checkpoint-12")
# Of so many damages one is done to a job of the service, and one at least.
ONE_IN_SERVICE_OF = 20


def run(row, options):
    dice = random.Random(row.seed)
    with Home(options.keep) as home:
        code, _, said = train(options.programs, TASK, home / "undisturbed")
        row.check(code == 0, f"the undisturbed run ended with {code}: {said}")
        undisturbed = evidence.result(home / "undisturbed")
        # As after a kill behind step 12.
        base = home / "base"
        shutil.copytree(home / "undisturbed", base)
        shutil.rmtree(base / "final")
        for directory in evidence.checkpoints(base):
            if directory.name not in KEPT:
                shutil.rmtree(directory)
        row.check([path.name for path in evidence.checkpoints(base)] == list(KEPT), "the checkpoints to damage are missing")
        files = sorted(path.name for path in (base / KEPT[1]).iterdir())
        row.figures["files"] = files
        damages = list(planned(files, base / KEPT[1], dice, row.times))
        for number, damage in enumerate(damages):
            out = home / f"damaged-{number}"
            shutil.copytree(base, out)
            what = apply(out / KEPT[1], damage)
            code, _, said = train(options.programs, TASK, out, resume=True)
            judge(row, what, (code, said), evidence.events(out / "events.jsonl"))
            row.check(evidence.result(out) == undisturbed, f"{what}: other weights than the undisturbed run")
            row.count(f"damages by {damage[1].split()[0]}")
            shutil.rmtree(out)
        row.count("damages", len(damages))
        control(row, options, home, base)
        through_service(row, options, dice, (home, undisturbed))


def planned(files, directory, dice, times):
    """(file, kind, place) of every damage: each file with each kind once, then random ones."""
    kinds = ["flip first", "flip last", "flip random", "cut last", "cut random", "cut all", "add one", "remove"]
    pairs = [(file, kind) for kind in kinds for file in files]
    if times < len(pairs):
        pairs = dice.sample(pairs, times)
    while len(pairs) < times:
        pairs.append((dice.choice(files), dice.choice(["flip random", "cut random"])))
    for file, kind in pairs:
        size = (directory / file).stat().st_size
        yield file, kind, dice.randrange(size), dice.randrange(8)


def apply(directory, damage):
    """Does it; says what."""
    name, kind, place, bit = damage
    path = directory / name
    content = bytearray(path.read_bytes())
    place = {"first": 0, "last": len(content) - 1}.get(kind.split()[-1], place)
    if kind == "remove":
        path.unlink()
        return f"`{name}` removed"
    if kind == "cut all":
        content.clear()
    elif kind.startswith("cut"):
        del content[place:]
    elif kind.startswith("add"):
        content.append(0)
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"`{name}`: {kind}, byte {place}"


def judge(row, what, ended, events):
    code, said = ended
    row.check(code == 0, f"{what}: the run ended with {code}: {said}")
    named = [event["message"] for event in events if event["type"] == "note" and KEPT[1] in event["message"]]
    row.check(named, f"{what}: no event names {KEPT[1]}")
    # It was at step 16 before; what it goes on from shows in the step that it takes first.
    steps = evidence.steps_in(events)
    row.check(steps[16:] == list(range(7, 17)), f"{what}: it went on with the steps {steps[16:]}, not from step 7")


def control(row, options, home, base):
    """Without damage nothing is named, and it goes on from the newest."""
    out = home / "sound"
    shutil.copytree(base, out)
    code, _, said = train(options.programs, TASK, out, resume=True)
    events = evidence.events(out / "events.jsonl")
    steps = evidence.steps_in(events)
    row.check(code == 0 and steps[16:] == [13, 14, 15, 16], f"a sound checkpoint was not used: {code}, {steps[16:]}, {said}")


def through_service(row, options, dice, plan):
    """The same through the service: a job is stopped, damaged and resumed."""
    home, undisturbed = plan
    service = Service(options.programs, home)
    service.start()
    for number in range(max(1, row.times // ONE_IN_SERVICE_OF)):
        task = Task(steps=200, save_steps=6)
        answer = service.submit(task, f"damaged-{number}")
        job_id = answer.job["id"]
        directory = service.directory(job_id)
        until = time.monotonic() + 120
        while len(evidence.checkpoints(directory)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        service.ftl("jobs", "stop", job_id)
        job = service.wait_until_rest(job_id)
        if not row.check(job["state"] == "STOPPED", f"{job_id} is {job['state']} after it was stopped"):
            continue
        newest = evidence.checkpoints(directory)[-1]
        before = evidence.checkpoints(directory)[-2]
        file = dice.choice(sorted(path.name for path in newest.iterdir()))
        what = apply(newest, (file, "flip random", dice.randrange((newest / file).stat().st_size), dice.randrange(8)))
        service.ftl("jobs", "resume", job_id)
        job = service.wait_until_rest(job_id)
        row.check(job["state"] == "SUCCEEDED", f"service, {what}: {job['state']}, {job['problems']}")
        events = evidence.events(directory / "attempts" / "2" / "events.jsonl")
        named = [event["message"] for event in events if event["type"] == "note" and newest.name in event["message"]]
        row.check(named, f"service, {what}: no event names {newest.name}")
        first = min(evidence.steps_in(events), default=0)
        row.check(first == evidence.step_of(before) + 1, f"service, {what}: it went on with step {first}, not after {before.name}")
        row.count("damages through the service")
    row.check(service.terminate() == 0, "the service did not end with 0")
