"""The feature-learning model: what theory costs, beside what simulating it costs.

- curves: the loss at 60 times to 10^9 with infinite sizes, and with a finite width; the mean-field
  theory in discrete time with 63 bins of modes over 120 steps.
- theory against simulation, at equal sizes: seeds are simulated until a standard deviation is
  known, and counted until the mean loss has a standard error of 1% at every time. What simulating
  them costs is divided by the cost of the theory's curve; so is the cost of simulating the model as
  it is written, v0 on all 2,000 modes in every step and batches drawn input by input (at most 300
  steps are taken, the rest counted).
- simulation against its matrix products alone: the same products, at the same shapes and in the
  same blocks, without anything else; and against the three products of the literal model (B'w, B g
  and the update w g' of B, each N x N and by itself).

    OPENBLAS_NUM_THREADS=1 python benchmarks/feature_learning.py
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from kleiber.systems.feature_learning import dmft, draws
from kleiber.systems.feature_learning.bins import bin_modes
from kleiber.theory import FeatureLearning

TIMES = {"time": np.geomspace(1, 1e9, 60)}
ACCURACY = 0.01


def cpu(work: Callable[[], object], repeats: int = 5) -> float:
    """The median CPU time of a call, after one that is not counted."""
    work()
    times = list[float]()
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def curves() -> None:
    """Print the cost of theory curves beside their goals."""
    for model, name, goal in (
        (FeatureLearning(), "infinite sizes, lazy", 0.5),
        (FeatureLearning(richness=1.0), "infinite sizes, rich", 0.5),
        (FeatureLearning(richness=1.0, width=300), "width 300, rich", 0.5),
        (FeatureLearning(richness=1.0, width=300, n_data=600), "width 300, n_data 600, rich", 1.0),
    ):
        seconds = cpu(lambda model=model: model.solve(TIMES))
        print(f"curve to time 1e9, {name}: {seconds:.3f} s (goal {goal} s: {goal / seconds:.1f}x)")
    model = FeatureLearning(width=64, batch_size=64, richness=0.5, step_size=0.2, modes=1300)
    nodes = bin_modes(model, 24.0).lam.size
    for change, name in ((64, "one pass, batch 64"), (math.inf, "population")):
        each = FeatureLearning(
            width=64, batch_size=change, richness=0.5, step_size=0.2, modes=model.modes
        )
        seconds = cpu(lambda each=each: dmft.solve_dmft(each, np.arange(120)))
        print(
            f"mean-field theory, {nodes} nodes, 120 steps, {name}: {seconds:.3f} s "
            f"(goal 3 s: {3 / seconds:.0f}x)"
        )


def against_simulation() -> None:
    """Print how much cheaper theory is than simulation to 1%."""
    print("\ntheory against simulation at equal sizes, for 1% at every time")
    for model, last, solver, seeds in (
        (FeatureLearning(width=128, richness=1.0, step_size=0.05), 20_000, "reduced", 32),
        (FeatureLearning(width=128, step_size=0.2), 20_000, "reduced", 32),
        (FeatureLearning(width=256, richness=1.0, step_size=0.05), 4_000, "reduced", 16),
        (FeatureLearning(width=64, batch_size=64, richness=0.5, step_size=0.2), 119, "dmft", 128),
        (FeatureLearning(width=256, n_data=256, richness=0.5, step_size=0.2), 119, "dmft", 16),
        (FeatureLearning(width=512, richness=0.5, step_size=0.2), 119, "dmft", 8),
    ):
        steps = np.unique(np.round(np.geomspace(5, last, 8)).astype(int))
        grid = pl.DataFrame({"step": steps})
        theory = cpu(lambda m=model, s=solver, g=grid: m.solve(g, solver=s), 3)  # type: ignore[arg-type]
        start = time.process_time()
        drawn = model.simulate(grid, seeds=seeds)["loss"].to_numpy().reshape(seeds, -1)
        each = (time.process_time() - start) / seeds
        spread = drawn.std(axis=0, ddof=1) / drawn.mean(axis=0)
        needed = math.ceil((spread.max() / ACCURACY) ** 2)
        sizes = ", ".join(
            f"{name} {getattr(model, name):g}"
            for name in ("width", "n_data", "batch_size", "richness")
            if np.isfinite(getattr(model, name))
        )
        plain = as_written(model, last)
        print(
            f"  {sizes}, {last} steps, {solver}: theory {theory:.3f} s; {needed} seeds of "
            f"{each:.4f} s: ratio {needed * each / theory:.0f}; as written {plain:.3f} s a seed: "
            f"ratio {needed * plain / theory:.0f}"
        )


def as_written(model: FeatureLearning, steps: int) -> float:
    """CPU seconds of one seed by the equations of the model, with B in the place of A."""
    rng, taken = np.random.default_rng(0), min(steps, 300)
    modes, n = 2000, int(model.width)
    root = np.arange(1.0, modes + 1) ** (-model.capacity / 2)
    target = np.arange(1.0, modes + 1) ** (-(model.capacity * model.source + 1) / 2) / root
    start = time.process_time()
    first, b, w = rng.standard_normal((n, modes)), np.eye(n), np.zeros(n)
    fixed = np.isfinite(model.n_data)
    rows = int(model.n_data) if fixed else 1
    psi = rng.standard_normal((rows, modes)) * root
    begun = time.process_time()
    for _ in range(taken):
        v0 = target - first.T @ (b.T @ w) / n
        if np.isfinite(model.batch_size):
            psi = rng.standard_normal((int(model.batch_size), modes)) * root
        given = fixed or np.isfinite(model.batch_size)
        push = psi.T @ (psi @ v0) / len(psi) if given else root**2 * v0
        pull = first @ push
        moved = w + model.step_size * (b @ pull)
        if model.richness:
            b += (model.step_size * model.richness / n) * np.outer(w, pull)
        w = moved
    now = time.process_time()
    return begun - start + (now - begun) * steps / taken


def products(members: int, n: int, steps: int) -> Callable[[], None]:
    """The matrix products of `draws.descend` for one block, with nothing between."""
    held = draws.BUFFER
    wide, old = np.ones((members, n + held, n)), np.ones((members, held, n))
    w, g = np.ones((2, members, n))

    def work() -> None:
        for t in range(steps):
            some = t % held
            _ = w[:, None] @ wide[:, :n]
            turned = (wide[:, : n + some] @ g[:, :, None])[:, :, 0]
            if some:
                inner = old[:, :some] @ w[:, :, None]
                _ = inner.transpose(0, 2, 1) @ wide[:, n : n + some]
                _ = turned[:, None, n:] @ old[:, :some]
            if some == held - 1:
                _ = old.transpose(0, 2, 1) @ wide[:, n:]

    return work


def literal(members: int, n: int, steps: int) -> Callable[[], None]:
    """B'w, B g and w g' step by step."""
    base, update = np.ones((2, members, n, n))
    w, g = np.ones((2, members, n))

    def work() -> None:
        for _ in range(steps):
            _ = w[:, None] @ base
            _ = base @ g[:, :, None]
            np.multiply(w[:, :, None], g[:, None], out=update)
            np.add(base, update, out=base)

    return work


def train(model: FeatureLearning, block: draws.Block, steps: int) -> Callable[[], None]:
    """The steps of one block as they are simulated."""

    def work() -> None:
        members = range(len(block.systems))
        finite = np.isfinite(model.batch_size)
        fresh = draws.fresh_numbers(model, block, 0, members) if finite else None
        for _ in draws.descend(block, np.array([steps]), fresh):
            pass

    return work


def simulation() -> None:
    """Print the cost of a step beside that of its matrix products."""
    print("\nsimulation, microseconds a seed and step; ratio to its matrix products (goal 2)")
    for n in (32, 64, 128, 256, 512):
        members = max(1, draws.CACHE // (8 * n * n))  # as `simulate` takes
        steps = max(100, 64_000 // n)
        own, bare = (cpu(make(members, n, steps)) for make in (products, literal))
        unit = 1e6 / members / steps
        line = f"  width {n}, {members} seeds: products {own * unit:.2f}, literal {bare * unit:.2f}"
        for batch, name in ((math.inf, "population"), (32, "one pass")):
            model = FeatureLearning(
                width=n, richness=1.0, step_size=0.1, modes=1000, batch_size=batch
            )
            systems = [draws.draw_system(model, 0, i) for i in range(members)]
            block = draws.make_block(model, 0.1, systems)
            took = cpu(train(model, block, steps))
            line += f"; {name} {took * unit:.2f} ({took / own:.2f}, of literal {took / bare:.2f})"
        print(line)


def main() -> None:
    """Print every claim."""
    curves()
    against_simulation()
    simulation()


if __name__ == "__main__":
    main()
