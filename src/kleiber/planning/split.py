"""One budget, two uses: training, and attempts at queries with what was trained.

    min over x, k of aim(x, k)   subject to   train(x) + k attempt(x) = budget,

with x the training variables and k the attempts at each query. The search is over the share of
what may go into training, on a scale on which both ends are far away (logit), and over the
logarithms of all training variables but the last, which the share then determines. A grid is
narrowed around its best point, for all draws of the parameters at once: aim may have several
minima (double descent), and the first grid is fine enough to tell them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

Array = Float[np.ndarray, "..."]  # (draws, points) while a grid is searched
Values = Mapping[str, Array]
WIDE = 25.0  # logits of shares: from 1e-11 to 1 - 1e-11
FINE = {1: 401, 2: 31}  # points of an axis of the first grid, by number of axes
NARROW = {1: 21, 2: 9}  # and of those after it
ROUGH, SHARP = 1e-4, 1e-9  # how far a grid is narrowed: the aim is flat at its minimum
FAR = 120.0  # logarithms of a budget that are searched on either side
CLOSE = 1e-13  # of a price
LEVEL = 1e-8  # of the logarithm of a needed budget


@dataclass(frozen=True)
class Work:
    """What is to be split. All functions take arrays (draws, points) of the training variables.

    ``train`` is the cost of training, ``attempt`` that of one more attempt at every query, ``aim``
    what is to be small, given k too. ``limits`` are the ends of each variable and of k.
    """

    variables: tuple[str, ...]
    limits: Mapping[str, tuple[float, float]]
    train: Callable[[Values], Array]
    attempt: Callable[[Values], Array]
    aim: Callable[[Values, Array], Array]
    draws: int = 1


def split(
    work: Work, budget: float | Float[np.ndarray, "draws"], narrow: float = SHARP
) -> dict[str, Float[np.ndarray, "draws"]]:
    """The best values of the training variables and of k for each draw, with their ``aim``.

    ``budget`` is one, or one for each draw. NaN where nothing is affordable.
    """
    purse = np.broadcast_to(np.asarray(budget, float), (work.draws,))[:, None]
    low, high = _ends(work, purse)
    axes = low.shape[1]
    middle, width = 0.5 * (low + high), 0.5 * (high - low)
    rows, points = np.arange(work.draws), FINE[axes]
    while True:
        steps = np.array(list(itertools.product(np.linspace(-1, 1, points), repeat=axes)))
        places = middle[:, None] + width[:, None] * steps
        places = np.clip(places, low[:, None], high[:, None])
        found = _at(work, purse, places)
        value = np.where(np.isfinite(found["aim"]), found["aim"], np.inf)
        which = value.argmin(axis=1)
        middle, width = places[rows, which], width * (3.0 / (points - 1))
        points = NARROW[axes]
        if width.max() < narrow:
            return {name: item[rows, which] for name, item in found.items()}


def _ends(
    work: Work, purse: Float[np.ndarray, "draws 1"]
) -> tuple[Float[np.ndarray, "draws axes"], Float[np.ndarray, "draws axes"]]:
    """The ends of the axes: logarithms of all variables but the last, up to what the purse could
    pay for, and the logit of the share."""
    least = {name: np.full(purse.shape, ends[0]) for name, ends in work.limits.items()}
    low, high = np.empty((2, work.draws, len(work.variables)))
    low[:, -1], high[:, -1] = -WIDE, WIDE
    for j, name in enumerate(work.variables[:-1]):
        most = afford(work, work.train, least, purse, name)[:, 0]
        low[:, j] = np.log(work.limits[name][0])
        high[:, j] = np.where(
            np.isnan(most), low[:, j], np.log(np.fmax(most, work.limits[name][0]))
        )
    return low, high


def _at(
    work: Work, purse: Float[np.ndarray, "draws 1"], places: Float[np.ndarray, "draws points axes"]
) -> dict[str, Array]:
    """Variables, k and aim at shares of the purse; NaN where a limit or the purse forbids."""
    *outer, last = work.variables
    low, high = work.limits["k"]
    values: dict[str, Array] = {name: np.exp(places[..., j]) for j, name in enumerate(outer)}
    ends = [np.full(places.shape[:-1], end) for end in work.limits[last]]
    least, most = (work.train({**values, last: end}) for end in ends)
    most = np.minimum(most, purse - low * work.attempt({**values, last: ends[0]}))
    values[last] = afford(work, work.train, values, least + (most - least) * expit(places[..., -1]))
    bad = np.isnan(values[last]) | (most < least)
    safe = {name: np.where(bad, work.limits[name][0], item) for name, item in values.items()}
    k = np.minimum((purse - work.train(safe)) / work.attempt(safe), high)
    bad = bad | (k < low * (1 - 1e-12))
    k = np.where(bad, low, np.maximum(k, low))
    out = {**safe, "k": k, "aim": np.asarray(work.aim(safe, k), dtype=float)}
    return {name: np.where(bad, np.nan, item) for name, item in out.items()}


def afford(
    work: Work,
    price: Callable[[Values], Array],
    values: Values,
    spend: Array,
    name: str | None = None,
) -> Array:
    """The largest value of a variable (the last) for which the price comes to no more than is to be
    spent, within its limits; NaN if there is none. By false position between logarithms, to a
    relative 1e-13: a price rises with a variable."""
    last = name or work.variables[-1]
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing to spend
        goal = np.log(np.maximum(spend, 0.0))

    def over(z: Array) -> Array:
        return np.log(price({**values, last: np.exp(z)})) - goal

    low, high = (np.full(spend.shape, np.log(end)) for end in work.limits[last])
    f_low, f_high = over(low), over(high)
    none, every = ~(f_low <= 0), f_high <= 0
    z = np.where(every, high, low)
    seek = ~(none | every)
    f_low, f_high = np.where(seek, f_low, -1.0), np.where(seek, f_high, 1.0)
    for _ in range(100):
        if not seek.any():
            break
        share = np.clip(f_low / (f_low - f_high), 1e-3, 1 - 1e-3)
        z = np.where(seek, low + share * (high - low), z)
        f = np.where(seek, over(z), 0.0)
        below = f <= 0
        f_high = np.where(below, f_high * 0.5, f)  # the end that stays counts half (Illinois)
        f_low = np.where(below, f, f_low * 0.5)
        low, high = np.where(below, z, low), np.where(below, high, z)
        seek = seek & (np.abs(f) > CLOSE)
    return np.where(none, np.nan, np.exp(z))


def reach(work: Work, target: float, start: float) -> dict[str, Float[np.ndarray, "draws"]]:
    """The cheapest values with aim at most ``target``, and what they cost as ``spent``.

    The smallest budget whose best split gets there; the best aim falls as the budget grows. By
    false position between logarithms, from any budget ``start``. NaN for draws that never get
    there.
    """

    def above(log_budget: Float[np.ndarray, "draws"]) -> Float[np.ndarray, "draws"]:
        best = split(work, np.exp(log_budget), ROUGH)["aim"]
        best = np.where(np.isfinite(best), best, np.inf)  # nothing is affordable
        with np.errstate(divide="ignore"):
            return np.clip(np.log(best) - np.log(target), -1e3, 1e3)

    low, high = np.full(work.draws, np.log(start)), np.full(work.draws, np.log(start))
    step = 2.0
    while ((f_low := above(low)) <= 0).any() and step < FAR:
        low, step = np.where(f_low <= 0, low - step, low), 2 * step
    step = 2.0
    while ((f_high := above(high)) > 0).any() and step < FAR:
        high, step = np.where(f_high > 0, high + step, high), 2 * step
    never = (f_high > 0) | (f_low <= 0)
    for _ in range(100):
        if (high - low).max() < LEVEL or (never | (f_high == 0)).all():
            break
        share = np.clip(f_low / np.where(f_low > f_high, f_low - f_high, 1.0), 0.01, 0.99)
        middle = low + share * (high - low)
        value = above(middle)
        up = value > 0
        f_high = np.where(up, f_high * 0.5, value)  # the end that stays counts half (Illinois)
        f_low = np.where(up, value, f_low * 0.5)
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    spent = np.exp(high)
    best = split(work, spent) | {"spent": spent}
    return {name: np.where(never, np.nan, item) for name, item in best.items()}


def marginal(work: Work, values: Values, k: Array) -> dict[str, Array]:
    """By how much aim falls for one more unit of cost: in ``training``, on the variable where it
    brings most, and in ``attempts``. What the attempts then cost more counts as training."""

    def total(at: Values) -> Array:
        return work.train(at) + k * work.attempt(at)

    def slope(function: Callable[[float], Array], step: float = 1e-4) -> Array:
        near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
        return (8 * near - far) / (12 * step)  # by the logarithm, to fourth order

    more = -slope(lambda s: work.aim(values, k * np.exp(s))) / (k * work.attempt(values))
    each: list[Array] = []
    for name in work.variables:
        fall = -slope(lambda s, n=name: work.aim({**values, n: values[n] * np.exp(s)}, k))
        rise = slope(lambda s, n=name: total({**values, n: values[n] * np.exp(s)}))
        each.append(fall / rise)
    return {"training": np.max(each, axis=0), "attempts": more}
