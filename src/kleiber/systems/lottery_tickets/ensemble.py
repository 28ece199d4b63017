"""The parts of an ensemble's error: what all nets share and what averages out.

Only predictions are needed. Nets of one width that differ in their seed make errors e_s(x) on
common inputs x. With < > the mean over x and E that over seeds, the squared error of K nets
averaged is, exactly,

    MSE_K = B^2 + V/K,   B^2 = <(E e)^2>,   V = <Var_s e>,

with B^2 the bias that all seeds share and V the variance that averages out. The estimates from S
seeds are unbiased: V uses S - 1, and B^2 = MSE_1 - V, which may be below 0. The ratio
MSE_K(N)/MSE_1(K N) compares K nets with one net K times as wide. It is 1 if a net is an ensemble of
its parts, V falling as 1/N beside a constant B (``theory.py`` with rho = 0), and above 1 if the
wider net is better. Logits are turned into probabilities, and the error is then the Brier score
sum_c (p_c - y_c)^2, which splits in the same way. Noise of the targets counts as bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import ArrayLike
from scipy import special

from kleiber.arguments import check_array, check_choice, check_flag, check_number
from kleiber.claim import Estimate
from kleiber.errors import BadTable, shown
from kleiber.maths.seeds import stream
from kleiber.systems.lottery_tickets.ensemble_draws import Moments, draw_moments
from kleiber.systems.lottery_tickets.ensemble_notes import note_nets

MEMBERS = (2, 4, 8, 16)
LEVEL = 0.95
MIN_SEEDS = 4  # seeds of a width

Part = Float[np.ndarray, "draws"]
Points = Literal["fixed", "drawn"]


@dataclass(frozen=True)
class WidthParts:
    """The error of nets of one width and its parts.

    `ensembles` is MSE_K by K. `reading` is "shared" or "averages" if the interval of bias_share
    lies above or below 1/2, else "undecided".
    """

    width: float
    n_seeds: int
    dropped: int
    mse: Estimate
    bias: Estimate
    variance: Estimate
    bias_share: Estimate
    ensembles: Mapping[int, Estimate]
    reading: str


@dataclass(frozen=True)
class WidthComparison:
    """A comparison of K nets of a width with one net K times as wide.

    `better` is "wider" or "ensemble" if the interval of the ratio MSE_K(N)/MSE_1(K N) lies above or
    below 1, else "undecided".
    """

    width: float
    members: int
    wider: float
    ratio: Estimate
    better: str


@dataclass(frozen=True)
class EnsembleVerdict:
    """The error parts of all widths (ascending), and all comparisons of widths.

    With two widths or more, `exponents` are those of N of "mse" and, if they are positive in every
    draw, of "variance" and "bias". `notes` are sentences on widths whose intervals depend on a few
    nets.
    """

    widths: tuple[WidthParts, ...]
    trades: tuple[WidthComparison, ...]
    exponents: Mapping[str, Estimate]
    points: str
    level: float
    notes: tuple[str, ...] = ()


def judge_ensemble(
    predictions: Mapping[float, ArrayLike] | Mapping[int, ArrayLike],
    target: ArrayLike,
    *,
    logits: bool = False,
    points: Points = "fixed",
    members: Sequence[int] = MEMBERS,
    drop: float | None = None,
    seed: int = 0,
) -> EnsembleVerdict:
    """Split the error of trained nets into the part that all seeds share and what averages out.

    `predictions` are arrays [seeds, points] or [seeds, points, outputs] by width, at least 4 seeds
    each; `target` is [points] or [points, outputs]. With `logits` the outputs are logits of classes
    and the target class numbers from 0, or probabilities. Intervals (95%) come from a bootstrap
    over seeds, and also over points if these are "drawn" (a test set) and not "fixed" (a grid);
    their degrees of freedom are the effective number of nets less one. `drop` leaves out nets whose
    error exceeds that multiple of their width's median. Raises BadTable.
    """
    _check_options(points, members, drop)
    check_flag("logits", logits)
    widths, errors = _errors(predictions, target, logits)
    kept = [_drop_outliers(width, item, drop) for width, item in zip(widths, errors, strict=True)]
    rng = stream(seed, "ensemble")
    moments = draw_moments(kept, points == "drawn", rng)
    _check_moments(widths, moments)
    parts = tuple(
        _width_parts(width, len(item) - own.n_seeds, own, members)
        for width, item, own in zip(widths, errors, moments, strict=True)
    )
    trades = tuple(
        _compare_widths(width, int(wide / width), wide, a, b)
        for width, a in zip(widths, moments, strict=True)
        for wide, b in zip(widths, moments, strict=True)
        if wide > width and wide / width % 1 == 0
    )
    notes = [
        sentence
        for width, item, own in zip(widths, kept, moments, strict=True)
        for sentence in note_nets(width, item, own)
    ]
    return EnsembleVerdict(parts, trades, _exponents(widths, moments), points, LEVEL, tuple(notes))


def _width_parts(width: float, dropped: int, own: Moments, members: Sequence[int]) -> WidthParts:
    share = _estimate(lambda m, v: (m - v) / m, own, log=False)
    return WidthParts(
        width=width,
        n_seeds=own.n_seeds,
        dropped=dropped,
        mse=_estimate(lambda m, v: m, own),
        bias=_estimate(lambda m, v: m - v, own, log=False),
        variance=_estimate(lambda m, v: v, own),
        bias_share=share,
        ensembles={int(k): _estimate(lambda m, v, k=k: m - v + v / k, own) for k in members},
        reading=_read_interval(share, 0.5, "shared", "averages"),
    )


def _compare_widths(
    width: float, members: int, wider: float, a: Moments, b: Moments
) -> WidthComparison:
    """Estimate MSE_K(N)/MSE_1(K N); the seeds of the widths are independent, points are the
    same."""
    value = (a.mse - a.variance * (1 - 1 / members)) / b.mse
    drawn = (a.mse_drawn - a.variance_drawn * (1 - 1 / members)) / b.mse_drawn
    ratio = _interval(value, drawn, (a, b), log=True)
    return WidthComparison(
        width, members, wider, ratio, _read_interval(ratio, 1.0, "wider", "ensemble")
    )


def _exponents(widths: Sequence[float], moments: Sequence[Moments]) -> dict[str, Estimate]:
    """Return minus the least-squares slopes of log MSE, log V and log B^2 against log N."""
    if len(widths) < 2:
        return {}
    log_n = np.log(widths)
    weights = (log_n - log_n.mean()) / ((log_n - log_n.mean()) ** 2).sum()
    found: dict[str, Estimate] = {}
    for name, a, b in (("mse", 1, 0), ("variance", 0, 1), ("bias", 1, -1)):
        values = np.array([a * item.mse + b * item.variance for item in moments])
        drawn = np.stack([a * item.mse_drawn + b * item.variance_drawn for item in moments])
        if (values > 0).all() and (drawn > 0).all():
            slopes = -weights @ np.log(drawn)
            found[name] = _interval(-float(weights @ np.log(values)), slopes, moments, log=False)
    return found


def _estimate(of: Callable[[Any, Any], Any], own: Moments, *, log: bool = True) -> Estimate:
    """Estimate a function of MSE and V with its interval."""
    drawn = of(own.mse_drawn, own.variance_drawn)
    return _interval(float(of(own.mse, own.variance)), drawn, (own,), log=log)


def _interval(value: float, drawn: Part, moments: Sequence[Moments], *, log: bool) -> Estimate:
    """Return Student's interval with the spread of the draws, or of their logarithms if positive.

    The spread is multiplied by sqrt(S/(S - 1)), which a bootstrap of S seeds lacks.
    """
    lacking = (1 + 1 / (min(item.n_seeds for item in moments) - 1)) ** 0.5
    degrees_of_freedom = min(item.degrees_of_freedom for item in moments)
    factor = float(special.stdtrit(degrees_of_freedom, 0.5 + LEVEL / 2)) * lacking
    stderr = float(drawn.std(ddof=1))
    if log and value > 0 and bool((drawn > 0).all()):
        stretch = float(np.exp(factor * np.log(drawn).std(ddof=1)))
        return Estimate(value, stderr * lacking, value / stretch, value * stretch)
    return Estimate(value, stderr * lacking, value - factor * stderr, value + factor * stderr)


def _read_interval(found: Estimate, middle: float, above: str, below: str) -> str:
    return above if found.low > middle else below if found.high < middle else "undecided"


def _errors(
    predictions: Mapping[float, ArrayLike] | Mapping[int, ArrayLike],
    target: ArrayLike,
    logits: bool,
) -> tuple[list[float], list[Float[np.ndarray, "seeds points outputs"]]]:
    """Return the widths in ascending order and the errors of their nets."""
    if not predictions:
        raise BadTable("There are no predictions; give arrays [seeds, points] by width.")
    arrays = {
        _check_width(width): _finite(item, f"The predictions of width {width}", (2, 3))
        for width, item in predictions.items()
    }
    first = next(iter(arrays.values()))
    for width, item in arrays.items():
        if item.shape[1:] != first.shape[1:] or item.shape[0] < MIN_SEEDS or 0 in item.shape:
            raise BadTable(
                f"Predictions are [seeds, points] or [seeds, points, outputs] with at least "
                f"{MIN_SEEDS} seeds and the same points for each width, got {list(item.shape)} for "
                f"width {width:g} and {list(first.shape)} for width {next(iter(arrays)):g}."
            )
    truth = _finite(target, "The target", (1, 2))
    if logits:
        truth = _classes(truth, first.shape)
        arrays = {width: special.softmax(item, axis=-1) for width, item in arrays.items()}
    if truth.ndim == 1 and first.shape[2:] == (1,):
        truth = truth[:, None]  # nets of one output
    if truth.shape != first.shape[1:]:
        raise BadTable(
            f"The target must be {list(first.shape[1:])} as the predictions of a net, got "
            f"{list(truth.shape)}."
        )
    widths = sorted(arrays)
    errors = [(arrays[width] - truth) for width in widths]
    return widths, [item.reshape(*item.shape[:2], -1) for item in errors]


def _classes(target: Num[np.ndarray, "..."], shape: tuple[int, ...]) -> Num[np.ndarray, "..."]:
    """Return class numbers as probabilities 0 and 1, and probabilities unchanged."""
    if len(shape) != 3 or shape[2] < 2:
        raise BadTable(
            "Logits need an axis of at least 2 classes, [seeds, points, classes], got "
            f"{list(shape)}."
        )
    if target.ndim == 2:
        if (target < 0).any() or (np.abs(target.sum(1) - 1) > 1e-6).any():
            raise BadTable("A target [points, classes] must hold probabilities that sum to 1.")
        return target
    if (target % 1 != 0).any() or target.min() < 0 or target.max() >= shape[2]:
        raise BadTable(
            f"With {shape[2]} logits the target holds class numbers from 0 to {shape[2] - 1}, got "
            f"{target.min():g} to {target.max():g}."
        )
    return np.eye(shape[2])[target.astype(int)]


def _drop_outliers(
    width: float, errors: Float[np.ndarray, "seeds points outputs"], drop: float | None
) -> Float[np.ndarray, "kept points outputs"]:
    """Return the errors of the nets whose error is at most `drop` times the median."""
    each = (errors**2).sum(2).mean(1)
    kept = errors if drop is None else errors[each <= drop * np.median(each)]
    if len(kept) < MIN_SEEDS:
        raise BadTable(
            f"Width {width:g} keeps {len(kept)} of {len(errors)} nets; it needs {MIN_SEEDS}."
        )
    return kept


def _check_moments(widths: Sequence[float], moments: Sequence[Moments]) -> None:
    """Raise BadTable for errors that cannot be squared, and for widths with draws without error."""
    for width, item in zip(widths, moments, strict=True):
        if not np.isfinite(item.mse):
            raise BadTable(f"The errors of width {width:g} are too large to be squared.")
        if not (item.mse_drawn > 0).all():
            raise BadTable(
                f"Nets of width {width:g} make no error at all, or too few of them do, or at too "
                "few "
                "points, so that there is no interval."
            )


def _check_width(width: object) -> float:
    try:
        value = float(width)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise BadTable(f"A width must be a positive number, got {width!r}.")
    return value


def _finite(item: ArrayLike, what: str, ndims: tuple[int, int]) -> Float[np.ndarray, "..."]:
    try:
        array = np.asarray(item, float)
    except (TypeError, ValueError) as error:
        raise BadTable(f"{what} must be an array of numbers: {error}.") from error
    if array.ndim not in ndims or array.size == 0 or not np.isfinite(array).all():
        raise BadTable(
            f"{what} must be a finite array of {ndims[0]} or {ndims[1]} axes, got shape "
            f"{list(array.shape)}{'' if np.isfinite(array).all() else ' with NaN or infinity'}."
        )
    return array


def _check_options(points: str, members: Sequence[int], drop: float | None) -> None:
    check_choice("points", points, ("fixed", "drawn"), error=BadTable)
    if not isinstance(members, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadTable(f"The members must be a list of whole numbers from 1, got {shown(members)}.")
    numbers = check_array("members", members, "a list of whole numbers from 1", error=BadTable)
    if ((numbers < 1) | (numbers % 1 != 0)).any():
        raise BadTable(f"The members must be whole numbers from 1, got {shown(members)}.")
    if drop is not None:
        check_number("drop", drop, "at least 1 times the median", low=1, error=BadTable)
