"""What a table supports: when a forecast is refused, and what its notes say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.forecasting.average import BackTest, Weights
from kleiber.forecasting.members import Members
from kleiber.forecasting.mixture import HIDDEN, Mixture

LEAST_ROWS = 4  # with one column; one more for each further
FARTHEST = 5.0  # times the measured range, in logs
FAR = 10.0  # times the largest value of a column: beyond it a note
SAME = 1.02  # largest over smallest value of a column that does not vary
FEW_ROWS = 10
SMOOTH_ROWS, SMOOTH_RISES = 20, 4.0  # rows, and rises that noise would make, at least
MISFIT, VISIBLE = 1.7, 0.003  # times the residuals of recent rows, and relative error
RISING = 4.0  # standard errors
SMALL = 100.0  # counts of parameters, tokens or FLOPs below which all are not believed
COUNTS = ("n_params", "n_tokens", "flops")


@dataclass(frozen=True)
class Asked:
    """The measured rows of a group and the rows that are asked for: columns and target."""

    names: tuple[str, ...]
    x: Float[np.ndarray, "rows columns"]
    y: Float[np.ndarray, "rows"]
    at: Float[np.ndarray, "asked columns"]

    @property
    def distance(self) -> Float[np.ndarray, "asked"]:
        """The product of the columns of each asked row over the largest measured one."""
        return np.exp(np.log(self.at).sum(axis=1) - np.log(self.x).sum(axis=1).max())


def refusal(asked: Asked) -> str:
    """Return why the table cannot support any forecast of what is asked, or nothing."""
    rows, least = len(asked.x), LEAST_ROWS + len(asked.names) - 1
    what = " x ".join(asked.names)
    progress = np.log(asked.x).sum(axis=1)
    if rows < least:
        return f"{rows} row{'s' * (rows != 1)} cannot support a forecast in {what}: {least} can."
    if len(np.unique(asked.x, axis=0)) < least:
        return f"A forecast needs {least} different values of {what}."
    for k, name in enumerate(asked.names):
        low, high = asked.x[:, k].min(), asked.x[:, k].max()
        far = max(float(asked.at[:, k].max()) / high, low / float(asked.at[:, k].min()))
        if high < SAME * low and far > SAME:
            return (
                f"{name} is {high:.4g} in every row, so nothing tells what another value does: "
                f"ask for {name} = {high:.4g}, leave it out, or add runs that vary it."
            )
    span = float(progress.max() - progress.min())
    beyond = float(np.log(asked.distance.max()))
    if beyond > FARTHEST * span:
        return (
            f"What is asked lies {np.exp(beyond):.3g} times beyond the largest measured {what}, "
            f"and the measured range is only a factor of {np.exp(span):.3g}: add runs over a wider "
            "range, or ask for less."
        )
    return ""


def hides_noise(x: Float[np.ndarray, "rows columns"], y: Float[np.ndarray, "rows"]) -> bool:
    """Return whether a curve in one column never rises although its scatter would make it: running
    minima or smoothing hide the noise of single measurements."""
    if x.shape[1] != 1 or len(x) < SMOOTH_ROWS:
        return False
    places, counts = np.unique(x[:, 0], return_inverse=True, return_counts=True)[1:]
    curve = np.bincount(places, weights=np.log(y)) / counts
    if len(curve) < SMOOTH_ROWS:
        return False
    steps = np.diff(curve)
    if (steps > 0).any():
        return False
    scatter = np.median(np.abs(np.diff(curve, 2))) / 0.6745 / np.sqrt(6)
    wide = max(float(scatter) * np.sqrt(2), 1e-300)
    rises = float(cast("Any", special.ndtr(steps / wide)).sum())
    return rises > SMOOTH_RISES


def note(
    asked: Asked, members: Members, tests: Sequence[BackTest], weights: Weights, mixture: Mixture
) -> Iterator[str]:
    """Yield sentences on what to mind, the gravest first."""
    yield from _note_columns(asked)
    yield from _note_rising(asked)
    tested = max((test.distance.max() for test in tests), default=0.0)
    farthest = float(asked.distance.max())
    if not tests:
        yield (
            f"No back-test is possible with these {len(asked.x)} rows: how wrong the forecast may "
            "be is known from priors alone."
        )
    elif farthest > 1.5 * np.exp(tested):
        yield (
            f"Back-tests reach {np.exp(tested):.3g} times beyond the rows that they know; "
            f"{farthest:.3g} times is asked for."
        )
    elif len(asked.x) < FEW_ROWS:
        yield f"With {len(asked.x)} rows the forecast depends on its priors."
    if mixture.widening > 1.2:
        yield (
            "Back-tests missed by more than they expected: intervals are "
            f"{np.sqrt(mixture.widening):.2g} times wider for it."
        )
    if hides_noise(asked.x, asked.y):
        yield (
            "The target never rises although its scatter would make it, as running minima or "
            f"smoothed curves do: its noise is taken to be {HIDDEN:g} times what shows."
        )
    yield from _note_recency(members, weights)


def _note_columns(asked: Asked) -> Iterator[str]:
    for k, name in enumerate(asked.names):
        low, high = asked.x[:, k].min(), asked.x[:, k].max()
        factor = float(asked.at[:, k].max()) / high
        if name in COUNTS and high < SMALL:
            yield f"{name} is at most {high:.4g}: a count in other units, or its logarithm?"
        if factor > FAR * (1 + 1e-9):
            yield (
                f"{name} = {asked.at[:, k].max():.4g} is {factor:.3g} times the largest measured."
            )
        if len(asked.names) > 1 and SAME <= high / low < 2:
            yield (
                f"{name} varies by no more than a factor of {high / low:.2g}: what it does beyond "
                "comes from priors."
            )


def _note_rising(asked: Asked) -> Iterator[str]:
    """Yield a sentence for every column with which the target rises, the others being equal."""
    rows, count = asked.x.shape
    if count < 2 or rows < count + 3:
        return
    design = np.column_stack([np.ones(rows), np.log(asked.x)])
    slopes = np.linalg.lstsq(design, np.log(asked.y), rcond=None)[0]
    left = np.log(asked.y) - design @ slopes
    inverse = np.linalg.pinv(design.T @ design)
    errors = np.sqrt(np.diag(inverse) * (left @ left) / (rows - count - 1))
    for name, slope, error in zip(asked.names, slopes[1:], errors[1:], strict=True):
        if slope > RISING * error:
            yield (
                f"The target rises with {name} where the other columns are equal; a forecast "
                f"assumes that it falls or stays: leave {name} out, or look at its units."
            )


def _note_recency(members: Members, weights: Weights) -> Iterator[str]:
    """Yield a sentence where no law fits the whole table as well as its recent rows."""
    own = weights.values / weights.values.sum(axis=0)
    scale = (own * np.stack([found.scale[0] for found in members.found])).sum(axis=0)
    if scale[-1] > max(MISFIT * scale[0], VISIBLE):
        yield (
            f"Laws miss the recent rows by {scale[0]:.1%} and the whole table by {scale[-1]:.1%}: "
            "small runs may be under-tuned, or follow another law, and have little weight."
        )
