"""Compares logits that `ftl-train score --logits` wrote with those of peft and transformers on the same files.

    python scripts/check-peft.py ADAPTER_DIR MODEL_DIR --ids IDS.json --logits LOGITS.safetensors

Needs torch, transformers, peft and safetensors. Computes in float32 on the CPU, so the two differ by rounding
alone; 1e-4 of the largest logit leaves about a hundred times that. Also loads the adapter's tokenizer and shows
that the adapter matters: the base model's logits must differ from ours.
"""

import argparse
import json
import os
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RELATIVE_TOLERANCE = 1e-4


def logits_of(model, rows):
    """One tensor [tokens, vocab] for each row."""
    model.eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits[0] for row in rows]


def resize_to(base, adapter):
    """Gives the model the rows that the adapter has for added tokens, as whoever loads it must."""
    tensors = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    embedding = tensors.get("base_model.model.model.embed_tokens.weight")
    if embedding is not None and len(embedding) > base.config.vocab_size:
        base.resize_token_embeddings(len(embedding), mean_resizing=False)


def largest_difference(ours, theirs):
    """The largest difference of two logits, as a share of the largest logit."""
    largest = max(row.abs().max() for row in theirs)
    # Our rows are padded to the longest.
    return max((a[: len(b)] - b).abs().max() / largest for a, b in zip(ours, theirs)).item()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("adapter")
    arguments.add_argument("model")
    arguments.add_argument("--ids", required=True)
    arguments.add_argument("--logits", required=True)
    arguments = arguments.parse_args()

    with open(arguments.ids) as file:
        rows = json.load(file)["input_ids"]
    ours = load_file(arguments.logits)["logits"]
    if len(ours) != len(rows):
        sys.exit(f"check-peft: {len(ours)} rows of logits for {len(rows)} rows of ids")

    base = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    resize_to(base, arguments.adapter)
    without_adapter = largest_difference(ours, logits_of(base, rows))
    with_adapter = largest_difference(ours, logits_of(PeftModel.from_pretrained(base, arguments.adapter), rows))
    print(f"check-peft: ours - peft {with_adapter:.2e}, ours - base {without_adapter:.2e} of the largest logit")
    if with_adapter > RELATIVE_TOLERANCE:
        sys.exit(f"check-peft: peft's logits differ by {with_adapter:.2e}; at most {RELATIVE_TOLERANCE:.0e} is rounding")
    if without_adapter < 10 * RELATIVE_TOLERANCE:
        sys.exit("check-peft: the base model gives the same logits, so this adapter shows nothing")
    tokenizer = AutoTokenizer.from_pretrained(arguments.adapter)
    if len(tokenizer) != base.config.vocab_size:
        sys.exit(f"check-peft: the adapter's tokenizer has {len(tokenizer)} tokens, the model {base.config.vocab_size}")


if __name__ == "__main__":
    main()
