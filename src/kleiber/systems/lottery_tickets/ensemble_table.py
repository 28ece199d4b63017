"""A long table of trained nets' predictions as arrays by width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_column, check_columns
from kleiber.errors import BadTable
from kleiber.table import as_frame, numbers, require


class Ensembles(NamedTuple):
    """Predictions [seeds, points, outputs] by width and the target they share; with one column of
    the target it is [points], so that it may hold class numbers."""

    predictions: dict[float, Float[np.ndarray, "seeds points outputs"]]
    target: Float[np.ndarray, "..."]


def read_ensembles(
    table: object, prediction: str | Sequence[str], target: str | Sequence[str], point: str
) -> Ensembles:
    """The arrays of a table with a row for each width, seed and `point`.

    Every net must have every point once, and a point the same target in every row. Raises BadTable.
    """
    frame = as_frame(table)
    outputs = check_columns("prediction", prediction)
    truths = check_columns("target", target)
    point = check_column("point", point)
    require(frame, ["width", "seed", point, *outputs, *truths])
    if not outputs or not truths:
        raise BadTable("At least one column of the prediction and one of the target are needed.")
    if frame.height == 0:
        raise BadTable("The table has no rows; it needs one for each width, seed and point.")
    if lacking := [name for name in ("width", "seed", point) if frame[name].null_count()]:
        raise BadTable(f"Column {lacking[0]!r} has missing values; it tells the rows apart.")
    numbers(frame, "width", positive=True)
    frame = frame.sort("width", "seed", point)
    known = frame[point].unique().sort()
    whole = frame.group_by("width", "seed", maintain_order=True).agg(
        pl.len(), pl.col(point).n_unique().alias("different")
    )
    for width, seed, rows, different in whole.iter_rows():
        if rows != known.len() or different != known.len():
            raise BadTable(
                f"Every net must have every {point!r} once; width {width} seed {seed} has {rows} "
                f"rows with {different} different points of {known.len()}."
            )
    truth = np.stack([numbers(frame, name) for name in truths], axis=-1)
    truth = truth.reshape(whole.height, known.len(), len(truths))
    if (truth != truth[0]).any():
        name = truths[int((truth != truth[0]).any(axis=(0, 1)).argmax())]
        raise BadTable(f"The target {name!r} differs between nets at the same {point!r}.")
    values = np.stack([numbers(frame, name) for name in outputs], axis=-1)
    values = values.reshape(whole.height, known.len(), len(outputs))
    each = whole["width"].cast(pl.Float64).to_numpy()
    predictions = {float(width): values[each == width] for width in np.unique(each)}
    if len(truths) == 1 and len(outputs) > 1:
        return Ensembles(predictions, truth[0, :, 0])
    return Ensembles(predictions, truth[0])
