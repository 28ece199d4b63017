"""Parts of the CIFAR-10H proxy against what can be counted by hand."""

from __future__ import annotations

import itertools
import json
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from kleiber.cli import app
from kleiber.errors import BadTable
from kleiber.systems.hard_tail.heads import (
    average_heads,
    class_features,
    draw_labels,
    estimate_failure,
    items_variance,
    standardised,
    train_heads,
    window_exponents,
)
from kleiber.systems.hard_tail.heads_table import heads


def test_failure_counts_the_draws_that_miss() -> None:
    counts = np.array([[3, 1, 0], [0, 2, 3]])
    found = estimate_failure(counts, np.array([1, 2, 4]))
    for image, label, (place, k) in itertools.product(range(2), range(3), enumerate((1, 2, 4))):
        n, c = counts[image].sum(), counts[image, label]
        expected = comb(int(n - c), k) / comb(int(n), k)
        assert found[image, label, place] == pytest.approx(expected, abs=1e-14)


def test_failure_is_unbiased() -> None:
    """The mean over every outcome of 6 labels is (1 - p)^k."""
    p, n, k = 0.3, 6, np.array([1, 3, 6])
    outcomes = np.array([[c, n - c] for c in range(n + 1)])
    chance = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    found = np.einsum("c,ck->k", chance, estimate_failure(outcomes, k)[:, 0])
    assert found == pytest.approx((1 - p) ** k, abs=1e-14)


def test_labels_are_drawn_as_people_gave_them() -> None:
    counts = np.tile([[0, 1, 3]], (20_000, 1))
    share = np.bincount(draw_labels(counts, np.random.default_rng(0)), minlength=3) / 20_000
    assert share[0] == 0
    assert abs(share[1] - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 20_000)


def test_features() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(10), 50)
    probabilities[0] = np.eye(10)[3]  # zeros too
    features = class_features(probabilities, products=True)
    assert features.shape == (50, 66)
    assert np.isfinite(features).all()
    assert features[:, 0].tolist() == [1.0] * 50
    assert features[:, 1:].mean(axis=0) == pytest.approx(np.zeros(65), abs=1e-12)
    assert features[:, 1:].std(axis=0) == pytest.approx(np.ones(65))


def made(images: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.full(3, 0.3), images)
    counts = np.array([rng.multinomial(20, p) for p in probabilities])
    return class_features(probabilities), counts


def test_the_long_table() -> None:
    features, counts = made()
    table = train_heads(features, counts, [5, 40], seeds=3, training=40, k=(1, 4, 16))
    assert table.columns == ["seed", "n_data", "k", "failure", "loss", "error", "items_variance"]
    assert len(table) == 3 * 2 * 3
    assert table["failure"].is_between(0, 1).all()
    again = train_heads(features, counts, [40], seeds=1, seed=2, training=40, k=(1, 4, 16))
    kept = table.filter((pl.col("seed") == 2) & (pl.col("n_data") == 40))
    assert kept["failure"].to_list() == again["failure"].to_list()  # a seed is a seed


def test_soft_labels_of_everything_are_the_reference() -> None:
    """Where all people agree, the head taught with all labels is the reference itself."""
    features, counts = made()
    sure = np.eye(3, dtype=np.int64)[counts.argmax(axis=1)] * 20
    table = train_heads(features, sure, [40], seeds=2, training=40, k=(1, 2))
    assert table["loss"].to_list() == pytest.approx([0.0] * 4, abs=1e-20)


def test_window_exponents_are_least_squares_slopes() -> None:
    k = np.array([1, 2, 8, 16])
    failure = np.array([0.5, 0.3, 0.2, 0.15])
    table = pl.DataFrame(
        {"seed": 0, "n_data": 5, "k": k, "failure": failure, "loss": 1.0, "error": 0.5}
    )
    found = window_exponents(table, k=[1, 2, 16])
    used = [0, 1, 3]
    expected = -np.polyfit(np.log(k[used]), np.log(failure[used]), 1)[0]
    assert found["exponent"].item() == pytest.approx(expected)
    mean = average_heads(pl.concat([found, found.with_columns(seed=1)]))
    assert mean["n_seeds"].item() == 2
    assert mean["exponent_stderr"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_data": [41]}, "sizes from 1 to 40"),
        ({"n_data": []}, "sizes from 1 to 40"),
        ({"training": 60}, "from 1 to 59 of 60"),
        ({"k": [1, 21]}, "k must be from 1 to 20"),
        ({"features": np.ones((59, 3))}, "59 rows of features for 60"),
    ],
)
def test_questions_that_cannot_be_answered(change: dict[str, Any], message: str) -> None:
    features, counts = made()
    asked: dict[str, Any] = {"features": features, "n_data": [5], "training": 40, "k": [1, 2]}
    asked |= change
    with pytest.raises(BadTable, match=message):
        train_heads(asked.pop("features"), counts, asked.pop("n_data"), **asked)


