"""The mean-field theory in discrete time: against its equations iterated, recursions and draws."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.systems.feature_learning.bins import Modes, bin_modes
from kleiber.systems.feature_learning.dmft import solve_dmft, sweep
from kleiber.systems.feature_learning.draws import simulate
from kleiber.systems.feature_learning.theory import FeatureLearning

SMALL = Modes(
    np.arange(1.0, 7) ** -1.5,
    np.array([1.0, 1, 2, 5, 20, 60]),
    np.arange(1.0, 7) ** -1.7,
    0.0,
)
CASES = [
    FeatureLearning(width=12, batch_size=5, step_size=0.2, richness=0.7, noise=0.3),
    FeatureLearning(width=12, n_data=9, step_size=0.2, richness=0.7, noise=0.3),
    FeatureLearning(width=12, step_size=0.3, richness=2.0),
    FeatureLearning(n_data=9, step_size=0.3, noise=0.1),
    FeatureLearning(batch_size=3, step_size=0.1, richness=1.0),
]


def iterated(model: FeatureLearning, modes: Modes, size: int) -> dict[str, np.ndarray]:
    """The equations of the notes by Picard iteration, whole matrices, mode by mode."""
    one, unit = np.ones((size, size)), np.eye(size)
    s, inverse = np.tril(one, -1), np.linalg.inv
    fresh, eta, gamma = math.isinf(model.n_data), model.step_size, model.richness
    share, per_width = 1 / (model.batch_size if fresh else model.n_data), 1 / model.width
    c0 = c1 = c3 = cw = r = np.zeros((size, size))
    r1 = r3 = unit
    own = np.zeros((modes.lam.size, size))
    weights = list(zip(modes.lam, modes.count, modes.power, strict=True))
    for _ in range(2 * size):
        q = inverse(unit - eta**2 * gamma * s @ np.tril(c3, -1)) @ (eta * s)
        z = q + eta * gamma * np.tril(cw, -1)
        g = z @ r3
        h = [inverse(unit + lam * g @ r1) for lam in modes.lam]
        if not fresh:
            total = sum(m * lam * a @ g for (lam, m, _), a in zip(weights, h, strict=True))
            r1 = inverse(unit + share * total)
        mean = sum(m * lam * r1 @ a @ z for (lam, m, _), a in zip(weights, h, strict=True))
        r3 = inverse(unit + per_width * mean)
        c0, c2 = np.zeros((2, size, size))
        for k, ((lam, m, power), a) in enumerate(zip(weights, h, strict=True)):
            noisy = c1 + (lam * np.diag(own[k]) if fresh else 0)
            signal = power / (m * lam) * one + per_width * z @ c3 @ z.T
            v0 = a @ (signal + lam * share * g @ noisy @ g.T) @ a.T
            own[k] = np.diag(v0)
            c0 = c0 + m * lam * v0
            left = unit - lam * r1 @ a @ g
            carried = lam**2 * r1 @ a @ signal @ a.T @ r1.T
            c2 = c2 + m * (carried + lam * share * left @ noisy @ left.T)
        shifted = c0 + model.noise**2 * one
        c1 = np.diag(np.diag(shifted)) if fresh else r1 @ shifted @ r1.T
        c3 = r3 @ c2 @ r3.T
        cw = q @ c3 @ q.T
    return {"C0": c0, "C1": c1, "C3": c3, "Cw": cw, "R1": r1, "R3": r3 + r}


@pytest.mark.parametrize("model", CASES, ids=str)
def test_the_sweep_solves_the_equations(model: FeatureLearning) -> None:
    found, expected = sweep(model, SMALL, 18), iterated(model, SMALL, 18)
    for name, matrix in expected.items():
        np.testing.assert_allclose(found[name], matrix, rtol=1e-9, atol=1e-12, err_msg=name)


def test_lazy_batches_at_infinite_width_are_the_exact_recursion() -> None:
    model = FeatureLearning(source=1.2, batch_size=4, step_size=0.15, modes=20, noise=0.5)
    lam = np.arange(1.0, 21) ** -model.capacity
    power = np.arange(1.0, 21) ** -(model.capacity * model.source + 1) / lam
    found = solve_dmft(model, np.arange(80))
    eta, batch = model.step_size, model.batch_size
    for t in range(80):
        loss = lam @ power
        assert found["loss"][t] == pytest.approx(loss, rel=1e-12)
        power = ((1 - eta * lam) ** 2 + eta**2 * lam**2 / batch) * power
        power += eta**2 / batch * lam * (loss + model.noise**2)


def test_growth_at_infinite_sizes_is_that_of_plain_gradient_descent() -> None:
    """Without width, data or batches the model is w, A on 6 modes, trained here as such."""
    model = FeatureLearning(step_size=0.1, richness=3.0, modes=6)
    lam = np.arange(1.0, 7) ** -model.capacity
    target = np.arange(1.0, 7) ** (-(model.capacity * model.source + 1) / 2) / np.sqrt(lam)
    w, a = np.zeros(6), np.eye(6)
    found = solve_dmft(model, np.arange(60))
    for t in range(60):
        error = target - a.T @ w
        assert found["loss"][t] == pytest.approx(float(lam @ error**2), rel=1e-9)
        assert found["kernel_growth"][t] == pytest.approx(1 + 3.0 * float(w @ w), rel=1e-9)
        w, a = w + 0.1 * a @ (lam * error), a + 0.1 * 3.0 * np.outer(w, lam * error)


def lazy_loss(width: float, time: float) -> float:
    """C0(2t) = sum_k c_k E[exp(-2 S t)]_kk by inverting its deterministic equivalent (Talbot)."""
    k = np.arange(1.0, 1001)
    lam, c, nodes, loss = k**-1.5, k**-1.75, 32, 0.0
    for theta in (np.arange(nodes) + 0.5) * 2 * np.pi / nodes - np.pi:
        z = (
            nodes
            / (2 * time)
            * (0.5017 * theta / np.tan(0.6407 * theta) - 0.6122 + 0.2645j * theta)
        )
        slope = (
            0.5017 / np.tan(0.6407 * theta) - 0.5017 * 0.6407 * theta / np.sin(0.6407 * theta) ** 2
        )
        kappa = z + lam.sum() / width
        for _ in range(200):
            value = kappa * (1 - (lam / (lam + kappa)).sum() / width) - z
            kappa = kappa - value / (1 - (lam**2 / (lam + kappa) ** 2).sum() / width)
        there = (c * kappa / (kappa + lam)).sum() / z
        step = nodes / (2 * time) * (slope + 0.2645j)
        loss += (np.exp(z * 2 * time) * there * step).imag / nodes
    return loss


@pytest.mark.long
def test_lazy_population_descent_is_the_one_point_function_at_twice_the_time() -> None:
    time, off = 12.0, []
    for step_size in (0.2, 0.1):
        model = FeatureLearning(width=40, step_size=step_size, modes=1000)
        last = round(time / step_size)
        found = solve_dmft(model, np.array([last // 3, last]))["loss"]
        off.append(found / [lazy_loss(40, time / 3), lazy_loss(40, time)] - 1)
    assert np.abs(off[1]).max() < 0.01
    np.testing.assert_allclose(off[1], off[0] / 2, atol=1e-3)


@pytest.mark.parametrize("modes", [7, 20, 21, 55, 1000, 10**6, math.inf])
def test_bins_hold_every_mode_and_the_whole_sums(modes: float) -> None:
    model = FeatureLearning(modes=modes)
    bins = bin_modes(model, 30.0)
    last = min(modes, 10**6)
    k = np.arange(1.0, last + 1)
    if modes <= 10**6:
        assert bins.count.sum() == pytest.approx(modes, rel=1e-4)  # weights, exact for lam
        assert bins.count @ bins.lam**2 == pytest.approx((k**-3.0).sum(), rel=1e-6)
        assert bins.count @ bins.lam == pytest.approx((k**-1.5).sum(), rel=1e-9)
        assert bins.power.sum() + bins.rest == pytest.approx((k**-1.75).sum(), rel=1e-9)
    else:
        assert bins.count @ bins.lam == pytest.approx((k**-1.5).sum() + 2 / 10**3, rel=1e-6)
        assert bins.power.sum() + bins.rest == pytest.approx(1.9623195, rel=1e-6)
    assert (np.diff(bins.lam) < 0).all()


def test_finer_bins_change_nothing() -> None:
    model = FeatureLearning(width=64, batch_size=64, step_size=0.2, richness=0.5, modes=1000)
    k = np.arange(1.0, 1001)
    whole = Modes(k**-1.5, np.ones(1000), k**-1.75, 0.0)
    all_modes = np.diagonal(sweep(model, whole, 60)["C0"])
    np.testing.assert_allclose(solve_dmft(model, np.arange(60))["loss"], all_modes, rtol=3e-5)


@pytest.mark.parametrize(
    ("change", "steps", "sentence"),
    [
        ({"depth": 3}, [1], "depth 2"),
        ({"step_size": 0.0}, [1], "step_size above 0"),
        ({}, [-1], "whole numbers from 0"),
        ({}, [10_000], "reaches step"),
    ],
)
def test_what_is_not_covered_is_said(
    change: dict[str, Any], steps: list[int], sentence: str
) -> None:
    model = replace(FeatureLearning(step_size=0.1, width=64), **change)
    with pytest.raises(ValueError, match=sentence):
        solve_dmft(model, np.array(steps))


def compared(model: FeatureLearning, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative deviation of simulated from predicted loss and training loss, and its error."""
    steps = np.array([5, 20, 60, 119])
    drawn = simulate(model, pl.DataFrame({"step": steps}), seeds, 0)
    found = solve_dmft(model, steps)
    off, error = [], []
    for name in ("loss", "train_loss"):
        each = drawn[name].to_numpy().reshape(seeds, -1) / found[name]
        off.append(each.mean(axis=0) - 1)
        error.append(each.std(axis=0, ddof=1) / np.sqrt(seeds))
    return np.concatenate(off), np.concatenate(error)


