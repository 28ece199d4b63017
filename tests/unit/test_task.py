"""Tasks: exact targets, nested subsets, and streams that know nothing of stacks or restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kleiber.errors import BadExperiment
from kleiber.experiment import Experiment, read_experiment
from kleiber.networks.task import make_data, make_feed

MLP = {"kind": "mlp", "width": 4}


def spec(batch: int | None = 16, net: dict[str, Any] = MLP, **task: Any) -> Experiment:
    return read_experiment({"task": task, "net": net, "batch": batch, "steps": 10})


def test_a_formula_is_learnt_on_its_box_and_tested_on_a_dense_grid() -> None:
    data = make_data(spec(kind="formula", formula="x**2+y**2", low=-1, high=3, n_data=100))
    assert data.train is not None
    for x, y in (data.train, data.test):
        assert x.min() >= -1
        assert x.max() <= 3
        assert y[:, 0] == pytest.approx((x**2).sum(1))
    assert len(data.test[0]) == 64**2
    assert data.shape == (2,)


def test_a_grid_has_the_midpoints() -> None:
    data = make_data(spec(None, kind="formula", n_data=64, sampling="grid"))
    assert data.train is not None
    x, y = data.train
    assert x[:, 0] == pytest.approx(-2 + 4 * (np.arange(64) + 0.5) / 64)
    assert np.array_equal(y, x**2)
    fine = make_data(spec(None, kind="formula", n_data=640, sampling="grid")).test[1]
    assert np.var(fine) == pytest.approx(16 / 5 - 16 / 9, rel=1e-5)  # the loss of a constant


def test_noise_is_on_training_targets_only() -> None:
    data = make_data(spec(kind="formula", n_data=4000, noise=0.1))
    assert data.train is not None
    (x, y), (test, exact) = data.train, data.test
    assert np.std(y - x**2) == pytest.approx(0.1, rel=0.05)
    assert np.array_equal(exact, test**2)


def test_a_formula_that_is_not_finite_is_refused() -> None:
    with pytest.raises(BadExperiment, match="not finite everywhere from -2 to 2"):
        make_data(spec(kind="formula", formula="log(x)", n_data=8, batch=None))


@pytest.mark.parametrize("kind", ["formula", "teacher", "circle", "images"])
def test_training_subsets_are_nested(kind: str) -> None:
    few, many = (make_data(spec(kind=kind, n_data=n)).train for n in (20, 50))
    other = make_data(spec(kind=kind, n_data=50, data_seed=1)).train
    assert few is not None
    assert many is not None
    assert other is not None
    for a, b, c in zip(few, many, other, strict=True):
        assert np.array_equal(a, b[:20])
        assert not np.array_equal(b, c)


def test_a_circle_has_its_fourier_coefficients() -> None:
    data = make_data(spec(kind="circle", decay=1.5, modes=40, points=256))
    x, y = data.test
    angles = np.arctan2(x[:, 1], x[:, 0])
    modes = np.arange(1, 41)
    direct = (modes**-1.5 * np.cos(modes * angles[:, None])).sum(1)
    assert y[:, 0] == pytest.approx(direct, abs=1e-12)
    assert (x**2).sum(1) == pytest.approx(2)
    some = make_data(spec(kind="circle", decay=1.5, modes=40, points=256, n_test=16)).test
    assert some[1] == pytest.approx(y[::16])


def test_a_teacher_is_centred_and_of_unit_variance() -> None:
    x, y = make_data(spec(kind="teacher", inputs=5, n_test=20000)).test
    assert x.shape == (20000, 5)
    assert np.mean(y) == pytest.approx(0, abs=0.03)
    assert np.std(y) == pytest.approx(1, rel=0.03)
    other = make_data(spec(kind="teacher", inputs=5, n_test=20000, teacher_seed=1)).test[1]
    assert not np.allclose(y, other)


def test_images_are_scaled_and_test_images_never_augmented() -> None:
    data = make_data(spec(kind="images", shift=2, flip=True, n_test=100))
    assert data.train is not None
    x = data.prepare(data.train[0])
    assert x.dtype == np.float32
    assert np.mean(x) == pytest.approx(0, abs=0.02)
    assert np.std(x) == pytest.approx(1, abs=0.02)
    plain = make_data(spec(kind="images", n_test=100))
    assert np.array_equal(data.test[0], plain.test[0])
    assert plain.augment is None
    assert data.augment is not None
    images = data.test[0][:50]
    moved = data.augment(np.random.default_rng(0), images)
    assert moved.shape == images.shape
    assert not np.array_equal(moved, images)
    sums = (moved.sum((1, 2, 3), dtype=int), images.sum((1, 2, 3), dtype=int))
    assert (sums[0] <= sums[1]).all()  # black comes in, ink only goes out
    still = make_data(spec(kind="images", flip=True)).augment
    assert still is not None
    flipped = still(np.random.default_rng(0), images)
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 10 < mirrored.sum() < 40


def test_one_hot_targets_for_squares() -> None:
    y = make_data(spec(kind="images", loss="mse")).test[1]
    assert y.shape == (500, 10)
    assert np.array_equal(y.sum(1), np.ones(500))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"n_data": 5000}, "1297 training images, not 5000"), ({"n_test": 900}, "500 test images")],
)
def test_more_images_than_there_are(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadExperiment, match=sentence):
        make_data(spec(kind="images", **change))


FEEDS: dict[str, dict[str, Any]] = {
    "shuffled": {"kind": "formula", "n_data": 50},
    "fresh": {"kind": "formula"},
    "augmented": {"kind": "images", "n_data": 50, "shift": 1},
}


@pytest.mark.parametrize("name", FEEDS)
def test_a_stream_depends_on_seed_and_step_alone(name: str) -> None:
    data = make_data(spec(**FEEDS[name]))
    together = make_feed(data, (3, 7, 9), 16).take(0, 12)
    alone = make_feed(data, (7,), 16)
    parts = [alone.take(first, steps) for first, steps in ((0, 5), (5, 1), (6, 6))]
    for side in (0, 1):
        joined = np.concatenate([part[side] for part in parts], axis=1)
        assert np.array_equal(together[side][1:2], joined)
    assert not np.array_equal(together[0][0], together[0][1])


def test_every_example_is_seen_once_an_epoch() -> None:
    data = make_data(spec(kind="formula", n_data=48))
    assert data.train is not None
    x, _ = make_feed(data, (0,), 16).take(3, 3)
    assert np.array_equal(np.sort(x[0, :, 0]), np.sort(data.train[0][:, 0]))
    again, _ = make_feed(data, (0,), 16).take(0, 3)
    assert not np.array_equal(x, again)


def test_fresh_examples_never_come_again() -> None:
    x, _ = make_feed(make_data(spec(kind="formula")), (0,), 16).take(0, 1000)
    assert len(np.unique(x)) == 16000


def test_a_full_batch_is_shared() -> None:
    feed = make_feed(make_data(spec(None, kind="formula", n_data=8)), (0, 1, 2), None)
    assert feed.take(5, 3)[0].shape == (1, 8, 1)
