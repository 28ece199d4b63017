"""How often growth along training is found, in planted tables of counts with and without it.

Every table has checkpoints with the same problems, whose success rates are correlated between
checkpoints (0.8 of the variance of their normal scores is common; the rank correlations of the
Pythia checkpoints' measured rates are 0.6 to 0.9). The exponent a of each checkpoint's beta law
grows from 0.2 by the given amount, as a power of the tokens or along a curve that levels off, while
b falls, so that pass@1 grows without growth of a as well. Attempts are 128, 1,024 or 10,112, drawn
for blocks of 32 problems, as in those data. Shares of tables, nominal 5%:

grows   the exponent is said to grow     falls   to fall     levels off   growth is said to slow
scatter the checkpoints are said to scatter about the curves by more than sampling

`sized` is ok where the 99% interval of grows + falls meets 3 to 7% (rows without growth and without
scatter), and the one of `levels off` reaches below 7% (rows of a power law). With `scatter` 0.1 the
log exponents scatter about the curve by 0.1, without growth: a test conditional on these
checkpoints then finds differences that are real but no trend.

    python benchmarks/counts_growth.py --tables 2000 > docs/counts_growth.txt
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import special, stats

from kleiber.attempts.batch import Batch, pack, place_problems
from kleiber.attempts.fit import FAMILIES
from kleiber.attempts.growth import (
    ALPHA,
    Grouping,
    curve_ties,
    fit_curves,
    weigh_evidence,
)
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.pooled import weigh_rates
from kleiber.attempts.scattered import regress
from kleiber.attempts.table import Counts
from kleiber.attempts.tied import widen

TOKENS = (6e9, 3e11)
ATTEMPTS, SHARES, BLOCK = (128, 1024, 10112), (0.2, 0.4, 0.4), 32
FIRST = 0.2  # exponent of the first checkpoint
COMMON = 0.8  # share of the variance of the problems' normal scores
AT_ONCE = 250  # tables
CURVES = ("constant", "power", "saturating")


@dataclass(frozen=True)
class Cell:
    """One planted situation; with several models each has all checkpoints, and the same growth."""

    checkpoints: int
    problems: int
    growth: float = 0.0
    form: str = "power"
    scatter: float = 0.0
    common: float = COMMON
    models: int = 1
    family: str = "beta_binomial"

    @property
    def null(self) -> bool:
        """Whether there is nothing to be found but chance."""
        return self.growth == 0 and self.scatter == 0


SIZES = [(c, m) for c in (3, 4, 8) for m in (64, 128)]
CELLS = (
    *(Cell(c, m) for c, m in SIZES),
    *(Cell(c, 128, growth=g) for c in (3, 4, 8) for g in (0.1, 0.2, 0.4)),
    *(Cell(c, 128, scatter=0.1) for c in (3, 4, 8)),
    *(Cell(c, 64, growth=g) for c in (3, 4, 8) for g in (0.1, 0.2, 0.4)),
    *(Cell(c, 128, growth=0.2, form="levels off") for c in (4, 8)),
    Cell(4, 128, models=4),
    Cell(4, 128, growth=0.1, models=4),
    *(Cell(c, 128, common=0.0) for c in (3, 4, 8)),
    Cell(4, 128, family="zero_inflated"),
    Cell(4, 128, growth=0.2, family="zero_inflated"),
    Cell(4, 128, family="kumaraswamy"),
    Cell(4, 128, growth=0.2, family="kumaraswamy"),
)


def exponents(cell: Cell, tables: int, rng: np.random.Generator) -> np.ndarray:
    """Exponents of the groups of every table, model by model."""
    part = np.linspace(0, 1, cell.checkpoints)
    last = (FIRST + cell.growth) / FIRST
    grown = last**part
    if cell.form == "levels off":
        late = 1 / (1 + np.exp(-8 * (part - 0.15)))
        grown = 1 + (last - 1) * (late - late[0]) / (late[-1] - late[0])
    log = np.tile(np.log(FIRST * grown), cell.models)
    return np.exp(log + cell.scatter * rng.standard_normal((tables, len(log))))


def draw_p(cell: Cell, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Success probabilities: (tables, groups, problems)."""
    tables, groups = a.shape
    own = rng.standard_normal((tables, groups, cell.problems))
    shared = rng.standard_normal((tables, 1, cell.problems))
    score = np.sqrt(cell.common) * shared + np.sqrt(1 - cell.common) * own
    b = np.tile(np.geomspace(80, 12, cell.checkpoints), cell.models)
    grid = np.linspace(-6, 6, 601)
    p = np.empty_like(score)
    for t in range(tables):
        for g in range(groups):
            if t == 0 or cell.scatter:
                inverse = special.betaincinv(a[t, g], b[g], special.ndtr(grid))
                curve = np.log(np.maximum(inverse, 1e-300))
                rows = slice(t, t + 1) if cell.scatter else slice(None)
                p[rows, g] = np.exp(np.interp(score[rows, g], grid, curve))
    return np.minimum(p, 1.0)


