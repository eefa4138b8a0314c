"""Writes the text that the base model is trained on: stories, and conversations in which a story is told.

    python3 make_text.py STORIES.txt… --out pretrain.jsonl

The story files are read as they are (TinyStories, Eldan and Li 2023, or the like; `<|endoftext|>` or blank lines
between stories) and are not part of the project. The stories made here from a few phrases give names and animals
more turns than a small file does, and show the model that an answer may repeat a name from the question. None of
it has the form that the dataset in ../first-run teaches. The same files give the same text.
"""

import argparse
import json
import pathlib
import random
import re

MADE_STORIES = 2400
GIRLS = ["Lily", "Mia", "Anna", "Sue", "Sara", "Lucy", "Amy", "Ella", "Kate", "Rose"]
BOYS = ["Tom", "Ben", "Sam", "Max", "Tim", "Jack", "Joe", "Leo", "Bob", "Fred"]
ANIMALS = "dog cat cow duck sheep pig bee frog bird owl mouse lion snake hen fox bear fish horse".split()
PLACES = ["in the park", "in the house", "on the farm", "by the pond", "in the garden", "in the tree", "in the zoo"]
THINGS = ["ball", "bone", "hat", "boat", "flower", "cake", "box", "book", "kite", "bed", "cup", "star", "bell"]
COLORS = ["red", "blue", "green", "yellow", "big", "little", "soft", "warm", "old", "new", "shiny"]
SOUNDS = ["woof", "meow", "moo", "quack", "baa", "oink", "buzz", "ribbit", "tweet", "hoo", "squeak", "roar", "hiss"]
FEELINGS = ["happy", "sad", "tired", "proud", "scared", "hungry", "kind"]
MIDDLES = [
    "{Name} saw a {animal} {place}. The {animal} had a {color} {thing}.",
    "The {animal} was {feeling}. {Name} wanted to help the {animal}.",
    '"Hello, {animal}," said {Name}. "Do you want to play?"',
    "{Name} heard a sound {place}. It was a {animal}!",
    '"{Sound}!" said the {animal}. {Name} laughed.',
    "{Name} gave the {color} {thing} to the {animal}. The {animal} was {feeling}.",
    "{They} looked for the {thing} {place}, but it was not there.",
    "{Name} and {friend} ran to the {animal}. They played with the {thing} all day.",
    'Mom said, "{Name}, where is your {thing}?" {Name} did not know.',
    "Then it began to rain. {Name} and the {animal} went home.",
    "{Name} likes the {animal}. The {animal} lives {place}.",
]
ENDS = [
    "{Name} was very {feeling}.",
    "{Name} and the {animal} were good friends.",
    "They all went home and went to sleep.",
    "{Name} said thank you to {friend}.",
    "From then on, {Name} was always kind to the {animal}.",
]
ASKS = [
    "I am {Name}. Tell me a story.",
    "I am {Name}. Tell me about the {animal}.",
    "Tell me about {Name} and the {animal}.",
    "I am {Name}. I like the {animal}.",
]


def made_story(draw):
    """One story with its words, told in the past tense."""
    name, friend = draw.sample(GIRLS + BOYS, 2)
    words = {
        "Name": name,
        "friend": friend,
        "They": "She" if name in GIRLS else "He",
        "girl": "girl" if name in GIRLS else "boy",
        "animal": draw.choice(ANIMALS),
        "Sound": draw.choice(SOUNDS).capitalize(),
    }

    def tell(line):
        drawn = {"place": PLACES, "thing": THINGS, "color": COLORS, "feeling": FEELINGS}
        return line.format(**words, **{key: draw.choice(values) for key, values in drawn.items()})

    starts = ["Once upon a time, there was a little {girl} named {Name}.", "One day, {Name} went for a walk."]
    lines = [draw.choice(starts), *draw.sample(MIDDLES, draw.randint(2, 4)), draw.choice(ENDS)]
    return words, " ".join(tell(line) for line in lines)


def conversation(ask, answer):
    """What the chat template makes of a question and an answer."""
    return f"<|user|>{ask}<|end|><|assistant|>{answer}<|end|>"


def told_stories(path):
    """The stories of a file."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if "<|endoftext|>" in text:
        stories = text.split("<|endoftext|>")
    else:
        stories = re.split(r"\n\s*\n(?=Once upon a time)", text)
    return [re.sub(r"\s*\n\s*", "\n", story.strip()) for story in stories if story.strip()]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("stories", nargs="*")
    arguments.add_argument("--out", required=True)
    arguments = arguments.parse_args()

    draw = random.Random(1)
    rows = [story for path in arguments.stories for story in told_stories(path)]
    n_told = len(rows)
    for index in range(MADE_STORIES):
        words, story = made_story(draw)
        if index % 2:
            story = conversation(draw.choice(ASKS).format(**words), story)
        rows.append(story)
    draw.shuffle(rows)
    with open(arguments.out, "w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows)
    print(f"{n_told} stories from files, {MADE_STORIES} made here")


if __name__ == "__main__":
    main()
