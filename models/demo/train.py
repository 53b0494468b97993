"""Trains the demo model and keeps a checkpoint after every few epochs.

Stopping with Ctrl-C is safe: the same command goes on from the last checkpoint, and each epoch draws its
examples from its own seed, so an interrupted run sees what an uninterrupted one would have seen.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

# One thread: with matrices this small a second one made training less than half as fast (measured).
# OpenBLAS reads its setting when torch loads it.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
from torch.nn import functional as F

from corpus import Corpus
from model import Model, Muon, Shape, point_at_names
from tokenizer import CONTROL, TAGS, Tokenizer, train_merges

VOCABULARY = 2048
BATCH_TOKENS = 2560
CHECKPOINT_EPOCHS = 2
NAMES_EPOCH = 20  # after which `point_at_names` is done
MUON_RATE, ADAM_RATE = 0.02, 0.002


def make_tokenizer(folder, seed):
    """The tokeniser in the folder; learned from a few epochs of the corpus if there is none yet."""
    path = folder / "tokenizer.json"
    if not path.exists():
        texts = [text for epoch in range(3) for text, _ in Corpus(f"{seed}/tokenizer/{epoch}").epoch()]
        Tokenizer(train_merges(texts, VOCABULARY - 256 - len(CONTROL) - len(TAGS))).save(path)
    return Tokenizer.load(path)


def encode(tokenizer, text, spans):
    """Token ids, and for each whether it begins in a span to be learned."""
    ids = tokenizer.encode(text)
    spans = [(len(text[:start].encode()), len(text[:end].encode())) for start, end in spans]
    learned, position = [], 0
    for token in ids:
        learned.append(any(start <= position < end for start, end in spans))
        position += len(tokenizer.pieces[token])
    return ids, learned


def batches(examples, rng):
    """Examples of similar length together, padded, in random order."""
    examples = sorted(examples, key=lambda example: len(example[0]))
    groups, group = [], []
    for example in examples:
        if group and (len(group) + 1) * len(example[0]) > BATCH_TOKENS:
            groups.append(group)
            group = []
        group.append(example)
    groups.append(group)
    rng.shuffle(groups)
    return [pad(group) for group in groups]


def pad(group):
    length = max(len(ids) for ids, _ in group)
    ids = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in group])
    learned = torch.tensor([flags + [False] * (length - len(flags)) for _, flags in group])
    return ids[:, :-1], ids[:, 1:], learned[:, 1:]


class Training:
    """A model, its optimisers and how far they have come."""

    def __init__(self, options, tokenizer):
        torch.manual_seed(options.seed)
        self.options, self.tokenizer = options, tokenizer
        self.shape = Shape(len(tokenizer))
        self.model = Model(self.shape)
        free = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        matrices = [weight for name, weight in free if weight.dim() == 2 and "embd" not in name]
        others = [weight for name, weight in free if weight.dim() != 2 or "embd" in name]
        self.optimizers = [Muon(matrices, MUON_RATE), torch.optim.AdamW(others, ADAM_RATE, (0.9, 0.95), weight_decay=0)]
        self.rates = [MUON_RATE, ADAM_RATE]
        self.epoch, self.seconds = 0, 0.0
        self.path = options.work / "checkpoint.pt"

    def load(self):
        if self.path.exists():
            state = torch.load(self.path)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(saved)
            self.epoch, self.seconds = state["epoch"], state["seconds"]
            print(f"going on after epoch {self.epoch}")

    def save(self):
        part = self.path.with_suffix(".part")
        torch.save({"model": self.model.state_dict(), "optimizers": [each.state_dict() for each in self.optimizers],
                    "epoch": self.epoch, "seconds": self.seconds}, part)
        os.replace(part, self.path)

    def _set_rate(self, progress):
        """Warm up for one epoch, hold, then fall to nothing over the last 60 %."""
        factor = min(1.0, progress * self.options.epochs + 0.05, (1 - progress) / 0.6 + 0.002)
        for optimizer, rate in zip(self.optimizers, self.rates):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def run_epoch(self):
        """Trains on one epoch; returns the mean loss and the tokens read."""
        examples = Corpus(f"{self.options.seed}/{self.epoch}").epoch()
        encoded = [encode(self.tokenizer, *example) for example in examples]
        parts = batches(encoded, random.Random(self.epoch))
        total = count = 0
        for index, (ids, following, learned) in enumerate(parts):
            self._set_rate((self.epoch + index / len(parts)) / self.options.epochs)
            loss = F.cross_entropy(self.model(ids, learned), following[learned])
            self.model.zero_grad()
            loss.backward()
            self.model.hold()
            for optimizer in self.optimizers:
                optimizer.step()
            total += loss.item() * learned.sum().item()
            count += learned.sum().item()
        self.epoch += 1
        return total / count, sum(len(ids) for ids, _ in encoded)

    def run(self):
        print(f"{sum(weight.numel() for weight in self.model.parameters()):,} parameters, {len(self.tokenizer)} tokens")
        while self.epoch < self.options.epochs:
            start = time.time()
            loss, tokens = self.run_epoch()
            if self.epoch == NAMES_EPOCH:
                point_at_names(self.model, self.tokenizer.ids[b" "], self.tokenizer.ids[b' "'])
            took = time.time() - start
            self.seconds += took
            print(f"epoch {self.epoch}/{self.options.epochs}  loss {loss:.4f}  {tokens / took:,.0f} tokens/s  "
                  f"{self.seconds / 60:.1f} min", flush=True)
            if self.epoch % CHECKPOINT_EPOCHS == 0 or self.epoch == self.options.epochs:
                self.save()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tokeniser and the checkpoint")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    training = Training(options, make_tokenizer(options.work, options.seed))
    training.load()
    try:
        training.run()
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from the last checkpoint")


if __name__ == "__main__":
    main()
