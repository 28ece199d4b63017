"""Where an expression is affine in its parameters: as a whole, or inside a nonlinear function.

In ``E + k*(log(lr) - (c - p*log(n_params)))**2`` the whole is affine in E and k given the others,
and the inside of the square is affine in c and p, with slopes that columns alone decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kleiber.formula import Expr, number, substitute, symbols, walk
from kleiber.maths.graph import Graph

CARRIERS = ("add", "sub", "neg", "mul")  # what stands between an inside and its function


@dataclass(frozen=True)
class Inside:
    """An expression that is affine in ``params`` with slopes and an intercept made of columns."""

    expr: Expr
    params: tuple[str, ...]


def find_linear(expr: Expr, params: Sequence[str]) -> tuple[str, ...]:
    """Parameters in which an expression is jointly affine, in order."""
    graph = Graph()
    top = graph.build(expr)
    chosen: list[str] = []
    for name in params:
        below = _slope_symbols(graph, top, name)
        if name not in below and not below & set(chosen):
            chosen.append(name)
    return tuple(chosen)


def find_exponents(expr: Expr) -> set[str]:
    """Symbols that stand in the exponent of a power."""
    return {name for node in walk(expr) if node.op == "pow" for name in symbols(node.args[1])}


def find_insides(expr: Expr, params: Collection[str], among: Collection[str]) -> tuple[Inside, ...]:
    """The largest affine insides whose parameters are all ``among`` those given.

    An inside belongs to a function that takes any number: a whole power, exp or tanh. Its intercept
    depends on columns, so that the columns say where it is near zero.
    """
    graph = Graph()
    parents = _parents(expr)
    found: list[Inside] = []
    taken: set[str] = set()
    for node in reversed(walk(expr)):  # the largest expressions come first
        inside = tuple(name for name in params if name in symbols(node))
        if node.op not in ("add", "sub") or not inside or not set(inside) <= set(among) - taken:
            continue
        if _affine(graph, node, inside) and _takes_any(node, parents):
            found.append(Inside(node, inside))
            taken |= set(inside)
    return tuple(found)


def _affine(graph: Graph, node: Expr, params: tuple[str, ...]) -> bool:
    """Whether slopes depend on no parameter and the intercept does depend on something."""
    top = graph.build(node)
    if any(_slope_symbols(graph, top, name) & set(params) for name in params):
        return False
    base = graph.build(substitute(node, dict.fromkeys(params, number(0.0))))
    return any(graph.nodes[item][0] == "symbol" for item in graph.below(base))


def _slope_symbols(graph: Graph, top: int, name: str) -> set[str | float]:
    slope = graph.slope(top, graph.symbol(name))
    return {graph.nodes[item][2] for item in graph.below(slope)}


def _parents(expr: Expr) -> dict[int, list[tuple[Expr, int]]]:
    """Every node that has a node as an argument, and as which."""
    found: dict[int, list[tuple[Expr, int]]] = {}
    for node in walk(expr):
        for place, item in enumerate(node.args):
            found.setdefault(id(item), []).append((node, place))
    return found


def _takes_any(node: Expr, parents: dict[int, list[tuple[Expr, int]]]) -> bool:
    """Whether every function around a node takes any number, and there is one."""
    above = parents.get(id(node), [])
    return bool(above) and all(_welcomes(parent, place, parents) for parent, place in above)


def _welcomes(parent: Expr, place: int, parents: dict[int, list[tuple[Expr, int]]]) -> bool:
    if parent.op in ("exp", "tanh"):
        return True
    if parent.op == "pow":
        power = parent.args[1]
        return place == 0 and power.op == "number" and float(power.value) in (2.0, 3.0, 4.0)
    if parent.op in CARRIERS or (parent.op == "div" and place == 0):
        return _takes_any(parent, parents)
    return False
