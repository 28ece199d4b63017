"""Speed of 4,000 bootstrap refits of Chinchilla's law, as a ratio of CPU times in one process.

Baseline: scipy.optimize.minimize(method="BFGS") with exact hand-written gradients, one start (the
values published by Hoffmann et al., as in Besiroglu et al.'s script), same rows, same objective
(sum of Huber 1e-3 of log loss), with gtol small enough for it to arrive, timed on the first
``--baseline`` draws. Ours: the NumPy path and the compiled path, on all draws. Then, that draws are
true refits: their standard deviations against those of refits converged by other means, and each
objective against the lowest that any method finds for that draw. Last, whole calls of the verb. The
machine code is made first where it is not at hand.

    OPENBLAS_NUM_THREADS=1 python benchmarks/fit_chinchilla.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import minimize

import kleiber
from kleiber.fitting.engine.build import main as build
from kleiber.fitting.engine.compiled import make_kernel
from kleiber.fitting.engine.native import Entry, code_path, find_entry
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, minimise, pose
from kleiber.fitting.engine.search import search
from kleiber.fitting.engine.starts import start_ranges
from kleiber.fitting.spread.bootstrap import refit, resample_weights

DELTA = 1e-3
SEED = 0
PUBLISHED = np.array([1.69, 406.4, 410.7, 0.34, 0.28])  # E, A, B, alpha, beta


def data_folder() -> Path:
    """KLEIBER_DATA, or the shared folder beside the checkout."""
    return Path(os.environ.get("KLEIBER_DATA", Path(__file__).parents[2] / "shared" / "data"))


def read_table() -> pl.DataFrame:
    """The 240 kept points of Besiroglu et al. 2024."""
    return kleiber.read_table(
        data_folder() / "runs" / "chinchilla_epoch.csv",
        rename={"N": "n_params", "D": "n_tokens"},
        where="epoch_kept = true",
    )


def read_problem() -> Problem:
    """Their fit under the field's noise model."""
    table = read_table()
    columns = {name: table[name].to_numpy() for name in ("n_params", "n_tokens")}
    loss = table["loss"].to_numpy()
    return pose(kleiber.laws.chinchilla, Noise("log", DELTA), columns, loss, np.ones(len(loss)))


def baseline_objective(
    x: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray, w: np.ndarray
) -> tuple[float, np.ndarray]:
    """Hoffmann et al. 2022, eq. 3, in (log E, log A, log B, alpha, beta), with its gradient."""
    e, a, b, alpha, beta = x
    terms = np.stack([np.full(len(w), e), a - alpha * log_n, b - beta * log_d])
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    r = top + np.log(total) - log_loss
    size = np.abs(r)
    inside = size <= DELTA
    rho = np.where(inside, 0.5 * r * r, DELTA * (size - 0.5 * DELTA))
    push = w * np.where(inside, r, DELTA * np.sign(r))
    share = parts / total
    gradient = np.array(
        [
            push @ share[0],
            push @ share[1],
            push @ share[2],
            -(push * share[1]) @ log_n,
            -(push * share[2]) @ log_d,
        ]
    )
    return float(w @ rho), gradient


def machine_code() -> Entry:
    """The machine code, made where it is not at hand (half a minute)."""
    if find_entry() is None:
        build(code_path())
    entry = find_entry()
    assert entry is not None
    return entry


