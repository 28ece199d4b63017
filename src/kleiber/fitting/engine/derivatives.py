"""Residual, gradient and Hessian of a law on a table, as array programs.

The residual r(u) of every row, with u the unbounded coordinates of the parameters, is one
expression: the law with each parameter replaced by its domain's map, minus the data. Its first
and second derivatives come from the same graph. The text that is compiled here is made from
numbered nodes only, never from a user's text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.formula import Expr, substitute, symbol
from kleiber.law import Domain, Law
from kleiber.maths.graph import Graph, Program, compile_program, partials

NAMES = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "log1p": np.log1p, "tanh": np.tanh}
TARGET = "the data"


@dataclass(frozen=True)
class Slopes:
    """Residuals with derivatives; ``bends`` are the lower triangle of each Hessian, or None."""

    residual: Float[np.ndarray, "members rows"]
    slopes: Float[np.ndarray, "members params rows"]
    bends: Float[np.ndarray, "members pairs rows"] | None


Prepared = tuple[Callable[..., tuple[np.ndarray, ...]], list[np.ndarray]]
Differentiate = Callable[[Float[np.ndarray, "members params"], bool], Slopes]


def residual_program(law: Law, scale: str, *, second: bool) -> tuple[Program, tuple[str, ...]]:
    """The Program of the residual and its derivatives in u, and its column names."""
    assert law.expr is not None
    what = law.expr, tuple(law.domains.items()), law.variables
    return _program(*what, scale == "log", True, second), (*law.variables, TARGET)


def model_program(law: Law, scale: str) -> tuple[Program, bool]:
    """The Program of the law, or of its logarithm where that is wanted and shorter, with first and
    second derivatives in u; and whether the logarithm is still to be taken."""
    assert law.expr is not None
    what = law.expr, tuple(law.domains.items()), law.variables
    plain = _program(*what, False, False, True)
    if scale == "linear":
        return plain, False
    logs = _program(*what, True, False, True)
    return (logs, False) if len(logs.mixed) < len(plain.mixed) else (plain, True)


@lru_cache(maxsize=64)
def _program(
    expr: Expr,
    domains: tuple[tuple[str, Domain], ...],
    variables: tuple[str, ...],
    logs: bool,
    compared: bool,
    second: bool,
) -> Program:
    """The Program of a law in the unbounded coordinates, of its logarithm, or of either minus the
    data; kept, since fits of one law follow one another."""
    names = {name: symbol(f"u {name}") for name, _ in domains}
    model = substitute(expr, {name: domain.expression(names[name]) for name, domain in domains})
    if logs:
        model = Expr("log", (model,))
    if compared:
        model = model - symbol(TARGET)
    graph = Graph()
    top = graph.build(model)
    params = [str(item.value) for item in names.values()]
    first, pairs = partials(graph, top, params, second=second)
    columns = (*variables, TARGET) if compared else variables
    return compile_program(graph, [top, *first, *pairs], columns, params)


def column_function(program: Program, n_columns: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """Computes what depends on columns alone."""
    lines = [f"def run({', '.join(f'c_{i}' for i in range(n_columns))}):"]
    lines += [f"    {name} = {text}" for name, text in program.column]
    lines += [f"    return ({' '.join(name + ',' for name in program.stored)})"]
    return _define("\n".join(lines), "<kleiber columns>")


def mixed_function(program: Program, n_params: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """Computes the outputs from parameters (members x params) and the stored column results."""
    lines = [f"def run(theta, {', '.join(program.stored)}):"]
    lines += [f"    t_{i} = theta[:, {i}:{i + 1}]" for i in range(n_params)]
    lines += [f"    {name} = {text}" for name, text in (*program.vector, *program.mixed)]
    lines += [f"    return ({' '.join(name + ',' for name in program.outputs)})"]
    return _define("\n".join(lines), "<kleiber residuals>")


def _step(x: Any) -> np.ndarray:
    return (np.asarray(x) > 0).astype(float)


def _define(source: str, place: str) -> Callable[..., tuple[np.ndarray, ...]]:
    names: dict[str, Any] = {**NAMES, "step": _step, "hold": np.positive}
    exec(compile(source, place, "exec"), names)
    return names["run"]


def traced_slopes(
    law: Law,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    scale: str,
) -> Differentiate:
    """Derivatives of a traced law; ``target`` is already on the noise model's scale."""
    n, width = len(target), len(law.params)
    runs: dict[bool, Prepared] = {}

    def prepare(second: bool) -> Prepared:
        program, names = residual_program(law, scale, second=second)
        arrays = [columns.get(name, target) for name in names]
        with np.errstate(all="ignore"):
            stored = column_function(program, len(names))(*arrays)
        return mixed_function(program, width), [np.asarray(item, dtype=float) for item in stored]

    def differentiate(u: Float[np.ndarray, "members params"], second: bool) -> Slopes:
        if second not in runs:
            runs[second] = prepare(second)
        run, stored = runs[second]
        with np.errstate(all="ignore"):
            out = run(u, *stored)
        members = len(u)
        residual = np.broadcast_to(out[0], (members, n))
        slopes = np.empty((members, width, n))
        for k in range(width):
            slopes[:, k, :] = out[1 + k]
        if not second:
            return Slopes(residual, slopes, None)
        bends = np.empty((members, len(out) - 1 - width, n))
        for k in range(bends.shape[1]):
            bends[:, k, :] = out[1 + width + k]
        return Slopes(residual, slopes, bends)

    return differentiate
