"""The sweeps of the implicit-bias claims: grids, scaled images, CIFAR-100 with made data."""

from __future__ import annotations

import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from kleiber.claim import Context
from kleiber.data.images import load_images
from kleiber.experiment import Experiment, ImageTask
from kleiber.experiment.counts import measure_net, task_outputs, task_shape
from kleiber.networks.task import average_pixels, make_data
from kleiber.systems.implicit_bias.claims import sweep as implicit_bias_sweep
from kleiber.systems.implicit_bias.claims.sweep import (
    Case,
    cases,
    epoch_marks,
    experiments,
    full,
    laptop,
    learning_curves,
    quick,
)

WEIGHTS = {  # parameters of the nets at full scale
    "CNN MNIST": 12_943_370,
    "ResNet CIFAR10": 11_173_962,
    "ResNet CIFAR100": 21_328_292,
}


def size_of(spec: Experiment) -> int:
    return measure_net(spec.net, task_shape(spec.task), task_outputs(spec.task)).n_params


def test_full_scale_is_that_of_the_paper() -> None:
    by_name = {case.name: case for case in full()}
    assert len(by_name) == 9
    for name, wanted in WEIGHTS.items():
        assert size_of(experiments(replace(by_name[name], seeds=1), 0)[0]) == wanted, name
    assert by_name["CNN MNIST"].sizes[-1] == 48000
    assert sum(len(case.sizes) * case.seeds for case in by_name.values()) > 1500
    first = experiments(by_name["ResNet MNIST"], 0)[0]
    assert (first.batch, first.optimiser.weight_decay) == (89, 0.0)


def test_laptop_scale_is_scaled_down() -> None:
    for small in laptop():
        large = next(case for case in full() if case.name == small.name)
        spec, whole = (experiments(replace(case, seeds=1), 0)[-1] for case in (small, large))
        assert (spec.net.kind, spec.optimiser) == (whole.net.kind, whole.optimiser)
        assert size_of(spec) * 8 < size_of(whole)
        assert isinstance(spec.task, ImageTask)
        assert spec.task.n_data == 6000
        assert spec.checkpoints[-1] == spec.steps  # pyright: ignore
    keys = [spec.key() for case in laptop() for spec in experiments(case, 0)]
    assert len(set(keys)) == len(keys) == 72
    with pytest.raises(KeyError):
        cases("large")


def test_epochs_are_log_spaced() -> None:
    marks = epoch_marks(12800, 128, 500, 50)
    assert (marks[0], marks[-1]) == (100, 50_000)
    assert all(mark % 100 == 0 for mark in marks)
    assert 30 < len(marks) < 50
    assert epoch_marks(188, 128, 3, 10) == (1, 3, 4)


def test_images_are_averaged_before_anything_else() -> None:
    small = make_data(Experiment(task={"kind": "images", "shrink": 2}, net={"kind": "cnn"}))
    pixels = load_images("digits").test_images[:, 0].astype(float)
    wanted = pixels.reshape(-1, 4, 2, 4, 2).mean((2, 4))
    assert small.shape == (1, 4, 4) == task_shape(ImageTask(shrink=2))
    np.testing.assert_allclose(small.test[0][:, 0], wanted)
    prepared = small.prepare(average_pixels(load_images("digits").train_images, 2))
    assert abs(prepared.mean()) < 1e-5
    assert prepared.std() == pytest.approx(1.0, abs=1e-4)


def write_cifar100(folder: Path, rng: np.random.Generator) -> None:
    """An archive in the format of the published one, with images that show their label."""
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz") as file:
        for name, count in (("train", 300), ("test", 100)):
            labels = rng.integers(100, size=count)
            pixels = rng.integers(0, 40, (count, 3072)) + 2 * labels[:, None]
            held: dict[bytes, Any] = {b"data": pixels.astype(np.uint8)}
            held |= {b"fine_labels": labels.tolist(), b"coarse_labels": (labels // 5).tolist()}
            _add(file, name, held)
        names = [f"class {k}".encode() for k in range(100)]
        _add(file, "meta", {b"fine_label_names": names})


def _add(file: tarfile.TarFile, name: str, content: object) -> None:
    packed = pickle.dumps(content, protocol=2)
    member = tarfile.TarInfo(f"cifar-100-python/{name}")
    member.size = len(packed)
    file.addfile(member, io.BytesIO(packed))


@pytest.mark.parametrize("model", ["CNN", pytest.param("ResNet", marks=pytest.mark.slow), "ViT"])
def test_cifar100_trains_from_data_of_its_format(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar100(tmp_path, np.random.default_rng(0))
    monkeypatch.setenv("KLEIBER_DATA", str(tmp_path))
    whole = next(case for case in full() if case.name == f"{model} CIFAR100")
    small: dict[str, dict[str, Any]] = {
        "CNN": {"channels": [4, 4, 4, 4], "hidden": [8, 8]},
        "ResNet": {"width": 2},
        "ViT": {"width": 16},
    }
    task = {**whole.task, "shrink": 2}
    case = replace(
        whole, net={**whole.net, **small[model]}, task=task, sizes=(100,), epochs=4, seeds=1
    )
    table = learning_curves(Context(keep=tmp_path), case)
    assert table["dataset"].unique().to_list() == ["CIFAR100"]
    assert table["model"].unique().to_list() == [model]
    assert table["log_spectral_complexity"].is_finite().all()
    assert table.filter(~table["diverged"]).height == table.height > 3
    assert table["error"].min() <= 1.0  # pyright: ignore


def test_a_check_that_is_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = quick()
    tiny = Case(case.name, case.net, case.optimiser, case.task, (50, 60), (4, 5), seeds=1, marks=3)
    table = learning_curves(Context(keep=tmp_path), tiny)

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("kleiber.networks.loop.train", refuse)
    assert learning_curves(Context(keep=tmp_path), tiny).equals(table)
    assert (tmp_path / implicit_bias_sweep.FOLDER).is_dir()
    with pytest.raises(Exception, match=r"trained again|failed"):
        learning_curves(Context(), tiny)
