"""The hard tail against closed forms, mpmath, and numbers that were computed independently.

The reference numbers come from a quadrature of another kind (trapezoid in log precision, Gauss in
the bias) that was itself checked by drawing attempts; they are given to the digits shown.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import stats
from scipy.special import gamma

from kleiber.maths.spectrum import power_law
from kleiber.systems.hard_tail.draws import draw_losses
from kleiber.systems.hard_tail.ridge import deterministic_risk, solve_ridge
from kleiber.theory import HardTail

RHO = [0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 30]
# (tail, tolerance/noise, low, high): F at each rho
WINDOWS = """
2.5 1  10 1e3: 2.426 2.426 2.427 2.428 2.334 1.348 .744 .433 .304 .188 .105 .049 .015
2.5 1  1e2 1e4: 2.492 2.492 2.492 2.492 1.819 .810 .511 .317 .227 .143 .080 .037 .012
2.5 .3 10 1e3: 2.343 2.344 2.348 2.355 1.891 1.207 .754 .459 .328 .207 .118 .055 .017
2.5 .3 1e2 1e4: 2.491 2.491 2.491 2.482 1.180 .692 .455 .292 .214 .139 .081 .039 .012
2.5 .1 10 1e3: 2.052 2.054 2.059 2.067 1.817 1.303 .861 .535 .384 .242 .137 .064 .020
2.5 .1 1e2 1e4: 2.477 2.477 2.478 2.466 1.404 .826 .527 .335 .246 .160 .093 .045 .014
3 1 10 1e3: 2.901 2.901 2.902 2.904 2.268 1.161 .676 .397 .276 .168 .091 .041 .012
3 1 1e2 1e4: 2.990 2.990 2.990 2.990 1.335 .764 .491 .301 .213 .132 .072 .033 .010
4 1 10 1e3: 3.842 3.843 3.845 3.847 1.752 .992 .599 .347 .237 .140 .074 .032 .009
4 1 1e2 1e4: 3.983 3.983 3.983 3.862 1.116 .722 .458 .273 .190 .114 .060 .026 .008
"""


def model(tail: float, tolerance: float, **more: object) -> HardTail:
    return HardTail(tail=tail, tolerance=tolerance, noise=1.0, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("line", WINDOWS.strip().splitlines())
def test_window_exponents(line: str) -> None:
    head, values = line.split(":")
    tail, tolerance, low, high = map(float, head.split())
    found = model(tail, tolerance).window_exponent(RHO, low, high)
    assert np.abs(found - np.array(values.split(), float)).max() < 0.00051


def test_without_bias_one_attempt_is_a_student_t() -> None:
    for tail in (0.5, 2.5, 4.0, 20.0):
        hit = 1 - 2 * stats.t.sf(0.3 * np.sqrt(tail / 2), tail)
        assert model(tail, 0.3).failure(1, 0.0)[0] == pytest.approx(1 - hit, rel=1e-12)
    assert 1 - model(2.5, 0.3).failure(1, 0)[0] == pytest.approx(0.2365650, abs=1e-7)
    assert 1 - model(4, 0.3).failure(1, 0)[0] == pytest.approx(0.3068035, abs=1e-7)


def test_the_intrinsic_prefactor() -> None:
    c = np.sqrt(2 / np.pi) * 0.3
    for tail, k, ratio in (
        (1, 100, 0.98698),
        (2.5, 100, 0.94520),
        (2.5, 1e3, 0.99550),
        (4, 1e4, 0.999),
    ):
        prefactor = 2 * gamma(tail) / (gamma(tail / 2) * c**tail)
        assert model(tail, 0.3).failure(k, 0)[0] * k**tail / prefactor == pytest.approx(
            ratio, abs=1e-5
        )


@pytest.mark.parametrize(
    ("rho", "values"),
    [
        (0.5, [0.797271, 0.161552, 1.46451e-3, 4.07458e-5]),
        (1.0, [0.843647, 0.275077, 0.0278354, 8.32451e-3]),
        (3.0, [0.927601, 0.619443, 0.338796, 0.235376]),
    ],
)
def test_failure_at_a_given_bias(rho: float, values: list[float]) -> None:
    assert np.allclose(model(2.5, 0.3).failure([1, 10, 100, 1000], rho), values, rtol=4e-6)


def attempts_miss(tau: Any, bias: float, tolerance: float, k: float) -> Any:
    """(1 - q)^k at one precision and bias."""
    root = mpmath.sqrt(tau / 2)
    hit = (mpmath.erfc((bias - tolerance) * root) - mpmath.erfc((bias + tolerance) * root)) / 2
    if hit < 1e-8:
        return mpmath.exp(k * mpmath.log1p(-hit))
    miss = mpmath.erfc((tolerance - bias) * root) + mpmath.erfc((tolerance + bias) * root)
    return mpmath.exp(k * mpmath.log(miss / 2))


@pytest.mark.parametrize(
    ("tail", "tolerance", "k"),
    [(2.05, 0.01, 1e8), (2.5, 0.3, 1e15), (4.0, 3.0, 1e3), (20.0, 1.0, 1e6), (0.5, 1.0, 1e4)],
)
def test_no_bias_to_many_digits(tail: float, tolerance: float, k: float) -> None:
    with mpmath.workdps(25):
        a = mpmath.mpf(tail) / 2
        peak = 2 * mpmath.log((1 + tail) / (k * tolerance))
        ends = [peak - 80 / a, *(peak + x for x in mpmath.arange(-9, 12, 0.75))]
        exact = mpmath.quad(
            lambda x: (
                mpmath.exp(a * x - mpmath.exp(x)) * attempts_miss(mpmath.exp(x), 0, tolerance, k)
            ),
            ends,
        ) / mpmath.gamma(a)
    assert model(tail, tolerance).failure(k, 0)[0] == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    ("rho", "tolerance", "k"), [(0.5, 0.3, 1e3), (2.0, 1.0, 1e12), (50, 0.1, 7)]
)
def test_fixed_precision_to_many_digits(rho: float, tolerance: float, k: float) -> None:
    with mpmath.workdps(25):
        exact: Any = mpmath.quad(
            lambda g: mpmath.npdf(g) * 2 * attempts_miss(mpmath.mpf(1), rho * g, tolerance, k),
            [x / rho for x in np.arange(0, 11, 0.5)] + [11 / rho + 12],
        )
    found = model(2.5, tolerance, precision="fixed").failure(k, rho)[0]
    assert found == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("tail", "tolerance", "rho", "k"), [(2.5, 1.0, 0.7, 20.0)])
def test_both_integrals_to_many_digits(tail: float, tolerance: float, rho: float, k: float) -> None:
    with mpmath.workdps(14):
        a = mpmath.mpf(tail) / 2

        def at_bias(g: Any) -> Any:
            return mpmath.quad(
                lambda x: (
                    mpmath.exp(a * x - mpmath.exp(x))
                    * attempts_miss(mpmath.exp(x), rho * g, tolerance, k)
                ),
                [-30, -14, -8, -5, -3, -1, 0, 1, 2, 3, 4],
            )

        exact: Any = mpmath.quad(lambda g: 2 * mpmath.npdf(g) * at_bias(g), [0, 1, 2, 3, 4, 6, 8])
        exact /= mpmath.gamma(a)
    assert model(tail, tolerance).failure(k, rho)[0] == pytest.approx(float(exact), rel=1e-11)


def test_many_attempts_with_unbounded_precision() -> None:
    """The bias tail falls more slowly than any power, near its asymptotic form."""
    lid = model(2.5, 0.01)
    rho = np.array([0.5, 1.0, 2.0])
    table = lid.solve({"rho": rho, "k": [1e8, 1e15]})
    there = table.filter(table["k"] == 1e8)
    assert np.allclose(there["failure"], [3.815e-7, 7.618e-4, 3.152e-2], rtol=2e-4)
    assert np.allclose(there["local_exponent"], [0.528, 0.261, 0.128], atol=0.01)
    for k, ratios in ((1e8, [1.22, 1.09, 1.09]), (1e15, [1.11, 1.05, 1.07])):
        t = 20 / rho**2
        for _ in range(100):
            t = (np.log(k * np.sqrt(2 / np.pi) * 0.01 * t**0.25) + 0.577) / rho**2
        form = t ** (1.25 / 2 - 0.5) * np.exp(-2 * np.sqrt(t)) / gamma(1.25)
        part = table.filter(table["k"] == k)
        assert np.allclose(part["bias"] / form, ratios, atol=0.006)
    slopes = [lid.window_exponent(2.0, low, 100 * low)[0] for low in 10.0 ** np.arange(1, 13, 2)]
    assert (np.diff(slopes) < 0).all()


def test_many_attempts_with_bounded_precision() -> None:
    """Two powers: beta, or 1/rho^2 if that is smaller."""
    table = model(2.5, 0.3, precision="bounded").solve(
        {"rho": [0.4, 0.6, 0.8, 1.0, 1.5], "k": 1e12}
    )
    assert np.allclose(table["local_exponent"], [2.5, 2.5, 1.66, 1.08, 0.507], atol=0.006)


def test_many_attempts_with_fixed_precision() -> None:
    """The exponent nears 1/rho^2 from above, as (1 + 1/(2 m))/rho^2."""
    lid = model(2.5, 0.1, precision="fixed")
    found = lid.solve({"rho": [1.0, 2.0], "k": [1e3, 1e7, 1e15]})["local_exponent"].to_numpy()
    assert np.allclose(found[[1, 4]], [1.039, 0.281], atol=1e-3)
    assert np.allclose(found[[0, 3]], [1.128, 0.332], atol=0.02)  # that over a decade, it seems
    m = np.log(1e15 * np.sqrt(2 / np.pi) * 0.1) / np.array([1, 4])
    assert np.allclose(found[[2, 5]], (1 + 0.5 / m) / np.array([1, 4]), rtol=0.01)


def test_the_crossover() -> None:
    lid = model(2.5, 0.01)
    few, many = lid.crossover([0.5, 0.2])
    assert 1e3 < few < 1e4
    assert 1e9 < many < 1e10


def test_training_exponents() -> None:
    n = np.geomspace(30, 1000, 5)
    spectrum = power_law(200_000, 2.0)
    for source, slope in ((1.5, 0.51), (2.0, 0.99), (7.0, 3.98)):
        power = power_law(200_000, source)
        loss = deterministic_risk(spectrum, power / spectrum, n, 0.0, 0.0).loss
        assert -np.polyfit(np.log(n), np.log(loss), 1)[0] == pytest.approx(slope, abs=0.011)


def test_ordinary_least_squares_has_its_exact_mean() -> None:
    """2 sigma^2/(beta - 2) d/(N - d - 1), and within 2% in 600 data sets."""
    lid = HardTail(tail=8.0, noise=1.0, tolerance=1.0, dimension=50, ridge=0.0)
    n = np.array([100, 200])
    exact = 2 / 6 * 50 / (n - 51)
    assert np.allclose(lid.loss(n), exact, rtol=1e-12)
    rng = np.random.default_rng(1)
    for size, mean in zip(n, exact, strict=True):
        x = rng.standard_normal((600, size, 50))
        noise = rng.standard_normal((600, size)) / np.sqrt(rng.standard_gamma(4, (600, size)))
        loss = (solve_ridge(x, noise[..., None], 0.0)[..., 0] ** 2).sum(axis=1)
        assert loss.mean() == pytest.approx(mean, rel=0.02)


def test_the_peak_needs_noise_that_can_be_seen() -> None:
    n = np.arange(60.0, 160.0)
    faint = HardTail().loss(n)
    assert (np.diff(faint[n < 100]) < 0).all()
    assert faint[n == 100] < 2 * faint[n == 99]  # of the mean: most training sets have no peak
    loud = HardTail(noise=1e-1, tolerance=1e-1).loss(n)
    assert abs(n[loud.argmax()] - 100) <= 5
    assert loud.max() > 10 * loud[n == 80][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "lid",
    [
        HardTail(),
        HardTail(capacity=0.5, dimension=50, tail=4.0, noise=0.1, tolerance=0.03),
        HardTail(capacity=1.5, dimension=200, noise=0.01, tolerance=0.01, ridge=1e-4),
    ],
)
def test_simulated_heads_follow_the_theory_at_their_own_losses(lid: HardTail) -> None:
    """The mean log ratio of their failures, whatever the dimension, the spectrum and the ridge."""
    n = lid.dimension * np.array([0.5, 2, 5, 15])
    runs = lid.simulate({"n_data": n, "k": [1.0, 10.0, 100.0, 1000.0]}, seeds=4)
    solved = lid.solve(runs.select("rho", "k"))["failure"].to_numpy()
    ratio = np.log(runs["failure"].to_numpy() / solved).reshape(4, -1).mean(axis=1)
    assert np.abs(ratio).max() < 0.02


@pytest.mark.slow
def test_end_to_end() -> None:
    """Medians over 40 training sets of the window exponent, in the bands of 60 other sets."""
    lid = HardTail(signal=1.0)
    n = np.array([50, 67, 144, 211, 309, 453, 663, 970, 1421, 2080, 4459])
    low = [0, 0, 0.09, 0.28, 0.37, 0.50, 0.74, 0.81, 1.72, 2.18, 2.427]
    high = [0.005, 0.005, 0.31, 0.57, 0.83, 1.25, 1.84, 2.33, 2.43, 2.43, 2.429]
    losses = np.array([draw_losses(lid, n, 3, member).loss for member in range(40)])
    median = np.median([lid.window_exponent(np.sqrt(loss) / lid.noise) for loss in losses], axis=0)
    assert (median > np.array(low) - 5e-4).all()
    assert (median < np.array(high) + 5e-4).all()
    centre = [0.219, 0.42, 0.58, 0.85, 1.17, 1.85, 2.35, 2.43, 2.428]
    assert np.abs(median[2:] - centre).max() < 0.3
