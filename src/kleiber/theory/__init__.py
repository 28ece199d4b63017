"""Theories: frozen records with `solve`, `simulate` and `exponents`, and how one is found."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import polars as pl

from kleiber.arguments import check_text
from kleiber.errors import listed, nearest, shown

if TYPE_CHECKING:
    from kleiber.theory.feature_learning import FeatureLearning as FeatureLearning
    from kleiber.theory.hard_tail import HardTail as HardTail
    from kleiber.theory.perceptron import Perceptron as Perceptron
    from kleiber.theory.tickets import Tickets as Tickets


def __getattr__(name: str) -> Any:
    """FeatureLearning is taken out of feature_learning.py when first asked for, so that
    `import kleiber` stays cheap however many theories there are."""
    module = f"{__name__}.{_snake(name)}"
    if not name[:1].isupper() or importlib.util.find_spec(module) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *(each.__name__ for each in catalogue().values())})


@runtime_checkable
class Theory(Protocol):
    """A frozen record of a model's own parameters."""

    def solve(self, grid: Any) -> pl.DataFrame:
        """The grid's columns and what the theory predicts, without randomness."""
        ...

    def simulate(self, grid: Any, *, seeds: int = 8, seed: int = 0) -> pl.DataFrame:
        """The same columns measured on systems drawn at random, with a column seed."""
        ...

    def exponents(self) -> Mapping[str, float]:
        """What the theory asserts asymptotically."""
        ...


def catalogue() -> dict[str, type[Theory]]:
    """Every theory that a module of this package defines, by name (hard_tail), sorted."""
    found: dict[str, type[Theory]] = {}
    for item in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(item.name)
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == item.name and _is_theory(value):
                found[_snake(name)] = cast("type[Theory]", value)
    return dict(sorted(found.items()))


def find(name: str) -> type[Theory]:
    """The theory called `name`, as hard_tail or HardTail. Raises ValueError."""
    known = catalogue()
    check_text("name", name, "the name of a theory")
    if (folded := _snake(name.strip())) in known:
        return known[folded]
    raise ValueError(
        f"No theory is called {shown(name)}.{nearest(name, known)} There are {listed(known)}."
    )


def _is_theory(value: type) -> bool:
    return all(callable(getattr(value, verb, None)) for verb in ("solve", "simulate", "exponents"))


def _snake(name: str) -> str:
    """HardTail as hard_tail."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
