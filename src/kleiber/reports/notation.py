"""Formulas as TeX mathematics, term by term."""

from __future__ import annotations

import re
from collections.abc import Collection

from kleiber.formula import Expr

GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)
TIGHT = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
NAMES = {"exp": r"\exp", "log": r"\log", "log1p": r"\mathrm{log1p}", "tanh": r"\tanh"}
DEEPEST = 40  # nodes on the way down to a leaf


def typeset_terms(expr: Expr, columns: Collection[str]) -> tuple[str, ...]:
    """Return the terms of a sum, each with its sign, so that lines can be broken between them.

    Names in ``columns`` stay upright; Greek names and subscripts become what they name. Returns
    () for a formula with no usual notation (a step) or too long or deep to read.
    """
    try:
        str(expr)  # BadFormula if it is too long: shared parts may be written out without end
        return tuple(_terms(expr, "", columns))
    except ValueError:
        return ()


def _terms(node: Expr, sign: str, columns: Collection[str], depth: int = 0) -> list[str]:
    if depth > DEEPEST:
        raise ValueError("too deep")
    if node.op in ("add", "sub"):
        left, right = node.args
        first = _terms(left, sign, columns, depth + 1)
        if node.op == "add":
            return first + _terms(right, "+", columns, depth + 1)
        return [*first, f"-{_with_brackets(right, 1, columns, depth)}"]
    text = _text(node, columns, depth)
    return [text if text.startswith("-") else sign + text]


def _text(node: Expr, columns: Collection[str], depth: int) -> str:
    """Return a node and everything below it as TeX."""
    if depth > DEEPEST:
        raise ValueError("too deep")
    depth += 1
    match node.op, node.args:
        case "symbol", _:
            return typeset_name(str(node.value), columns)
        case "number", _:
            return _number(float(node.value))
        case "add", (left, right):
            after = _text(right, columns, depth)
            plus = "" if after.startswith("-") else "+"
            return f"{_text(left, columns, depth)}{plus}{after}"
        case "sub", (left, right):
            return f"{_text(left, columns, depth)}-{_with_brackets(right, 1, columns, depth)}"
        case "mul", (left, right):
            before = _with_brackets(left, 1, columns, depth, first=True)
            after = _with_brackets(right, 1, columns, depth)
            return before + (r"\cdot " if after[0] in "0123456789" else r"\,") + after
        case "div", (left, right):
            above = _with_brackets(left, 1, columns, depth, first=True)
            return f"{above}/{_with_brackets(right, 2, columns, depth)}"
        case "neg", (inner,):
            return f"-{_with_brackets(inner, 1, columns, depth)}"
        case "pow", (base, power):
            return f"{_with_brackets(base, 4, columns, depth)}^{{{_text(power, columns, depth)}}}"
        case "sqrt", (inner,):
            return rf"\sqrt{{{_text(inner, columns, depth)}}}"
        case name, (inner,) if name in NAMES:
            return f"{NAMES[name]}({_text(inner, columns, depth)})"
        case _:
            raise ValueError(f"no notation for {node.op}")


def _with_brackets(
    node: Expr, weakest: int, columns: Collection[str], depth: int, *, first: bool = False
) -> str:
    """Return a node as TeX, in brackets unless it binds more tightly than ``weakest``; only the
    ``first`` factor of a product keeps a minus sign without brackets."""
    text = _text(node, columns, depth)
    power_of_ten = node.op == "number" and r"\times" in text and weakest > 1
    loose = node.op != "neg" and TIGHT.get(node.op, 9) <= weakest
    return f"({text})" if loose or power_of_ten or (text[0] == "-" and not first) else text


def typeset_name(name: str, columns: Collection[str] = ()) -> str:
    """Return a column in upright letters, a parameter with its Greek letter and subscript."""
    head, _, tail = name.partition("_")
    if not tail and (found := re.fullmatch(r"([A-Za-z]+)(\d+)", name)):
        head, tail = found.groups()
    if name in columns or not head or (len(head) > 1 and head not in GREEK):
        return rf"\mathrm{{{_escape(name)}}}"
    letter = f"\\{head}" if head in GREEK else head
    if not tail:
        return letter
    below = f"\\{tail}" if tail in GREEK else rf"\mathrm{{{_escape(tail)}}}"
    return f"{letter}_{{{below}}}"


def _escape(name: str) -> str:
    return "".join(rf"\{c}" if c in "_$%#&{}" else c for c in name)


def _number(value: float) -> str:
    text = repr(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.6g}"
    digits, _, power = text.partition("e")
    return rf"{digits}\times 10^{{{int(power)}}}" if power else text
