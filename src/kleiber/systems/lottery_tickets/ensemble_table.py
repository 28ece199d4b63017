"""The reduction `ensemble`: from a table of predictions to a table of error parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_column, check_columns
from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.ensemble import (
    MEMBERS,
    EnsembleVerdict,
    Points,
    judge_ensemble,
)
from kleiber.table import as_frame, numbers, require


class Ensembles(NamedTuple):
    """Predictions [seeds, points, outputs] by width, and the target that they share.

    A target of one column has the shape [points], so that it may hold class numbers.
    """

    predictions: dict[float, Float[np.ndarray, "seeds points outputs"]]
    target: Float[np.ndarray, "..."]


def read_ensembles(
    table: object, prediction: str | Sequence[str], target: str | Sequence[str], point: str
) -> Ensembles:
    """Read the arrays from a table with a row for each width, seed and `point`.

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
        raise BadTable(f"Column {lacking[0]!r} has missing values; it must identify the rows.")
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


def ensemble(
    table: object,
    *,
    prediction: str | Sequence[str] = "prediction",
    target: str | Sequence[str] = "target",
    point: str = "point",
    logits: bool = False,
    points: Points = "fixed",
    members: Sequence[int] = MEMBERS,
    drop: float | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Split the error of trained nets into the part that all seeds share and what averages out.

    The average of K nets has MSE = bias + variance/K. Intervals are of 95%.

    Parameters
    ----------
    table
        Any data frame with a row for each width, seed and point; at least 4 seeds of a width.
    prediction, target, point
        The columns of the outputs (or a class's logits), of the target, and of any label of the
        input.
    logits
        Whether predictions are logits, and the target the number of the class.
    points
        ``"drawn"`` for a test set, so that the bootstrap is over points too; ``"fixed"`` for a
        grid.
    members
        The numbers K of nets that are averaged.
    drop
        Leaves out nets whose error exceeds that multiple of their width's median.
    seed
        The seed of the bootstrap.

    Returns
    -------
    polars.DataFrame
        The columns quantity (mse, bias, variance, bias_share, ensemble, ratio, exponent_mse ...),
        width, members (K), value, stderr, low, high and reading; a row "note" has its sentence
        there.

    Raises
    ------
    BadTable
        For missing columns, too few seeds, and nets that lack a point.

    Examples
    --------
    >>> import kleiber
    >>> rows = [(s, p, p + e) for s, e in enumerate((0.2, -0.1, 0.1, -0.2)) for p in range(4)]
    >>> nets = dict(zip(("seed", "point", "prediction"), zip(*rows)))
    >>> made = kleiber.reduce.find("ensemble")(nets | {"width": 16 * [8], "target": nets["point"]})
    >>> made["quantity"][0], round(made["value"][0], 3)
    ('mse', 0.025)
    """
    predictions, truth = read_ensembles(table, prediction, target, point)
    verdict = judge_ensemble(
        predictions,
        truth,
        logits=logits,
        points=points,
        members=members,
        drop=drop,
        seed=seed,
    )
    return as_rows(verdict)


def as_rows(verdict: EnsembleVerdict) -> pl.DataFrame:
    """Return a verdict in long form, as `ensemble` does."""
    rows: list[tuple[str, float | None, int | None, Estimate, str | None]] = []
    for part in verdict.widths:
        rows += [
            ("mse", part.width, 1, part.mse, None),
            ("bias", part.width, None, part.bias, None),
            ("variance", part.width, None, part.variance, None),
            ("bias_share", part.width, None, part.bias_share, part.reading),
        ]
        rows += [("ensemble", part.width, k, item, None) for k, item in part.ensembles.items()]
    rows += [
        ("ratio", item.width, item.members, item.ratio, item.better) for item in verdict.trades
    ]
    rows += [
        (f"exponent_{name}", None, None, item, None) for name, item in verdict.exponents.items()
    ]
    unknown = Estimate(math.nan, math.nan, math.nan, math.nan)
    rows += [("note", None, None, unknown, sentence) for sentence in verdict.notes]
    kinds = {"quantity": pl.String, "width": pl.Float64, "members": pl.Int64}
    kinds |= dict.fromkeys(["value", "stderr", "low", "high"], pl.Float64)
    kinds["reading"] = pl.String
    flat = [(*head, *_known(item), word) for *head, item, word in rows]
    return pl.DataFrame(flat, schema=kinds, orient="row")


def _known(item: Estimate) -> list[float | None]:
    """Return the numbers of an estimate, with None for NaN."""
    numbers = item.value, item.stderr, item.low, item.high
    return [None if math.isnan(number) else number for number in numbers]
