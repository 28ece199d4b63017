"""Profile intervals: closed forms, a brute-force profile, and what they say at a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from kleiber import laws
from kleiber.errors import BadLaw, BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.fitting.spread.profile import profile
from kleiber.law import Law, fraction, real

LEAST, HUBER, PLAIN = Noise("log"), Noise("log", delta=0.01), Noise("linear")
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
Table = dict[str, np.ndarray]


@Law
def line(x: Any, *, a: Any = real(-10, 10), b: Any = real(-10, 10)) -> Any:
    """A straight line."""
    return a + b * x


@Law
def share(x: Any, *, p: Any = fraction(), c: Any = real(-1, 1)) -> Any:
    """A share of x, and something beside."""
    return p * x + c


def scattered(size: float = 1.0, about: float = 0.0) -> Table:
    """A line of the given size with noise."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 20)
    return {"x": x, "loss": about + size * (1 + 2 * x + 0.1 * rng.standard_normal(20))}


def t_interval(table: Table, k: int, level: float) -> tuple[float, float]:
    """The textbook interval of a line's parameter."""
    x, y = np.stack([np.ones(20), table["x"]], axis=1), table["loss"]
    values = np.linalg.lstsq(x, y, rcond=None)[0]
    s2 = ((y - x @ values) ** 2).sum() / 18
    far = stats.t.ppf(0.5 + level / 2, 18) * np.sqrt(s2 * np.linalg.inv(x.T @ x)[k, k])
    return float(values[k] - far), float(values[k] + far)


def runs(rows: int = 60, noise: float = 0.01, seed: int = 0) -> Table:
    """A table of Chinchilla's law."""
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(*np.log([(1e6, 1e8), (1e11, 1e13)]), size=(rows, 2))).T
    loss = laws.chinchilla(n, d, **HOFFMANN) * np.exp(noise * rng.standard_normal(rows))
    return {"n_params": n, "n_tokens": d, "loss": loss}


@pytest.fixture(scope="module", params=[LEAST, HUBER], ids=["least squares", "Huber"])
def made(request: pytest.FixtureRequest) -> Fit:
    return fit("chinchilla", runs(), noise=request.param, draws=0)


# What it is


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("size", [1.0, 1e6, 1e-7])
@pytest.mark.parametrize("name", ["a", "b"])
def test_of_a_line_it_is_the_t_interval(name: str, size: float, level: float) -> None:
    table = scattered(size)
    found = fit(line, table, noise=PLAIN, draws=0)
    got = profile(found, table, name, level)
    wanted = t_interval(table, "ab".index(name), level)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * size)


def test_of_a_line_far_from_zero_it_is_the_t_interval() -> None:
    """Steps follow the interval's size, not the value's."""
    table = scattered(0.01, about=1e4)
    found = fit(line, table, noise=PLAIN, draws=0)
    low, high = t_interval(table, 0, 0.95)
    np.testing.assert_allclose(
        np.array(profile(found, table, "a")) - low, [0, high - low], atol=1e-5 * (high - low)
    )


def test_whole_weights_are_not_repeated_rows_but_zero_is_none() -> None:
    """Rows of weight zero count for nothing: neither charge nor degree of freedom."""
    table = scattered()
    more = {name: np.concatenate([x, [0.3, 0.7]]) for name, x in table.items()}
    more["w"] = np.where(np.arange(22) < 20, 1.0, 0.0)
    found = fit(line, more, noise=PLAIN, draws=0, weights="w")
    got = profile(found, more, "b")
    np.testing.assert_allclose(got, t_interval(table, 1, 0.95), rtol=1e-9)


