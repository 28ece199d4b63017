"""The theories of all systems by their public names, ``kleiber.theory.HardTail`` and so on.

They are taken out of ``kleiber.systems`` when first asked for.

Examples
--------
>>> import kleiber
>>> kleiber.theory.Tickets(spread=0.2).exponents()["averaged"]
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kleiber.systems import load
from kleiber.systems.theories import Theory as Theory
from kleiber.systems.theories import catalogue as catalogue
from kleiber.systems.theories import find as find
from kleiber.systems.theories import places

if TYPE_CHECKING:
    from kleiber.systems.feature_learning.theory import FeatureLearning as FeatureLearning
    from kleiber.systems.hard_tail.theory import HardTail as HardTail
    from kleiber.systems.implicit_bias.perceptron import Perceptron as Perceptron
    from kleiber.systems.lottery_tickets.theory import Tickets as Tickets


def __getattr__(name: str) -> Any:
    place = places().get(name)
    if place is None:
        raise AttributeError(f"Module {__name__!r} has no attribute {name!r}.")
    return load(place)


def __dir__() -> list[str]:
    return sorted({*globals(), *places()})
