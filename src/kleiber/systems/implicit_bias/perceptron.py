"""The teacher-student perceptron with logistic loss: error as a function of the weights' norm.

D'Amico, Bocchi, Negri 2025, "Implicit bias produces neural scaling laws in learning curves, from
perceptrons to deep networks" (arXiv 2505.13230). A student w learns a teacher w* from alpha N
inputs x of N random signs, N -> infinity; the loss is minimised at fixed norm.

    symbol   parameter, column   meaning
    alpha    load                training examples per dimension
    lambda   norm                |w|/sqrt(N), see the convention
    eps      error               generalisation error arccos(R)/pi
    R        overlap             w.w*/(|w||w*|);  delta = sqrt(1 - R^2)
    eps_hat  relative_error      eps over that of Hebb's rule, which is norm -> 0
             local_exponent      -dlog eps/dlog lambda
             train_error         fraction of the training examples misjudged
             train_loss, loss    mean of V over training examples, and over fresh ones
    k        multiplier          of the constraint: ridge k/lambda makes the same weights

**Convention of the norm.** The loss of an example is V(z) = -z + log 2 cosh z = log(1 + e^(-2z)),
z = y w.x/sqrt(N). PyTorch's and scikit-learn's logistic loss is log(1 + e^(-z)), so the same
solution has twice the norm there (`logistic_norm` and `from_logistic_norm` convert); its error and
the loss of an example are the same numbers.

Equations. The problem is convex, and the replica-symmetric saddle point is exact: with x the
susceptibility, g(t) the root of g = x (1 - tanh lambda(t + g)), and Dt the Gaussian measure,

    (S1)  delta^2 = 2 alpha Int Dt Phi(R t/delta) g(t)^2
    (S2)  R = alpha sqrt(2/pi) Int Du g(delta u)

which ``perceptron_saddle.py`` solves. An example has the margin D = t + g, t of density
2 Phi(R t/delta) N(t); k = alpha <(1 - tanh lambda D) D>. Limits are in ``perceptron_limits.py``.

With eps_hat = eps/eps_Hebb the laws of the paper are exact: eps_hat ~ k1 lambda^-gamma_1 for
1 << lambda << alpha, lambda_opt ~ alpha^gamma_2, and eps_hat_opt ~ alpha^-(gamma_1 gamma_2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import expit

from kleiber.arguments import check_number, check_whole
from kleiber.errors import BadTable
from kleiber.systems.grid import check_rows, rows_of
from kleiber.systems.implicit_bias.perceptron_draws import (
    Sample,
    Trained,
    draw_sample,
    train_flow,
    train_ridge,
)
from kleiber.systems.implicit_bias.perceptron_limits import EARLY_AMPLITUDE as EARLY_AMPLITUDE
from kleiber.systems.implicit_bias.perceptron_limits import MasterOptimum as MasterOptimum
from kleiber.systems.implicit_bias.perceptron_limits import (
    References,
    check_positive,
    hebb_error,
    lowest,
)
from kleiber.systems.implicit_bias.perceptron_limits import early_curve as early_curve
from kleiber.systems.implicit_bias.perceptron_limits import flow_curve as flow_curve
from kleiber.systems.implicit_bias.perceptron_limits import flow_time as flow_time
from kleiber.systems.implicit_bias.perceptron_limits import master_curve as master_curve
from kleiber.systems.implicit_bias.perceptron_limits import master_optimum as master_optimum
from kleiber.systems.implicit_bias.perceptron_limits import references as references
from kleiber.systems.implicit_bias.perceptron_saddle import (
    Saddle,
    density,
    field,
    fresh_loss,
    solve_saddle,
)
from kleiber.systems.implicit_bias.perceptron_saddle import slopes as local_slopes
from kleiber.table import numbers

Norms = Float[np.ndarray, "norms"]
PREDICTED = (
    "error",
    "relative_error",
    "local_exponent",
    "overlap",
    "train_error",
    "train_loss",
    "loss",
    "multiplier",
)
MEASURED = tuple(name for name in PREDICTED if name != "local_exponent")
LARGEST_DRAW = 5 * 10**7  # signs of one data set
SMALLEST_RIDGE = 1e-290
LOWEST_RUNG, RUNG = 2.0, 1.8  # smallest intermediate norm, and ratio of intermediate norms
FARTHEST_FLOW = 100.0  # largest norm; the number of gradient steps is proportional to its square


@dataclass(frozen=True)
class Optimum:
    """The norm of the smallest generalisation error, and that error, also relative to Hebb's."""

    norm: float
    error: float
    relative_error: float


