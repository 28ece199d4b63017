"""The latent instance difficulty model: how training shrinks the hard tail of inference.

Levi 2026, "Learning Shrinks the Hard Tail" (arXiv 2601.03764). A linear head is fitted by ridge
regression to one noisy label an input. The noise level is the input's own: its precision tau is
latent, and small tau is hard. At inference k attempts draw fresh targets, and an attempt succeeds
when the head's prediction is within the tolerance of the target drawn.

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

Equations. The loss is the deterministic equivalent of `maths.ridge`, with label noise of variance
sigma^2 E[1/tau] = 2 sigma^2/(beta - 2). For N > d + 1 it is taken at N - 1 data and ridge
lambda N/(N - 1), which is exact for ridge 0: L = sigma^2 E[1/tau] d/(N - d - 1) (inverse Wishart).
For Gaussian features b is N(0, L) given the training set, so that inference depends on training
through rho alone,

    failure(k) = E_{g, tau} [1 - q(tau, rho g)]^k,
    q(tau, b) = Phi((delta/sigma - |b|) sqrt(tau)) - Phi((-delta/sigma - |b|) sqrt(tau)),

which `maths.quadrature` integrates. Its intrinsic part is the failure at rho = 0, for large k
P k^-beta with P = 2 Gamma(beta)/(Gamma(beta/2) c^beta), c = sqrt(2/pi) delta/sigma; the bias part
is the rest. With unbounded tau the bias part falls more slowly than any power of k, as
exp(-2 sqrt(t)) t^(beta/4 - 1/2), t = log(k c t^(1/4))/rho^2, so that its asymptotic exponent is 0
and slopes are statements about a window of k. The two-power law of the paper, with exponent 1/rho^2
of the bias part, holds for "bounded" tau (density (beta/2) tau^(beta/2 - 1) on (0, 1]) and, without
the intrinsic part, for "fixed" tau = 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import check_array, check_memory, check_number, check_whole
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.maths.slopes import window_slope
from kleiber.maths.spectrum import power_law
from kleiber.systems.grid import check_rows, rows_of
from kleiber.systems.hard_tail.draws import draw_losses, measure
from kleiber.systems.hard_tail.quadrature import (
    Failure,
    Levels,
    Mixture,
    PrecisionLaw,
    failure,
    tabulate,
)
from kleiber.systems.hard_tail.ridge import deterministic_risk
from kleiber.table import numbers

Points = Float[np.ndarray, "points"]
WINDOW = (10.0, 1e3)  # attempts over which slopes are taken
POINTS = 15  # of such a window, evenly spaced in log k
LARGEST = 1e100  # of a parameter; its square is taken
MOST = {"tail": 50.0, "capacity": 1000.0, "source": 1000.0}
LARGEST_K = 1e15
LARGEST_RHO = 1e100  # its square is taken
LARGEST_DRAW = 2 * 10**8  # numbers of one training set
TRAINED = ("loss", "rho", "window_exponent", "crossover")
TRIED = ("failure", "intrinsic", "bias", "local_exponent", "hard_share")


@dataclass(frozen=True)
class HardTail:
    """The model's own parameters; noise, tolerance and signal share the unit of the target.

    Raises ValueError for a parameter out of range. Failure is defined for any tail > 0; a loss that
    follows from n_data needs tail > 2, where label noise has a variance.
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
        for field in fields(self):
            if field.name != "precision":
                _check_number(field.name, getattr(self, field.name))
        kinds = get_args(PrecisionLaw)
        if self.precision not in kinds:
            raise ValueError(
                f"The precision must be one of {', '.join(kinds)}, got {shown(self.precision)}."
                f"{nearest(str(self.precision), kinds)}"
            )

    def solve(self, grid: Any, *, window: tuple[float, float] = WINDOW) -> pl.DataFrame:
        """The grid (columns n_data or rho, and k if wanted) with what the theory predicts.

        loss is the mean over training sets; window_exponent the least-squares slope of -log failure
        against log k at 15 points of the `window`; crossover the k from which on most failures are
        due to bias (1 if from the first attempt on, infinite if not by k = 1e15). With k: failure,
        its parts intrinsic and bias, local_exponent (-dlog failure/dlog k), and hard_share, the
        share of failures that no training would remove. Raises BadTable.
        """
        frame, rho, index = self._rows(grid)
        with_loss = frame.with_columns(
            pl.Series("loss", (rho[index] * self.noise) ** 2), pl.Series("rho", rho[index])
        )
        _check_window(window)
        k = _attempts(frame)
        levels = tabulate(self._mixture, rho, (1.0, LARGEST_K))
        inner = np.geomspace(*window, POINTS)
        slopes = -window_slope(np.log(inner), failure(levels, inner).log_total)
        columns = {"window_exponent": slopes, "crossover": _crossover(levels)}
        solved = with_loss.with_columns(pl.Series(n, v[index]) for n, v in columns.items())
        if k is None:
            return solved
        each, at = np.unique(k, return_inverse=True)
        return solved.with_columns(_tried(failure(levels, each), index, at))

    def failure(self, k: ArrayLike, rho: ArrayLike) -> Float[np.ndarray, "attempts"]:
        """The probability that all of k attempts fail; the head's error has spread rho * noise.

        k from 1 to 1e15, real, one number or a list; rho one number from 0. Raises ValueError.
        """
        rho = _rhos(rho)
        attempts = check_array("k", k, "a number of attempts or a list of them")
        _check_attempts(attempts)
        if rho.size != 1:
            raise ValueError(
                "The method failure takes one rho and one k or a list of k, got shapes "
                f"{np.shape(rho)} and {np.shape(k)}; solve takes a grid of both."
            )
        levels = tabulate(self._mixture, _rhos(rho), (float(attempts.min()), float(attempts.max())))
        return np.exp(failure(levels, attempts).log_total[0])

    def window_exponent(
        self, rho: ArrayLike, low: float = WINDOW[0], high: float = WINDOW[1], points: int = POINTS
    ) -> Float[np.ndarray, "rhos"]:
        """F(rho): minus the least-squares slope of log failure against log k, for each rho.

        The slope is taken at `points` values of k, evenly spaced in log k from low to high. Raises
        ValueError.
        """
        low, high = check_number("low", low), check_number("high", high)
        _check_window((low, high))
        points = check_whole("points", points, low=2)
        check_memory(f"{points:,} points", 8 * points * np.size(rho), "ask for fewer points")
        k = np.geomspace(low, high, points)
        levels = tabulate(self._mixture, _rhos(rho), (low, high))
        return -window_slope(np.log(k), failure(levels, k).log_total)

    def crossover(self, rho: ArrayLike) -> Float[np.ndarray, "rhos"]:
        """The k from which on most failures are due to bias: 1 if from the first attempt on,
        infinite if not by k = 1e15."""
        return _crossover(tabulate(self._mixture, _rhos(rho), (1.0, LARGEST_K)))

    def simulate(
        self,
        grid: Any,
        *,
        seeds: int = 8,
        seed: int = 0,
        window: tuple[float, float] = WINDOW,
    ) -> pl.DataFrame:
        """Train heads on data drawn at random and measure what `solve` predicts, for each seed.

        Training sets of one seed are nested in n_data. Failure is the mean of (1 - q)^k over fresh
        instances (no attempts are drawn), stratified and weighted towards small tau and large bias
        so that deep tails are reached; failure_stderr is the standard error of that mean from 16
        independent parts. A mean of weights may exceed 1 by noise; failure and intrinsic are then
        1, with the standard error as it was. label_noise is the mean of sigma^2/tau over the
        training labels, whose variance is infinite for tail <= 4. Raises BadTable and ValueError.
        """
        frame = rows_of(grid, ("n_data", "k"), (*TRAINED, *TRIED, "seed", "label_noise"))
        _check_window(window)
        n, index = np.unique(numbers(frame, "n_data", positive=True), return_inverse=True)
        k, size = _attempts(frame), n.max() * self.dimension
        if n.min() < 1 or (n % 1 != 0).any() or size > LARGEST_DRAW:
            raise BadTable(
                "To simulate, n_data must be whole numbers from 1, at most "
                f"{LARGEST_DRAW // self.dimension} for {self.dimension} dimensions, got "
                f"{float(n.min()):g} to {float(n.max()):g}."
            )
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_rows(seeds * frame.height, len(frame.columns) + len(TRAINED) + len(TRIED))
        each, at = np.unique(np.ones(frame.height) if k is None else k, return_inverse=True)
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
                columns |= {name: v[index, at] for name, v in measured.tried.items()}
            parts.append(frame.with_columns(pl.Series(n, v) for n, v in columns.items()))
        return pl.concat(parts)

    def curve(self) -> Any:
        """Failure over n_data and attempts as a planner asks for it, by interpolation."""
        from kleiber.systems.hard_tail.curve import hard_tail_curve  # here: only plans need it

        return hard_tail_curve(self)

    def exponents(self, *, rho: float = 1.0) -> dict[str, float]:
        """Asymptotic exponents: failure at fixed rho as k grows, loss as n_data grows.

        intrinsic is beta (infinite for fixed precision: no power but an exponential); bias is that
        of the bias tail, 0 for gamma and 1/rho^2 else; inference the smaller of the two. With
        tail > 2 (or fixed precision) training is min(alpha + a, 2 (1 + alpha)), for n_data below
        the dimension, and training_beyond_peak is 1.
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
        """The generalisation loss (excess risk) expected of n_data labels.

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
        beyond = n > self.dimension + 1
        loss = np.empty(n.size)
        for some, at in ((~beyond, n), (beyond, n - 1)):
            for i in np.flatnonzero(some):
                ridge = self.ridge * float(n[i] / at[i])
                risk = deterministic_risk(spectrum, source, at[i], ridge, variance)
                loss[i] = risk.loss[0]
        if not np.isfinite(loss).all():
            raise ValueError(
                f"without a ridge the loss is infinite at n_data = dimension = {self.dimension}; "
                "leave that point out or set ridge"
            )
        return loss

    @property
    def label_noise(self) -> float:
        """The variance of the label noise, sigma^2 E[1/tau]. Raises ValueError for tail <= 2."""
        if self.precision == "fixed":
            return self.noise**2
        if self.tail <= 2:
            raise ValueError(
                f"with tail {self.tail:g} label noise has no variance and the loss of training is "
                "infinite; a tail above 2 is needed for n_data (failure at a given rho is not)"
            )
        mean = 2 / (self.tail - 2) if self.precision == "gamma" else self.tail / (self.tail - 2)
        return self.noise**2 * mean

    @property
    def _mixture(self) -> Mixture:
        return Mixture(self.precision, self.tail / 2, self.tolerance / self.noise)

    def _rows(self, grid: Any) -> tuple[pl.DataFrame, Float[np.ndarray, "each"], Any]:
        """The grid's rows, its different rho, and which of them each row has."""
        given = grid.keys() if hasattr(grid, "keys") else getattr(grid, "columns", ())
        by_rho = "rho" in given
        predicted = [name for name in (*TRAINED, *TRIED) if name != "rho"]
        frame = rows_of(grid, ("n_data", "k", "rho"), predicted)
        if by_rho and "n_data" in frame.columns:
            raise BadTable("The grid has both n_data and rho; rho follows from n_data, give one.")
        values = numbers(frame, "rho" if by_rho else "n_data")
        each, index = np.unique(values, return_inverse=True)
        if by_rho:
            return frame, _rhos(each), index
        try:
            return frame, np.sqrt(self.loss(each)) / self.noise, index
        except ValueError as error:
            raise BadTable(f"The grid cannot be solved. {error}") from error


