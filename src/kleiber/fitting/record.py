"""Fit: the frozen record of everything that a fit found, with what is needed to judge and reuse
it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_call, check_flag, check_memory, check_record
from kleiber.errors import BadLaw, listed, nearest, shown
from kleiber.fitting.briefly import fit_briefly
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import untransform_exponents
from kleiber.fitting.judge.misfit import Misfit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.options import Options
from kleiber.fitting.quantities import Quantity, check_values, differentiate_quantities
from kleiber.fitting.quantities import call_quantity as call_quantity
from kleiber.fitting.quantities import complete as complete
from kleiber.fitting.spread.components import VarianceComponents, find_noise_margins, widen_by_noise
from kleiber.fitting.spread.intervals import (
    Interval,
    check_level,
    normal_interval,
    percentile_interval,
    percentile_level,
)
from kleiber.fitting.spread.student import linear_interval
from kleiber.fitting.spread.wild import Moments, estimate_gradients
from kleiber.fitting.table_problem import positive_columns
from kleiber.law import Law
from kleiber.measurements import take_columns
from kleiber.table import add_columns

ZERO_SHARE = 1e-9  # share of a positive parameter below which an end of its interval is 0
IDLE_VALUE = 0.5  # the value of a parameter on which nothing depends
AT_BOUND = 1e-290  # a positive parameter so small is at its bound
MAX_COORDINATE = 745.0  # the coordinate of a draw at its bound: the log of what a float holds


@dataclass(frozen=True)
class Fit:
    """A law fitted to a table: its parameters, their uncertainty, and how well it fits.

    ``fit`` makes it and ``save`` keeps it. Ask it with ``fit.params["alpha"]``,
    ``fit.interval("alpha")`` and ``fit.predict(table)``; ``print(fit.summary())`` tells it in
    words.

    Attributes
    ----------
    law, options
        The law as it was fitted, and the settings that the fit was asked for.
    params, stderr
        The value of every parameter by name, fixed and tied ones too, and standard errors.
    status, reason
        How the fit ended, a ``Status``, and the sentence that explains it.
    objective, residuals
        The loss function at the optimum, and the residual of each row on the scale of the noise.
    misfit, notes
        How badly the law misses the table (None where an older document does not say), and
        sentences on what to mind.
    draws, resample
        The values of each parameter over the refits, arrays of one length, and how the refits were
        made: ``"rows"``, ``"wild"`` or ``"even"``.
    free, covariance, condition
        The free parameters, and their covariance and its condition number in the coordinates of
        their domains; None if the covariance is not finite.
    rows, units
        The number of rows, and of what was resampled: rows or groups.
    ranges, digest
        The least and greatest measured value of each variable, and the digest of the table.
    outermost, best_runs
        The runs that no other exceeds in every variable, and those that were better than all
        smaller ones, with their target.
    components
        The variances of runs about the law and of evaluations about their run.
    unknown
        Parameters on which nothing depends, because another one went to its bound.
    starts, seconds
        The range of starts of each parameter, and how long the fit took.
    quadratic_share, moments, linear
        What intervals are read with: the share of rows where the loss function is quadratic, how
        well the variance of wild draws is known, and whether the law is a straight line.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> runs = {"n_params": sizes, "loss": [1.8 + 400 / n**0.4 for n in sizes]}
    >>> found = kleiber.fit("E + A/n_params**alpha", runs, draws=0)
    >>> found.usable, found.free, round(found.params["E"], 3)
    (True, ('E', 'A', 'alpha'), 1.8)
    """

    law: Law
    params: Mapping[str, float]
    status: Status
    reason: str
    objective: float
    residuals: Float[np.ndarray, "rows"]
    condition: float
    draws: Mapping[str, Float[np.ndarray, "draws"]]
    ranges: Mapping[str, tuple[float, float]]
    digest: str
    options: Options
    rows: int
    units: int
    free: tuple[str, ...]
    covariance: Float[np.ndarray, "free free"] | None
    stderr: Mapping[str, float]
    starts: Mapping[str, tuple[float, float]]
    seconds: float
    resample: str = "rows"
    quadratic_share: float = 1.0
    moments: Moments | None = None
    linear: bool = False
    unknown: tuple[str, ...] = ()
    outermost: tuple[Mapping[str, float], ...] = ()
    components: VarianceComponents | None = None
    best_runs: tuple[Mapping[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    misfit: Misfit | None = None

    def __repr__(self) -> str:
        return fit_briefly(self)

    @property
    def target(self) -> str:
        """The column that the law predicts."""
        return self.options.target

    @property
    def noise(self) -> Noise:
        """How residuals were measured."""
        return self.options.noise

    @property
    def level(self) -> float:
        """The level of the intervals that are shown."""
        return self.options.level

    @property
    def n_draws(self) -> int:
        """The number of draws."""
        return len(next(iter(self.draws.values()))) if self.draws else 0

    @property
    def usable(self) -> bool:
        """Whether predictions and plans may rely on this fit."""
        return self.status in (Status.CONVERGED, Status.BOUND_HIT)

    def interval(self, quantity: Quantity, level: float = 0.95) -> Interval:
        """Give the interval of a parameter, or of any function of the parameters.

        It is read from the draws; without draws it comes from the covariance (delta method).

        Parameters
        ----------
        quantity
            The name of a parameter, or a function that receives a mapping from names to values
            (arrays where there are draws) and works elementwise.
        level
            The level of the interval, between 0 and 1.

        Returns
        -------
        Interval
            Its ends, NaN where none can be given, as for a parameter at its bound without draws.

        Raises
        ------
        BadLaw
            For an unknown parameter, and a function that fails or gives no single number.
        """
        level = check_level(level)
        if not isinstance(quantity, str):
            check_call("quantity", quantity, "the name of a parameter or a function of them")
        if isinstance(quantity, str) and quantity not in self.params:
            raise BadLaw(
                f"There is no parameter {shown(quantity)}; this fit has {listed(self.params)}."
                f"{nearest(quantity, list(self.params))}"
            )

        def what(params: Mapping[str, Any]) -> Any:
            if isinstance(quantity, str):
                return params[quantity]
            return call_quantity(quantity, params)

        low, high = self._clip_to_domain(quantity, *self._find_ends(quantity, what, level))
        return Interval(low, high)

    def _find_ends(
        self, quantity: Quantity, what: Callable[[Mapping[str, Any]], Any], level: float
    ) -> tuple[float, float]:
        """Return the ends of the interval before they are clipped to the domain."""
        if self._depends_on_unknown(what):
            return math.nan, math.nan
        if self.linear and self.covariance is not None:
            low, high = self._linear_interval(lambda p: np.atleast_1d(check_values(what(p))), level)
            if np.isfinite([low[0], high[0]]).all():
                return float(low[0]), float(high[0])
        if self.n_draws:
            values = check_values(what(self.draws))
            values = np.broadcast_to(values, (self.n_draws,) if values.ndim == 0 else values.shape)
            low, high = (x[0] for x in self.draws_interval(values[:, None], level))
        elif isinstance(quantity, str) and quantity in self.free:
            low, high = self._covariance_interval(quantity, level)
        else:
            low, high = self._delta_interval(lambda p: np.atleast_1d(check_values(what(p))), level)
            low, high = low[0], high[0]
        return float(low), float(high)

    def _clip_to_domain(self, quantity: Quantity, low: float, high: float) -> tuple[float, float]:
        """Clip the interval of a parameter to its domain, and round ends near 0 to 0."""
        if not isinstance(quantity, str) or quantity not in self.free:
            return low, high
        lower, upper = self.law.domains[quantity].bounds
        if lower == 0:
            nothing = max(ZERO_SHARE * abs(self.params[quantity]), AT_BOUND)
            low, high = (0.0 if abs(end) < nothing else end for end in (low, high))
        return max(low, lower) if low == low else low, min(high, upper) if high == high else high

    def _depends_on_unknown(self, what: Callable[[Mapping[str, Any]], Any]) -> bool:
        """Return whether a quantity changes with a parameter that affects no prediction."""
        if not self.unknown:
            return False
        other = {name: self.params[name] / (k + 2) for k, name in enumerate(self.unknown)}
        both = self.params, complete_params(self, other)
        here, there = (check_values(what(params)) for params in both)
        return not np.array_equal(here, there)

    def _linear_interval(
        self, what: Callable[[Mapping[str, Any]], np.ndarray], level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return Student's interval of quantities of a linear law (``student.py``)."""
        fitted = untransform_exponents(self.law).domains
        u, change = np.empty((2, len(self.free)))
        for k, name in enumerate(self.free):
            value, own = self.params[name], self.law.domains[name]
            u[k] = fitted[name].to_coordinate(value)
            change[k] = own.derivative(own.to_coordinate(value)) / fitted[name].derivative(u[k])

        def at(point: np.ndarray) -> np.ndarray:
            pairs = zip(self.free, point, strict=True)
            moved = {name: float(fitted[name].from_coordinate(x)) for name, x in pairs}
            return what(complete_params(self, moved))

        assert self.covariance is not None
        covariance = self.covariance * np.outer(change, change)
        return linear_interval(at, u, covariance, self._dof(), level)

    def predict(self, table: Any, level: float = 0.95, *, new_run: bool = False) -> Any:
        """Predict the target for the rows of a table, with an interval.

        Parameters
        ----------
        table
            Any data frame, or a mapping, with every variable of the law.
        level
            The level of the interval, between 0 and 1.
        new_run
            Whether the interval is of one further measurement, that is one evaluation of one
            further run, instead of the law's value (the mean).

        Returns
        -------
        data frame
            The table, of the kind that was given, with columns ``predicted``, ``low`` and ``high``
            beside its own. The ends are NaN where there are neither draws nor a covariance.

        Raises
        ------
        BadTable
            For a variable that is missing or no number, and where nothing tells how far a new run
            may lie from the law.
        """
        level = check_level(level)
        margins = None
        if check_flag("new_run", new_run):
            independent = self.options.by is None and self.options.weights is None
            margins = find_noise_margins(
                self.components, self.residuals, independent, self._dof(), level
            )
        frame, columns = take_columns(table, self.law.variables, positive_columns(self.law))
        size = 16 * frame.height * max(self.n_draws, 1)
        check_memory(f"a prediction of {frame.height:,} rows", size, "predict fewer rows at a time")

        def mean(params: Mapping[str, Any]) -> np.ndarray:
            value = np.asarray(self.law(**columns, **params), float)
            return np.broadcast_to(value, (len(frame),))

        predicted = mean(self.params)
        values = self._predict_draws(columns, len(frame))
        if values is not None:
            low, high = self.draws_interval(values, level)
        else:
            low, high = self._delta_interval(mean, level)
        if self.linear and self.covariance is not None:
            own = self._linear_interval(mean, level)
            low, high = (np.where(np.isnan(e), x, e) for e, x in zip(own, (low, high), strict=True))
        if margins is not None:
            log = self.noise.scale == "log"
            low, high = widen_by_noise(predicted, (low, high), margins, log=log)
        return add_columns(table, {"predicted": predicted, "low": low, "high": high})

    def summary(self) -> str:
        """Summarise the fit in a few lines for people."""
        lines = [f"{self.law.name}: {self.target} = {self.law.formula}"]
        for name, value in self.params.items():
            low, high = self.interval(name, self.level)
            role = " (fixed)" if name in self.options.fixed else ""
            role = " (tied)" if name in self.options.tied else role
            figure = "unknown" if name in self.unknown else f"{value:.6g}"
            span = "unknown" if math.isnan(low) and math.isnan(high) else f"[{low:.6g}, {high:.6g}]"
            lines.append(f"  {name:<8} {figure}  {span}{role}")
        lines.append(f"{self.status}: {self.reason}")
        missed = () if self.misfit is None else (self.misfit.sentence,)
        return "\n".join(dict.fromkeys([*lines, *missed, *self.notes]))

    def degrees_of_freedom(
        self, values: Float[np.ndarray, "draws quantities"]
    ) -> Float[np.ndarray, "quantities"]:
        """Return the effective degrees of freedom of each quantity's variance, estimated from its
        draws: few if few rows (or groups) decide it, infinite for draws that are not wild. Values
        of only some of the draws get the smallest number of any parameter."""
        if self.moments is None:
            return np.full(values.shape[1:], np.inf)
        if len(values) != self.n_draws:
            least = float(self.moments.degrees_of_freedom(np.eye(len(self.free))).min())
            return np.full(values.shape[1:], least)
        with np.errstate(divide="ignore"):
            inner = [self.law.domains[name].to_coordinate(self.draws[name]) for name in self.free]
        end = MAX_COORDINATE
        drawn = np.nan_to_num(np.stack(inner, axis=1), posinf=end, neginf=-end)
        return self.moments.degrees_of_freedom(estimate_gradients(values, drawn))

    def draws_interval(
        self, values: Float[np.ndarray, "draws quantities"], level: float
    ) -> tuple[Float[np.ndarray, "quantities"], Float[np.ndarray, "quantities"]]:
        """Return the interval of each quantity from its value on every draw: percentiles at a level
        that is widened for small tables (``intervals.py``)."""
        if self.resample == "even":  # their own tails are Student's
            return percentile_interval(values, level)
        n_fitted, wild = 1 if self.options.by else len(self.free), self.resample == "wild"
        level_of_draws = percentile_level(
            level,
            self.units,
            n_fitted,
            wild=wild,
            degrees_of_freedom=self.degrees_of_freedom(values),
            quadratic_share=self.quadratic_share,
            interpolated_share=0.0 if wild or self.options.by else n_fitted / self.units,
        )
        return percentile_interval(values, level_of_draws)

    def _dof(self) -> int:
        return self.units - (1 if self.options.by else len(self.free))

    def _predict_draws(self, columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray | None:
        if not self.n_draws:
            return None
        drawn = {name: values[:, None] for name, values in self.draws.items()}
        return np.broadcast_to(self.law(**columns, **drawn), (self.n_draws, rows))

    def _covariance_interval(self, name: str, level: float) -> tuple[float, float]:
        if self.covariance is None:
            return np.nan, np.nan
        k = self.free.index(name)
        domain = self.law.domains[name]
        if not domain.contains(self.params[name]):  # at its bound
            return np.nan, np.nan
        sd = np.sqrt(max(self.covariance[k, k], 0.0))
        u, size = np.array([domain.to_coordinate(self.params[name])]), np.array([sd])
        low, high = normal_interval(u, size, level, self._dof())
        return float(domain.from_coordinate(low[0])), float(domain.from_coordinate(high[0]))

    def _delta_interval(
        self, what: Callable[[Mapping[str, Any]], np.ndarray], level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        value = what(self.params)
        if self.covariance is None:
            return np.full_like(value, np.nan), np.full_like(value, np.nan)
        jac = differentiate_quantities(what, self.law, self.params, self.free, self.options.tied)
        variance = np.einsum("pr,pq,qr->r", jac, self.covariance, jac)
        return normal_interval(value, np.sqrt(np.maximum(variance, 0.0)), level, self._dof())


def check_fit(fit: Any) -> Fit:
    """Return the argument if it is a Fit; raise BadArgument for anything else."""
    return check_record("fit", fit, Fit, "a Fit, as kleiber.fit and kleiber.load return it")


def complete_params(fit: Fit, change: Mapping[str, float]) -> dict[str, Any]:
    """Return all parameters after some free ones have changed; tied ones follow."""
    return complete({**fit.params, **change}, fit.options.tied)
