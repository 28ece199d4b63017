"""Formulas: what is read, what is refused by name, how functions are traced."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kleiber.errors import BadFormula
from kleiber.formula import (
    LIMIT,
    calculate,
    evaluate,
    number,
    parse,
    render,
    substitute,
    symbol,
    symbols,
    trace,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("x", 3.0),
        ("2*x + y", 8.0),
        ("x - y - 1", 0.0),
        ("x - (y - 1)", 2.0),
        ("x / y / 2", 0.75),
        ("x / (y / 2)", 3.0),
        ("-x**2", -9.0),
        ("(-x)**2", 9.0),
        ("2**-1", 0.5),
        ("2**x**y", 512.0),
        ("(2**x)**y", 64.0),
        ("+x", 3.0),
        ("--x", 3.0),
        ("1e3", 1000.0),
        ("0.5e-1", 0.05),
        ("exp(0) + log(1) + sqrt(16) + log1p(0) + tanh(0)", 5.0),
        ("  x\t+ y ", 5.0),
        ("(x\n+ y)", 5.0),
        ("log(exp(x))", 3.0),
    ],
)
def test_reads_arithmetic_as_python_does(text: str, value: float) -> None:
    assert float(evaluate(parse(text), {"x": 3, "y": 2})) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("x ^ 2", r"'\^' is not accepted \(write \*\* for a power\)"),
        ("x % 2", "operator Mod"),
        ("x // 2", "operator FloorDiv"),
        ("x @ y", "operator MatMult"),
        ("~x", "operator Invert"),
        ("not x", "operator Not"),
        ("x < 2", r"'x < 2' \(Compare\)"),
        ("x == 2", "Compare"),
        ("x and y", "BoolOp"),
        ("x if y else 1", "IfExp"),
        ("lambda: 0", "Lambda"),
        ("x.__class__", r"'x.__class__' \(Attribute\)"),
        ("().__class__.__bases__", "Attribute"),
        ("x[0]", "Subscript"),
        ("[x]", "List"),
        ("{x}", "Set"),
        ("{x: y}", "Dict"),
        ("(x, y)", "Tuple"),
        ("[x for x in y]", "ListComp"),
        ("(x := 1)", "NamedExpr"),
        ("f'{x}'", "JoinedStr"),
        ("'text'", "constant 'text'"),
        ("b'text'", "constant b'text'"),
        ("None", "constant None"),
        ("True", "constant True"),
        ("1j", "constant 1j"),
        ("...", "constant Ellipsis"),
        ("1e999", "number inf"),
        ("-1e999", "number inf"),
        ("1" + "0" * 400, "not finite"),
        ("__import__('os')", r"function __import__\(\)"),
        ("eval('1')", r"function eval\(\)"),
        ("sin(x)", r"function sin\(\)"),
        ("sqr(x)", r"Did you mean 'sqrt'\?"),
        ("log", r"'log' is a function; write log\(...\)"),
        ("exp(x, y)", r"exp\(\) takes exactly one argument"),
        ("exp()", r"exp\(\) takes exactly one argument"),
        ("exp(x=1)", r"exp\(\) takes exactly one argument"),
        ("exp(*x)", "Starred"),
        ("exp(**x)", r"exp\(\) takes exactly one argument"),
        ("np.exp(x)", r"'np.exp\(x\)' \(Call\)"),
        ("exp(x)(y)", "Call"),
        ("x +", "Cannot read"),
        ("(x", "Cannot read"),
        ("x y", "Cannot read"),
        ("x = 1", "Cannot read"),
        ("import os", "Cannot read"),
        ("x; y", "Cannot read"),
        ("x\ny", "Cannot read"),
        ("x\0y", "Cannot read"),
        ("\ud800", "Cannot read"),
        ("9" * 5000, "Cannot read"),
        ("x" * (LIMIT + 1), f"at most {LIMIT}"),
        ("(" * 4000 + "x" + ")" * 4000, "Cannot read"),
        ("-" * 9000 + "x", "Cannot read"),
        ("exp(" * 1900 + "x" + ")" * 1900, "Cannot read"),
        ("1" + "+1" * 4900, "Cannot read"),
    ],
)
def test_refuses_by_name_in_one_line(text: str, named: str) -> None:
    with pytest.raises(BadFormula, match=named) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_suspicious_name_alone_is_only_a_symbol() -> None:
    assert symbols(parse("__import__ + step")) == {"__import__", "step"}


def test_evaluate_broadcasts_and_names_a_missing_value() -> None:
    expr = parse("n_params + 10*b")
    value = evaluate(expr, {"n_params": [[1.0], [2.0]], "b": [1, 2, 3], "unused": 7})
    assert value.tolist() == [[11.0, 21.0, 31.0], [12.0, 22.0, 32.0]]
    with pytest.raises(BadFormula, match=r"'n_params'\. Did you mean 'n_param'"):
        evaluate(expr, {"n_param": 1, "b": 1})


def test_evaluate_gives_infinity_and_nan_as_numpy_does() -> None:
    value = evaluate(parse("x/y"), {"x": [1.0, 0.0], "y": [0.0, 0.0]})
    assert math.isinf(value[0])
    assert math.isnan(value[1])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("E + A/n**alpha + B/d**beta", "E + A/n**alpha + B/d**beta"),
        ("E+A*n**(-alpha)", "E + A*n**-alpha"),
        ("a-(b-c)", "a - (b - c)"),
        ("a-b-c", "a - b - c"),
        ("a+(b-c)", "a + (b - c)"),
        ("a*(b/c)", "a*(b/c)"),
        ("a/(b*c)", "a/(b*c)"),
        ("(a+b)*c", "(a + b)*c"),
        ("(-a)**2", "(-a)**2"),
        ("-a**2", "-a**2"),
        ("(-2)**a", "(-2)**a"),
        ("a**b**c", "a**b**c"),
        ("(a**b)**c", "(a**b)**c"),
        ("a*-b", "a*(-b)"),
        ("log1p(exp(x))", "log1p(exp(x))"),
        ("0.1 + 1e22", "0.1 + 1e+22"),
        ("100.0*x", "100*x"),
    ],
)
def test_renders_with_the_brackets_that_matter(text: str, written: str) -> None:
    assert render(parse(text)) == written
    assert str(parse(text)) == written
    assert render(parse(written)) == written


def test_render_refuses_a_formula_without_end() -> None:
    expr = symbol("x")
    for _ in range(200):
        expr = expr * expr + expr
    with pytest.raises(BadFormula, match="longer than"):
        render(expr)


def test_substitute_exchanges_symbols_and_keeps_the_rest() -> None:
    expr = substitute(parse("a*x + b"), {"a": parse("exp(u)"), "c": number(1)})
    assert render(expr) == "exp(u)*x + b"


def test_traces_operators_numbers_and_functions() -> None:
    def function(x, y):
        part = np.exp(-x) + 2**y - np.float64(3) / (1 - x) + np.negative(+y) * np.float32(0.5)
        return np.power(np.sqrt(x), 2.5) + np.log1p(np.tanh(part)) - np.log(y) + np.array(4)

    expr = trace(function, {"x": symbol("x"), "y": symbol("y")})
    assert expr is not None
    assert float(evaluate(expr, {"x": 3.0, "y": 2.5})) == float(function(3.0, 2.5))


@pytest.mark.parametrize("pair", [(1e8, 1e300), (1e300, 1e8), (1e-200, 7.0), (2.0, 2.0), (-1, 1)])
def test_traced_minimum_and_maximum_are_exact(pair: tuple[float, float]) -> None:
    x, y = symbol("x"), symbol("y")
    values = {"x": pair[0], "y": pair[1]}
    assert float(evaluate(np.minimum(x, y), values)) == min(pair)  # type: ignore[arg-type]
    assert float(evaluate(np.maximum(x, y), values)) == max(pair)  # type: ignore[arg-type]
    assert float(evaluate(np.maximum(x, 5), values)) == max(pair[0], 5)  # type: ignore[arg-type]


def branch_on_truth(x):
    return x if x else 1.0


def branch_on_order(x):
    return x if x > 0 else 1.0


def branch_on_equality(x):
    return x if x == 0 else 1.0


def branch_on_inequality(x):
    return x if x != 0 else 1.0


@pytest.mark.parametrize(
    "function",
    [
        branch_on_truth,
        branch_on_order,
        branch_on_equality,
        branch_on_inequality,
        lambda x: np.abs(x),
        lambda x: math.exp(x),
        lambda x: np.where(x > 0, x, 1),
        lambda x: x + np.array([1.0, 2.0]),
        lambda x: x.mean(),
        lambda x: np.interp(x, [0, 1], [0, 1]),
        lambda x: np.linspace(0, x, 3),
        lambda x: np.add(x, 1, where=True),
        lambda x: [1.0, 2.0][x],
        lambda x: {}["x"],
        lambda x: "text",
        lambda x: x + True,
        lambda x: None,
    ],
)
def test_what_cannot_be_traced_is_none(function) -> None:
    assert trace(function, {"x": symbol("x")}) is None


def test_a_mistake_in_a_function_is_not_hidden() -> None:
    with pytest.raises(NameError):
        trace(lambda x: x + missing, {"x": symbol("x")})  # type: ignore[name-defined]


def test_calculate_takes_complex_numbers() -> None:
    value = calculate(parse("x**2 + log(x)"), {"x": 2 + 1e-30j})
    assert value.imag / 1e-30 == pytest.approx(4.5, rel=1e-15)