@dataclass(frozen=True)
class Perceptron:
    """The teacher-student perceptron with logistic loss (D'Amico et al. 2025, arXiv:2505.13230).

    A student learns a teacher from load * N inputs of N random signs, N -> infinity, and the loss
    is minimised at a fixed norm |w|/sqrt(N). For large loads the error relative to Hebb's rule
    falls as k1 norm^-gamma_1, and is least at a norm that grows as load^gamma_2.

    Attributes
    ----------
    load
        The number of training examples per dimension, a positive number.

    Raises
    ------
    ValueError
        For a load that is not positive.

    Examples
    --------
    >>> import kleiber
    >>> best = kleiber.theory.Perceptron(load=5.0).optimum()
    >>> round(best.norm, 2), round(best.error, 3)
    (4.54, 0.084)
    """

    load: float = 5.0

    def __post_init__(self) -> None:
        check_number("load", self.load, "a finite positive number", above=0)

    def solve(self, grid: Any) -> pl.DataFrame:
        """Predict errors and losses at every norm of a grid, by the replica-symmetric saddle point.

        Tested for loads from 0.1 to 1e6 and norms from 1e-4 to 1e4.

        Parameters
        ----------
        grid
            A mapping or a data frame with a column norm, |w|/sqrt(N) in the paper's convention:
            PyTorch's logistic loss has the same solution at twice the norm (``logistic_norm``).

        Returns
        -------
        polars.DataFrame
            The grid with error, the share of fresh examples misjudged; relative_error, it over that
            of Hebb's rule; local_exponent, -dlog error/dlog norm; overlap with the teacher;
            train_error, the share of training examples misjudged; train_loss and loss, means of
            log(1 + e^(-2z)) over training and fresh examples; and multiplier k, where ridge k/norm
            makes the same weights. train_loss and multiplier are 0 below the smallest float.

        Raises
        ------
        BadTable
            For a norm that is missing or not positive.
        NotConverged
            Where there is no solution to 1e-11.

        Examples
        --------
        >>> import kleiber
        >>> solved = kleiber.theory.Perceptron(load=5.0).solve({"norm": [0.5, 5.0]})
        >>> solved["error"].round(3).to_list()
        [0.124, 0.084]
        """
        frame, norm, index = _rows(grid, PREDICTED)
        found = _predict(solve_saddle(self.load, norm))
        return frame.with_columns(pl.Series(name, found[name][index]) for name in PREDICTED)

    def error(self, norm: ArrayLike) -> Norms:
        """Return the generalisation error at each norm. Raises ValueError and NotConverged."""
        return _error(solve_saddle(self.load, check_positive("norm", norm)))

    def optimum(self) -> Optimum:
        """Find the norm of smallest error: 0.8836 load, with error 0.44198/load, for large loads.

        Raises NotConverged.
        """
        middle = math.log(0.885 * self.load + 0.35 * math.sqrt(self.load))
        log_norm, error = lowest(lambda x: self.error(np.exp(x)), middle - 1.5, middle + 1.5)
        return Optimum(math.exp(log_norm), error, error / hebb_error(self.load))

    def references(self) -> References:
        """Return the errors of Hebb's, Gibbs's and Bayes's rules and of maximal stability."""
        return references(float(self.load))

    def exponents(self) -> dict[str, float]:
        """Give the exponents for a load that goes to infinity.

        At a finite load the steepest slope is below gamma_1, about 1/2 - 0.75 load^(-2/3).

        Returns
        -------
        dict
            gamma_1: relative error ~ norm^-gamma_1 for 1 << norm << load; gamma_2: norm_opt ~
            load^gamma_2; relative_error_opt and error_opt: powers of 1/load of the error at that
            norm, relative to Hebb's rule and absolute.

        Examples
        --------
        >>> import kleiber
        >>> kleiber.theory.Perceptron().exponents()["gamma_1"]
        0.5
        """
        return {"gamma_1": 0.5, "gamma_2": 1.0, "relative_error_opt": 0.5, "error_opt": 1.0}

    def simulate(
        self, grid: Any, *, seeds: int = 8, seed: int = 0, size: int = 400
    ) -> pl.DataFrame:
        """Train perceptrons on drawn data and measure what ``solve`` predicts.

        Each minimises the loss with the ridge k/norm of the theory. All norms of a seed share its
        round(load * size) examples.

        Parameters
        ----------
        grid
            As for ``solve``.
        seeds
            The number of data sets.
        seed
            The seed of everything that is drawn.
        size
            The number of dimensions.

        Returns
        -------
        polars.DataFrame
            The rows of the grid for each seed, with the columns of ``solve`` but local_exponent, as
            measured; measured_norm, which is within a few per cent of norm at size 400; and seed.
            loss is that of Gaussian margins with the measured overlap and norm.

        Raises
        ------
        BadTable, ValueError, NotConverged
            For a grid or a size that cannot be drawn, and for training that did not settle.

        Examples
        --------
        >>> import kleiber
        >>> drawn = kleiber.theory.Perceptron(5.0).simulate({"norm": [1.0]}, seeds=2, size=100)
        >>> drawn["measured_norm"].round(1).to_list()
        [1.0, 1.0]
        """
        frame, norm, index = _rows(grid, (*MEASURED, "measured_norm", "seed"))
        rungs, place = _add_rungs(norm)
        ridge = _predict(solve_saddle(self.load, rungs))["multiplier"] / rungs
        if ridge.min() < SMALLEST_RIDGE:
            raise BadTable(
                f"At load {self.load:g} the norm {norm[-1]:g} is that of a ridge below "
                f"{SMALLEST_RIDGE:g}, too small to train with; simulate smaller norms."
            )

        def train(sample: Sample) -> Trained:
            climbed = train_ridge(sample, rungs, ridge)
            return Trained(climbed.weights[place], climbed.time[place])

        return self._measure(frame, index, train, seeds, seed, size).drop("time")

    def simulate_flow(
        self, grid: Any, *, seeds: int = 8, seed: int = 0, size: int = 400
    ) -> pl.DataFrame:
        """Measure the same columns, and the time, where unconstrained gradient flow has each norm.

        Flow from zero weights, on the data that ``simulate`` draws; time is that of dw/dtime =
        -grad sum V, w in units in which its norm is norm * sqrt(size). Arguments as for
        ``simulate``. Raises BadTable, ValueError and NotConverged.
        """
        frame, norm, index = _rows(grid, (*MEASURED, "measured_norm", "time", "seed"))
        if norm[-1] > FARTHEST_FLOW:
            raise BadTable(
                f"The flow is followed to norm {FARTHEST_FLOW:g}, since steps grow as its square, "
                "got "
                f"{norm[-1]:g}."
            )

        def train(sample: Sample) -> Trained:
            return train_flow(sample, norm)

        return self._measure(frame, index, train, seeds, seed, size)

    def _measure(
        self,
        frame: pl.DataFrame,
        index: Any,
        train: Callable[[Sample], Trained],
        seeds: int,
        seed: int,
        size: int,
    ) -> pl.DataFrame:
        """Draw the data of each member, train on it, and measure the columns."""
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_rows(seeds * frame.height, len(frame.columns) + len(MEASURED) + 3)
        largest = int(math.sqrt(LARGEST_DRAW / max(self.load, 1.0)))
        accepted = f"a whole number from 2 to {largest} at load {self.load:g}"
        size = check_whole("size", size, 2, largest, accepted=accepted)
        parts = list[pl.DataFrame]()
        for member in range(seeds):
            sample = draw_sample(self.load, size, seed, member)
            columns = _measured(sample, train(sample), self.load)
            parts.append(
                frame.with_columns(pl.Series(n, v[index]) for n, v in columns.items()).with_columns(
                    pl.Series("seed", np.full(frame.height, member))
                )
            )
        return pl.concat(parts)


