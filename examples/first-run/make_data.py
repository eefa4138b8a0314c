"""Writes train.jsonl, eval.jsonl, ask.json and ask-all.json: short questions about animals, answered in one fixed form.

Every row is one of (name, animal, question) with the answer below. Which rows are held out follows from a hash of
the row, so the files come out the same everywhere. Plain Python, no packages:  python3 make_data.py
"""

import hashlib
import json
import pathlib

NAMES = ["Lily", "Tom", "Ben", "Mia", "Sam", "Anna", "Max", "Sue", "Tim", "Sara", "Jack", "Lucy"]

# animal: what it says, where it lives, what it likes
ANIMALS = {
    "dog": ("woof", "in the house", "a big bone"),
    "cat": ("meow", "in the house", "warm milk"),
    "cow": ("moo", "on the farm", "green grass"),
    "duck": ("quack", "by the pond", "old bread"),
    "sheep": ("baa", "on the farm", "green grass"),
    "pig": ("oink", "on the farm", "soft mud"),
    "bee": ("buzz", "in the garden", "red flowers"),
    "frog": ("ribbit", "by the pond", "the rain"),
    "bird": ("tweet", "in the tree", "little seeds"),
    "owl": ("hoo", "in the tree", "the night"),
    "mouse": ("squeak", "in the house", "yellow cheese"),
    "lion": ("roar", "in the zoo", "the hot sun"),
    "snake": ("hiss", "in the zoo", "the hot sun"),
    "hen": ("cluck", "on the farm", "little seeds"),
}

QUESTIONS = ["What does the {} say?", "Where does the {} live?", "What does the {} like?"]
FACTS = ["the {} says {}", "the {} lives {}", "the {} likes {}"]

EVAL_ROWS = 40
TRAIN_ROWS = 280


def row(name, animal, kind):
    """One conversation: a name and a question, and the answer in the form."""
    question = f"I am {name}. {QUESTIONS[kind].format(animal)}"
    answer = f"ANSWER: {name}, {FACTS[kind].format(animal, ANIMALS[animal][kind])}. The end."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(path, rows):
    """One JSON document for each line."""
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


here = pathlib.Path(__file__).parent
every = [(name, animal, kind) for name in NAMES for animal in ANIMALS for kind in range(len(QUESTIONS))]
every.sort(key=lambda case: hashlib.sha256(repr(case).encode()).digest())
held_out, trained = every[:EVAL_ROWS], every[EVAL_ROWS : EVAL_ROWS + TRAIN_ROWS]

# What is held out is new as a whole; its name, its animal and its fact were each seen.
facts = [(animal, kind) for _, animal, kind in trained]
assert min(facts.count(fact) for fact in set((animal, kind) for _, animal, kind in every)) >= 2
assert min([name for name, _, _ in trained].count(name) for name in NAMES) >= 12

write(here / "train.jsonl", [row(*case) for case in trained])
write(here / "eval.jsonl", [row(*case) for case in held_out])
asked = [{"messages": row(*case)["messages"][:1]} for case in held_out]
(here / "ask.json").write_text(json.dumps(asked[:4], indent=1) + "\n")
(here / "ask-all.json").write_text("[\n" + ",\n".join(map(json.dumps, asked)) + "\n]\n")
print(f"{len(trained)} rows to train on, {len(held_out)} held out")
