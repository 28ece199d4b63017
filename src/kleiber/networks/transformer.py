# pyright: basic
"""A decoder-only transformer, with a cache of keys and values for sampling.

Pre-norm layers x + attention(norm x), then x + out(gelu(in(norm x))), without biases. Initial
weights are drawn by NumPy: Gaussian of deviation 1/sqrt(fan in), the matrices that write into the
residual stream over sqrt(2 depth), embeddings and readout as the parameterisation says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from kleiber.experiment import Experiment, Transformer
from kleiber.experiment.arithmetic import PAD
from kleiber.maths.seeds import stream
from kleiber.networks.net import DTYPES, Model

BASE = 10_000.0  # of rotary frequencies, as in Su et al. 2021
GROUPS = 4  # of rows of like length that are run together, at most
GROUP_TOKENS = 512  # below which a further group costs more than it saves
EMBEDDING = 0.02  # deviation of learned positions


@dataclass(eq=False)
class Cache:
    """Keys and values of the tokens so far, [rows, heads, places, head size], one pair a layer,
    and how many tokens each row has."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor

    def select(self, rows: Tensor) -> Cache:
        """Return the cache of some rows; a row may be taken more than once."""
        keys, values = (
            [each.index_select(0, rows) for each in kind] for kind in (self.keys, self.values)
        )
        return Cache(keys, values, self.lengths.index_select(0, rows))