def plant(cell: Cell, tables: int, rng: np.random.Generator) -> tuple[Batch, np.ndarray]:
    """The groups of all tables as one batch, and the cells of their problems."""
    p = draw_p(cell, exponents(cell, tables, rng), rng)
    groups, m = p.shape[1:]
    blocks = rng.choice(ATTEMPTS, p=SHARES, size=(tables, groups, -(-m // BLOCK)))
    n = np.repeat(blocks, BLOCK, axis=2)[:, :, :m]
    rows = np.arange(p.size)
    counts = Counts(
        pl.DataFrame({"group": np.arange(tables * groups)}),
        rows // m,
        rows % m,
        n.ravel().astype(float),
        rng.binomial(n, p).ravel().astype(float),
        np.zeros(p.size, bool),
    )
    return pack(counts), place_problems(counts).reshape(tables, groups, m)


def weigh(cell: Cell, batch: Batch, places: np.ndarray) -> tuple[np.ndarray, ...]:
    """Which tables are said to grow, to fall, to level off and to scatter."""
    groups = places.shape[1]
    x = np.log(np.geomspace(*TOKENS, cell.checkpoints))
    at = Grouping(
        np.tile(x - x.mean(), cell.models), np.repeat(np.arange(cell.models), cell.checkpoints)
    )
    family = FAMILIES[cell.family](batch.pairs)
    free: Peak = maximise(family, batch)
    wide = widen(batch, groups)
    names = CURVES[: 2 + (at.shared_parameters == 2)] + ("own",) * (cell.models > 1)
    peaks = fit_curves(family, wide, at, free, names)
    found = weigh_evidence(family, wide, at, free, peaks, places)
    different = found.growth.p_value < ALPHA
    grows, falls = (different & (sign * found.rate > 0) for sign in (1, -1))
    late = np.zeros(len(wide), bool)
    if found.saturation is not None:
        late = found.saturation.p_value / 2 < ALPHA
    if cell.models > 1:
        rates = weigh_rates(at, curve_ties(at, free.u.shape[1]), peaks, found)
        for row in np.flatnonzero(rates.random):
            each = np.ones((cell.models, 1))
            mean, error, *_ = regress(rates.value[row], rates.covariance[row], each)
            sure = abs(mean) > error * special.stdtrit(cell.models - 1, 1 - ALPHA / 2)
            grows[row], falls[row] = sure and mean > 0, sure and mean < 0
    return grows, falls, late & grows, found.scatter.seen


def count(cell: Cell, tables: int, seed: int) -> tuple[np.ndarray, int]:
    """How many tables are said to grow, fall, level off, scatter; and how many there were."""
    rng = np.random.default_rng(seed)
    hits, done = np.zeros(4, int), 0
    while done < tables:
        some = min(AT_ONCE, tables - done)
        hits += [int(x.sum()) for x in weigh(cell, *plant(cell, some, rng))]
        done += some
    return hits, done


def within(hits: int, tables: int, low: float, high: float) -> bool:
    """Whether the 99% Clopper-Pearson interval of a share meets low to high."""
    least = stats.beta.ppf(0.005, hits, tables - hits + 1) if hits else 0.0
    most = stats.beta.ppf(0.995, hits + 1, tables - hits) if hits < tables else 1.0
    return bool(least <= high and most >= low)


def run(cell: Cell, tables: int, seed: int) -> str:
    """The line of one cell."""
    began = time.process_time()
    hits, done = count(cell, tables, seed)
    grows, falls, late, scatter = hits / done
    sized = "" if cell.scatter else "ok" if within(hits[2], done, 0, 0.07) else "FAILS"
    if cell.null:
        sized = "ok" if within(hits[0] + hits[1], done, 0.03, 0.07) else "FAILS"
    elif cell.form == "levels off":
        sized = ""
    form = f"{cell.form} +{cell.growth:g}" if cell.growth else "none"
    return (
        f"{cell.family:<14}{form:<17}{cell.scatter:>7g}{cell.common:>7g}{cell.models:>7}"
        f"{cell.checkpoints:>6}{cell.problems:>6}{done:>7}  {grows:>6.3f}{falls:>7.3f}{late:>8.3f}"
        f"{scatter:>9.3f}  {sized:<6}{time.process_time() - began:>6.0f}"
    )


def fewer(cell: Cell) -> int:
    """By how much the tables of a cell are fewer: all for the sizes of a single series."""
    if cell.family != "beta_binomial":
        return 20
    return 1 if cell.null and cell.common == COMMON and cell.models == 1 else 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first cell")
    args = parser.parse_args()
    print(
        f"{'family':<14}{'growth':<17}{'scatter':>7}{'common':>7}{'models':>7}{'ckpts':>6}"
        f"{'probl':>6}{'tables':>7}  {'grows':>6}{'falls':>7}{'levels':>8}{'scatter':>9}  "
        f"{'sized':<6}{'CPU s':>6}"
    )
    for number, cell in enumerate(CELLS):
        if number >= args.first:
            print(run(cell, args.tables // fewer(cell), args.seed + number), flush=True)


if __name__ == "__main__":
    main()
