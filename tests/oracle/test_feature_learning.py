"""The feature-learning theory against literal gradient descent, linear solves and known exponents.

Literal means the model's own update rules: weights w and A, projected gradient, nothing eliminated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.maths.slopes import window_slope
from kleiber.systems.feature_learning.flow import Spectrum, march
from kleiber.theory import FeatureLearning

ALPHA, BETA, GAMMA = 1.5, 0.5, 1.0


def system(rng: np.random.Generator, units: int, modes: int, source: float = BETA) -> Any:
    """lam, w* and A(0)."""
    k = np.arange(1.0, modes + 1)
    return (
        k**-ALPHA,
        np.sqrt(k ** (ALPHA - ALPHA * source - 1)),
        rng.standard_normal((units, modes)),
    )


def literal(lam: Any, target: Any, a0: Any, *, gamma: float, eta: float, steps: int) -> Any:
    """Losses before each step of projected gradient descent on (w, A), and the last w and A."""
    units = len(a0)
    w, a, k0 = np.zeros(units), a0.copy(), a0.T @ a0 / units
    losses = np.empty(steps + 1)
    for t in range(steps + 1):
        error = target - a.T @ w / units
        losses[t] = (lam * error**2).sum()
        pull = lam * error
        w, a = w + eta * a @ pull, a + eta * gamma * np.outer(w, k0 @ pull)
    return losses, w, a


def instance(lam: Any, target: Any, a0: Any) -> Spectrum:
    """The spectrum of one draw of A(0), in the target."""
    root = np.sqrt(lam)
    x, vectors = np.linalg.eigh(root[:, None] * (a0.T @ a0 / len(a0)) * root)
    weight = (vectors.T @ (root * target)) ** 2
    kept = x > 1e-12
    return Spectrum(x[kept], weight[kept], float(weight[~kept].sum()))


def flow_loss(spectrum: Spectrum, gamma: float, times: Any, depth: int = 2) -> Any:
    state = march(spectrum, gamma, depth, float(times.max())).at(times)
    return (state.missing**2) @ spectrum.weight + spectrum.atom


def test_closure_is_literal_descent_up_to_the_step() -> None:
    lam, target, a0 = system(np.random.default_rng(1), 60, 400)
    times = np.array([2.0, 8.0, 20.0])
    exact = flow_loss(instance(lam, target, a0), GAMMA, times)
    errors = []
    for eta in (0.01, 0.0025):
        steps = int(times[-1] / eta)
        losses, w, a = literal(lam, target, a0, gamma=GAMMA, eta=eta, steps=steps)
        found = losses[np.round(times / eta).astype(int)]
        errors.append(np.abs(found / exact - 1).max())
        # conservation: B B' - gamma w w'/N = 1, with A = B A(0)
        b = np.linalg.lstsq(a0.T, a.T, rcond=None)[0].T
        errors.append(np.abs(b @ b.T - GAMMA * np.outer(w, w) / 60 - np.eye(60)).max())
    assert errors[0] < 5e-3
    assert errors[1] < 0.05
    assert 3.2 < errors[0] / errors[2] < 4.8
    assert 3.2 < errors[1] / errors[3] < 4.8


def test_the_renormalised_spectrum_is_the_closure() -> None:
    """The same Euler steps of phi = B'w on N units and of f on the spectrum, to rounding."""
    lam, target, a0 = system(np.random.default_rng(2), 30, 200)
    spectrum, units, eta = instance(lam, target, a0), 30, 0.01
    phi, theta = np.zeros(units), np.zeros(spectrum.x.size)
    for _ in range(1000):
        left = [(lam * (target - a0.T @ phi / units) ** 2).sum()]
        g = a0 @ (lam * (target - a0.T @ phi / units))
        a = (1 + np.sqrt(1 + 4 * GAMMA * (phi @ phi) / units)) / 2
        f = theta
        p = (spectrum.weight * f**2 / spectrum.x).sum()
        same = (1 + np.sqrt(1 + 4 * GAMMA * p)) / 2
        b = GAMMA / same * (spectrum.weight * f * (1 - f)).sum()
        left.append((spectrum.weight * (1 - f) ** 2).sum() + spectrum.atom)
        assert left[0] == pytest.approx(left[1], rel=1e-10)
        phi = phi + eta * (a * g + GAMMA / a * phi * (phi @ g) / units)
        theta = f + eta * (same * spectrum.x * (1 - f) + b * f)


