"""A formula and its derivatives as one numbered graph, and the straight-line program made from it.

Equal nodes get one number, so value, gradient and Hessian share every common part. What depends
on columns alone is computed once per table, what depends on parameters alone once per parameter
vector, and only the rest for each pair of the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kleiber.formula import CALCULATE, Expr, walk

Node = tuple[str, tuple[int, ...], float | str]


class Graph:
    """Graph of numbered nodes under construction; equal nodes have the same number."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._index: dict[Node, int] = {}
        self._derivatives: dict[tuple[int, int], int] = {}

    def number(self, value: float) -> int:
        return self._add_node(("number", (), float(value)))

    def symbol(self, name: str) -> int:
        return self._add_node(("symbol", (), name))

    def _add_node(self, node: Node) -> int:
        if node not in self._index:
            self._index[node] = len(self.nodes)
            self.nodes.append(node)
        return self._index[node]

    def _constant(self, index: int) -> float | None:
        op, _, value = self.nodes[index]
        return float(value) if op == "number" else None

    def build(self, expr: Expr) -> int:
        """Add an expression and return the number of its node."""
        made: dict[int, int] = {}
        for node in walk(expr):
            if node.op == "number":
                made[id(node)] = self.number(float(node.value))
            elif node.op == "symbol":
                made[id(node)] = self.symbol(str(node.value))
            else:
                made[id(node)] = self.join(node.op, *(made[id(item)] for item in node.args))
        return made[id(expr)]

    def join(self, op: str, *args: int) -> int:
        """Return the node ``op(args)``, simplified where that is exact."""
        known = [self._constant(item) for item in args]
        if all(value is not None for value in known):
            with np.errstate(all="ignore"):
                return self.number(CALCULATE[op](*known))
        if op == "pow":
            return self._power(args[0], args[1], known[1])
        if len(args) == 2:
            short = self._simplify(op, args[0], args[1], known[0], known[1])
            if short is not None:
                return short
        if op in ("neg", "log") and self.nodes[args[0]][0] == {"neg": "neg", "log": "exp"}[op]:
            return self.nodes[args[0]][1][0]
        if op in ("add", "mul"):
            args = tuple(sorted(args))
        return self._add_node((op, args, 0.0))

    def _power(self, base: int, exponent: int, known: float | None) -> int:
        if known is None:
            return self.join("exp", self.join("mul", exponent, self.join("log", base)))
        if known == 0:
            return self.number(1.0)
        if known == 1:
            return base
        if known == -1:
            return self.join("div", self.number(1.0), base)
        if known == 2:
            return self.join("mul", base, base)
        return self._add_node(("pow", (base, exponent), 0.0))

    def _simplify(self, op: str, a: int, b: int, x: float | None, y: float | None) -> int | None:
        if op == "add" and (x == 0 or y == 0):
            return b if x == 0 else a
        if op == "sub" and y == 0:
            return a
        if op == "sub" and x == 0:
            return self.join("neg", b)
        if op == "sub" and a == b:
            return self.number(0.0)
        if op == "mul" and (x == 0 or y == 0):
            return self.number(0.0)
        if op == "mul" and (x == 1 or y == 1):
            return b if x == 1 else a
        if op == "mul" and (x == -1 or y == -1):
            return self.join("neg", b if x == -1 else a)
        if op == "div" and (y == 1 or x == 0):
            return a
        if op == "div" and x != 1:  # one division serves all derivatives over the same divisor
            return self.join("mul", a, self.join("div", self.number(1.0), b))
        return None

    def derivative(self, node: int, by: int) -> int:
        """Return the node that computes the derivative of ``node`` with respect to the symbol
        ``by``."""
        for item in self.below(node):
            if (item, by) not in self._derivatives:
                self._derivatives[item, by] = self._differentiate(item, by)
        return self._derivatives[node, by]

    def below(self, node: int) -> list[int]:
        seen: set[int] = set()
        stack = [node]
        while stack:
            item = stack.pop()
            if item not in seen:
                seen.add(item)
                stack.extend(self.nodes[item][1])
        return sorted(seen)  # children are always numbered before parents

    def _differentiate(self, node: int, by: int) -> int:
        op, args, _ = self.nodes[node]
        if node == by:
            return self.number(1.0)
        inner = [self._derivatives[item, by] for item in args]
        if all(self._constant(item) == 0 for item in inner) or op in ("step", "hold"):
            return self.number(0.0)
        join, one = self.join, self.number(1.0)
        a = args[0]
        match op:
            case "add" | "sub":
                return join(op, *inner)
            case "neg":
                return join("neg", inner[0])
            case "mul":
                return join("add", join("mul", inner[0], args[1]), join("mul", a, inner[1]))
            case "div":
                decrease = join("mul", node, inner[1])
                return join("div", join("sub", inner[0], decrease), args[1])
            case "pow":  # the exponent is a number: join() has turned all others into exp
                less = join("sub", args[1], one)
                return join("mul", join("mul", args[1], join("pow", a, less)), inner[0])
            case "exp":
                return join("mul", node, inner[0])
            case "log":
                return join("div", inner[0], a)
            case "log1p":
                return join("div", inner[0], join("add", one, a))
            case "sqrt":
                return join("div", join("mul", self.number(0.5), inner[0]), node)
            case "tanh":
                return join("mul", join("sub", one, join("mul", node, node)), inner[0])
            case _:
                raise AssertionError(op)


