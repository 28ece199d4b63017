"""From a forecast of loss to one of accuracy, through a sigmoid, with the uncertainty of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_number, check_text
from kleiber.brief import brief
from kleiber.errors import BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.fitting.spread.intervals import percentile_interval
from kleiber.forecasting.forecast import forecast
from kleiber.forecasting.record import Forecast
from kleiber.frames import add_columns, as_frame
from kleiber.laws import find
from kleiber.maths.seeds import stream
from kleiber.table import numbers

DRAWS = 400
LOSS = "loss"  # the variable of the sigmoid


@dataclass(frozen=True)
class ForecastThrough:
    """A forecast of accuracy through one of loss.

    Attributes
    ----------
    table
        The rows that were asked for with ``predicted``, ``low`` and ``high`` (the interval of one
        new measurement), and the forecast of the loss with its own (``loss_predicted`` ...).
    forecast
        The forecast of the loss.
    fit
        The sigmoid, fitted to accuracy against loss.
    target, level
        The column that is forecast, and the level of the intervals.
    notes
        Sentences on what to mind.

    Examples
    --------
    >>> import kleiber, numpy as np
    >>> flops = np.geomspace(1e17, 1e20, 12)
    >>> loss = 1.8 + 300 * flops**-0.14
    >>> accuracy = 0.25 + 0.7 / (1 + np.exp(4 * (loss - 2.4)))
    >>> runs = {"flops": flops, "loss": loss, "accuracy": accuracy}
    >>> made = kleiber.forecast_through(runs, {"flops": [1e21]}, x="flops", chance=0.25)
    >>> made.table["low"][0] < made.table["predicted"][0] < made.table["high"][0]
    True
    """

    table: Any
    forecast: Forecast
    fit: Fit
    target: str
    level: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = {"rows": len(as_frame(self.table)), "notes": len(self.notes)}
        return brief("ForecastThrough", f"{self.target} through {self.forecast.target}", parts)


def forecast_through(
    table: Any,
    at: Any = None,
    *,
    x: Any,
    target: str = "accuracy",
    through: str = LOSS,
    chance: float | None = None,
    ceiling: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> ForecastThrough:
    """Forecast an accuracy beyond the data through the loss.

    The loss is forecast as ``forecast`` does; accuracy follows it by

        chance + (ceiling - chance)/(1 + exp(steep (L - L0)))

    (Bhagia et al. 2024, arXiv 2412.04403), fitted to the measured pairs. Draws of both are joined.

    Parameters
    ----------
    table
        Measured runs with the columns of ``x``, of the loss and of the accuracy.
    at, x
        As for ``forecast``.
    target, through
        The columns of the accuracy, between 0 and 1, and of the loss.
    chance, ceiling
        What is reached at a large and at a small loss, between 0 and 1; fitted where not given.
    level
        The level of the intervals, between 0 and 1.
    seed
        Of the draws.

    Returns
    -------
    ForecastThrough
        The rows with accuracies between 0 and 1, and both parts that they come from.

    Raises
    ------
    BadTable
        For a column that is missing or out of range, and where the runs do not determine the
        sigmoid: give ``chance`` and ``ceiling`` then.

    Examples
    --------
    >>> import kleiber, numpy as np
    >>> flops = np.geomspace(1e17, 1e20, 12)
    >>> loss = 1.8 + 300 * flops**-0.14
    >>> accuracy = 0.25 + 0.7 / (1 + np.exp(4 * (loss - 2.4)))
    >>> runs = {"flops": flops, "loss": loss, "accuracy": accuracy}
    >>> made = kleiber.forecast_through(runs, {"flops": [1e21]}, x="flops", chance=0.25)
    >>> 0.7 < made.table["predicted"][0] < 0.95
    True
    """
    frame = as_frame(table)
    target, through = check_text("target", target), check_text("through", through)
    ahead = forecast(frame, at, x=x, target=through, level=level, seed=seed)
    if not ahead.usable:
        raise BadTable(f"The loss cannot be forecast: {ahead.notes[0]}")
    found = _fit_sigmoid(frame, target, through, _ends(chance, ceiling), seed)
    asked = as_frame(ahead.table)
    rows = np.stack([asked[name].to_numpy().astype(float) for name in ahead.x], axis=1)
    losses = _draw_losses(ahead, rows, seed)
    values = _accuracies(found, losses, seed)
    noisy = np.clip(values + _noise(found, values.shape, seed), 0.0, 1.0)
    low, high = percentile_interval(noisy, ahead.level)
    renamed = {name: f"loss_{name}" for name in ("predicted", "low", "high", "expected_error")}
    whole = add_columns(
        asked.rename(renamed).drop("why"),
        {"predicted": np.median(values, axis=0), "low": low, "high": high},
    )
    notes = tuple(_notes(frame, asked, through, found, ahead))
    return ForecastThrough(whole, ahead, found, target, ahead.level, notes)


def _ends(chance: float | None, ceiling: float | None) -> dict[str, float]:
    """Return the ends of the sigmoid that are given."""
    given = {"chance": chance, "ceiling": ceiling}
    fixed = {
        name: check_number(name, value, "a number between 0 and 1, or None", low=0.0, high=1.0)
        for name, value in given.items()
        if value is not None
    }
    if fixed.get("chance", 0.0) >= fixed.get("ceiling", 1.0):
        raise BadTable("The ceiling of an accuracy must lie above chance.")
    inside = 1e-9  # a share is strictly between 0 and 1
    return {name: min(max(value, inside), 1 - inside) for name, value in fixed.items()}


def _fit_sigmoid(
    frame: pl.DataFrame, target: str, through: str, fixed: dict[str, float], seed: int
) -> Fit:
    share = numbers(frame, target)
    if (share < 0).any() or (share > 1).any():
        raise BadTable(f"{target} must lie between 0 and 1 in every row, as a fraction.")
    pairs = pl.DataFrame({LOSS: numbers(frame, through, positive=True), target: share})
    found = fit(
        find("accuracy_sigmoid", [LOSS]),
        pairs,
        target=target,
        noise=Noise("linear", delta=None),
        fixed=fixed,
        draws=DRAWS,
        seed=seed,
    )
    if not found.usable:
        raise BadTable(
            f"The runs do not determine how {target} follows {through} ({found.status}: "
            f"{found.reason}); give chance and ceiling, or add runs."
        )
    return found


def _draw_losses(
    ahead: Forecast, rows: Float[np.ndarray, "rows columns"], seed: int
) -> Float[np.ndarray, "draws rows"]:
    """Return draws of the loss itself, without the noise of a measurement."""
    mixture = ahead.groups[0].mixture
    assert mixture is not None
    logs, weights = mixture.log_draws(rows), mixture.draw_weights
    picks = stream(seed, "losses of a chain").choice(len(weights), DRAWS, p=weights / weights.sum())
    centre = weights @ logs
    return np.exp(centre + np.sqrt(mixture.widening) * (logs[picks] - centre))


def _accuracies(
    found: Fit, losses: Float[np.ndarray, "draws rows"], seed: int
) -> Float[np.ndarray, "draws rows"]:
    """Return the accuracy of each draw of the loss by a draw of the sigmoid."""
    order = stream(seed, "sigmoids of a chain").permutation(found.n_draws)[: len(losses)]
    drawn = {name: values[order][:, None] for name, values in found.draws.items()}
    return np.asarray(found.law(losses, **drawn), dtype=float)


def _noise(found: Fit, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "draws rows"]:
    """Return residuals of the sigmoid, drawn for each row."""
    left = max(len(found.residuals) - len(found.free), 1)
    residuals = found.residuals * np.sqrt(len(found.residuals) / left)
    return stream(seed, "noise of a chain").choice(residuals, shape)


def _notes(
    frame: pl.DataFrame, asked: pl.DataFrame, through: str, found: Fit, ahead: Forecast
) -> list[str]:
    out = list(ahead.notes)
    smallest, reached = float(frame[through].min()), float(asked["predicted"].min())  # pyright: ignore[reportArgumentType]
    if reached < smallest:
        out.append(
            f"The {through} that is forecast, {reached:.4g}, lies below all that were measured "
            f"(from {smallest:.4g} on): the sigmoid is extrapolated too."
        )
    return [*out, *found.notes]
