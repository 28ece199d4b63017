"""Coverage of the intervals of counts: how often planted truth lies inside a nominal 95% interval.

Each cell is a family with its parameters, problems and attempts; its tables are groups of one
batched fit. Counted are the exponent and pass@k at k = 10 times the attempts. A cell passes when
the 99% Clopper-Pearson interval of both shares meets 93 to 97%. `profile` is what kleiber gives;
`wald` is the estimate -+ 1.96 standard errors (of the log exponent, and of log(-log pass@k));
`bootstrap` are percentiles of refits to resampled problems (with --bootstrap, on fewer tables).
CPU s is the time of profile and wald together, fits included.

    python benchmarks/counts_coverage.py --tables 2000 --bootstrap 400 > docs/counts_coverage.txt
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import special, stats

from kleiber.attempts.batch import Batch, pack
from kleiber.attempts.contour import likelihood_drop, trace_contour
from kleiber.attempts.family import Family
from kleiber.attempts.fit import FAMILIES
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.table import Counts

LEVEL, LOW, HIGH = 0.95, 0.93, 0.97
SLOW = ("scaled_beta", "lid")  # a tenth of the tables: each takes seconds
BLOCK = 100  # tables whose contours are traced at once


@dataclass(frozen=True)
class Cell:
    """One planted situation; ``truth`` in the family's own parameters."""

    family: str
    truth: tuple[float, ...]
    problems: int
    attempts: int


CELLS = (
    Cell("beta_binomial", (0.3, 10.0), 128, 100),
    Cell("beta_binomial", (0.3, 10.0), 128, 1000),
    Cell("beta_binomial", (0.3, 10.0), 40, 100),
    Cell("beta_binomial", (0.3, 10.0), 500, 100),
    Cell("beta_binomial", (1.0, 5.0), 128, 100),
    Cell("beta_binomial", (2.0, 100.0), 128, 100),
    Cell("beta_binomial", (0.1, 100.0), 128, 100),
    Cell("beta_binomial", (0.1, 100.0), 128, 1000),
    Cell("beta_binomial", (0.065, 100.0), 128, 10000),
    Cell("beta_binomial", (0.2, 25.0), 128, 20),
    Cell("kumaraswamy", (0.4, 5.5), 128, 100),
    Cell("kumaraswamy", (0.3, 7.0), 128, 1000),
    Cell("zero_inflated", (0.6, 20.0, 0.3), 200, 1000),
    Cell("scaled_beta", (0.4, 4.0, 0.1), 200, 1000),
    Cell("lid", (0.5, 0.3, 3.0), 200, 100),
)


