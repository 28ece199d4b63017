"""The lower envelope of training curves: the best size at each compute, and its growth.

Curves of several sizes N, averaged over seeds, are compared at equal compute C; the size with the
lowest loss wins. Consecutive winners cross at a compute C_i, where sqrt(N_i N_{i+1}) is taken as
the best size N*(C_i); if the curves have the form L = C^-x g(N/C^a) and the sizes a fixed ratio,
the crossings lie exactly on N* ~ C^a and L* ~ C^-x. This is approach 1 of Hoffmann et al. 2022
(arXiv 2203.15556), evaluated at the crossings only, where it is not a staircase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_column, check_memory, check_whole
from kleiber.claim import Estimate, student
from kleiber.errors import BadTable, listed
from kleiber.maths.seeds import stream
from kleiber.maths.slopes import window_slope
from kleiber.table import as_frame, numbers, require

LEVEL = 0.95
FINE = 800  # points of compute at which curves are compared, evenly in its logarithm
MIN_CROSSINGS = 3  # smallest number for an exponent, since any two points lie on a line


@dataclass(frozen=True)
class Curves:
    """Losses of each size at common values of log x: an array [seeds, places] per size.

    Losses are NaN outside the range that was measured.
    """

    sizes: tuple[float, ...]
    log_x: Float[np.ndarray, "places"]
    losses: tuple[Float[np.ndarray, "seeds places"], ...]


@dataclass(frozen=True)
class Crossings:
    """Crossings of consecutive winners: their indices, log x and log loss there."""

    pairs: tuple[tuple[int, int], ...]
    log_x: Float[np.ndarray, "pairs"]
    log_loss: Float[np.ndarray, "pairs"]


def envelope(
    table: object,
    *,
    x: str = "flops",
    y: str = "loss",
    size: str = "width",
    draws: int = 400,
    seed: int = 0,
) -> pl.DataFrame:
    """Find where the lower envelope of training curves passes from one size to the next.

    Consecutive winners cross at a compute C, and the geometric mean of their sizes is taken as the
    best size there (approach 1 of Hoffmann et al. 2022, arXiv:2203.15556).

    Parameters
    ----------
    table
        Any data frame with a row for each size and x; rows with the same size and x are seeds and
        are averaged. Between the x of a size log y is interpolated linearly in log x.
    x, y, size
        The columns of the compute, the loss and the size.
    draws, seed
        The number of resamples of the seeds of each size, and the seed of these draws.

    Returns
    -------
    polars.DataFrame
        A row for each crossing, in order of x: x with its ends ``_low`` and ``_high`` (95%, missing
        for sizes with one seed), the best size, the two sizes ``_below`` and ``_above``, and y.

    Raises
    ------
    BadTable
        For x and y that are not positive, for rows that are not different seeds, and if no two
        sizes cross.

    Examples
    --------
    >>> import kleiber
    >>> points = [(n, 1e3 * 2**k) for n in (2, 4, 8, 16, 32) for k in range(20)]
    >>> curves = {"width": [n for n, _ in points], "flops": [c for _, c in points]}
    >>> curves["loss"] = [1 / n + n / c**0.5 for n, c in points]
    >>> kleiber.reduce.find("envelope")(curves)["width"].round(1).to_list()
    [5.7, 11.3, 22.6]
    """
    curves = _read(table, x, y, size)
    found = _cross(curves, [values.mean(axis=0) for values in curves.losses], (x, y, size))
    drawn = _draw(curves, found.pairs, draws, seed)
    rows: list[tuple[float | None, ...]] = []
    for k, (a, b) in enumerate(found.pairs):
        item = _interval(found.log_x[k], drawn[:, 0, k], _fewest(curves))
        low, high = (
            float(np.exp(end)) if np.isfinite(end) else None for end in (item.low, item.high)
        )
        small, large = curves.sizes[a], curves.sizes[b]
        at = float(np.exp(item.value)), low, high
        rows.append(
            (*at, float(np.sqrt(small * large)), small, large, float(np.exp(found.log_loss[k])))
        )
    names = [x, f"{x}_low", f"{x}_high", size, f"{size}_below", f"{size}_above", y]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")


def envelope_exponents(
    table: object,
    *,
    x: str = "flops",
    y: str = "loss",
    size: str = "width",
    draws: int = 400,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Give the exponents a and x of N* ~ C^a and L* ~ C^-x over the crossings of the envelope.

    Parameters
    ----------
    table, x, y, size, draws, seed
        As for ``envelope``.

    Returns
    -------
    dict of Estimate
        By the names of the columns ``size`` and ``y``: least-squares slopes on the logarithms, with
        intervals (95%) from a bootstrap over the seeds of each size; for sizes with one seed from
        the scatter of the crossings about the line, with two degrees of freedom fewer than there
        are crossings.

    Raises
    ------
    BadTable
        As for ``envelope``, and for fewer than three crossings.

    Examples
    --------
    >>> import kleiber
    >>> points = [(n, 1e3 * 2**k) for n in (2, 4, 8, 16, 32) for k in range(20)]
    >>> curves = {"width": [n for n, _ in points], "flops": [c for _, c in points]}
    >>> curves["loss"] = [1 / n + n / c**0.5 for n, c in points]
    >>> found = kleiber.reduce.find("envelope-exponents")(curves)
    >>> round(found["width"].value, 2), round(found["loss"].value, 2)
    (0.25, 0.25)
    """
    curves = _read(table, x, y, size)
    found = _cross(curves, [values.mean(axis=0) for values in curves.losses], (x, y, size))
    if len(found.pairs) < MIN_CROSSINGS:
        raise BadTable(
            f"An exponent needs {MIN_CROSSINGS} crossings of the envelope, got {len(found.pairs)}; "
            f"give more values of {size!r} or longer runs."
        )
    log_size = np.log([np.sqrt(curves.sizes[a] * curves.sizes[b]) for a, b in found.pairs])
    drawn = _draw(curves, found.pairs, draws, seed)
    values = _slopes(log_size, np.stack([found.log_x, found.log_loss])[None])[0]
    slopes = _slopes(log_size, drawn)
    fewest = _fewest(curves)
    if fewest < 2:
        return dict(zip((size, y), _scatter(found, log_size, values), strict=True))
    return {name: _interval(values[k], slopes[:, k], fewest) for k, name in enumerate((size, y))}


