"""Batched Levenberg-Marquardt: members do not feel each other, and converged means stationary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from kleiber.fitting.engine.levenberg import Descent, LocalModel, descend, solve_each
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import minimise, pose
from kleiber.laws import broken_1, chinchilla, kaplan, m3

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # residual (m, r), slopes (m, p, r), bends
Residual = Callable[[np.ndarray], Parts]


def least_squares(residual: Residual) -> Callable[[np.ndarray, np.ndarray], LocalModel]:
    """The look of a least-squares problem; members whose residuals are not finite are marked."""

    def evaluate(points: np.ndarray, members: np.ndarray) -> LocalModel:
        with np.errstate(all="ignore"):
            r, jac, bends = residual(points)
            gauss = jac @ jac.transpose(0, 2, 1)
            newton = gauss + np.einsum("mr,mpqr->mpq", r, bends)
            value = 0.5 * (r**2).sum(axis=1)
            gradient = np.einsum("mpr,mr->mp", jac, r)
        bad = ~(np.isfinite(value) & np.isfinite(newton).all(axis=(1, 2)))
        value[bad] = np.inf
        for item in (gradient, gauss, newton):
            item[bad] = 0.0
        return LocalModel(value, gradient, gauss, newton)

    return evaluate


def rosenbrock(u: np.ndarray) -> Parts:
    x, y = u.T
    one, none = np.ones_like(x), np.zeros_like(x)
    r = np.stack([10 * (y - x**2), 1 - x], axis=1)
    jac = np.stack([np.stack([-20 * x, -one], 1), np.stack([10 * one, none], 1)], axis=1)
    bends = np.zeros((len(u), 2, 2, 2))
    bends[:, 0, 0, 0] = -20
    return r, jac, bends


X = np.linspace(0.1, 3, 25)
Y = 2 * np.exp(-1.3 * X) + 0.05 * np.sin(40 * X)


def decay(u: np.ndarray) -> Parts:
    """a exp(-k x) - y: a plateau at large k, no value where k is very negative."""
    a, k = u[:, :1], u[:, 1:]
    e = np.exp(-k * X)
    jac = np.stack([e, -a * X * e], axis=1)
    bends = np.zeros((len(u), 2, 2, len(X)))
    bends[:, 0, 1] = bends[:, 1, 0] = -X * e
    bends[:, 1, 1] = a * X**2 * e
    return a * e - Y, jac, bends


def walled(u: np.ndarray) -> Parts:
    """The decay, with no value where a exceeds 1 (its optimum is near a = 2)."""
    r, jac, bends = decay(u)
    r[u[:, 0] > 1] = np.nan
    return r, jac, bends


SPREAD = np.random.default_rng(0).uniform(-3, 3, size=(60, 2))


def remaining(residual: Residual, found: Descent) -> np.ndarray:
    """Largest cosine between the residuals and a column of the Jacobian, at each end."""
    r, jac, _ = residual(found.point)
    size = np.sqrt((jac**2).sum(axis=2)) * np.sqrt((r**2).sum(axis=1))[:, None]
    return (np.abs(np.einsum("mpr,mr->mp", jac, r)) / np.maximum(size, 1e-300)).max(axis=1)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("residual", [rosenbrock, decay, walled])
@pytest.mark.long
def test_a_batch_is_its_members_one_by_one(residual: Residual, exact: bool) -> None:
    evaluate = least_squares(residual)
    whole = descend(evaluate, SPREAD, exact=exact)
    for i in range(0, len(SPREAD), 3):
        alone = descend(evaluate, SPREAD[[i]], exact=exact)
        assert alone.converged[0] == whole.converged[i]
        assert alone.point[0] == pytest.approx(whole.point[i], rel=1e-9, abs=1e-9)
        assert alone.objective[0] == pytest.approx(whole.objective[i], rel=1e-9, abs=1e-20)


def test_members_keep_their_own_first_damping() -> None:
    evaluate = least_squares(decay)
    damping = np.geomspace(1e-4, 1e6, len(SPREAD))
    whole = descend(evaluate, SPREAD, damping=damping)
    for i in range(0, len(SPREAD), 7):
        alone = descend(evaluate, SPREAD[[i]], damping=float(damping[i]))
        assert alone.point[0] == pytest.approx(whole.point[i], rel=1e-9, abs=1e-9)


def test_look_is_told_which_members_it_sees() -> None:
    """Each member pulls to its own centre; one that is confused with another would end there."""
    centre = np.random.default_rng(1).normal(size=(40, 3))

    def evaluate(points: np.ndarray, members: np.ndarray) -> LocalModel:
        r = points - centre[members]
        one = np.broadcast_to(np.eye(3), (len(points), 3, 3)).copy()
        quartic = r + r**3
        newton = one * (1 + 3 * r**2)[:, None, :]
        value = (r**2 / 2 + r**4 / 4).sum(axis=1)
        return LocalModel(value, quartic, one * (1 + r**2)[:, None, :], newton)

    found = descend(evaluate, np.random.default_rng(2).normal(size=(40, 3)) * 5)
    assert found.converged.all()
    assert found.point == pytest.approx(centre, abs=1e-6)


def test_rosenbrock_is_solved_from_everywhere() -> None:
    found = descend(least_squares(rosenbrock), SPREAD)
    assert found.converged.all()
    assert found.point == pytest.approx(np.ones_like(SPREAD), abs=1e-9)


def test_linear_problems_end_where_lstsq_does() -> None:
    rng = np.random.default_rng(3)
    matrix, right = rng.normal(size=(30, 4)), rng.normal(size=30)
    answer = np.linalg.lstsq(matrix, right)[0]
    bends = np.zeros((4, 4, 30))

    def residual(u: np.ndarray) -> Parts:
        shape = (len(u), 4, 30)
        return (
            u @ matrix.T - right,
            np.broadcast_to(matrix.T, shape),
            np.zeros((len(u), *bends.shape)),
        )

    found = descend(least_squares(residual), rng.normal(size=(5, 4)) * 100, damping=0.0)
    assert found.converged.all()
    assert found.iterations <= 3
    assert found.point == pytest.approx(np.repeat(answer[None], 5, 0), rel=1e-10)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10, 200])
@pytest.mark.parametrize("residual", [rosenbrock, decay, walled])
def test_converged_only_where_stationary(residual: Residual, limit: int) -> None:
    found = descend(least_squares(residual), SPREAD, max_iterations=limit)
    assert found.iterations <= limit
    level = 2e-4 if residual is not rosenbrock else 1.0  # Rosenbrock's residuals go to zero
    assert (remaining(residual, found)[found.converged] < level).all()
    assert (found.decrement[found.converged] <= 1e-8).all()
    if residual is rosenbrock:
        assert found.objective[found.converged].max(initial=0.0) < 1e-20


def test_a_wall_is_not_an_optimum() -> None:
    """Pressed against the end of where it is finite, a descent has not converged."""
    evaluate = least_squares(walled)
    found = descend(evaluate, np.array([[0.5, 1.0], [0.99, 1.3], [-0.5, 0.2]]), max_iterations=2000)
    assert np.isfinite(found.objective).all()
    assert (found.point[:, 0] <= 1).all()
    assert not found.converged.any()
    assert (found.decrement > 1e-3).all()


def test_starts_without_a_value_stay_and_do_not_count() -> None:
    evaluate = least_squares(walled)
    starts = np.array([[2.0, 1.0], [0.5, -900.0], [0.2, 1.0]])
    found = descend(evaluate, starts)
    assert found.objective[:2].tolist() == [np.inf, np.inf]
    assert found.converged[:2].tolist() == [False, False]
    assert found.point[:2] == pytest.approx(starts[:2])
    assert np.isfinite(found.objective[2])


def test_a_start_without_a_value_leaves_the_others_alone() -> None:
    evaluate = least_squares(decay)
    starts = np.array([[1.0, 1.0], [1.0, -900.0], [3.0, 0.5]])
    with_it = descend(evaluate, starts)
    without = descend(evaluate, starts[[0, 2]])
    assert with_it.converged.tolist() == [True, False, True]
    assert with_it.point[[0, 2]] == pytest.approx(without.point, rel=1e-12)


def test_singular_members_do_not_poison_the_others() -> None:
    """Member 0 has two equal columns and member 1 a column of zeros; the others are regular."""
    rng = np.random.default_rng(4)
    matrices = rng.normal(size=(6, 20, 3))
    matrices[0, :, 2] = matrices[0, :, 1]
    matrices[1, :, 0] = 0.0
    right = rng.normal(size=(6, 20))

    def evaluate(points: np.ndarray, members: np.ndarray) -> LocalModel:
        own = matrices[members]
        r = np.einsum("mrp,mp->mr", own, points) - right[members]
        gauss = own.transpose(0, 2, 1) @ own
        return LocalModel(0.5 * (r**2).sum(axis=1), np.einsum("mrp,mr->mp", own, r), gauss, gauss)

    for damping in (0.0, 1e-2):
        found = descend(evaluate, np.zeros((6, 3)), damping=damping)
        assert np.isfinite(found.point).all()
        assert found.converged.all()
        for k in range(6):
            answer = np.linalg.lstsq(matrices[k], right[k])[0]
            best = 0.5 * ((matrices[k] @ answer - right[k]) ** 2).sum()
            assert found.objective[k] == pytest.approx(best, rel=1e-9)
            if k > 1:
                assert found.point[k] == pytest.approx(answer, rel=1e-7)


def test_solve_each_spares_the_regular_systems() -> None:
    matrix = np.array([np.diag([2.0, 4.0]), np.zeros((2, 2)), np.full((2, 2), np.nan), np.eye(2)])
    out = solve_each(matrix, np.ones((4, 2)))
    assert out[[0, 3]] == pytest.approx(np.array([[0.5, 0.25], [1.0, 1.0]]))
    assert np.isnan(out[[1, 2]]).all()


def test_exact_fits_converge() -> None:
    """Where residuals vanish, neither the objective nor its fall says anything; it still ends."""

    def residual(u: np.ndarray) -> Parts:
        r, jac, bends = decay(u)
        return r + Y - 2 * np.exp(-1.3 * X), jac, bends

    found = descend(least_squares(residual), np.array([[1.0, 1.0], [2.5, 2.0], [2.0, 1.3]]))
    assert found.converged.all()
    assert found.point == pytest.approx(np.repeat([[2.0, 1.3]], 3, 0), rel=1e-12)


def test_a_floor_is_never_passed() -> None:
    evaluate = least_squares(decay)
    free = descend(evaluate, np.array([[3.0, 2.0]]))
    high = np.array([-np.inf, free.point[0, 1] + 0.5])
    seen: list[float] = []

    def watched(points: np.ndarray, members: np.ndarray) -> LocalModel:
        seen.extend(points[:, 1])
        return evaluate(points, members)

    held = descend(watched, np.array([[3.0, 4.0]]), floor=high)
    assert min(seen) >= high[1]
    assert held.point[0, 1] == pytest.approx(high[1], abs=1e-4)
    low = np.array([-np.inf, free.point[0, 1] - 0.5])
    assert descend(evaluate, np.array([[3.0, 2.0]]), floor=low).point == pytest.approx(free.point)


def test_a_step_cut_short_at_the_floor_is_no_proof_of_an_optimum() -> None:
    """The undamped step would pass the floor; cut short in one component it leads uphill."""
    bowl, centre = np.array([[1.0, 0.99], [0.99, 1.0]]), np.array([-5.0, 5.0])

    def evaluate(points: np.ndarray, members: np.ndarray) -> LocalModel:
        away = points - centre
        matrix = np.broadcast_to(bowl, (len(points), 2, 2)).copy()
        value = 0.5 * np.einsum("mp,pq,mq->m", away, bowl, away)
        return LocalModel(value, away @ bowl, matrix, matrix)

    found = descend(
        evaluate, np.array([[0.01, 0.3]]), damping=0.0, exact=True, floor=np.array([0.0, -9.0])
    )
    # along the floor the bowl is lowest at 5 - 0.99 * 5
    assert found.point[0] == pytest.approx([0.0, 0.05], abs=1e-3)


def rising(u: np.ndarray) -> Parts:
    """a (1 - exp(-k x)) - y on the six rows of NIST's BoxBOD: a plateau at large k."""
    x = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 10.0])
    a, k = u[:, :1], u[:, 1:]
    e = np.exp(-k * x)
    bends = np.zeros((len(u), 2, 2, 6))
    bends[:, 0, 1] = bends[:, 1, 0] = x * e
    bends[:, 1, 1] = -a * x**2 * e
    r = a * (1 - e) - np.array([109.0, 149.0, 149.0, 191.0, 213.0, 224.0])
    return r, np.stack([1 - e, a * x * e], axis=1), bends