def draw_p(cell: Cell, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Success probabilities of fresh problems."""
    t = cell.truth
    if cell.family == "kumaraswamy":
        return (1 - rng.random(shape) ** (1 / t[1])) ** (1 / t[0])
    if cell.family == "lid":
        root = np.sqrt(rng.gamma(t[0] / 2, 1.0, shape))
        bias = t[2] * np.abs(rng.standard_normal(shape))
        return special.ndtr((t[1] - bias) * root) - special.ndtr(-(t[1] + bias) * root)
    p = rng.beta(t[0], t[1], shape)
    if cell.family == "zero_inflated":
        return p * (rng.random(shape) >= t[2])
    return p * t[2] if cell.family == "scaled_beta" else p


def plant(cell: Cell, tables: int, rng: np.random.Generator) -> Batch:
    """Tables of counts as the groups of one batch."""
    shape = (tables, cell.problems)
    successes = rng.binomial(cell.attempts, np.minimum(draw_p(cell, rng, shape), 1.0))
    rows = tables * cell.problems
    counts = Counts(
        pl.DataFrame({"table": np.arange(tables)}),
        np.repeat(np.arange(tables), cell.problems),
        np.tile(np.arange(cell.problems), tables),
        np.full(rows, float(cell.attempts)),
        successes.ravel().astype(float),
        np.zeros(rows, bool),
    )
    return pack(counts)


def true_values(cell: Cell, k: float) -> tuple[float, float]:
    """log exponent, and log failure at k by a fine sum over quantiles of the planted law."""
    a, t = cell.truth[0], cell.truth
    if cell.family in ("beta_binomial", "zero_inflated"):
        fail = special.betaln(a, t[1] + k) - special.betaln(a, t[1])
        zero = t[2] if cell.family == "zero_inflated" else 0.0
        return np.log(a), np.log(zero + (1 - zero) * np.exp(fail))
    rng = np.random.default_rng(1)
    p = draw_p(cell, rng, (4000, 1000))
    return np.log(a), np.log(np.exp(k * np.log1p(-np.minimum(p, 1 - 1e-16))).mean())


def profile(family: Family, batch: Batch, peak: Peak, k: np.ndarray) -> tuple[np.ndarray, ...]:
    """Ends of log exponent and of log failure at k, for every table."""
    ends: list[np.ndarray] = []
    drop = likelihood_drop(LEVEL, batch.problems, peak.u.shape[1])
    for rows in np.array_split(np.arange(len(batch)), max(len(batch) // BLOCK, 1)):
        one = Peak(peak.u[rows], peak.value[rows], peak.hessian[rows], peak.converged[rows], 0)
        points = trace_contour(family, batch.take(rows), one, drop[rows])
        fail = family.log_failure(points.reshape(-1, points.shape[2]), k)
        fail = fail.reshape(points.shape[:2])
        a = points[:, :, 0]
        ends.append(np.stack([a.min(1), a.max(1), fail.min(1), fail.max(1)]))
    return tuple(np.concatenate(ends, axis=1))


def wald(family: Family, peak: Peak, k: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same ends from the curvature; wide where the likelihood is flat."""
    u, p = peak.u, peak.u.shape[1]
    values, vectors = np.linalg.eigh(-peak.hessian)
    cover = np.einsum("gpq,gq,grq->gpr", vectors, 1 / np.maximum(values, 1e-6), vectors)

    def level(v: np.ndarray) -> np.ndarray:
        passed = -np.expm1(family.log_failure(v, k)[:, 0])
        return np.log(np.maximum(-np.log(np.clip(passed, 1e-300, 1 - 1e-16)), 1e-300))

    slope = np.stack(
        [(level(u + 1e-3 * e) - level(u - 1e-3 * e)) / 2e-3 for e in np.eye(p)], axis=1
    )
    z = stats.norm.ppf(0.5 + LEVEL / 2)
    error_a = z * np.sqrt(cover[:, 0, 0])
    error_f = z * np.sqrt(np.maximum(np.einsum("gp,gpq,gq->g", slope, cover, slope), 0))
    with np.errstate(over="ignore"):
        low, high = (
            np.log(np.maximum(-np.expm1(-np.exp(level(u) + s * error_f)), 1e-300)) for s in (-1, 1)
        )
    return u[:, 0] - error_a, u[:, 0] + error_a, low, high


def bootstrap(
    family: Family, batch: Batch, peak: Peak, k: np.ndarray, rng: np.random.Generator, draws: int
) -> tuple[np.ndarray, ...]:
    """Percentiles of refits to resampled problems."""
    ends: list[np.ndarray] = []
    for g in range(len(batch)):
        one = batch.take(np.full(draws, g))
        total = int(one.weights[0].sum())
        weights = rng.multinomial(total, one.weights[0] / total, size=draws).astype(float)
        again = Batch(one.attempts, one.successes, weights, one.pair_index, one.pairs)
        found = maximise(family, again, start=np.tile(peak.u[g], (draws, 1)), max_iterations=30)
        fail = family.log_failure(found.u, k)[:, 0]
        a = found.u[:, 0]
        ends.append(np.concatenate([np.quantile(x, [0.025, 0.975]) for x in (a, fail)]))
    return tuple(np.array(ends).T)


def share(inside: np.ndarray) -> tuple[float, str]:
    """Coverage, and whether its 99% Clopper-Pearson interval meets 93 to 97%."""
    hits, n = int(inside.sum()), len(inside)
    low = stats.beta.ppf(0.005, hits, n - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.995, hits + 1, n - hits) if hits < n else 1.0
    return hits / n, "ok" if low <= HIGH and high >= LOW else "FAILS"


def run(cell: Cell, tables: int, seed: int, resamples: int) -> list[str]:
    """The lines of one cell."""
    rng = np.random.default_rng(seed)
    batch = plant(cell, tables, rng)
    batch = batch.take(np.flatnonzero(batch.solved > 0))
    family = FAMILIES[cell.family](batch.pairs)
    k = np.array([10.0 * cell.attempts])
    truth = true_values(cell, float(k[0]))
    began = time.process_time()
    peak = maximise(family, batch)
    made = {"profile": profile(family, batch, peak, k), "wald": wald(family, peak, k)}
    spent = time.process_time() - began
    if resamples and cell.family == "beta_binomial":
        some = np.arange(min(resamples, len(batch)))
        made["bootstrap"] = bootstrap(family, batch.take(some), peak, k, rng, 199)
    name = f"{cell.family}({', '.join(f'{x:g}' for x in cell.truth)})"
    lines: list[str] = []
    for method, (a_low, a_high, f_low, f_high) in made.items():
        a, a_ok = share((a_low <= truth[0]) & (truth[0] <= a_high))
        f, f_ok = share((f_low <= truth[1]) & (truth[1] <= f_high))
        middle = float(np.median(batch.solved))
        lines.append(
            f"{name:<32}{cell.problems:>5}{cell.attempts:>7}{middle:>7.0f}{len(a_low):>7}  "
            f"{method:<10}{a:>7.3f} {a_ok:<6}{f:>7.3f} {f_ok:<6}{spent:>6.0f}"
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--bootstrap", type=int, default=0, help="tables with bootstrap intervals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", help="only cells of this family")
    args = parser.parse_args()
    print(
        f"{'planted':<32}{'probl':>5}{'att':>7}{'solved':>7}{'tables':>7}  {'interval':<10}"
        f"{'exponent':>8}      {'pass@10n':>8}     {'CPU s':>6}"
    )
    for number, cell in enumerate(CELLS):
        if args.family in (None, cell.family):
            tables = args.tables // (10 if cell.family in SLOW else 1)
            for line in run(cell, tables, args.seed + number, args.bootstrap):
                print(line, flush=True)


if __name__ == "__main__":
    main()