def _scatter(
    found: Crossings, log_size: Float[np.ndarray, "pairs"], values: Float[np.ndarray, "2"]
) -> list[Estimate]:
    """Return both exponents with Student's intervals of the residuals about their lines."""
    x = found.log_x - found.log_x.mean()
    dof = len(x) - 2
    made: list[Estimate] = []
    for value, sign, y in ((values[0], 1, log_size), (values[1], -1, found.log_loss)):
        residual = y - y.mean() - sign * value * x
        error = math.sqrt(float(residual @ residual) / dof / float(x @ x))
        made.append(student(float(value), error, dof, LEVEL))
    return made


def _slopes(
    log_size: Float[np.ndarray, "pairs"], drawn: Float[np.ndarray, "draws 2 pairs"]
) -> Float[np.ndarray, "draws 2"]:
    """Return the exponents a and x of each draw, from a line of its own."""
    rows = [
        (float(window_slope(log_x, log_size)), -float(window_slope(log_x, log_loss)))
        for log_x, log_loss in drawn
    ]
    return np.array(rows).reshape(-1, 2)


def _read(table: object, x: str, y: str, size: str) -> Curves:
    """Read the curves at common places; rows before the first step (x = 0) are left out."""
    frame = as_frame(table)
    for name, value in (("x", x), ("y", y), ("size", size)):
        check_column(name, value)
    require(frame, [x, y, size])
    frame = frame.filter(pl.col(y).is_not_null() & (pl.col(x) != 0))
    seeds = "seed" if "seed" in frame.columns else None
    keys = [size, x, *([seeds] if seeds else [])]
    if seeds and frame.height and frame.select(keys).is_duplicated().any():
        raise BadTable(
            f"Some rows agree in {listed(keys)}, so they are not different seeds; select rows of "
            "one kind (where=...)."
        )
    numbers(frame, y, positive=True)
    log_x = np.log(numbers(frame, x, positive=True))
    sizes = sorted({float(value) for value in numbers(frame, size, positive=True)})
    if len(sizes) < 2:
        raise BadTable(f"An envelope needs at least two values of {size!r}, got {len(sizes)}.")
    places = np.linspace(float(log_x.min()), float(log_x.max()), FINE)
    parts = [frame.filter(pl.col(size) == value) for value in sizes]
    return Curves(tuple(sizes), places, tuple(_curve(part, x, y, seeds, places) for part in parts))


def _curve(
    part: pl.DataFrame, x: str, y: str, seeds: str | None, places: Float[np.ndarray, "places"]
) -> Float[np.ndarray, "seeds places"]:
    """Return one size's losses at the places, a row per seed; NaN outside the measured range."""
    runs = (
        part.sort(seeds).partition_by(seeds, maintain_order=True)
        if seeds
        else [part.group_by(x).agg(pl.col(y).mean())]
    )
    rows: list[np.ndarray] = []
    for run in runs:
        kept = run.sort(x)
        at, values = np.log(kept[x].to_numpy()), np.log(kept[y].to_numpy())
        rows.append(np.exp(np.interp(places, at, values, left=np.nan, right=np.nan)))
    return np.stack(rows)


