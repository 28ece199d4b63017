"""Sampling with a cache of keys and values against encoding the whole text again for each token.

A transformer of 0.34 million parameters, prompts of 8 to 31 tokens, 24 new tokens each, so many
attempts a prompt; both ways draw the same tokens from the same uniform numbers, which is checked.
The ratio is that of the median CPU times of ROUNDS rounds in one process, one thread.

Run: python benchmarks/sampling.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from kleiber.experiment import Transformer
from kleiber.experiment.arithmetic import VOCABULARY, Grammar, draw_problems, encode_problem
from kleiber.networks.sampling import sample
from kleiber.networks.transformer import Decoder, build_decoder

TOKENS = 24
ROUNDS = 5


@torch.no_grad()
def sample_naively(
    module: Decoder, prompts: list[tuple[int, ...]], uniforms: np.ndarray
) -> np.ndarray:
    """Sample one token after the other, each from the whole text so far."""
    count, attempts, tokens = uniforms.shape
    top = max(len(prompt) for prompt in prompts)
    text = torch.zeros((count * attempts, top + tokens), dtype=torch.int64)
    lengths = torch.tensor([len(prompt) for prompt in prompts]).repeat_interleave(attempts)
    for row, prompt in enumerate(prompts):
        text[row * attempts : (row + 1) * attempts, : len(prompt)] = torch.tensor(prompt)
    numbers = torch.tensor(uniforms.reshape(-1, tokens), dtype=torch.float32)
    rows = torch.arange(len(text))
    out = torch.empty((len(text), tokens), dtype=torch.int64)
    for place in range(tokens):
        last = lengths + place - 1
        logits = module(text[:, : top + place])[rows, last]
        chance = torch.softmax(logits, -1).cumsum(-1)
        chosen = (chance <= numbers[:, place, None] * chance[:, -1:]).sum(-1)
        out[:, place] = text[rows, last + 1] = chosen.clamp(max=logits.shape[-1] - 1)
    return out.numpy().reshape(count, attempts, tokens)


def measure_seconds(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of a call, and its result."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def main() -> None:
    """Print the ratio for a few numbers of attempts."""
    torch.set_num_threads(1)
    grammar = Grammar(operations=3, digits=2, tail=1.5, words=0.25)
    net = Transformer(width=96, depth=3)
    module = build_decoder(net, len(VOCABULARY), grammar.length + TOKENS, 0).eval()
    print("prompts  attempts   again, s   cache, s   ratio  same tokens")
    for count, attempts in ((32, 1), (32, 4), (32, 16), (256, 1), (256, 4)):
        rng = np.random.default_rng(0)
        prompts = [encode_problem(each) for each in draw_problems(rng, grammar, count, "test")]
        uniforms = rng.random((count, attempts, TOKENS))
        again = partial(sample_naively, module, prompts, uniforms)
        cached = partial(sample, module, prompts, uniforms, end=None)
        pairs = [(measure_seconds(again), measure_seconds(cached)) for _ in range(ROUNDS)]
        slow, fast = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        same = float(np.mean(pairs[0][0][1] == pairs[0][1][1]))
        print(
            f"{count:>7}  {attempts:>8}  {slow:9.3f}  {fast:9.3f}  {slow / fast:6.1f}  {same:.2%}"
        )


if __name__ == "__main__":
    main()
