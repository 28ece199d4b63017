"""Failure curves of the hard tail: quadrature against finer grids, and against drawing attempts.

- row: the window exponent F(rho) at 13 values of rho from 15 values of k, in CPU seconds, with the
  largest relative difference of the failures from a grid with steps 2.3 times shorter.
- curve: failure at 33 values of k from 1 to 1e8, against drawing attempts until the last of the k
  has a standard error of 1%. Up to k = 100 the attempts are drawn; beyond, their number is counted
  (mean attempts an instance times 1e4/failure instances) and priced at the measured cost of one.

    OPENBLAS_NUM_THREADS=1 python benchmarks/hard_tail.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from kleiber.systems.hard_tail.quadrature import Mixture, failure, tabulate
from kleiber.theory import HardTail

RHO = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 30])
GOAL_SECONDS, GOAL_ERROR, GOAL_RATIO = 0.1, 1e-10, 1000.0
ACCURACY = 0.01


def cpu(work: Callable[[], object], repeats: int) -> float:
    """The median CPU time of a call."""
    times = list[float]()
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure_row(tail: float, tolerance: float, low: float, high: float) -> tuple[float, float]:
    """CPU seconds of a row, and the largest relative error of its failures."""
    lid = HardTail(tail=tail, tolerance=tolerance, noise=1.0)
    k = np.geomspace(low, high, 15)
    mixture = Mixture("gamma", tail / 2, tolerance)
    logs = [
        failure(tabulate(mixture, RHO, (low, high), refine=refine), k).log_total
        for refine in (1.0, 2.3)
    ]
    seconds = cpu(lambda: lid.window_exponent(RHO, low, high), 9)
    return seconds, float(np.abs(np.expm1(logs[0] - logs[1])).max())


def draw_attempts(
    lid: HardTail, k: int, rho: float, instances: int, rng: np.random.Generator
) -> tuple[int, int]:
    """How many instances fail k attempts, and how many attempts that took."""
    tau = rng.standard_gamma(lid.tail / 2, instances)
    bias, spread = rho * rng.standard_normal(instances), 1 / np.sqrt(tau)
    drawn, width = 0, lid.tolerance / lid.noise
    for _ in range(k):
        drawn += bias.size
        missed = np.abs(bias + spread * rng.standard_normal(bias.size)) > width
        bias, spread = bias[missed], spread[missed]
    return bias.size, drawn


def measure_curve(tail: float, tolerance: float, rho: float) -> None:
    """Print the cost of the whole curve beside that of drawing attempts."""
    lid = HardTail(tail=tail, tolerance=tolerance, noise=1.0)
    k = np.geomspace(1, 1e8, 33)
    ours = cpu(lambda: lid.failure(k, rho), 7)
    rng = np.random.default_rng(0)
    print(f"tail {tail:g}, tolerance {tolerance:g} sigma, rho {rho:g}: 33 failures in {ours:.4f} s")
    fine = np.unique(np.round(np.geomspace(1, 1e8, 4000)))
    curve = lid.failure(fine, rho)
    steps = np.diff(fine)
    mean_attempts = 1 + np.concatenate([[0], np.cumsum(steps * (curve[1:] + curve[:-1]) / 2)])
    price = 0.0
    for last in (10, 100, 10**4, 10**6, 10**8):
        fails = float(lid.failure(last, rho)[0])
        instances = (1 - fails) / fails / ACCURACY**2
        attempts = instances * np.interp(last, fine, mean_attempts)
        if last <= 100:
            size = max(1, round(instances))
            start = time.process_time()
            failed, drawn = draw_attempts(lid, last, rho, size, rng)
            seconds, price = time.process_time() - start, 0.0
            price = seconds / drawn
            note = f"drawn: {failed / size:.3e}, expected {fails:.3e}"
        else:
            seconds = attempts * price
            note = f"counted: {attempts:.1e} attempts for a failure of {fails:.3e}"
        ratio = seconds / ours
        print(f"  to 1% at k = {last:.0e}: {seconds:9.3g} s, ratio {ratio:9.3g}   ({note})")


def main() -> None:
    """Print one line per row, then the curves."""
    print(
        f"goal: a row under {GOAL_SECONDS} s at {GOAL_ERROR:g}; curves {GOAL_RATIO:g} times faster"
    )
    for tail, tolerance, low, high in (
        (2.5, 1.0, 10, 1e3),
        (2.5, 0.1, 1e2, 1e4),
        (4.0, 1.0, 10, 1e3),
        (2.05, 0.3, 1, 1e15),
        (20.0, 1.0, 10, 1e3),
    ):
        seconds, error = measure_row(tail, tolerance, low, high)
        print(
            f"row tail {tail:g}, tolerance {tolerance:g} sigma, k {low:g}..{high:g}: "
            f"{seconds:.4f} s ({GOAL_SECONDS / seconds:.1f} times the goal), error {error:.1e}"
        )
    for rho in (0.5, 1.0, 2.0):
        measure_curve(2.5, 0.3, rho)


if __name__ == "__main__":
    main()