def test_depth_is_that_of_literal_deep_descent() -> None:
    """Three layers w B2 B1 x from identities, against the closure for depth 3."""
    k = np.arange(1.0, 31)
    lam, target = k**-ALPHA, np.sqrt(k ** (ALPHA - ALPHA * BETA - 1))
    exact = flow_loss(Spectrum(lam, lam * target**2), 1.0, np.array([5.0]), depth=3)
    errors = []
    for eta in (0.01, 0.0025):
        w, b1, b2 = np.zeros(30), np.eye(30), np.eye(30)
        for _ in range(int(5 / eta)):
            g = lam * (target - b1.T @ b2.T @ w)
            w, b2, b1 = (
                w + eta * b2 @ b1 @ g,
                b2 + eta * np.outer(w, b1 @ g),
                b1 + eta * np.outer(b2.T @ w, g),
            )
        errors.append(abs((lam * (target - b1.T @ b2.T @ w) ** 2).sum() / exact[0] - 1))
    assert errors[0] < 0.02
    assert 3 < errors[0] / errors[1] < 5


def slope(model: FeatureLearning, low: float, high: float, column: str = "loss") -> float:
    solved = model.solve({"time": np.geomspace(low, high, 31)})
    return -float(
        window_slope(np.log(solved["time"].to_numpy()), np.log(solved[column].to_numpy()))
    )


@pytest.mark.parametrize(
    ("source", "richness", "expected", "within"),
    [(0.5, 0, 0.5, 0.003), (0.5, 10, 2 / 3, 0.005), (1.5, 0, 1.5, 0.005), (1.5, 10, 1.5, 0.005)],
)
def test_time_exponents(source: float, richness: float, expected: float, within: float) -> None:
    model = FeatureLearning(ALPHA, source, richness)
    assert abs(slope(model, 1e4, 1e6) - expected) < within
    if richness:
        growth = -slope(model, 1e4, 1e6, "kernel_growth")
        assert abs(growth - model.exponents()["kernel_growth"]) < 0.005


