"""A linear model that learns features, solved beyond the kernel limit.

Bordelon, Atanasov and Pehlevan 2024, "How Feature Learning Can Improve Neural Scaling Laws" (arXiv
2409.17858). A frozen random matrix A(0) maps M features to N neurons, a trained N x N layer B and a
trained readout w follow; B is what makes the model rich. Trained by gradient descent on squared
error, in units in which time is step_size times steps:

    symbol   parameter   meaning
    alpha    capacity    the features' covariance has eigenvalues lam_k = k^-alpha
    beta     source      the target has power c_k = lam_k w*_k^2 = k^-(alpha beta + 1) along them
    gamma    richness    learning rate of B over that of w; 0 is the lazy limit (random features)
    N        width       neurons; f(x) = w^T B A(0) psi(x)/N
    D        n_data      examples of a fixed training set, all in every step
    B        batch_size  examples of a step, fresh in each
    eta      step_size   0 is gradient flow
    sigma    noise       spread of the labels' noise; the loss does not contain it
    L        depth       weight layers: 2 has one hidden layer B, L has L - 1 of them
    M        modes       features
    f_k      learned     fraction of w*_k that is learned
    a        kernel_growth   the kernel is a times what it was, plus a spike along what is learned

For infinite sizes and with n = |w|^2/N the hidden layers can be eliminated, exactly:

    df_k/dt = a lam_k (1 - f_k) + b f_k,  loss = sum_k c_k (1 - f_k)^2,
    n (1 + gamma n)^(L - 1) = sum_k c_k f_k^2/lam_k,  a = (1 + gamma n)^(L - 1),
    b = (L - 1) gamma/(1 + gamma n) sum_k c_k f_k (1 - f_k).

Width and data change the spectrum on which this runs (``finite.py``,
``data.py``), fresh batches add a variance to each mode (``noise.py``).
Tasks are hard for beta < 1, where |w*|^2 is infinite: feature learning then takes the exponent of
time from beta to L beta/(1 + (L - 1) beta). It leaves it for easy tasks, and every floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy.typing import ArrayLike

from kleiber.arguments import check_array, check_choice, check_number, check_whole
from kleiber.errors import shown
from kleiber.systems.feature_learning import curves, limits
from kleiber.systems.feature_learning import frontier as frontiers
from kleiber.systems.feature_learning.modes import check_modes
from kleiber.systems.feature_learning.rows import MODE, OVERRIDES, PREDICTED, models_of, predict
from kleiber.systems.grid import check_rows, rows_of

SOLVERS = ("reduced", "limits", "dmft")
LARGEST_COMPUTE = 1e40  # of a frontier, whose widths are tried one by one
DEEPEST = 100  # layers
LARGEST_SIZE = 1e50
MAXIMA = {"capacity": 100.0, "source": 100.0, "richness": 1e30, "step_size": 1e30, "noise": 1e100}
COUNTS = ("width", "n_data", "batch_size", "modes")
DRAWN = ("time", "step", *OVERRIDES)  # columns of a grid that is simulated
GRID = (*DRAWN, MODE)


@dataclass(frozen=True)
class FeatureLearning:
    """A linear model that learns features (Bordelon et al. 2024, arXiv:2409.17858).

    Features with the covariance eigenvalues k^-capacity pass a frozen random matrix, a trained
    hidden layer and a trained readout. Trained by gradient flow or descent on squared error, its
    loss is sum_k c_k (1 - f_k)^2 with f_k the share of mode k that is learned and c_k =
    k^-(capacity source + 1).

    Attributes
    ----------
    capacity
        The exponent of the features' spectrum, above 1.
    source
        How hard the target is: hard up to 1, where feature learning speeds up the loss; easy
        beyond.
    richness
        The learning rate of the hidden layer over that of the readout; 0 is the lazy limit (random
        features).
    width
        The number of neurons, a whole number or infinite.
    n_data
        The number of examples of a fixed training set, all in every step; infinite by default.
    batch_size
        The number of fresh examples of a step; infinite by default. Give this or ``n_data``.
    step_size
        The learning rate; 0 is gradient flow. Time is step_size times steps.
    noise
        The standard deviation of the labels' noise, which the loss does not contain.
    depth
        The number of weight layers, from 2.
    modes
        The number of features, a whole number or infinite.

    Raises
    ------
    ValueError
        For a parameter out of range, or both ``n_data`` and ``batch_size``.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.theory.FeatureLearning(source=0.5, richness=1.0).phase
    'hard, rich'
    """

    capacity: float = 1.5
    source: float = 0.5
    richness: float = 0.0
    width: float = math.inf
    n_data: float = math.inf
    batch_size: float = math.inf
    step_size: float = 0.0
    noise: float = 0.0
    depth: int = 2
    modes: float = math.inf

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_number(field.name, getattr(self, field.name))
        if math.isfinite(self.batch_size) and math.isfinite(self.n_data):
            raise ValueError(
                "A fixed data set is trained on as a whole, and fresh batches are one pass over "
                "infinite data, so give n_data or batch_size, not both; got "
                f"n_data={self.n_data:g} "
                f"and batch_size={self.batch_size:g}."
            )
        if math.isfinite(self.batch_size) and self.step_size == 0:
            raise ValueError(
                "The noise of fresh batches is in proportion to step_size, which must be positive "
                f"with a finite batch_size, got batch_size={self.batch_size:g} and step_size=0."
            )

    def solve(self, grid: Any, *, solver: str = "reduced") -> pl.DataFrame:
        """Predict the loss along training for every row of a grid.

        Parameters
        ----------
        grid
            A mapping (crossed) or a data frame with a column time, or step; columns width, n_data,
            batch_size and richness take the place of the parameters, and a column mode asks for the
            learned fraction of that mode of the kernel (1 has the largest eigenvalue).
        solver
            ``"reduced"``, good to about 1e-6 for infinite sizes and to O(1/N, 1/D) else;
            ``"limits"``, closed forms for late times; ``"dmft"``, the mean-field theory in discrete
            time at whole steps.

        Returns
        -------
        polars.DataFrame
            The grid with loss, on fresh data without label noise; train_loss, on the n_data with
            it; local_exponent, -dlog loss/dlog time; kernel_growth, the factor by which the kernel
            has grown; spike, its eigenvalue along what is learned. loss is the sum of time_part,
            the loss of infinite sizes, and of what width, data and batch add; floor is the loss
            after infinitely long training without noise of batches, model_floor for this width
            alone, data_floor for these data alone. Beside a mode, learned is its f_k, the mean over
            draws for finite sizes.

        Raises
        ------
        BadTable
            For a grid without time or step, or with values out of range.
        ValueError
            Where a solver does not apply.
        NotConverged
            Where a solver stops before its tolerance.

        Examples
        --------
        >>> import kleiber
        >>> model = kleiber.theory.FeatureLearning(capacity=1.5, source=0.5)
        >>> solved = model.solve({"time": 1000.0, "richness": [0.0, 1.0]})
        >>> solved["local_exponent"].round(2).to_list()
        [0.5, 0.66]
        """
        check_choice("solver", solver, SOLVERS)
        frame = rows_of(grid, GRID, PREDICTED)
        parts = [
            predict(model, rows, solver).with_columns(pl.Series("_row", index))
            for model, rows, index in models_of(self, frame)
        ]
        return pl.concat(parts, how="diagonal").sort("_row").drop("_row")

    def learned(self, time: ArrayLike, modes: ArrayLike) -> Float[np.ndarray, "times modes"]:
        """Return f_k at each time (from 0) for each mode k (from 1). Raises ValueError.

        For finite sizes it is a mean over draws of A(0) and of the data. It is the column learned
        of ``solve`` over a grid with a column mode.
        """
        times = check_array("time", time, "one or more finite numbers from 0", low=0)
        return curves.learned(self, times, check_modes(modes, self.modes))

    def simulate(self, grid: Any, *, seeds: int = 8, seed: int = 0) -> pl.DataFrame:
        """Run gradient descent on systems drawn at random.

        Parameters
        ----------
        grid
            As for ``solve``.
        seeds
            The number of systems.
        seed
            The seed of everything that is drawn.

        Returns
        -------
        polars.DataFrame
            The rows of the grid for each seed, with seed, loss, train_loss and kernel_growth as
            measured.

        Raises
        ------
        BadTable, ValueError
            For a grid that cannot be drawn, and for seeds that are no whole numbers.

        Examples
        --------
        >>> import kleiber
        >>> model = kleiber.theory.FeatureLearning(width=20, modes=50, step_size=0.1)
        >>> drawn = model.simulate({"step": [10, 50]}, seeds=2)
        >>> drawn.select("seed", "step").rows()
        [(0, 10), (0, 50), (1, 10), (1, 50)]
        """
        from kleiber.systems.feature_learning.draws import simulate

        frame = rows_of(grid, DRAWN, (*PREDICTED, "seed"))
        seeds, seed = check_whole("seeds", seeds, low=1), check_whole("seed", seed)
        check_rows(seeds * frame.height, len(frame.columns) + len(PREDICTED) + 1)
        parts = [simulate(model, rows, seeds, seed) for model, rows, _ in models_of(self, frame)]
        found = pl.concat(parts, how="diagonal")
        return found.rename({"growth": "kernel_growth"} if "growth" in found.columns else {})

    def exponents(self) -> dict[str, float]:
        """Give the exponents of each term of the loss, and of the compute-optimal split of C = N t.

        Returns
        -------
        dict
            time: of infinite sizes, the source, or L source/(1 + (L - 1) source) at depth L for
            hard tasks with richness; kernel_growth: of the kernel in time; width: of the model's
            floor, capacity min(1, source); width_bias: of its part that averaging over nets leaves,
            capacity min(2, source); data: of the floor of data, capacity min(2, source);
            width_transient: in time, of the 1/N term before its floor; batch: in time, of the noise
            of fresh batches, min(source, 2 - 1/capacity), 0 for hard tasks with richness, where the
            noise grows with the kernel until the loss stays. compute, compute_width and
            compute_time: loss ~ C^-compute at N ~ C^compute_width, t ~ C^compute_time; with a
            finite batch_size for super-easy tasks those that its noise allows, for hard tasks those
            of steps small enough for it not to matter.

        Examples
        --------
        >>> import kleiber
        >>> rich = kleiber.theory.FeatureLearning(source=0.5, richness=1.0)
        >>> round(rich.exponents()["time"], 3)
        0.667
        """
        return limits.exponents(self)

    @property
    def phase(self) -> str:
        """hard (source up to 1), easy (up to 2 - 1/capacity) or super-easy; lazy or rich."""
        return limits.phase_of(self)

    def crossover(self) -> float:
        """Return the time after which a hard task follows its rich law.

        It is ~ richness^(-1/(1 - source)), infinite without richness, and 0 for easy tasks.
        """
        return limits.crossover(self)

    def frontier(self, compute: ArrayLike) -> pl.DataFrame:
        """Find the width and time of the smallest loss at each compute C = width * time.

        Parameters
        ----------
        compute
            One or more values of width * time, the cost of the paper's model in units of one
            neuron for one unit of time.

        Returns
        -------
        polars.DataFrame
            The columns compute, width (a real number), time and loss. The width is that of a
            parabola through three of the widths that were tried, good to about 2%, the loss to
            0.3%.

        Raises
        ------
        ValueError
            For a record whose own width or n_data is finite, and for a compute at which a finite
            number of modes is learned almost completely, to below 1e-7 of the loss at the start.

        Examples
        --------
        >>> import kleiber
        >>> best = kleiber.theory.FeatureLearning(capacity=2.0, source=0.5).frontier([1e4, 1e6])
        >>> best["width"].round(-1).to_list()
        [70.0, 330.0]
        """
        values = check_array("compute", compute, "positive and finite", above=0)
        if (values > LARGEST_COMPUTE).any():
            raise ValueError(f"The compute may be up to {LARGEST_COMPUTE:g}, got {shown(compute)}.")
        if math.isfinite(self.width) or math.isfinite(self.n_data):
            raise ValueError(
                "A frontier chooses the width and assumes infinite data, so both must be infinite, "
                f"got width={self.width:g} and n_data={self.n_data:g}."
            )
        return pl.DataFrame(frontiers.frontier(self, values))


def _check_number(name: str, value: Any) -> None:
    """Raise ValueError for a parameter that is out of range."""
    if name in COUNTS:
        accepted = "a whole number from 1 or infinite"
        number = check_number(name, value, accepted, low=1, allow_infinite=True)
        if math.isfinite(number):
            check_whole(name, value, 1, int(LARGEST_SIZE), accepted=accepted)
        return
    if check_number(name, value) > MAXIMA.get(name, math.inf):
        raise ValueError(f"The {name} may be up to {MAXIMA[name]:g}, got {shown(value)}.")
    if name == "capacity" and value <= 1:
        raise ValueError(
            f"The capacity must be above 1, so that the features have a finite variance, got "
            f"{shown(value)}."
        )
    if name == "source" and value <= 0:
        raise ValueError(f"The source must be positive, got {shown(value)}.")
    if name in ("richness", "step_size", "noise") and value < 0:
        raise ValueError(f"The {name} must not be negative, got {shown(value)}.")
    if name == "depth" and not (2 <= value <= DEEPEST and value % 1 == 0):
        raise ValueError(
            f"The depth counts weight layers, a whole number from 2 to {DEEPEST:,}, got "
            f"{shown(value)}."
        )
