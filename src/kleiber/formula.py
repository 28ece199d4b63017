"""Expressions: parsed from text by the ``ast`` grammar, or traced from a Python function.

One small set of nodes serves every use of a formula: a derived column, a law, a cost, the
quantity whose interval is wanted. Text admits names, numbers, ``+ - * / **`` and the functions
``exp log sqrt log1p tanh``; nothing is ever passed to ``eval``. Tracing additionally understands
``numpy.minimum``, ``numpy.maximum`` (through a step node whose derivative is zero) and ``hold``.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadFormula, nearest

FUNCTIONS = ("exp", "log", "sqrt", "log1p", "tanh")
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
}
UFUNCS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "power": "pow",
    "float_power": "pow",
    "negative": "neg",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "log1p": "log1p",
    "tanh": "tanh",
}
LIMIT = 10_000  # characters of one formula


@dataclass(frozen=True, eq=False)
class Expr:
    """One node: an operation on other nodes, a number, or a symbol."""

    op: str
    args: tuple[Expr, ...] = ()
    value: float | str = 0.0

    def __add__(self, other: Any) -> Expr:
        return join("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return join("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return join("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return join("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return join("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return join("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return join("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return join("div", other, self)

    def __pow__(self, other: Any) -> Expr:
        return join("pow", self, other)

    def __rpow__(self, other: Any) -> Expr:
        return join("pow", other, self)

    def __neg__(self) -> Expr:
        return join("neg", self)

    def __pos__(self) -> Expr:
        return self

    def __bool__(self) -> bool:
        raise TypeError("A traced expression has no truth value.")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expr):
            return self is other
        raise TypeError("A traced expression cannot be compared.")

    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        if ufunc.__name__ in ("minimum", "maximum"):
            first, second = (as_expr(item) for item in inputs)
            lead = first - second if ufunc.__name__ == "maximum" else second - first
            chosen = join("step", lead)
            return first * chosen + second * (1 - chosen)  # exact, also for unlike magnitudes
        op = UFUNCS.get(ufunc.__name__)
        return NotImplemented if op is None else join(op, *inputs)

    def __str__(self) -> str:
        return render(self)


def number(value: float) -> Expr:
    """Return the constant ``value``."""
    return Expr("number", (), float(value))


def symbol(name: str) -> Expr:
    """Return the free symbol ``name``: a column or a parameter."""
    return Expr("symbol", (), name)


def as_expr(item: Any) -> Expr:
    """Convert an expression or a real number to an expression; raise TypeError for anything
    else."""
    if isinstance(item, Expr):
        return item
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        return number(float(item))
    if np.ndim(item) == 0 and np.asarray(item).dtype.kind in "iuf":  # a scalar of NumPy's
        return number(float(item))
    raise TypeError(f"A {type(item).__name__} cannot be used in a formula.")


def join(op: str, *args: Any) -> Expr:
    """Return the node ``op`` over ``args``."""
    return Expr(op, tuple(as_expr(item) for item in args))


def hold(x: Any) -> Any:
    """Return x, which counts as a constant in the derivatives of a traced law.

    Derivatives of a converged iteration are obtained by holding its result and applying one more
    step: they are exact to the order below that of the step's convergence.
    """
    return join("hold", x) if isinstance(x, Expr) else x


def parse(text: str) -> Expr:
    """Read a formula such as ``"E + A/n_params**alpha"``.

    Raises BadFormula, which names what was refused.
    """
    if not text.strip():
        raise BadFormula("The formula is empty; write for example 'E + A/n_params**alpha'.")
    if len(text) > LIMIT:
        raise BadFormula(f"The formula has {len(text)} characters; at most {LIMIT} are read.")
    try:
        with warnings.catch_warnings():  # such as "invalid decimal literal"
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
        return _from_ast(tree.body, text)
    except SyntaxError as error:
        where = f" at character {error.offset}" if error.offset else ""
        raise BadFormula(f"Cannot read the formula {text!r}{where}: {error.msg}.") from None
    except (RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, BadFormula):
            raise
        raise BadFormula(
            f"Cannot read the formula {text[:60]!r}: too deep or unreadable."
        ) from None
    except OverflowError:
        raise BadFormula(f"A number in {text[:60]!r} is not finite.") from None


def _from_ast(node: ast.AST, text: str) -> Expr:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if not math.isfinite(value):
                raise BadFormula(f"The number {value} in {text!r} is not finite.")
            return number(value)
        case ast.Name(id=name):
            if name in FUNCTIONS:
                raise BadFormula(f"{name!r} is a function; write {name}(...).")
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _from_ast(operand, text)
            if inner.op == "number":
                return number(-float(inner.value))
            return -inner
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _from_ast(operand, text)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            return join(OPERATORS[type(operator)], _from_ast(left, text), _from_ast(right, text))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return join(name, _from_ast(argument, text))
        case _:
            names = ", ".join(f"{name}()" for name in FUNCTIONS)
            raise BadFormula(
                f"{_refused(node)}; a formula has names, numbers, + - * / ** and {names}."
                f"{_nearest_function(node)}"
            )


def _refused(node: ast.AST) -> str:
    match node:
        case ast.BinOp(op=ast.BitXor()):
            return "'^' is not accepted (write ** for a power)"
        case ast.BinOp(op=operator) | ast.UnaryOp(op=operator):
            return f"The operator {type(operator).__name__} is not accepted"
        case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
            return f"{name}() takes exactly one argument"
        case ast.Call(func=ast.Name(id=name)):
            return f"The function {name}() is not accepted"
        case ast.Constant(value=value):
            return f"The constant {value!r} is not accepted"
        case _:
            return f"{ast.unparse(node)!r} ({type(node).__name__}) is not accepted"


def _nearest_function(node: ast.AST) -> str:
    """Return the hint for an unknown function, or an empty text."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name not in FUNCTIONS:
            return nearest(name, FUNCTIONS)
        case _:
            return ""


