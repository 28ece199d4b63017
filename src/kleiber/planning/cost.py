"""Costs: what a run of given columns takes, as a formula with its convention stated.

Costs are built from costs: ``money(train_and_serve(queries=1e9, tokens=500), price=2, ...)``. The
name of a cost is the text that builds it, and ``find_cost`` reads that text; nothing is evaluated.

Examples
--------
>>> import kleiber
>>> kleiber.cost.six_nd.formula
'6*n_params*n_tokens'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

from kleiber.arguments import check_record, check_text, check_texts
from kleiber.columns import COLUMNS
from kleiber.counting import (
    Convention,
    ShapeRule,
    count_training,
    find_convention,
    powers_of_width,
    solve_width,
)
from kleiber.errors import BadFormula, BadPlan, nearest, shown
from kleiber.formula import Expr, number, parse, substitute, symbol, symbols, walk
from kleiber.planning.amounts import check_positive, is_real
from kleiber.planning.call import CallSignature, build, read_call, signature_of, write_call

SLOWEST = 1e6  # FLOP/s of a device: fewer are TFLOP/s or GFLOP/s
FLOPS, GPU_HOURS, MONEY, OTHER = "FLOPs", "GPU-hours", "money", "budget units"


@dataclass(frozen=True)
class Cost:
    """A cost, as an increasing formula of columns, with its ``unit`` and ``convention``."""

    name: str
    formula: str
    unit: str = FLOPS
    convention: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_text(field.name, getattr(self, field.name))

    @cached_property
    def expr(self) -> Expr:
        """The formula as an expression in which equal subexpressions are one node."""
        nodes: dict[tuple[str, tuple[int, ...], float | str], Expr] = {}
        replaced: dict[int, Expr] = {}
        whole = parse(self.formula)
        for node in walk(whole):
            args = tuple(replaced[id(item)] for item in node.args)
            key = (node.op, tuple(id(item) for item in args), node.value)
            replaced[id(node)] = nodes.setdefault(key, Expr(node.op, args, node.value))
        return replaced[id(whole)]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the columns in the formula."""
        return tuple(sorted(symbols(self.expr)))


six_nd = Cost(
    "6nd",
    "6*n_params*n_tokens",
    FLOPS,
    "training FLOPs C = 6 N D: two per parameter and token forward, four backward "
    "(Kaplan et al. 2020, section 2.1)",
)
DERIVED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"flops": (six_nd.formula, f"flops stands for {six_nd.convention}")}
)


def serve(*, tokens: float, queries: float = 1.0, k: float = 1.0, prompt: float = 0.0) -> Cost:
    """Return the FLOPs of answering: queries (prompt + k tokens) 2 N (two per parameter and token).

    ``tokens`` are those of one answer, ``k`` answers are drawn for each query, and the ``prompt``
    is read once for all of them. The attention to earlier tokens is not counted.
    """
    check_positive(queries=queries, tokens=tokens, k=k)
    if not (is_real(prompt) and prompt >= 0):
        raise BadPlan(f"The prompt must be zero or more tokens, got {shown(prompt)}.")
    check_positive(all_tokens=queries * (prompt + k * tokens))
    each = f"{k:g} answers of {tokens:g} tokens" if k != 1 else f"an answer of {tokens:g} tokens"
    read = f" after a prompt of {prompt:g} tokens, read once" if prompt else ""
    return Cost(
        write_call(serve, (), {"tokens": tokens, "queries": queries, "k": k, "prompt": prompt}),
        str(number(2.0 * queries * (prompt + k * tokens)) * symbol("n_params")),
        FLOPS,
        f"serving {queries:g} queries, {each}{read}, at 2 N FLOPs per token",
    )


