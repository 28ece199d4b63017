"""The rows of a grid with the columns that a solver predicts, for one set of parameters after
another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.arguments import check_memory
from kleiber.errors import BadTable
from kleiber.systems.feature_learning import curves
from kleiber.systems.feature_learning.modes import check_modes
from kleiber.table import numbers

LATEST = 1e40  # time
OVERRIDES = ("width", "n_data", "batch_size", "richness")  # parameters that a grid may have
MODE = "mode"  # a grid's column of modes, beside which goes the learned fraction of each
PREDICTED = (
    *("loss", "train_loss", "local_exponent", "kernel_growth", "spike", "learned"),
    *curves.PARTS,
    *curves.FLOORS,
)


def models_of(model: Any, frame: pl.DataFrame) -> list[tuple[Any, pl.DataFrame, Any]]:
    """Return the rows of each set of parameters in the grid, with their indices."""
    index = pl.Series("_row", np.arange(frame.height))
    named = [name for name in OVERRIDES if name in frame.columns]
    if not named:
        return [(model, frame, index)]
    found = list[tuple[Any, pl.DataFrame, Any]]()
    for values, rows in frame.with_columns(index).group_by(named, maintain_order=True):
        given = {name: float(str(value)) for name, value in zip(named, values, strict=True)}
        try:
            each = replace(model, **given)
        except ValueError as error:
            raise BadTable(f"The grid cannot be solved. {error}") from error
        found.append((each, rows.drop("_row"), rows["_row"]))
    return found


def predict(model: Any, rows: pl.DataFrame, solver: str) -> pl.DataFrame:
    """Return the rows with the columns that a solver predicts."""
    if MODE in rows.columns and solver != "reduced":
        raise ValueError(
            f"The learned fraction of a mode is known to the solver reduced alone, got {solver!r} "
            f"with a column {MODE!r}."
        )
    if solver == "dmft":
        from kleiber.systems.feature_learning.dmft import solve_dmft

        columns = solve_dmft(model, _steps(model, rows))
        return rows.with_columns(pl.Series(name, item) for name, item in columns.items())
    times, index = np.unique(_times(model, rows), return_inverse=True)
    columns = (curves.reduced if solver == "reduced" else curves.asymptotic)(model, times)
    found = {name: columns[name][index] for name in PREDICTED if name in columns}
    if MODE in rows.columns:
        found["learned"] = _learned(model, rows, times, index)
    return rows.with_columns(pl.Series(name, item) for name, item in found.items())


def _learned(
    model: Any,
    rows: pl.DataFrame,
    times: Float[np.ndarray, "times"],
    index: Int[np.ndarray, "rows"],
) -> Float[np.ndarray, "rows"]:
    """Return the learned fraction of each row's mode at its time."""
    given = check_modes(numbers(rows, MODE).astype(float), model.modes, error=BadTable)
    modes, column = np.unique(given, return_inverse=True)
    what = f"the learned fractions of {modes.size:,} modes at {times.size:,} times"
    check_memory(what, 64 * modes.size * times.size, "ask for fewer of them")
    return curves.learned(model, times, modes)[index, column]


def _times(model: Any, rows: pl.DataFrame) -> Float[np.ndarray, "rows"]:
    """Return the times, from the column time or step times step_size. Raises BadTable."""
    given = [name for name in ("time", "step") if name in rows.columns]
    if len(given) != 1:
        raise BadTable(
            "The grid needs a column 'time', or 'step' with a step_size, and not both; it has "
            f"{', '.join(rows.columns)}."
        )
    values = numbers(rows, given[0]).astype(float)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise BadTable(
            f"Column {given[0]!r} must be finite and not negative, got {values.min():g}."
        )
    if (latest := float(values.max())) > LATEST:
        raise BadTable(f"Column {given[0]!r} may go up to {LATEST:g}, got {latest:g}.")
    if given[0] == "time":
        return values
    if model.step_size == 0:
        raise BadTable("A grid over steps needs a positive step_size; give one, or a grid of time.")
    return values * model.step_size


def _steps(model: Any, rows: pl.DataFrame) -> Any:
    """Return whole steps for the mean-field theory. Raises BadTable."""
    if model.step_size == 0:
        raise BadTable("The mean-field theory takes steps, so step_size must be positive.")
    steps = _times(model, rows) / float(model.step_size)
    if (np.abs(steps - np.round(steps)) > 1e-6 * np.maximum(steps, 1)).any():
        raise BadTable(
            "The mean-field theory needs whole steps, so time must be a multiple of step_size."
        )
    return np.round(steps).astype(int)
