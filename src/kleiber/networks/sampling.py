# pyright: basic
"""Sampling from a transformer: whole batches of attempts, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kleiber.experiment.arithmetic import END, PAD
from kleiber.networks.transformer import Cache, Decoder

SHRINK = 0.75  # share of rows that still run, below which the finished ones are dropped


@torch.no_grad()
def sample(
    module: Decoder,
    prompts: Sequence[Sequence[int]],
    uniforms: Float[np.ndarray, "prompts attempts tokens"],
    *,
    temperature: float = 1.0,
    end: int | None = END,
) -> Int64[np.ndarray, "prompts attempts tokens"]:
    """Sample attempts at every prompt, each token from softmax(logits/temperature).

    A token is the first whose cumulative probability exceeds the attempt's uniform number for its
    place, so that attempts depend on nothing but their numbers; at temperature 0 it is the most
    probable one. An attempt ends with ``end``, and PAD stands after it. Prompts are read once for
    all their attempts, and tokens before the last are never read again.
    """
    count, attempts, tokens = uniforms.shape
    _check(prompts, temperature)
    device = module.readout.weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    logits, cache = _read_prompts(module, prompts, lengths, tokens)
    rows = torch.arange(count, device=device).repeat_interleave(attempts)
    logits, cache = logits[rows], cache.select(rows)
    numbers = torch.tensor(uniforms.reshape(-1, tokens), device=device, dtype=logits.dtype)
    numbers = numbers.clamp(max=1 - torch.finfo(logits.dtype).eps)  # rounding may have made it 1
    out = torch.full((count * attempts, tokens), PAD, dtype=torch.int64, device=device)
    active = torch.arange(len(out), device=device)
    ended = torch.zeros_like(active, dtype=torch.bool)
    for place in range(tokens):
        chosen = _choose(logits, numbers[active, place], temperature)
        out[active, place] = chosen
        if end is not None:
            ended = ended | (chosen == end)
        if place + 1 == tokens or ended.all():
            break
        if (~ended).float().mean() < SHRINK:
            left = torch.nonzero(~ended)[:, 0]
            active, chosen, ended = active[left], chosen[left], ended[left]
            cache = cache.select(left)
        logits = module(chosen[:, None], cache)[:, 0]
        cache.lengths += 1
    return _end_rows(out.cpu().numpy(), end).reshape(count, attempts, tokens)


def _check(prompts: Sequence[Sequence[int]], temperature: float) -> None:
    """Raise ValueError for what cannot be sampled."""
    if not len(prompts):
        raise ValueError("There is no prompt.")
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"Every prompt needs a token; that of row {row} has none.")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"The temperature must be a number from 0, got {temperature:g}.")


def _read_prompts(
    module: Decoder, prompts: Sequence[Sequence[int]], lengths: Tensor, tokens: int
) -> tuple[Tensor, Cache]:
    """Return the logits after each prompt, and the cache that holds them."""
    top = int(lengths.max())
    if top + tokens - 1 > module.length:
        raise ValueError(
            f"A prompt of {top} tokens and {tokens} new ones do not fit into the net's "
            f"{module.length} places."
        )
    padded = np.full((len(prompts), top), PAD, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = prompt
    cache = module.make_cache(len(prompts), lengths)
    if top == 1:
        cache.lengths -= 1  # a single token is read as one that follows none
    features = module.features(torch.from_numpy(padded).to(lengths.device), cache)
    cache.lengths = lengths.clone()
    last = features[torch.arange(len(prompts), device=lengths.device), lengths - 1]
    return module.readout(last), cache


def _choose(logits: Tensor, numbers: Tensor, temperature: float) -> Tensor:
    """Return one token a row."""
    if temperature == 0:
        return logits.argmax(-1)
    chance = torch.softmax(logits / temperature, -1).cumsum(-1)
    above = (chance <= numbers[:, None] * chance[:, -1:]).sum(-1)
    return above.clamp(max=logits.shape[-1] - 1)


def _end_rows(out: Int64[np.ndarray, "rows tokens"], end: int | None) -> np.ndarray:
    """Return attempts with PAD after the token that ends them."""
    if end is None:
        return out
    after = np.cumsum(out == end, axis=1) - (out == end) > 0
    return np.where(after, PAD, out)


@torch.no_grad()
def answer_probability(
    module: Decoder,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
) -> Float[np.ndarray, "prompts"]:
    """Return the exact probability that an attempt at each prompt is the given answer."""
    length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    device = module.readout.weight.device
    tokens = np.full((len(prompts), length), PAD, dtype=np.int64)
    places: list[tuple[int, int, int]] = []
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens[row, : len(prompt) + len(answer)] = (*prompt, *answer)
        places += [(row, len(prompt) + k - 1, token) for k, token in enumerate(answer)]
    logits = module(torch.from_numpy(tokens).to(device)).double()
    row, place, token = (torch.tensor(each, device=device) for each in zip(*places, strict=True))
    chance = torch.log_softmax(logits[row, place] / temperature, -1)
    each = chance.gather(1, token[:, None])[:, 0]
    total = torch.zeros(len(prompts), dtype=each.dtype, device=device).index_add(0, row, each)
    return total.exp().cpu().numpy()
