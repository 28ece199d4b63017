"""The window in which the early law is fitted: the authors' windows, and an automatic rule.

A window is a range of x = norm/norm_opt, with each curve's own optimum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadTable, shown
from kleiber.systems.implicit_bias.collapse_curves import Curves, rescale

KEPT = 0.9  # smallest slope in the automatic window, as a share of the steepest
FINE = 121  # points of the grid on which the window is searched
SOURCE = "D'Amico, Bocchi and Negri 2025 (arXiv 2505.13230), their notebook"


@dataclass(frozen=True)
class Window:
    """A range of x from low to high, with the smallest n_data for gamma_1 and gamma_2.

    ``least_early`` is the smallest n_data for gamma_1, ``least_optimum`` that for gamma_2, and
    ``source`` says who chose the window.
    """

    low: float
    high: float
    least_early: float = 0.0
    least_optimum: float = 0.0
    source: str = "given"

    def __post_init__(self) -> None:
        if not (0 <= self.low < self.high and self.high > 0):
            raise BadTable(
                "A window is a range of norm/norm_opt, from low to high, with 0 <= low < high; got "
                f"{self.low:g} to {self.high:g}."
            )

    @property
    def logs(self) -> tuple[float, float]:
        """The natural logarithms of its ends."""
        ends = [math.log(end) if 0 < end < math.inf else end for end in (self.low, self.high)]
        return (ends[0] if self.low else -math.inf), ends[1]


def _published(low: float, high: float, early: float, optimum: float = 0.0) -> Window:
    return Window(low, high, early, optimum, SOURCE)


# (model, data set) -> window, and the n_data of the published curves, by which a table is known
AUTHORS: Mapping[tuple[str, str], Window] = MappingProxyType(
    {
        ("cnn", "mnist"): _published(1e-3, 1e-2, 24000),
        ("cnn", "cifar10"): _published(0, 0.3, 28000, 28000),
        ("cnn", "cifar100"): _published(0, 0.3, 28000, 28000),
        ("resnet", "mnist"): _published(0.08, 0.3, 1500, 1500),
        ("resnet", "cifar10"): _published(1.5e-3, 4e-3, 11000),
        ("resnet", "cifar100"): _published(1e-3, 4e-3, 26000),
        ("vit", "mnist"): _published(0, 1e-25, 36000, 36000),
        ("vit", "cifar10"): _published(1e-30, 1e-16, 26000),
        ("vit", "cifar100"): _published(1e-32, 1.5e-20, 31000),
    }
)
_DIGITS = (89, 188, 375, 750, 1500, 3000, 6000, 12000, 24000, 30000, 36000, 42000, 48000)
_SIZES = {
    ("cnn", "mnist"): _DIGITS[2:],
    ("resnet", "mnist"): _DIGITS,
    ("vit", "mnist"): _DIGITS[1:],
    "cnn": tuple(range(4000, 48001, 4000)),
    "other": tuple(range(6000, 46001, 5000)),
}


def authors_window(curves: Curves) -> Window | None:
    """Return the authors' window if model, data set and all n_data are those of their curves."""
    model, dataset = (_plain(name) for name in (curves.model, curves.dataset))
    window = AUTHORS.get((model, dataset))
    if window is None:
        return None
    sizes = _SIZES.get((model, dataset)) or _SIZES["cnn" if model == "cnn" else "other"]
    return window if tuple(curves.n_data) == sizes else None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def given_window(window: Window | Sequence[float | None]) -> Window:
    """Make a window from low and high (None: open). Raises BadTable."""
    if isinstance(window, Window):
        return window
    if not isinstance(window, Sequence) or isinstance(window, str) or len(window) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadTable(f"A window is (low, high) of norm/norm_opt, got {shown(window)}.")
    low, high = window
    try:
        return Window(0.0 if low is None else float(low), math.inf if high is None else float(high))
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, BadTable):
            raise
        raise BadTable(f"A window is (low, high) of norm/norm_opt, got {shown(window)}.") from None


def choose_window(
    curves: Curves,
    optima: Float[np.ndarray, "sizes 2"],
    given: Window | Sequence[float | None] | None,
    *,
    least: float | None,
    rule: str,
) -> Window:
    """Return the given window, or the authors' window for their curves, or the automatic one.

    The automatic window uses the mean of the curves of large n_data (the upper half, at least 3),
    rescaled by their optima: it is the range around the steepest slope in which the slope is at
    least nine tenths of it, or differs from it by less than two standard errors over the curves.
    """
    known = authors_window(curves) if rule == "authors" else None
    if given is not None:
        window = given_window(given)
        if known and not isinstance(given, Window):
            parts = {"least_early": known.least_early, "least_optimum": known.least_optimum}
            window = replace(window, **parts)
    elif known:
        window = known
    else:
        window = _steepest(curves, optima, least or 0.0, rule)
    if least is not None:
        window = replace(window, least_early=least, least_optimum=least)
    return window


def upper_half(n_data: Float[np.ndarray, "sizes"], least: float = 0.0) -> Float[np.ndarray, "some"]:
    """Return the larger half of the n_data from ``least`` on, at least 3 of them if possible."""
    sizes = n_data[n_data >= least]
    return sizes[-max(3, math.ceil(len(sizes) / 2)) :]


def _steepest(
    curves: Curves, optima: Float[np.ndarray, "sizes 2"], least: float, rule: str
) -> Window:
    large = upper_half(curves.n_data, least)
    early = float(large[0]) if rule == "authors" and len(large) else 0.0
    rows = np.isin(curves.n_data, large)
    items = [item for item, row in zip(curves.items, rows, strict=True) if row]
    starts = [item.log_norm[0] - u for item, u in zip(items, optima[rows, 0], strict=True)]
    start = max(starts, default=0.0)
    if not start < 0:  # the smallest error of some curve is its first point
        return Window(0.0, 1.0, early, 0.0, "automatic: everything before the optimum")
    grid = np.linspace(start, 0.0, FINE)
    reach = FINE // 12
    slopes = _smooth_slopes(grid, rescale(items, optima[rows], grid), reach)
    middle = -slopes.mean(0)
    error = slopes.std(0, ddof=1) / np.sqrt(len(slopes)) if len(slopes) > 1 else 0 * middle
    peak = int(np.argmax(middle))
    near = middle >= np.minimum(KEPT * middle[peak], middle[peak] - 2 * error[peak])
    first = last = peak
    while first > 0 and near[first - 1]:
        first -= 1
    while last < len(near) - 1 and near[last + 1]:
        last += 1
    low, high = grid[first], grid[last + 2 * reach]
    source = "automatic: where the mean rescaled curve falls at over 9/10 of its steepest rate"
    ends = float(np.exp(max(low - 1e-9, -700.0))), float(np.exp(max(high, -690.0)))
    return Window(*ends, early, 0.0, source)


def _smooth_slopes(
    grid: Float[np.ndarray, "points"], values: Float[np.ndarray, "curves points"], reach: int
) -> Float[np.ndarray, "curves centres"]:
    """Return least-squares slopes over 2 reach + 1 points around each point that has them."""
    offsets = np.arange(-reach, reach + 1)
    weights = offsets / (offsets**2).sum() / (grid[1] - grid[0])
    return np.array([np.convolve(row, weights[::-1], mode="valid") for row in values])
