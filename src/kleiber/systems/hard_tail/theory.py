"""The latent instance difficulty model: how training shrinks the hard tail of inference.

Levi 2026, "Learning Shrinks the Hard Tail" (arXiv 2601.03764); ``HardTail`` says what it models.

    symbol   parameter   meaning
    alpha    capacity    covariance of the Gaussian features: l_j = j^-(1 + alpha), j = 1..d
    beta     tail        tau ~ Gamma(beta/2, rate 1), P(tau <= t) ~ t^(beta/2)
    sigma    noise       a target is N(x theta*, sigma^2/tau)
    delta    tolerance   an attempt succeeds within +-delta of the target drawn
    d        dimension   features
    lambda   ridge       theta minimises (1/N) sum |y - x theta|^2 + lambda |theta|^2
    a        source      theta*_j ~ N(0, signal^2 j^-a)
    N, k     n_data, k   training labels, attempts allowed
    L        loss        excess risk E_x (x theta - x theta*)^2, in squared units of the target
    rho      rho         sqrt(L)/sigma: spread of the head's error b in units of the noise

Equations. The loss is the deterministic equivalent of ``ridge.py``, with label noise of variance
sigma^2 E[1/tau] = 2 sigma^2/(beta - 2). For N > d + 1 it is taken at N - 1 data and ridge
lambda N/(N - 1), which is exact for ridge 0: L = sigma^2 E[1/tau] d/(N - d - 1) (inverse Wishart).
For Gaussian features b is N(0, L) given the training set, so that inference depends on training
through rho alone,

    failure(k) = E_{g, tau} [1 - q(tau, rho g)]^k,
    q(tau, b) = Phi((delta/sigma - |b|) sqrt(tau)) - Phi((-delta/sigma - |b|) sqrt(tau)),

which ``quadrature.py`` integrates. Its intrinsic part is the failure at rho = 0, for large k
P k^-beta with P = 2 Gamma(beta)/(Gamma(beta/2) c^beta), c = sqrt(2/pi) delta/sigma; the bias part
is the rest. With unbounded tau the bias part falls more slowly than any power of k, as
exp(-2 sqrt(t)) t^(beta/4 - 1/2), t = log(k c t^(1/4))/rho^2, so that its asymptotic exponent is 0
and slopes are statements about a window of k. The two-power law of the paper, with exponent 1/rho^2
of the bias part, holds for "bounded" tau (density (beta/2) tau^(beta/2 - 1) on (0, 1]) and, without
the intrinsic part, for "fixed" tau = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import check_array, check_memory, check_number, check_whole
from kleiber.errors import BadTable
from kleiber.maths.slopes import window_slope
from kleiber.maths.spectrum import power_law
from kleiber.systems.grid import check_rows, rows_of
from kleiber.systems.hard_tail.draws import draw_losses, measure
from kleiber.systems.hard_tail.quadrature import (
    LARGEST_K,
    Failure,
    Mixture,
    PrecisionLaw,
    failure,
    find_crossover,
    tabulate,
)
from kleiber.systems.hard_tail.ranges import (
    check_attempts,
    check_parameters,
    check_window,
    read_attempts,
    read_rhos,
)
from kleiber.systems.hard_tail.ridge import mean_losses
from kleiber.table import numbers

WINDOW = (10.0, 1e3)  # range of attempts over which exponents are fitted
POINTS = 15  # points of such a window, evenly spaced in log k
LARGEST_DRAW = 2 * 10**8  # largest training set, in numbers
TRAINING = ("loss", "rho", "window_exponent", "crossover")
ATTEMPTS = ("failure", "intrinsic", "bias", "local_exponent", "hard_share")


@dataclass(frozen=True)
class HardTail:
    """Latent difficulty: how training shrinks the hard tail (Levi 2026, arXiv:2601.03764).

    A linear head is fitted by ridge regression to noisy labels. An attempt at an input draws a
    fresh label and succeeds when the prediction is within the tolerance of it. The precision tau of
    the labels is each input's own, and small tau is hard. With rho = sqrt(loss)/noise and q the
    chance of success, failure(k) = E over g, tau of [1 - q(tau, rho g)]^k.

    Attributes
    ----------
    capacity, dimension
        The features' covariance has the eigenvalues j^-(1 + capacity), j = 1..dimension.
    tail
        beta, positive: P(tau <= t) falls as t^(beta/2), and failure without bias as k^-beta. A loss
        that follows from n_data needs more than 2, where label noise has a variance.
    noise, tolerance, signal
        The noise level, the half-width of success and the size of the target's coefficients, all in
        the unit of the target.
    ridge
        The ridge parameter of the regression, from 0.
    source
        The variance of the target's coefficients falls as j^-source.
    precision
        The distribution of tau: ``"gamma"``, ``"bounded"`` (at most 1) or ``"fixed"`` (tau = 1).

    Raises
    ------
    ValueError
        For a parameter out of range.

    Examples
    --------
    >>> import kleiber
    >>> model = kleiber.theory.HardTail(tail=3.0)
    >>> model.failure(k=[1, 10], rho=0.5).round(3)
    array([0.369, 0.006])
    """

    capacity: float = 1.0
    tail: float = 2.5
    noise: float = 1e-3
    tolerance: float = 1e-3
    dimension: int = 100
    ridge: float = 1e-9
    source: float = 0.0
    signal: float = 1.0
    precision: PrecisionLaw = "gamma"

    def __post_init__(self) -> None:
        check_parameters({field.name: getattr(self, field.name) for field in fields(self)})

    def solve(self, grid: Any, *, window: tuple[float, float] = WINDOW) -> pl.DataFrame:
        """Predict the loss and the failure for every row of a grid.

        Parameters
        ----------
        grid
            Columns n_data (training labels) or rho, and k (attempts) if wanted: a mapping whose
            values are crossed, or a data frame whose rows are taken as they are.
        window
            The range (low, high) of attempts over which exponents are fitted.

        Returns
        -------
        polars.DataFrame
            The grid with loss, the mean over training sets in squared units of the target; rho;
            window_exponent, the least-squares slope of -log failure against log k at 15 points of
            the window; crossover, the k from which on most failures are due to bias (1: from the
            first, infinite: not by k = 1e15). With k also failure, its parts intrinsic and bias,
            local_exponent (-dlog failure/dlog k) and hard_share, the share of failures that no
            amount of training removes.

        Raises
        ------
        BadTable
            For a grid without these columns, or with values out of range.

        Examples
        --------
        >>> import kleiber
        >>> solved = kleiber.theory.HardTail(tail=3.0).solve({"n_data": [200, 2000], "k": 100})
        >>> solved["hard_share"].round(3).to_list()
        [0.0, 0.999]
        """
        frame, rho, index = self._rows(grid)
        with_loss = frame.with_columns(
            pl.Series("loss", (rho[index] * self.noise) ** 2), pl.Series("rho", rho[index])
        )
        check_window(window)
        k = read_attempts(frame)
        levels = tabulate(self._mixture, rho, (1.0, LARGEST_K))
        inner = np.geomspace(*window, POINTS)
        slopes = -window_slope(np.log(inner), failure(levels, inner).log_total)
        columns = {"window_exponent": slopes, "crossover": find_crossover(levels)}
        solved = with_loss.with_columns(pl.Series(n, v[index]) for n, v in columns.items())
        if k is None:
            return solved
        each, attempt = np.unique(k, return_inverse=True)
        return solved.with_columns(_attempt_columns(failure(levels, each), index, attempt))

    def failure(self, k: ArrayLike, rho: ArrayLike) -> Float[np.ndarray, "attempts"]:
        """Return the probability that all of k attempts fail; the error has spread rho * noise.

        ``k`` is one number or a list from 1 to 1e15 and may be real; ``rho`` is one number from 0.
        Raises ValueError otherwise.
        """
        rho = read_rhos(rho)
        attempts = check_array("k", k, "a number of attempts or a list of them")
        check_attempts(attempts)
        if rho.size != 1:
            raise ValueError(
                "The method failure takes one rho and one k or a list of k, got shapes "
                f"{np.shape(rho)} and {np.shape(k)}; solve takes a grid of both."
            )
        levels = tabulate(
            self._mixture, read_rhos(rho), (float(attempts.min()), float(attempts.max()))
        )
        return np.exp(failure(levels, attempts).log_total[0])

    def window_exponent(
        self, rho: ArrayLike, low: float = WINDOW[0], high: float = WINDOW[1], points: int = POINTS
    ) -> Float[np.ndarray, "rhos"]:
        """Return minus the least-squares slope of log failure against log k, F(rho), for each rho.

        The slope is taken at `points` values of k, evenly spaced in log k from low to high. Raises
        ValueError.
        """
        low, high = check_number("low", low), check_number("high", high)
        check_window((low, high))
        points = check_whole("points", points, low=2)
        check_memory(f"{points:,} points", 8 * points * np.size(rho), "ask for fewer points")
        k = np.geomspace(low, high, points)
        levels = tabulate(self._mixture, read_rhos(rho), (low, high))
        return -window_slope(np.log(k), failure(levels, k).log_total)

    def crossover(self, rho: ArrayLike) -> Float[np.ndarray, "rhos"]:
        """Return the k beyond which most failures are due to bias, infinite if above 1e15."""
        return find_crossover(tabulate(self._mixture, read_rhos(rho), (1.0, LARGEST_K)))

    def simulate(
        self,
        grid: Any,
        *,
        seeds: int = 8,
        seed: int = 0,
        window: tuple[float, float] = WINDOW,
    ) -> pl.DataFrame:
        """Train heads on data drawn at random and measure what ``solve`` predicts.

        Failure is the mean of (1 - q)^k over fresh instances (no attempts are drawn), stratified
        and weighted towards small tau and large bias so that deep tails are reached. Such a mean
        may exceed 1 by noise; failure and intrinsic are then 1.

        Parameters
        ----------
        grid, window
            As for ``solve``, with n_data in whole numbers.
        seeds, seed
            The number of training sets (those of one seed are nested in n_data), and the seed of
            all draws.

        Returns
        -------
        polars.DataFrame
            The rows of the grid for each seed, with the columns of ``solve`` as measured,
            failure_stderr (from 16 independent parts) and label_noise, the mean of noise^2/tau over
            the training labels, whose variance is infinite for a tail up to 4.

        Raises
        ------
        BadTable, ValueError
            For a grid that cannot be drawn, and for seeds that are no whole numbers.

        Examples
        --------
        >>> import kleiber
        >>> model = kleiber.theory.HardTail(tail=3.0, dimension=20)
        >>> model.simulate({"n_data": [200], "k": [10]}, seeds=2)["seed"].to_list()
        [0, 1]
        """
        frame = rows_of(grid, ("n_data", "k"), (*TRAINING, *ATTEMPTS, "seed", "label_noise"))
        check_window(window)
        n, index = np.unique(numbers(frame, "n_data", positive=True), return_inverse=True)
        k, size = read_attempts(frame), n.max() * self.dimension
        if n.min() < 1 or (n % 1 != 0).any() or size > LARGEST_DRAW:
            raise BadTable(
                "To simulate, n_data must be whole numbers from 1, at most "
                f"{LARGEST_DRAW // self.dimension} for {self.dimension} dimensions, got "
                f"{float(n.min()):g} to {float(n.max()):g}."
            )
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_rows(seeds * frame.height, len(frame.columns) + len(TRAINING) + len(ATTEMPTS))
        each, attempt = np.unique(np.ones(frame.height) if k is None else k, return_inverse=True)
        parts = list[pl.DataFrame]()
        for member in range(seeds):
            trained = draw_losses(self, n.astype(int), seed, member)
            measured = measure(self, trained.loss, each, window, seed, member)
            columns = {
                "seed": np.full(frame.height, member),
                "loss": trained.loss[index],
                "rho": np.sqrt(trained.loss[index]) / self.noise,
                "label_noise": trained.label_noise[index],
                "window_exponent": measured.window_exponent[index],
            }
            if k is not None:
                columns |= {name: v[index, attempt] for name, v in measured.by_attempts.items()}
            parts.append(frame.with_columns(pl.Series(n, v) for n, v in columns.items()))
        return pl.concat(parts)

    def curve(self) -> Any:
        """Return failure as an interpolated function of n_data and attempts, for planning."""
        from kleiber.systems.hard_tail.curve import hard_tail_curve  # here: only plans need it

        return hard_tail_curve(self)

    def exponents(self, *, rho: float = 1.0) -> dict[str, float]:
        """Give the asymptotic exponents, of failure at fixed rho in k and of loss in n_data.

        Parameters
        ----------
        rho
            The spread of the head's error in units of the noise, from 0.

        Returns
        -------
        dict
            intrinsic is the tail (infinite for fixed precision: no power but an exponential); bias
            is that of the bias part, 0 for gamma and 1/rho^2 else; inference the smaller of the
            two. With a tail above 2, or fixed precision, training is min(capacity + source, 2 (1 +
            capacity)), for n_data below the dimension, and training_beyond_peak is 1.

        Raises
        ------
        ValueError
            For a negative rho.

        Examples
        --------
        >>> import kleiber
        >>> kleiber.theory.HardTail(tail=3.0, precision="bounded").exponents(rho=0.5)["inference"]
        3.0
        """
        fixed = self.precision == "fixed"
        intrinsic = np.inf if fixed else self.tail
        spread = check_number("rho", rho, "a number from 0", low=0)
        bias = np.inf if spread == 0 else 0.0 if self.precision == "gamma" else spread**-2
        found = {"intrinsic": intrinsic, "bias": bias, "inference": min(intrinsic, bias)}
        if fixed or self.tail > 2:
            training = min(self.capacity + self.source, 2 * (1 + self.capacity))
            found |= {"training": training, "training_beyond_peak": 1.0}
        return found

    def loss(
        self, n_data: ArrayLike, *, label_noise: float | None = None
    ) -> Float[np.ndarray, "points"]:
        """Return the expected generalisation loss (excess risk) after training on n_data labels.

        `label_noise` is the variance of the label noise, by default sigma^2 E[1/tau]; given that of
        a training set, the loss is the mean over features and signs of the noise alone. Raises
        ValueError where it is infinite.
        """
        n = check_array("n_data", n_data, "finite and from 1", low=1)
        if label_noise is not None:
            check_number("label_noise", label_noise, "a variance, a number from 0", low=0)
        variance = self.label_noise if label_noise is None else label_noise
        spectrum = power_law(self.dimension, 1 + self.capacity)
        source = power_law(self.dimension, self.source, first=self.signal**2)
        loss = mean_losses(spectrum, source, n, self.ridge, variance)
        if not np.isfinite(loss).all():
            raise ValueError(
                f"Without a ridge the loss is infinite at n_data = dimension = {self.dimension}; "
                "leave that point out or set ridge."
            )
        return loss

    @property
    def label_noise(self) -> float:
        """The variance of the label noise, sigma^2 E[1/tau]. Raises ValueError for tail <= 2."""
        if self.precision == "fixed":
            return self.noise**2
        if self.tail <= 2:
            raise ValueError(
                f"With tail {self.tail:g} the label noise has no variance and the loss is "
                "infinite; "
                "n_data needs a tail above 2, and failure at a given rho does not."
            )
        mean = 2 / (self.tail - 2) if self.precision == "gamma" else self.tail / (self.tail - 2)
        return self.noise**2 * mean

    @property
    def _mixture(self) -> Mixture:
        return Mixture(self.precision, self.tail / 2, self.tolerance / self.noise)

    def _rows(self, grid: Any) -> tuple[pl.DataFrame, Float[np.ndarray, "each"], Any]:
        """Return the grid's rows, its distinct rho, and the index of each row's rho."""
        given = grid.keys() if hasattr(grid, "keys") else getattr(grid, "columns", ())
        by_rho = "rho" in given
        predicted = [name for name in (*TRAINING, *ATTEMPTS) if name != "rho"]
        frame = rows_of(grid, ("n_data", "k", "rho"), predicted)
        if by_rho and "n_data" in frame.columns:
            raise BadTable("The grid has both n_data and rho; rho follows from n_data, give one.")
        values = numbers(frame, "rho" if by_rho else "n_data")
        each, index = np.unique(values, return_inverse=True)
        if by_rho:
            return frame, read_rhos(each), index
        try:
            return frame, np.sqrt(self.loss(each)) / self.noise, index
        except ValueError as error:
            raise BadTable(f"The grid cannot be solved. {error}") from error


def _attempt_columns(found: Failure, index: Any, attempt: Any) -> list[pl.Series]:
    """Return the columns that depend on k."""
    share = np.exp(found.log_intrinsic - found.log_total)
    values = {
        "failure": np.exp(found.log_total),
        "intrinsic": np.exp(np.broadcast_to(found.log_intrinsic, found.log_total.shape)),
        "bias": np.exp(found.log_biased),
        "local_exponent": found.exponent,
        "hard_share": np.minimum(share, 1),
    }
    return [pl.Series(name, item[index, attempt]) for name, item in values.items()]
