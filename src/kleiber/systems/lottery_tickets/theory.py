"""The central-limit law of lottery tickets, with its assumptions as parameters.

Liu and Tegmark 2023, "A Neural Scaling Law from Lottery Ticket Ensembling" (arXiv 2310.02258; its
second version says that the theory is under repair). A net of width N holds n tickets, small
subnetworks that each do the task, and outputs their mean. Ticket i makes the error b(x) + e_i(x)
with b the same for all tickets and all nets. Averaging over nets,

    E MSE = <b^2> + <s^2> [(1 - rho)/n + rho],   n = p N,

and the law N^-1 needs three assumptions: b = 0, rho = 0, and n in proportion to N.

    symbol    parameter     meaning
    <b^2>     bias^2        mean square over x of the shared error
    <s^2>     spread^2      mean over x of the variance of one ticket's error
    rho       correlation   of the errors of two tickets of one net; below 0, tickets cancel each
                            other, as joint training makes them, and n is at most 1 - 1/rho
    p         tickets       tickets per unit of width
    d         dimension     of the input; approximation theory expects N^(-4/d)
    r         radius        inputs lie in [-r, r]^d
    N, n      width, n_tickets

rho is a correlation within a net: it stops the gain from width, but different nets still average,
while b stops both. `ensemble.py` measures b and the rest on trained nets. The error of one ticket,
its flat channel and the ReLU bound are in `one_ticket.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_memory, check_number, check_whole
from kleiber.errors import BadTable, shown
from kleiber.maths.seeds import stream
from kleiber.systems.grid import check_rows, rows_of
from kleiber.systems.lottery_tickets.one_ticket import cells_error, relu_bound
from kleiber.table import numbers

PREDICTED = ("n_tickets", "mse", "averaged", "local_exponent", "approximation", "two_term")
POINTS = 64  # of the grid of x on which drawn nets are measured
MODES = 8  # independent cosines that make one ticket's error
SHARED_MODE = 2  # the cosine that makes b(x)
LARGEST = 1e50  # of a parameter; its fourth power is taken
LARGEST_DRAW = 10**7  # tickets of one net


@dataclass(frozen=True)
class Tickets:
    """The central-limit law of lottery tickets (Liu & Tegmark 2023, arXiv:2310.02258).

    A net of width N holds n = tickets * N small subnetworks that each do the task, and outputs
    their mean: E MSE = bias^2 + spread^2 [(1 - correlation)/n + correlation].

    Attributes
    ----------
    bias
        The root mean square of the error that all tickets share, in the unit of the target.
    spread
        The root mean square of one ticket's own error, in the unit of the target.
    correlation
        That of the errors of two tickets of one net, above -1 and at most 1.
    tickets
        The number of tickets per unit of width.
    dimension
        The number of inputs d; approximation theory expects N^(-4/d).
    radius
        The inputs lie in [-radius, radius]^dimension.

    Raises
    ------
    ValueError
        For a parameter out of range.

    Examples
    --------
    >>> import kleiber
    >>> model = kleiber.theory.Tickets(spread=0.2, bias=0.01)
    >>> round(model.floor, 6)
    0.0001
    """

    bias: float = 0.0
    spread: float = 0.1
    correlation: float = 0.0
    tickets: float = 0.5
    dimension: int = 1
    radius: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_number(field.name, getattr(self, field.name))

    def solve(self, grid: Any) -> pl.DataFrame:
        """Predict the error for every width of a grid.

        Parameters
        ----------
        grid
            A mapping or a data frame with a column width, from 1 and at least 1/tickets.

        Returns
        -------
        polars.DataFrame
            The grid with n_tickets; mse, in squared units of the target; averaged, its part that
            falls as 1/N; local_exponent = -dlog mse/dlog N; approximation = d (2 r)^4 N^(-4/d)/180,
            the error of linear fits in N cubes to a sum of squares; two_term = approximation + mse;
            and for one dimension relu_bound, which no ReLU net of that width beats on x^2.

        Raises
        ------
        BadTable
            For a missing width or one that is too small, or too large for a negative correlation.

        Examples
        --------
        >>> import kleiber
        >>> solved = kleiber.theory.Tickets(spread=0.2).solve({"width": [10, 100]})
        >>> solved["mse"].round(5).to_list()
        [0.008, 0.0008]
        """
        bounded = ("relu_bound",) if self.dimension == 1 else ()
        frame, width = self._rows(grid, (*PREDICTED, *bounded))
        averaged = self._averaged / width
        mse = averaged + self.floor
        approximation = cells_error(width, self.dimension, radius=self.radius)
        columns = {
            "n_tickets": self.tickets * width,
            "mse": mse,
            "averaged": averaged,
            "local_exponent": averaged / mse,
            "approximation": approximation,
            "two_term": approximation + mse,
        }
        if bounded:
            columns["relu_bound"] = relu_bound(width, radius=self.radius)
        return frame.with_columns(pl.Series(name, item) for name, item in columns.items())

    def simulate(self, grid: Any, *, seeds: int = 8, seed: int = 0) -> pl.DataFrame:
        """Draw nets of Gaussian tickets and measure their errors.

        Parameters
        ----------
        grid
            As for ``solve``; tickets * width must be a whole number.
        seeds
            The number of nets of each width.
        seed
            The seed of everything that is drawn.

        Returns
        -------
        polars.DataFrame
            The rows of the grid for each seed, with columns seed, n_tickets and mse.

        Raises
        ------
        BadTable, ValueError
            For widths that cannot be drawn, and for seeds that are no whole numbers.

        Examples
        --------
        >>> import kleiber
        >>> drawn = kleiber.theory.Tickets(spread=0.2).simulate({"width": [10]}, seeds=200)
        >>> 0.006 < drawn["mse"].mean() < 0.01
        True
        """
        frame, width = self._rows(grid, ("n_tickets", "mse", "seed"))
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_rows(seeds * frame.height, len(frame.columns) + 3)
        each, index = np.unique(width, return_inverse=True)
        mse = np.stack([(self.draw(float(n), seeds=seeds, seed=seed) ** 2).mean(1) for n in each])
        count = pl.Series("n_tickets", self.tickets * width)
        parts = [
            frame.with_columns(
                pl.Series("seed", np.full(frame.height, member)),
                count,
                pl.Series("mse", mse[index, member]),
            )
            for member in range(seeds)
        ]
        return pl.concat(parts)

    def draw(
        self, width: float, *, seeds: int = 8, seed: int = 0
    ) -> Float[np.ndarray, "seeds points"]:
        """Draw the errors of nets at 64 midpoints of [-r, r]; add a target for predictions.

        The shared error is one cosine, that of a ticket a sum of 8 cosines with Gaussian
        coefficients. Nets of one width and seed do not depend on the other seeds and widths.
        Raises ValueError.
        """
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_memory(f"{seeds:,} nets", 8 * seeds * POINTS, "ask for fewer seeds")
        check_number("width", width, "a number from 1", low=1)
        try:
            _, (number,) = self._rows({"width": [width]}, ())
        except BadTable as error:
            raise ValueError(str(error)) from error
        n = self.tickets * float(number)
        if n % 1 or n > LARGEST_DRAW:
            raise ValueError(
                f"To draw nets, tickets * width must be a whole number up to {LARGEST_DRAW:g}, "
                f"got {n:g} for width {number:g}."
            )
        modes = _cosines()
        individual = self.spread * math.sqrt(1 - self.correlation) / math.sqrt(MODES)
        common = self.spread * math.sqrt((1 - self.correlation) + n * self.correlation)
        common /= math.sqrt(MODES)
        nets: list[Float[np.ndarray, "points"]] = []
        for member in range(seeds):
            rng = stream(seed, f"tickets/{number:g}/{member}")
            z = rng.standard_normal((int(n), MODES))
            mean = z.mean(0)
            tickets = individual * (z - mean) + common * mean  # covariance (1 - rho) 1 + rho
            nets.append(self.bias * modes[SHARED_MODE - 1] + tickets.mean(0) @ modes)
        return np.stack(nets)

    def exponents(self) -> dict[str, float]:
        """Give the exponents of N as it grows, of each part of the error.

        Returns
        -------
        dict
            averaged, of the part that averages, and rmse, of its root; approximation, 4/dimension;
            one_ticket, that of a ticket's error along its flat channel. Unless a negative
            correlation bounds the width, mse (0 where a floor remains) and two_term, the smaller of
            mse and approximation.

        Examples
        --------
        >>> import kleiber
        >>> kleiber.theory.Tickets(bias=0.01).exponents()["mse"]
        0.0
        """
        approximation = 4 / self.dimension
        found = {
            "averaged": 1.0,
            "rmse": 0.5,
            "approximation": approximation,
            "one_ticket": 4.0,
        }
        if self.correlation >= 0:
            mse = 0.0 if self.floor > 0 else 1.0
            found |= {"mse": mse, "two_term": min(mse, approximation)}
        return found

    @property
    def floor(self) -> float:
        """The error that remains at infinite width, <b^2> + rho <s^2>; negative if tickets cancel
        b."""
        return self.bias**2 + self.correlation * self.spread**2

    def crossovers(self) -> dict[str, float]:
        """Return the widths at which two terms are equal.

        floor: averaged equals the floor; larger widths hardly help (infinite without a floor).
        approximation: averaged equals d (2 r)^4 N^(-4/d)/180; for d < 4 the law of approximation
        theory changes there to N^-1. It is missing for d = 4, where both fall alike, and for
        rho = 1.
        """
        found = {"floor": self._averaged / self.floor if self.floor > 0 else math.inf}
        if self.dimension != 4 and self._averaged > 0:
            ratio = self.dimension * (2 * self.radius) ** 4 / 180 / self._averaged
            found["approximation"] = float(ratio ** (1 / (4 / self.dimension - 1)))
        return found

    @property
    def _averaged(self) -> float:
        """Width times the part of the error that averages out."""
        return self.spread**2 * (1 - self.correlation) / self.tickets

    def _rows(
        self, grid: Any, predicted: tuple[str, ...]
    ) -> tuple[pl.DataFrame, Float[np.ndarray, "rows"]]:
        """Return the grid's rows and their checked widths."""
        frame = rows_of(grid, ("width",), predicted)
        width = numbers(frame, "width", positive=True)
        low, high = float(width.min()), float(width.max())
        if min(low, low * self.tickets) < 1:
            raise BadTable(
                f"The width must be at least {max(1.0, 1 / self.tickets):g}, so that a net holds a "
                f"ticket ({self.tickets:g} per unit of width), got {low:g}."
            )
        if self.correlation < 0 and high * self.tickets >= 1 - 1 / self.correlation:
            maximum = (1 - 1 / self.correlation) / self.tickets
            raise BadTable(
                f"With correlation {self.correlation:g} fewer than "
                f"{1 - 1 / self.correlation:g} tickets can exist, so the width must be below "
                f"{maximum:g}, got {high:g}."
            )
        return frame, width


def _cosines() -> Float[np.ndarray, "modes points"]:
    """Return the cosines 1 to 8 at the midpoints of the interval: zero mean, orthonormal."""
    at = (np.arange(POINTS) + 0.5) / POINTS
    return math.sqrt(2) * np.cos(np.pi * np.arange(1, MODES + 1)[:, None] * at)


def _check_number(name: str, value: Any) -> None:
    """Raise ValueError with one sentence for a parameter out of range."""
    check_number(name, value)
    if name == "dimension":
        check_whole(name, value, low=1)
    if name != "dimension" and abs(value) > LARGEST:
        raise ValueError(f"The {name} may be up to {LARGEST:g}, got {shown(value)}.")
    if name in ("spread", "tickets", "radius") and value <= 0:
        raise ValueError(f"The {name} must be positive, got {shown(value)}.")
    if name == "bias" and value < 0:
        raise ValueError(f"The bias must not be negative, got {shown(value)}.")
    if name == "correlation" and not -1 < float(value) <= 1:
        raise ValueError(f"The correlation must be above -1 and at most 1, got {shown(value)}.")