def brute_force(found: Fit, table: Table) -> Callable[[str, float], float]:
    """Q(t) of Chinchilla by SciPy: the objective as it is written, minimised over the others."""
    logs = {name: np.log(x) for name, x in table.items()}
    names = list(found.params)

    def terms(u: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = u
        n, d = logs["n_params"], logs["n_tokens"]
        return np.exp(np.stack([np.full(len(n), e), a - alpha * n, b - beta * d]))

    def value(u: np.ndarray) -> tuple[float, np.ndarray]:
        parts = terms(u)
        total = parts.sum(axis=0)
        r, share = np.log(total) - logs["loss"], parts / total
        delta = found.noise.delta or math.inf
        near = np.minimum(np.abs(r), delta)
        slope = np.sign(r) * near
        jac = np.stack([*share, -share[1] * logs["n_params"], -share[2] * logs["n_tokens"]], axis=0)
        return float((near * (np.abs(r) - near / 2)).sum()), jac @ slope

    at = np.array([found.params[name] for name in names])
    at[:3] = np.log(at[:3])
    # coordinates in which the objective is nearly round, so that BFGS ends at rounding
    probe = 1e-4
    bend = np.array(
        [(value(at + probe * e)[1] - value(at - probe * e)[1]) / (2 * probe) for e in np.eye(5)]
    )

    def least(name: str, t: float) -> float:
        k = names.index(name)
        rest = [i for i in range(5) if i != k]
        fixed = at.copy()
        fixed[k] = math.log(t) if k < 3 else t
        sub = bend[np.ix_(rest, rest)]
        root = np.linalg.cholesky(np.linalg.inv(0.5 * (sub + sub.T)))
        fixed[rest] -= np.linalg.solve(sub, bend[rest, k] * (fixed[k] - at[k]))

        def inner(z: np.ndarray) -> tuple[float, np.ndarray]:
            u = fixed.copy()
            u[rest] += root @ z
            q, slope = value(u)
            return q, root.T @ slope[rest]

        start = np.zeros(4)
        for _ in range(3):
            start = optimize.minimize(inner, start, jac=True, options={"gtol": 1e-11}).x
        return float(inner(start)[0])

    return least


@pytest.mark.parametrize("name", ["E", "B", "alpha"])
def test_at_its_ends_the_brute_force_profile_has_risen_as_it_should(name: str, made: Fit) -> None:
    """Q(t) - Q = tau c^2 / 2, with tau the mean of psi r over the rows left."""
    table = runs()
    least = brute_force(made, table)
    r = made.residuals
    psi = r if made.noise.delta is None else np.clip(r, -made.noise.delta, made.noise.delta)
    tau = (psi * r).sum() / (60 - 5)
    low, high = profile(made, table, name)
    assert low < made.params[name] < high
    rise = 0.5 * tau * stats.t.ppf(0.975, 55) ** 2
    assert least(name, made.params[name]) == pytest.approx(made.objective, rel=1e-6)
    for end in (low, high):
        assert least(name, end) - made.objective == pytest.approx(rise, rel=1e-4)


@pytest.mark.long
def test_it_agrees_with_the_draws_where_the_law_is_nearly_linear() -> None:
    table = runs(rows=240, noise=0.002)
    found = fit("chinchilla", table, noise=LEAST, draws=2000)
    for name in found.free:
        (low, high), drawn = profile(found, table, name), found.interval(name)
        width = drawn.high - drawn.low
        assert abs(low - drawn.low) < 0.1 * width, name
        assert abs(high - drawn.high) < 0.1 * width, name


def test_it_grows_with_its_level(made: Fit) -> None:
    table = runs()
    narrow, wide = (profile(made, table, "beta", level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < made.params["beta"] < narrow.high < wide.high


# Bounds


def falling(seed: int) -> Table:
    """A power law without a floor."""
    x = np.geomspace(1, 1e4, 40)
    noise = 0.02 * np.random.default_rng(seed).standard_normal(40)
    return {"n_data": x, "loss": 5 * x**-0.3 * np.exp(noise)}


def test_a_floor_that_may_be_zero_has_a_one_sided_interval() -> None:
    """Seed 1: the floor's best value is above zero, and zero fits nearly as well."""
    table = falling(1)
    found = fit("power_law_floor", table, noise=LEAST, draws=0)
    assert found.status == "converged"
    assert found.params["E"] > 0
    low, high = profile(found, table, "E")
    assert low == 0.0
    assert high > found.params["E"]


@pytest.mark.long
def test_at_its_bound_a_parameter_has_a_one_sided_interval() -> None:
    """Seed 2: the floor went to zero. Its end is where the others, refitted, fit worse by what
    the level allows, and theirs allow for a floor that comes back."""
    table = falling(2)
    found = fit("power_law_floor", table, noise=LEAST, draws=0)
    assert found.status == "bound_hit"
    low, high = profile(found, table, "E")
    assert low == 0.0
    tau = 2 * found.objective / 37
    most = found.objective + 0.5 * tau * stats.t.ppf(0.975, 37) ** 2
    held = fit("power_law_floor", table, noise=LEAST, draws=0, fixed={"E": high})
    assert held.objective == pytest.approx(most, rel=1e-6)
    for name in ("A", "alpha"):
        for end in profile(found, table, name):
            held = fit("power_law_floor", table, noise=LEAST, draws=0, fixed={name: end})
            assert held.objective == pytest.approx(most, rel=1e-6)
    bare = fit("power_law", table, noise=LEAST, draws=0)
    alone = profile(bare, table, "alpha")
    both = profile(found, table, "alpha")
    assert both.high > alone.high + 0.3 * (alone.high - alone.low)  # a floor makes the rest steeper
    assert both.low == pytest.approx(alone.low, abs=0.05 * (alone.high - alone.low))


def test_a_share_at_one_has_a_one_sided_interval() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 30)
    table = {"x": x, "loss": 1.02 * x + 0.05 * rng.standard_normal(30)}
    found = fit(share, table, noise=PLAIN, draws=0)
    assert found.params["p"] == 1.0
    low, high = profile(found, table, "p", 0.999)
    assert high == 1.0
    y = table["loss"] - table["loss"].mean()
    charges = [((p * x - y) ** 2).sum() for p in (1.0, low)]
    rise = stats.t.ppf(0.9995, 28) ** 2 * charges[0] / 28
    assert charges[1] - charges[0] == pytest.approx(rise, rel=1e-6)


def test_what_the_table_does_not_determine_has_no_end() -> None:
    rng = np.random.default_rng(0)
    n = np.geomspace(1e7, 1e10, 40)
    table = {"n_params": n, "n_tokens": np.full(40, 2e10)}
    loss = laws.chinchilla(**table, **HOFFMANN) * np.exp(0.005 * rng.standard_normal(40))
    table |= {"loss": loss}
    found = fit("chinchilla", table, noise=LEAST, draws=0)
    assert found.status == "flat"
    low, high = profile(found, table, "beta")
    assert low == pytest.approx(0.0, abs=0.02)
    assert high == math.inf
    low, high = profile(found, table, "alpha")
    assert 0.2 < low < found.params["alpha"] < high < 0.5


def test_no_row_to_spare_leaves_no_interval() -> None:
    table = {"x": np.array([0.0, 1.0]), "loss": np.array([1.0, 2.5])}
    found = fit(line, table, noise=PLAIN, draws=0)
    assert all(math.isnan(end) for end in profile(found, table, "a"))


# Refusals


def test_what_has_no_profile_interval() -> None:
    table = scattered()
    found = fit(line, table, noise=PLAIN, draws=0, fixed={"a": 1.0})
    with pytest.raises(BadLaw, match=r"'a' is not free in this fit; free are b"):
        profile(found, table, "a")
    with pytest.raises(BadLaw, match=r"'slope' is not free"):
        profile(found, table, "slope")
    with pytest.raises(ValueError, match=r"level must lie between 0 and 1, got 95"):
        profile(found, table, "b", 95)
    other = table | {"loss": table["loss"] + 1}
    with pytest.raises(BadTable, match="not the table of the fit"):
        profile(found, other, "b")
    student = fit(line, table, noise=Noise("linear", dof=4.0), draws=0)
    with pytest.raises(BadLaw, match="Huber and least-squares fits"):
        profile(student, table, "b")
    believed = fit(line, table, noise=PLAIN, draws=0, priors={"b": (2.0, 0.5)})
    with pytest.raises(BadLaw, match="without priors"):
        profile(believed, table, "b")
    grouped = replace(found, options=replace(found.options, by="run"))
    with pytest.raises(BadLaw, match="independent rows, not of groups by 'run'"):
        profile(grouped, table, "b")
