"""The reduction `heads`: linear heads on a user's own embeddings, taught with human labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float, Int64
from scipy.stats import norm
from scipy.stats import t as student

from kleiber.arguments import (
    check_flag,
    check_level,
    check_memory,
    check_number,
    check_texts,
    check_whole,
    refuse,
)
from kleiber.arrays import check_matrix, check_names, read_arrays
from kleiber.errors import BadTable
from kleiber.systems.hard_tail.heads import WINDOW, standardised, train_heads
from kleiber.table import as_frame, require

FILES = (".npz", ".npy")  # that are read here
ACCEPTED = "heads take the arrays 'embeddings' (a row for each item) and 'counts'"
SHARE = 0.8  # of the items that are for training
ENDS = ("exponent", "stderr", "low", "high")
QUARTILES = (0.25, 0.5, 0.75)
LAST_SEED = 2**62  # a column has room for it and the seeds after it
SMALLEST = 8  # training items
FEWEST = 3  # values of k in a window


def heads(
    table: object,
    *,
    counts: Any = None,
    n_data: Sequence[int] | None = None,
    k: Sequence[int] | None = None,
    training: int | None = None,
    seeds: int = 20,
    ridge: float = 1e-6,
    standardise: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Train linear heads on embeddings with one human label an item; a row for each training size.

    The proxy of Levi 2026 (arXiv:2601.03764, CIFAR-10H): an attempt succeeds where a fresh human
    label is the head's class, failure at k is C(n-c, k)/C(n, k) averaged over test items, and the
    exponent is minus the slope of log failure against log k over the given k. It depends on that
    window, since failure is no power law there.

    Parameters
    ----------
    table
        A mapping with the arrays embeddings (items x dimensions) and counts (items x classes: how
        many people chose each class), the embeddings alone with ``counts``, or the name of an .npz
        or .npy file of these.
    counts
        The counts beside embeddings, an array or an .npy file; or, of a data frame, the names of
        its columns of counts, all others being embeddings.
    n_data
        Sizes of the training set, one human label an item; by default powers of two, and all.
    k
        The window of attempts; by default up to 45, or as many as every item has labels.
    training
        The number of items for training, the others are test items; by default 80%.
    seeds, seed
        The number of splits of the items and draws of labels, and the first of them.
    ridge
        The factor of |w|^2 beside the mean squared error.
    standardise
        Whether the columns of the embeddings are centred and scaled; an intercept is added to them.
    level
        The level of the intervals.

    Returns
    -------
    polars.DataFrame
        n_data; exponent with stderr, low and high, from the spread over seeds and over test items
        (of which seeds share most); loss, the median over seeds of the mean squared distance to the
        head taught with all labels of the training items, with its quartiles loss_low and
        loss_high; error, the share of test items whose most frequent label is missed; n_seeds,
        n_features (with the intercept: near n_data = n_features the loss peaks), k_low and k_high.
        Where no test item fails k attempts the exponent is missing, and ``why`` says so.

    Raises
    ------
    BadTable
        For arrays that are missing, or that do not belong together.

    Examples
    --------
    >>> import kleiber, numpy
    >>> rng = numpy.random.default_rng(0)
    >>> x = rng.standard_normal((200, 3))
    >>> majority = (x[:, 0] > 0) ^ (rng.random(200) < 0.1)
    >>> votes = rng.binomial(20, numpy.where(majority, 0.9, 0.1))
    >>> arrays = {"embeddings": x, "counts": numpy.stack([votes, 20 - votes], axis=1)}
    >>> made = kleiber.reduce.find("heads")(arrays, n_data=[8, 100], seeds=4)
    >>> made["n_data"].to_list(), made["exponent"][1] > made["exponent"][0]
    ([8, 100], True)
    """
    features, votes = _read(table, counts)
    check_flag("standardise", standardise)
    level = check_level(level, error=BadTable)
    seeds = check_whole("seeds", seeds, 2, error=BadTable)
    seed = check_whole("seed", seed, 0, LAST_SEED, error=BadTable)
    ridge = check_number("ridge", ridge, "a number from 0", low=0, error=BadTable)
    first = check_whole("training", _or(training, round(SHARE * len(votes))), 1, error=BadTable)
    sizes = _sizes(n_data, first)
    window = _window(k, votes)
    columns = standardised(features) if standardise else features
    x = np.hstack([np.ones((len(columns), 1)), columns])
    rows = seeds * len(sizes) * len(window)
    check_memory(f"the failures of {rows:,} heads", 8.0 * rows * 6, "ask for fewer seeds")
    found = train_heads(
        x, votes, sizes, seeds=seeds, seed=seed, ridge=ridge, training=first, k=window
    )
    return _summarise(found, window, level).with_columns(
        n_features=pl.lit(x.shape[1]), k_low=pl.lit(min(window)), k_high=pl.lit(max(window))
    )


def _read(
    table: Any, counts: Any
) -> tuple[Float[np.ndarray, "items dims"], Int64[np.ndarray, "items classes"]]:
    """Return the embeddings and the counts of whatever was given."""
    if isinstance(table, str | os.PathLike):
        arrays = read_arrays(cast("Any", table))
        table = (
            next(iter(arrays.values()))
            if str(cast("Any", table)).lower().endswith(".npy")
            else arrays
        )
    if isinstance(table, np.ndarray):
        if counts is None:
            raise BadTable(
                "Embeddings alone have no labels; give counts, a row for each item, in an array or "
                "an .npy file."
            )
        return _check(cast("Any", table), _array(counts))
    if isinstance(table, Mapping) and not _has_columns(cast("Mapping[Any, Any]", table)):
        arrays = cast("Mapping[str, Any]", table)
        check_names(arrays, ["embeddings"], ACCEPTED)
        if counts is None:
            check_names(arrays, ["counts"], ACCEPTED)
            counts = arrays["counts"]
        return _check(arrays["embeddings"], _array(counts))
    frame = as_frame(table)
    names = check_texts("counts", counts if counts is not None else [])
    require(frame, names)
    others = [name for name in frame.columns if name not in names]
    if len(names) < 2 or not others:
        raise BadTable(
            "Of a table, counts names two or more columns of counts, and the others are embeddings."
        )
    return _check(frame.select(others).to_numpy(), frame.select(names).to_numpy())