def train_and_serve(
    *,
    queries: float,
    tokens: float,
    k: float = 1.0,
    prompt: float = 0.0,
    train: Cost | str = six_nd,
) -> Cost:
    """Return FLOPs of training and all answers: train(N, D) + queries (prompt + k tokens) 2 N."""
    first = find_cost(train)
    options = {"queries": queries, "tokens": tokens, "k": k, "prompt": prompt}
    both = total(first, serve(**options))
    other = {} if first == six_nd else {"train": first.name}
    return replace(both, name=write_call(train_and_serve, (), {**options, **other}))


def total(*costs: Cost | str) -> Cost:
    """Return the sum of costs of one unit; formulas of columns take the unit of the others."""
    parts = [find_cost(item) for item in costs]
    if not parts:
        raise BadPlan("A total needs at least one cost, e.g. total(6nd, serve(tokens=1e12)).")
    units = {part.unit for part in parts} - {OTHER} or {OTHER}
    if len(units) > 1:
        what = ", ".join(f"{part.name} in {part.unit}" for part in parts)
        raise BadPlan(f"A total adds costs of one unit, got {what}.")
    whole = parts[0].expr
    for part in parts[1:]:
        whole = whole + part.expr
    says = "; plus ".join(part.convention for part in parts if part.convention)
    return Cost(write_call(total, [part.name for part in parts], {}), str(whole), units.pop(), says)


def gpu_hours(cost: Cost | str, *, flops_per_second: float, utilisation: float) -> Cost:
    """Return the device hours of a cost in FLOPs: C / (flops_per_second utilisation 3600).

    ``flops_per_second`` is the peak of one device; ``utilisation`` is the share of it that the
    FLOPs *of this cost's convention* reach (measured as such, or the time is wrong).
    """
    base = find_cost(cost)
    if base.unit not in (FLOPS, OTHER):
        raise BadPlan(
            f"The verb gpu_hours needs a cost in FLOPs, but {base.name} is in {base.unit}."
        )
    rate = {"flops_per_second": flops_per_second, "utilisation": utilisation}
    check_positive(**rate)
    if not is_real(flops_per_second * 3600 * utilisation):
        raise BadPlan(
            f"A flops_per_second of {flops_per_second:g} and a utilisation of {utilisation:g} are "
            "too large."
        )
    if flops_per_second < SLOWEST:
        raise BadPlan(
            f"The flops_per_second of {flops_per_second:g} are slower than any device: they are "
            f"single FLOPs, so write {flops_per_second:g}e12 for {flops_per_second:g} TFLOP/s."
        )
    if utilisation > 1:
        raise BadPlan(f"The utilisation is a share between 0 and 1, got {utilisation:g}.")
    at = f"{flops_per_second:g} peak FLOP/s a device, {utilisation:.3g} of it used"
    return Cost(
        write_call(gpu_hours, [base.name], rate),
        str(base.expr * number(1 / (flops_per_second * 3600 * utilisation))),
        GPU_HOURS,
        f"{base.convention or 'FLOPs'}; device hours at {at}",
    )


