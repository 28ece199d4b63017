"""The reduction `spectrum`: the exponents of a spectrum as a table, one row per estimate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from kleiber.arguments import check_column, check_columns
from kleiber.errors import BadTable, shown
from kleiber.systems.feature_learning.spectrum import HALVES, Rule, estimate_spectrum
from kleiber.systems.feature_learning.spectrum_modes import Kind
from kleiber.table import as_frame, numbers, require


def spectrum(
    table: object,
    *,
    eigenvalue: str = "eigenvalue",
    power: str = "power",
    target: str | Sequence[str] | None = None,
    rule: Rule | None = None,
    window: Sequence[float] | None = None,
    modes: int | None = None,
    width: float = np.inf,
    dimension: float | None = None,
    noise: float | None = None,
    draws: int = HALVES,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Estimate the exponents of a spectrum from a table, a row for each estimate.

    Parameters
    ----------
    table
        Any data frame with a row for each mode, or, with ``target``, a row for each sample.
    eigenvalue, power
        The columns of a mode's eigenvalue and of the target's power along it (the square of the
        coefficient).
    target
        The target's column or columns; all others are features.
    rule, window, modes, width, dimension, noise, draws, level, seed
        As for ``kleiber.reduce.estimate_spectrum``.

    Returns
    -------
    polars.DataFrame
        The columns name, value, stderr, low, high, and in every row the regime.

    Raises
    ------
    BadTable
        For missing columns and for what ``estimate_spectrum`` refuses.

    Examples
    --------
    >>> import kleiber, numpy
    >>> k = numpy.arange(1, 401)
    >>> table = {"eigenvalue": k**-1.5, "power": k**-1.75}
    >>> made = kleiber.reduce.find("spectrum")(table)
    >>> made["name"][0], round(made["value"][0], 2)
    ('capacity', 1.5)
    """
    frame = as_frame(table)
    check_column("eigenvalue", eigenvalue)
    check_column("power", power)
    if target is None:
        require(frame, [eigenvalue, power])
        given, wanted = numbers(frame, eigenvalue, positive=True), numbers(frame, power)
        kind: Kind = "eigenvalues"
    else:
        names = check_columns("target", target)
        require(frame, names)
        if not names:
            raise BadTable(f"The target is a column or several, got {shown(target)}.")
        others = [name for name in frame.columns if name not in names]
        if not others:
            raise BadTable("Beside the target's columns the table needs columns of features.")
        given = np.stack([numbers(frame, name) for name in others], axis=1)
        wanted = np.stack([numbers(frame, name) for name in names], axis=1)
        kind = "features"
    found = estimate_spectrum(
        given, wanted, kind=kind, rule=rule, window=window, modes=modes, width=width,
        dimension=dimension, noise=noise, draws=draws, level=level, seed=seed,
    )  # fmt: skip
    rows = [
        (name, item.value, item.stderr, item.low, item.high)
        for name, item in found.estimates.items()
    ]
    schema = ["name", "value", "stderr", "low", "high"]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.lit(found.regime).alias("regime")
    )