@pytest.mark.parametrize("source", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("richness", [0.0, 1.0])
def test_time_exponents_over_the_stated_range(source: float, richness: float) -> None:
    for capacity in (1.2, 2.5):
        model = FeatureLearning(capacity, source, richness)
        assert abs(slope(model, 1e6, 1e9) - model.exponents()["time"]) < 0.01


def test_a_small_richness_crosses_over_later() -> None:
    model = FeatureLearning(ALPHA, 0.7, 0.01)
    middle = model.crossover()
    before, after = (
        slope(model, middle / 1e5, middle / 1e4),
        slope(model, middle * 1e8, middle * 1e9),
    )
    rich = model.exponents()["time"]
    assert 0.7 <= before < 0.7 + 0.25 * (rich - 0.7)
    assert rich - 0.1 * (rich - 0.7) < after < rich + 0.01


def test_the_prefactor_of_the_rich_law() -> None:
    model = FeatureLearning(ALPHA, BETA, GAMMA)
    full, form = (
        model.solve({"time": [1e6]}, solver=name)["loss"][0] for name in ("reduced", "limits")
    )
    assert 0.99 < full / form < 1.01


@pytest.mark.parametrize(("source", "wide", "long"), [(0.5, 0.75, 0.75), (2.5, 1.5, 3.0)])
def test_floor_exponents(source: float, wide: float, long: float) -> None:
    sizes = np.geomspace(1e3, 1e6, 4).round()
    for size, column, expected in (("width", "model_floor", wide), ("n_data", "data_floor", long)):
        floors = [
            FeatureLearning(ALPHA, source, **{size: n}).solve({"time": [0.0]})[column][0]
            for n in sizes
        ]
        assert abs(-window_slope(np.log(sizes), np.log(np.array(floors))) - expected) < 0.02


def test_floors_are_those_of_linear_solves() -> None:
    modes, rng = 800, np.random.default_rng(3)
    k = np.arange(1.0, modes + 1)
    root, target = k ** (-ALPHA / 2), np.sqrt(k ** (ALPHA - ALPHA * BETA - 1))
    for width, n_data, noise in (
        (100, np.inf, 0.0),
        (np.inf, 100, 0.3),
        (60, 150, 0.2),
        (150, 60, 0.2),
    ):
        found = []
        for _ in range(16):
            a0 = rng.standard_normal((int(width), modes)) if np.isfinite(width) else None
            if np.isfinite(n_data):
                psi = rng.standard_normal((int(n_data), modes)) * root
                labels = psi @ target + noise * rng.standard_normal(int(n_data))
            else:
                psi, labels = np.diag(root), root * target
            features = psi if a0 is None else psi @ a0.T
            weights = np.linalg.lstsq(features, labels, rcond=None)[0]
            theta = weights if a0 is None else a0.T @ weights
            found.append(((root * (target - theta)) ** 2).sum())
        model = FeatureLearning(
            ALPHA, BETA, 2.0, width=width, n_data=n_data, noise=noise, modes=modes
        )
        solved = model.solve({"time": [1e12]}).row(0, named=True)
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert abs(np.mean(found) - solved["floor"]) < 3 * error + 0.02 * solved["floor"]
        assert solved["loss"] == pytest.approx(solved["floor"], rel=1e-5)


def test_the_end_does_not_depend_on_richness() -> None:
    k = np.arange(1.0, 41)
    lam, target = k**-1.1, np.sqrt(k ** (1.1 - 1.1 * 0.8 - 1))
    a0 = np.random.default_rng(4).standard_normal((5, 40))
    ends = [
        literal(lam, target, a0, gamma=gamma, eta=0.1, steps=4000)[0][-1] for gamma in (0.0, 2.0)
    ]
    assert np.ptp(ends) < 1e-8 * ends[0]
    for sizes in ({"width": 40}, {"width": 50, "n_data": 20, "noise": 0.3}):
        late = [
            FeatureLearning(1.3, 0.6, g, **sizes).solve({"time": [1e10]})["loss"][0]
            for g in (0.0, 3.0)
        ]
        assert late[0] == pytest.approx(late[1], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("richness", [0.0, 1.0])
def test_noise_of_batches_falls_with_its_own_exponent(richness: float) -> None:
    model = FeatureLearning(ALPHA, 2.5, richness, batch_size=1, step_size=0.02)
    assert abs(slope(model, 1e5, 1e7, "batch_part") - 4 / 3) < 0.01


def test_noise_of_batches_multiplies_the_loss_of_hard_lazy_tasks() -> None:
    model = FeatureLearning(ALPHA, BETA, batch_size=1, step_size=0.02)
    solved = model.solve({"time": [1e5, 1e6, 1e7]})
    ratio = solved["loss"] / solved["time_part"]
    assert ratio.to_list() == pytest.approx([1.0268] * 3, abs=3e-4)


@pytest.mark.slow
def test_noise_of_batches_stops_hard_rich_tasks() -> None:
    model = FeatureLearning(ALPHA, BETA, 1.0, batch_size=1, step_size=0.02)
    solved = model.solve({"time": [1e4, 1e6, 1e9]})
    assert solved["loss"][2] == pytest.approx(solved["loss"][1], rel=1e-3)
    assert 0.02 * solved["kernel_growth"][2] * 2.612 / 2 < 1
    finer = replace(model, step_size=0.002).solve({"time": [1e9]})
    assert finer["loss"][0] < solved["loss"][2] / 5


def test_lazy_noise_is_the_exact_recursion() -> None:
    """C_k(t+1) = [(1 - eta lam)^2 + eta^2 lam^2/B] C_k + eta^2 lam sum lam C/B, small eta."""
    k = np.arange(1.0, 201)
    lam, c = k**-ALPHA, k ** (-ALPHA * BETA - 1)
    eta, batch = 0.01, 2
    variance = c / lam
    for _ in range(3000):
        loss = (lam * variance).sum()
        decay = (1 - eta * lam) ** 2 + eta**2 * lam**2 / batch
        variance = decay * variance + eta**2 / batch * lam * loss
    model = FeatureLearning(ALPHA, BETA, batch_size=batch, step_size=eta, modes=200)
    row = model.solve({"time": [30.0]}).row(0, named=True)
    assert row["loss"] == pytest.approx((lam * variance).sum(), rel=1e-3)
    assert row["batch_part"] > 5e-3 * row["loss"]


@pytest.mark.slow
def test_the_lazy_frontier() -> None:
    compute = np.geomspace(1e7, 1e10, 4)
    model = FeatureLearning(2.0, 0.25)
    found = model.frontier(compute)
    expected = model.exponents()
    for column, name in (("loss", "compute"), ("width", "compute_width")):
        measured = window_slope(np.log(compute), np.log(found[column].to_numpy()))
        assert abs(float(measured)) == pytest.approx(expected[name], rel=0.03)
    assert np.allclose(found["width"] * found["time"], compute)
    middle = found.row(2, named=True)
    for factor in (0.8, 1.25):
        other = replace(model, width=round(middle["width"] * factor))
        there = other.solve({"time": [middle["compute"] / other.width]})
        assert there["loss"][0] > middle["loss"] * (1 - 1e-4)


SETS: list[dict[str, Any]] = [
    {"capacity": 1.3, "source": 0.6, "richness": 2.0, "width": 32},
    {"capacity": 2.5, "source": 0.3, "richness": 0.3, "width": 24},
    {"capacity": 1.8, "source": 1.2, "richness": 5.0, "width": 40},
    {"capacity": 1.8, "source": 0.8, "richness": 3.0, "width": 48, "n_data": 24, "noise": 0.2},
    {"capacity": 1.4, "source": 1.4, "richness": 0.7, "width": 24, "n_data": 60},
    {"capacity": 2.2, "source": 0.6, "richness": 0.0, "width": 30, "n_data": 90, "noise": 0.5},
    {"capacity": 1.6, "source": 0.4, "richness": 1.5, "width": 36, "n_data": 90},
    {"capacity": 1.7, "source": 0.35, "richness": 0.5, "width": 32, "batch_size": 16},
    {"capacity": 1.4, "source": 1.8, "richness": 1.0, "width": 32, "batch_size": 8},
    {"capacity": 2.1, "source": 0.9, "richness": 1.0, "width": 40, "batch_size": 16, "noise": 0.3},
]


def compared(
    model: FeatureLearning, seeds: int, seed: int, times: tuple[float, ...] = (1.0, 4.0, 16.0)
) -> pl.DataFrame:
    """theory, mean, stderr of loss (and train_loss) at some times."""
    grid = {"time": list(times)}
    solved, drawn = model.solve(grid), model.simulate(grid, seeds=seeds, seed=seed)
    tables: list[pl.DataFrame] = []
    for column in ("loss", "train_loss"):
        if column in solved.columns and column in drawn.columns:
            each = drawn.group_by("time", maintain_order=True).agg(
                mean=pl.col(column).mean(), stderr=pl.col(column).std() / np.sqrt(seeds)
            )
            tables.append(each.with_columns(theory=solved[column], column=pl.lit(column)))
    return pl.concat(tables)


@pytest.mark.parametrize("given", SETS, ids=lambda given: "-".join(map(str, given.values())))
def test_simulations_agree(given: dict[str, Any]) -> None:
    model = FeatureLearning(modes=400, step_size=0.02, **given)
    size = min(given["width"], given.get("n_data", np.inf))
    found = compared(model, 24, 11)
    gap = (found["mean"] - found["theory"]).abs()
    assert (gap <= 3 * found["stderr"] + 2 / size * found["theory"]).all(), found


DOUBLED: list[dict[str, Any]] = [
    {"capacity": 1.3, "source": 0.6, "richness": 2.0, "width": 24},
    {"capacity": 2.5, "source": 0.3, "richness": 0.3, "width": 24},
    {"capacity": 1.6, "source": 0.4, "richness": 1.5, "width": 24, "n_data": 60},
]


@pytest.mark.slow
@pytest.mark.parametrize("given", DOUBLED, ids=lambda given: "-".join(map(str, given.values())))
def test_what_is_left_shrinks_as_sizes_double(given: dict[str, Any]) -> None:
    """Gradient flow of many seeds against the theory: within 3 standard errors plus 1/size."""
    for factor, seeds in ((1, 400), (2, 200), (4, 100)):
        sizes = {name: given[name] * factor for name in ("width", "n_data") if name in given}
        model = FeatureLearning(modes=300 * factor, **(given | sizes))
        found = compared(model, seeds, 5, (1.0, 4.0))
        gap = (found["mean"] - found["theory"]).abs()
        allowed = 3 * found["stderr"] + found["theory"] / (24 * factor)
        assert (gap <= allowed).all(), found


def test_the_mean_field_theory_in_small_steps_is_the_reduced_one() -> None:
    for given in ({"width": 64}, {"width": 64, "n_data": 48}, {"width": 64, "batch_size": 64}):
        gaps = []
        for eta in (0.1, 0.05):
            model = FeatureLearning(ALPHA, BETA, 0.5, step_size=eta, modes=1000, **given)
            grid = {"time": [0.5, 2.0]}
            one, other = (model.solve(grid, solver=name)["loss"] for name in ("reduced", "dmft"))
            gaps.append(float(np.abs(other.to_numpy() / one.to_numpy() - 1).max()))
        assert gaps[1] < 0.04
        assert gaps[1] < 0.65 * gaps[0]
