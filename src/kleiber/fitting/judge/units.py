"""Implausible units: columns of counts that hold logarithms, millions or billions.

Parameters, tokens and examples are counted one by one. A column of them with fractions, or with
values below 1, holds something else: its logarithm, or the count in a larger unit. A logarithm
spoils a power law, whose exponents then come out many times too large; a larger unit leaves the
exponents unchanged and spoils every cost that is computed from the column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable
from kleiber.formula import symbols, walk
from kleiber.law import Law
from kleiber.maths.affine import find_exponents

COUNTS = {  # what each column counts
    "n_params": "parameters",
    "n_tokens": "tokens",
    "n_unique": "tokens",
    "n_data": "examples",
}
NEVER_FRACTIONAL = frozenset({"n_params", "n_tokens"})  # of which nobody has a few and a fraction
LOG_RANGES = {"10": (3.0, 15.0), "e": (7.0, 34.0)}  # of a thousand to 1e15, by base
MAX_LOG_RATIO = 4.0  # largest over smallest of a column of logarithms
MAX_FRACTIONAL, MIN_MILLIONS = (
    1e4,
    2e3,
)  # columns with fractions up to here are too small; from here in millions
IMPLAUSIBLE_FACTOR = 2.0  # an exponent so many times beyond its range is no exponent of a count
FAR_FACTOR = 3.0  # and so many times, on either side, is said in any case
MAX_EXPONENT = 2.0  # the largest exponent that is looked for where a law declares none
RATIO_RANGE = (1e-3, 1e6)  # tokens per parameter of any run, toys included
UNITS = (1e3, 1e6, 1e9, 1e12)
UNIT_WORDS = {1e3: "thousands", 1e6: "millions", 1e9: "billions", 1e12: "trillions"}
UNIT_SUFFIXES = {1e3: "k", 1e6: "m", 1e9: "b", 1e12: "t"}

Columns = Mapping[str, Float[np.ndarray, "rows"]]


def refuse_logarithms(law: Law, columns: Columns, params: Mapping[str, float]) -> None:
    """Raise BadTable if a column of counts holds logarithms, which make the fitted exponents
    meaningless."""
    logs = {name: base for name in columns if (base := log_base(law, name, columns[name]))}
    steep = [
        name for name in _implausible_exponents(law, params, IMPLAUSIBLE_FACTOR) if params[name] > 1
    ]
    if not logs or not steep:
        return
    first = next(iter(logs))
    low, high = float(columns[first].min()), float(columns[first].max())
    ends = f"{_undo_log(logs[first], low):.3g} to {_undo_log(logs[first], high):.3g}"
    named = ", ".join(f"{name} = {params[name]:.3g}" for name in steep)
    raise BadTable(
        f"Column {first!r} holds {low:.4g} to {high:.4g}: fractions of "
        f"{COUNTS[first]}, which look like logarithms to base {logs[first]} (of {ends}), and the "
        f"exponents come out accordingly ({named}). Undo them: {_log_commands(logs)}."
    )


def log_base(law: Law, name: str, values: Float[np.ndarray, "rows"]) -> str:
    """Return "10" or "e" if a column of counts that the law raises to a power looks like logarithms
    to that base; else ""."""
    if name not in COUNTS or name not in powered_columns(law) or _are_integers(values):
        return ""
    low, high = float(values.min()), float(values.max())
    if not 0 < high <= MAX_LOG_RATIO * low:
        return ""
    return next(
        (base for base, ends in LOG_RANGES.items() if ends[0] <= low and high <= ends[1]), ""
    )


def powered_columns(law: Law) -> set[str]:
    """Return the columns that the law raises to a fitted exponent, alone or with others."""
    if law.expr is None:
        return set()
    powers = (node for node in walk(law.expr) if node.op == "pow")
    fitted = (node for node in powers if symbols(node.args[1]) & set(law.params))
    return {name for node in fitted for name in symbols(node.args[0]) & set(law.variables)}


def note_units(law: Law, columns: Columns, params: Mapping[str, float]) -> tuple[str, ...]:
    """Return one sentence for each implausible unit of the law's columns, with the command that
    corrects it."""
    notes = [note for name in columns if (note := _note_column(law, name, columns[name]))]
    if not notes and {"n_params", "n_tokens"} <= set(columns):
        notes += _note_ratio(columns["n_params"], columns["n_tokens"])
    for name in _implausible_exponents(law, params, FAR_FACTOR) if not notes else ():
        domain = law.domains[name]
        notes.append(
            f"{name} = {params[name]:.3g} lies far outside {domain.low:g} to {domain.high:g}, "
            f"where this exponent of {law.name} is looked for: check the units of "
            f"{', '.join(columns)} and whether the law suits the table."
        )
    return tuple(notes)


def _note_column(law: Law, name: str, values: Float[np.ndarray, "rows"]) -> str:
    """Describe what is implausible about one column of counts."""
    low, high = float(values.min()), float(values.max())
    broken = name in NEVER_FRACTIONAL and high < MAX_FRACTIONAL and not _are_integers(values)
    if name not in COUNTS or low <= 0 or not (low < 1 or broken):
        return ""
    unit = 1e6 if high >= MIN_MILLIONS else 1e9
    what = f"Column {name!r} holds {low:.4g} to {high:.4g}, which is no count of {COUNTS[name]}"
    text = (
        f"{what}: it seems to be in {UNIT_WORDS[unit]}, and a cost computed from it is then wrong."
    )
    remedy = _unit_command(name, unit)
    if base := log_base(law, name, values):
        other = _log_commands({name: base})
        return f"{text} Mend it with {remedy}, or, if it holds logarithms, {other}."
    return f"{text} Mend it with {remedy}."


def _note_ratio(params: Float[np.ndarray, "rows"], tokens: Float[np.ndarray, "rows"]) -> list[str]:
    """Describe parameters and tokens that cannot be in the same unit."""
    if (params <= 0).any() or (tokens <= 0).any():
        return []
    ratio = float(np.exp(np.median(np.log(tokens) - np.log(params))))
    if RATIO_RANGE[0] <= ratio <= RATIO_RANGE[1]:
        return []
    name = "n_params" if ratio > 1 else "n_tokens"
    off = ratio / 20 if ratio > 1 else 20 / ratio
    unit = min(UNITS, key=lambda each: abs(math.log(off / each)))
    return [
        f"The runs have {ratio:.2g} tokens for each parameter: {name} seems to be in "
        f"{UNIT_WORDS[unit]}, and a cost computed from it is then wrong. Mend it with "
        f"{_unit_command(name, unit)}."
    ]


def _implausible_exponents(law: Law, params: Mapping[str, float], times: float) -> list[str]:
    """Return exponents so many times beyond the range that the law declares for them, or beyond 2
    if it declares none."""
    exponents: set[str] = set() if law.expr is None else find_exponents(law.expr)
    found: list[str] = []
    for name in law.params:
        if name not in exponents or not params[name] > 0:
            continue
        low, high = law.domains[name].low, law.domains[name].high
        if low is None or high is None:
            if times == IMPLAUSIBLE_FACTOR and params[name] > times * MAX_EXPONENT:
                found.append(name)
        elif low > 0 and not low / times <= params[name] <= high * times:
            found.append(name)
    return found


def _are_integers(values: Float[np.ndarray, "rows"]) -> bool:
    return bool((values == np.round(values)).all())


def _undo_log(base: str, value: float) -> float:
    return 10.0**value if base == "10" else math.exp(value)


def _log_commands(logs: Mapping[str, str]) -> str:
    """Return the options that undo logarithms in all of the columns."""
    parts: list[str] = []
    for name, base in logs.items():
        old = f"log10_{name}" if base == "10" else f"log_{name}"
        formula = f"10**{old}" if base == "10" else f"exp({old})"
        parts.append(f'--rename {old}={name} --with "{name}={formula}"')
    return " ".join(parts)


def _unit_command(name: str, unit: float) -> str:
    """Return the options that turn a column into single counts."""
    old = f"{name}_{UNIT_SUFFIXES[unit]}"
    return f'--rename {old}={name} --with "{name}=1e{round(math.log10(unit))}*{old}"'
