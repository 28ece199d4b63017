"""From the spectrum of a kernel or of features to a forecast: how hard the task is, how fast lazy
and rich networks will learn it, and what feature learning is worth.

Along the modes of a kernel the eigenvalues fall as k^-alpha (capacity) and the target's power
beyond mode k as k^(-alpha beta) (source). A task is hard for beta < 1, easy up to 2 - 1/alpha and
super-easy beyond; the model of `theory.feature_learning` learns hard tasks as t^(-2 beta/(1 +
beta)) with feature learning and as t^-beta without, the others as t^-beta with either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.laws.bottleneck import bottleneck_exponents
from kleiber.maths.seeds import stream
from kleiber.reduce.spectrum_fit import Curve, default_window, resolved_curve, tail_curve
from kleiber.reduce.spectrum_modes import Kind, Modes, Samples, modes_of, read_samples
from kleiber.table import as_frame, numbers, require

Rule = Literal["resolved", "tails"]
HALVES = 24  # halves of the samples, drawn at random
SPREAD = 4000  # draws of both exponents, from which forecasts get their intervals
SATURATED = 2.7  # a source beyond which the estimate, at most 3, bends
REGIMES = ("hard", "easy", "super_easy")


@dataclass(frozen=True)
class Spectrum:
    """A spectrum, its exponents and what follows from them.

    `estimates` are capacity, source and tail (their product), the exponents of the loss time_lazy,
    time_rich, compute_lazy and compute_rich, and time_gain and compute_gain, rich over lazy.
    `regime` is hard, easy or super_easy where at least the level of the draws (`chances`) agree,
    else undecided. `windows` are the exponents by other windows and the other rule.
    """

    eigenvalues: Float[np.ndarray, "modes"]
    powers: Float[np.ndarray, "modes"]
    rest: float
    n_data: int
    rule: str
    window: tuple[float, float]
    estimates: Mapping[str, Estimate]
    regime: str
    chances: Mapping[str, float]
    windows: pl.DataFrame
    level: float
    notes: tuple[str, ...] = ()


def estimate_spectrum(
    given: ArrayLike,
    targets: ArrayLike,
    *,
    kind: str | None = None,
    rule: Rule | None = None,
    window: Sequence[float] | None = None,
    modes: int | None = None,
    width: float = np.inf,
    draws: int = HALVES,
    level: float = 0.95,
    seed: int = 0,
) -> Spectrum:
    """Capacity and source of a kernel and a target, with intervals, and the forecast they make.

    `given` is a Gram matrix with targets of its samples (one column or several), features with a
    row for each sample, or eigenvalues with the targets' power along each (see `kind`). With
    samples the rule is "resolved" (see `reduce.spectrum_fit`), else "tails"; windows are those of
    `default_window`. Beyond 4000 samples only the largest `modes` (500) are computed. `width` is
    the number of random features that make the kernel, if it is not far above that of the samples:
    the exponents are then those of infinitely many such features.

    The standard error joins three parts: the spread over `draws` halves of the samples (eigenvalues
    given as such count as exact); that over targets of the same power law with Gaussian
    coefficients; and half the difference between the two halves of the window. Raises BadTable.
    """
    read = read_samples(given, targets, kind)
    found = read if isinstance(read, Modes) else modes_of(read, modes, seed, width)
    chosen: Rule = rule or ("resolved" if found.n_data else "tails")
    if chosen not in ("resolved", "tails") or (chosen == "resolved" and not found.n_data):
        raise BadTable(
            "The rule is 'resolved' (which needs samples, not eigenvalues) or 'tails', got "
            f"{chosen!r}."
        )
    if draws < 2 or not 0 < level < 1:
        raise BadTable(f"Take 2 draws or more and a level within 0 and 1, got {draws}, {level:g}.")
    ends = _ends(window, default_window(found, chosen))
    curve = _curve(found, chosen, ends)
    value = np.array(curve.exponents())
    spread = _over_targets(found, chosen, ends, draws, seed)
    if isinstance(read, Samples):
        spread = spread + _over_samples(read, found, chosen, ends, curve, draws, seed)
    half = _halves(curve)
    covariance = spread + np.diag(((half[1] - half[0]) / 2) ** 2)
    drawn = stream(seed, "spectrum forecast").multivariate_normal(value, covariance, SPREAD)
    estimates, chances = _forecast(value, drawn, level)
    likely = max(chances, key=lambda name: chances[name])
    return Spectrum(
        found.eigenvalues, found.powers, found.rest_power, found.n_data, chosen, ends, estimates,
        likely if chances[likely] >= level else "undecided", chances,
        _windows(found, ends, chosen), level, _notes(value, chosen, found),
    )  # fmt: skip


def spectrum(
    table: object,
    *,
    eigenvalue: str = "eigenvalue",
    power: str = "power",
    target: str | Sequence[str] | None = None,
    rule: Rule | None = None,
    window: Sequence[float] | None = None,
    modes: int | None = None,
    width: float = np.inf,
    draws: int = HALVES,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """`estimate_spectrum` of a table, one row for each estimate: name, value, stderr, low, high,
    and in every row the regime.

    The table has a row for each mode with its eigenvalue and the target's power along it (the
    square of the coefficient), or, with `target`, a row for each sample: the target's column or
    columns, and features in all others. Raises BadTable.
    """
    frame = as_frame(table)
    if target is None:
        require(frame, [eigenvalue, power])
        given, wanted = numbers(frame, eigenvalue, positive=True), numbers(frame, power)
        kind: Kind = "eigenvalues"
    else:
        names = [target] if isinstance(target, str) else list(target)
        require(frame, names)
        others = [name for name in frame.columns if name not in names]
        if not others:
            raise BadTable("Beside the target's columns the table needs columns of features.")
        given = np.stack([numbers(frame, name) for name in others], axis=1)
        wanted = np.stack([numbers(frame, name) for name in names], axis=1)
        kind = "features"
    found = estimate_spectrum(
        given, wanted, kind=kind, rule=rule, window=window, modes=modes, width=width, draws=draws,
        level=level, seed=seed,
    )  # fmt: skip
    rows = [
        (name, item.value, item.stderr, item.low, item.high)
        for name, item in found.estimates.items()
    ]
    schema = ["name", "value", "stderr", "low", "high"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.lit(found.regime).alias("regime")
    )


def lazy_loss(found: Spectrum, time: ArrayLike) -> pl.DataFrame:
    """The mean squared error of a network that trains as this kernel, by gradient-flow time.

    loss = sum_k c_k exp(-2 lam_k t) + rest, with K/P's eigenvalues lam_k, so that the first mode is
    learned at t = 1/lam_1; it is the training error on these samples, and that of fresh data as
    long as `resolved` is true: until the modes beyond a tenth of the samples begin to be learned.
    """
    t = np.atleast_1d(np.asarray(time, float)).ravel()
    if not (np.isfinite(t) & (t >= 0)).all():
        raise BadTable("Times must be finite numbers from 0.")
    left = np.exp(-2 * np.outer(t, found.eigenvalues)) @ found.powers + found.rest
    last = found.eigenvalues[min(max(found.n_data // 10, 1), found.eigenvalues.size) - 1]
    columns = {"time": t, "loss": left}
    return pl.DataFrame(columns).with_columns(
        pl.Series("resolved", (t * last < 1) | (found.n_data == 0))
    )


def _curve(modes: Modes, rule: str, window: tuple[float, float]) -> Curve:
    return (resolved_curve if rule == "resolved" else tail_curve)(modes, window)


def _ends(window: Sequence[float] | None, default: tuple[float, float]) -> tuple[float, float]:
    if window is None:
        return default
    ends = tuple(float(item) for item in window)
    if len(ends) != 2 or not 1 <= ends[0] < ends[1] < np.inf:
        raise BadTable(f"A window is two rising numbers of modes from 1, got {list(window)}.")
    return ends[0], ends[1]


def _halves(curve: Curve) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """alpha and beta in the lower and the upper half of the window."""
    low, high = curve.log_x[0], curve.log_x[-1]
    middle = (low + high) / 2
    parts = (curve.cut(low, middle), curve.cut(middle, high))
    return np.array(parts[0].exponents()), np.array(parts[1].exponents())


def _over_samples(
    read: Samples,
    found: Modes,
    rule: str,
    window: tuple[float, float],
    curve: Curve,
    draws: int,
    seed: int,
) -> Float[np.ndarray, "2 2"]:
    """The covariance of alpha and beta over halves of the samples: that of one set of them all."""
    rng, n = stream(seed, "spectrum samples"), len(read.targets)
    ends = float(curve.log_x[0]), float(curve.log_x[-1])
    top = found.eigenvalues.size if found.rest_trace > 0 else None
    drawn = list[tuple[float, float]]()
    for _ in range(draws):
        rows = np.sort(rng.permutation(n)[: n // 2])
        half = modes_of(read.part(rows), top, seed, found.width)
        drawn.append(_same_range(half, rule, window, ends).exponents())
    return np.cov(np.array(drawn).T)


def _over_targets(
    modes: Modes, rule: str, window: tuple[float, float], draws: int, seed: int
) -> Float[np.ndarray, "2 2"]:
    """The covariance of alpha and beta over other targets of the same spectrum.

    Squares of Gaussian coefficients scatter by twice their mean square. The powers given scatter
    already, and gamma weights of variance 2/3 on them have that spread.
    """
    rng = stream(seed, "spectrum targets")
    shape = 1.5 * modes.outputs
    drawn = list[tuple[float, float]]()
    for _ in range(draws):
        weights = rng.standard_gamma(shape, modes.powers.size) / shape
        other = replace(modes, powers=modes.powers * weights)
        drawn.append(_curve(other, rule, window).exponents())
    return np.cov(np.array(drawn).T)


def _same_range(
    half: Modes, rule: str, window: tuple[float, float], ends: tuple[float, float]
) -> Curve:
    """The curve of half the samples over the range of the whole: kappa and k mean the same."""
    if rule == "tails":
        return _curve(half, rule, (window[0], min(window[1], half.n_data / 5)))
    wide = resolved_curve(half, (window[0] / 3, 0.98 * min(half.n_data, 1.4 * window[1])))
    return wide.cut(max(ends[0], wide.log_x[0]), ends[1])


def _forecast(
    value: Float[np.ndarray, "2"], drawn: Float[np.ndarray, "draws 2"], level: float
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Estimates by name, and the share of the draws in each regime."""

    alpha, beta = np.vstack([value, drawn]).T
    named = {"capacity": alpha, "source": beta, "tail": alpha * beta}
    least = 1 + 1e-6, 1e-6  # below these there is no forecast, and a note says so
    capacity, source = np.maximum(alpha, least[0]), np.maximum(beta, least[1])
    lazy = bottleneck_exponents(capacity, source, rich=False)
    rich = bottleneck_exponents(capacity, source, rich=True)
    for n in ("time", "compute"):
        named |= {f"{n}_lazy": lazy[n], f"{n}_rich": rich[n], f"{n}_gain": rich[n] / lazy[n]}
    ends = [(1 - level) / 2, (1 + level) / 2]
    estimates = {
        name: Estimate(
            float(values[0]),
            float(values[1:].std()),
            *(float(end) for end in np.quantile(values[1:], ends)),
        )
        for name, values in named.items()
    }
    hard, above = source[1:] < 1, source[1:] > 2 - 1 / capacity[1:]
    shares = (hard.mean(), (~hard & ~above).mean(), (~hard & above).mean())
    return estimates, {name: float(share) for name, share in zip(REGIMES, shares, strict=True)}