def cpu(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median CPU seconds of several runs, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        times.append(time.process_time() - began)
    return float(np.median(times)), result


def run_baseline(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """Each draw by BFGS from the published values; parameters and objective."""
    log_n, log_d = (np.log(problem.columns[n]) for n in ("n_params", "n_tokens"))
    start = np.concatenate([np.log(PUBLISHED[:3]), PUBLISHED[3:]])
    rows = []
    for w in weights:
        kept = w > 0
        given = (log_n[kept], log_d[kept], problem.target[kept], w[kept])
        end = minimize(
            baseline_objective, start, args=given, jac=True, method="BFGS", options={"gtol": 1e-8}
        )
        rows.append(np.concatenate([np.exp(end.x[:3]), end.x[3:], [end.fun]]))
    return np.array(rows)


def run_ours(problem: Problem, u: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """All draws; parameters and objectives."""
    rng = np.random.default_rng(SEED)
    runs = list(refit(problem, u[None], 1.0, draws=draws, groups=None, rng=rng))
    points = np.concatenate([run.point for run in runs])
    return problem.from_coordinate(points), np.concatenate([run.objective for run in runs])


def converged_refits(
    problem: Problem, u: np.ndarray, theta: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each draw again from three other places, to the last digit; the lowest of them."""
    rng = np.random.default_rng(1)
    best_point, best = problem.to_coordinate(theta), np.full(len(theta), np.inf)
    spread = np.array([0.05, 0.5, 0.5, 0.05, 0.05])
    for start in (
        problem.to_coordinate(theta),
        u + 0 * best_point,
        u + spread * rng.normal(size=theta.shape),
    ):
        end, _ = minimise(problem, start, weights, max_iterations=400, tolerance=1e-14)
        lower = end.objective < best
        best_point, best = (
            np.where(lower[:, None], end.point, best_point),
            np.minimum(best, end.objective),
        )
    return problem.from_coordinate(best_point), best


def report_whole_fits(slow: float, draws: int) -> None:
    """Calls of the verb: the second fit of this process, and first fits of fresh processes with
    and without machine code at hand; ``slow`` are the baseline's seconds a refit."""
    table = read_table()
    kleiber.fit("chinchilla", table, draws=draws)
    spent, _ = cpu(lambda: kleiber.fit("chinchilla", table, draws=draws), 5)
    print(
        f"\nwhole fit with {draws} draws, the second of a process: {spent:.3f} s, "
        f"{slow * draws / spent:.0f} times as many refits of the baseline"
    )
    with tempfile.TemporaryDirectory() as empty:
        for name, change in (
            ("NumPy alone", {"KLEIBER_FAST": "0"}),
            ("an empty cache", {"KLEIBER_CACHE": empty}),
            ("machine code at hand", {}),
        ):
            code = f"{Path(__file__).stem}.time_first_fit({draws})"
            seconds = [
                float(subprocess.check_output(
                    [sys.executable, "-c", f"import {Path(__file__).stem}; {code}"],
                    env={**os.environ, **change}, cwd=Path(__file__).parent,
                ))
                for _ in range(3)
            ]  # fmt: skip
            print(f"first fit of a process, {name}: {np.median(seconds):.2f} s")


def time_first_fit(draws: int) -> None:
    """Print the seconds that a fit takes."""
    table = read_table()
    began = time.perf_counter()
    kleiber.fit("chinchilla", table, draws=draws)
    print(time.perf_counter() - began)


def main() -> None:
    """Print the ratios and the checks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--baseline", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    ask = parser.parse_args()
    problem = read_problem()
    y = np.exp(problem.target)
    ranges = start_ranges(problem.law, problem.columns, y)
    search(problem, ranges, 0)  # warm
    spent, best = cpu(lambda: search(problem, ranges, 1), 5)
    found = [search(problem, ranges, seed).objective for seed in range(100)]
    hits = sum(value <= min(found) * (1 + 1e-6) for value in found)
    print(f"start search: {spent * 1e3:.1f} ms of CPU, {hits} of 100 seeds at the best optimum")
    theta = problem.from_coordinate(best.point[None])[0]
    print(f"optimum {best.objective:.8e} at {theta.round(5).tolist()}")

    weights = resample_weights(np.random.default_rng(SEED), ask.draws, len(y), None)
    slow, reference = cpu(lambda: run_baseline(problem, weights[: ask.baseline]), ask.repeats)
    slow /= ask.baseline
    print(f"\nbaseline BFGS, hand-written gradients: {slow * 1e3:.2f} ms a refit")
    began = time.process_time()
    kernel = make_kernel(
        problem.law, problem.noise, problem.columns, problem.target, machine_code()
    )
    fast = replace(problem, kernel=kernel)
    print(f"loading the machine code: {time.process_time() - began:.2f} s, not counted below")
    for name, each in (("NumPy", problem), ("compiled", fast)):
        spent, (params, objective) = cpu(
            lambda each=each: run_ours(each, best.point, ask.draws), ask.repeats
        )
        spent /= ask.draws
        print(
            f"{name:<9}{spent * 1e3:.4f} ms a refit: {slow / spent:.0f} times the baseline's speed"
        )

    report_whole_fits(slow, 2000)
    truth, lowest = converged_refits(problem, best.point, params, weights)
    few = ask.baseline
    lowest[:few] = np.minimum(lowest[:few], reference[:, -1])
    gap = (objective - lowest) / lowest
    share = (gap <= 1e-6).mean()
    print(f"\ndraws within 1e-6 of their own optimum: {share:.2%} (worst {gap.max():.1e})")
    share = (reference[:, -1] / lowest[:few] - 1 <= 1e-6).mean()
    print(f"baseline's draws within 1e-6: {share:.0%}")
    ratio = params.std(axis=0) / truth.std(axis=0)
    low, high = np.percentile(params, [2.5, 97.5], axis=0)
    print("        standard deviation over that of converged refits, and 95% percentiles")
    for k, name in enumerate(problem.law.params):
        print(f"{name:<8}{ratio[k]:.5f}  {low[k]:.5g} to {high[k]:.5g}")


if __name__ == "__main__":
    main()
