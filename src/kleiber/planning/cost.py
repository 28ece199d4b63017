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

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, partial
from types import MappingProxyType, ModuleType
from typing import Any

from kleiber.arguments import check_text, check_texts
from kleiber.columns import COLUMNS
from kleiber.errors import BadFormula, BadPlan, nearest, shown
from kleiber.formula import Expr, parse, substitute, symbols, walk
from kleiber.planning.call import CallSignature, build, read_call, signature_of

FOLDER = f"{__name__}s"  # the package of all costs but six_nd, which are discovered
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
# columns that follow from others by a convention
DERIVED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"flops": (six_nd.formula, f"flops stands for {six_nd.convention}")}
)


def __getattr__(name: str) -> Any:
    """Return a cost, or a function that makes one, by its name in a module of ``costs/``."""
    known: dict[str, Any] = {}
    for module in () if name.startswith("_") else list_modules():
        known |= {key: each for key, each in vars(module).items() if isinstance(each, Cost)}
    known |= {} if name.startswith("_") else makers()
    if name not in known:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, known)}")
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *makers()})


@cache
def list_modules() -> tuple[ModuleType, ...]:
    """Load the modules of ``costs/``."""
    found = pkgutil.iter_modules(importlib.import_module(FOLDER).__path__, f"{FOLDER}.")
    return tuple(importlib.import_module(item.name) for item in found)


def costs() -> dict[str, Cost]:
    """Return the named costs that take no options."""
    found = {six_nd.name: six_nd}
    for module in list_modules():
        found |= {each.name: each for each in vars(module).values() if isinstance(each, Cost)}
    return found


def makers() -> dict[str, Callable[..., Cost]]:
    """Return the functions that make a cost, by name."""
    return {
        name: function
        for module in list_modules()
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and inspect.signature(function).return_annotation == "Cost"
    }


def describe_makers() -> dict[str, str]:
    """Return the usage of each cost with options, and what it counts, in one sentence."""
    return {
        form.usage: (makers()[name].__doc__ or "").split("\n\n")[0].replace("\n    ", " ")
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
        return build(call, makers(), _signatures(), partial(find_cost, columns=columns))
    _check_names(text, [*known, *columns, *(n for n in DERIVED if derivable(n, columns))])
    return derive(Cost(text, text, OTHER, "formula given by the user"), columns)


def _check_names(text: str, known: list[str]) -> None:
    """Raise BadFormula for an unknown single name, and for a formula that contains a cost's
    name."""
    calls, signatures = makers(), _signatures()
    if text in calls:
        raise BadFormula(f"The cost {text} is written {signatures[text].usage}.")
    if re.fullmatch(r"\d*[A-Za-z_]\w*", text) and not re.fullmatch(r"\d+[eE]\d+", text):
        names = [*known, *(form.usage for form in signatures.values())]
        raise BadFormula(
            f"There is no cost named {shown(text)}; named costs are {', '.join(names)}, or give a "
            f"formula of columns such as '6*n_params*n_tokens'.{nearest(text, [*known, *calls])}"
        )
    used = [name for name in (*costs(), *calls) if re.search(rf"(?<!\w){name}(?!\w)", text)]
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
    """Return how each function that makes a cost is written."""
    options: dict[str, Mapping[str, str]] = {}
    for module in list_modules():
        options |= getattr(module, "OPTIONS", {})
    return {name: signature_of(make, options.get(name, {})) for name, make in makers().items()}
