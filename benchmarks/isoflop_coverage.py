"""How often the 95% intervals of `reduce isoflop` hold the planted values.

Each ladder has budgets from 1e18 to 1e21 with seven sizes about the optimum of E + A N^-alpha +
B D^-beta, D = C/6N, times 1 + noise. `a` and `b` are the exponents of N* and D*, `size` the optimum
of each budget.

    python benchmarks/isoflop_coverage.py
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

from kleiber.reduce import isoflop

E, A, B, ALPHA, BETA = 1.8, 480.0, 2100.0, 0.35, 0.37
BUDGETS = np.array([1e18, 1e19, 1e20, 1e21])


def best_size(c: np.ndarray) -> np.ndarray:
    """The optimum of the law at budget c, in closed form."""
    ratio = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return ratio * (c / 6) ** (BETA / (ALPHA + BETA))


def ladder(noise: float, span: float, shift: float, rng: np.random.Generator) -> pl.DataFrame:
    """Sizes from 1/span to span times shift times the optimum of each budget."""
    factors = shift * np.geomspace(1 / span, span, 7)
    c = np.repeat(BUDGETS, len(factors))
    n = best_size(c) * np.tile(factors, len(BUDGETS))
    d = c / 6 / n
    loss = (E + A * n**-ALPHA + B * d**-BETA) * (1 + noise * rng.standard_normal(len(n)))
    return pl.DataFrame({"flops": c, "n_params": n, "n_tokens": d, "loss": loss})


def coverage(noise: float, span: float, shift: float, ladders: int) -> dict[str, float]:
    """Share of ladders whose intervals hold the truth, in per cent, and what was refused."""
    rng = np.random.default_rng(0)
    truth = BETA / (ALPHA + BETA)
    hits: dict[str, list[bool]] = {"a": [], "b": [], "size": []}
    widths: list[float] = []
    refused = 0
    for seed in range(ladders):
        made = isoflop(ladder(noise, span, shift, rng), draws=400, seed=seed)
        for name, item, value in (
            ("a", made.exponent, truth),
            ("b", made.token_exponent, 1 - truth),
        ):
            if np.isfinite(item.low):
                hits[name].append(item.low <= value <= item.high)
        widths.append(made.exponent.high - made.exponent.low)
        rows = made.table.drop_nulls("n_params_low")
        refused += len(BUDGETS) - rows.height
        right = best_size(rows["flops"].to_numpy())
        inside = (rows["n_params_low"].to_numpy() <= right) & (
            right <= rows["n_params_high"].to_numpy()
        )
        hits["size"].extend(inside.tolist())
    shares = {name: 100 * float(np.mean(item)) for name, item in hits.items()}
    known = 100 * len(hits["a"]) / ladders
    return {**shares, "width of a": float(np.nanmedian(widths)), "known": known} | {
        "no interval": 100 * refused / ladders / len(BUDGETS)
    }


def main() -> None:
    """Print a row for each noise, span of sizes and shift of the grid from the optimum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ladders", type=int, default=500)
    given = parser.parse_args()
    for noise, span, shift in (
        (0.001, 4, 1.0), (0.003, 4, 1.0), (0.001, 8, 1.0), (0.001, 4, 1.5), (0.001, 8, 2.0),
    ):  # fmt: skip
        found = coverage(noise, span, shift, given.ladders)
        cells = "  ".join(f"{name} {value:.3g}" for name, value in found.items())
        print(f"noise {noise:.1%}  span 1/{span} to {span}  shift {shift:g}:  {cells}", flush=True)


if __name__ == "__main__":
    main()
