"""From sampled students to exponents, laws and a plan that is run.

The exponent a of a student is that of a beta-binomial law of its counts: k attempts all fail with a
probability that falls as k^-a. Errors are those of resampled problems, the same for all students,
and of seeds (base model, teacher, samples and student anew), added in squares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.attempts.fit import fit_counts
from kleiber.maths.seeds import stream
from kleiber.planning.plan import plan_attempts
from kleiber.sweeps.run import sweep
from kleiber.systems.hard_tail.distillation.attempts import distil
from kleiber.systems.hard_tail.distillation.spec import Distillation

MODELS = "models"  # the folder beside the store that keeps base models and teachers
COLUMNS = (
    "method", "n_data", "seed", "problem", "operations", "digits", "attempts", "successes",
    "probability", "loss", "error",
)  # fmt: skip
SHIFT = 4.0  # other splits train on so many times fewer or more examples


def run_students(specs: Sequence[Distillation], folder: Path | None = None) -> pl.DataFrame:
    """Return the counts of all students, trained once where a folder keeps them.

    Columns method, n_data, seed, problem, operations, digits, attempts, successes, probability,
    loss, error.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return run_students(specs, Path(temporary))
    table = sweep(specs, folder / "runs", run=partial(distil, folder=folder / MODELS))
    fields = {spec.key(): spec for spec in specs}
    known = [pl.col(name) for name in COLUMNS[3:]]
    return table.select(
        *(
            pl.col("run")
            .replace_strict({key: getattr(spec, name) for key, spec in fields.items()})
            .alias(name)
            for name in COLUMNS[:3]
        ),
        *known,
    )


@dataclass(frozen=True)
class Slopes:
    """The slope of a logarithm in log N for each seed, and for each draw of problems the mean over
    seeds."""

    seeds: Float[np.ndarray, "seeds"]
    drawn: Float[np.ndarray, "draws"]

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(self.seeds.mean())

    @property
    def stderr(self) -> float:
        """The standard error, of problems and of seeds."""
        between = self.seeds.var(ddof=1) / len(self.seeds) if len(self.seeds) > 1 else 0.0
        return float(np.sqrt(between + self.drawn.var(ddof=1)))


def exponent_slopes(
    table: pl.DataFrame, method: str, *, draws: int, seed: int, sizes: Sequence[int] | None = None
) -> Slopes:
    """Return dlog a/dlog N over all N, or over some of them, by least squares."""
    rows = table.filter(pl.col("method") == method)
    if sizes is not None:
        rows = rows.filter(pl.col("n_data").is_in(list(sizes)))
    made = fit_counts(rows, by=["seed", "n_data"], draws=draws, seed=seed)
    keys = made.counts.keys
    values: Any = made.params["a"]
    logs = np.log([values[name] for name in made.groups])
    drawn = np.log(made.draws["a"])
    x, which = np.log(keys["n_data"].to_numpy()), keys["seed"].to_numpy()
    slopes = [np.polyfit(x[which == s], logs[which == s], 1)[0] for s in np.unique(which)]
    each = [np.polyfit(x[which == s], drawn[:, which == s].T, 1)[0] for s in np.unique(which)]
    return Slopes(np.array(slopes), np.mean(each, axis=0))


def loss_slopes(table: pl.DataFrame, method: str) -> Float[np.ndarray, "seeds"]:
    """Return dlog loss/dlog N of each seed, the loss a token of right answers."""
    rows = table.filter(pl.col("method") == method)
    found = rows.group_by("seed", "n_data").agg(pl.col("loss").first()).sort("seed", "n_data")
    parts = found.partition_by("seed", maintain_order=True)
    return np.array(
        [
            np.polyfit(np.log(p["n_data"].to_numpy()), np.log(p["loss"].to_numpy()), 1)[0]
            for p in parts
        ]
    )


@dataclass(frozen=True)
class Split:
    """One way to spend a budget: N training examples, and k attempts at each problem."""

    n_data: int
    k: int


def plan_split(
    table: pl.DataFrame, method: str, budget: float, price: float, *, draws: int, seed: int
) -> Split:
    """Plan N and k for a budget of N + price k, from the counts of all seeds together."""
    rows = table.filter(pl.col("method") == method).select(
        "n_data", "attempts", "successes", problem=pl.format("{} {}", "seed", "problem")
    )
    made = fit_counts(rows, by="n_data", along="n_data", draws=draws, seed=seed)
    low, high = rows["n_data"].min(), rows["n_data"].max()
    ends: Any = {"n_data": (low, high)}
    plan = plan_attempts(made, budget, "n_data", attempt=price, limits=ends)
    n_data, k = (plan.allocation[name].value for name in ("n_data", "k"))
    return Split(round(n_data), max(1, round(k)))


def other_splits(chosen: Split, budget: float, price: float) -> tuple[Split, Split]:
    """Return two splits of the same cost that train on fewer and on more examples.

    They are SHIFT times off; the larger one at most nine tenths of the way to the whole budget.
    """
    fewer = max(1, round(chosen.n_data / SHIFT))
    most = chosen.n_data + 0.9 * (budget - price - chosen.n_data)
    more = round(min(chosen.n_data * SHIFT, most))
    return (
        Split(fewer, max(1, int((budget - fewer) / price))),
        Split(more, max(1, int((budget - more) / price))),
    )


def failures_of(
    table: pl.DataFrame, method: str, split: Split, seeds: Sequence[int]
) -> Float[np.ndarray, "seeds problems"]:
    """Return the exact probability that all k attempts fail, for each seed and problem."""
    rows = table.filter((pl.col("method") == method) & (pl.col("n_data") == split.n_data))
    each = [rows.filter(pl.col("seed") == s)["probability"].to_numpy() for s in seeds]
    return (1 - np.array(each)) ** split.k


def compare_failures(
    first: Float[np.ndarray, "seeds problems"],
    second: Float[np.ndarray, "seeds problems"],
    seed: int,
) -> tuple[float, float]:
    """Return log(mean failure of the first/that of the second) and its standard error, by resampled
    problems and by seeds."""
    value = float(np.log(first.mean() / second.mean()))
    rng = stream(seed, "compare failures")
    rows = rng.integers(first.shape[1], size=(400, first.shape[1]))
    drawn = np.log(first[:, rows].mean((0, 2)) / second[:, rows].mean((0, 2)))
    each = np.log(first.mean(1) / second.mean(1))
    between = each.var(ddof=1) / len(each) if len(each) > 1 else 0.0
    return value, float(np.sqrt(drawn.var(ddof=1) + between))
