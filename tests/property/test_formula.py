"""Formulas: text survives reading and writing; no text does more than raise BadFormula."""

from __future__ import annotations

import contextlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kleiber.errors import BadFormula
from kleiber.formula import Expr, evaluate, join, number, parse, render, substitute, symbol, symbols

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


TOKENS = ["x", "y", "1", "2.5", "1e400", "+", "-", "*", "/", "**", "^", "(", ")", ",", ".", "[",
          "]", " ", "\n", "exp", "log", "lambda", "if", "else", ":", "=", "'", "_", "\\", "\0", "#"]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(TOKENS)).map("".join)))
def test_any_text_is_a_formula_or_bad_formula(text: str) -> None:
    with contextlib.suppress(BadFormula):
        assert parse(text).op in {"number", "symbol", "neg", "add", "sub", "mul", "div", "pow",
                                  "exp", "log", "sqrt", "log1p", "tanh"}  # fmt: skip