def test_units_keep_a_parameter_from_running_off() -> None:
    """A bold first step leaps onto the plateau; damped by the start's own size none does."""
    evaluate, start = least_squares(rising), np.array([1.0, 1.0])
    damping = np.geomspace(1e-4, 1e4, 9)
    starts = np.repeat(start[None], 9, 0)
    leapt = descend(evaluate, starts, damping=damping)
    held = descend(evaluate, starts, damping=damping, units=start)
    best = 1168.0088766 / 2
    assert (leapt.objective > 8 * best).any()
    assert held.objective == pytest.approx(np.full(9, best), rel=1e-9)


@pytest.mark.parametrize("law", [chinchilla, kaplan, m3, broken_1], ids=lambda law: law.name)
@pytest.mark.parametrize("noise", [Noise("log", 1e-3), Noise("log"), Noise("linear")], ids=str)
def test_refits_of_laws_are_those_of_single_members(law, noise: Noise) -> None:
    """Members with weights of their own end as they would alone, and where BFGS finds no lower."""
    rng = np.random.default_rng(5)
    truth = {
        "chinchilla": {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
        "kaplan": {"N_c": 9e13, "D_c": 5e13, "alpha_N": 0.08, "alpha_D": 0.1},
        "m3": {"A": 5.0, "gamma": 1e-4, "alpha": 0.4},
        "broken_1": {"a": 0.1, "b": 3.0, "c0": 0.05, "c1": 0.4, "d1": 1e4, "f1": 0.3},
    }[law.name]
    ends = {"n_params": (4e7, 1e10), "n_tokens": (1e9, 5e11), "n_data": (1e2, 1e6)}
    columns = {n: np.exp(rng.uniform(*np.log(ends[n]), size=60)) for n in law.variables}
    target = law(**columns, **truth) * np.exp(0.01 * rng.standard_normal(60))
    problem = pose(law, noise, columns, target, np.ones(60))
    point = problem.to_coordinate(np.array([list(truth.values())]))
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=12).astype(float)
    whole, _ = minimise(problem, np.repeat(point, 12, 0), weights, exact=True)
    assert whole.converged.all()
    for k in range(12):
        alone, _ = minimise(problem, point, weights[[k]], exact=True)
        assert alone.objective[0] == pytest.approx(whole.objective[k], rel=1e-9)
        assert alone.point[0] == pytest.approx(whole.point[k], rel=1e-5, abs=1e-7)


def test_descent_is_a_record() -> None:
    found = descend(least_squares(rosenbrock), SPREAD[:2])
    assert replace(found, iterations=0).iterations == 0
    assert optimize.rosen(found.point[0]) < 1e-20