def _cross(
    curves: Curves, means: list[Float[np.ndarray, "places"]], names: tuple[str, str, str]
) -> Crossings:
    """Find the winners in order of x, and where each crosses the next larger one."""
    log_y = np.log(np.stack(means))
    known = np.isfinite(log_y).any(axis=0)
    best = np.where(np.isfinite(log_y), log_y, np.inf)[:, known].argmin(axis=0)
    winners = [k for k in range(len(curves.sizes)) if (best == k).any()]
    pairs: list[tuple[int, int]] = []
    at: list[tuple[float, float]] = []
    for a, b in pairwise(winners):
        place = _crossing(curves.log_x, log_y[a], log_y[b])
        if place is not None:
            pairs.append((a, b))
            at.append(place)
    if not pairs:
        raise BadTable(_why_none(log_y, *names))
    both = np.array(at)
    return Crossings(tuple(pairs), both[:, 0], both[:, 1])


def _why_none(log_y: Float[np.ndarray, "sizes places"], x: str, y: str, size: str) -> str:
    """Explain in one sentence why no size overtakes another in this table."""
    gaps = [(a - b)[np.isfinite(a - b)] for k, a in enumerate(log_y) for b in log_y[k + 1 :]]
    gaps = [gap for gap in gaps if gap.size > 1]
    if not gaps:
        return (
            f"No two values of {size!r} were measured over a common range of {x!r}, so none can "
            f"be seen to overtake another: an envelope needs curves along {x!r} for each {size}, "
            "and "
            "a table of isoFLOP budgets has one point of each; the best size of a budget is the "
            f"minimum of {y!r} over the sizes there."
        )
    gap = np.concatenate(gaps)
    if (gap <= 0).all() or (gap >= 0).all():
        better = "smaller" if (gap <= 0).all() else "larger"
        return (
            f"No two sizes cross: wherever two values of {size!r} were measured at the same {x!r}, "
            f"the {better} one has the lower {y!r}."
        )
    return (
        f"No value of {size!r} overtakes the next smaller of those that are the best somewhere: "
        f"they lie side by side, or the smaller one wins at larger {x!r}."
    )


def _crossing(
    log_x: Float[np.ndarray, "places"],
    small: Float[np.ndarray, "places"],
    large: Float[np.ndarray, "places"],
) -> tuple[float, float] | None:
    """Return log x and log loss where the larger size overtakes the smaller; None if it never does.

    Noise can make curves cross more than once: the crossing is the one with the fewest points on
    the wrong side, the smaller size being better before and the larger after.
    """
    both = np.isfinite(small) & np.isfinite(large)
    ahead = (small - large)[both] > 0  # the larger is better
    if ahead.all() or not ahead.any():
        return None
    wrong = np.cumsum(ahead) + np.cumsum(~ahead[::-1])[::-1] - ~ahead  # cut after each point
    cut = int(np.argmin(wrong))
    x, low, high = log_x[both], small[both], large[both]
    if cut + 1 >= len(x) or not ahead[cut:].any():
        return None
    gap = (low - high)[cut : cut + 2]
    share = float(np.clip(-gap[0] / (gap[1] - gap[0]), 0, 1)) if gap[1] != gap[0] else 0.5
    return (
        float(x[cut] + share * (x[cut + 1] - x[cut])),
        float(low[cut] + share * (low[cut + 1] - low[cut])),
    )


def _draw(
    curves: Curves, pairs: tuple[tuple[int, int], ...], draws: int, seed: int
) -> Float[np.ndarray, "draws 2 pairs"]:
    """Return log x and log loss of the same crossings for resampled seeds.

    Draws in which a crossing is missing are left out.
    """
    draws = check_whole("draws", draws, error=BadTable)
    check_memory(f"{draws:,} draws", 16 * draws * len(pairs), "ask for fewer draws")
    rng = stream(seed, "envelope")
    if _fewest(curves) < 2:
        return np.zeros((0, 2, len(pairs)))
    kept: list[np.ndarray] = []
    for _ in range(draws):
        means = [
            np.log(values[rng.integers(len(values), size=len(values))].mean(axis=0))
            for values in curves.losses
        ]
        places = [_crossing(curves.log_x, means[a], means[b]) for a, b in pairs]
        if all(place is not None for place in places):
            kept.append(np.array(places, float).T)
    if len(kept) < draws / 2:
        raise BadTable(
            "The crossings are missing for most resamples of the seeds; more seeds are needed."
        )
    return np.stack(kept)


def _fewest(curves: Curves) -> int:
    return min(len(values) for values in curves.losses)


def _interval(value: float, drawn: Float[np.ndarray, "draws"], seeds: int) -> Estimate:
    """Return Student's interval with the spread of the draws; NaN for one seed.

    The spread is multiplied by sqrt(S/(S - 1)), which a bootstrap of S seeds lacks.
    """
    if seeds < 2:
        return student(value, math.nan, 0)
    stderr = float(drawn.std(ddof=1)) * math.sqrt(seeds / (seeds - 1))
    return student(value, stderr, seeds - 1, LEVEL)
