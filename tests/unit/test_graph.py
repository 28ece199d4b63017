"""The graph of a formula: simplifications that are exact, slopes, and the program it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from kleiber.formula import CALCULATE, evaluate, hold, join, number, parse, symbol
from kleiber.maths.graph import Graph, Program, compile_program, partials

SHAPES = ("column", "vector", "mixed")


def compute(graph: Graph, node: int, values: Mapping[str, Any]) -> Any:
    """The value of a node, real or complex, straight from the nodes."""
    have: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for item in graph.below(node):
            op, args, value = graph.nodes[item]
            if op == "number":
                have[item] = value
            elif op == "symbol":
                have[item] = values[str(value)]
            else:
                have[item] = CALCULATE[op](*(have[part] for part in args))
    return have[node]


def run(program: Program, columns: Sequence[Any], params: Sequence[Any]) -> list[Any]:
    """What the program's outputs are, executed in the three stages that a fit uses."""
    names: dict[str, Any] = {name: CALCULATE[name] for name in CALCULATE}
    names |= {f"c_{i}": item for i, item in enumerate(columns)}
    with np.errstate(all="ignore"):
        for name, text in program.column:
            names[name] = eval(text, names)
        kept = {key: names[key] for key in (*CALCULATE, *program.stored)}
        kept |= {f"t_{i}": item for i, item in enumerate(params)}
        for name, text in (*program.vector, *program.mixed):
            kept[name] = eval(text, kept)
    return [eval(name, kept) for name in program.outputs]


def slopes(text: str, by: Sequence[str], values: Mapping[str, float]) -> list[float]:
    graph = Graph()
    first, _ = partials(graph, graph.build(parse(text)), by)
    return [float(compute(graph, node, values)) for node in first]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("x + 0", "x"),
        ("0 + x", "x"),
        ("x - 0", "x"),
        ("0 - x", "-x"),
        ("x - x", "0"),
        ("x*1", "x"),
        ("1*x", "x"),
        ("x*0", "0"),
        ("x*-1", "-x"),
        ("x/1", "x"),
        ("0/x", "0"),
        ("--x", "x"),
        ("-(-x)", "x"),
        ("x**0", "1"),
        ("x**1", "x"),
        ("x**2", "x*x"),
        ("x**-1", "1/x"),
        ("log(exp(x))", "x"),
        ("log(x**y)", "y*log(x)"),
        ("x + y", "y + x"),
        ("x*y", "y*x"),
        ("2*3 + x", "6 + x"),
        ("sqrt(16)*x", "4*x"),
    ],
)
def test_equal_formulas_are_one_node(text: str, same: str) -> None:
    graph = Graph()
    assert graph.build(parse(text)) == graph.build(parse(same))


@pytest.mark.parametrize("text", ["x - y", "x/y", "x**y", "exp(log(x))", "sqrt(x*x)", "x/x"])
def test_what_is_not_exactly_equal_stays(text: str) -> None:
    graph = Graph()
    top = graph.build(parse(text))
    assert top not in (graph.symbol("x"), graph.symbol("y"), graph.number(1.0))
    values = {"x": 3.0, "y": 7.0}
    assert float(compute(graph, top, values)) == pytest.approx(float(evaluate(parse(text), values)))


def test_common_parts_are_shared() -> None:
    graph = Graph()
    graph.build(parse("exp(x*y) + log(exp(x*y) + 1) + exp(y*x)"))
    assert [op for op, _, _ in graph.nodes].count("exp") == 1
    assert [op for op, _, _ in graph.nodes].count("mul") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("1/0", math.inf), ("-1/0", -math.inf), ("0/0", math.nan), ("log(-2)", math.nan),
     ("exp(1000)", math.inf), ("10**400", math.inf), ("log(0)", -math.inf)],
)  # fmt: skip
def test_a_constant_that_overflows_is_a_number_too(text: str, value: float) -> None:
    graph = Graph()
    top = graph.build(parse(f"c*x + {text}*y"))
    program = compile_program(graph, [top], ["x", "y"], ["c"])
    out = run(program, [np.array([1.0, 2.0]), np.array([1.0, 1.0])], [np.array([[3.0]])])[0]
    np.testing.assert_array_equal(np.isnan(out), math.isnan(value))
    if not math.isnan(value):
        np.testing.assert_array_equal(out, [[value, value]])


@pytest.mark.parametrize(
    ("text", "slope"),
    [
        ("3", 0.0),
        ("y", 0.0),
        ("x", 1.0),
        ("x + 2*x - y", 3.0),
        ("-x", -1.0),
        ("x*y*x", 12.0),
        ("y/x", -3 / 4),
        ("x/y", 1 / 3),
        ("x**3", 12.0),
        ("x**0.5", 0.5 / math.sqrt(2)),
        ("x**-2", -0.25),
        ("x**y", 12.0),
        ("y**x", 9 * math.log(3)),
        ("x**x", 4 * (math.log(2) + 1)),
        ("2**x", 4 * math.log(2)),
        ("exp(2*x)", 2 * math.exp(4)),
        ("log(5*x)", 0.5),
        ("log1p(x)", 1 / 3),
        ("sqrt(x)", 0.5 / math.sqrt(2)),
        ("tanh(x)", 1 - math.tanh(2) ** 2),
    ],
)
def test_slopes_are_those_of_the_textbook(text: str, slope: float) -> None:
    assert slopes(text, ["x"], {"x": 2.0, "y": 3.0}) == [pytest.approx(slope, rel=1e-14)]


