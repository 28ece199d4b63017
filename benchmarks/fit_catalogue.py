"""Milliseconds of CPU for one bootstrap refit, for every law of the catalogue, and large tables.

Each law is planted (at the middle of its start ranges) on 240 rows with 1% noise and fitted with
Huber 1e-3 on log residuals; timed are refits alone, on the NumPy path and in machine code (made
first where it is not at hand), and as many refits by SciPy's BFGS with exact gradients from the
optimum, in the same process; the ratios are to these. Then two large tables: 100,000 rows with 200
row resamples, and 500 runs of 200 rows with 1,000 resamples of whole runs; time and the process's
peak memory.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fit_catalogue.py [LAW ...]
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace

import numpy as np
import polars as pl
from fit_chinchilla import machine_code
from scipy import optimize

import kleiber
from kleiber.fitting.engine.compiled import make_kernel
from kleiber.fitting.engine.noise import Noise, evaluate_loss
from kleiber.fitting.engine.problem import Problem, pose
from kleiber.fitting.engine.search import descend_fully
from kleiber.fitting.spread.bootstrap import refit
from kleiber.law import Domain, Law

RANGES = {
    "n_params": (1e7, 1e10),
    "n_tokens": (1e9, 1e12),
    "n_data": (1e2, 1e6),
    "n_unique": (1e9, 1e11),
    "step": (1e2, 1e6),
    "k": (1.0, 1e4),
    "width": (8.0, 1e4),
    "norm": (1.0, 1e6),
    "batch_size": (1.0, 1e3),
    "flops": (1e17, 1e22),
    "loss": (1.8, 4.0),
    "n_active": (1e7, 1e9),
}
TASK = {"A": 0.8, "W": 1.5, "T": 10.0, "F": 2.0, "S": 0.5, "alpha": 1.6, "beta": 0.5}
NORMS = {"k1": 3.0, "gamma_1": 0.4, "k2": 5.0, "gamma_2": 0.9, "q1": 0.02, "q2": 300.0}
PLANTED = {  # by the name of a law, or by how the names of several begin
    "bottleneck": {**TASK, "p": 0.6, "q": 0.9, "s": 0.4},
    "broken": {"a": 0.5, "b": 20.0, "c0": 0.4, "c1": 0.2, "d1": 3e3, "f1": 0.3},
    "data_constrained": {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
    "early_norm": NORMS,
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    "m2": {"E": 1.7, "A": 40.0, "alpha": 0.4},
    "m3": {"A": 20.0, "gamma": 1e-4, "alpha": 0.35},
    "m4": {"E": 0.1, "span": 0.9, "A": 30.0, "c": 0.5, "alpha": 1.5},
    "optimal_norm": NORMS,
    "power_law_floor": {"E": 1.7, "A": 40.0, "alpha": 0.4},
    "steps_and_size": {"N_c": 6.5e13, "S_c": 2e3, "alpha_N": 0.077, "alpha_S": 0.76},
    "three_regimes": NORMS,
    "width_crossover": {"E": 1e-3, "at": 24.0, "beta": 1.0, "gap": 3.0},
}


def middle(domain: Domain) -> float:
    """The middle of a start range, in the domain's coordinate."""
    if domain.low is None or domain.high is None:
        return 1.0
    return float(
        domain.from_coordinate(np.mean(domain.to_coordinate(np.array([domain.low, domain.high]))))
    )


def plant(law: Law, rows: int) -> tuple[Problem, np.ndarray]:
    """A planted table of the law, and the coordinates of its fit."""
    rng = np.random.default_rng(0)
    columns = {
        n: np.exp(rng.uniform(np.log(RANGES[n][0]), np.log(RANGES[n][1]), rows))
        for n in law.variables
    }
    chosen = PLANTED.get(law.name, PLANTED.get(law.name.split("_")[0], {}))
    truth = {name: chosen.get(name, middle(domain)) for name, domain in law.domains.items()}
    for k in (2, 3):  # further breaks, further out
        truth |= {n: v for n, v in {f"d{k}": 3e3 * 5**k, f"f{k}": 0.3}.items() if n in truth}
    y = law(**columns, **truth) * np.exp(0.01 * rng.standard_normal(rows))
    problem = pose(law, Noise("log", 1e-3), columns, y, np.ones(rows))
    start = problem.to_coordinate(np.array([[truth[name] for name in law.params]]))
    return problem, descend_fully(problem, start).point