def _tried(found: Failure, index: Any, at: Any) -> list[pl.Series]:
    """The columns that depend on k."""
    share = np.exp(found.log_intrinsic - found.log_total)
    values = {
        "failure": np.exp(found.log_total),
        "intrinsic": np.exp(np.broadcast_to(found.log_intrinsic, found.log_total.shape)),
        "bias": np.exp(found.log_biased),
        "local_exponent": found.exponent,
        "hard_share": np.minimum(share, 1),
    }
    return [pl.Series(name, item[index, at]) for name, item in values.items()]


def _crossover(levels: Levels) -> Float[np.ndarray, "rhos"]:
    """The first k with half of the failures due to bias, by bisection of log k in its cell."""
    cells: Points = np.linspace(0.0, float(np.log(LARGEST_K)), 140)

    table = _excess(levels, cells) > 0
    first = table.argmax(axis=1)
    out = np.where(first == 0, 1.0, np.inf)
    out[~table.any(axis=1)] = np.inf
    for row in np.flatnonzero(first > 0):
        low, high = float(cells[first[row] - 1]), float(cells[first[row]])
        one = replace(levels, biased=levels.biased[[row]])
        for _ in range(10):
            inner: Points = np.linspace(low, high, 9)
            cut = int((_excess(one, inner)[0] > 0).argmax())
            low, high = float(inner[max(cut - 1, 0)]), float(inner[max(cut, 1)])
        out[row] = np.exp((low + high) / 2)
    return out


