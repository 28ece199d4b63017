"""How the convention alone moves counts and the exponent a of N* ~ C^a.

First table: parameters and training FLOPs per token of three public models in each convention.

Second table: a Chinchilla law (Epoch's refit of Hoffmann et al. 2022) is planted in a ladder of
transformers of one shape rule, once in all parameters and once in those without embeddings. Each
isoFLOP sweep fixes C in one convention and takes every model of the ladder with D = C / FLOPs per
token; a cubic through the losses near the smallest gives N*; the power law N* = k C^a is fitted
to the sweeps. Nothing else changes between the rows: no warm-up, no schedule, no tuning.

    python benchmarks/convention.py [--noise 0.001]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import polars as pl

import kleiber
from kleiber.counting import (
    Shape,
    ShapeRule,
    conventions,
    count_params,
    count_training,
    exact,
    kaplan,
    shape_at,
)

MODELS = {
    "GPT-2 124M": Shape(
        768, 12, 50257, 1024, heads=12, biases=True, layer_norm=True, learned_positions=True
    ),
    "Llama 2 7B": Shape(
        4096, 32, 32000, 4096, feed_forward=11008, heads=32, gated=True, tied=False
    ),
    "GPT-3 175B": Shape(
        12288, 96, 50257, 2048, heads=96, biases=True, layer_norm=True, learned_positions=True
    ),
}
LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
PLANTED = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
RULE = ShapeRule()  # width/depth 64, vocabulary 50257 tied, context 2048
LADDER = shape_at(RULE, 64 * np.arange(1.0, 501.0))
BUDGETS = {
    "1.2e16 to 2.6e19": (1.25e16, 2.56e19),  # Porian et al. 2024
    "6e18 to 3e21": (6e18, 3e21),  # Hoffmann et al. 2022, approach 2
    "1e23 to 1e26": (1e23, 1e26),
}
SWEEPS = 12
NEAR = 4.0  # the cubic takes models within this factor of the best one's size


@dataclass(frozen=True)
class Sweep:
    """What is planted, and how budget and size are counted."""

    planted: str
    flops: str
    params: str


def find_optima(
    sweep: Sweep, budgets: tuple[float, float], noise: float, seed: int = 0
) -> pl.DataFrame:
    """flops and n_params of the optimum of each isoFLOP sweep that has one inside the ladder."""
    rng = np.random.default_rng(seed)
    true = count_params(LADDER, sweep.planted).total
    counted = np.log(count_params(LADDER, sweep.params).total)
    per_token = count_training(LADDER, sweep.flops).total
    rows: list[dict[str, float]] = []
    for budget in np.geomspace(*budgets, SWEEPS):
        loss = kleiber.laws.chinchilla(n_params=true, n_tokens=budget / per_token, **LAW)
        loss = loss * np.exp(noise * rng.standard_normal(len(loss)))
        best = int(np.argmin(loss))
        near = np.abs(counted - counted[best]) < np.log(NEAR)
        if near.sum() < 5 or best in (0, len(loss) - 1):
            continue
        cubic = np.polynomial.Polynomial.fit(counted[near], loss[near], 3)
        lowest = [x.real for x in cubic.deriv().roots() if cubic.deriv(2)(x.real) > 0]
        if lowest and abs(lowest[0] - counted[best]) < np.log(NEAR):
            rows.append({"flops": budget, "n_params": float(np.exp(lowest[0]))})
    return pl.DataFrame(rows)


def fit_exponent(
    sweep: Sweep, budgets: tuple[float, float], noise: float, seeds: int = 10
) -> tuple[float, float, int]:
    """The exponent a of N* = k C^a: mean and deviation over draws of the noise, fewest sweeps."""
    found, used = list[float](), SWEEPS
    for seed in range(seeds if noise else 1):
        optima = find_optima(sweep, budgets, noise, seed)
        used = min(used, len(optima))
        plain = kleiber.Noise("log", None)
        made = kleiber.fit("k*flops**a", optima, target="n_params", noise=plain, draws=0)
        found.append(made.params["a"])
    return float(np.mean(found)), float(np.std(found)), used


def models_table() -> str:
    """Parameters and training FLOPs per token of public models in each convention."""
    head = f"{'':<12}{'convention':<12}{'parameters':>17}{'GFLOPs/token':>14}{'of 6 x all':>12}"
    lines = [head]
    for name, shape in MODELS.items():
        everything = count_params(shape).total
        for label, rule in conventions().items():
            n, c = count_params(shape, rule).total, count_training(shape, rule).total
            lines.append(
                f"{name:<12}{label:<12}{n:>17,.0f}{c / 1e9:>14,.4g}{c / 6 / everything:>12.3f}"
            )
            name = ""
    return "\n".join(lines)


def exponents_table(noise: float) -> str:
    """The exponent in each convention, for both planted laws and each range of budgets."""
    lines = [f"planted a = {PLANTED:.3f}; {noise:.1%} noise of the loss; (sweeps used of {SWEEPS})"]
    lines.append(f"{'C counted':<12}{'N counted':<12}" + "".join(f"{b:<20}" for b in BUDGETS))
    for planted, says in ((exact.name, "all parameters"), (kaplan.name, "without embeddings")):
        lines.append(f"law planted in N = {says}")
        for flops in conventions():
            for params in (kaplan.name, exact.name):
                line = f"{flops:<12}{params:<12}"
                for budgets in BUDGETS.values():
                    sweep = Sweep(planted, flops, params)
                    a, spread, used = fit_exponent(sweep, budgets, noise)
                    line += f"{f'{a:.2f} ± {spread:.2f} ({used})':<20}"
                lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, default=0.001, help="of the log loss")
    ask = parser.parse_args()
    print(models_table())
    print()
    print(exponents_table(ask.noise))


if __name__ == "__main__":
    main()
