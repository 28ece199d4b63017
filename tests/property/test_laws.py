"""Every law against its paper's formula in 40 digits: values, slopes, curvatures; and its shape.

The papers' formulas are in ``tests/laws.py``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kleiber import laws
from kleiber.formula import CALCULATE
from kleiber.law import Domain, Law
from kleiber.maths.graph import Graph, partials
from laws import LAWS

CATALOGUE = laws.catalogue()
DIGITS = 40
COLUMN_RANGES = {
    "n_data": (1e2, 1e10),
    "n_params": (1e6, 1e12),
    "n_tokens": (1e8, 1e13),
    "n_unique": (1e8, 1e13),
    "step": (1e2, 1e7),
    "width": (8, 1e5),
    "batch_size": (1, 1e4),
    "k": (1, 1e8),
    "norm": (1e-2, 1e8),
    "n_active": (1e6, 1e12),
    "loss": (0.5, 8.0),
    "flops": (1e16, 1e26),
}
OPEN_RANGES = {  # of parameters whose start range comes from the data
    "A": (1e-1, 1e3), "E": (1e-2, 3), "a": (1e-3, 1), "b": (1e-1, 1e3), "gamma": (1e-10, 1e-2),
    "d1": (1e2, 1e10), "d2": (1e2, 1e10), "d3": (1e2, 1e10),
    "k1": (1e-1, 1e3), "k2": (1e-3, 1e3), "q1": (1e-3, 1), "q2": (1e-3, 1e3),
    "at": (2, 1e4),
}  # fmt: skip
FALLING = {"c1": (0.01, 1), "c2": (0.01, 1), "c3": (0.01, 1)}


def ends(law: Law, name: str, domain: Domain) -> tuple[float, float]:
    if domain.low is None or domain.high is None:
        about = LAWS[law.name].truth[name]
        return OPEN_RANGES.get(name, (about / 10, about * 10))
    return domain.low, domain.high


def draw(law: Law, rng: np.random.Generator, **ranges: tuple[float, float]) -> dict[str, float]:
    """Columns and parameters anywhere in the law's box."""
    box = {name: COLUMN_RANGES[name] for name in law.variables}
    box |= {name: ends(law, name, domain) for name, domain in law.domains.items()}
    box |= {name: ranges[name] for name in ranges if name in box}
    straight = {name for name, domain in law.domains.items() if domain.kind == "real"}
    return {
        name: rng.uniform(low, high)
        if name in straight
        else float(np.exp(rng.uniform(np.log(low), np.log(high))))
        for name, (low, high) in box.items()
    }


def paper(name: str, values: Mapping[str, Any]) -> Any:
    law = CATALOGUE[name]
    columns = [mpmath.mpf(values[column]) for column in law.variables]
    return LAWS[name].paper(*columns, **{param: mpmath.mpf(values[param]) for param in law.params})


def slopes_of(name: str, values: Mapping[str, float], order: Sequence[str]) -> float:
    """The derivative of the paper's formula by the parameters in ``order`` (one or two)."""
    by = sorted(set(order))

    def at(*point: Any) -> Any:
        return paper(name, {**values, **dict(zip(by, point, strict=True))})

    point = tuple(mpmath.mpf(values[item]) for item in by)
    counts = tuple(order.count(item) for item in by)
    # relative steps: parameters differ by 20 orders of magnitude
    unit = [abs(item) if item else mpmath.mpf(1) for item in point]
    scaled = mpmath.diff(
        lambda *u: at(*(s * v for s, v in zip(unit, u, strict=True))),
        tuple(p / s for p, s in zip(point, unit, strict=True)),
        counts,
    )
    for s, n in zip(unit, counts, strict=True):
        scaled /= s**n
    return float(scaled)


def node_values(graph: Graph, values: Mapping[str, Any]) -> list[Any]:
    have: list[Any] = []
    with np.errstate(all="ignore"):
        for op, args, value in graph.nodes:
            if op == "symbol":
                have.append(values[str(value)])
            else:
                have.append(value if op == "number" else CALCULATE[op](*(have[i] for i in args)))
    return have


@functools.cache
def graph_of(name: str) -> tuple[Graph, int, list[int], list[int]]:
    law, graph = CATALOGUE[name], Graph()
    assert law.expr is not None
    top = graph.build(law.expr)
    return graph, top, *partials(graph, top, law.params, second=True)


def traced(law: Law, values: Mapping[str, float]) -> list[np.ndarray]:
    """Value, gradient, and lower triangle of the Hessian, in double precision."""
    graph, top, first, second = graph_of(law.name)
    have = node_values(graph, values)
    return [np.array([float(have[i]) for i in part]) for part in ([top], first, second)]


def stepped(law: Law, values: Mapping[str, float]) -> np.ndarray:
    """The gradient by the complex step through the law's own function."""
    out = []
    for name in law.params:
        size = 1e-30 * abs(values[name] or 1.0)
        moved = dict(values) | {name: complex(values[name], size)}
        columns = [np.asarray(moved[item]) for item in law.variables]
        out.append(law.function(*columns, **{p: moved[p] for p in law.params}).imag / size)
    return np.array(out)


