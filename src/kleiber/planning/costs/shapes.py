"""Training FLOPs counted term by term for a transformer of a given shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from kleiber.arguments import check_record
from kleiber.counting import (
    Convention,
    ShapeRule,
    count_training,
    find_convention,
    powers_of_width,
    solve_width,
)
from kleiber.errors import BadPlan, nearest, shown
from kleiber.formula import Expr, number, symbol
from kleiber.planning.amounts import is_real
from kleiber.planning.call import write_call
from kleiber.planning.cost import FLOPS, Cost

SHAPE = MappingProxyType({field.name: str(field.type) for field in fields(ShapeRule)})
OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "transformer": SHAPE,
        "width_depth": {name: kind for name, kind in SHAPE.items() if name != "aspect"},
    }
)


def transformer(
    rule: ShapeRule | None = None,
    *,
    counted: Convention | str = "exact",
    params: Convention | str | None = None,
    recomputation: float = 0.0,
    **options: float | bool,
) -> Cost:
    """Return the training FLOPs of (n_params, n_tokens) counted term by term in a family of shapes.

    The rule (or its fields as options: aspect, vocabulary, context, ...) gives the model of each
    size; n_params, counted as ``params`` says (by default as ``counted``), is solved for the
    width. ``recomputation`` is extra forward passes through the layers.
    """
    rule, how = _rule(rule, options), _convention(counted, recomputation)
    sizes = how if params is None else _convention(params, 0.0)
    a, b, c = powers_of_width(rule, lambda shape: count_training(shape, how).total)
    width = solve_width(rule, symbol("n_params"), sizes)
    flops = symbol("n_tokens") * _cubic(width, a, b, c)
    changed = _changed_options(rule, how)
    if sizes.name != how.name:
        changed["params"] = sizes.name
    shape = f"{_describe(rule)}, width/depth {rule.aspect:g}"
    flops_of = how.of_flops + _describe_recomputation(how)
    says = f"training FLOPs of {shape}: {flops_of}; n_params: {sizes.of_params}"
    return Cost(write_call(transformer, (), changed), str(flops), FLOPS, says)


def width_depth(
    rule: ShapeRule | None = None,
    *,
    counted: Convention | str = "exact",
    recomputation: float = 0.0,
    **options: float | bool,
) -> Cost:
    """Return training FLOPs of (width, depth, n_tokens) counted term by term; no aspect is
    assumed."""
    rule = _rule(rule, options, without="aspect")
    how = _convention(counted, recomputation)

    def powers(depth: float) -> tuple[float, float, float]:
        return powers_of_width(rule, lambda shape: count_training(shape, how).total, depth)

    one, two = powers(1.0), powers(2.0)
    layer = [high - low for low, high in zip(one, two, strict=True)]
    apart = [low - each for low, each in zip(one, layer, strict=True)]
    width, depth = symbol("width"), symbol("depth")
    flops = symbol("n_tokens") * (depth * _cubic(width, *layer) + _cubic(width, *apart))
    says = f"training FLOPs of {_describe(rule)}: {how.of_flops}{_describe_recomputation(how)}"
    return Cost(write_call(width_depth, (), _changed_options(rule, how)), str(flops), FLOPS, says)


def _rule(rule: ShapeRule | None, options: Mapping[str, Any], *, without: str = "") -> ShapeRule:
    known = [field.name for field in fields(ShapeRule) if field.name != without]
    for name in options:
        if name not in known:
            raise BadPlan(
                f"There is no shape option {name!r}, only {', '.join(known)}.{nearest(name, known)}"
            )
    if rule is not None:
        check_record("rule", rule, ShapeRule, "a ShapeRule or None")
    return replace(rule or ShapeRule(), **options)


def _convention(given: Convention | str, recomputation: float) -> Convention:
    if not (is_real(recomputation) and recomputation >= 0):
        raise BadPlan(f"The recomputation must be zero or more passes, got {shown(recomputation)}.")
    found = find_convention(given)
    return replace(found, recomputation=recomputation) if recomputation else found


def _changed_options(rule: ShapeRule, how: Convention) -> dict[str, Any]:
    """Return the options in which a rule differs from its default, and those of the convention."""
    values = {field.name: getattr(rule, field.name) for field in fields(ShapeRule)}
    defaults = ShapeRule()
    shape = {name: value for name, value in values.items() if value != getattr(defaults, name)}
    return {**shape, "counted": how.name, "recomputation": how.recomputation}


def _describe(rule: ShapeRule) -> str:
    ratio = rule.ratio or (8 / 3 if rule.gated else 4)
    words = [
        f"a {'gated ' if rule.gated else ''}decoder with vocabulary {rule.vocabulary:g}",
        f"context {rule.context:g}",
        f"feed-forward/width {ratio:.3g}",
        f"{'tied' if rule.tied else 'untied'} embeddings",
    ]
    words += [f"{rule.group:g} query heads per key head"] * (rule.group != 1)
    if rule.experts:
        words += [f"{rule.experts:g} experts of which a token passes {rule.active_experts:g}"]
    if rule.window:
        words += [f"a window of {rule.window:g} in {rule.window_share:.0%} of the layers"]
    return ", ".join(words)


def _describe_recomputation(how: Convention) -> str:
    return f", the layers recomputed {how.recomputation:g} times" if how.recomputation else ""


def _cubic(x: Expr, a: float, b: float, c: float) -> Expr:
    """Return x (a + x (b + x c)) without the terms that are zero."""
    whole: Expr | None = None
    for factor in (c, b, a):
        if whole is None:
            whole = x * factor if factor else None
        else:
            whole = x * (whole + factor if factor else whole)
    return number(0.0) if whole is None else whole
