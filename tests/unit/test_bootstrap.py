"""Refits: how tables are resampled or made wild, and that each draw is a refit of its own table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from kleiber import laws
from kleiber.fitting.engine.linear import MAX_STEP, tangent_refits
from kleiber.fitting.engine.noise import Noise, evaluate_loss
from kleiber.fitting.engine.prior import Prior
from kleiber.fitting.engine.problem import Problem, minimise, pose
from kleiber.fitting.spread import bootstrap, wild
from kleiber.fitting.spread.bootstrap import refit, resample_weights
from kleiber.fitting.spread.wild import (
    DOF_PER_UNIT,
    estimate_gradients,
    measure_influence,
    measure_moments,
    normal_factors,
    stretch_residuals,
)
from kleiber.law import Law, real
from kleiber.maths.seeds import stream

LEAST, PLAIN = Noise("log"), Noise("linear")
GROUPS = np.repeat(np.arange(10), 4)[np.random.default_rng(8).permutation(40)]


@Law
def parabola(x: Any, *, a: Any = real(-5, 5), b: Any = real(-5, 5), c: Any = real(-5, 5)) -> Any:
    """A law that is linear in its parameters."""
    return a + b * x + c * x * x


def design(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x, x * x], axis=1)


def bent(rows: int = 40, noise: Noise = PLAIN, weights: np.ndarray | None = None) -> Problem:
    """A noisy parabola."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(-1, 1, rows))
    y = design(x) @ [1.0, 0.5, -0.8] + 0.1 * rng.standard_normal(rows)
    return pose(parabola, noise, {"x": x}, y, np.ones(rows) if weights is None else weights)


def floored(noise: Noise = LEAST, rows: int = 40) -> Problem:
    """A noisy power law with a floor."""
    rng = np.random.default_rng(4)
    x = np.exp(rng.uniform(np.log(1e2), np.log(1e6), rows))
    y = laws.power_law_floor(x, E=1.7, A=40.0, alpha=0.4) * np.exp(0.02 * rng.standard_normal(rows))
    return pose(laws.power_law_floor, noise, {"n_data": x}, y, np.ones(rows))


def optimum(problem: Problem) -> np.ndarray:
    """From the middle of what was planted."""
    start = np.zeros(3) if problem.law.name == "parabola" else np.array([0.5, 3.7, 0.4])
    return minimise(problem, start[None], problem.weights[None], exact=False)[0].point[0]


def draw(problem: Problem, draws: int = 100, **options: Any) -> np.ndarray:
    given = {"groups": None, "rng": stream(0, "resample"), **options}
    runs = list(refit(problem, optimum(problem)[None], 1.0, draws=draws, **given))
    assert all(run.converged.all() for run in runs)
    assert all(run.total == draws for run in runs)
    return np.concatenate([run.point for run in runs])


# How tables are drawn


