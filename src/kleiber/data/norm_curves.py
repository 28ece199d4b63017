"""The learning curves that D'Amico et al. publish: test error against a norm of the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from kleiber.data.curves import read_curves
from kleiber.data.fetch import fetch
from kleiber.errors import BadTable

DATA = "norm_curves"


@dataclass(frozen=True)
class Published:
    """Curves and optima of one net on one data set, and the exponents that the authors fitted.

    ``curves`` has model, dataset, n_data, norm, error, n_seeds; ``optima`` n_data, error_opt and
    the norms there.
    """

    curves: pl.DataFrame
    optima: pl.DataFrame
    fitted: dict[str, float] = field(default_factory=dict[str, float])


def load_norm_curves(name: str) -> tuple[Published, ...]:
    """Load one published file, such as "CNN_MNIST" or "ViT_CIFAR10_wd": one set of curves, or
    one for each weight decay or norm.

    Raises BadTable for another name or a file of another kind, FileNotFoundError where it cannot be
    had.
    """
    paths = fetch(DATA)
    if name not in paths:
        raise BadTable(f"There are no curves named {name!r}; known are {', '.join(paths)}.")
    held = read_curves(paths[name])
    try:
        errors = np.asarray(held["mean_val_error_arr"], dtype=float)
        sets = errors[None] if errors.ndim == 2 else errors
        return tuple(_take(name, held, part, k, len(sets)) for k, part in enumerate(sets))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadTable(f"{paths[name]} holds other curves than those published.") from error


def _take(name: str, held: dict[str, Any], errors: np.ndarray, k: int, sets: int) -> Published:
    sizes = np.asarray(held["P_arr"], dtype=float)
    norms = np.asarray(held["log_x_grid"], dtype=float)  # a grid of even logs, of the norm itself
    model, dataset = name.removesuffix("_long").split("_")[:2]
    rows, columns = np.nonzero(np.isfinite(errors))
    curves = pl.DataFrame(
        {"n_data": sizes[rows], "norm": norms[columns], "error": errors[rows, columns]}
    ).with_columns(
        model=pl.lit(model), dataset=pl.lit(dataset), n_seeds=pl.lit(len(held["seed_arr"]))
    )
    known = {
        "error_opt": _one(held["eps_lam_star_P_arr"], k),
        "norm_opt_mean_over_seeds": _one(held["l_0_arr"], k),
        "norm_opt_of_mean_curve": _one(held.get("lambda_star_arr", held["l_0_arr"]), k),
    }
    whole = {n: v for n, v in known.items() if v.shape == sizes.shape}
    fitted: dict[str, float] = {}
    for exponent in ("gamma_1", "err_gamma_1", "gamma_2", "err_gamma_2"):
        values = held.get(f"{exponent}_arr", held.get(exponent))
        if values is not None:
            fitted[exponent] = float(
                np.ravel(np.asarray(values, dtype=float))[k if sets > 1 else 0]
            )
    return Published(curves, pl.DataFrame({"n_data": sizes} | whole), fitted)


def _one(values: Any, k: int) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return array if array.ndim < 2 else array[k]
