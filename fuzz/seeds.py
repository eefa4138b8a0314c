"""Writes the seeds of every target to corpus/: small files of each kind, broken in the usual ways.

    python3 seeds.py        # without pyarrow: no seeds of Parquet but those of the tests
"""
import gzip
import json
import pathlib
import shutil

HERE = pathlib.Path(__file__).parent
ROWS = [
    {"messages": [{"role": "user", "content": "a \"b\" [c] {d}\n\u00e9\U0001f600"}, {"role": "assistant", "content": "x"}]},
    {"instruction": "a", "input": "", "output": "b", "n": [1, 2.5, -3e9, None, True]},
    {"text": "line\\n"},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS)
CSV = 'prompt,completion\r\n"a, ""b""\r\nc",d\r\n,"[{""role"": ""user""}]"\r\n1,2,3\r\n"open'


def encodings(text):
    yield text.encode()
    yield b"\xef\xbb\xbf" + text.encode()
    yield text.encode("utf-16")
    yield text.encode("utf-16-be")
    yield gzip.compress(text.encode(), mtime=0)
    yield gzip.compress(text[: len(text) // 2].encode(), mtime=0) + gzip.compress(text[len(text) // 2 :].encode(), mtime=0)
    yield text.encode()[: len(text) * 2 // 3]
    yield text.replace("\n", "\r\n").encode("cp1252", "replace")


SEEDS = {
    "read_json_lines": [LINES, "[{\"role\": \"user\", \"content\": \"a\"}]\n" * 2, "{\"a\": 1,}\n{'b': 2}\nNaN\n\n{\"a\": \"\\ud83d\"}\n" + "[" * 200],
    "read_json": [
        ARRAY,
        json.dumps(ROWS, indent=2),
        json.dumps({"version": 1, "data": ROWS}, indent=1),
        json.dumps({"rows": [{"row_idx": 0, "row": ROWS[0]}]}),
        json.dumps({"a": ["x", "y"], "b": ["z", None]}),
        json.dumps({"a": {"0": "x"}, "b": {"0": "y"}}),
        json.dumps({"columns": ["a"], "data": [["x"]]}),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        "[{\"a\": 1},, {\"a\": NaN},]\n[2]",
    ],
    "read_csv": [CSV, CSV.replace(",", ";"), CSV.replace(",", "\t"), "sep=;\na;b\n1;2\n", ",text\n0,x\n"],
    "read_text": ["Once upon a time.\r\n\r\nThe end.\n", "[1] note\n{braces}\n", LINES],
}

for target, texts in SEEDS.items():
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        for variant, data in enumerate(encodings(text)):
            (folder / f"seed-{number}-{variant}").write_bytes(data)

folder = HERE / "corpus" / "read_parquet"
folder.mkdir(parents=True, exist_ok=True)
for path in (HERE / "../crates/trainer/tests/fixtures/parquet").glob("*.parquet"):
    shutil.copy(path, folder)
