"""Law: a pure formula whose positional arguments are columns and keyword-only ones parameters."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from kleiber.arguments import (
    check_call,
    check_mapping,
    check_record,
    check_text,
    check_texts,
)
from kleiber.domain import Domain as Domain
from kleiber.domain import Kind as Kind
from kleiber.domain import fraction as fraction
from kleiber.domain import positive as positive
from kleiber.domain import real as real
from kleiber.errors import BadFormula, BadLaw, listed, nearest, reason, shown
from kleiber.formula import (
    Expr,
    calculate,
    evaluate,
    number,
    parse,
    render,
    substitute,
    symbol,
    symbols,
    trace,
)
from kleiber.maths.affine import find_affine_arguments, find_exponents, find_linear

SIMILAR = 0.85  # similarity from which a parameter's name is taken for a column typed wrong
UNAMBIGUOUS_COLUMNS = frozenset(  # names that can only mean a column, so that a missing one is said
    "n_params n_tokens n_data n_unique flops step width depth batch_size".split()
)


@dataclass(frozen=True)
class Law:
    """A formula that a fit can use: its columns are known, its parameters are free.

    ``Law(function)`` reads everything from a function, so it serves as a decorator. Positional
    arguments are columns of a table and keyword-only arguments are parameters, each with its domain
    as its default. A law is called like its function, with arrays that broadcast.

    Attributes
    ----------
    function
        A function of NumPy arrays, such as ``def law(n_params, *, A=positive(1, 1e4))``.
    name
        By default the function's name.
    variables, domains
        The names of the columns, and the domain of each parameter by name; read from the signature
        unless given.
    expr
        The formula as an expression, from which derivatives are taken. None where the function
        cannot be traced, because it branches on values, say; ``fit`` then uses complex-step
        derivatives.
    doc, origin
        The function's docstring, and ``"file.py:name"`` for a law from a file, else empty.
    open_signs
        Parameters whose sign nobody has declared: the data may make them real.

    Raises
    ------
    BadLaw
        For a signature without columns or parameters, or a parameter without a domain; when called,
        for missing or unknown names and for values that are no numbers.

    Examples
    --------
    >>> import kleiber
    >>> @kleiber.Law
    ... def power(n_params, *, A=kleiber.positive(1, 1e4), alpha=kleiber.positive(0.1, 1)):
    ...     return A / n_params**alpha
    >>> power.variables, power.params
    (('n_params',), ('A', 'alpha'))
    >>> float(power(1e8, A=400.0, alpha=0.5))
    0.04
    """

    function: Callable[..., Any]
    name: str = ""
    variables: tuple[str, ...] = ()
    domains: Mapping[str, Domain] = field(default_factory=dict[str, Domain])
    expr: Expr | None = field(default=None, repr=False)  # a traced loop, as a tree, has no end
    doc: str = ""
    origin: str = ""
    open_signs: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_law(self)
        if self.variables or self.domains:
            object.__setattr__(self, "domains", MappingProxyType(dict(self.domains)))
            return
        variables, domains = _read_signature(self.function)
        names = (*variables, *domains)
        object.__setattr__(self, "name", self.name or self.function.__name__)
        object.__setattr__(self, "variables", variables)
        object.__setattr__(self, "domains", MappingProxyType(domains))
        object.__setattr__(self, "doc", inspect.cleandoc(self.function.__doc__ or ""))
        object.__setattr__(
            self, "expr", trace_law(self.function, variables, {n: symbol(n) for n in names})
        )

    @property
    def params(self) -> tuple[str, ...]:
        """The names of the free parameters, in order."""
        return tuple(self.domains)

    @property
    def formula(self) -> str:
        """The formula as text, or the file and name of a law that cannot be written as one."""
        try:
            return (self.origin or self.name) if self.expr is None else render(self.expr)
        except BadFormula:  # a traced loop, say, whose text would have no end
            return self.origin or self.name

    @property
    def citation(self) -> str:
        """The citation of the docstring: everything after its first sentence."""
        return " ".join(self.doc.split("\n\n")[0].split()).partition(". ")[2]

    def __call__(self, *columns: Any, **named: Any) -> Float[np.ndarray, "..."]:
        """Evaluate the law; columns are given by position or name, parameters by name."""
        given = dict(zip(self.variables, columns, strict=False)) | named
        wanted = (*self.variables, *self.domains)
        missing = [name for name in wanted if name not in given]
        twice = set(self.variables[: len(columns)]) & set(named)
        if missing or twice or len(columns) > len(self.variables) or set(given) - set(wanted):
            raise BadLaw(
                f"Law {self.name} takes columns {', '.join(self.variables)} and parameters "
                f"{', '.join(self.domains)}; got {', '.join(given)}."
            )
        if self.expr is not None:
            try:
                return evaluate(self.expr, given)
            except (TypeError, ValueError, OverflowError) as error:
                raise _refuse_values(self, given) from error
        first = [np.asarray(given[name]) for name in self.variables]
        return np.asarray(run_function(self, first, {n: given[n] for n in self.domains}))


def _refuse_values(law: Law, given: Mapping[str, Any]) -> BadLaw:
    """Make the error that names the value at which a law cannot be evaluated."""
    for name, value in given.items():
        try:
            np.asarray(value, dtype=float)
        except (TypeError, ValueError, OverflowError):
            return BadLaw(
                f"Law {law.name} takes numbers or arrays of them, but {name} is {shown(value)}."
            )
    shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in given.items())
    return BadLaw(f"Law {law.name} takes numbers or arrays of one shape, got {shapes}.")


def _check_law(law: Law) -> None:
    """Raise BadArgument for a field of the wrong type."""
    check_call("function", law.function, "a function of columns and keyword-only parameters")
    for name in ("name", "doc", "origin"):
        check_text(name, getattr(law, name))
    accepted = "a mapping from parameters to Domains"
    for name, kind in (("open_signs", frozenset), ("variables", tuple), ("domains", Mapping)):
        check_record(name, getattr(law, name), kind, f"a {kind.__name__.lower()} of names")
    check_texts("open_signs", law.open_signs)
    check_texts("variables", law.variables)
    for domain in check_mapping("domains", law.domains, accepted).values():
        check_record("domains", domain, Domain, accepted)
    if law.expr is not None:
        check_record("expr", law.expr, Expr, "an Expr of kleiber.formula or None")


def _read_signature(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Domain]]:
    variables: list[str] = []
    domains: dict[str, Domain] = {}
    for item in inspect.signature(function).parameters.values():
        if item.kind is item.KEYWORD_ONLY:
            if not isinstance(item.default, Domain):
                raise BadLaw(
                    f"Parameter {item.name!r} of law {function.__name__} needs a domain as its "
                    "default: positive(low, high), real(low, high) or fraction(low, high)."
                )
            domains[item.name] = item.default
        elif item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD):
            variables.append(item.name)
        else:
            raise BadLaw(f"Law {function.__name__} may not take *{item.name}.")
    if not variables or not domains:
        raise BadLaw(
            f"Law {function.__name__} needs positional arguments (columns) and keyword-only "
            "arguments (parameters), for example: def law(n_params, *, A=positive(1, 100))."
        )
    return tuple(variables), domains


def trace_law(
    function: Callable[..., Any], variables: tuple[str, ...], values: Mapping[str, Any]
) -> Expr | None:
    """Return the expression of a law's function, columns by position and parameters by name."""

    def call(**named: Any) -> Any:
        first = [named.pop(name) for name in variables]
        return function(*first, **named)

    try:
        return trace(call, values)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a law that leaves the program, say
        raise BadLaw(f"A law's function failed: {describe_failure(error)}.") from error


