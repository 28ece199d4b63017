"""The reduction `spectrum`: the exponents of a spectrum as a table, one row per estimate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from kleiber.arguments import check_choice, check_column, check_columns, check_whole
from kleiber.arrays import holds_matrix
from kleiber.errors import BadTable, shown
from kleiber.experiment import Experiment
from kleiber.systems.feature_learning.spectrum import HALVES, Rule, Spectrum, estimate_spectrum
from kleiber.systems.feature_learning.spectrum_samples import (
    MATRICES,
    Given,
    kernel_of,
    read_source,
    take_arrays,
)
from kleiber.table import as_frame, numbers, require

FILES = (".npz", ".npy", ".toml")  # that are read here, if they are no tables
SAMPLES = 500  # examples on which the kernel of an Experiment is taken


def spectrum(
    table: object,
    *,
    eigenvalue: str = "eigenvalue",
    power: str = "power",
    target: str | Sequence[str] | None = None,
    targets: Any = None,
    kind: str | None = None,
    samples: int = SAMPLES,
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
    """Estimate the exponents of a spectrum from a table, arrays or an Experiment, a row for each.

    Parameters
    ----------
    table
        Any data frame with a row for each mode, or, with ``target``, a row for each sample; a
        mapping with the arrays gram (a Gram matrix) or features (a row for each sample), and
        targets; a matrix with ``targets``; an Experiment, of whose first net before training the
        tangent kernel is taken; or the name of an .npz, .npy or .toml file of these.
    eigenvalue, power
        The columns of a mode's eigenvalue and of the target's power along it (the square of the
        coefficient).
    target
        The target's column or columns; all others are features.
    targets
        The targets of a matrix, an array or an .npy file with a row for each sample.
    kind
        ``"gram"`` or ``"features"``, for a matrix that may be either.
    samples
        The number of training examples on which the kernel of an Experiment is taken.
    rule, window, modes, width, dimension, noise, draws, level, seed
        As for ``kleiber.reduce.estimate_spectrum``.

    Returns
    -------
    polars.DataFrame
        The columns name, value, stderr, low, high, in every row the regime, and note, the sentence
        of a row "note".

    Raises
    ------
    BadTable
        For missing columns or arrays and for what ``estimate_spectrum`` refuses.
    ImportError
        For the kernel of an Experiment without torch.

    Examples
    --------
    >>> import kleiber, numpy
    >>> k = numpy.arange(1, 401)
    >>> table = {"eigenvalue": k**-1.5, "power": k**-1.75}
    >>> made = kleiber.reduce.find("spectrum")(table)
    >>> made["name"][0], round(made["value"][0], 2)
    ('capacity', 1.5)
    """
    if kind is not None:
        check_choice("kind", kind, MATRICES, error=BadTable)
    samples = check_whole("samples", samples, 1, error=BadTable)
    given = _read(table, eigenvalue, power, target, targets, kind, samples)
    found = estimate_spectrum(
        given.matrix, given.targets, kind=given.kind, rule=rule, window=window, modes=modes,
        width=width, dimension=dimension, noise=noise, draws=draws, level=level, seed=seed,
    )  # fmt: skip
    return _rows(found, given.notes)


def _read(
    table: Any,
    eigenvalue: str,
    power: str,
    target: str | Sequence[str] | None,
    targets: Any,
    kind: str | None,
    samples: int,
) -> Given:
    """Return the matrix or the eigenvalues of whatever was given, with the targets."""
    if isinstance(table, str | os.PathLike):
        table = read_source(table)
    if isinstance(table, Experiment):
        return kernel_of(table, samples)
    if isinstance(table, np.ndarray) or holds_matrix(table) or targets is not None:
        if target is not None:
            raise BadTable(
                "Columns of a table are named by target; beside arrays it is targets, the array."
            )
        return take_arrays(table, targets, kind)
    frame = as_frame(table)
    check_column("eigenvalue", eigenvalue)
    check_column("power", power)
    if target is None:
        require(frame, [eigenvalue, power])
        values, wanted = numbers(frame, eigenvalue, positive=True), numbers(frame, power)
        return Given("eigenvalues", values, wanted)
    names = check_columns("target", target)
    require(frame, names)
    if not names:
        raise BadTable(f"The target is a column or several, got {shown(target)}.")
    others = [name for name in frame.columns if name not in names]
    if not others:
        raise BadTable("Beside the target's columns the table needs columns of features.")
    values = np.stack([numbers(frame, name) for name in others], axis=1)
    return Given("features", values, np.stack([numbers(frame, name) for name in names], axis=1))


def _rows(found: Spectrum, notes: Sequence[str]) -> pl.DataFrame:
    """Return the estimates, and then the notes, as rows."""
    rows = [
        (name, item.value, item.stderr, item.low, item.high, found.regime, None)
        for name, item in found.estimates.items()
    ]
    empty = (None, None, None, None)
    rows += [("note", *empty, found.regime, sentence) for sentence in (*notes, *found.notes)]
    schema = {"name": pl.String, **dict.fromkeys(("value", "stderr", "low", "high"), pl.Float64)}
    schema |= {"regime": pl.String, "note": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
