"""From sampled students to exponents, laws and a plan that is run.

A student's exponent is beta_eff = -dlog failure/dlog k over a window of k, from its counts. The
plan uses a beta-binomial law of the counts along N, as ``kleiber.plan_attempts`` does. Errors are
those of resampled problems, the same for all students, and of seeds (base model, teacher, samples
and student anew), added in squares.
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

from kleiber.attempts.errors import failure_of
from kleiber.attempts.fit import fit_counts
from kleiber.claim import Estimate, student
from kleiber.maths.seeds import stream
from kleiber.planning.plan import plan_attempts
from kleiber.sweeps.run import sweep
from kleiber.systems.hard_tail.distillation.spec import Distillation, Split

MODELS = "models"  # the folder beside the store that keeps base models and teachers
COLUMNS = (
    "method", "n_data", "seed", "problem", "operations", "digits", "attempts", "successes",
    "probability", "loss", "error",
)  # fmt: skip
MANY = 1e6  # degrees of freedom that make Student's factor the normal one
SHIFT = 4.0  # other splits train on so many times fewer or more examples


def run_students(
    specs: Sequence[Distillation], folder: Path | None = None, workers: int | None = None
) -> pl.DataFrame:
    """Return the counts of all students, trained once where a folder keeps them.

    Workers that begin with different seeds train no model twice.

    Columns method, n_data, seed, problem, operations, digits, attempts, successes, probability,
    loss, error.
    """
    from kleiber.systems.hard_tail.distillation.attempts import distil  # torch is an extra

    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return run_students(specs, Path(temporary), workers)
    run = partial(distil, folder=folder / MODELS)
    table = sweep(specs, folder / "runs", workers=workers, run=run, retry_failed=True)
    fields = {spec.key(): spec for spec in specs}
    if missing := fields.keys() - set(table["run"]):
        raise ValueError(f"{len(missing)} of {len(fields)} students could not be trained.")
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

    def less(self, other: Slopes) -> Slopes:
        """Return the differences, seed by seed and draw by draw."""
        return Slopes(self.seeds - other.seeds, self.drawn - other.drawn)

    def estimate(self) -> Estimate:
        """Return the mean over seeds with Student's interval."""
        return join_errors(self.seeds.mean(), self.seeds, float(self.drawn.var(ddof=1)))


def join_errors(value: float, seeds: Float[np.ndarray, "seeds"], problems: float) -> Estimate:
    """Return an Estimate whose variance is that of problems plus that of the mean over seeds.

    Student's interval has Satterthwaite's degrees of freedom: with few seeds it is far wider than
    two standard errors where the seeds make most of the error.
    """
    between = float(seeds.var(ddof=1)) / len(seeds)
    total = between + problems
    freedom = (len(seeds) - 1) * (total / between) ** 2 if between > 0 else np.inf
    return student(value, np.sqrt(total), min(freedom, MANY))


def window(attempts: int) -> Float[np.ndarray, "k"]:
    """Return the numbers of attempts over which an exponent is measured: 8, 16, ... up to those
    made."""
    return 2.0 ** np.arange(3, int(np.log2(attempts)) + 1)


@dataclass(frozen=True)
class Exponents:
    """beta_eff of each student, and on each draw of problems: [seeds, sizes], [draws, ...]."""

    sizes: tuple[int, ...]
    values: Float[np.ndarray, "seeds sizes"]
    drawn: Float[np.ndarray, "draws seeds sizes"]


def measure_exponents(table: pl.DataFrame, method: str, *, draws: int, seed: int) -> Exponents:
    """Return beta_eff = -dlog failure/dlog k over the window of attempts, by least squares.

    Failure is the unbiased estimate from the counts, the mean over problems; a draw resamples
    problems, the same ones for all students.
    """
    rows = table.filter(pl.col("method") == method)
    sizes, seeds = (sorted(rows[name].unique()) for name in ("n_data", "seed"))
    k = window(int(rows["attempts"].max()))  # pyright: ignore[reportArgumentType]
    problems = rows["problem"].n_unique()
    picks = stream(seed, "problems of students").integers(problems, size=(draws, problems))
    values, drawn = np.empty((len(seeds), len(sizes))), np.empty((draws, len(seeds), len(sizes)))
    for i, j in np.ndindex(values.shape):
        part = rows.filter((pl.col("seed") == seeds[i]) & (pl.col("n_data") == sizes[j]))
        made, right = (
            part[name].to_numpy().astype(float)[:, None] for name in ("attempts", "successes")
        )
        each = failure_of(made, right, k)
        values[i, j] = _slope(each.mean(0)[None], k)[0]
        drawn[:, i, j] = _slope(each[picks].mean(1), k)
    return Exponents(tuple(sizes), values, drawn)


def _slope(
    failure: Float[np.ndarray, "draws k"], k: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "draws"]:
    """Return -dlog failure/dlog k of each row."""
    return -np.polyfit(np.log(k), np.log(failure).T, 1)[0]


def exponent_slopes(found: Exponents, sizes: Sequence[int] | None = None) -> Slopes:
    """Return dlog beta_eff/dlog N over all N, or over some of them, by least squares."""
    chosen = [k for k, size in enumerate(found.sizes) if sizes is None or size in sizes]
    x = np.log([found.sizes[k] for k in chosen])
    slopes = np.polyfit(x, np.log(found.values[:, chosen]).T, 1)[0]
    logs: Float[np.ndarray, "draws sizes"] = np.log(found.drawn[:, :, chosen]).mean(axis=1)
    return Slopes(slopes, np.polyfit(x, logs.T, 1)[0])


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


def plan_split(
    table: pl.DataFrame, method: str, budget: float, price: float, *, draws: int, seed: int
) -> tuple[Split, Estimate]:
    """Plan N and k for a budget of N + price k, from the counts of all seeds together; return the
    split and the failure that is predicted there."""
    rows = table.filter(pl.col("method") == method).select(
        "n_data", "attempts", "successes", problem=pl.format("{} {}", "seed", "problem")
    )
    made = fit_counts(rows, by="n_data", along="n_data", draws=draws, seed=seed)
    low, high = rows["n_data"].min(), rows["n_data"].max()
    ends: Any = {"n_data": (low, high)}
    plan = plan_attempts(made, budget, "n_data", attempt=price, limits=ends)
    n_data, k = (plan.allocation[name].value for name in ("n_data", "k"))
    return Split(round(n_data), max(1, round(k))), plan.predicted


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
    second: Float[np.ndarray, "seeds problems"] | float,
    seed: int,
    known: float = 0.0,
) -> Estimate:
    """Return log(mean failure of the first/that of the second, or a number), its error from
    resampled problems and from seeds; ``known`` is a further relative error, of the number."""
    second = np.broadcast_to(second, first.shape)
    value = float(np.log(first.mean() / second.mean()))
    rng = stream(seed, "compare failures")
    rows = rng.integers(first.shape[1], size=(400, first.shape[1]))
    drawn = np.log(first[:, rows].mean((0, 2)) / second[:, rows].mean((0, 2)))
    each = np.log(first.mean(1) / second.mean(1))
    return join_errors(value, each, float(drawn.var(ddof=1)) + known**2)
