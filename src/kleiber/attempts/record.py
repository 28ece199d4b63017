"""CountFit: a distribution fitted to counts of successes, group by group, and its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_array, check_call, check_number
from kleiber.attempts.batch import Batch
from kleiber.attempts.briefly import counts_briefly
from kleiber.attempts.contour import likelihood_drop, trace_contour
from kleiber.attempts.family import Family
from kleiber.attempts.judge import (
    BROKEN,
    USABLE,
    CountStatus,
    max_measured_k,
    measure,
    pass_rate_bounds,
)
from kleiber.attempts.misfit import Misfit
from kleiber.attempts.newton import Peak, take_peak
from kleiber.attempts.pooled import PooledTrend
from kleiber.attempts.table import Counts
from kleiber.errors import BadTable, nearest, reason, shown
from kleiber.fitting.spread.intervals import Interval, check_level

MAX_EXTRAPOLATION = 1000  # largest k of an interval over the attempts made
MIN_SOLVED = 3  # problems solved at least once, needed to extrapolate
WINDOW_POINTS = 20  # points of a window, evenly spaced in log k


@dataclass(frozen=True, eq=False)
class PassRate:
    """pass@k by a fitted law, with its interval: numbers, or arrays over groups and then k.

    It stands for its values where a number or an array is wanted. ``reasons`` says for each group,
    or each group and k, why an interval is missing; "" where it is not.
    """

    k: Any
    value: Any
    low: Any
    high: Any
    reasons: Any
    level: float

    def __float__(self) -> float:
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.value, dtype=dtype)


@dataclass(frozen=True)
class CountFit:
    """A law of repeated attempts fitted to the counts of each group; ``fit_counts`` makes it.

    ``params``, ``status`` and ``reason`` hold a value of the only group, or a mapping from the
    names of the groups; so does what ``interval``, ``pass_at`` and ``window`` return.

    Attributes
    ----------
    family
        The distribution of success probabilities over problems that was fitted.
    counts
        The attempts and successes that it was fitted to.
    batch, peak
        The same counts as arrays over groups, and the maximum of the likelihood of each.
    statuses, reasons
        How the fit of each group ended, a ``CountStatus``, and the sentence that explains it.
    level
        The level of the intervals.
    prior
        ``"straight"``, or None for no prior.
    drawn
        The refits to resampled problems, in the coordinates of the family; ``draws`` has
        parameters.
    trend
        The joint law along a column, one for each series where there are several; None if not asked
        for.
    notes
        Sentences on what to mind.
    misfits
        How well the family describes each group, beside other families; None without parameters.
    pooled
        The law of all series along a column together; None unless there are several.
    contours
        Contours of the likelihood that intervals were read from, kept by level.

    Examples
    --------
    >>> import kleiber
    >>> counts = {"problem": list("abcdef"), "attempts": 6 * [9], "successes": [0, 1, 2, 4, 7, 9]}
    >>> found = kleiber.fit_counts(counts)
    >>> found.usable, found.groups, sorted(found.params)
    (True, ('all',), ['a', 'b'])
    """

    family: Family
    counts: Counts
    batch: Batch = field(repr=False)
    peak: Peak = field(repr=False)
    statuses: tuple[CountStatus, ...]
    reasons: tuple[str, ...]
    level: float
    prior: str | None
    drawn: Float[np.ndarray, "draws groups coordinates"] = field(repr=False)
    trend: Any
    notes: tuple[str, ...]
    misfits: tuple[Misfit | None, ...] = ()
    contours: dict[float, np.ndarray] = field(
        default_factory=dict[float, np.ndarray], repr=False, compare=False
    )
    pooled: PooledTrend | None = None

    def __repr__(self) -> str:
        return counts_briefly(self)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return self.counts.names

    @property
    def params(self) -> Mapping[str, Any]:
        """Value of each parameter; NaN for groups whose status says that they have none."""
        return {name: self._per_group(x) for name, x in self._params(self.peak.u).items()}

    @property
    def draws(self) -> Mapping[str, Float[np.ndarray, "..."]]:
        """Each parameter of the refits to resampled problems: (draws,) or (draws, groups)."""
        draws, groups, p = self.drawn.shape
        to_params = self.family.to_params(self.drawn.reshape(-1, p))
        shape = (draws, groups) if groups > 1 else (draws,)
        return {name: values.reshape(shape) for name, values in to_params.items()}

    @property
    def status(self) -> Any:
        """How the fit of each group ended."""
        return self._per_group(self.statuses)

    @property
    def reason(self) -> Any:
        """The sentence that explains each status."""
        return self._per_group(self.reasons)

    @property
    def usable(self) -> bool:
        """Whether every group has parameters that can be used."""
        return all(status in USABLE for status in self.statuses)

    @property
    def broken(self) -> bool:
        """Whether a fit failed in some group: no convergence, or far from the measured pass@1."""
        return any(status in BROKEN for status in self.statuses)

    @property
    def misfit(self) -> Any:
        """How well the family describes each group, beside others; None without parameters."""
        return self._per_group(self.misfits)

    @property
    def exponent(self) -> Any:
        """The power of k with which failure falls for large k."""
        return self.params[self.family.exponent]

    def interval(
        self, quantity: str | Callable[[Mapping[str, Any]], Any], level: float | None = None
    ) -> Any:
        """Give the profile-likelihood interval of a parameter, or of a function of the parameters.

        Parameters
        ----------
        quantity
            The name of a parameter, or a function that receives a mapping from names to arrays and
            works elementwise.
        level
            The level of the interval, between 0 and 1; by default that of the fit.

        Returns
        -------
        Interval
            Its ends: 0 or infinite where the counts set no limit, NaN where ``status`` says why.

        Raises
        ------
        BadTable
            For an unknown parameter, and for a function that fails or does not give one number
            each.
        """
        if isinstance(quantity, str):
            if quantity not in self.family.params:
                raise BadTable(
                    f"The family {self.family.name} has no parameter {shown(quantity)}; it has "
                    f"{', '.join(self.family.params)}.{nearest(quantity, self.family.params)}"
                )
            name = quantity

            def quantity_at(u: np.ndarray) -> np.ndarray:
                return np.asarray(self.family.to_params(u)[name])[:, None]
        else:
            function = check_call("quantity", quantity, "a parameter's name or a function of them")

            def quantity_at(u: np.ndarray) -> np.ndarray:
                return _call(function, self.family.to_params(u))[:, None]

        low, high = (end[:, 0] for end in self._range(quantity_at, level))
        if isinstance(quantity, str) and quantity == self.family.exponent:
            ends = self._contour(level)[:, :, 0]
            low = np.where(ends.min(1) <= self.family.low[0] + 1e-6, 0.0, low)
            high = np.where(ends.max(1) >= self.family.high[0] - 1e-6, np.inf, high)
        return self._per_group(
            [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]
        )

    def pass_at(self, k: Any, level: float | None = None) -> PassRate:
        """Give pass@k of a fresh problem by the fitted law, with its interval.

        Beyond the attempts made this extrapolates. Where attempts are too few for the law, whole k
        up to the fewest attempts get what was measured without it, and others no value.

        Parameters
        ----------
        k
            One or more numbers from 1, whole or not.
        level
            The level of the interval, between 0 and 1; by default that of the fit.

        Returns
        -------
        PassRate
            ``value``, ``low`` and ``high``, numbers or arrays over groups and then k. The interval
            is refused (NaN, with the sentence in ``reasons``) for a group without parameters, with
            fewer than 3 problems solved, and for k more than 1000 times its attempts.

        Raises
        ------
        BadTable
            For k that are no numbers from 1.
        """
        ks = check_array("k", k, "one or more numbers from 1", low=1, error=BadTable)

        def passed(u: np.ndarray) -> np.ndarray:
            return np.clip(-np.expm1(self.family.log_failure(u, ks)), 0.0, 1.0)

        low, high = self._range(passed, level)
        why = np.array([[self._why_no_interval(g, x) for x in ks] for g in range(len(self.groups))])
        value = np.where(self._usable()[:, None], passed(self.peak.u), np.nan)
        low, high = (np.where(why == "", end, np.nan) for end in (low, high))
        for g in range(len(self.groups)):
            if self.statuses[g] is CountStatus.TOO_FEW_ATTEMPTS:
                value[g], low[g], high[g] = self._measured(g, ks, level)
        parts = [self._unwrap(x, k) for x in (value, low, high, why)]
        return PassRate(k, *parts, level=self.level if level is None else level)

    def window(
        self, low: float, high: float, observable: str = "failure", level: float | None = None
    ) -> Any:
        """Return the exponent of a window: minus the least-squares slope of the fitted law's log
        failure (or log -log pass, ``observable="neg_log_pass"``) on 20 points from k = low to high.

        An Estimate-like mapping value, low, high. It is what a line through measured points in
        that window would give; the law's own exponent is its limit for late windows.
        """
        if observable not in ("failure", "neg_log_pass"):
            raise BadTable(f"A window is of 'failure' or 'neg_log_pass', got {shown(observable)}.")
        low, high = (check_number(n, x) for n, x in (("low", low), ("high", high)))
        if not 1 <= low < high:
            raise BadTable(
                f"A window goes from k = low to high, 1 <= low < high; got {low}, {high}."
            )
        k = np.geomspace(low, high, WINDOW_POINTS)
        x = np.log(k) - np.log(k).mean()
        weights = -x / (x @ x)

        def slope(u: np.ndarray) -> np.ndarray:
            y = self.family.log_failure(u, k)
            if observable == "neg_log_pass":
                y = np.log(np.maximum(-np.log(np.maximum(-np.expm1(y), 1e-300)), 1e-300))
            return (y @ weights)[:, None]

        ends = (end[:, 0] for end in self._range(slope, level))
        value = np.where(self._usable(), slope(self.peak.u)[:, 0], np.nan)
        return self._per_group(
            [
                {"value": float(v), "low": float(a), "high": float(b)}
                for v, a, b in zip(value, *ends, strict=True)
            ]
        )

    def _usable(self) -> np.ndarray:
        return np.array([status in USABLE for status in self.statuses])

    def _params(self, u: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: np.where(self._usable(), x, np.nan)
            for name, x in self.family.to_params(u).items()
        }

    def _contour(self, level: float | None) -> np.ndarray:
        """Return the contours of the usable groups; other groups have their estimate instead."""
        at = check_level(self.level if level is None else level)
        if at not in self.contours:
            rows = np.flatnonzero(self._usable())
            if not len(rows):
                return self.peak.u[:, None]
            batch = self.batch.take(rows)
            peak = take_peak(self.peak, rows)
            drop = likelihood_drop(at, batch.problems, len(self.family.params))
            points = trace_contour(self.family, batch, peak, drop)
            out = np.repeat(self.peak.u[:, None], points.shape[1], axis=1)
            out[rows] = points
            self.contours[at] = out
        return self.contours[at]

    def _range(self, quantity_at: Callable[[np.ndarray], np.ndarray], level: float | None) -> Any:
        """Return the smallest and largest value of a function of coordinates over each group's
        contour."""
        points = self._contour(level)
        groups, rays, p = points.shape
        values = quantity_at(points.reshape(-1, p)).reshape(groups, rays, -1)
        bad = ~self._usable()
        low, high = values.min(1), values.max(1)
        low[bad], high[bad] = np.nan, np.nan
        return low, high

    def _measured(self, group: int, ks: np.ndarray, level: float | None) -> np.ndarray:
        """Return the unbiased pass@k with its interval: (3, k), NaN for k beyond the attempts."""
        out = np.full((3, len(ks)), np.nan)
        known = (ks <= max_measured_k(self.counts, group)) & (ks == np.round(ks))
        at = self.level if level is None else level
        made = measure(self.counts, group, ks[known], at) if known.any() else None
        if made is not None:
            out[:, known] = 1 - np.stack([made.mean, made.high, made.low])
        return out

    def _why_no_pass_rate(self, group: int, k: float) -> str:
        """Explain why a group with too few attempts has no pass@k at k, or return ""."""
        measured_up_to = max_measured_k(self.counts, group)
        if self.counts.stopped[self.counts.of(group)].any() or (
            k <= measured_up_to and k != round(k)
        ):
            return self.reasons[group]
        if k <= measured_up_to:
            return ""
        low, high = pass_rate_bounds(self.counts, group, k)
        return (
            f"pass@{k:g} is not identified by {measured_up_to} attempt{'s' * (measured_up_to > 1)} "
            f"a problem: it may be anything from {low:.3g} to {high:.3g}."
        )

    def _why_no_interval(self, group: int, k: float) -> str:
        if self.statuses[group] is CountStatus.TOO_FEW_ATTEMPTS:
            return self._why_no_pass_rate(group, k)
        if self.statuses[group] not in USABLE:
            return self.reasons[group]
        attempts = float(self.batch.attempts[group][self.batch.weights[group] > 0].max())
        if k <= attempts:
            return ""
        solved, problems = self.batch.solved[group], self.batch.problems[group]
        if solved < MIN_SOLVED:
            return (
                f"Only {solved:g} of {problems:g} problems were ever solved in {attempts:g} "
                "attempts, which says nothing about more attempts."
            )
        if k > MAX_EXTRAPOLATION * attempts:
            return (
                f"The k of {k:g} is {k / attempts:.3g} times the {attempts:g} attempts made; a law "
                f"is asked for at most {MAX_EXTRAPOLATION} times."
            )
        return ""

    def _per_group(self, values: Iterable[Any]) -> Any:
        """Return the value of the only group, or a mapping from names of groups."""
        items: list[Any] = [x.item() if isinstance(x, np.generic) else x for x in values]
        return items[0] if len(items) == 1 else dict(zip(self.groups, items, strict=True))

    def _unwrap(self, values: np.ndarray, k: Any) -> Any:
        if np.ndim(k) == 0:
            values = values[:, 0]
        if len(self.groups) == 1:
            values = values[0]
        return values.item() if np.ndim(values) == 0 else values


def _call(function: Callable[..., Any], params: Mapping[str, Any]) -> np.ndarray:
    """Evaluate a user's function of the parameters at many points; raise BadTable if it fails."""
    try:
        found = np.asarray(function(params), float)
        return np.broadcast_to(found, np.shape(next(iter(params.values()))))
    except Exception as error:
        raise BadTable(
            "The quantity must be a function of a mapping from parameters to arrays that gives "
            f"one number each; it raised {type(error).__name__}: {reason(error)}."
        ) from error
