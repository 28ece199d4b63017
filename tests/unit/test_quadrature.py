"""Failure integrals: the band, the table of levels, and their accuracy against finer grids."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from kleiber.maths.slopes import window_slope
from kleiber.systems.hard_tail import band
from kleiber.systems.hard_tail.quadrature import Mixture, PrecisionLaw, failure, tabulate

RNG = np.random.default_rng(0)


def log_failure(
    mixture: Mixture, rho: list[float], k: list[float], refine: float = 1.0
) -> np.ndarray:
    attempts = np.array(k, float)
    levels = tabulate(
        mixture, np.array(rho, float), (attempts.min(), attempts.max()), refine=refine
    )
    return failure(levels, attempts).log_total


def test_the_band_and_its_complement() -> None:
    v, w = np.exp(RNG.uniform(-30, 2, 500)), RNG.uniform(0, 8, 500)
    direct = stats.norm.cdf(v - w) - stats.norm.cdf(-v - w)
    assert np.allclose(band.inside(v, w), direct, atol=1e-15)
    assert np.allclose(band.outside(v, w), 1 - direct, atol=1e-15)
    narrow = 2 * v[v < 1e-9] * stats.norm.pdf(w[v < 1e-9])
    assert np.allclose(band.inside(v[v < 1e-9], w[v < 1e-9]), narrow, rtol=1e-13)


def test_width_and_offset_invert_the_band() -> None:
    lam = np.exp(RNG.uniform(-60, np.log(100), 4000))
    width = band.half_width(lam)
    assert np.allclose(-np.log(band.outside(width, 0 * lam))[lam > 0.5], lam[lam > 0.5], rtol=1e-13)
    assert np.allclose(
        band.inside(width, 0 * lam)[lam < 0.5], -np.expm1(-lam)[lam < 0.5], rtol=1e-13
    )
    v = width * (1 + np.exp(RNG.uniform(-8, 5, lam.size)))
    w = np.sqrt(band.offset(v, lam))
    small = lam < 0.5
    assert np.allclose(band.inside(v, w)[small], -np.expm1(-lam)[small], rtol=1e-12)
    assert np.allclose(-np.log(band.outside(v, w))[~small], lam[~small], rtol=1e-12)
    assert not band.offset(width * 0.9, lam).any()


CASES: list[tuple[PrecisionLaw, float, float]] = [
    ("gamma", 2.05, 0.3),
    ("gamma", 2.5, 1.0),
    ("gamma", 20.0, 0.01),
    ("gamma", 4.0, 5.0),
    ("gamma", 0.5, 1.0),
    ("bounded", 2.5, 0.3),
    ("bounded", 8.0, 3.0),
    ("fixed", 1.0, 0.3),
    ("fixed", 1.0, 8.0),
]


@pytest.mark.parametrize(("law", "tail", "width"), CASES)
def test_a_finer_grid_changes_nothing(law: PrecisionLaw, tail: float, width: float) -> None:
    agree(Mixture(law, tail / 2, width), [0.0, 0.4, 5.0], [1, 30, 1e4])


@pytest.mark.slow
@pytest.mark.parametrize(("law", "tail", "width"), CASES)
def test_a_finer_grid_changes_nothing_far_out(law: PrecisionLaw, tail: float, width: float) -> None:
    attempts = [1, 2, 30, 1e3, 1e6, 1e10, 1e15]
    agree(Mixture(law, tail / 2, width), [0.0, 0.02, 0.4, 1.0, 5.0, 100.0], attempts)


@pytest.mark.long
def test_a_finer_grid_changes_nothing_at_the_corners() -> None:
    agree(Mixture("gamma", 1.025, 0.3), [0.3, 100.0], [1, 1e15])
    agree(Mixture("gamma", 10.0, 3.0), [1.0, 100.0], [1, 1e15])


def agree(mixture: Mixture, rho: list[float], k: list[float]) -> None:
    """Compare with steps that are 1.83 times shorter."""
    coarse, fine = (log_failure(mixture, rho, k, refine) for refine in (1.0, 1.83))
    seen = fine > -300  # fixed precision without bias fails less often than floats can say
    assert np.abs(coarse - fine)[seen].max() < 1e-10


def test_steps_that_are_too_long_are_seen() -> None:
    """The comparison above can fail: half as many nodes are not enough."""
    mixture = Mixture("gamma", 1.25, 1.0)
    coarse, fine = (log_failure(mixture, [0.3, 3.0], [10, 1000], refine) for refine in (0.4, 1.0))
    assert np.abs(coarse - fine).max() > 1e-8


@pytest.mark.parametrize("law", ["gamma", "bounded", "fixed"])
def test_failure_is_what_brute_force_says(law: PrecisionLaw) -> None:
    """Midpoints of the precision, a fine grid of the bias, and the plain formula."""
    shape, width, rho = 1.7, 0.8, 0.9
    s = (np.arange(2000) + 0.5) / 2000
    u, often = s**3, 3 * s**2  # more midpoints where cases are hard
    t = {
        "gamma": stats.gamma.ppf(u, shape),
        "bounded": u ** (1 / shape),
        "fixed": np.ones(2000),
    }[law][:, None]
    g = np.arange(0.01, 9, 0.02)
    weight = 0.04 * stats.norm.pdf(g)
    hit = stats.norm.cdf((width - rho * g) * t**0.5) - stats.norm.cdf((-width - rho * g) * t**0.5)
    k = [1.0, 3.0, 20.0]
    brute = np.array([often @ ((1 - hit) ** each @ weight) / 2000 for each in k])
    found = np.exp(log_failure(Mixture(law, shape, width), [rho], k)[0])
    assert np.abs(found / brute - 1).max() < 3e-4


def test_exponents_are_slopes() -> None:
    k = np.geomspace(5, 1e4, 200)
    for law in ("gamma", "bounded", "fixed"):
        levels = tabulate(Mixture(law, 1.25, 0.3), np.array([0.3, 1.0, 4.0]), (5, 1e4))
        found = failure(levels, k)
        slopes = -np.gradient(found.log_total, np.log(k), axis=-1)
        error = np.abs(slopes - found.exponent)[:, 1:-1]
        assert (error < 2e-3 * (0.1 + found.exponent[:, 1:-1])).all()
        whole = np.logaddexp(found.log_intrinsic, found.log_biased)
        assert np.allclose(whole, found.log_total, rtol=1e-12)


def test_the_intrinsic_tail_is_a_power() -> None:
    for tail in (2.05, 6.0, 20.0):
        c = np.sqrt(2 / np.pi) * 0.3
        prefactor = np.log(2) + gammaln(tail) - gammaln(tail / 2) - tail * np.log(c)
        got = log_failure(Mixture("gamma", tail / 2, 0.3), [0.0], [1e10])[0, 0]
        assert got == pytest.approx(prefactor - tail * np.log(1e10), abs=1e-6)


def test_fixed_precision_without_bias_is_geometric() -> None:
    miss = 2 * stats.norm.sf(0.3)
    got = log_failure(Mixture("fixed", 1.0, 0.3), [0.0], [1, 7, 1000])[0]
    assert np.allclose(got, np.array([1, 7, 1000]) * np.log(miss), rtol=1e-13)


def test_slopes() -> None:
    x = np.log(np.geomspace(1, 100, 7))
    assert window_slope(x, 3 - 0.7 * x) == pytest.approx(-0.7)
    assert np.allclose(window_slope(x, np.stack([2 * x, -x])), [2, -1])
    with pytest.raises(ValueError, match="two different"):
        window_slope(np.zeros(3), np.zeros(3))
