"""Coverage of intervals where few rows are to spare: 1 to 9 more rows than parameters.

Each cell is a law, a design, a number of rows to spare and a noise model; each table of a cell has
fresh noise of 1% and, unless its design is a 3 x 3 grid, fresh rows. A curved law is fitted by
``kleiber.fit`` as a user would; a straight line, for which neither search nor draws decide
anything, by the parts of it that do. Counted, over the tables that are given an interval, are
every parameter, the derived exponent, and the prediction at ten times the range of every column.
A straight line passes where the 99% Clopper-Pearson interval of each share meets 93 to 97%, a
curved law where each share lies within 2.5 standard errors of 95%.

    python benchmarks/small_tables.py --laws power_law --tables 2000 > docs/small_tables.txt
    python benchmarks/small_tables.py --laws chinchilla --tables 400 >> docs/small_tables.txt
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from interval_coverage import LEVEL, RANGES, TRUTH, passes, quantities

import kleiber
from kleiber import Noise
from kleiber.fitting.engine.problem import minimise, pose
from kleiber.fitting.spread.student import equal_noise_covariance, linear_interval

SIGMA, ERRORS = 0.01, 2.5
STRAIGHT = ("power_law",)


@dataclass(frozen=True)
class Cell:
    """One planted situation; ``spare`` rows more than parameters, ``huber`` 0 for least squares."""

    law: str
    design: str
    spare: int
    huber: float
    uneven: bool


def plant(cell: Cell, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One table."""
    law = kleiber.laws.catalogue()[cell.law]
    rows = len(law.params) + cell.spare
    if cell.design == "grid":
        sides = [np.geomspace(*RANGES[name], 3) for name in law.variables]
        places = np.meshgrid(*sides)
        columns = {name: x.ravel() for name, x in zip(law.variables, places, strict=True)}
    else:
        ends = {name: np.log(RANGES[name]) for name in law.variables}
        columns = {name: np.exp(rng.uniform(a, b, rows)) for name, (a, b) in ends.items()}
    noise = SIGMA * rng.standard_normal(rows)
    if cell.uneven:  # ten times noisier at the small end of the first column
        first = next(iter(law.variables))
        low, high = np.log(RANGES[first])
        noise *= 3 * 10 ** -((np.log(columns[first]) - low) / (high - low))
    return {**columns, "loss": law(**columns, **TRUTH[cell.law]) * np.exp(noise)}


Outcome = tuple[str, dict[str, bool] | None]  # status, and whether each interval holds the truth


def run_line(cell: Cell, rng: np.random.Generator) -> Outcome:
    """A table of a straight line: the descent and the interval that ``kleiber.fit`` ends with."""
    table, law = plant(cell, rng), kleiber.laws.catalogue()[cell.law]
    columns = {name: table[name] for name in law.variables}
    y, noise = table["loss"], Noise("log", cell.huber or None)
    problem = pose(law, noise, columns, y, np.ones(len(y)))
    truth = problem.to_coordinate(np.array([list(TRUTH[cell.law].values())]))
    u = minimise(problem, truth, problem.weights[None])[0].point[0]

    def what(point: np.ndarray) -> np.ndarray:
        named = dict(zip(law.params, problem.from_coordinate(point[None])[0], strict=True))
        return np.array(list(quantities(law, named).values()))

    low, high = linear_interval(what, u, equal_noise_covariance(problem, u, 1.0), cell.spare, LEVEL)
    inside = (low <= what(truth[0])) & (what(truth[0]) <= high)
    names = quantities(law, {k: np.asarray(v) for k, v in TRUTH[cell.law].items()})
    return "converged", dict(zip(names, inside.tolist(), strict=True))