def trace(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Expr | None:
    """Return the expression that ``function(**arguments)`` builds from symbols, or None if it
    cannot.

    Positional-only and keyword arguments are passed by name. A law that branches, loops over
    values or calls an unknown function is not traceable; its derivatives then come from the
    complex step.
    """
    try:
        return as_expr(function(**arguments))
    except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RecursionError):
        return None


def symbols(expr: Expr) -> frozenset[str]:
    """Return the names of the free symbols, in no order."""
    return frozenset(str(node.value) for node in walk(expr) if node.op == "symbol")


def walk(expr: Expr) -> list[Expr]:
    """Return every distinct node, children before parents."""
    done: dict[int, Expr] = {}
    stack = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready:
            done[id(node)] = node
        else:
            stack.append((node, True))
            stack.extend((item, False) for item in node.args)
    return list(done.values())


def substitute(expr: Expr, replace: Mapping[str, Expr]) -> Expr:
    """Replace each symbol named in ``replace``."""
    new: dict[int, Expr] = {}
    for node in walk(expr):
        if node.op == "symbol":
            new[id(node)] = replace.get(str(node.value), node)
        elif node.args:
            new[id(node)] = Expr(node.op, tuple(new[id(item)] for item in node.args), node.value)
        else:
            new[id(node)] = node
    return new[id(expr)]


def _step(x: Any) -> Any:
    return np.where(np.real(x) > 0, 1.0, 0.0)


CALCULATE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "step": _step,
    "hold": np.positive,
}


def evaluate(expr: Expr, values: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """Evaluate ``expr`` with the given number or array for each symbol, broadcast together.

    Raises BadFormula for a symbol that has no value. Overflow and invalid operations give
    infinities and NaN, as NumPy does; the caller decides what they mean.
    """
    used = symbols(expr)
    for name in used:
        if name not in values:
            raise BadFormula(f"No value is given for {name!r}.{nearest(name, list(values))}")
    result = calculate(expr, {name: np.asarray(values[name], dtype=float) for name in used})
    return np.asarray(result, dtype=float)


def calculate(expr: Expr, values: Mapping[str, Any]) -> Any:
    """Evaluate without checks, on whatever NumPy computes with (complex numbers too)."""
    have: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for node in walk(expr):
            if node.op == "number":
                have[id(node)] = node.value
            elif node.op == "symbol":
                have[id(node)] = values[str(node.value)]
            else:
                have[id(node)] = CALCULATE[node.op](*(have[id(item)] for item in node.args))
    return have[id(expr)]


PRECEDENCE = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
SIGNS = {"add": " + ", "sub": " - ", "mul": "*", "div": "/", "pow": "**"}


def render(expr: Expr) -> str:
    """Write the formula as text; ``parse(render(expr))`` is the same formula (step nodes excepted).

    Raises BadFormula for a formula that has no readable length: parts that occur many times are
    written out each time.
    """
    text: dict[int, str] = {}
    for node in walk(expr):
        text[id(node)] = _render_node(node, [text[id(item)] for item in node.args])
        if len(text[id(node)]) > LIMIT:
            raise BadFormula(f"The formula is longer than {LIMIT} characters when written out.")
    return text[id(expr)]


def _render_node(node: Expr, parts: list[str]) -> str:
    if node.op == "symbol":
        return str(node.value)
    if node.op == "number":
        value = float(node.value)
        whole = value.is_integer() and abs(value) < 1e15 and repr(value) != "-0.0"
        return str(int(value)) if whole else repr(value)
    if node.op == "neg":
        return f"-{_bracket(node.args[0], parts[0], 3)}"
    if node.op in SIGNS:
        level = PRECEDENCE[node.op]
        left = _bracket(node.args[0], parts[0], level + (node.op == "pow"))
        # the right side needs brackets at its own level; that of ** admits a minus sign
        tight = 3 if node.op == "pow" else level + 1
        if node.op in ("add", "mul") and parts[1].startswith("-"):
            tight = 9
        return left + SIGNS[node.op] + _bracket(node.args[1], parts[1], tight)
    return f"{node.op}({', '.join(parts)})"


def _bracket(node: Expr, text: str, level: int) -> str:
    own = PRECEDENCE.get(node.op, 9)
    if node.op == "number" and text.startswith("-"):
        own = 3
    return text if own >= level else f"({text})"
