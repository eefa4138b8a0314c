"""What is on disk afterwards: weights, checkpoints, events, the database."""

import hashlib
import json
import pathlib
import sqlite3
import urllib.parse

RESULT = "final/adapter_model.safetensors"


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def result(out):
    """The SHA-256 of a run's weights; `None` where it made none."""
    path = pathlib.Path(out) / RESULT
    return digest(path) if path.is_file() else None


def step_of(path):
    step = path.name.removeprefix("checkpoint-")
    return int(step) if step.isdigit() else None


def checkpoints(out):
    """Directories with a checkpoint's name, oldest first."""
    found = [path for path in pathlib.Path(out).glob("checkpoint-*") if step_of(path) is not None]
    return sorted(found, key=step_of)


def damage_of(directory):
    """What is wrong with a saved directory by its manifest; `None`: nothing."""
    try:
        manifest = json.loads((directory / "MANIFEST.json").read_text())
    except (OSError, ValueError) as error:
        return f"{directory.name}: {error}"
    listed = {file["path"]: file for file in manifest["files"]}
    there = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.name != "MANIFEST.json"
    }
    if there != set(listed):
        return f"{directory.name}: {sorted(there ^ set(listed))} are there or listed, not both"
    for name, file in listed.items():
        if (directory / name).stat().st_size != file["bytes"] or digest(directory / name) != file["sha256"]:
            return f"{directory.name}: `{name}` differs from the manifest"
    return None


def damaged_directories(out):
    """Whatever carries a finished directory's name and is not whole."""
    out = pathlib.Path(out)
    saved = [*checkpoints(out), *(path for path in [out / "final"] if path.exists())]
    return [damage for damage in map(damage_of, saved) if damage]


def events(path):
    """The events of a log; the last line may be torn, no other."""
    try:
        lines = pathlib.Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1]]


def steps_in(found):
    return [event["step"] for event in found if event["type"] == "stepped"]


class Database:
    """The service's database, read without a service."""

    def __init__(self, data_dir):
        self.path = pathlib.Path(data_dir) / "ftl.db"

    def query(self, sql, *values):
        # Not immutable: what a killed service committed is still in the WAL.
        connection = sqlite3.connect(f"file:{urllib.parse.quote(str(self.path))}?mode=rw", uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def exists(self):
        return self.path.is_file()

    def wrong(self):
        """What SQLite and our own rules find wrong."""
        if not self.exists():
            return []
        found = [row[0] for row in self.query("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"foreign key: {row}" for row in self.query("PRAGMA foreign_key_check")]
        tables = {row[0] for row in self.query("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"jobs", "job_events", "metrics"} <= tables:
            return found
        numbers = """
            SELECT jobs.id, jobs.seq, count(all_seqs.seq), max(all_seqs.seq), count(DISTINCT all_seqs.seq) FROM jobs
            LEFT JOIN (SELECT job, seq FROM job_events UNION ALL SELECT job, seq FROM metrics) all_seqs
            ON all_seqs.job = jobs.id GROUP BY jobs.id"""
        for job, seq, n, highest, distinct in self.query(numbers):
            if not (seq == n == distinct == (highest or 0)):
                found.append(f"{job}: seq {seq}, but {n} events ({distinct} numbers) up to {highest}")
        return found
