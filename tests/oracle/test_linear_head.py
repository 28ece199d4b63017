"""The CIFAR-10H proxy against section 4.1 of the notes on the hard tail, within seed error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber.data.cifar10h import HumanLabels, load_cifar10h
from kleiber.systems.hard_tail.heads import (
    WINDOW,
    average_heads,
    class_features,
    estimate_failure,
    train_heads,
    window_exponents,
)

SIZES = (8, 16, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 8000)
QUICK = (8, 48, 128, 1024)
# dims: exponent and loss at each size
TABLE = {
    11: (
        (0.057, 0.094, 0.185, 0.218, 0.230, 0.244, 0.246, 0.246, 0.251, 0.249, 0.249, 0.250),
        (1.28, 0.790, 0.150, 0.057, 0.035, 0.022, 0.017, 0.0080, 0.0039, 0.0017, 0.0009, 0.0001),
    ),
    66: (
        (0.073, 0.117, 0.128, 0.071, 0.081, 0.156, 0.189, 0.232, 0.245, 0.251, 0.256, 0.254),
        (0.514, 0.386, 0.577, 1.74, 1.78, 0.300, 0.146, 0.055, 0.025, 0.012, 0.0053, 0.0006),
    ),
}


@pytest.fixture(scope="module")
def humans(data_path: Callable[[str], Path]) -> HumanLabels:
    folder = data_path("cifar10h-counts.npy").parent
    data_path("cifar10-test-pyx.npy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KLEIBER_DATA", str(folder))
        return load_cifar10h()


def heads(humans: HumanLabels, dims: int, sizes: tuple[int, ...]) -> pl.DataFrame:
    features = class_features(humans.probabilities, products=dims == 66)
    assert features.shape == (10_000, dims)
    return window_exponents(train_heads(features, humans.counts, sizes))


def hold_to_table(humans: HumanLabels, dims: int, sizes: tuple[int, ...]) -> None:
    """Both sides are of 20 seeds: within 3 of their joint standard error, and of what is printed.

    The loss is compared by the logarithm of its median, whose error comes from the quartiles.
    """
    mean = average_heads(heads(humans, dims, sizes))
    for row in mean.iter_rows(named=True):
        place = SIZES.index(row["n_data"])
        exponent, loss = (column[place] for column in TABLE[dims])
        assert abs(row["exponent"] - exponent) < 3 * np.sqrt(2) * row["exponent_stderr"] + 5e-4
        spread = np.log(row["loss_high"] / row["loss_low"]) / 1.349
        error = 1.2533 * spread / np.sqrt(row["n_seeds"])
        printed = 0.5 * 10 ** np.floor(np.log10(loss)) / loss if loss < 0.001 else 0.02
        assert abs(np.log(row["loss"] / loss)) < 3 * np.sqrt(2) * error + printed


@pytest.mark.parametrize("dims", [11, 66])
def test_the_table_in_short(humans: HumanLabels, dims: int) -> None:
    hold_to_table(humans, dims, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [11, 66])
def test_the_table(humans: HumanLabels, dims: int) -> None:
    hold_to_table(humans, dims, SIZES)


def test_what_holds_and_what_does_not(humans: HumanLabels) -> None:
    small, large = (average_heads(heads(humans, dims, SIZES)) for dims in (11, 66))
    rise = dict(small.select("n_data", "exponent").iter_rows())
    error = dict(small.select("n_data", "exponent_stderr").iter_rows())
    # the exponent rises with N and saturates between 0.24 and 0.26 in this window
    assert rise[8] + 5 * error[8] < rise[32] < rise[128]
    assert abs(rise[8000] - rise[512]) < 3 * np.hypot(error[8000], error[512])
    assert 0.24 < rise[8000] < 0.26
    # it dips at the interpolation peak, where the loss is largest
    dip = large.filter(pl.col("n_data") == 48).row(0, named=True)
    for side in (16, 96):
        other = large.filter(pl.col("n_data") == side).row(0, named=True)
        gap = other["exponent"] - dip["exponent"]
        assert gap > 3 * np.hypot(other["exponent_stderr"], dip["exponent_stderr"])
        assert other["loss"] < dip["loss"]
    # it falls with the loss within a head, but is no function of it: equal losses, other exponents
    ranks = (pl.corr("exponent", "loss", method="spearman"),)
    assert small.select(ranks).item() < -0.95
    equal = average_heads(heads(humans, 66, (8, 80)))
    assert abs(np.log(equal["loss"][0] / equal["loss"][1])) < 0.4
    gap = equal["exponent"][1] - equal["exponent"][0]
    assert gap > 3 * np.hypot(*equal["exponent_stderr"])


def test_the_curve_bends(humans: HumanLabels) -> None:
    """Section 4.1: the network's own classes, all images; slopes of three windows differ."""
    failure = estimate_failure(humans.counts, np.array(WINDOW))
    own = failure[np.arange(10_000), humans.probabilities.argmax(axis=1)].mean(axis=0)
    known = {1: 0.1033, 2: 0.0700, 4: 0.0591, 8: 0.0520, 16: 0.0452, 45: 0.0341}
    for k, value in known.items():
        assert own[WINDOW.index(k)] == pytest.approx(value, abs=5e-5)

    def slope(low: int, high: int) -> float:
        inside = [j for j, k in enumerate(WINDOW) if low <= k <= high]
        return -np.polyfit(np.log([WINDOW[j] for j in inside]), np.log(own[inside]), 1)[0]

    slopes = [slope(1, 45), slope(2, 45), slope(1, 16)]
    assert slopes == pytest.approx([0.254, 0.219, 0.272], abs=1e-3)
    never = humans.counts[np.arange(10_000), humans.probabilities.argmax(axis=1)] == 0
    assert never.mean() == pytest.approx(0.033, abs=5e-4)
