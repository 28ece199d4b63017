"""A linear head on frozen features, trained with one human label per image: the CIFAR-10H proxy.

Levi 2026 (arXiv 2601.03764, section on CIFAR-10H) uses the disagreement of people as the noise of
his model. One attempt succeeds when a fresh human label equals the head's class. If c_i of
n_i people chose that class for image i, the unbiased estimate of the probability that k attempts
all fail is C(n_i - c_i, k)/C(n_i, k), averaged over test images.

    symbol  meaning
    N       n_data, number of training images, one label each, nested in N
    loss    mean over test images of |f_N(x) - f*(x)|^2 summed over classes; f* is the head fitted
            to the shares of all human labels of every training image
    beta    exponent: minus the least-squares slope of log failure against log k over ``WINDOW``

The exponent is the slope of a window, not a power law: an image with no vote for the head's class
never succeeds, so that failure flattens as k grows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int64
from scipy.special import gammaln

from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.systems.hard_tail.ridge import solve_ridge

WINDOW = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45)  # nearly even in log k; every image has 47 labels
TRAINING = 8000  # training images; the others are test images
TINY = 1e-12  # smallest probability; smaller ones are set to it


def class_features(
    probabilities: Float[np.ndarray, "images classes"], *, products: bool = False
) -> Float[np.ndarray, "images dims"]:
    """Return an intercept and the standardised centred log-softmax, with ``products`` its pairs.

    Dimensions: 1 + classes, and 1 + classes + classes (classes + 1)/2 with products.
    """
    logs = np.log(np.maximum(probabilities, TINY))
    first = standardised(logs - logs.mean(axis=1, keepdims=True))
    parts = [np.ones((len(first), 1)), first]
    if products:
        rows, columns = np.triu_indices(first.shape[1])
        parts.append(standardised(first[:, rows] * first[:, columns]))
    return np.hstack(parts)


def standardised(columns: Float[np.ndarray, "images dims"]) -> Float[np.ndarray, "images dims"]:
    """Return columns of mean 0 and, unless they are constant, of standard deviation 1."""
    spread = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def train_heads(
    features: Float[np.ndarray, "rows dims"],
    counts: Int64[np.ndarray, "images classes"],
    n_data: Sequence[int],
    *,
    seeds: int = 20,
    seed: int = 0,
    ridge: float = 1e-6,
    training: int = TRAINING,
    k: Sequence[int] = WINDOW,
) -> pl.DataFrame:
    """Train heads with ``n_data`` images each; one row for each seed, n_data and k.

    Columns seed, n_data, k, failure, loss, error (the share of test images whose most frequent
    human label is missed) and items_variance, the variance of the exponent over the given k that
    other test images would give it. Each seed shuffles the images, uses the first ``training`` for
    training, and draws one human label for each. The head minimises the mean squared error against
    one-hot labels plus ``ridge`` |w|^2.

    Raises BadTable where the arrays do not belong together, n_data exceeds ``training``, or a test
    image has fewer labels than the largest k.
    """
    sizes, attempts = _check(features, counts, n_data, training, k)
    rows: list[pl.DataFrame] = []
    for each in range(seed, seed + seeds):
        rng = stream(each, "linear head on human labels")
        order = rng.permutation(len(counts))
        trained, held_out = order[:training], order[training:]
        labels = draw_labels(counts[trained], rng)
        shares = counts[trained] / counts[trained].sum(axis=1, keepdims=True)
        x, y = features[trained], np.eye(counts.shape[1])[labels]
        targets = features[held_out] @ solve_ridge(x, shares, ridge)
        failures = estimate_failure(counts[held_out], attempts)
        for size in sizes:
            predictions = features[held_out] @ solve_ridge(x[:size], y[:size], ridge)
            chosen = predictions.argmax(axis=1)
            failed = failures[np.arange(len(held_out)), chosen]
            rows.append(
                pl.DataFrame(
                    {
                        "seed": each,
                        "n_data": size,
                        "k": attempts,
                        "failure": failed.mean(axis=0),
                        "loss": float(((predictions - targets) ** 2).sum(axis=1).mean()),
                        "error": float((chosen != counts[held_out].argmax(axis=1)).mean()),
                        "items_variance": items_variance(failed, attempts),
                    }
                )
            )
    return pl.concat(rows)


def items_variance(
    failed: Float[np.ndarray, "images tries"], k: Int64[np.ndarray, "tries"]
) -> float:
    """Return the variance of the slope of log mean failure on log k over draws of the images, to
    first order; NaN where it is not defined."""
    log_k = np.log(k)
    spread = float(((log_k - log_k.mean()) ** 2).sum())
    mean = failed.mean(axis=0)
    if len(failed) < 2 or spread == 0 or (mean <= 0).any():
        return float("nan")
    each = failed / mean @ (log_k - log_k.mean()) / spread
    return float(each.var(ddof=1) / len(failed))


def draw_labels(
    counts: Int64[np.ndarray, "images classes"], rng: np.random.Generator
) -> Int64[np.ndarray, "images"]:
    """Draw one of the human labels of each image at random."""
    at = rng.random((len(counts), 1)) * counts.sum(axis=1, keepdims=True)
    return (at >= counts.cumsum(axis=1)).sum(axis=1)


def estimate_failure(
    counts: Int64[np.ndarray, "images classes"], k: Int64[np.ndarray, "tries"]
) -> Float[np.ndarray, "images classes tries"]:
    """Estimate the probability that k fresh labels all miss a class: C(n-c, k)/C(n, k),
    unbiased."""
    total = counts.sum(axis=1)[:, None, None]
    missed = total - counts[:, :, None]
    some = missed >= k
    remaining = np.where(some, missed - k, 0)
    parts = (gammaln(item + 1) for item in (missed, remaining, total, total - k))
    log_missed, log_remaining, log_total, log_unused = (
        np.asarray(part, dtype=float) for part in parts
    )
    return np.where(
        some,
        np.exp(np.minimum(log_missed - log_remaining - log_total + log_unused, 0.0)),
        0.0,
    )


def window_exponents(table: pl.DataFrame, k: Sequence[int] = WINDOW) -> pl.DataFrame:
    """Return a row per head with seed, n_data, exponent over the window of ``k``, loss and
    error."""
    inside = table.filter(pl.col("k").is_in(list(k)))
    log_k, log_failure = pl.col("k").log(), pl.col("failure").log()
    slope = pl.cov(log_k, log_failure, ddof=0) / log_k.var(ddof=0)
    return inside.group_by("seed", "n_data", maintain_order=True).agg(
        (-slope).alias("exponent"), pl.col("loss").first(), pl.col("error").first()
    )


def average_heads(exponents: pl.DataFrame) -> pl.DataFrame:
    """Average over seeds: the mean exponent, its standard error and the median loss by n_data.

    The loss is heavy-tailed over seeds near the interpolation peak, hence its median, with
    ``loss_low`` and ``loss_high``, its quartiles over seeds.
    """
    loss = pl.col("loss")
    return (
        exponents.group_by("n_data")
        .agg(
            pl.col("exponent").mean(),
            (pl.col("exponent").std() / pl.len().sqrt()).alias("exponent_stderr"),
            loss.median(),
            loss.quantile(0.25, "linear").alias("loss_low"),
            loss.quantile(0.75, "linear").alias("loss_high"),
            pl.col("error").mean(),
            pl.len().alias("n_seeds"),
        )
        .sort("n_data")
    )


def _check(
    features: Float[np.ndarray, "rows dims"],
    counts: Int64[np.ndarray, "images classes"],
    n_data: Sequence[int],
    training: int,
    k: Sequence[int],
) -> tuple[list[int], Int64[np.ndarray, "tries"]]:
    """Return sizes and attempts after checking all arguments. Raises BadTable."""
    if len(features) != len(counts):
        raise BadTable(f"There are {len(features)} rows of features for {len(counts)} images.")
    if not 1 <= training < len(counts):
        raise BadTable(
            f"The training images must be from 1 to {len(counts) - 1} of {len(counts)}, so that "
            "some are "
            f"left for testing, got {training}."
        )
    wrong = [size for size in n_data if not 1 <= size <= training]
    if wrong or not len(n_data):
        raise BadTable(f"The n_data must be sizes from 1 to {training}, got {list(n_data)}.")
    fewest = int(counts.sum(axis=1).min())
    if not len(k) or min(k) < 1 or max(k) > fewest:
        raise BadTable(
            f"The k must be from 1 to {fewest}, the smallest number of labels of an image, got "
            f"{list(k)}."
        )
    return [int(size) for size in n_data], np.array(k, dtype=np.int64)