def run_table(cell: Cell, seed: int, draws: int) -> Outcome:
    """The status of one fit, and of every quantity whether the truth lies in its interval; None
    where no interval is given."""
    rng = np.random.default_rng([seed, cell.spare, int(1e6 * cell.huber), len(cell.design)])
    if cell.law in STRAIGHT:
        return run_line(cell, rng)
    noise = Noise("log", cell.huber or None)
    found = kleiber.fit(cell.law, plant(cell, rng), noise=noise, draws=draws, seed=seed)
    law = found.law
    exact = quantities(law, {k: np.asarray(v) for k, v in TRUTH[cell.law].items()})
    far = {name: np.array([10 * RANGES[name][1]]) for name in law.variables}
    ends = {name: found.interval(name.removeprefix("param ")) for name in exact if "param" in name}
    if "exponent" in exact:
        ends["exponent"] = found.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    row = found.predict(far)
    ends["prediction"] = kleiber.Interval(float(row["low"][0]), float(row["high"][0]))
    if any(np.isnan(each).any() for each in ends.values()):
        return str(found.status), None
    return str(found.status), {k: e.low <= float(exact[k]) <= e.high for k, e in ends.items()}


def run_slice(job: tuple[Cell, int, int, int]) -> list[Outcome]:
    """A slice of a cell's tables."""
    cell, first, last, draws = job
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [run_table(cell, seed, draws) for seed in range(first, last)]


def within(hits: int, tables: int) -> bool:
    """Whether a share lies within 2.5 standard errors of the nominal level."""
    return abs(hits / tables - LEVEL) <= ERRORS * np.sqrt(LEVEL * (1 - LEVEL) / tables)


def report(pool: ProcessPoolExecutor, cell: Cell, ask: argparse.Namespace) -> None:
    """Run one cell and print its line."""
    cuts = np.linspace(0, ask.tables, 4 * ask.workers + 1).astype(int).tolist()
    jobs = [(cell, a, b, ask.draws) for a, b in itertools.pairwise(cuts)]
    made = [item for part in pool.map(run_slice, jobs) for item in part]
    statuses = Counter(status for status, _ in made)
    usable = (statuses["converged"] + statuses["bound_hit"]) / len(made)
    given = [inside for _, inside in made if inside is not None]
    kind = "least squares" if not cell.huber else f"Huber {cell.huber:g}"
    head = f"{cell.law:<12}{cell.design:<8}{cell.spare:>5}  {kind:<14}"
    head += f"{'uneven' if cell.uneven else 'even':<7}{len(given) / len(made):>6.2f}{usable:>8.2f}"
    if len(given) < len(made) / 2:
        print(f"{head}   no interval is given", flush=True)
        return
    total = {name: sum(each[name] for each in given) for name in given[0]}
    share = {name: hits / len(given) for name, hits in total.items()}
    good = passes if cell.law in STRAIGHT else within
    bad = [name for name, hits in total.items() if not good(hits, len(given))]
    print(
        f"{head}   {min(share.values()):.3f}   {max(share.values()):.3f}     "
        f"{share['prediction']:.3f}       {'FAIL ' + ', '.join(bad) if bad else 'pass'}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--laws", nargs="*", default=["power_law", "chinchilla"])
    parser.add_argument("--tables", type=int, default=400)
    parser.add_argument("--draws", type=int, default=199)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--spare", type=int, nargs="*", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--huber", type=float, nargs="*", default=[0.0, 1e-3])
    parser.add_argument("--uneven", action="store_true", help="noise of 0.3 to 3%%")
    parser.add_argument("--designs", nargs="*", default=["grid", "random"])
    ask = parser.parse_args()
    print(f"nominal {LEVEL:.0%}, {ask.tables} tables a cell, {ask.draws} draws")
    print(
        "law         design  spare  loss          noise   given  usable  lowest  highest  "
        "prediction  verdict"
    )
    with ProcessPoolExecutor(ask.workers) as pool:
        for law, huber, design in itertools.product(ask.laws, ask.huber, ask.designs):
            two = len(kleiber.laws.catalogue()[law].variables) == 2
            if design == "grid" and not two:
                continue
            nine = 9 - len(kleiber.laws.catalogue()[law].params)
            for spare in [nine] if design == "grid" else ask.spare:
                report(pool, Cell(law, design, spare, huber, ask.uneven), ask)


if __name__ == "__main__":
    main()