def _windows(modes: Modes, window: tuple[float, float], rule: str) -> pl.DataFrame:
    """The exponents by both rules over the window, its halves, and one begun lower."""
    low, high = window
    middle = float(np.sqrt(low * high))
    rows = list[tuple[str, float, float, float, float]]()
    for each in ("resolved", "tails") if modes.n_data else ("tails",):
        ends = default_window(modes, each) if each != rule else window
        for part in (ends, (low, middle), (middle, ends[1]), (low / 2, ends[1])):
            try:
                rows.append((each, *part, *_curve(modes, each, part).exponents()))
            except BadTable:
                continue
    return pl.DataFrame(rows, schema=["rule", "low", "high", "capacity", "source"], orient="row")


def _notes(value: Float[np.ndarray, "2"], rule: str, modes: Modes) -> tuple[str, ...]:
    notes = list[str]()
    if value[0] <= 1:
        notes.append(
            f"the capacity comes out as {value[0]:.3g}, not above 1: over this window the kernel's "
            "trace does not converge, and forecasts take it as 1"
        )
    if value[1] <= 0:
        notes.append("the target has no power left to learn beyond the window: no source")
    if rule == "resolved" and modes.rank < 0.9 * min(modes.n_data, modes.width):
        notes.append(
            f"the features end at {modes.rank}, which bends the spectrum before; if they are so "
            f"many random features of a wider kernel, width={modes.rank} allows for that"
        )
    if rule == "resolved" and value[1] > SATURATED:
        notes.append("a source near 3 or above reads as 3 by this rule: it is a lower bound")
    if rule == "tails" and modes.n_data:
        notes.append(
            "both tails are those of the sample, whose end is no tail of the population; the rule "
            "'resolved' allows for that"
        )
    return tuple(notes)