def per_refit(problem: Problem, u: np.ndarray, draws: int) -> tuple[float, float]:
    """Median CPU milliseconds a refit over three runs, and the share of draws that converged."""
    times, share = [], 0.0
    for seed in range(3):
        began = time.process_time()
        rng = np.random.default_rng(seed)
        runs = list(refit(problem, u[None], 1.0, draws=draws, groups=None, rng=rng))
        times.append((time.process_time() - began) / draws * 1e3)
        share = float(np.concatenate([run.converged for run in runs]).mean())
    return float(np.median(times)), share


def baseline(problem: Problem, u: np.ndarray, refits: int) -> float:
    """Median CPU milliseconds of one refit by BFGS with exact gradients from the optimum."""
    rng, times, rows = np.random.default_rng(0), list[float](), len(problem.target)
    for _ in range(refits):
        weights = np.bincount(rng.integers(0, rows, rows), minlength=rows)

        def value(point: np.ndarray, w: np.ndarray = weights) -> tuple[float, np.ndarray]:
            derivatives = problem.differentiate(point[None], False)
            terms = evaluate_loss(problem.noise, derivatives.residual, np.ones(1))
            return float(terms.rho[0] @ w), derivatives.jacobian[0] @ (w * terms.psi[0])

        began = time.process_time()
        with np.errstate(all="ignore"):
            optimize.minimize(value, u, jac=True, method="BFGS", options={"gtol": 1e-9})
        times.append((time.process_time() - began) * 1e3)
    return float(np.median(times))


def report_catalogue(draws: int, chosen: list[str]) -> None:
    """One line per law."""
    entry = machine_code()
    print(
        f"{'law':<23}{'params':>6}{'BFGS ms':>9}{'NumPy ms':>10}{'ratio':>7}"
        f"{'compiled ms':>13}{'ratio':>7}  converged"
    )
    for name, law in kleiber.laws.catalogue().items():
        if chosen and name not in chosen:
            continue
        problem, u = plant(law, 240)
        slow = baseline(problem, u, 25)
        plain, _ = per_refit(problem, u, draws)
        kernel = make_kernel(problem.law, problem.noise, problem.columns, problem.target, entry)
        quick, share = per_refit(replace(problem, kernel=kernel), u, draws)
        print(
            f"{name:<23}{len(law.params):>6}{slow:>9.2f}{plain:>10.3f}{slow / plain:>7.0f}"
            f"{quick:>13.4f}{slow / quick:>7.0f}  {share:.1%}",
            flush=True,
        )


def report_large() -> None:
    """Time and memory of two large tables through the public verb."""
    rng = np.random.default_rng(0)
    law, truth = kleiber.laws.chinchilla, {"E": 1.8, "A": 480.0, "B": 2100.0}
    for rows, groups, draws in ((100_000, 0, 200), (100_000, 500, 1000)):
        columns = {
            n: np.exp(rng.uniform(np.log(RANGES[n][0]), np.log(RANGES[n][1]), rows))
            for n in law.variables
        }
        noise = 0.01 * rng.standard_normal(rows)
        run = np.arange(rows) % max(groups, 1)
        noise += 0.01 * rng.standard_normal(max(groups, 1))[run] if groups else 0.0
        loss = law(**columns, **truth, alpha=0.35, beta=0.37) * np.exp(noise)
        table = pl.DataFrame({**columns, "run": run, "loss": loss})
        began = time.process_time()
        fit = kleiber.fit(law, table, draws=draws, by="run" if groups else None)
        spent = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        what = f"{draws} resamples of {groups} runs" if groups else f"{draws} row resamples"
        low, high = fit.interval("alpha")
        print(
            f"{rows:,} rows, {what}: {spent:.1f} s of CPU, peak {peak:.2f} GB so far, "
            f"alpha {fit.params['alpha']:.4f} [{low:.4f}, {high:.4f}]",
            flush=True,
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("laws", nargs="*", help="only these, and no large tables")
    parser.add_argument("--draws", type=int, default=500)
    ask = parser.parse_args()
    if not ask.laws:
        report_large()
    report_catalogue(ask.draws, ask.laws)


if __name__ == "__main__":
    main()