def test_an_iteration_that_is_held_has_the_slopes_of_its_end() -> None:
    """Halley's steps towards x^(1/3), and one more: its value, slope and curvature at x = 8."""

    def nearer(y: Any, x: Any) -> Any:
        return y * (y**3 + 2 * x) / (2 * y**3 + x)

    y = x = symbol("x")
    for _ in range(8):
        y = nearer(y, x)
    graph = Graph()
    held = graph.build(hold(y))
    assert graph.nodes[graph.derivative(held, graph.symbol("x"))][::2] == ("number", 0.0)
    top = graph.build(nearer(hold(y), x))
    first, second = partials(graph, top, ["x"], second=True)
    out = run(compile_program(graph, [top, *first, *second], [], ["x"]), [], [8.0])
    assert [float(item) for item in out] == pytest.approx([2, 1 / 12, -1 / 144], rel=1e-14)
    assert hold(2.5) == 2.5


def test_a_step_has_slope_zero_and_maximum_that_of_the_larger() -> None:
    graph = Graph()
    x, y = symbol("x"), symbol("y")
    top = graph.build(np.maximum(x * x, y) + join("step", x))  # type: ignore[operator]
    first, second = partials(graph, top, ["x", "y"], second=True)
    for x_value, wanted in ((3.0, [6, 0, 2, 0, 0]), (1.0, [0, 1, 0, 0, 0])):
        values = {"x": x_value, "y": 2.0}
        assert [float(compute(graph, node, values)) for node in (*first, *second)] == wanted


def test_the_hessian_is_its_lower_triangle_row_by_row() -> None:
    graph = Graph()
    first, second = partials(graph, graph.build(parse("a*a*b + c/b")), ["a", "b", "c"], second=True)
    values = {"a": 2.0, "b": 3.0, "c": 5.0}
    assert [float(compute(graph, node, values)) for node in first] == pytest.approx(
        [12, 4 - 5 / 9, 1 / 3], rel=1e-15
    )
    assert [float(compute(graph, node, values)) for node in second] == pytest.approx(
        [6, 4, 10 / 27, 0, -1 / 9, 0], rel=1e-15
    )


def test_a_symbol_absent_from_the_formula_has_slope_zero() -> None:
    graph = Graph()
    first, second = partials(graph, graph.build(parse("a*x")), ["a", "z"], second=True)
    assert graph.nodes[first[1]] == ("number", (), 0.0)
    assert [graph.nodes[item][0] for item in second] == ["number"] * 3


def test_a_program_computes_each_node_where_it_belongs() -> None:
    graph = Graph()
    top = graph.build(parse("E + A*n**-alpha + log(n)*exp(B) + 1"))
    params = ["E", "A", "B", "alpha"]
    first, second = partials(graph, top, params, second=True)
    program = compile_program(graph, [top, *first, *second], ["n"], params)
    assert program.column[0][1] == "log(c_0)"
    assert not any("t_" in text for _, text in program.column)
    assert {text for _, text in program.vector} == {"-t_3", "exp(t_2)"}
    names = {kind: {name for name, _ in getattr(program, kind)} for kind in SHAPES}
    assert set(program.stored) <= names["column"]
    for _, text in program.vector:
        assert not any(name in text for name in names["column"] | names["mixed"])
    assert len(program.outputs) == len(program.zero) == 1 + 4 + 10
    assert program.zero[5]  # E, E
    assert not program.zero[0]


def test_a_program_gives_the_values_of_its_nodes_on_arrays() -> None:
    graph = Graph()
    text = "E + (A/n)**alpha*tanh(d*A) - log1p(sqrt(n*d))/(2 - E)**-3 + d"
    params = ["E", "A", "alpha"]
    top = graph.build(parse(text))
    first, second = partials(graph, top, params, second=True)
    outputs = [top, *first, *second, graph.symbol("n"), graph.symbol("A"), graph.number(7.0)]
    program = compile_program(graph, outputs, ["n", "d"], params)
    rng = np.random.default_rng(0)
    columns = [rng.uniform(1, 5, 6), rng.uniform(1, 5, 6)]
    members = [rng.uniform(0.5, 1.5, (4, 1)) for _ in params]
    values = dict(zip(["n", "d", *params], [*columns, *members], strict=True))
    for node, out in zip(outputs, run(program, columns, members), strict=True):
        np.testing.assert_allclose(out, compute(graph, node, values), rtol=1e-14, atol=0)
    np.testing.assert_allclose(
        run(program, columns, members)[0], evaluate(parse(text), values), rtol=1e-13
    )


def test_numbers_keep_their_last_digit_in_a_program() -> None:
    graph = Graph()
    value = 0.1 + 0.2
    top = graph.build(symbol("x") * number(value) - number(-1e-300) / symbol("x"))
    (out,) = run(compile_program(graph, [top], ["x"], []), [np.array([1.0])], [])
    assert out[0] == value + 1e-300
