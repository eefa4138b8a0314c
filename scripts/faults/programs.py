"""The three programs under test, and the runs that they are given."""

import dataclasses
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = ROOT / "examples" / "first-run.toml"
NAMES = ("ftl-server", "ftl", "ftl-train")
# Exit codes that a program gives where it says what is wrong; anything else (a signal, 70, 101) is a fault of its own.
SAID = {0, 1, 2, 3, 4, 74, 75, 78}


class Missing(Exception):
    """A program or tool that is not there."""


@dataclasses.dataclass
class Programs:
    folder: pathlib.Path
    threads: int

    def __post_init__(self):
        self.folder = self.folder.resolve()
        for name in NAMES:
            if not (self.folder / name).is_file():
                raise Missing(f"`{name}` is not in {self.folder}; build it or name another directory with --bin")

    def path(self, name):
        return str(self.folder / name)

    @property
    def environment(self):
        """The same for every process whose weights are compared: sums depend on how many threads share them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FTL_", "XDG_"))}
        return kept | {"RAYON_NUM_THREADS": str(self.threads), "FTL_LOG": "info", "NO_COLOR": "1"}

    def versions(self):
        return {
            name: subprocess.run([self.path(name), "--version"], capture_output=True, text=True).stdout.split()[-1]
            for name in NAMES
        }


@dataclasses.dataclass(frozen=True)
class Task:
    """A run of the bundled model on the bundled data."""

    steps: int
    save_steps: int
    seed: int = 1
    accumulation: int = 1

    def sets(self):
        keys = {
            "train.max_steps": self.steps,
            "train.save_steps": self.save_steps,
            "train.eval_steps": 0,
            "train.seed": self.seed,
            "train.gradient_accumulation_steps": self.accumulation,
            "train.save_total_limit": 4,
        }
        return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]


def train_command(programs, task, out, resume=False):
    words = [programs.path("ftl-train"), "run", str(SPEC), "--out", str(out), "--json", *task.sets()]
    return words + (["--resume"] if resume else [])


def train(programs, task, out, resume=False, wrapper=(), timeout=300):
    """Runs it to its end: exit code (negative: a signal), the document it printed, and what it said on stderr."""
    command = [*wrapper, *train_command(programs, task, out, resume)]
    done = subprocess.run(command, env=programs.environment, capture_output=True, text=True, timeout=timeout)
    return done.returncode, document(done.stdout), done.stderr


def document(text):
    """The last line of JSON; `None` where there is none."""
    for line in reversed(text.splitlines()):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None