def test_rows_are_drawn_with_replacement() -> None:
    counts = resample_weights(np.random.default_rng(0), 4000, 30, None)
    assert counts.shape == (4000, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert np.array_equal(counts, np.round(counts))
    # multinomial: mean 1, variance 1 - 1/n; four standard errors over 4000 draws
    assert np.abs(counts.mean(axis=0) - 1).max() < 4 / np.sqrt(4000)
    assert counts.var(axis=0) == pytest.approx(np.full(30, 1 - 1 / 30), abs=0.15)


def test_groups_are_drawn_whole() -> None:
    counts = resample_weights(np.random.default_rng(0), 200, 40, GROUPS)
    for g in range(10):
        assert np.ptp(counts[:, g == GROUPS], axis=1).max() == 0
    first = [int(np.flatnonzero(g == GROUPS)[0]) for g in range(10)]
    assert (counts[:, first].sum(axis=1) == 10).all()
    assert len(np.unique(counts[:, first], axis=0)) > 100


def test_factors_are_one_for_each_row_or_group() -> None:
    factors = normal_factors(np.random.default_rng(0), 20_000, 3, None)
    assert np.abs(factors.mean(axis=0)).max() < 4 / np.sqrt(20_000)
    assert factors.var(axis=0) == pytest.approx(np.ones(3), abs=4 * np.sqrt(2 / 20_000))
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 4 / np.sqrt(20_000)
    together = normal_factors(np.random.default_rng(0), 50, 40, GROUPS)
    for g in range(10):
        assert np.ptp(together[:, g == GROUPS], axis=1).max() == 0


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
def test_wild_tables_have_the_right_mean_and_variance(
    groups: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wild table is the fitted values plus the stretched residuals times factors of mean 0 and
    variance 1: its mean is the fit, its variance the squares of those residuals."""
    problem, seen = bent(), []

    def watch(*given: Any, shift: np.ndarray, **options: Any) -> Any:
        seen.append(shift)
        return minimise(*given, shift=shift, **options)

    u = optimum(problem)
    monkeypatch.setattr(bootstrap, "minimise", watch)
    list(
        refit(
            problem, u[None], 1.0, draws=4000, groups=groups, rng=stream(0, "resample"), wild=True
        )
    )
    fitted = problem.law(**problem.columns, **dict(zip("abc", u, strict=True)))
    tables = problem.target + np.concatenate(seen)
    assert len(tables) == 4000
    stretched = stretch_residuals(problem, u, fitted - problem.target, groups)
    error = np.abs(stretched) / np.sqrt(4000)
    assert (np.abs(tables.mean(axis=0) - fitted) < 5 * error).all()
    assert np.abs(tables.var(axis=0) / stretched**2 - 1).max() < 5 * np.sqrt(2 / 4000)
    if groups is not None:  # rows of a group move together
        moved = (tables - fitted)[:, groups == 3]
        assert np.linalg.matrix_rank(moved) == 1


# Stretching


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
def test_stretched_residuals_vary_as_the_noise(groups: np.ndarray | None, weighted: bool) -> None:
    """HC2 and CR2: with H the hat matrix of a linear law, residuals of even noise (even after
    weighting) have covariance I - H, and (I - H_gg)^(-1/2) makes each group's I again."""
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 40) if weighted else np.ones(40)
    problem = bent(weights=weights)
    root = np.sqrt(weights)
    x = design(problem.columns["x"]) * root[:, None]
    hat = x @ np.linalg.pinv(x)
    u = np.linalg.lstsq(x, root * problem.target, rcond=None)[0]
    kept = np.eye(40) - hat
    stretch = np.stack(
        [root * stretch_residuals(problem, u, column / root, groups) for column in np.eye(40)],
        axis=1,
    )
    got = stretch @ kept @ stretch.T
    for g in np.unique(np.arange(40) if groups is None else groups):
        own = (np.arange(40) if groups is None else groups) == g
        np.testing.assert_allclose(got[np.ix_(own, own)], np.eye(own.sum()), atol=1e-9)


def test_degrees_of_freedom_count_the_rows_that_decide() -> None:
    """A mean of n equal squares has n effective rows; one row alone, or one group, has one."""
    problem = pose(
        Law(lambda x, *, a=real(-1, 1): a + 0 * x),
        PLAIN,
        {"x": np.ones(12)},
        np.arange(12.0),
        np.ones(12),
    )
    even, one = np.tile([1.0, -1.0], 6), np.eye(12)[3]

    def freedom(residual: np.ndarray, groups: np.ndarray | None = None) -> float:
        moments = measure_moments(measure_influence(problem, np.zeros(1), residual, groups))
        return float(
            moments.degrees_of_freedom(np.array([[2.5]]))[0]
        )  # whatever the scale of the quantity

    assert freedom(even) == pytest.approx(DOF_PER_UNIT * 12)
    assert freedom(one) == pytest.approx(DOF_PER_UNIT)
    assert freedom(np.ones(12), np.repeat([0, 1, 2, 3], 3)) == pytest.approx(DOF_PER_UNIT * 4)
    assert freedom(np.zeros(12)) == np.inf


def test_moments_know_every_direction() -> None:
    """The degrees of freedom from moments are those of the units' own parts."""
    rng = np.random.default_rng(0)
    moves, slope = rng.standard_normal((3, 20)), rng.standard_normal((3, 6))
    parts = (slope.T @ moves) ** 2
    wanted = DOF_PER_UNIT * parts.sum(axis=1) ** 2 / (parts**2).sum(axis=1)
    np.testing.assert_allclose(measure_moments(moves).degrees_of_freedom(slope), wanted, rtol=1e-12)
    unit = np.array([[1e-12], [1.0], [1e21]])
    again = measure_moments(moves * unit).degrees_of_freedom(slope / unit)
    np.testing.assert_allclose(again, wanted, rtol=1e-12)


def test_the_slope_of_a_quantity_is_found_from_its_draws() -> None:
    """Up to its length, for any rising function of it, with draws that ran off."""
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((4000, 3)) * [1.0, 0.1, 30.0]
    slope = np.array([[1.0, 0.0], [5.0, 0.0], [-0.02, 1.0]])
    straight = drawn @ slope
    drawn[:2, 0] = [-745.0, 1e9]
    values = np.stack([np.exp(3 * straight[:, 0]), straight[:, 1], np.ones(4000)], axis=1)
    values[5, 0] = np.inf
    got = estimate_gradients(values, drawn) * np.array(
        [[1.0], [0.1], [30.0]]
    )  # in units of the draws
    wanted = slope * np.array([[1.0], [0.1], [30.0]])
    for k in range(2):
        cosine = got[:, k] @ wanted[:, k] / np.linalg.norm(got[:, k]) / np.linalg.norm(wanted[:, k])
        assert cosine > 0.998
    assert np.abs(got[:, 2]).max() < 1e-9
    unit = np.array([1e-15, 1.0, 1e15])
    scaled = estimate_gradients(values[:, :2], drawn * unit) * unit[:, None]
    np.testing.assert_allclose(scaled, estimate_gradients(values[:, :2], drawn), rtol=1e-9)


def test_a_row_that_a_parameter_serves_alone_is_stretched_to_a_limit() -> None:
    x = np.array([0.0] * 9 + [1.0])
    law = Law(lambda x, *, a=real(-1, 1), b=real(-1, 1): a + b * x, "jump", ("x",), {})
    law = Law(law.function)
    problem = pose(law, PLAIN, {"x": x}, np.arange(10.0), np.ones(10))
    residual = np.full(10, 0.5)
    got = stretch_residuals(problem, np.zeros(2), residual, None)
    assert got[-1] == pytest.approx(0.5 / wild.MIN_RESIDUAL_SHARE)
    assert got[:-1] == pytest.approx(np.full(9, 0.5 / np.sqrt(1 - 1 / 9)))


def test_a_parameter_at_its_bound_stretches_nothing() -> None:
    """A floor at zero pulls on no row: residuals are those of the law without it."""
    x = np.geomspace(1, 1e4, 30)
    y = 5e4 * x**-0.3 * np.exp(0.02 * np.random.default_rng(0).standard_normal(30))
    bare = pose(laws.power_law, LEAST, {"n_data": x}, y, np.ones(30))
    u = np.array([np.log(5e4), 0.3])
    residual = bare.differentiate(u[None], False).residual[0]
    law = laws.power_law_floor
    held = pose(law, LEAST, {"n_data": x}, y, np.ones(30))
    floor = law.domains["E"].coordinate_near(0.0)
    got = stretch_residuals(held, np.array([floor, *u]), residual, None)
    np.testing.assert_allclose(got, stretch_residuals(bare, u, residual, None), rtol=1e-12)


def test_rows_of_weight_zero_are_left_alone() -> None:
    weights = np.where(np.arange(40) % 5 == 0, 0.0, 1.0)
    problem = bent(weights=weights)
    few = bent()
    kept = weights > 0
    columns = {"x": few.columns["x"][kept]}
    few = pose(parabola, PLAIN, columns, few.target[kept], np.ones(kept.sum()))
    u = optimum(few)
    residual = problem.differentiate(u[None], False).residual[0]
    for groups in (None, GROUPS):
        part = None if groups is None else groups[kept]
        got = stretch_residuals(problem, u, residual, groups)
        wanted = stretch_residuals(few, u, residual[kept], part)
        np.testing.assert_allclose(got[kept], wanted, rtol=1e-12)
        assert np.isfinite(got).all()


# Draws


BELIEF = Prior(np.array([1]), np.array([0.5]), np.array([0.1]), (False,), 0.01)


@pytest.mark.parametrize("wild", [False, True], ids=["rows", "wild"])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["single", "grouped"])
@pytest.mark.parametrize("prior", [None, BELIEF], ids=["flat", "believed"])
def test_draws_do_not_depend_on_how_the_work_is_cut(
    wild: bool, groups: np.ndarray | None, prior: Prior | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = replace(bent(), prior=prior)
    options: dict[str, Any] = {"groups": groups, "wild": wild}
    whole = draw(problem, rng=stream(5, "resample"), **options)
    monkeypatch.setattr(bootstrap, "CHUNK_SIZE", 9 * 40 * 3)
    cut = draw(problem, rng=stream(5, "resample"), **options)
    np.testing.assert_allclose(cut, whole, rtol=1e-9)
    fewer = draw(problem, draws=30, rng=stream(5, "resample"), **options)
    np.testing.assert_allclose(fewer, whole[:30], rtol=1e-9)
    other = draw(problem, rng=stream(6, "resample"), **options)
    assert not np.isclose(other, whole).any(axis=1).any()


def refit_by_scipy(
    problem: Problem, u: np.ndarray, weights: np.ndarray, inverse: np.ndarray | None = None
) -> np.ndarray:
    """One refit by BFGS on the objective as it is written, from the optimum and, where it is
    given, from the inverse Hessian there."""

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        derivatives = problem.differentiate(point[None], False)
        terms = evaluate_loss(problem.noise, derivatives.residual, np.ones(1))
        return float(terms.rho[0] @ weights), derivatives.jacobian[0] @ (weights * terms.psi[0])

    options: Any = {"gtol": 1e-9, "hess_inv0": inverse}
    found = optimize.minimize(value, u, jac=True, method="BFGS", options=options)
    return found.x


@pytest.mark.parametrize("noise", [LEAST, Noise("log", delta=0.01)], ids=["least", "Huber"])
@pytest.mark.long
def test_standard_deviations_are_those_of_independent_refits(noise: Noise) -> None:
    """Other resamples, refitted by SciPy: the same spread but for the noise of 300 draws each."""
    problem = floored(noise)
    u = optimum(problem)
    ours = draw(problem, draws=300)
    weights = resample_weights(np.random.default_rng(99), 300, 40, None)
    jac = problem.differentiate(u[None], False).jacobian[0]
    inverse = np.linalg.inv(jac @ jac.T)  # where each starts; it may be any positive one
    inverse = (inverse + inverse.T) / 2
    theirs = np.array([refit_by_scipy(problem, u, row, inverse) for row in weights])
    ratio = ours.std(axis=0, ddof=1) / theirs.std(axis=0, ddof=1)
    kurtosis = ((theirs - theirs.mean(axis=0)) ** 4).mean(axis=0) / theirs.var(axis=0) ** 2
    error = np.sqrt(2 * (kurtosis - 1) / (4 * 300))  # of a ratio of two standard deviations
    assert (np.abs(ratio - 1) < 4 * error).all()
    assert (error < 0.1).all()
    middle = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
    assert (middle < 4 * theirs.std(axis=0) * np.sqrt(2 / 300)).all()


def test_a_draw_keeps_the_best_of_its_starts() -> None:
    """Besides the optimum a start in a worse valley, then only that one: the lower end is kept."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 4, 40))
    law = Law(_wave)
    y = np.tanh(2 * (x - 1)) + 0.05 * rng.standard_normal(40)
    problem = pose(law, PLAIN, {"x": x}, y, np.ones(40))
    good = minimise(problem, np.array([[1.0, 2.0]]), problem.weights[None])[0].point[0]
    bad = minimise(problem, np.array([[3.9, -2.0]]), problem.weights[None])[0].point[0]
    assert np.abs(good - bad).max() > 0.5

    def run(*starts: np.ndarray) -> Any:
        given = {"draws": 50, "groups": None, "rng": stream(0, "resample")}
        (found,) = refit(problem, np.stack(starts), 1.0, **given)
        return found

    alone, worse, both = run(good), run(bad), run(bad, good)
    assert (worse.objective > alone.objective * 1.5).all()
    np.testing.assert_allclose(both.objective, alone.objective, rtol=1e-9)
    np.testing.assert_allclose(both.point, alone.point, rtol=1e-6)


def _wave(x: Any, *, at: Any = real(-5, 5), slope: Any = real(-5, 5)) -> Any:
    return np.tanh(slope * (x - at))


# The tangent


def test_tangent_refits_of_a_linear_law_are_exact() -> None:
    problem = bent()
    u = optimum(problem)
    weights = resample_weights(np.random.default_rng(0), 60, 40, None)
    got = tangent_refits(problem, u, 1.0, weights)
    x, y = design(problem.columns["x"]), problem.target
    wanted = np.array([np.linalg.solve((x.T * w) @ x, (x.T * w) @ y) for w in weights])
    assert np.abs(wanted - u).max() < MAX_STEP
    np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_tangent_refits_under_huber_are_nearly_there() -> None:
    """They are starts: never worse than the optimum, and most of the way to the draw's own."""
    problem = bent(noise=Noise("linear", delta=0.05))
    u = optimum(problem)
    weights = resample_weights(np.random.default_rng(0), 60, 40, None)
    found, _ = minimise(problem, np.repeat(u[None], 60, 0), weights)
    assert found.converged.all()

    def value(points: np.ndarray) -> np.ndarray:
        r = points @ design(problem.columns["x"]).T - problem.target
        return (evaluate_loss(problem.noise, r, np.ones(60)).rho * weights).sum(axis=1)

    ends = [tangent_refits(problem, u, 1.0, weights), np.repeat(u[None], 60, 0)]
    left, whole = (value(end) - value(found.point) for end in ends)
    assert (left <= whole).all()
    assert np.quantile(left / whole, 0.9) < 0.02


def test_tangent_refits_stay_near_and_inside_the_domain() -> None:
    """With two rows left, a tangent says little: its steps are cut, and stop short of zero."""
    problem = floored()
    u = optimum(problem)
    weights = np.zeros((40, 40))
    for k in range(40):
        weights[k, [k, (k + 1) % 40, (k + 2) % 40]] = 1.0
    got = tangent_refits(problem, u, 1.0, weights)
    assert np.abs(got - u).max() <= MAX_STEP * (1 + 1e-12)
    assert np.abs(got - u).max() > 0.99 * MAX_STEP
    assert (got[:, 2] >= 0.1 * u[2] * (1 - 1e-12)).all()