@dataclass(frozen=True)
class Program:
    """Statements in order of execution, grouped by what they depend on; ``outputs`` name the
    results.

    ``column`` statements depend on columns (and numbers) alone, ``vector`` on parameters alone,
    ``mixed`` on both. ``stored`` are the column results that later statements read. ``parts`` gives
    the operation and operands of every statement, ``numbers`` the value of each literal.
    """

    column: tuple[tuple[str, str], ...]
    vector: tuple[tuple[str, str], ...]
    mixed: tuple[tuple[str, str], ...]
    stored: tuple[str, ...]
    outputs: tuple[str, ...]
    zero: tuple[bool, ...]
    parts: Mapping[str, tuple[str, tuple[str, ...]]]
    numbers: Mapping[str, float]


def compile_program(
    graph: Graph, outputs: Sequence[int], columns: Sequence[str], params: Sequence[str]
) -> Program:
    """Order the nodes under ``outputs`` into a Program over the named columns and parameters."""
    place = {name: f"c_{i}" for i, name in enumerate(columns)}
    place |= {name: f"t_{i}" for i, name in enumerate(params)}
    needed = sorted({item for output in outputs for item in graph.below(output)})
    kind: dict[int, str] = {}
    name: dict[int, str] = {}
    lines: dict[str, list[tuple[str, str]]] = {"column": [], "vector": [], "mixed": []}
    parts: dict[str, tuple[str, tuple[str, ...]]] = {}
    numbers: dict[str, float] = {}
    stored: dict[str, None] = {}
    for item in needed:
        op, args, value = graph.nodes[item]
        if op == "number":
            kind[item], name[item] = "number", _literal(float(value))
            numbers[name[item]] = float(value)
        elif op == "symbol":
            kind[item] = "vector" if value in params else "column"
            name[item] = place[str(value)]
        else:
            below = {kind[part] for part in args} - {"number"}
            kind[item] = "mixed" if len(below) > 1 or "mixed" in below else min(below)
            name[item] = f"n_{item}"
            parts[name[item]] = op, tuple(name[part] for part in args)
            lines[kind[item]].append((name[item], _statement(*parts[name[item]])))
        if kind[item] == "mixed":
            stored |= {name[part]: None for part in args if kind[part] == "column"}
    stored |= {name[item]: None for item in outputs if kind[item] == "column"}
    zero = tuple(graph.nodes[item][0] == "number" and graph.nodes[item][2] == 0 for item in outputs)
    return Program(
        tuple(lines["column"]),
        tuple(lines["vector"]),
        tuple(lines["mixed"]),
        tuple(stored),
        tuple(name[item] for item in outputs),
        zero,
        parts,
        numbers,
    )


def _literal(value: float) -> str:
    if math.isnan(value):
        return "(1e999 - 1e999)"
    return repr(value).replace("inf", "1e999")


INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _statement(op: str, parts: tuple[str, ...]) -> str:
    if op in INFIX:
        return f"{parts[0]} {INFIX[op]} {parts[1]}"
    if op == "neg":
        return f"-{parts[0]}"
    if op == "pow":
        return f"{parts[0]} ** {parts[1]}"
    return f"{op}({', '.join(parts)})"


def partials(
    graph: Graph, node: int, params: Sequence[str], *, second: bool = False
) -> tuple[list[int], list[int]]:
    """Return the nodes of the gradient of ``node`` and of the lower triangle of its Hessian, row by
    row."""
    symbols = [graph.symbol(name) for name in params]
    first = [graph.derivative(node, by) for by in symbols]
    if not second:
        return first, []
    pairs = [(i, j) for i in range(len(symbols)) for j in range(i + 1)]
    return first, [graph.derivative(first[i], symbols[j]) for i, j in pairs]