def money(
    cost: Cost | str,
    *,
    price: float,
    flops_per_second: float | None = None,
    utilisation: float | None = None,
) -> Cost:
    """Return the price of a cost: device hours times ``price`` per device and hour.

    A cost in FLOPs needs the peak and the utilisation of ``gpu_hours``; a cost in GPU-hours none.
    """
    base = hours = find_cost(cost)
    check_positive(price=price)
    if base.unit == GPU_HOURS:
        if flops_per_second is not None or utilisation is not None:
            raise BadPlan(f"The cost {base.name} is in GPU-hours already; give the price alone.")
    elif flops_per_second is None or utilisation is None:
        raise BadPlan(f"The money for {base.name} needs flops_per_second and utilisation.")
    else:
        hours = gpu_hours(base, flops_per_second=flops_per_second, utilisation=utilisation)
    options = {"price": price, "flops_per_second": flops_per_second, "utilisation": utilisation}
    return Cost(
        write_call(money, [base.name], options),
        str(hours.expr * number(price)),
        MONEY,
        f"{hours.convention}; {price:g} per device and hour",
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


def costs() -> dict[str, Cost]:
    """Return the named costs that take no options."""
    return {six_nd.name: six_nd}


def describe_makers() -> dict[str, str]:
    """Return the usage of each cost with options, and what it counts, in one sentence."""
    return {
        form.usage: (MAKERS[name].__doc__ or "").split("\n\n")[0].replace("\n    ", " ")
        for name, form in _signatures().items()
    }


def find_cost(given: Cost | str, columns: Collection[str] = ()) -> Cost:
    """Return a Cost: itself, a named one, a call such as ``money(6nd, price=2, ...)``, or a
    formula.

    With ``columns``, those at hand, one of them alone is a cost too, and ``flops`` stands for
    6 n_params n_tokens where these two are at hand and it is not.

    Raises BadFormula for text that is none of these, ValueError for numbers that make no sense.
    """
    if isinstance(given, Cost):
        return derive(given, columns)
    if not isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadPlan(f"A cost is a Cost, or text such as 6nd, got {shown(given)}.")
    columns = check_texts("columns", columns, "a list of column names")
    text, known = given.strip(), costs()
    if text in known:
        return known[text]
    if text in columns:
        unit = COLUMNS[text].unit if text in COLUMNS else "1"
        return Cost(text, text, unit if unit not in ("1", "label") else OTHER, "the column itself")
    if text in DERIVED and derivable(text, columns):
        formula, says = DERIVED[text]
        return Cost(text, formula, COLUMNS[text].unit, says)
    call = read_call(text, tuple(known))
    if call is not None:
        return build(call, MAKERS, _signatures(), partial(find_cost, columns=columns))
    _check_names(text, [*known, *columns, *(n for n in DERIVED if derivable(n, columns))])
    return derive(Cost(text, text, OTHER, "formula given by the user"), columns)


def _check_names(text: str, known: list[str]) -> None:
    """Raise BadFormula for an unknown single name, and for a formula that contains a cost's
    name."""
    if text in MAKERS:
        raise BadFormula(f"The cost {text} is written {_signatures()[text].usage}.")
    if re.fullmatch(r"\d*[A-Za-z_]\w*", text) and not re.fullmatch(r"\d+[eE]\d+", text):
        names = [*known, *(form.usage for form in _signatures().values())]
        raise BadFormula(
            f"There is no cost named {shown(text)}; named costs are {', '.join(names)}, or give a "
            f"formula of columns such as '6*n_params*n_tokens'.{nearest(text, [*known, *MAKERS])}"
        )
    used = [name for name in (*costs(), *MAKERS) if re.search(rf"(?<!\w){name}(?!\w)", text)]
    if used:
        raise BadFormula(
            f"A formula of columns cannot contain the cost {used[0]!r}; total(...) adds costs, and "
            "a formula can be one of them."
        )


def derivable(name: str, columns: Collection[str]) -> bool:
    """Return whether a missing column follows from those at hand."""
    return name not in columns and symbols(parse(DERIVED[name][0])) <= set(columns)


def derive(cost: Cost, columns: Collection[str]) -> Cost:
    """Return the cost with derived columns replaced by the columns that they follow from."""
    names = [name for name in cost.variables if name in DERIVED and derivable(name, columns)]
    if not names:
        return cost
    whole = substitute(cost.expr, {name: parse(DERIVED[name][0]) for name in names})
    says = "; ".join(filter(None, [cost.convention, *(DERIVED[name][1] for name in names)]))
    return replace(cost, formula=str(whole), convention=says)


def _signatures() -> dict[str, CallSignature]:
    shape = {field.name: str(field.type) for field in fields(ShapeRule)}
    flat = {name: kind for name, kind in shape.items() if name != "aspect"}
    return {
        name: signature_of(make, flat if make is width_depth else shape)
        for name, make in MAKERS.items()
    }


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


MAKERS: Mapping[str, Callable[..., Cost]] = MappingProxyType(
    {
        make.__name__: make
        for make in (serve, train_and_serve, total, gpu_hours, money, transformer, width_depth)
    }
)
