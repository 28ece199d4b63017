"""Errors that kleiber raises on purpose; each message is one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_NAME = 60  # characters of a name that a message shows
MAX_MESSAGE = 600  # characters of a message
MAX_LIST = 240  # characters of a list of names, or about


class _OneSentence(ValueError):
    """An error whose message is short and on one line, whatever names the user has given."""

    def __str__(self) -> str:
        return shorten_message(super().__str__())


class BadArgument(TypeError, _OneSentence):
    """Raised for an argument of a type that the function does not accept."""


class BadTable(_OneSentence):
    """Raised for a table, a file or a request to one (rename, filter, column) that is unusable.

    The message is one sentence that says what was given and what is accepted. It is a
    ``ValueError``.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.read_table({"loss": []})
    Traceback (most recent call last):
        ...
    kleiber.errors.BadTable: The table has no rows; it needs at least one.
    """


class BadFormula(_OneSentence):
    """Raised for a formula that cannot be parsed or uses something that is not allowed.

    The message is one sentence that quotes the text. It is a ``ValueError``.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.law_from_formula("E + A/n_params**", ["n_params"])
    Traceback (most recent call last):
        ...
    kleiber.errors.BadFormula: Cannot read the formula 'E + A/n_params**': invalid syntax.
    """


class BadLaw(_OneSentence):
    """Raised for a law that is not well formed, or does not fit the table that it should describe.

    The message is one sentence, with the nearest known name where one was misspelt. It is a
    ``ValueError``.

    Examples
    --------
    >>> import kleiber
    >>> try:
    ...     kleiber.fit("chinchila", {"n_params": [1e6, 1e7], "loss": [3.2, 2.9]})
    ... except kleiber.BadLaw as error:
    ...     print(str(error).split(" See")[0])
    No law is called 'chinchila'. Did you mean 'chinchilla'?
    """


class BadPlan(_OneSentence):
    """Raised when no plan can be made from this fit, budget and cost.

    The message is one sentence that says what stands in the way. It is a ``ValueError``.

    Examples
    --------
    >>> import kleiber
    >>> issubclass(kleiber.BadPlan, ValueError)
    True
    """


class BadExperiment(_OneSentence):
    """Raised for the spec of a training run that cannot be read, or that cannot be trained.

    The message is one sentence that names the field, and the nearest one where it was misspelt. It
    is a ``ValueError``.

    Examples
    --------
    >>> import kleiber
    >>> try:
    ...     kleiber.read_experiment({"task": {"kind": "formula"}, "nett": {"kind": "mlp"}})
    ... except kleiber.BadExperiment as error:
    ...     print("Did you mean 'net'?" in str(error))
    True
    """


class NotConverged(RuntimeError):
    """Raised when a solver or a chain stops before its tolerance.

    Parameters
    ----------
    message
        What stopped, and what to do about it.
    residual
        How far the last iterate was from the solution, in the measure that the solver uses.
    iterations
        The number of iterations that were made.

    Examples
    --------
    >>> import kleiber
    >>> print(kleiber.NotConverged("The solver stopped.", residual=3.2e-5, iterations=100))
    The solver stopped. (residual 3.2e-05 after 100 iterations)
    """

    def __init__(self, message: str, residual: float, iterations: int) -> None:
        super().__init__(message, residual, iterations)  # all three, so that it can be pickled
        self.residual = residual
        self.iterations = iterations

    def __str__(self) -> str:
        return f"{self.args[0]} (residual {self.residual:.3g} after {self.iterations} iterations)"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the most similar known name as " Did you mean 'n_params'?", or "" if none is close."""
    folded = {_fold(item): item for item in reversed(list(known))}
    found = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=0.6)
    return f" Did you mean {shown(folded[found[0]], MAX_NAME)}?" if found else ""


def _fold(name: object) -> str:
    """Return the beginning of a name in the form in which names are compared."""
    return str(name)[: 2 * MAX_NAME].casefold().replace(" ", "_")


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Join names by commas, at most `limit` of them, for the end of a sentence."""
    items = [printable(name, MAX_NAME) for name in names]
    keep = items[:limit]
    while len(keep) > 1 and sum(map(len, keep)) > MAX_LIST:
        keep.pop()
    more = f" and {len(items) - len(keep)} more" if len(items) > len(keep) else ""
    return ", ".join(keep) + more


def shown(value: object, width: int = 40) -> str:
    """Return a value as a message quotes it: its repr on one line, cut at `width` characters."""
    if isinstance(value, int) and abs(value) >= 10**30:
        digits = int(value.bit_length() * 0.30103) + 1
        return f"{'-' * (value < 0)}1e{digits - 1} or so"
    long = isinstance(value, str | bytes) and len(value) > width
    try:
        text = repr(value[:width] if isinstance(value, str | bytes) else value)
    except Exception:  # somebody else's record that cannot be printed, or too long a number in it
        text = f"a {type(value).__name__}"
    text = " ".join(text.split()) if "\n" in text else text
    return printable(text + "…" * long, width)


def printable(name: object, width: int) -> str:
    """Return a text without control characters, cut at `width` characters."""
    text = escape_control_characters(str(name)[: width + 1])
    return text if len(text) <= width else text[: width - 1] + "…"


def escape_control_characters(text: str, keep: str = "") -> str:
    """Return a text with its control characters escaped as in Python, except for those in
    `kept`."""
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() or x in keep else repr(x)[1:-1] for x in text)


def shorten_message(text: str) -> str:
    """Return a message of at most LONGEST characters without control characters; a message that is
    too long loses its middle, because its end says what to do."""
    if len(text) > MAX_MESSAGE:
        text = f"{text[: MAX_MESSAGE - 203]} … {text[-200:]}"
    return printable(text, MAX_MESSAGE)


def reason(error: BaseException) -> str:
    """Return the first line of an error of another library, without its full stop."""
    first = str(error).strip().split("\n", 1)[0].rstrip(".:")
    return printable(first, 200) or type(error).__name__
