"""Lottery tickets against numbers found independently, and fits by another route.

The table of tickets and the constants come from a note of 2026 whose author used another
quadrature; nets that were trained to the end lie on the same curve.
"""

from __future__ import annotations

import numpy as np
import pytest

from kleiber.systems.lottery_tickets.one_ticket import (
    best_ticket,
    cells_error,
    fit_ticket,
    flat_channel,
    inflection,
    relu_bound,
    silu_derivative,
)
from kleiber.theory import Tickets

TABLE = [  # slope, offset, output, mse: the best offset for the slope
    (1.6, -1.468, 1.98, 4.13e-4),
    (1.2, -1.297, 3.06, 7.95e-5),
    (0.882, -1.184, 5.11, 1.07e-5),
    (0.764, -1.148, 6.58, 3.91e-6),
    (0.6, -1.105, 10.2, 6.75e-7),
]
TRAINED = [  # slope, offset, output, loss: best 10% of 1,000 trained nets of two neurons
    (0.882, -1.18, 5.10, 1.05e-5),
    (0.764, -1.15, 6.57, 3.84e-6),
]
BOUNDS = {2: 1.756e-2, 4: 2.276e-3, 6: 5.92e-4, 8: 2.17e-4, 16: 1.70e-5, 32: 1.20e-6}


@pytest.mark.parametrize(("slope", "offset", "output", "mse"), TABLE)
def test_best_tickets(slope: float, offset: float, output: float, mse: float) -> None:
    found = best_ticket(slope)
    assert found.offset == pytest.approx(offset, abs=6e-4)
    assert found.output == pytest.approx(output, rel=4e-3)
    assert found.mse == pytest.approx(mse, rel=5e-3)


@pytest.mark.parametrize(("slope", "offset", "output", "loss"), TRAINED)
def test_trained_nets_lie_on_the_curve(
    slope: float, offset: float, output: float, loss: float
) -> None:
    found = best_ticket(slope)
    assert found.offset == pytest.approx(offset, abs=6e-3)
    assert (found.output, found.mse) == pytest.approx((output, loss), rel=0.02)


def test_constants_of_the_channel() -> None:
    assert inflection() == pytest.approx(-1.0320, abs=1e-4)
    assert silu_derivative(inflection(), 2) == pytest.approx(0.2925, abs=5e-5)
    assert [silu_derivative(0.0, k) for k in (2, 4)] == pytest.approx([0.5, -0.5], abs=1e-15)
    assert flat_channel(1.0) == pytest.approx(7.4e-3, rel=0.01)


def test_the_channel_is_the_limit_of_the_best_tickets() -> None:
    gaps = []
    for slope in (0.4, 0.2, 0.1):
        found = best_ticket(slope)
        gaps.append(abs(found.mse / float(flat_channel(found.output)) - 1))
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]  # of second order in the slope
    assert gaps[2] < 1e-4


def test_without_offset_the_error_falls_as_the_fourth_power() -> None:
    exact = (128 / 35) ** 2 / 9 / 144
    for slope in (0.2, 0.1, 0.05):
        found = fit_ticket(slope, 0.0)
        assert found.mse / slope**4 / exact == pytest.approx(1, abs=0.6 * slope**2)
        assert found.output * slope**2 / 2 == pytest.approx(1, abs=0.3 * slope**2)
    assert (128 / 35) ** 2 / 9 / 144 == pytest.approx(0.01032, rel=1e-3)


@pytest.mark.parametrize("width", BOUNDS)
def test_the_relu_bound(width: int) -> None:
    assert relu_bound(width) == pytest.approx(BOUNDS[width], rel=2e-3)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_least_squares_on_even_knots_attains_the_bound(width: int) -> None:
    x, weights = np.polynomial.legendre.leggauss(8)
    ends = np.linspace(-2, 2, width + 2)
    x = ((ends[1:] + ends[:-1])[:, None] / 2 + np.diff(ends)[:, None] / 2 * x).ravel()
    w = np.sqrt(np.tile(weights, width + 1) / 2 / (width + 1))
    half = width // 2  # facing either way; a free output bias
    units = [np.maximum(k - x, 0) for k in ends[1 : half + 1]]
    units += [np.maximum(x - k, 0) for k in ends[half + 1 : -1]]
    features = np.stack([*units, np.ones_like(x)], axis=1) * w[:, None]
    fitted = features @ np.linalg.lstsq(features, x**2 * w, rcond=None)[0]
    assert ((fitted - x**2 * w) ** 2).sum() == pytest.approx(float(relu_bound(width)), rel=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_linear_fits_in_cubes(dimension: int) -> None:
    x, weights = np.polynomial.legendre.leggauss(4)
    side = 4 / 3  # 3 cubes along each axis
    mesh = np.meshgrid(*[1.3 + side / 2 * x] * dimension, indexing="ij")
    points = np.stack([item.ravel() for item in mesh], axis=1)
    w = np.ones(1)
    for _ in range(dimension):
        w = np.outer(w, weights / 2).ravel()
    target = (points**2).sum(1)
    features = np.column_stack([points, np.ones(len(points))])
    root = np.sqrt(w)
    fitted = features @ np.linalg.lstsq(features * root[:, None], target * root, rcond=None)[0]
    there = float(cells_error(3**dimension, dimension))
    assert w @ (fitted - target) ** 2 == pytest.approx(there, rel=1e-9)


def test_the_slope_of_the_bound_depends_on_what_is_called_width() -> None:
    width = np.array([4, 6, 8, 12, 16, 24])
    log = np.log(relu_bound(width))
    assert np.polyfit(np.log(width + 1), log, 1)[0] == pytest.approx(-4, rel=1e-12)
    assert -3.7 < np.polyfit(np.log(width), log, 1)[0] < -3.5  # trained nets: -3.53


@pytest.mark.parametrize(
    "theory",
    [
        Tickets(),
        Tickets(bias=0.03),
        Tickets(correlation=0.2),
        Tickets(correlation=-0.06),
        Tickets(bias=0.05, correlation=0.1, tickets=1.0, spread=0.4),
    ],
    ids=str,
)
def test_drawn_nets_follow_the_law(theory: Tickets) -> None:
    seeds = 400
    grid = {"width": [4, 8, 16, 32]}
    drawn = theory.simulate(grid, seeds=seeds)
    for width, expected in theory.solve(grid).select("width", "mse").iter_rows():
        mse = drawn.filter(drawn["width"] == width)["mse"].to_numpy()
        assert abs(mse.mean() - expected) < 4 * mse.std(ddof=1) / np.sqrt(seeds)