def logistic_norm(norm: ArrayLike) -> Norms:
    """Convert the paper's norm to that under PyTorch's loss log(1 + e^(-z)): twice as large."""
    return 2 * check_positive("norm", norm)


def from_logistic_norm(norm: ArrayLike) -> Norms:
    """Convert a norm |w|/sqrt(N) under PyTorch's loss log(1 + e^(-z)) to the paper's: half of
    it."""
    return check_positive("norm", norm) / 2


def _error(saddle: Saddle) -> Norms:
    return np.arctan(np.exp(saddle.p)) / np.pi


def _predict(saddle: Saddle) -> dict[str, Norms]:
    """Return every predicted column at the solved norms."""
    at, norm, error = field(saddle), saddle.norm, _error(saddle)
    weight = density(saddle, at)
    margin = at.t + at.g
    z = norm[:, None] * margin
    return {
        "error": error,
        "relative_error": error / hebb_error(saddle.load),
        "local_exponent": -local_slopes(saddle),
        "overlap": saddle.overlap,
        "train_error": (weight * (z < 0)).sum(1),
        "train_loss": (weight * np.logaddexp(0, -2 * z)).sum(1),
        "loss": fresh_loss(np.exp(-saddle.p), norm),
        "multiplier": saddle.load * (weight * 2 * expit(-2 * z) * margin).sum(1),
    }


