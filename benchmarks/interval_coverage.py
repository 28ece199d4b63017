"""Coverage of intervals on planted tables: how often the truth lies inside a nominal 95% interval.

Each cell is a law, a number of rows and a kind of noise; each table of a cell has a fresh random
design and fresh noise. Counted are every parameter, the derived exponents, and the prediction at
ten times the range of every column. A method passes in a cell when the 99% Clopper-Pearson
interval of its coverage meets 93 to 97%.

    python benchmarks/interval_coverage.py --tables 2000 --draws 199 > docs/coverage.txt
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

import kleiber
from kleiber.fitting.engine.compiled import find_kernel
from kleiber.fitting.engine.noise import Noise, evaluate_loss
from kleiber.fitting.engine.problem import Problem, minimise, pose, residuals
from kleiber.fitting.spread.bootstrap import refit
from kleiber.fitting.spread.covariance import estimate_covariance
from kleiber.fitting.spread.intervals import bca_interval, percentile_interval, percentile_level
from kleiber.fitting.spread.wild import (
    estimate_gradients,
    measure_influence,
    measure_moments,
    stretch_residuals,
)
from kleiber.law import Law

LEVEL, LOW, HIGH = 0.95, 0.93, 0.97
GROUP = 6  # rows of one run where noise is grouped

TRUTH: dict[str, dict[str, float]] = {
    "power_law": {"A": 5.0, "alpha": 0.3},
    "power_law_floor": {"E": 1.7, "A": 40.0, "alpha": 0.4},
    "chinchilla": {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
    "chinchilla_tied": {"E": 1.8, "A": 480.0, "B": 1500.0, "alpha": 0.35},
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    "over_training": {"E": 1.8, "a": 60.0, "b": 40.0, "eta": 0.18},
}
RANGES = {"n_params": (1e7, 1e10), "n_tokens": (1e9, 1e12), "n_data": (1e2, 1e6)}


Intervals = dict[str, dict[str, tuple[float, float]]]  # method -> quantity -> interval


@dataclass(frozen=True)
class Cell:
    """One planted situation."""

    law: str
    rows: int
    noise: str


def plant(
    cell: Cell, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray | None]:
    """Columns, target and groups of one table."""
    law = kleiber.laws.catalogue()[cell.law]
    grouped = cell.noise == "grouped"
    units = cell.rows // GROUP if grouped else cell.rows
    columns = {}
    for k, name in enumerate(law.variables):
        low, high = np.log(RANGES[name])
        if grouped and k == 0 and len(law.variables) > 1:  # a run has one size and many lengths
            columns[name] = np.exp(np.repeat(rng.uniform(low, high, units), GROUP))
        else:
            columns[name] = np.exp(rng.uniform(low, high, units * (GROUP if grouped else 1)))
    clean = law(**columns, **TRUTH[cell.law])
    rows = len(clean)
    noise = 0.01 * rng.standard_normal(rows)
    groups = None
    if cell.noise == "hetero":  # ten times noisier at the small end of the first column
        first = next(iter(law.variables))
        low, high = np.log(RANGES[first])
        noise *= 3 * 10 ** -((np.log(columns[first]) - low) / (high - low))
    if grouped:
        noise = 0.4 * noise + 0.01 * np.repeat(rng.standard_normal(units), GROUP)
        groups = np.repeat(np.arange(units), GROUP)
    return columns, clean * np.exp(noise), groups


def quantities(law: Law, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every parameter, the derived exponent, and the prediction far out."""
    out = {f"param {name}": np.asarray(params[name]) for name in law.params}
    if {"alpha", "beta"} <= set(law.params):
        out["exponent"] = np.asarray(params["beta"] / (params["alpha"] + params["beta"]))
    if {"alpha_N", "alpha_D"} <= set(law.params):
        out["exponent"] = np.asarray(params["alpha_N"] / params["alpha_D"])
    far = {name: 10 * RANGES[name][1] for name in law.variables}
    out["prediction"] = np.asarray(law(**far, **params))
    return out


