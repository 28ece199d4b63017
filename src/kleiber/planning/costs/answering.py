"""Costs of answering queries with a trained model."""

from __future__ import annotations

from dataclasses import replace

from kleiber.errors import BadPlan, shown
from kleiber.formula import number, symbol
from kleiber.planning.amounts import check_positive, is_real
from kleiber.planning.call import write_call
from kleiber.planning.cost import FLOPS, Cost, find_cost, six_nd
from kleiber.planning.costs.combining import total


def serve(*, tokens: float, queries: float = 1.0, k: float = 1.0, prompt: float = 0.0) -> Cost:
    """Return the FLOPs of answering: queries (prompt + k tokens) 2 N (two per parameter and token).

    ``tokens`` are those of one answer, ``k`` answers are drawn for each query, and the ``prompt``
    is read once for all of them. The attention to earlier tokens is not counted.
    """
    check_positive(queries=queries, tokens=tokens, k=k)
    if not (is_real(prompt) and prompt >= 0):
        raise BadPlan(f"The prompt must be zero or more tokens, got {shown(prompt)}.")
    check_positive(all_tokens=queries * (prompt + k * tokens))
    each = f"{k:g} answers of {tokens:g} tokens" if k != 1 else f"an answer of {tokens:g} tokens"
    read = f" after a prompt of {prompt:g} tokens, read once" if prompt else ""
    return Cost(
        write_call(serve, (), {"tokens": tokens, "queries": queries, "k": k, "prompt": prompt}),
        str(number(2.0 * queries * (prompt + k * tokens)) * symbol("n_params")),
        FLOPS,
        f"serving {queries:g} queries, {each}{read}, at 2 N FLOPs per token",
    )


def train_and_serve(
    *,
    queries: float,
    tokens: float,
    k: float = 1.0,
    prompt: float = 0.0,
    train: Cost | str = six_nd,
) -> Cost:
    """Return FLOPs of training and all answers: train(N, D) + queries (prompt + k tokens) 2 N."""
    first = find_cost(train)
    options = {"queries": queries, "tokens": tokens, "k": k, "prompt": prompt}
    both = total(first, serve(**options))
    other = {} if first == six_nd else {"train": first.name}
    return replace(both, name=write_call(train_and_serve, (), {**options, **other}))