def voted(images: int = 200, labels: int = 20) -> dict[str, np.ndarray]:
    """Embeddings of which the first dimension decides between two classes, and votes."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((images, 4))
    votes = rng.binomial(labels, 1 / (1 + np.exp(-2 * x[:, 0])))
    return {"embeddings": x, "counts": np.stack([votes, labels - votes], axis=1)}


def test_heads_on_embeddings_are_trained_heads_with_intervals() -> None:
    arrays, k = voted(), (1, 2, 4, 8)
    found = heads(arrays, n_data=[8, 100], k=k, seeds=6, training=150)
    x = np.hstack([np.ones((200, 1)), standardised(arrays["embeddings"])])
    table = train_heads(x, arrays["counts"], [8, 100], seeds=6, training=150, k=k)
    known = average_heads(window_exponents(table, k))
    for name in ("exponent", "loss", "loss_low", "loss_high", "error"):
        assert np.allclose(found[name], known[name]), name
    seeds = known["exponent_stderr"].to_numpy()
    items = table.filter(pl.col("k") == 1).group_by("n_data", maintain_order=True)
    spread = items.agg(pl.col("items_variance").mean())["items_variance"].to_numpy()
    assert np.allclose(found["stderr"], np.sqrt(seeds**2 + spread))
    assert (found["low"] < found["exponent"]).all()
    assert (found["low"] >= 0).all()
    assert found.select("n_seeds", "n_features", "k_low", "k_high").row(0) == (6, 5, 1, 8)


def test_the_spread_over_items_is_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    k = np.array([1, 2, 4, 8])
    chance = rng.uniform(0.05, 0.9, 2000)
    failed = (1 - chance[:, None]) ** k
    rows = rng.integers(2000, size=(400, 2000))
    log_k = np.log(k) - np.log(k).mean()
    slopes = np.log(failed[rows].mean(axis=1)) @ log_k / (log_k @ log_k)
    assert items_variance(failed, k) == pytest.approx(slopes.var(), rel=0.2)
    assert np.isnan(items_variance(np.zeros((5, 4)), k))


def test_heads_from_files_and_tables(tmp_path: Path) -> None:
    arrays = voted()
    words: dict[str, Any] = {"n_data": [8, 64], "seeds": 3}
    known = heads(arrays, **words)
    np.savez(tmp_path / "both.npz", embeddings=arrays["embeddings"], counts=arrays["counts"])
    np.save(tmp_path / "x.npy", arrays["embeddings"])
    np.save(tmp_path / "c.npy", arrays["counts"])
    frame = pl.DataFrame(arrays["embeddings"], schema=list("wxyz")).with_columns(
        pl.DataFrame(arrays["counts"], schema=["no", "yes"])
    )
    assert heads(frame, counts=["no", "yes"], **words).equals(known)
    assert heads(arrays["embeddings"], counts=arrays["counts"], **words).equals(known)
    end = ["--n-data", "8,64", "--seeds", "3", "--json"]
    for start in (["both.npz"], ["x.npy", "--counts", str(tmp_path / "c.npy")]):
        line = ["reduce", "heads", str(tmp_path / start[0]), *start[1:], *end]
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == known.to_dicts()


def test_an_exponent_without_failures_is_missing() -> None:
    arrays = voted()
    sure = np.eye(2, dtype=int)[(arrays["embeddings"][:, 0] > 0).astype(int)] * 20
    easy = {"embeddings": np.sign(arrays["embeddings"][:, :1]), "counts": sure}
    found = heads(easy, n_data=[100], seeds=2)
    assert found["exponent"].to_list() == [None]
    assert found["error"].to_list() == [0.0]


GOOD = voted(40)
BARE = np.where(np.arange(40)[:, None] == 7, 0, GOOD["counts"])


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        ({"embedding": GOOD["embeddings"], "counts": GOOD["counts"]}, {}, "Did you mean 'embedd"),
        ({"embeddings": GOOD["embeddings"], "count": GOOD["counts"]}, {}, "no array 'counts'"),
        ({**GOOD, "counts": GOOD["counts"][1:]}, {}, "has 40 rows and counts has 39"),
        ({**GOOD, "counts": GOOD["counts"] / 20}, {}, "shares must be multiplied"),
        ({**GOOD, "counts": -GOOD["counts"]}, {}, "whole numbers from 0"),
        ({**GOOD, "counts": BARE}, {}, "Item 7 of 'counts' has no label"),
        ({**GOOD, "counts": np.minimum(GOOD["counts"], 1)}, {}, "3 values of k or more"),
        ({**GOOD, "counts": GOOD["counts"][:, :1] + 1}, {}, "two or more classes"),
        ({**GOOD, "embeddings": GOOD["embeddings"] * np.nan}, {}, "must hold finite numbers"),
        ({**GOOD, "embeddings": GOOD["embeddings"][:, 0]}, {}, "must have two axes"),
        (GOOD["embeddings"], {}, "Embeddings alone have no labels"),
        (GOOD, {"k": [1, 2, 99]}, "k must be from 1 to 20"),
        (GOOD, {"n_data": [64]}, "sizes from 1 to 32"),
        (GOOD, {"seeds": 1}, "seeds must be a whole number from 2"),
        ({"x": [1.0], "y": [2.0]}, {"counts": ["y"]}, "two or more columns of counts"),
    ],
)
def test_bad_embeddings_are_one_sentence(
    given: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadTable, match=sentence):
        heads(given, **options)