@dataclass(frozen=True)
class Sample:
    """One fitted table: all that intervals are made from."""

    problem: Problem
    u: np.ndarray
    groups: np.ndarray | None
    draws: int
    rng: np.random.Generator

    @property
    def units(self) -> int:
        """Rows or groups."""
        return len(self.problem.target) if self.groups is None else int(self.groups.max()) + 1

    @property
    def n_lost(self) -> int:
        """Degrees of freedom that the fit takes."""
        return len(self.u) if self.groups is None else 1

    def level(self, wild: bool, drawn: Drawn) -> np.ndarray:
        """Where kleiber reads percentiles of such draws, one level for each quantity."""
        inside, degrees_of_freedom, delta = (
            1.0,
            np.full(len(drawn.values), np.inf),
            self.problem.noise.delta,
        )
        r = residuals(self.problem, self.u[None])[0]
        if delta is not None:
            inside = float((np.abs(r) <= delta).mean())
        if wild:
            stretched = stretch_residuals(self.problem, self.u, r, self.groups)
            moments = measure_moments(
                measure_influence(self.problem, self.u, stretched, self.groups)
            )
            values = np.stack(list(drawn.values.values()), axis=1)
            degrees_of_freedom = moments.degrees_of_freedom(estimate_gradients(values, drawn.point))
        through = 0.0 if wild or self.groups is not None else self.n_lost / self.units
        options = {"wild": wild, "quadratic_share": inside, "interpolated_share": through}
        return percentile_level(
            LEVEL, self.units, self.n_lost, degrees_of_freedom=degrees_of_freedom, **options
        )

    def read(self, wild: bool, drawn: Drawn) -> dict[str, tuple[float, float]]:
        """The intervals that kleiber reads from such draws."""
        return {
            name: read(percentile_interval(drawn.values[name], level))
            for name, level in zip(drawn.values, self.level(wild, drawn), strict=True)
        }


@dataclass(frozen=True)
class Drawn:
    """Draws: the coordinates of each, and every quantity on each."""

    point: np.ndarray
    values: dict[str, np.ndarray]


def read(ends: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Ends as numbers."""
    return float(ends[0]), float(ends[1])


def default_intervals(sample: Sample) -> Intervals:
    """What ``kleiber.fit`` gives by default: wild draws for least squares, rows otherwise."""
    wild = sample.problem.noise.delta is None
    return {"default": sample.read(wild, draw(sample, wild))}


def all_intervals(sample: Sample) -> Intervals:
    """Every candidate."""
    drawn = {kind: draw(sample, kind) for kind in (False, True)}
    rows, wild = drawn[False].values, drawn[True].values
    expanded, student = (sample.read(kind, each) for kind, each in drawn.items())
    spread = estimate_covariance(sample.problem, sample.u, 1.0, sample.groups)
    bread, scores = influence(sample.problem, sample.u, sample.groups)
    t = stats.t.ppf(0.5 + LEVEL / 2, sample.units - sample.n_lost)
    out: Intervals = {}
    wide = float(sample.level(False, drawn[False])[0])
    for name in rows:
        value, slope = gradient(sample.problem, sample.u, name)
        moves = scores @ bread @ slope
        sd = np.sqrt(slope @ spread.sandwich @ slope) * t
        made = {
            "percentile": percentile_interval(rows[name], LEVEL),
            "expanded": expanded[name],
            "bca": bca_interval(rows[name], np.exp(value), moves, LEVEL),
            "bca+": bca_interval(rows[name], np.exp(value), moves, wide),
            "wild": percentile_interval(wild[name], LEVEL),
            "wild+": student[name],
            "sandwich": (np.exp(value - sd), np.exp(value + sd)),
        }
        for method, (low, high) in made.items():
            out.setdefault(method, {})[name] = (float(low), float(high))
    return out


def draw(sample: Sample, wild: bool) -> Drawn:
    """So many draws, wild ones or of resampled rows."""
    runs = refit(
        sample.problem,
        sample.u[None],
        1.0,
        draws=sample.draws,
        groups=sample.groups,
        rng=sample.rng,
        wild=wild,
    )
    point = np.concatenate([run.point for run in runs])
    theta, names = sample.problem.from_coordinate(point), sample.problem.law.params
    named = {name: theta[:, k] for k, name in enumerate(names)}
    return Drawn(point, quantities(sample.problem.law, named))


def influence(
    problem: Problem, u: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse Hessian (up to a factor) and the score of each row or group."""
    derivatives = problem.differentiate(u[None], False)
    jac = derivatives.jacobian[0].T
    terms = evaluate_loss(problem.noise, derivatives.residual, np.ones(1))
    scores = jac * terms.psi[0][:, None]
    if groups is not None:
        scores = np.array([scores[groups == g].sum(axis=0) for g in np.unique(groups)])
    return -np.linalg.pinv(jac.T @ jac), scores


def gradient(problem: Problem, u: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """Logarithm of a (positive) quantity, and its gradient in u."""

    def value(x: np.ndarray) -> float:
        theta = problem.from_coordinate(x[None])[0]
        named = {key: np.asarray(theta[k]) for k, key in enumerate(problem.law.params)}
        return float(np.log(quantities(problem.law, named)[name]))

    size = 1e-5 * np.maximum(1.0, np.abs(u))
    steps = [size[k] * np.eye(len(u))[k] for k in range(len(u))]
    return value(u), np.array([(value(u + s) - value(u - s)) / (2 * s.max()) for s in steps])


def run_table(
    cell: Cell, noise: Noise, seed: int, draws: int, everything: bool
) -> dict[str, dict[str, bool]]:
    """Method -> quantity -> whether the truth was inside, on one table."""
    rng = np.random.default_rng([seed, hash_cell(cell)])
    law = kleiber.laws.catalogue()[cell.law]
    columns, y, groups = plant(cell, rng)
    problem = pose(law, noise, columns, y, np.ones(len(y)))
    kernel = find_kernel(problem.law, noise, problem.columns, problem.target, draws)
    problem = replace(problem, kernel=kernel)  # the same refits, sooner
    truth = np.array([[TRUTH[cell.law][name] for name in law.params]])
    found, _ = minimise(problem, problem.to_coordinate(truth), problem.weights[None])
    exact = quantities(law, {k: np.asarray(v) for k, v in TRUTH[cell.law].items()})
    sample = Sample(problem, found.point[0], groups, draws, rng)
    made = all_intervals(sample) if everything else default_intervals(sample)
    return {
        method: {name: low <= float(exact[name]) <= high for name, (low, high) in each.items()}
        for method, each in made.items()
    }


def hash_cell(cell: Cell) -> int:
    """A number of the cell that does not depend on the run."""
    return sum(ord(c) * 31**i for i, c in enumerate(f"{cell.law}{cell.rows}{cell.noise}")) % 2**31


def run_cell(job: tuple[Cell, Noise, int, int, int, bool]) -> dict[str, dict[str, int]]:
    """Counts of hits over a slice of a cell's tables."""
    cell, noise, first, last, draws, everything = job
    hits: dict[str, dict[str, int]] = {}
    for seed in range(first, last):
        for method, each in run_table(cell, noise, seed, draws, everything).items():
            for name, inside in each.items():
                row = hits.setdefault(method, {})
                row[name] = row.get(name, 0) + int(inside)
    return hits


def passes(hits: int, tables: int) -> bool:
    """Whether the 99% Clopper-Pearson interval of the coverage meets 93 to 97%."""
    ends = stats.binomtest(hits, tables).proportion_ci(0.99, method="exact")
    return bool(ends.low <= HIGH and ends.high >= LOW)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=399)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--huber", type=float, nargs="*", default=[0.0, 1e-3], help="widths; 0 is least squares"
    )
    parser.add_argument("--all", action="store_true", help="every candidate method")
    parser.add_argument("--rows", type=int, nargs="*", default=[30, 60, 240])
    parser.add_argument("--laws", nargs="*", default=list(TRUTH))
    ask = parser.parse_args()
    with ProcessPoolExecutor(ask.workers) as pool:
        for width in ask.huber:
            report_noise(pool, Noise("log", width or None), ask)


