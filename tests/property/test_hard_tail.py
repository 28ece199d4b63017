"""The theory of the hard tail against trained heads, at parameters chosen by nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kleiber.maths.spectrum import power_law
from kleiber.systems.hard_tail import band
from kleiber.systems.hard_tail.draws import draw_losses
from kleiber.systems.hard_tail.ridge import solve_ridge
from kleiber.theory import HardTail

SEEDS = 80
# capacity, tail, noise, dimension, ridge, source, signal, precision
SETS = [
    (0.7, 5.5, 0.3, 40, 1e-6, 0.0, 1.0, "gamma"),
    (1.3, 9.0, 0.05, 60, 1e-4, 0.5, 1.0, "gamma"),
    (0.4, 14.0, 1.0, 30, 1e-2, 0.2, 2.0, "gamma"),
    (2.1, 6.0, 0.2, 25, 1e-8, 1.0, 0.5, "gamma"),
    (1.0, 20.0, 0.5, 50, 0.1, 0.0, 1.0, "gamma"),
    (0.9, 7.0, 0.1, 45, 1e-3, 0.3, 3.0, "bounded"),
    (1.6, 12.0, 2.0, 35, 1e-5, 0.0, 1.0, "bounded"),
    (0.6, 2.5, 0.4, 40, 1e-5, 0.0, 1.0, "fixed"),
    (1.1, 2.2, 0.3, 40, 1e-6, 0.4, 1.0, "gamma"),
    (0.8, 3.0, 0.2, 50, 1e-4, 0.0, 1.5, "gamma"),
    (1.5, 3.7, 1.0, 30, 1e-3, 0.0, 1.0, "bounded"),
]


def build(chosen: tuple[float | str, ...]) -> HardTail:
    names = ("capacity", "tail", "noise", "dimension", "ridge", "source", "signal", "precision")
    made = dict(zip(names, chosen, strict=True))
    return HardTail(tolerance=float(made["noise"]) / 2, **made)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("chosen", SETS, ids=str)
def test_losses_of_trained_heads(chosen: tuple[float | str, ...]) -> None:
    """Beyond the peak, where the theory is exact without a ridge, within 3 standard errors.

    For tail <= 4 the variance of label noise over training sets is infinite; there the loss is
    predicted from each training set's own noise, and medians are compared.
    """
    lid = build(chosen)
    n = lid.dimension * np.array([3, 8])
    runs = [draw_losses(lid, n, 11, member) for member in range(SEEDS)]
    loss = np.array([run.loss for run in runs])
    if lid.tail > 4 or lid.precision == "fixed":
        error = loss.std(axis=0, ddof=1) / np.sqrt(SEEDS)
        assert (np.abs(loss.mean(axis=0) - lid.loss(n)) < 3 * error).all()
        return
    own = np.array([run.label_noise for run in runs])
    bias, slope = lid.loss(n, label_noise=0.0), lid.loss(n, label_noise=1.0)
    ratio = loss / (bias + own * (slope - bias))  # the loss is linear in the noise's variance
    error = np.sqrt(np.pi / 2) * ratio.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    skew = ratio.std(axis=0) ** 2  # mean minus median of a positive variable, at most about this
    assert (np.abs(np.median(ratio, axis=0) - 1) < 3 * error + skew).all()


@pytest.mark.parametrize("chosen", SETS[:1] + SETS[5:6], ids=str)
def test_below_the_peak_the_error_is_one_over_the_size(chosen: tuple[float | str, ...]) -> None:
    """With fewer data than dimensions the theory is a limit; its error falls with the size."""
    lid = build(chosen)
    off = []
    for scale in (1, 4):
        one = HardTail(
            capacity=lid.capacity, tail=lid.tail, noise=lid.noise, tolerance=lid.tolerance,
            dimension=scale * lid.dimension, ridge=lid.ridge, precision=lid.precision,
        )  # fmt: skip
        n = np.array([one.dimension // 2])
        loss = np.array([draw_losses(one, n, 5, member).loss[0] for member in range(SEEDS)])
        theory, error = one.loss(n)[0], loss.std(ddof=1) / np.sqrt(SEEDS)
        off.append((abs(loss.mean() / theory - 1), error / theory))
    assert off[0][0] < 3 * off[0][1] + 4 / lid.dimension
    assert off[1][0] < 3 * off[1][1] + 1 / lid.dimension


@pytest.mark.parametrize("seed", range(3))
def test_heads_tried_on_real_inputs(seed: int) -> None:
    """Train, draw test inputs, take the head's error at each: the failure at that run's rho."""
    rng = np.random.default_rng(seed)
    lid = HardTail(capacity=0.8, tail=3.3, noise=0.2, tolerance=0.15, dimension=20, ridge=1e-6)
    spectrum = power_law(20, 1.8)
    target = rng.standard_normal(20)
    x = rng.standard_normal((90, 20)) * np.sqrt(spectrum)
    noise = lid.noise * rng.standard_normal(90) / np.sqrt(rng.standard_gamma(lid.tail / 2, 90))
    head = solve_ridge(x, (x @ target + noise)[:, None], lid.ridge)[:, 0]
    fresh = rng.standard_normal((200_000, 20)) * np.sqrt(spectrum)
    tau = rng.standard_gamma(lid.tail / 2, 200_000)
    error = np.abs(fresh @ (head - target)) / lid.noise
    hit = band.inside(lid.tolerance / lid.noise * np.sqrt(tau), error * np.sqrt(tau))
    rho = np.sqrt((spectrum * (head - target) ** 2).sum()) / lid.noise
    for k in (1, 10, 60):
        failed = (1 - hit) ** k
        stderr = failed.std() / np.sqrt(failed.size)
        assert abs(failed.mean() - lid.failure(k, rho)[0]) < 4 * stderr


@settings(max_examples=8)
@example(tail=1.0, tolerance=1.0, rho=2.7e-129, precision="gamma")
@example(tail=1.0, tolerance=1.0, rho=5e-324, precision="fixed")
@given(
    tail=st.floats(0.2, 20),
    tolerance=st.floats(1e-3, 10),
    rho=st.floats(0, 100),
    precision=st.sampled_from(["gamma", "bounded", "fixed"]),
)
def test_failure_is_a_probability_that_falls(
    tail: float, tolerance: float, rho: float, precision: str
) -> None:
    lid = HardTail(tail=tail, tolerance=tolerance, noise=1.0, precision=precision)  # pyright: ignore[reportArgumentType]
    k = np.array([1.0, 2.0, 30.0, 1e4, 1e9])
    found = lid.failure(k, rho)
    assert ((found >= 0) & (found < 1)).all()
    assert (np.diff(found) <= 0).all()
    harder = HardTail(tail=tail, tolerance=0.9 * tolerance, noise=1.0, precision=precision)  # pyright: ignore[reportArgumentType]
    assert (harder.failure(k, rho) >= found * (1 - 1e-9)).all()
    assert (lid.failure(k, 1.1 * rho + 1e-3) >= found * (1 - 1e-9)).all()


def test_what_training_does_to_the_window() -> None:
    """The exponent grows as rho falls and ends at the plateau F(0), not at beta; F ~ 1/rho."""
    lid = HardTail(noise=1.0, tolerance=1.0)
    rho = np.geomspace(2, 10, 9)
    slope = np.polyfit(np.log(rho), np.log(lid.window_exponent(rho)), 1)[0]
    assert slope == pytest.approx(-1.13, abs=0.05)
    plateau, over = lid.window_exponent([0.0, 0.4])
    assert plateau == pytest.approx(2.426, abs=1e-3)
    assert 0.001 < over - plateau < 0.015
    short, long_ = lid.window_exponent(0.7, 10, 1e3)[0], lid.window_exponent(0.7, 10, 1e6)[0]
    assert long_ < short
    assert lid.window_exponent(0, 10, 1e6)[0] > plateau
