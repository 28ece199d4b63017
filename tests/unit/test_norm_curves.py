"""The published curves of nine nets and data sets, and what the authors' rule makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kleiber.claim import Context
from kleiber.data.norm_curves import load_norm_curves
from kleiber.errors import BadTable
from kleiber.systems.implicit_bias.claims.published import (
    DECAY,
    NINE,
    NORMS,
    fitted,
    most,
    product,
)


@pytest.fixture(autouse=True)
def shared(data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLEIBER_DATA", str(data_path("norms/public").parents[1]))


@pytest.mark.parametrize("name", NINE)
def test_the_published_exponents_come_out(name: str) -> None:
    """By the authors' rule and windows, gamma_1 and gamma_2 to the digits that they store."""
    (item,) = load_norm_curves(name)
    found = fitted(Context(0, "quick"), name, "authors").estimates
    assert found["gamma_1"].value == pytest.approx(item.fitted["gamma_1"], rel=1e-3)
    assert found["gamma_2"].value == pytest.approx(item.fitted["gamma_2"], rel=1e-3)


@pytest.mark.parametrize(("names", "sets"), [(DECAY, 3), (NORMS, 4)])
def test_files_of_several_sets(names: tuple[str, ...], sets: int) -> None:
    for name in names:
        items = load_norm_curves(name)
        assert len(items) == sets
        for item in items:
            assert np.isfinite(item.curves["error"].to_numpy()).all()
            value, error = product(item)
            assert 0 < error < 2 * value


def test_other_names_are_refused() -> None:
    with pytest.raises(BadTable, match="known are CNN_CIFAR10"):
        load_norm_curves("CNN_SVHN")


def test_most_is_a_quantile() -> None:
    draws = np.random.default_rng(0).standard_normal((20_000, 9))
    assert np.mean(np.mean(draws**2, axis=1) > most(9)) == pytest.approx(0.05, abs=0.006)
