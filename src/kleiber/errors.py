"""Every error kleiber raises on purpose; each message is one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadTable(ValueError):
    """A table, a table file or a request to one (rename, filter, column) cannot be used."""


class BadFormula(ValueError):
    """A formula's text cannot be parsed or uses something that is not allowed."""


class BadLaw(ValueError):
    """A law is not well formed, or does not fit the table it is asked to describe."""


class BadPlan(ValueError):
    """A plan cannot be made from this fit, budget and cost."""


class BadExperiment(ValueError):
    """A spec of a training run cannot be read, or asks for what does not exist."""


class NotConverged(RuntimeError):
    """An iteration stopped before its tolerance; `residual` and `iterations` say how far it got."""

    def __init__(self, message: str, residual: float, iterations: int) -> None:
        super().__init__(message, residual, iterations)  # all three, so that it can be pickled
        self.residual = residual
        self.iterations = iterations

    def __str__(self) -> str:
        return f"{self.args[0]} (residual {self.residual:.3g} after {self.iterations} iterations)"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name` as " Did you mean 'n_params'?", or "" if none is close."""
    folded = {item.casefold().replace(" ", "_"): item for item in reversed(list(known))}
    found = difflib.get_close_matches(name.casefold().replace(" ", "_"), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[found[0]]!r}?" if found else ""


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names joined by commas, at most `limit` of them, for the end of a sentence."""
    items = list(names)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def shown(value: object, width: int = 40) -> str:
    """A value as it is quoted in a message: its repr on one line, cut at `width` characters."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def reason(error: BaseException) -> str:
    """The first line of an error from a library underneath, without its full stop."""
    return str(error).strip().split("\n", 1)[0].rstrip(".:")[:200] or type(error).__name__
