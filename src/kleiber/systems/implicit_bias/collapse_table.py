"""The reduction `collapse`: the two laws of learning curves as a table, one row per quantity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from kleiber.arguments import check_flag, check_path
from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.systems.implicit_bias.collapse import measure_collapse, rescale_curves
from kleiber.systems.implicit_bias.collapse_curves import LABELS
from kleiber.systems.implicit_bias.collapse_record import Collapse
from kleiber.table import as_frame, read_table

NUMBERS = ("value", "stderr", "low", "high")
RULE_NOTES = {
    "robust": "robust, kleiber's own (authors is the protocol of D'Amico et al. 2025)",
    "authors": "authors, the protocol of D'Amico et al. 2025 (robust is kleiber's own)",
}


def collapse(
    table: object,
    *,
    rule: str = "robust",
    window: Sequence[float] | None = None,
    min_data: float | None = None,
    optima: str | None = None,
    curves: bool = False,
    seed: int = 0,
) -> pl.DataFrame:
    """Measure the two laws of learning curves of each model and data set in a table.

    Parameters
    ----------
    table
        As for ``kleiber.reduce.dynamical_exponents``, with columns model and dataset where there
        are several.
    rule
        ``"robust"``, ours, or ``"authors"``, the paper's protocol, whose intervals miss the truth
        of simulated curves.
    window, min_data, seed
        As for ``dynamical_exponents``.
    optima
        The file of a table of optima, for the rule ``"authors"``.
    curves
        Whether the result is the rescaled curves instead.

    Returns
    -------
    polars.DataFrame
        The columns model and dataset (where the table has them), n_data (of quantities that have
        one), quantity, value, stderr, low, high, and note: the rule, the sentence of a row "flag",
        the other window or n_data of a row "gamma_1_varied". With ``curves``: n_data, norm, error,
        x = norm/norm_opt and y = error/error_opt.

    Raises
    ------
    BadTable
        As for ``dynamical_exponents``, and for ``optima`` with the rule ``"robust"``.

    Examples
    --------
    >>> import kleiber
    >>> points = [(d, 0.02 * 1.2**j) for d in (100, 200, 400, 800) for j in range(36)]
    >>> runs = {"n_data": [d for d, _ in points], "norm": [x * d**0.6 for d, x in points]}
    >>> runs["error"] = [d**-0.24 * (x**-0.4 + 0.5 * x**0.3) for d, x in points]
    >>> made = kleiber.reduce.find("collapse")(runs, curves=True)
    >>> made.columns
    ['n_data', 'norm', 'error', 'x', 'y']
    """
    if optima is not None and rule == "robust":
        raise BadTable(
            "The optima replace norm_opt by the rule 'authors' only; the rule 'robust' takes it "
            "from the curves. Give the rule 'authors' with optima, or leave optima out."
        )
    check_flag("curves", curves)
    if optima is not None:
        check_path("optima", optima, "the path of a file or None")
    frame = as_frame(table)
    known = None if optima is None else read_table(optima)
    keys = [name for name in LABELS if name in frame.columns]
    parts = frame.partition_by(keys, maintain_order=True) if keys else [frame]
    made: list[pl.DataFrame] = []
    for part in parts:
        found = measure_collapse(part, known, rule, window, min_data, seed=seed)
        rows = rescale_curves(found) if curves else as_rows(found)
        made.append(part.select(keys).head(1).join(rows, how="cross") if keys else rows)
    return pl.concat(made)


def as_rows(found: Collapse) -> pl.DataFrame:
    """Return the record in long form."""
    rows: list[tuple[float | None, str, Estimate, str | None]] = [
        (None, name, item, None) for name, item in found.estimates.items()
    ]
    rows += [(None, "rule", _without_error(math.nan), RULE_NOTES[found.rule])]
    low, high = (end / math.log(10) for end in found.window.logs)
    single = {
        "sigma": found.sigma,
        "log10_window_low": low,
        "log10_window_high": high,
        "window_decades": found.decades,
        "log10_k1": found.log_k1 / math.log(10),
        "log10_k2": found.log_k2 / math.log(10),
        "overlap": found.overlap,
        "quality": found.quality,
    }
    rows += [(None, "drift", found.drift, None)]
    rows += [(None, name, _without_error(value), None) for name, value in single.items()]
    rows += [(None, "window", _without_error(math.nan), found.window.source)]
    rows += [
        (None, f"{name}_varied", _without_error(value), variant)
        for variant, four in found.sensitivity.items()
        for name, value in four.items()
    ]
    each = {
        "log10_norm_opt": found.log_norm_opt / math.log(10),
        "error_opt": np.exp(found.log_error_opt),
        "log10_norm_elbow": found.log_elbow / math.log(10),
    }
    for name, values in each.items():
        rows += [
            (float(size), name, _without_error(float(value)), None)
            for size, value in zip(found.curves.n_data, values, strict=True)
        ]
    rows += [(None, "flag", _without_error(math.nan), sentence) for sentence in found.flags]
    return _frame(rows)


def _without_error(value: float) -> Estimate:
    return Estimate(value, math.nan, math.nan, math.nan)


def _frame(rows: list[tuple[float | None, str, Estimate, str | None]]) -> pl.DataFrame:
    kinds = {"n_data": pl.Float64, "quantity": pl.String}
    kinds |= dict.fromkeys(NUMBERS, pl.Float64) | {"note": pl.String}
    flat = [
        (size, name, *(_or_none(getattr(item, part)) for part in NUMBERS), note)
        for size, name, item, note in rows
    ]
    return pl.DataFrame(flat, schema=kinds, orient="row")


def _or_none(value: float) -> float | None:
    """Return the number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None
