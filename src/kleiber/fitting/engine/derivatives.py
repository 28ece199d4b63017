"""Residuals of a traced law on a table with their first and second derivatives, as array programs.

The residual r(u) of every row, with u the unbounded coordinates of the parameters, is one
expression: the law with each parameter replaced by the map of its domain, minus the data. Its first
and second derivatives come from the same graph. The source text compiled here is generated from
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
class Derivatives:
    """Residuals with their Jacobian and the lower triangle of each row's Hessian (None if not
    computed)."""

    residual: Float[np.ndarray, "batch rows"]
    jacobian: Float[np.ndarray, "batch params rows"]
    hessian: Float[np.ndarray, "batch pairs rows"] | None


CompiledProgram = tuple[Callable[..., tuple[np.ndarray, ...]], list[np.ndarray]]
Differentiate = Callable[[Float[np.ndarray, "batch params"], bool], Derivatives]


def residual_program(law: Law, scale: str, *, second: bool) -> tuple[Program, tuple[str, ...]]:
    """Return the Program of the residual and its derivatives in u, and the names of its columns."""
    assert law.expr is not None
    key = law.expr, tuple(law.domains.items()), law.variables
    return _program(*key, scale == "log", True, second), (*law.variables, TARGET)


def model_program(law: Law, scale: str) -> tuple[Program, bool]:
    """Return the Program of the law, or of its logarithm where that is needed and shorter, with
    first and second derivatives in u, and whether the logarithm is still to be taken."""
    assert law.expr is not None
    key = law.expr, tuple(law.domains.items()), law.variables
    plain = _program(*key, False, False, True)
    if scale == "linear":
        return plain, False
    take_log = _program(*key, True, False, True)
    return (take_log, False) if len(take_log.mixed) < len(plain.mixed) else (plain, True)


@lru_cache(maxsize=64)
def _program(
    expr: Expr,
    domains: tuple[tuple[str, Domain], ...],
    variables: tuple[str, ...],
    take_log: bool,
    minus_data: bool,
    second: bool,
) -> Program:
    """Compile the Program of a law in the unbounded coordinates, optionally of its logarithm and
    minus the data; cached because fits of one law follow one another."""
    symbols_u = {name: symbol(f"u {name}") for name, _ in domains}
    model = substitute(expr, {name: domain.expression(symbols_u[name]) for name, domain in domains})
    if take_log:
        model = Expr("log", (model,))
    if minus_data:
        model = model - symbol(TARGET)
    graph = Graph()
    top = graph.build(model)
    params = [str(item.value) for item in symbols_u.values()]
    first, pairs = partials(graph, top, params, second=second)
    columns = (*variables, TARGET) if minus_data else variables
    return compile_program(graph, [top, *first, *pairs], columns, params)


def column_function(program: Program, n_columns: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """Compile the function that computes everything that depends on columns alone."""
    lines = [f"def run({', '.join(f'c_{i}' for i in range(n_columns))}):"]
    lines += [f"    {name} = {text}" for name, text in program.column]
    lines += [f"    return ({' '.join(name + ',' for name in program.stored)})"]
    return compile_function("\n".join(lines), "<kleiber columns>")


def mixed_function(program: Program, n_params: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """Compile the function that computes the outputs from parameters (batch x params) and the
    stored column results."""
    lines = [f"def run(theta, {', '.join(program.stored)}):"]
    lines += [f"    t_{i} = theta[:, {i}:{i + 1}]" for i in range(n_params)]
    lines += [f"    {name} = {text}" for name, text in (*program.vector, *program.mixed)]
    lines += [f"    return ({' '.join(name + ',' for name in program.outputs)})"]
    return compile_function("\n".join(lines), "<kleiber residuals>")


def step_function(x: Any) -> np.ndarray:
    return (np.asarray(x) > 0).astype(float)


def compile_function(source: str, label: str) -> Callable[..., tuple[np.ndarray, ...]]:
    symbols_u: dict[str, Any] = {**NAMES, "step": step_function, "hold": np.positive}
    exec(compile(source, label, "exec"), symbols_u)
    return symbols_u["run"]


def traced_derivatives(
    law: Law,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
    scale: str,
) -> Differentiate:
    """Return the function that differentiates a traced law; ``target`` is already on the scale of
    the noise model."""
    n, width = len(target), len(law.params)
    runs: dict[bool, CompiledProgram] = {}

    def prepare(second: bool) -> CompiledProgram:
        program, symbols_u = residual_program(law, scale, second=second)
        arrays = [columns.get(name, target) for name in symbols_u]
        with np.errstate(all="ignore"):
            stored = column_function(program, len(symbols_u))(*arrays)
        return mixed_function(program, width), [np.asarray(item, dtype=float) for item in stored]

    def differentiate(u: Float[np.ndarray, "batch params"], second: bool) -> Derivatives:
        if second not in runs:
            runs[second] = prepare(second)
        run, stored = runs[second]
        with np.errstate(all="ignore"):
            out = run(u, *stored)
        count = len(u)
        residual = np.broadcast_to(out[0], (count, n))
        jacobian = np.empty((count, width, n))
        for k in range(width):
            jacobian[:, k, :] = out[1 + k]
        if not second:
            return Derivatives(residual, jacobian, None)
        hessian = np.empty((count, len(out) - 1 - width, n))
        for k in range(hessian.shape[1]):
            hessian[:, k, :] = out[1 + width + k]
        return Derivatives(residual, jacobian, hessian)

    return differentiate
