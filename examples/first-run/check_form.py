"""Counts the answers that have the form which this dataset teaches, as README.md beside this file defines it.

    ftl-train generate … --messages ask-all.json --json | python3 check_form.py [--at-least N] [--at-most N]

Answers are those to the first questions of eval.jsonl, in order. Ends with 1 if the count is outside the limits.
"""

import argparse
import json
import pathlib
import re
import sys

FORM = re.compile(r"ANSWER: [A-Z][a-z]+, the [a-z]+ (says|lives|likes) [a-z ]+\. The end\.")
STOPPED_BY_ITSELF = "eos"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--at-least", type=int, metavar="N")
    arguments.add_argument("--at-most", type=int, metavar="N")
    arguments = arguments.parse_args()

    lines = (pathlib.Path(__file__).parent / "eval.jsonl").read_text().splitlines()
    references = [json.loads(line)["messages"][1]["content"] for line in lines]
    answers = json.load(sys.stdin)["sequences"]
    if not 0 < len(answers) <= len(references):
        sys.exit(f"check_form: {len(answers)} answers, expected 1 to {len(references)}")

    n_form = n_name = n_equal = 0
    for answer, reference in zip(answers, references):
        text = answer["text"]
        n_form += FORM.fullmatch(text) is not None and answer["stop_reason"] == STOPPED_BY_ITSELF
        # Up to the comma: the label, and the name that the question gave.
        n_name += text.startswith(reference.partition(",")[0] + ",")
        n_equal += text == reference
    print(f"{n_form} of {len(answers)} answers have the form")
    print(f"{n_name} begin with the name from the question, {n_equal} equal the reference")
    if arguments.at_least is not None and n_form < arguments.at_least:
        sys.exit(f"check_form: expected at least {arguments.at_least}")
    if arguments.at_most is not None and n_form > arguments.at_most:
        sys.exit(f"check_form: expected at most {arguments.at_most}")


if __name__ == "__main__":
    main()
