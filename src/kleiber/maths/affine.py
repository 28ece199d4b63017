"""Parameters in which an expression is affine: as a whole, or inside a nonlinear function.

``E + k*(log(lr) - (c - p*log(n_params)))**2`` is affine in E and k given the others, and the
argument of the square is affine in c and p with coefficients that depend on columns alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kleiber.formula import Expr, number, substitute, symbols, walk
from kleiber.maths.graph import Graph

LINEAR_OPERATIONS = ("add", "sub", "neg", "mul")  # what stands between an inside and its function


@dataclass(frozen=True)
class AffineArgument:
    """An argument of a nonlinear function that is affine in ``params``, with coefficients and an
    intercept made of columns."""

    expr: Expr
    params: tuple[str, ...]


def find_linear(expr: Expr, params: Sequence[str]) -> tuple[str, ...]:
    """Return the parameters in which an expression is jointly affine, in order."""
    graph = Graph()
    top = graph.build(expr)
    chosen: list[str] = []
    for name in params:
        below = _derivative_symbols(graph, top, name)
        if name not in below and not below & set(chosen):
            chosen.append(name)
    return tuple(chosen)


def find_exponents(expr: Expr) -> set[str]:
    """Return the symbols that occur in the exponent of a power."""
    return {name for node in walk(expr) if node.op == "pow" for name in symbols(node.args[1])}


def find_affine_arguments(
    expr: Expr, params: Collection[str], among: Collection[str]
) -> tuple[AffineArgument, ...]:
    """Return the largest affine arguments whose parameters are all ``among`` those given.

    The function must accept any number: a whole power, exp or tanh. The intercept must depend on
    columns, so that the columns say where the argument is near zero.
    """
    graph = Graph()
    parents = _parents(expr)
    found: list[AffineArgument] = []
    taken: set[str] = set()
    for node in reversed(walk(expr)):  # the largest expressions come first
        inside = tuple(name for name in params if name in symbols(node))
        if node.op not in ("add", "sub") or not inside or not set(inside) <= set(among) - taken:
            continue
        if _affine(graph, node, inside) and _is_unrestricted(node, parents):
            found.append(AffineArgument(node, inside))
            taken |= set(inside)
    return tuple(found)


def _affine(graph: Graph, node: Expr, params: tuple[str, ...]) -> bool:
    """Return whether a node is affine in ``params`` with coefficients free of them and an intercept
    that depends on a symbol."""
    top = graph.build(node)
    if any(_derivative_symbols(graph, top, name) & set(params) for name in params):
        return False
    base = graph.build(substitute(node, dict.fromkeys(params, number(0.0))))
    return any(graph.nodes[item][0] == "symbol" for item in graph.below(base))


def _derivative_symbols(graph: Graph, top: int, name: str) -> set[str | float]:
    derivative = graph.derivative(top, graph.symbol(name))
    return {graph.nodes[item][2] for item in graph.below(derivative)}


def _parents(expr: Expr) -> dict[int, list[tuple[Expr, int]]]:
    """Return for every node the nodes that have it as an argument, with its position among their
    arguments."""
    found: dict[int, list[tuple[Expr, int]]] = {}
    for node in walk(expr):
        for place, item in enumerate(node.args):
            found.setdefault(id(item), []).append((node, place))
    return found


def _is_unrestricted(node: Expr, parents: dict[int, list[tuple[Expr, int]]]) -> bool:
    """Return whether a node is inside at least one function, and every such function accepts any
    number."""
    above = parents.get(id(node), [])
    return bool(above) and all(
        _accepts_any_number(parent, place, parents) for parent, place in above
    )


def _accepts_any_number(
    parent: Expr, place: int, parents: dict[int, list[tuple[Expr, int]]]
) -> bool:
    if parent.op in ("exp", "tanh"):
        return True
    if parent.op == "pow":
        power = parent.args[1]
        return place == 0 and power.op == "number" and float(power.value) in (2.0, 3.0, 4.0)
    if parent.op in LINEAR_OPERATIONS or (parent.op == "div" and place == 0):
        return _is_unrestricted(parent, parents)
    return False
