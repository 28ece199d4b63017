"""Options: the settings of a fit, documented and checked in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any

from kleiber.arguments import (
    check_choice,
    check_level,
    check_mapping,
    check_number,
    check_options,
    check_record,
    check_text,
    check_texts,
    check_whole,
    refuse,
)
from kleiber.errors import shown
from kleiber.fitting.engine.noise import Noise

DEFAULT_NOISE = Noise("log", delta=1e-3)  # the field's convention since Hoffmann et al. 2022
RESAMPLES = ("auto", "rows", "wild")
DRAWS = "0 (none) or at least 2"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a fit is asked to do, beyond the law and the table.

    Parameters
    ----------
    target
        The column that the law predicts.
    noise
        How residuals are measured. By default Huber's loss of width 1e-3 on log residuals
        (Hoffmann et al. 2022).
    draws
        The number of refits that intervals are read from: 0 (none) or at least 2.
    level
        The level of the intervals that are shown, between 0 and 1.
    by
        A column, such as ``"run"``, whose groups of rows are resampled whole. None takes rows as
        independent.
    weights
        A column of row weights, none negative: each multiplies its row's loss.
    fixed
        Parameters held at numbers, ``{"E": 1.69}``.
    tied
        Parameters that are formulas of others, ``{"beta": "alpha"}``.
    priors
        Weak beliefs, ``{"beta": (0.37, 0.3)}``: a value and a spread, in log coordinates for a
        positive parameter.
    start
        A value for every free parameter. One descent from there replaces the search.
    resample
        How draws are made: ``"rows"`` resamples rows, ``"wild"`` flips residuals, ``"auto"`` is
        wild for plain least squares and rows otherwise. A table with at most 8 rows more than
        parameters gets normal noise of even size under ``"auto"``.
    real
        Parameters that may have either sign. Those of a formula are positive unless the data
        clearly want one below 0, which the fit then notes.
    seed
        Seed of the starts and the draws.

    Raises
    ------
    ValueError
        For a setting of the wrong kind or out of range.

    Examples
    --------
    >>> import kleiber
    >>> ask = kleiber.Options(draws=0, fixed={"alpha": 0.2})
    >>> sizes = [1e6, 1e7, 1e8, 1e9]
    >>> runs = {"n_params": sizes, "loss": [90 / n**0.2 for n in sizes]}
    >>> round(kleiber.fit("A/n_params**alpha", runs, ask).params["A"], 3)
    90.0
    """

    target: str = "loss"
    noise: Noise = DEFAULT_NOISE
    draws: int = 1000
    level: float = 0.95
    by: str | None = None
    weights: str | None = None
    fixed: Mapping[str, float] = field(default_factory=dict[str, float])
    tied: Mapping[str, str] = field(default_factory=dict[str, str])
    priors: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    start: Mapping[str, float] | None = None
    resample: str = "auto"
    real: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_text("target", self.target, "the name of a column")
        check_record("noise", self.noise, Noise, "a kleiber.Noise")
        for name in ("by", "weights"):
            if (given := getattr(self, name)) is not None:
                check_text(name, given, "the name of a column or None")
        check_choice("resample", self.resample, RESAMPLES)
        made = {
            "draws": check_draws(self.draws),
            "level": check_level(self.level),
            "fixed": _numbers("fixed", self.fixed, "a mapping from parameters to numbers or None"),
            "tied": _formulas(self.tied),
            "priors": _pairs(self.priors),
            "start": None
            if self.start is None
            else _numbers("start", self.start, "a mapping to numbers or None"),
            "real": tuple(check_texts("real", self.real, "a list of parameters")),
            "seed": check_whole("seed", self.seed),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def wild(self) -> bool:
        """Whether draws are wild refits, which is the default for plain least squares."""
        plain = self.noise.delta is None and self.noise.dof is None
        return self.resample == "wild" or (self.resample == "auto" and plain)


OPTION_NAMES = tuple(item.name for item in fields(Options))
DEFAULTS_FOR_NONE: Mapping[str, Any] = {
    "noise": DEFAULT_NOISE,
    "fixed": {},
    "tied": {},
    "priors": {},
}  # what None stands for


def choose_options(verb: str, options: Any, changes: Mapping[str, Any]) -> Options:
    """Return the options given to a function, changed by its keyword arguments."""
    check_options(verb, changes, OPTION_NAMES)
    base = Options() if options is None else options
    check_record("options", base, Options, "a kleiber.Options or None")
    asked = {name: DEFAULTS_FOR_NONE.get(name) if x is None else x for name, x in changes.items()}
    return replace(base, **asked)


def check_draws(draws: Any) -> int:
    """Return the number of draws: 0 for none, else at least 2."""
    if (found := check_whole("draws", draws, accepted=DRAWS)) == 1:
        raise ValueError(f"The value of draws must be {DRAWS}, got {shown(draws)}.")
    return found


def _numbers(name: str, given: Any, accepted: str) -> dict[str, float]:
    """Check a mapping from names to numbers."""
    made = check_mapping(name, given, accepted)
    for key, value in made.items():
        check_number(f"{name}[{key!r}]", value)
    return made


def _formulas(given: Any) -> dict[str, str]:
    """Check a mapping from names to formulas."""
    made = check_mapping("tied", given, "a mapping from parameters to formulas or None")
    for key, value in made.items():
        check_text(f"tied[{key!r}]", value, "a formula of other parameters, as text")
    return made


def _pairs(given: Any) -> dict[str, tuple[float, float]]:
    """Check a mapping from names to pairs (value, spread)."""
    made = check_mapping("priors", given, "a mapping from parameters to (value, spread) or None")
    for key, pair in made.items():
        name = f"priors[{key!r}]"
        items: Any = pair
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(items) != 2:
            raise refuse(name, "a pair (value, spread)", items)
        for value in items:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise refuse(name, "a pair of numbers (value, spread)", items)
    return {key: (float(value), float(spread)) for key, (value, spread) in made.items()}