def _excess(levels: Levels, log_k: Float[np.ndarray, "points"]) -> Float[np.ndarray, "rhos points"]:
    """How far the log of the bias part is above that of the intrinsic part."""
    found = failure(levels, np.exp(log_k))
    return found.log_biased - found.log_intrinsic


def _attempts(frame: pl.DataFrame) -> Float[np.ndarray, "rows"] | None:
    """The column k, checked; None without one."""
    if "k" not in frame.columns:
        return None
    k = numbers(frame, "k")
    try:
        _check_attempts(k)
    except ValueError as error:
        raise BadTable(f"Column 'k' of the grid: {error}") from error
    return k


def _check_attempts(k: Float[np.ndarray, "attempts"]) -> None:
    bad = k[~((k >= 1) & (k <= LARGEST_K))]
    if k.size == 0 or bad.size:
        given = listed((f"{value:g}" for value in np.unique(bad)), 3) or "none"
        raise ValueError(f"The attempts k must be from 1 to {LARGEST_K:g}, got {given}.")


def _check_window(window: tuple[float, float]) -> None:
    accepted = f"two rising numbers of attempts, low and high, from 1 to {LARGEST_K:g}"
    ends = check_array("window", window, accepted)
    if len(ends) != 2 or not 1 <= ends[0] < ends[1] <= LARGEST_K:
        raise ValueError(f"A window must be {accepted}, got {shown(window)}.")


def _rhos(rho: ArrayLike) -> Float[np.ndarray, "rhos"]:
    """rho as an array; ValueError unless finite and not negative."""
    values = check_array("rho", rho, "finite and not negative", low=0)
    if (values > LARGEST_RHO).any():
        raise ValueError(f"The rho may be up to {LARGEST_RHO:g}, got {shown(rho)}.")
    return values


def _check_number(name: str, value: Any) -> None:
    """Raise ValueError with one sentence for a parameter out of range."""
    check_number(name, value)
    if name == "dimension":
        check_memory(f"a dimension of {shown(value)}", 8 * 16 * check_whole(name, value, low=1))
    if name in ("tail", "noise", "tolerance", "signal") and value <= 0:
        raise ValueError(f"The {name} must be positive, got {shown(value)}.")
    if abs(value) > (most := MOST.get(name, LARGEST)) or 0 < abs(value) < 1 / LARGEST:
        raise ValueError(
            f"The {name} may be 0 or from {1 / LARGEST:g} to {most:g}, got {shown(value)}."
        )
    if name in ("ridge", "capacity", "source") and value < 0:
        raise ValueError(f"The {name} must not be negative, got {shown(value)}.")
