"""The demo model: a small llama-style transformer that llama.cpp runs as architecture `llama`."""

import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of the model. The defaults are a compromise: big enough to hold the answers, small enough to train in minutes."""

    vocabulary: int
    width: int = 160
    layers: int = 4
    heads: int = 5
    hidden: int = 432
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self):
        return self.width // self.heads


class RMSNorm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.epsilon = shape.norm_epsilon
        self.weight = nn.Parameter(torch.ones(shape.width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rotation(shape, length):
    """Cosines and sines of llama's rotary positions, one row a position."""
    speeds = shape.rope_base ** (-torch.arange(0, shape.head_width, 2) / shape.head_width)
    angles = torch.outer(torch.arange(length), speeds)
    return angles.cos(), angles.sin()


def rotate(x, turns):
    """Rotates neighbouring pairs, which is the order llama.cpp expects for this architecture."""
    cosine, sine = turns
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.attn_norm, self.ffn_norm = RMSNorm(shape), RMSNorm(shape)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (
            nn.Linear(shape.width, shape.width, bias=False) for _ in range(4))
        self.ffn_gate, self.ffn_up = (nn.Linear(shape.width, shape.hidden, bias=False) for _ in range(2))
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x, turns, mask):
        x = x + self._attend(self.attn_norm(x), turns, mask)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def _attend(self, h, turns, mask):
        batch, length, width = h.shape
        query, key, value = (part(h).view(batch, length, self.shape.heads, -1).transpose(1, 2)
                             for part in (self.attn_q, self.attn_k, self.attn_v))
        scores = rotate(query, turns) @ rotate(key, turns).transpose(-1, -2) / math.sqrt(self.shape.head_width)
        mixed = (scores + mask).softmax(-1) @ value
        return self.attn_output(mixed.transpose(1, 2).reshape(batch, length, width))


class Model(nn.Module):
    """Token ids in, logits out. The output shares the embedding's weights. Names are GGUF's tensor names."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = RMSNorm(shape)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.05 if "embd" in name else shape.width ** -0.5)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(weight)
        self.held = prime_copying(self)

    def hold(self):
        """Takes the gradient off the weights that are not to change."""
        for weight, mask in self.held:
            weight.grad.masked_fill_(mask, 0)

    def forward(self, ids, wanted):
        """Logits at the wanted (boolean) positions only: the rest is not learned and costs time."""
        length = ids.shape[1]
        turns = rotation(self.shape, length)
        mask = torch.full((length, length), -torch.inf).triu(1)
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, turns, mask)
        return self.output_norm(x[wanted]) @ self.token_embd.weight.T


@torch.no_grad()
def prime_copying(model):
    """Starts the model with the wiring that copies: after `A B … A`, say `B`.

    Names and tool arguments have to be copied from the question. Found by chance this wiring (a head that looks
    one token back, then heads that look for the token after an earlier `A`) took longer than all other learning.
    Left to training it was soon drowned by what the other weights of block 0 wrote, so block 0 stays as it is set
    here, and of block 1 what the copying heads read: returns [(weight, mask of what to hold)].
    """
    shape, embedding = model.shape, model.token_embd.weight
    look_back, look_up = model.blk[0], model.blk[1]
    std, constant, width = 0.05, 4.0, shape.head_width
    embedding[:, 0] = constant * std  # one feature that every token has
    basis = torch.zeros(shape.width - 1, shape.width)
    basis[:, 1:] = nn.init.orthogonal_(torch.empty(shape.width - 1, shape.width - 1))
    before, identity, rest = basis[:width], basis[width:2 * width], basis[2 * width:4 * width]

    # Block 0, head 0: attends one position back, and notes the identity of the token there in `before`.
    for weight in (look_back.attn_q.weight, look_back.attn_k.weight):
        weight[:width] = 0
    strength = 8.5 / constant
    for pair in range(6):
        speed = shape.rope_base ** (-2 * pair / width)
        look_back.attn_q.weight[2 * pair, 0] = strength
        look_back.attn_k.weight[2 * pair, 0] = strength * math.cos(speed)
        look_back.attn_k.weight[2 * pair + 1, 0] = strength * math.sin(speed)
    look_back.attn_v.weight[:width] = identity
    look_back.attn_output.weight[:, :width] = 0.1 * before.T

    # Block 1, heads 0 and 1: look for a token whose `before` is this token, and predict that token.
    # Only slowly turning dimensions compare contents, so that distance does not matter.
    slow = torch.arange(18, width)
    for head in range(2):
        rows, features = head * width + slow, torch.arange(len(slow)) + head * len(slow)
        for weight, source in ((look_up.attn_q.weight, identity), (look_up.attn_k.weight, before)):
            weight[head * width:(head + 1) * width] = 0
            weight[rows] = 2.5 * source[features]
    look_up.attn_v.weight[:2 * width] = rest
    look_up.attn_output.weight[:, :2 * width] = 0.35 * rest.T
    # Head 2 copies too, but learns for itself where to look.
    look_up.attn_v.weight[2 * width:3 * width] = rest[:width]
    look_up.attn_output.weight[:, 2 * width:3 * width] = 0.2 * rest[:width].T
    look_back.requires_grad_(False)
    held = [(embedding, torch.zeros_like(embedding, dtype=torch.bool))]
    held[0][1][:, 0] = True
    for weight in (look_up.attn_q.weight, look_up.attn_k.weight, look_up.attn_v.weight):
        held.append((weight, torch.zeros_like(weight, dtype=torch.bool)))
        held[-1][1][:2 * width] = True
    return held


@torch.no_grad()
def point_at_names(model, space, quote):
    """Sets head 3 of block 1 to carry the last name or number to where a quoted argument begins.

    `space` and `quote` are the ids of the tokens ` ` and ` "`. The tokeniser keeps a space apart from a capital or
    digit only, so names and numbers are the tokens after a lone space. Done once the embeddings have settled; for a
    dozen epochs before it the model called its tools with one and the same city. Training goes on from there.
    """
    look_back, look_up = model.blk[0], model.blk[1]
    width = model.shape.head_width
    identity = look_back.attn_v.weight[:width]
    before = F.normalize(look_back.attn_output.weight[:, :width].T)
    copied = look_up.attn_v.weight[width:2 * width]
    after_space, at_quote = (F.normalize(identity @ (model.token_embd.weight[token] * look_back.attn_norm.weight),
                                                     dim=0) for token in (space, quote))
    rows = slice(3 * width, 4 * width)
    nearness = 3 * width + 16  # this pair turns by half in 300 tokens, so nearer names score higher
    look_up.attn_q.weight[rows], look_up.attn_k.weight[rows] = 0, 0
    look_up.attn_q.weight[nearness] = 2.5 * at_quote @ identity
    look_up.attn_k.weight[nearness] = 2.5 * after_space @ before
    look_up.attn_v.weight[rows] = copied
    look_up.attn_output.weight[:, rows] = 6 * copied.T


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: learns these matrices in about half of Adam's steps."""

    def __init__(self, parameters, lr, momentum=0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                velocity = state.setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(velocity, group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix, steps=5):
    """The nearest orthogonal matrix, roughly, by Newton and Schulz's iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