TRACED = [name for name, law in CATALOGUE.items() if law.expr is not None]


@pytest.mark.parametrize("name", CATALOGUE)
def test_values_are_the_papers(name: str) -> None:
    law, rng = CATALOGUE[name], np.random.default_rng(1)
    with mpmath.workdps(DIGITS):
        for _ in range(50):
            values = draw(law, rng)
            assert float(law(**values)) == pytest.approx(float(paper(name, values)), rel=1e-12)


@pytest.mark.parametrize("name", TRACED)
def test_slopes_and_curvatures_are_the_papers(name: str) -> None:
    law, rng = CATALOGUE[name], np.random.default_rng(2)
    pairs = [(a, b) for i, a in enumerate(law.params) for b in law.params[: i + 1]]
    with mpmath.workdps(DIGITS):
        for _ in range(2):
            values = draw(law, rng)
            _, first, second = traced(law, values)
            size = np.array([abs(values[item]) for item in law.params])
            wanted = np.array([slopes_of(name, values, [item]) for item in law.params])
            # errors count in units of the value's change over the parameter's own size
            assert np.abs((first - wanted) * size).max() <= 1e-11 * np.abs(wanted * size).max()
            scale = np.array([values[a] * values[b] for a, b in pairs])
            bends = np.array([slopes_of(name, values, pair) for pair in pairs])
            assert np.abs((second - bends) * scale).max() <= 1e-10 * np.abs(bends * scale).max()


@pytest.mark.parametrize("name", CATALOGUE)
def test_complex_step_slopes_are_the_papers(name: str) -> None:
    law, rng = CATALOGUE[name], np.random.default_rng(3)
    with mpmath.workdps(DIGITS):
        for _ in range(4):
            values = draw(law, rng)
            got = stepped(law, values)
            wanted = np.array([slopes_of(name, values, [item]) for item in law.params])
            size = np.array([abs(values[item]) for item in law.params])
            assert np.abs((got - wanted) * size).max() <= 1e-12 * np.abs(wanted * size).max()
            if law.expr is None:  # what a fit then uses; NumPy's complex log1p costs broken ones
                np.testing.assert_allclose(got, wanted, rtol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(TRACED))
def test_traced_slopes_are_those_of_the_complex_step(seed: int, name: str) -> None:
    law = CATALOGUE[name]
    values = draw(law, np.random.default_rng(seed))
    _, first, _ = traced(law, values)
    size = np.array([abs(values[item]) for item in law.params])
    gap = np.abs(first - stepped(law, values)) * size
    assert gap.max() <= 1e-11 * np.abs(first * size).max()


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(CATALOGUE)))
def test_a_law_is_finite_positive_and_falls_along_each_column(seed: int, name: str) -> None:
    law = CATALOGUE[name]
    values = draw(law, np.random.default_rng(seed), **FALLING)
    row = LAWS[name]
    for column in law.variables:
        if column in row.turns:
            continue
        low, high = COLUMN_RANGES[column]
        out = law(**values | {column: np.geomspace(low, high, 40)})
        assert np.isfinite(out).all()
        assert (out > 0).all()
        change = -np.diff(out) if row.rising or column in row.rises else np.diff(out)
        assert (change <= 1e-14 * out[1:]).all()


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(TRACED))
def test_slopes_and_curvatures_are_finite_on_the_box(seed: int, name: str) -> None:
    law = CATALOGUE[name]
    parts = traced(law, draw(law, np.random.default_rng(seed)))
    assert all(np.isfinite(part).all() for part in parts)


@given(q=st.floats(-1e3, 1e3), alpha=st.floats(-9, 6).map(lambda power: 10.0**power))
@example(q=0.0, alpha=1.0)
@example(q=700.0, alpha=1e-9)
@example(q=-700.0, alpha=1e6)
def test_m4_is_settled_for_any_exponent(q: float, alpha: float) -> None:
    """s / (1 - s)**alpha = exp(q), checked on the side where s or 1 - s is not rounded away."""
    s = float(laws.m4(np.exp(-q / 2), E=0, span=1, A=1, c=2, alpha=alpha))
    assert 0 <= s <= 1
    if 1e-300 < s < 1 - 1e-6:
        left = np.log(s) - alpha * np.log1p(-s)
        slope = 1 / s + alpha / (1 - s)  # by which a rounding error of s is amplified
        assert abs(left - q) <= 1e-13 * (1 + abs(q)) + 1e-15 * slope


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_law_broadcasts_over_rows_and_parameter_vectors(name: str) -> None:
    law, rng = CATALOGUE[name], np.random.default_rng(4)
    draws = [draw(law, rng) for _ in range(3)]
    rows = [draw(law, rng) for _ in range(4)]
    columns = {item: np.array([row[item] for row in rows]) for item in law.variables}
    params = {item: np.array([[one[item]] for one in draws]) for item in law.params}
    together = law(**columns, **params)
    for (i, one), (j, row) in itertools.product(enumerate(draws), enumerate(rows)):
        values = {**one, **{item: row[item] for item in law.variables}}
        assert together[i, j] == pytest.approx(float(law(**values)), rel=1e-14)
