"""Reading and writing the text of costs that are built from other costs.

Text such as ``money(6nd, price=2, ...)`` is parsed with ``ast`` and checked against the signatures
of the functions that build costs. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from kleiber.errors import BadFormula, nearest, shown
from kleiber.formula import FUNCTIONS, LIMIT

Option: TypeAlias = "float | bool | str | Call"
T = TypeVar("T")
# such as 6nd, which Python cannot read as a name; not 1e9 or 1e+09
DIGIT_NAME = re.compile(r"(?<![\w.])(?!\d+[eE][+-]?\d+(?!\w))\d+[A-Za-z_]\w*")


@dataclass(frozen=True)
class Call:
    """A call in the text of a cost: its name, its positional parts (calls, or text of costs), its
    options."""

    name: str
    parts: tuple[Call | str, ...]
    options: Mapping[str, Option]


def read_call(text: str, names: Sequence[str]) -> Call | None:
    """Return the call that ``text`` is, or None if it is not a call. Raises BadFormula.

    ``names`` are the known names that begin with a digit. The functions of a formula, such as
    exp(...), are no calls of costs.
    """
    if len(text) > LIMIT or "(" not in text:
        return None
    escaped = DIGIT_NAME.sub(lambda match: _escape_name(match.group(), names), text)
    try:
        with warnings.catch_warnings():  # such as "invalid decimal literal"
            warnings.simplefilter("ignore")
            node = ast.parse(escaped, mode="eval").body
        return _call(node, escaped) if _is_call(node) else None
    except SyntaxError as error:
        if not re.match(r"\w+\s*\(", escaped) or escaped.split("(")[0].strip() in FUNCTIONS:
            return None  # a formula, whose own reader says what is wrong with it
        raise BadFormula(f"The cost {shown(text)} cannot be read: {error.msg}.") from None
    except (RecursionError, MemoryError):
        raise BadFormula(
            f"The cost {shown(text)} cannot be read: it is nested too deeply."
        ) from None
    except BadFormula:
        raise
    except ValueError as error:  # null characters, numbers of thousands of digits
        raise BadFormula(f"The cost {shown(text)} cannot be read: {error}.") from None


def _escape_name(name: str, names: Sequence[str]) -> str:
    """Return a valid Python name for a known name that begins with a digit."""
    if name not in names:
        raise BadFormula(
            f"no cost named {name!r}; known are {', '.join(names)}.{nearest(name, names)}"
        )
    return f"_{name}"


def _unescape_name(text: str) -> str:
    return re.sub(r"(?<!\w)_(\d)", r"\1", text)


def _is_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id not in FUNCTIONS
    )


def _call(node: ast.AST, text: str) -> Call:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    options: dict[str, Option] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise BadFormula(
                f"'**' is not accepted in {node.func.id}(...); write each option as name=value."
            )
        if keyword.arg in options:
            raise BadFormula(f"The cost {node.func.id}(...) gives the option {keyword.arg} twice.")
        options[keyword.arg] = _option(keyword.arg, keyword.value, text)
    return Call(node.func.id, tuple(_part(item, text) for item in node.args), options)


def _part(node: ast.AST, text: str) -> Call | str:
    """Return a call, or the text of a name or formula."""
    return _call(node, text) if _is_call(node) else _source(node, text)


def _source(node: ast.AST, text: str) -> str:
    return _unescape_name(ast.get_source_segment(text, node) or ast.unparse(node))


def _option(name: str, node: ast.AST, text: str) -> Option:
    """Return the value of an option: a number, true or false, a name, or a call."""
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.Constant(value=int() | float() as value):
            return _finite(name, value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -_finite(name, value)
        case ast.Name(id="true" | "false" as word):
            return word == "true"
        case ast.Name(id=word):
            return _unescape_name(word)
        case _ if _is_call(node):
            return _call(node, text)
        case ast.BinOp():  # a formula, where a cost is wanted
            return _source(node, text)
        case _:
            raise BadFormula(
                f"{name}={shown(_source(node, text))} is not accepted: an option is a number, true "
                "or false, a cost or the name of a convention."
            )


def _finite(name: str, value: float) -> float:
    try:
        if math.isfinite(number := float(value)):
            return number
    except OverflowError:
        pass
    raise BadFormula(f"The value of {name} must be a finite number.")


@dataclass(frozen=True)
class CallSignature:
    """The arguments that a cost accepts: the number of its parts, and the kind of each option.

    Kinds are annotations: "float", "bool", "float | None", or one that a cost or a name satisfies.
    """

    name: str
    parts: float
    kinds: Mapping[str, str]
    needed: tuple[str, ...]

    @property
    def usage(self) -> str:
        """How the cost is written, such as ``money(COST, price=NUMBER)``."""
        first = ["COST, ..."] if self.parts > 1 else ["COST"] * int(self.parts)
        return f"{self.name}({', '.join([*first, *(f'{item}=NUMBER' for item in self.needed)])})"


def signature_of(
    make: Callable[..., Any], extra: Mapping[str, str] = MappingProxyType({})
) -> CallSignature:
    """Return the signature of a function that builds a cost.

    Parts are its positional parameters without default, options its keyword-only ones; ``extra``
    are the kinds of those that its ``**options`` take.
    """
    parts, kinds, needed = 0.0, dict[str, str](), list[str]()
    for item in inspect.signature(make).parameters.values():
        if item.kind is item.VAR_POSITIONAL:
            parts = math.inf
        elif item.kind is item.VAR_KEYWORD:
            kinds |= extra
        elif item.kind is item.KEYWORD_ONLY:
            kinds[item.name] = str(item.annotation)
            needed += [item.name] * (item.default is item.empty)
        elif item.default is item.empty:
            parts += 1
    return CallSignature(make.__name__, parts, kinds, tuple(needed))


def build(
    call: Call,
    makers: Mapping[str, Callable[..., T]],
    forms: Mapping[str, CallSignature],
    find: Callable[[str], T],
) -> T:
    """Build the cost of a call, inner calls first; raise BadFormula for unknown names or
    options."""
    if call.name not in makers:
        known = ", ".join(f"{name}(...)" for name in makers)
        hint = nearest(call.name, makers)
        raise BadFormula(
            f"There is no cost named {call.name!r}; costs with options are {known}.{hint}"
        )
    form = forms[call.name]
    for name, value in call.options.items():
        if name not in form.kinds:
            hint = nearest(name, form.kinds)
            raise BadFormula(
                f"The cost {call.name}(...) takes {', '.join(form.kinds)}, not {name!r}.{hint}"
            )
        _check_kind(name, value, form.kinds[name])
    missing = [name for name in form.needed if name not in call.options]
    if missing or len(call.parts) > form.parts or (form.parts and not call.parts):
        raise BadFormula(f"The cost {call.name}(...) is written {form.usage}.")

    def built(item: Option) -> Any:
        return build(item, makers, forms, find) if isinstance(item, Call) else item

    parts = [find(item) if isinstance(item, str) else built(item) for item in call.parts]
    return makers[call.name](*parts, **{name: built(item) for name, item in call.options.items()})


def _check_kind(name: str, value: Option, kind: str) -> None:
    truth, figure = isinstance(value, bool), isinstance(value, float | int)
    given = f"{value.name}(...)" if isinstance(value, Call) else shown(value)
    if kind == "bool":
        if not truth:
            raise BadFormula(f"The value of {name} must be true or false, got {given}.")
    elif kind.startswith("float"):
        if truth or not figure:
            raise BadFormula(f"The value of {name} must be a number, got {given}.")
    elif truth or figure or (isinstance(value, Call) and "Cost" not in kind):
        raise BadFormula(
            f"The value of {name} must be a name{' or cost' * ('Cost' in kind)}, got {given}."
        )


def write_call(make: Callable[..., Any], parts: Sequence[str], options: Mapping[str, Any]) -> str:
    """Return the text that ``read_call`` reads, without options that are None or have their
    defaults."""
    defaults = {name: item.default for name, item in inspect.signature(make).parameters.items()}
    arguments = list(parts)
    for name, value in options.items():
        if value is not None and value != defaults.get(name, inspect.Parameter.empty):
            arguments.append(f"{name}={_format_option(value)}")
    return f"{make.__name__}({', '.join(arguments)})"


def _format_option(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