def run_function(law: Law, columns: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Call a law's function; raise BadLaw for whatever it raises."""
    try:
        return law.function(*columns, **params)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's function raises is reported as such
        raise BadLaw(
            f"The function of law {law.name} failed: {describe_failure(error)}."
        ) from error


def describe_failure(error: BaseException) -> str:
    """Describe an error of the user's own code with its type."""
    return f"{type(error).__name__}: {reason(error)}"


def law_from_formula(text: str, columns: Collection[str], *, name: str = "formula") -> Law:
    """Make a Law from the text of a formula.

    Symbols among ``columns`` are variables, all others parameters. Parameters are positive, except
    those that say where on an axis a function has its middle, which are real.

    Parameters
    ----------
    text
        The formula, such as ``"E + A/n_params**alpha"``: Python's operators, and functions such as
        ``exp`` and ``log``.
    columns
        The names of the columns that it may use.
    name
        The name of the law.

    Returns
    -------
    Law
        The law. Where the data clearly want a parameter below 0, ``fit`` makes it real and notes
        it.

    Raises
    ------
    BadFormula
        For text that is not a formula.
    BadLaw
        Where no symbol is a column, where none is left to fit, and where one is a misspelt column.

    Examples
    --------
    >>> import kleiber
    >>> law = kleiber.law_from_formula("E + A/n_params**alpha", ["n_params", "loss"])
    >>> law.variables, law.params
    (('n_params',), ('E', 'A', 'alpha'))
    """
    check_text("text", text, "a formula, as text")
    given: Any = list(cast("Any", columns)) if isinstance(columns, Mapping) else columns
    columns = check_texts("columns", given, "a list of column names")
    check_text("name", name)
    expr = parse(text)
    found = sorted(symbols(expr), key=lambda item: (text.find(item), item))
    variables = tuple(item for item in found if item in columns)
    params = [item for item in found if item not in columns]
    for item in params:
        if item in UNAMBIGUOUS_COLUMNS:
            raise BadLaw(
                f"The formula uses the column {item!r}, which the table does not have; its columns "
                f"are {listed(columns)} (rename one to {item!r})."
            )
    for item in params:
        unused = [name for name in columns if name not in variables]
        near = difflib.get_close_matches(item, unused, 1, SIMILAR)
        if len(item) > 3 and near and item.rstrip("_0123456789") != near[0]:
            raise BadLaw(
                f"The formula uses {item!r}, which is no column of the table, but nearly the "
                f"column {near[0]!r}, which it does not use. Write {near[0]!r}, or give the "
                "parameter a name of its own."
            )
    if not variables:
        raise BadLaw(
            f"No symbol of the text {shown(text)} is a column of the table; "
            f"its columns are {listed(columns) or 'none'}."
            f"{nearest(found[0] if found else '', columns)}"
        )
    if not params:
        raise BadLaw(
            f"The text {shown(text)} leaves no parameter to fit: every symbol is a column."
        )
    domains = {item: Domain("positive") for item in params}
    among = set(params) - find_exponents(expr) - set(find_linear(expr, params))
    # a place on an axis may have either sign
    for inside in find_affine_arguments(expr, params, among):
        domains |= dict.fromkeys(inside.params, Domain("real"))
    law = formula_law(expr, variables, domains, name=name, doc=text)
    return replace(law, open_signs=frozenset(params))


def formula_law(
    expr: Expr, variables: tuple[str, ...], domains: Mapping[str, Domain], *, name: str, doc: str
) -> Law:
    """Make a Law from an expression whose variables and domains are known."""

    def function(*columns: Any, **params: Any) -> Any:
        return evaluate(expr, dict(zip(variables, columns, strict=True)) | params)

    return Law(function, name, variables, domains, expr, doc)


def law_from_file(spec: str) -> Law:
    """Load the law ``name`` of ``file.py:name``; the file is run as Python, as by an import."""
    path_text, _, name = check_text("spec", spec, "file.py:name").rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise BadLaw(
            f"There is no file {shown(path_text or spec, 200)}; a law of your own is given as "
            "file.py:name."
        )
    module_spec = importlib.util.spec_from_file_location(f"kleiber_law_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise BadLaw(
            f"The file {shown(path_text, 200)} is not a Python file; a law of your own is "
            "file.py:name."
        )
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's file raises is reported as such
        raise BadLaw(f"The file {path_text} failed: {describe_failure(error)}.") from error
    found = getattr(module, name, None)
    if not isinstance(found, Law):
        laws = [key for key, item in vars(module).items() if isinstance(item, Law)]
        state = "is not a Law (write @Law above it)" if found is not None else "does not exist"
        raise BadLaw(f"{name!r} {state} in {path_text}; its laws: {', '.join(laws) or 'none'}.")
    return replace(found, origin=f"{path.resolve()}:{name}")


def restrict(
    law: Law, *, fixed: Mapping[str, float] | None = None, tied: Mapping[str, str] | None = None
) -> Law:
    """Return the law with parameters fixed to numbers or tied to formulas of other parameters.

    ``restrict(chinchilla, fixed={"E": 1.8}, tied={"beta": "alpha"})`` has free A, B and alpha.
    """
    fixed, tied = dict(fixed or {}), dict(tied or {})
    for name in (*fixed, *tied):
        if name not in law.domains:
            raise BadLaw(
                f"Law {law.name} has no parameter {name!r}; it has {', '.join(law.params)}."
                f"{nearest(name, law.params)}"
            )
    free = {key: item for key, item in law.domains.items() if key not in fixed | tied}
    if set(fixed) & set(tied) or not free:
        raise BadLaw("A parameter is fixed or tied, not both, and at least one must stay free.")
    for name, value in fixed.items():
        if not law.domains[name].contains(float(value)) and float(value) != 0:
            raise BadLaw(f"{name} = {value} lies outside its domain ({law.domains[name].kind}).")
    replacements: dict[str, Expr] = {key: number(float(value)) for key, value in fixed.items()}
    for name, text in tied.items():
        replacements[name] = parse(str(text))
        strange = symbols(replacements[name]) - set(free)
        if strange:
            raise BadLaw(
                f"{name} is tied to {text!r}, which uses {', '.join(sorted(strange))}; "
                f"free parameters are {', '.join(free)}."
            )
    return _substitute(law, free, replacements)


def _substitute(law: Law, free: Mapping[str, Domain], replacements: Mapping[str, Expr]) -> Law:
    def function(*columns: Any, **params: Any) -> Any:
        filled = {name: calculate(expr, params) for name, expr in replacements.items()}
        return law.function(*columns, **params, **filled)

    expr = None if law.expr is None else substitute(law.expr, replacements)
    return replace(law, function=function, domains=free, expr=expr)
