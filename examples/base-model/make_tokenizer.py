"""Writes tokenizer.json: a byte-level BPE of 768 tokens for simple English stories.

    python make_tokenizer.py STORIES.txt…        (package tokenizers 0.23.3)

Learns its merges from the story files (TinyStories, Eldan and Li 2023, or the like) and keeps nothing else of
them. The same files give the same tokenizer. The dataset in ../first-run is left out on purpose: a word that only
the dataset has would become a token that the base model never saw, and an adapter cannot teach it to say such a one.
"""

import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 768
SPECIAL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]

here = pathlib.Path(__file__).parent


def texts(paths):
    """The stories, paragraph by paragraph."""
    for path in paths:
        for document in pathlib.Path(path).read_text(encoding="utf-8").split(SPECIAL[0]):
            yield from document.strip().split("\n")


tokenizer = Tokenizer(models.BPE())
# One digit each; words with their leading space, as GPT-2 splits them.
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=VOCAB_SIZE,
    special_tokens=SPECIAL,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
tokenizer.train_from_iterator(texts(sys.argv[1:]), trainer)
assert tokenizer.get_vocab_size() == VOCAB_SIZE
tokenizer.save(str(here / "tokenizer.json"))
print(f"{VOCAB_SIZE} tokens from {len(sys.argv) - 1} files")