def _measured(sample: Sample, trained: Trained, load: float) -> dict[str, Norms]:
    """Return the columns measured on trained weights, one value per norm."""
    w, size = trained.weights, sample.teacher.size
    norm = np.linalg.norm(w, axis=1) / math.sqrt(size)
    overlap = w @ sample.teacher / (size * norm)
    z = w @ sample.examples.T
    error = np.arccos(overlap) / np.pi
    return {
        "error": error,
        "relative_error": error / hebb_error(load),
        "overlap": overlap,
        "train_error": (z < 0).mean(1),
        "train_loss": np.logaddexp(0, -2 * z).mean(1),
        "loss": fresh_loss(overlap / np.sqrt((1 - overlap) * (1 + overlap)), norm),
        "multiplier": (2 * expit(-2 * z) * z).sum(1) / (size * norm),
        "measured_norm": norm,
        "time": trained.time,
    }


def _add_rungs(norm: Norms) -> tuple[Float[np.ndarray, "rungs"], Any]:
    """Add norms between the given ones, so that each training starts near its solution.

    Returns all norms and the indices of the given ones.
    """
    low, high = min(float(norm[0]), LOWEST_RUNG), float(norm[-1])
    between = np.geomspace(low, high, 1 + max(1, math.ceil(math.log(high / low) / math.log(RUNG))))
    rungs = np.union1d(norm, between[(between > LOWEST_RUNG) & (between < high)])
    return rungs, np.searchsorted(rungs, norm)


def _rows(grid: Any, predicted: tuple[str, ...]) -> tuple[pl.DataFrame, Norms, Any]:
    """Return the grid's rows, its distinct norms (rising), and the index of each row's norm."""
    frame = rows_of(grid, ("norm",), predicted)
    norm, index = np.unique(numbers(frame, "norm", positive=True), return_inverse=True)
    return frame, norm, index
