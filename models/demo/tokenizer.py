"""A byte-level BPE tokeniser in the form llama.cpp calls `gpt2` with the pre-tokeniser `gpt-2`.

Bytes are the base vocabulary, so any UTF-8 text round-trips; the merges are learned from the corpus.
"""

import json
from collections import Counter, defaultdict

import regex

# Control tokens never appear in output text; the tags are ordinary text to a reader, one token to the model.
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
_SPECIAL = regex.compile("(" + "|".join(regex.escape(token) for token in CONTROL + TAGS) + ")")


def _byte_letters():
    """GPT-2's table: a printable character for each byte, in which GGUF stores tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def train_merges(texts, count):
    """The `count` most useful merges of neighbouring symbols in the texts, best first."""
    words = Counter(word for text in texts for part in _SPECIAL.split(text) if not _SPECIAL.fullmatch(part)
                    for word in _WORD.findall(part))
    pieces = [[bytes([byte]) for byte in word.encode()] for word in words]
    weights = list(words.values())
    totals, places = Counter(), defaultdict(set)
    for index, word in enumerate(pieces):
        for pair in filter(_may_merge, zip(word, word[1:])):
            totals[pair] += weights[index]
            places[pair].add(index)
    merges = []
    while len(merges) < count and totals:
        best = max(totals, key=lambda pair: (totals[pair], pair))
        merges.append(best)
        for index in list(places[best]):
            word = pieces[index]
            for pair in filter(_may_merge, zip(word, word[1:])):
                totals[pair] -= weights[index]
                places[pair].discard(index)
            word = pieces[index] = _merge(word, best)
            for pair in filter(_may_merge, zip(word, word[1:])):
                totals[pair] += weights[index]
                places[pair].add(index)
        del totals[best]
    return merges


def _may_merge(pair):
    """Whether a pair may become one token.

    A space stays apart from a capital or digit, so that `Lima` and `18` are the same tokens after a space, a quote
    or a colon: what the model has to copy, a name or a number, then looks the same in question, call and answer.
    """
    left, right = pair
    return not (left == b" " and (right[:1].isupper() or right[:1].isdigit() or right[0] > 127))


def _merge(word, pair):
    merged, position = [], 0
    while position < len(word):
        if tuple(word[position:position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged


class Tokenizer:
    """Encodes text to token ids exactly as llama.cpp does with the exported vocabulary."""

    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        base = [bytes([byte]) for byte in range(256)] + [left + right for left, right in self.merges]
        self.pieces = list(dict.fromkeys(base)) + [token.encode() for token in CONTROL + TAGS]
        self.ids = {piece: index for index, piece in enumerate(self.pieces)}
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._cache = {}

    def __len__(self):
        return len(self.pieces)

    def encode(self, text):
        """The token ids of a text; special tokens in it are recognised."""
        result = []
        for part in _SPECIAL.split(text):
            if _SPECIAL.fullmatch(part):
                result.append(self.ids[part.encode()])
            else:
                for word in _WORD.findall(part):
                    result += self._word(word)
        return result

    def _word(self, word):
        if word not in self._cache:
            symbols = [bytes([byte]) for byte in word.encode()]
            while len(symbols) > 1:
                pair = min(zip(symbols, symbols[1:]), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
                if pair not in self.ranks:
                    break
                symbols = _merge(symbols, pair)
            self._cache[word] = [self.ids[symbol] for symbol in symbols]
        return self._cache[word]

    def decode(self, ids):
        return b"".join(self.pieces[index] for index in ids).decode(errors="replace")

    def gguf_tokens(self):
        """The vocabulary as GGUF stores it: byte pieces in GPT-2's letters, special tokens as they are."""
        letters = _byte_letters()
        special = len(self.pieces) - len(CONTROL) - len(TAGS)
        return [piece.decode() if index >= special else "".join(letters[byte] for byte in piece)
                for index, piece in enumerate(self.pieces)]

    def gguf_merges(self):
        letters = _byte_letters()
        return [" ".join("".join(letters[byte] for byte in side) for side in pair) for pair in self.merges]

    def save(self, path):
        with open(path, "w") as file:
            json.dump([[left.hex(), right.hex()] for left, right in self.merges], file)

    @classmethod
    def load(cls, path):
        with open(path) as file:
            return cls([(bytes.fromhex(left), bytes.fromhex(right)) for left, right in json.load(file)])
