"""Covariances against textbook formulas written out here, and what tables cannot tell apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, minimise, pose
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.spread.covariance import CovarianceEstimate, estimate_covariance
from kleiber.law import Law, positive, real
from kleiber.laws import chinchilla, power_law_floor

PLAIN = Noise("linear")


@Law
def line(x, *, a=real(-10, 10), b=real(-10, 10)):
    """A straight line. Gauss 1809."""
    return a + b * x


@Law
def saturating(x, *, a=real(0.1, 10), k=real(0.1, 3)):
    """Rises to a. Nobody 2000."""
    return a * (1 - np.exp(-k * x))


@Law
def doubled(x, *, a=real(-5, 5), b=real(-5, 5), c=real(-5, 5)):
    """One term twice. Nobody 2000."""
    return a * x + b * x + c


def make_line(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and weights, with noise that grows along x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 3, rows)
    return x, 1 + 2 * x + (0.1 + 0.2 * x) * rng.standard_normal(rows), rng.uniform(0.5, 2, rows)


def solve(problem: Problem, start: list[float]) -> np.ndarray:
    """Coordinates of the optimum."""
    found, _ = minimise(problem, problem.to_coordinate(np.array([start])), problem.weights[None])
    assert found.converged[0]
    return found.point[0]


def spread_of_line(
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    noise: Noise = PLAIN,
    rows: int = 40,
) -> tuple[CovarianceEstimate, np.ndarray, np.ndarray, np.ndarray]:
    """The spread, the design matrix, the residuals and the weights."""
    x, y, _ = make_line(rows)
    w = np.ones(rows) if weights is None else weights
    problem = pose(line, noise, {"x": x}, y, w)
    u = solve(problem, [1.0, 2.0])
    design = np.column_stack([np.ones(rows), x])
    return estimate_covariance(problem, u, 1.0, groups), design, design @ u - y, w


def test_classical_is_the_textbook_formula() -> None:
    spread, design, r, _ = spread_of_line()
    x, n = design[:, 1], len(r)
    s2 = (r**2).sum() / (n - 2)
    sxx = ((x - x.mean()) ** 2).sum()
    assert spread.classical[1, 1] == pytest.approx(s2 / sxx, rel=1e-9)
    assert spread.classical[0, 0] == pytest.approx(s2 * (1 / n + x.mean() ** 2 / sxx), rel=1e-9)
    assert spread.classical[0, 1] == pytest.approx(-s2 * x.mean() / sxx, rel=1e-9)


def test_classical_with_weights_is_aitkens() -> None:
    weights = make_line()[2]
    spread, design, r, w = spread_of_line(weights)
    inverse = np.linalg.inv(design.T @ np.diag(w) @ design)
    assert spread.classical == pytest.approx((w * r**2).sum() / (40 - 2) * inverse, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_sandwich_of_rows_is_hc1(weighted: bool) -> None:
    """n/(n-p) A^-1 (sum_i w_i^2 r_i^2 x_i x_i') A^-1 with A = sum_i w_i x_i x_i' (MacKinnon &
    White 1985)."""
    spread, design, r, w = spread_of_line(make_line()[2] if weighted else None)
    bread, meat = np.zeros((2, 2)), np.zeros((2, 2))
    for row, residual, weight in zip(design, r, w, strict=True):
        bread += weight * np.outer(row, row)
        meat += weight**2 * residual**2 * np.outer(row, row)
    inverse = np.linalg.inv(bread)
    assert spread.sandwich == pytest.approx(40 / 38 * inverse @ meat @ inverse, rel=1e-9)


def test_sandwich_of_groups_is_cr1() -> None:
    """g/(g-1) A^-1 (sum_g s_g s_g') A^-1 with s_g the sum of r_i x_i in the group (Liang & Zeger
    1986); groups differ in size and need not be contiguous."""
    groups = np.random.default_rng(1).integers(0, 7, 40)
    spread, design, r, _ = spread_of_line(groups=groups)
    meat = np.zeros((2, 2))
    for g in range(7):
        score = sum(r[i] * design[i] for i in range(40) if groups[i] == g)
        meat += np.outer(score, score)
    inverse = np.linalg.inv(design.T @ design)
    assert spread.sandwich == pytest.approx(7 / 6 * inverse @ meat @ inverse, rel=1e-9)


def test_groups_of_one_row_are_rows() -> None:
    alone, *_ = spread_of_line(groups=np.arange(40))
    rows, *_ = spread_of_line()
    assert alone.sandwich * 39 / 40 == pytest.approx(rows.sandwich * 38 / 40, rel=1e-9)


def test_one_group_has_no_sandwich() -> None:
    spread, *_ = spread_of_line(groups=np.zeros(40, dtype=np.int64))
    assert np.isnan(spread.sandwich).all()
    assert np.isfinite(spread.classical).all()


def test_sandwich_of_huber() -> None:
    """psi clips the residuals, and the curvature is the share of those inside (Huber 1981)."""
    delta = 0.2
    spread, design, r, _ = spread_of_line(noise=Noise("linear", delta))
    psi, inside = np.clip(r, -delta, delta), np.mean(np.abs(r) <= delta)
    assert 0.2 < inside < 0.8
    bread = np.linalg.inv(design.T @ design) / inside
    meat = design.T @ np.diag(psi**2) @ design
    assert spread.sandwich == pytest.approx(40 / 38 * bread @ meat @ bread, rel=1e-9)


def test_rows_of_weight_zero_do_not_count() -> None:
    x, y, w = make_line()
    groups = np.arange(40) // 4
    kept = np.arange(40) % 5 != 0
    kept[:4] = False  # the whole of group 0
    part = pose(line, PLAIN, {"x": x[kept]}, y[kept], w[kept])
    whole = pose(line, PLAIN, {"x": x}, y, np.where(kept, w, 0.0))
    u = solve(part, [1.0, 2.0])
    assert solve(whole, [1.0, 2.0]) == pytest.approx(u, rel=1e-12)
    for by in (None, groups):
        few = estimate_covariance(part, u, 1.0, None if by is None else by[kept])
        all_ = estimate_covariance(whole, u, 1.0, by)
        assert all_.classical == pytest.approx(few.classical, rel=1e-12)
        assert all_.sandwich == pytest.approx(few.sandwich, rel=1e-12)


def numeric_slopes(problem: Problem, u: np.ndarray) -> np.ndarray:
    """Jacobian of the residuals by central differences of the law itself, not of its program."""
    rows = []
    for k in range(len(u)):
        size = 1e-6 * np.eye(len(u))[k]
        ends = [
            problem.law(**problem.columns, **dict(zip(problem.law.params, theta, strict=True)))
            for theta in problem.from_coordinate(np.array([u + size, u - size]))
        ]
        rows.append((np.log(ends[0]) - np.log(ends[1])) / 2e-6)
    return np.array(rows).T


def runs(
    tokens: np.ndarray, params: np.ndarray, *, noise: float = 0.003, seed: int = 0
) -> pl.DataFrame:
    """Runs of the Chinchilla law."""
    rng = np.random.default_rng(seed)
    loss = chinchilla(params, tokens, E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    loss = loss * np.exp(noise * rng.standard_normal(len(params)))
    return pl.DataFrame({"n_params": params, "n_tokens": tokens, "loss": loss})


SIZES = np.geomspace(5e7, 5e9, 40)
SPREAD_TOKENS = np.exp(np.random.default_rng(9).uniform(np.log(1e9), np.log(5e11), 40))


def test_a_curved_law_has_the_covariances_of_its_tangent() -> None:
    table = runs(SPREAD_TOKENS, SIZES)
    columns = {name: table[name].to_numpy() for name in ("n_params", "n_tokens")}
    problem = pose(chinchilla, Noise("log"), columns, table["loss"].to_numpy(), np.ones(40))
    u = solve(problem, [1.8, 480.0, 2100.0, 0.35, 0.37])
    spread = estimate_covariance(problem, u, 1.0, None)
    jac = numeric_slopes(problem, u)
    r = problem.differentiate(u[None], False).residual[0]
    inverse = np.linalg.inv(jac.T @ jac)
    assert spread.classical == pytest.approx((r**2).sum() / 35 * inverse, rel=1e-3)
    meat = 40 / 35 * jac.T @ np.diag(r**2) @ jac
    assert spread.sandwich == pytest.approx(inverse @ meat @ inverse, rel=1e-3)
    scaled = jac / np.linalg.norm(jac, axis=0)
    assert spread.condition == pytest.approx(np.linalg.cond(scaled), rel=1e-4)


def test_parameters_at_a_bound_are_left_out() -> None:
    """With E at its bound the others have the covariance of the law without E."""
    x = np.geomspace(1e2, 1e6, 30)
    y = 5 * x**-0.4 * np.exp(0.01 * np.random.default_rng(2).standard_normal(30))
    whole = pose(power_law_floor, Noise("log"), {"n_data": x}, y, np.ones(30))

    @Law
    def bare(n_data, *, A=positive(1, 10), alpha=positive(0.05, 2)):
        """No floor. Nobody 2000."""
        return A * n_data**-alpha

    part = pose(bare, Noise("log"), {"n_data": x}, y, np.ones(30))
    u = solve(part, [5.0, 0.4])
    few = estimate_covariance(part, u, 1.0, None)
    at = np.array([whole.law.domains["E"].coordinate_near(0.0), *u])
    spread = estimate_covariance(whole, at, 1.0, None, at_bound=(0,))
    assert spread.classical[1:, 1:] == pytest.approx(few.classical, rel=1e-9)
    assert spread.sandwich[1:, 1:] == pytest.approx(few.sandwich, rel=1e-9)
    assert not spread.classical[0].any()
    assert not spread.sandwich[:, 0].any()


def test_units_of_columns_do_not_change_the_condition() -> None:
    x, y, _ = make_line()
    conditions = []
    for size in (1.0, 1e-9, 1e9):
        problem = pose(line, PLAIN, {"x": x * size}, y, np.ones(40))
        conditions.append(estimate_covariance(problem, solve(problem, [1.0, 2 / size]), 1.0, None))
    first, *others = [item.condition for item in conditions]
    assert others == pytest.approx([first, first], rel=1e-6)


def test_an_ill_conditioned_line_keeps_both_covariances() -> None:
    """x far from 0 makes a and b nearly the same direction; both covariances must still agree
    with those computed for centred x and carried over exactly."""
    x, y, _ = make_line()
    shift = 1e7
    problem = pose(line, PLAIN, {"x": x + shift}, y, np.ones(40))
    design = np.column_stack([np.ones(40), x])
    centred = np.linalg.lstsq(design, y)[0]
    u = np.array([centred[0] - shift * centred[1], centred[1]])
    spread = estimate_covariance(problem, u, 1.0, None)
    assert 1e6 < spread.condition < 1e9
    assert spread.undetermined == ()
    inverse = np.linalg.inv(design.T @ design)
    r = design @ centred - y
    meat = 40 / 38 * design.T @ np.diag(r**2) @ design
    assert spread.classical[1, 1] == pytest.approx((r**2).sum() / 38 * inverse[1, 1], rel=1e-6)
    assert spread.sandwich[1, 1] == pytest.approx((inverse @ meat @ inverse)[1, 1], rel=1e-6)


def test_stderr_of_a_fit_is_the_classical_one_for_plain_least_squares() -> None:
    x, y, _ = make_line()
    found = fit(line, pl.DataFrame({"x": x, "loss": y}), noise=PLAIN, draws=0)
    spread, *_ = spread_of_line()
    assert list(found.stderr.values()) == pytest.approx(np.sqrt(np.diag(spread.classical)).tolist())


def named(reason: str, law: Law) -> set[str]:
    """The parameters that the sentence names before 'on this table'."""
    assert "on this table" in reason
    words = reason.partition(" on this table")[0].replace(";", " ").split()
    return {word for word in words if word in law.params}


NOISES = [Noise("log", 1e-3), Noise("log")]


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_the_same_tokens_for_all_sizes(noise: Noise, seed: int) -> None:
    """E, B and beta make one constant: all three are named and nothing else."""
    table = runs(np.full(40, 1e10), SIZES, seed=seed)
    found = fit(chinchilla, table, noise=noise, draws=0, seed=seed)
    assert found.status == Status.FLAT
    assert named(found.reason, chinchilla) == {"E", "B", "beta"}


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_two_numbers_of_tokens(noise: Noise, seed: int) -> None:
    """Two levels hold two numbers; with three parameters for them, at least B and beta are lost."""
    table = runs(np.repeat([1e9, 1e10], 20), np.tile(SIZES[::2], 2), seed=seed)
    found = fit(chinchilla, table, noise=noise, draws=0, seed=seed)
    assert found.status == Status.FLAT
    assert {"B", "beta"} <= named(found.reason, chinchilla) <= {"E", "B", "beta"}


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
@pytest.mark.long
def test_constant_tokens_per_parameter(noise: Noise, seed: int) -> None:
    """Two powers of one variable: the table cannot tell which term is whose."""
    found = fit(chinchilla, runs(20 * SIZES, SIZES, seed=seed), noise=noise, draws=0, seed=seed)
    assert found.status in (Status.FLAT, Status.BOUND_HIT)
    if found.status == Status.FLAT:
        assert named(found.reason, chinchilla) & {"A", "B", "alpha", "beta"}


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_good_table_is_not_flat(noise: Noise, seed: int) -> None:
    found = fit(chinchilla, runs(SPREAD_TOKENS, SIZES, seed=seed), noise=noise, draws=0, seed=seed)
    assert found.status == Status.CONVERGED
    assert found.condition < 1e6


def test_a_term_written_twice() -> None:
    x, y, _ = make_line()
    found = fit(doubled, pl.DataFrame({"x": x, "loss": y}), noise=PLAIN, draws=0)
    assert found.status == Status.FLAT
    assert named(found.reason, doubled) == {"a", "b"}
    assert "trade off" in found.reason


@pytest.mark.parametrize("seed", range(4))
def test_a_parameter_that_ran_off_is_named(seed: int) -> None:
    """All rows lie where the rise is over: k may be anything large. Its Jacobian column is not
    zero, only as small as exp(-k x), so scaling alone would hide it."""
    rng = np.random.default_rng(seed)
    x = np.linspace(8, 20, 30)
    y = 5 + 0.1 * rng.standard_normal(30)
    y[:3] += 0.4  # the first rows lie high: the table wants no rise at all
    table = pl.DataFrame({"x": x, "loss": y})
    problem = pose(saturating, PLAIN, {"x": x}, table["loss"].to_numpy(), np.ones(30))
    mean = float(table["loss"].to_numpy().mean())
    spread = estimate_covariance(problem, np.array([mean, 6.0]), 1.0, None)
    assert spread.condition < 1e3
    assert spread.undetermined == ((1,),)
    found = fit(saturating, table, noise=PLAIN, draws=0, seed=seed)
    assert found.status == Status.FLAT
    assert named(found.reason, saturating) == {"k"}


def test_a_parameter_that_is_truly_zero_is_not_lost() -> None:
    """An offset of 0 with its standard error of 0.02 is determined, whatever its relative error."""
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 41)
    y = 2 * x + 0.1 * rng.standard_normal(41)
    y -= y.mean()
    found = fit(line, pl.DataFrame({"x": x, "loss": y}), noise=PLAIN, draws=0)
    assert found.params["a"] == pytest.approx(0, abs=1e-12)
    assert found.status == Status.CONVERGED


def test_too_few_rows_to_say() -> None:
    """As many rows as parameters leave no variance, and fewer a direction too: no exception."""
    spread, *_ = spread_of_line(rows=2)
    assert np.isnan(spread.classical).all()
    assert np.isnan(spread.sandwich).all()
    assert np.isfinite(spread.condition)
    problem = pose(line, PLAIN, {"x": np.ones(1)}, np.ones(1), np.ones(1))
    spread = estimate_covariance(problem, np.array([0.5, 0.5]), 1.0, None)
    assert np.isnan(spread.sandwich).all()
    assert spread.undetermined == ((0, 1),)
    assert spread.condition > 1e15