def report_noise(pool: ProcessPoolExecutor, noise: Noise, ask: argparse.Namespace) -> None:
    """Every cell under one noise model."""
    print(f"nominal {LEVEL:.0%}, {ask.tables} tables a cell, {ask.draws} draws; {noise.describe()}")
    print(
        f"{'law':<16}{'rows':>5} {'noise':<8} {'method':<11} lowest  highest  prediction  verdict"
    )
    for law, rows, kind in itertools.product(ask.laws, ask.rows, ("equal", "hetero", "grouped")):
        if kind != "grouped" or rows // GROUP >= 10:
            report(pool, Cell(law, rows, kind), noise, ask)
    print(flush=True)


def report(pool: ProcessPoolExecutor, cell: Cell, noise: Noise, ask: argparse.Namespace) -> None:
    """Run one cell and print its lines."""
    began = time.perf_counter()
    cuts = np.linspace(0, ask.tables, 4 * ask.workers + 1).astype(int).tolist()
    jobs = [(cell, noise, a, b, ask.draws, ask.all) for a, b in itertools.pairwise(cuts)]
    parts = list(pool.map(run_cell, jobs))
    for method in parts[0]:
        total = {n: sum(part[method][n] for part in parts) for n in parts[0][method]}
        share = {name: hits / ask.tables for name, hits in total.items()}
        bad = [name for name, hits in total.items() if not passes(hits, ask.tables)]
        verdict = "pass" if not bad else "FAIL " + ", ".join(bad)
        print(
            f"{cell.law:<16}{cell.rows:>5} {cell.noise:<8} {method:<11} "
            f"{min(share.values()):.3f}   {max(share.values()):.3f}    {share['prediction']:.3f}"
            f"       {verdict}",
            flush=True,
        )
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
