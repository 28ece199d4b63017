"""Formulas: text survives reading and writing; no text does more than raise BadFormula."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from kleiber.errors import BadFormula
from kleiber.formula import (
    CALCULATE,
    Expr,
    calculate,
    evaluate,
    join,
    number,
    parse,
    render,
    substitute,
    symbol,
    symbols,
    walk,
)
from kleiber.maths.graph import Graph, partials

NUMBERS = st.one_of(
    st.integers(-9, 9).map(float),
    st.floats(-1e300, 1e300, allow_subnormal=False),
    st.sampled_from([1e15, 1e-15, 0.1, -0.0, 1e22, 123456789.123]),
)
LEAVES = st.one_of(NUMBERS.map(number), st.sampled_from("abxy").map(symbol))


def grow(parts: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    one = st.sampled_from(["neg", "exp", "log", "sqrt", "log1p", "tanh"])
    two = st.sampled_from(["add", "sub", "mul", "div", "pow"])
    return st.one_of(st.builds(join, one, parts), st.builds(join, two, parts, parts))


EXPRESSIONS = st.recursive(LEAVES, grow, max_leaves=12)
VALUES = st.fixed_dictionaries({name: st.floats(-1e3, 1e3) for name in "abxy"})


@given(EXPRESSIONS, VALUES)
def test_parse_undoes_render_to_the_last_bit(expr: Expr, values: dict[str, float]) -> None:
    again = parse(render(expr))
    np.testing.assert_array_equal(evaluate(again, values), evaluate(expr, values))
    assert symbols(again) == symbols(expr)
    assert render(again) == render(parse(render(again)))


@given(EXPRESSIONS, EXPRESSIONS, VALUES)
def test_substitution_is_evaluation_in_two_steps(
    expr: Expr, part: Expr, values: dict[str, float]
) -> None:
    at_once = evaluate(substitute(expr, {"a": part}), values)
    in_turn = evaluate(expr, values | {"a": evaluate(part, values)})
    np.testing.assert_array_equal(at_once, in_turn)


TOKENS = [*"xy1+-*/^(),.[]:='_#", " ", "\n", "\\", "\0", "2.5", "1e400", "**", "exp", "log"]
TOKENS += ["lambda", "if", "else"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(TOKENS)).map("".join)))
def test_any_text_is_a_formula_or_bad_formula(text: str) -> None:
    with contextlib.suppress(BadFormula):
        assert parse(text).op in {"number", "symbol", "neg", "add", "sub", "mul", "div", "pow",
                                  "exp", "log", "sqrt", "log1p", "tanh"}  # fmt: skip


MP: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "neg": lambda x: -x,
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sqrt": mpmath.sqrt,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
}
SIMPLE = st.one_of(
    st.sampled_from([-2.0, -1.0, 0.5, 1.0, 2.0, 3.0]).map(number),
    st.sampled_from("aabbxy").map(symbol),
)
POINTS = st.fixed_dictionaries({name: st.integers(20, 90).map(lambda i: i / 32) for name in "abxy"})


def is_tame(expr: Expr, values: Mapping[str, float]) -> bool:
    """Whether every part is real, of moderate size, and away from its singular points."""
    have: dict[int, float] = {}
    for node in walk(expr):
        args = [have[id(item)] for item in node.args]
        risky = {"log": args[:1], "sqrt": args[:1], "pow": args[:1], "div": args[1:]}
        low = min((abs(x) if node.op == "div" else x for x in risky.get(node.op, [])), default=1)
        if low < 0.01 or (node.op == "log1p" and args[0] < -0.99):
            return False
        with np.errstate(all="ignore"):
            if node.op == "number":
                have[id(node)] = float(node.value)
            elif node.op == "symbol":
                have[id(node)] = values[str(node.value)]
            else:
                have[id(node)] = float(CALCULATE[node.op](*args))
        if not abs(have[id(node)]) < 1e6:
            return False
    return True


def in_mp(expr: Expr, values: Mapping[str, Any]) -> Any:
    have: dict[int, Any] = {}
    for node in walk(expr):
        if node.op == "number":
            have[id(node)] = mpmath.mpf(node.value)
        elif node.op == "symbol":
            have[id(node)] = values[str(node.value)]
        else:
            have[id(node)] = MP[node.op](*(have[id(item)] for item in node.args))
    return have[id(expr)]


def node_in_mp(graph: Graph, node: int, values: Mapping[str, Any]) -> Any:
    have: dict[int, Any] = {}
    for item in graph.below(node):
        op, args, value = graph.nodes[item]
        if op == "number":
            have[item] = mpmath.mpf(value)
        elif op == "symbol":
            have[item] = values[str(value)]
        else:
            have[item] = MP[op](*(have[part] for part in args))
    return have[node]


@given(st.recursive(SIMPLE, grow, max_leaves=8), POINTS)
def test_slopes_agree_with_40_digits_and_with_the_complex_step(
    expr: Expr, values: dict[str, float]
) -> None:
    assume(symbols(expr) & {"a", "b"} and is_tame(expr, values))
    graph = Graph()
    top = graph.build(expr)
    first, second = partials(graph, top, ["a", "b"], second=True)
    with mpmath.workdps(40):
        exact = {name: mpmath.mpf(value) for name, value in values.items()}

        def at(a: Any, b: Any) -> Any:
            return in_mp(expr, exact | {"a": a, "b": b})

        orders = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        for node, order in zip([top, *first, *second], orders, strict=True):
            wanted = mpmath.diff(at, (exact["a"], exact["b"]), order)
            got = node_in_mp(graph, node, exact)
            # constants are folded in double precision
            assert abs(got - wanted) <= 1e-12 * (1 + abs(wanted)), (render(expr), order)
    for node, name in zip(first, "ab", strict=True):
        with np.errstate(all="ignore"):
            stepped = calculate(expr, values | {name: complex(values[name], 1e-30)})
            wanted = complex(stepped).imag / 1e-30
        got = float(node_in_mp(graph, node, exact))
        assert abs(got - wanted) <= 1e-9 * (1 + abs(wanted)), (render(expr), name)