class Attention(nn.Module):
    """Causal multi-head attention, with rotary positions if the net has them."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        size = net.width // net.heads
        base = net.base_width / net.heads
        self.heads, self.rotary = net.heads, net.positions == "rotary"
        self.scale = math.sqrt(base) / size if net.parameterisation == "mup" else size**-0.5
        self.into = nn.Linear(net.width, 3 * net.width, bias=False)
        self.out = nn.Linear(net.width, net.width, bias=False)

    def split(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, [rows, heads, places, head size]."""
        q, k, v = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return (rotate(q, places), rotate(k, places), v) if self.rotary else (q, k, v)

    def join(self, mixed: Tensor) -> Tensor:
        """Return the output of the mixed values of all heads."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, places: Tensor, cache: Cache | None, layer: int) -> Tensor:
        q, k, v = self.split(x, places)
        if cache is None:
            mixed = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=self.scale
            )
            return self.join(mixed)
        keys, values = cache.keys[layer], cache.values[layer]
        if x.shape[1] > 1:  # the prompts, whose rows end at different places
            keys[:, :, : x.shape[1]], values[:, :, : x.shape[1]] = k, v
            mixed = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=self.scale
            )
            return self.join(mixed)
        rows = torch.arange(len(x), device=x.device)
        keys[rows, :, places[:, 0]], values[rows, :, places[:, 0]] = k[:, :, 0], v[:, :, 0]
        top = int(places.max()) + 1
        known = torch.arange(top, device=x.device) <= places
        mixed = functional.scaled_dot_product_attention(
            q, keys[:, :, :top], values[:, :, :top], known[:, None, None], scale=self.scale
        )
        return self.join(mixed)


def rotate(x: Tensor, places: Tensor) -> Tensor:
    """Rotate pairs of coordinates by angles place * BASE^(-2j/size) (Su et al. 2021, section 3)."""
    half = x.shape[-1] // 2
    rates = BASE ** (-torch.arange(half, dtype=x.dtype, device=x.device) / half)
    angles = places[:, None, :, None].to(x.dtype) * rates
    cos, sin = torch.cos(angles), torch.sin(angles)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


class Block(nn.Module):
    """One layer: attention and a two-layer net, each added to the residual stream."""

    def __init__(self, net: Transformer) -> None:
        super().__init__()
        wide, hidden = net.width, round(net.width * net.ratio)
        self.norm, self.attention = nn.LayerNorm(wide), Attention(net)
        self.second_norm = nn.LayerNorm(wide)
        self.first, self.second = (
            nn.Linear(wide, hidden, bias=False),
            nn.Linear(hidden, wide, bias=False),
        )

    def forward(self, x: Tensor, places: Tensor, cache: Cache | None, layer: int) -> Tensor:
        x = x + self.attention(self.norm(x), places, cache, layer)
        return x + self.second(functional.gelu(self.first(self.second_norm(x))))


class Decoder(nn.Module):
    """The transformer: tokens [rows, places] to logits [rows, places, vocabulary]."""

    def __init__(self, net: Transformer, vocabulary: int, length: int) -> None:
        super().__init__()
        self.net, self.length = net, length
        self.embed = nn.Embedding(vocabulary, net.width)
        learned = net.positions == "learned"
        self.place = nn.Parameter(torch.zeros(length, net.width)) if learned else None
        self.blocks = nn.ModuleList(Block(net) for _ in range(net.depth))
        self.norm = nn.LayerNorm(net.width)
        self.readout = nn.Linear(net.width, vocabulary, bias=False)

    def features(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the normed last hidden layer, [rows, places, width].

        With a cache the tokens follow those that it holds; it is filled.
        """
        first = 0 if cache is None or tokens.shape[1] > 1 else cache.lengths[:, None]
        places = first + torch.arange(tokens.shape[1], device=tokens.device)
        places = places.expand(len(tokens), -1)
        x = self.embed(tokens)
        if self.place is not None:
            x = x + self.place[places]
        for layer, block in enumerate(self.blocks):
            x = block(x, places, cache, layer)
        return self.norm(x)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        return self.readout(self.features(tokens, cache))

    def make_cache(self, rows: int, lengths: Tensor) -> Cache:
        """Return an empty cache for rows of prompts of the given lengths."""
        size = (rows, self.net.heads, self.length, self.net.width // self.net.heads)
        weight = self.readout.weight
        keys, values = (
            [torch.zeros(size, dtype=weight.dtype, device=weight.device) for _ in self.blocks]
            for _ in range(2)
        )
        return Cache(keys, values, lengths.clone())


def build_decoder(net: Transformer, vocabulary: int, length: int, seed: int) -> Decoder:
    """Build a transformer with the initial weights of a seed."""
    module = Decoder(net, vocabulary, length)
    rng = stream(seed, "weights")
    m = net.width / net.base_width if net.parameterisation == "mup" else 1.0
    with torch.no_grad():
        for name, value in module.named_parameters():
            if "norm" in name:
                continue
            deviation = net.init_scale / math.sqrt(value.shape[-1])
            if name.endswith(("attention.out.weight", "second.weight")):
                deviation /= math.sqrt(2 * net.depth)
            elif name == "embed.weight":
                deviation = net.init_scale
            elif name == "place":
                deviation = EMBEDDING
            elif name == "readout.weight":
                deviation /= math.sqrt(m)
            value.copy_(torch.from_numpy(deviation * rng.standard_normal(tuple(value.shape))))
    return module


def learning_rates(net: Transformer, names: list[str], *, adaptive: bool) -> dict[str, float]:
    """Return the factor of the learning rate of each parameter (Yang et al. 2021, table 8)."""
    if net.parameterisation == "standard":
        return dict.fromkeys(names, 1.0)
    m = net.width / net.base_width

    def factor(name: str) -> float:
        if name == "readout.weight":
            return 1 / m
        hidden = name.startswith("blocks") and "norm" not in name
        if adaptive:
            return 1 / m if hidden else 1.0
        return 1.0 if hidden else m

    return {name: factor(name) for name in names}


def token_model(
    experiment: Experiment, shape: tuple[int, ...], vocabulary: int, seed: int, device: str
) -> Model:
    """Build one transformer as the training loop uses it."""
    net = experiment.net
    assert isinstance(net, Transformer)
    module = build_decoder(net, vocabulary, shape[0] + 1, seed)
    module.to(device=device, dtype=DTYPES[experiment.dtype])
    params: dict[str, Tensor] = dict(module.named_parameters())
    rates = learning_rates(net, list(params), adaptive=experiment.optimiser.kind != "sgd")
    forward = partial(run_rows, module)
    return Model(params, rates, lambda x: forward(x[0])[None], module=module)


def run_rows(module: nn.Module, tokens: Tensor) -> Tensor:
    """Return the logits of rows of different lengths, those of like length run together.

    Places after the end of a row have logits of zero.
    """
    lengths = (tokens != PAD).sum(1)
    order = torch.argsort(lengths, stable=True)
    parts = []
    groups = max(1, min(GROUPS, tokens.numel() // GROUP_TOKENS))
    for rows in order.chunk(groups):
        top = max(1, int(lengths[rows[-1]]))
        logits = module(tokens[rows, :top])
        parts.append(functional.pad(logits, (0, 0, 0, tokens.shape[1] - top)))
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(parts)[back]
