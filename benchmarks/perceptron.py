"""The perceptron's saddle point: time a point and a curve, against a scalar solver and simulation.

- curve: 60 norms from 1e-2 to 1e2 after a first call, in CPU seconds, and a point of it; a point
  alone; and the same at the corners of what is tested.
- scalar: one point by Brent's method in log delta around Brent's method in log x, each integral by
  fixed Gauss-Legendre panels over t with a root for g at every node; and how far it is from ours.
- simulation: 8 perceptrons of 400 dimensions trained at the same norm, and the error of their mean.

    OPENBLAS_NUM_THREADS=1 python benchmarks/perceptron.py
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from kleiber.systems.implicit_bias.perceptron import flow_curve, master_curve, references
from kleiber.theory import Perceptron

GOAL_POINT, GOAL_CURVE = 0.030, 1.0  # CPU seconds
NORMS = np.geomspace(1e-2, 1e2, 60)
CORNERS = ((0.1, 1e-4), (0.1, 1e4), (5.0, 4.5), (1e6, 1e-4), (1e6, 1e4))
STEPS = (0.02, 0.1, 0.5, 1, 2, 4, 8, 16, 64)


def cpu(work: Callable[[], object], repeats: int) -> float:
    """The median CPU time of a call."""
    times = list[float]()
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def scalar_error(load: float, norm: float) -> float:
    """The error at one norm, by root finding within root finding."""
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def panels(scales: tuple[float, ...], low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        inner = np.outer(scales, [-k for k in STEPS] + list(STEPS)).ravel()
        ends = np.unique([0.0, low, high, *inner[(inner > low) & (inner < high)]])
        half = np.diff(ends)[:, None] / 2
        at = ends[:-1, None] + half * (1 + nodes)
        return at.ravel(), (half * weights).ravel()

    def push(t: np.ndarray, x: float) -> np.ndarray:
        low, high = norm * t, norm * t + 2 * norm * x
        z = np.clip(0.5 * np.log1p(2 * norm * x), low, high)
        for _ in range(200):
            miss = 2 / (1 + np.exp(np.minimum(2 * z, 700)))
            f = z - norm * t - norm * x * miss
            low, high = np.where(f < 0, z, low), np.where(f < 0, high, z)
            new = z - f / (1 + norm * x * miss * (2 - miss))
            new = np.where((new > low) & (new < high), new, (low + high) / 2)
            if np.abs(new - z).max() < 1e-13 * (1 + np.abs(z).max()):
                break
            z = new
        return z / norm - t

    def gauss(t: np.ndarray) -> np.ndarray:
        return np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)

    def susceptibility(delta: float) -> float:
        def excess(log_x: float) -> float:
            x = math.exp(log_x)
            u, du = panels((1.0, 1 / norm / delta, x / delta), -9.0, 9.0)
            mean = (du * gauss(u) * push(delta * u, x)).sum()
            return math.log(load * math.sqrt(2 / math.pi) * mean / math.sqrt(1 - delta**2))

        return math.exp(brentq(excess, -30.0, 60.0, xtol=1e-10))

    def excess(log_delta: float) -> float:
        delta = math.exp(log_delta)
        x = susceptibility(delta)
        t, dt = panels((delta, 1 / norm, x, 1.0), -9 * delta, 9.0)
        seen = gauss(t) * ndtr(t * math.sqrt(1 - delta**2) / delta)
        return math.log(2 * load * (dt * seen * push(t, x) ** 2).sum() / delta**2)

    return math.asin(math.exp(brentq(excess, -12.0, -1e-3, xtol=1e-9))) / math.pi


def main() -> None:
    """Print one line each."""
    theory = Perceptron(load=5.0)
    theory.solve({"norm": NORMS})
    print(f"goal: {1e3 * GOAL_POINT:g} ms a point, {GOAL_CURVE:g} s a curve of {NORMS.size} norms")
    for load in (0.1, 5.0, 1e3, 1e6):
        model = Perceptron(load)
        curve = cpu(lambda model=model: model.solve({"norm": NORMS}), 9)
        print(
            f"curve, load {load:g}: {curve:.4f} s ({GOAL_CURVE / curve:.0f} times the goal), "
            f"{1e3 * curve / NORMS.size:.2f} ms a point"
        )
    for load, norm in CORNERS:
        alone = cpu(lambda a=load, n=norm: Perceptron(a).solve({"norm": n}), 9)
        print(f"point alone, load {load:g}, norm {norm:g}: {1e3 * alone:.2f} ms")
    print(f"optimum, load 5: {1e3 * cpu(theory.optimum, 9):.1f} ms")
    print(f"references, load 5: {1e3 * cpu(lambda: references(5.0), 9):.1f} ms")
    print(f"master curve, 60 points: {1e3 * cpu(lambda: master_curve(NORMS), 9):.1f} ms")
    print(f"flow curve, 60 points: {1e3 * cpu(lambda: flow_curve(NORMS), 5):.1f} ms")
    each = cpu(lambda: theory.solve({"norm": NORMS}), 9) / NORMS.size
    for norm in (0.1, 1.0, 4.5):
        ours, alone = theory.error(norm)[0], cpu(lambda n=norm: theory.error(n), 9)
        value, scalar = scalar_error(5.0, norm), cpu(lambda n=norm: scalar_error(5.0, n), 3)
        print(
            f"scalar, load 5, norm {norm:g}: {1e3 * scalar:.0f} ms, {scalar / alone:.0f} times a "
            f"point alone, {scalar / each:.0f} times one of a curve; differs "
            f"by {value / ours - 1:.0e}"
        )
        drawn = theory.simulate({"norm": norm}, seeds=8)["error"]
        seconds = cpu(lambda n=norm: theory.simulate({"norm": n}, seeds=8), 1)
        error = float(np.std(drawn.to_numpy(), ddof=1)) / math.sqrt(8) / ours
        print(
            f"simulation, 8 x 400 dimensions: {seconds:.2f} s, {seconds / alone:.0f} times a point "
            f"alone, to {100 * error:.1f}%"
        )


if __name__ == "__main__":
    main()