def _has_columns(table: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a table: it has values, and none of two axes."""
    return all(np.ndim(item) == 1 for item in table.values())


def _array(counts: Any) -> Any:
    """Return counts, read if they are a file."""
    place = counts
    if not isinstance(counts, str | os.PathLike):
        return counts
    arrays = read_arrays(place)
    if len(arrays) != 1:
        raise BadTable(
            f"The counts are the only array of a file, and {str(place)!r} has {len(arrays)}."
        )
    return next(iter(arrays.values()))


def _check(
    embeddings: Any, counts: Any
) -> tuple[Float[np.ndarray, "items dims"], Int64[np.ndarray, "items classes"]]:
    """Check both arrays, and that they have the same items."""
    x = check_matrix("embeddings", embeddings, "two axes, items by dimensions")
    votes = check_matrix("counts", counts, "two axes, items by classes")
    if len(x) != len(votes):
        raise BadTable(
            f"The array 'embeddings' has {len(x):,} rows and counts has {len(votes):,}; both have "
            "one for each item."
        )
    if (votes < 0).any() or (votes % 1 != 0).any() or votes.max() >= 2**53:
        raise BadTable(
            "The array 'counts' holds how many people chose each class, whole numbers from 0; "
            "shares must be multiplied by the number of labels."
        )
    if votes.shape[1] < 2:
        raise BadTable("The array 'counts' needs two or more classes, got one.")
    if (bare := votes.sum(axis=1) < 1).any():
        raise BadTable(f"Item {int(np.argmax(bare))} of 'counts' has no label at all.")
    return np.ascontiguousarray(x), np.ascontiguousarray(votes.astype(np.int64))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _sizes(n_data: Any, training: int) -> list[int]:
    """Return the sizes of the training sets, by default powers of two and the largest."""
    if n_data is None:
        powers = [2**j for j in range(3, 60) if 2**j < training]
        return [*powers, training] if training >= SMALLEST else [training]
    return [check_whole("n_data", value, 1, error=BadTable) for value in _listed("n_data", n_data)]


def _window(k: Any, votes: Int64[np.ndarray, "items classes"]) -> list[int]:
    """Return the window of attempts, by default as far as every item has labels."""
    fewest = int(votes.sum(axis=1).min())
    if k is not None:
        window = sorted({check_whole("k", x, 1, error=BadTable) for x in _listed("k", k)})
    else:
        window = [value for value in WINDOW if value <= fewest]
    if len(window) < FEWEST:
        raise BadTable(
            f"An exponent needs {FEWEST} values of k or more, got {len(window)}: the item with the "
            f"fewest labels has {fewest}."
        )
    return window


def _listed(name: str, value: Any) -> list[Any]:
    """Return a list of one or several numbers."""
    if isinstance(value, str | bytes | Mapping):
        raise refuse(name, "a whole number or a list of them", cast("Any", value), BadTable)
    return list(cast("Any", value)) if np.iterable(value) else [value]


def _summarise(found: pl.DataFrame, window: Sequence[int], level: float) -> pl.DataFrame:
    """Average the heads of each size over seeds, with intervals."""
    rows: list[dict[str, Any]] = []
    log_k = np.log(np.array(window, float))
    slope = (log_k - log_k.mean()) / ((log_k - log_k.mean()) ** 2).sum()
    for (size,), part in found.group_by("n_data", maintain_order=True):
        why = f"a head never failed all of {window[-1]} attempts: its failure has no logarithm"
        row: dict[str, Any] = {"n_data": size, **dict.fromkeys(ENDS), "why": why}
        one = part.filter(pl.col("k") == window[0]).sort("seed")
        wide = part.pivot("k", index="seed", values="failure").sort("seed").drop("seed")
        failure = wide.to_numpy().astype(float)
        if (failure > 0).all():
            each = -np.log(failure) @ slope
            items = float(one["items_variance"].to_numpy().mean())
            row |= dict(zip(ENDS, _interval(each, items, level), strict=True)) | {"why": None}
        low, middle, high = (float(np.quantile(one["loss"].to_numpy(), q)) for q in QUARTILES)
        row |= {"loss": middle, "loss_low": low, "loss_high": high}
        rows.append({**row, "error": float(one["error"].to_numpy().mean()), "n_seeds": one.height})
    made = pl.DataFrame(rows, infer_schema_length=None).sort("n_data")
    return made.with_columns(pl.col(*ENDS).cast(pl.Float64), pl.col("why").cast(pl.String))


def _interval(
    values: Float[np.ndarray, "seeds"], items: float, level: float
) -> tuple[float, float, float, float]:
    """Return mean, standard error and interval: Student's over seeds, the normal one over items."""
    seeds = float(values.var(ddof=1)) / len(values)
    tail = (1 + level) / 2
    reach = np.hypot(
        float(student(len(values) - 1).ppf(tail)) * np.sqrt(seeds),
        float(norm.ppf(tail)) * np.sqrt(items),
    )
    centre = float(values.mean())  # failure never rises with k, so that no exponent is negative
    return (
        centre, float(np.sqrt(seeds + items)), max(centre - float(reach), 0.0),
        centre + float(reach),
    )  # fmt: skip