NOTES = [  # check 8
    FeatureLearning(width=64, batch_size=64, step_size=0.2, richness=0.5, modes=1000),
    FeatureLearning(width=64, step_size=0.3, richness=0.5, modes=1000),
    FeatureLearning(width=128, n_data=64, step_size=0.2, richness=0.5, modes=1000),
]


@pytest.mark.parametrize("model", NOTES, ids=str)
@pytest.mark.long
def test_theory_agrees_with_48_draws(model: FeatureLearning) -> None:
    off, error = compared(model, 48)
    finite_size = 1 / min(model.width, model.batch_size, model.n_data)
    assert (np.abs(off) < 3 * error + finite_size).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        *NOTES,
        FeatureLearning(width=50, n_data=100, step_size=0.2, richness=1, noise=0.3, source=0.3),
        FeatureLearning(width=40, batch_size=20, step_size=0.1, richness=2, source=1.5, noise=0.5),
        FeatureLearning(capacity=2.0, source=0.7, width=60, batch_size=40, step_size=0.2),
    ],
    ids=str,
)
def test_what_is_left_shrinks_as_sizes_double(model: FeatureLearning) -> None:
    """At four times the sizes the mean is off by a quarter of before, to 3 standard errors."""

    model = replace(model, modes=math.inf)

    def grown(size: float) -> float:
        return 4 * size if math.isfinite(size) else size

    larger = replace(
        model,
        width=grown(model.width),
        n_data=grown(model.n_data),
        batch_size=grown(model.batch_size),
    )
    off, error = compared(model, 600)
    less, small = compared(larger, 150)
    assert (np.abs(less - off / 4) < 3.5 * np.hypot(small, error / 4)).all()
    assert np.abs(less).max() < np.abs(off).max() / 2 + 3 * small.max()
