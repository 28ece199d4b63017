"""Experiment: its key is golden, wrong specs are refused in one sentence, counts match torch's."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kleiber.arguments import machine_memory
from kleiber.errors import BadExperiment
from kleiber.experiment import (
    CNN,
    MLP,
    SGD,
    Adam,
    CircleTask,
    Cosine,
    Experiment,
    FormulaTask,
    ImageTask,
    ResNet,
    Stepped,
    TeacherTask,
    ViT,
    rate_factor,
    read_experiment,
)
from kleiber.experiment.counts import measure_net
from kleiber.experiment.memory import check_memory, min_params

TASK = {"kind": "formula", "n_data": 64, "sampling": "grid"}
PLAIN: dict[str, Any] = {"task": TASK, "net": {"kind": "mlp", "width": 8}}
# Keys that stores hold: they may never change.
GOLDEN = {
    "451b730236ee297f77fd13c1": PLAIN,
    "aaf77816e3491cd0f9d7f2a9": {
        "task": {"kind": "images", "dataset": "mnist", "n_data": 500, "flip": True},
        "net": {"kind": "cnn", "channels": [8, 16], "dropout": 0.1},
        "optimiser": {"kind": "sgd", "rate": 0.1, "momentum": 0.9},
        "schedule": {"kind": "step", "at": [0.5]},
        "batch": 32,
        "steps": 10,
        "seeds": [3, 1],
        "measures": ["loss", "error"],
        "dtype": "float64",
    },
}
TOML = """
steps = 100
seeds = 4
[task]
kind = "formula"
n_data = 64
sampling = "grid"
[net]
kind = "mlp"
width = 8
"""


@pytest.mark.parametrize("key", GOLDEN)
def test_keys_are_golden(key: str) -> None:
    assert read_experiment(GOLDEN[key]).key() == key


@pytest.mark.long
def test_the_key_is_the_same_in_another_process() -> None:
    code = f"from kleiber.experiment import *; print(read_experiment({PLAIN!r}).key())"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        assert done.stdout.strip() == Experiment(**PLAIN).key()


def test_python_toml_and_json_are_one_spec(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(TOML)
    spec = Experiment(
        task=FormulaTask(n_data=64, sampling="grid"), net=MLP(width=8), steps=100, seeds=4
    )
    assert read_experiment(path) == spec
    assert read_experiment(path).key() == spec.key()
    assert Experiment(**json.loads(spec.model_dump_json())).key() == spec.key()
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(read_experiment(path))


def test_everything_that_matters_changes_the_key() -> None:
    plain = Experiment(**PLAIN)
    others: list[dict[str, Any]] = [
        {"seeds": [1]}, {"steps": 999}, {"dtype": "float64"}, {"batch": 8}, {"checkpoints": 5},
        {"measures": ["loss"]}, {"optimiser": {"kind": "adam", "rate": 0.002}},
        {"optimiser": {"kind": "adamw"}}, {"schedule": {"kind": "cosine"}},
        {"net": {"kind": "mlp", "width": 9}}, {"task": {**TASK, "formula": "x**3"}},
    ]  # fmt: skip
    keys = {Experiment(**{**PLAIN, **change}).key() for change in others}
    assert len(keys | {plain.key()}) == len(others) + 1
    defaults = {"schedule": {"kind": "constant"}, "seeds": 1, "steps": 1000, "dtype": "float32"}
    assert Experiment(**{**PLAIN, **defaults}).key() == plain.key()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"nett": 3}, "No field 'nett'.* Did you mean 'net'"),
    "unknown field of a part": (
        {"net": {"kind": "mlp", "widht": 8}}, "net: no field 'widht'.* Did you mean 'width'"),
    "unknown kind": (
        {"net": {"kind": "mpl", "width": 8}}, "net.kind: 'mpl' is not one of mlp.* mean 'mlp'"),
    "no kind": ({"net": {"width": 8}}, "net: it needs a kind"),
    "missing field": ({"net": {"kind": "mlp"}}, "net.width is missing"),
    "unknown activation": (
        {"net": {"kind": "mlp", "width": 8, "activation": "rleu"}},
        "net.activation: 'rleu' is not one of relu.* Did you mean 'relu'"),
    "no part": ({"net": 3}, "net: its fields are needed, got 3"),
    "negative": ({"steps": -1}, "steps: .*greater than or equal to 1, got -1"),
    "text for a number": ({"steps": "12"}, "steps: it must be a number"),
    "truth for a number": ({"net": {"kind": "mlp", "width": True}}, "width: it must be a number"),
    "fraction": ({"steps": 1.5}, "steps: .*integer.*got 1.5"),
    "not finite": ({"optimiser": {"kind": "sgd", "rate": float("inf")}}, "optimiser.rate: .*inf"),
    "seed twice": ({"seeds": [1, 1]}, "A seed is given twice"),
    "no seeds": ({"seeds": 0}, "at least one seed"),
    "falling checkpoints": ({"checkpoints": [3, 2]}, "Checkpoints must increase"),
    "late checkpoint": ({"checkpoints": [3, 2000]}, "from 0 to the 1000 steps"),
    "checkpoints as text": ({"checkpoints": "many"}, "^checkpoints: "),
    "unknown measure": ({"measures": ["los"]}, "measures.0: 'los' .* Did you mean 'loss'"),
    "unknown symbol": ({"task": {**TASK, "formula": "x+w"}}, "task.formula: the formula must"),
    "bad formula": ({"task": {**TASK, "formula": "x+"}}, "task.formula: Cannot read"),
    "grid that is none": (
        {"task": {**TASK, "formula": "x+y", "n_data": 60}}, "2 dimensions .* 60; 64 is near"),
    "empty box": ({"task": {**TASK, "low": 2}}, "low 2.0 must lie below high 2.0"),
    "no batch": ({"task": {"kind": "formula"}}, "draws fresh examples; give batch"),
    "batch too large": ({"batch": 100}, "Batch 100 is more than the 64 examples"),
    "CNN on a function": ({"net": {"kind": "cnn"}}, "'cnn' needs a task of images"),
    "error of a function": ({"measures": ["error"]}, "'error' needs a task of images"),
    "richness unread": (
        {"net": {"kind": "mlp", "width": 8, "richness": 2.0}}, "net: richness is used only by"),
    "pooling unread": (
        {"task": {"kind": "images"}, "net": {"kind": "cnn", "pool_after": [7]}}, "pool_after"),
    "heads": (
        {"task": {"kind": "images"}, "net": {"kind": "vit", "width": 30}}, "multiple of heads 4"),
    "modes": ({"task": {"kind": "circle", "points": 64, "modes": 40}}, "resolve fewer than 32"),
    "nesterov": ({"optimiser": {"kind": "sgd", "nesterov": True}}, "nesterov needs a momentum"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_specs_are_refused(case: str) -> None:
    change, sentence = REFUSED[case]
    with pytest.raises(BadExperiment, match=sentence) as caught:
        Experiment(**{**PLAIN, **change})
    assert "\n" not in str(caught.value)


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    with pytest.raises(BadExperiment, match=r"Cannot read .*No such file"):
        read_experiment(path)
    path.write_text("steps = ")
    with pytest.raises(BadExperiment, match="is not TOML"):
        read_experiment(path)
    path.write_text(TOML.replace("width", "widht"))
    with pytest.raises(BadExperiment, match=r"spec\.toml: net: .*'width'"):
        read_experiment(path)


UNREADABLE: dict[str, tuple[str, str]] = {  # what is put in front of a spec, and what is said
    "deep arrays": ("a = " + "[" * 50_000 + "]" * 50_000, "nested too deeply"),
    "deep tables": ("a = " + "{a=" * 20_000 + "1" + "}" * 20_000, "nested too deeply"),
    "long name": (".".join("a" * 30_000) + " = 1", "nested too deeply"),
    "long table": ("[" + ".".join("a" * 30_000) + "]", "nested too deeply"),
    "long quoted name": ('."".'.join("a" * 3_000) + " = 1", "nested too deeply"),
    "nested": (".".join("a" * 40) + " = 1", "a spec is nested at most 16 deep"),
    "too many digits": ("batch = " + "9" * 5_000, "is not TOML: .*5000 digits"),
    "hexadecimal": ("batch = 0x" + "f" * 5_000, "batch: an integer has at most 64 bits"),
    "65 bits": ("batch = 9223372036854775808", "batch: an integer has at most 64 bits"),
    "negative 65 bits": ("batch = -9223372036854775809", "batch: an integer has at most 64"),
    "large seed": ("seeds = [1, 18446744073709551616]", "seeds: an integer has at most 64 bits"),
    "negative seed": ("seeds = [-1]", "seeds.0: .*greater than or equal to 0, got -1"),
    "many seeds": ("seeds = 1000000000000", "at most 100000 seeds are taken, got 1000000000000"),
    "nan": ("batch = nan", "batch: a finite number is needed, got nan"),
    "infinity": ("batch = -inf", "batch: a finite number is needed, got -inf"),
    "1e400": ("batch = 1e400", "batch: a finite number is needed, got inf"),
    "date": ("batch = 1979-05-27", "batch: .*valid integer, got datetime.date"),
    "time": ("batch = 07:32:00", "batch: .*valid integer, got datetime.time"),
    "array": ("batch = [4]", r"batch: .*valid integer, got \[4\]"),
    "seeds as a date": ("seeds = 1979-05-27", "seeds: .*got datetime.date"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_nothing_can_hold_is_refused(tmp_path: Path, case: str) -> None:
    first, sentence = UNREADABLE[case]
    path = tmp_path / "spec.toml"
    path.write_text(f"{first}\n{TOML.replace('seeds = 4', '')}")
    with pytest.raises(BadExperiment, match=sentence) as caught:
        read_experiment(path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "number",
    [2**63, -(2**63) - 1, 10**5000, float("nan"), float("-inf")],
    ids=["64 bits", "negative", "5000 digits", "nan", "infinity"],
)
def test_fields_that_nothing_can_hold_are_refused(number: Any) -> None:
    for change in (
        {"seeds": [number]},
        {"task": {**TASK, "data_seed": number}},
        {"optimiser": {"kind": "adam", "rate": number}},
    ):
        with pytest.raises(BadExperiment, match=r"64 bits|finite number"):
            Experiment(**{**PLAIN, **change})
    assert Experiment(**{**PLAIN, "seeds": [2**63 - 1]}).seeds == (2**63 - 1,)


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    for make, sentence in (
        (path.mkdir, "is a folder"),
        (lambda: os.mkfifo(path), "is a pipe or a device"),
        (lambda: path.symlink_to(path.name), "symbolic links"),
        (lambda: path.write_bytes(TOML.encode("utf-16")), "is not TOML: 'utf-8' codec"),
        (lambda: path.write_bytes(b"\0"), "is not TOML"),
        (lambda: path.write_bytes(b"#" * 4_000_001), "has 4,000,001 bytes; at most 4,000,000 are"),
    ):
        make()
        with pytest.raises(BadExperiment, match=sentence):
            read_experiment(path)
        path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(b"\xef\xbb\xbf" + TOML.encode())  # as some editors begin a file
    assert len(read_experiment(path).seeds) == 4


IMAGES = {"kind": "images"}
TOO_LARGE: dict[str, dict[str, Any]] = {
    "width": {"net": {"kind": "mlp", "width": 10**12}},
    "depth": {"net": {"kind": "mlp", "width": 1, "depth": 10**12}},
    "n_data": {"task": {"kind": "formula", "n_data": 10**14}},
    "n_test": {"task": {"kind": "formula", "n_data": 8, "n_test": 10**14}},
    "batch": {"task": {"kind": "formula"}, "batch": 10**14},
    "points": {"task": {"kind": "circle", "n_data": 8, "points": 10**14}},
    "inputs": {"task": {"kind": "teacher", "n_data": 8, "inputs": 10**14}},
    "teacher": {"task": {"kind": "teacher", "n_data": 8, "width": 10**14}},
    "teacher's depth": {"task": {"kind": "teacher", "n_data": 8, "depth": 10**14}},
    "channels": {"task": IMAGES, "net": {"kind": "cnn", "channels": [10**9, 10**9, 8]}},
    "hidden": {"task": IMAGES, "net": {"kind": "cnn", "hidden": [10**9, 10**9]}},
    "blocks": {"task": IMAGES, "net": {"kind": "resnet", "blocks": [10**12]}},
    "stages": {"task": IMAGES, "net": {"kind": "resnet", "blocks": [1] * 5000}},
    "layers": {"task": IMAGES, "net": {"kind": "vit", "depth": 10**12}},
    "ratio": {"task": IMAGES, "net": {"kind": "vit", "ratio": 1e308, "width": 10**6}},
    "checkpoints": {"checkpoints": 10**14},
    "seeds": {"seeds": 100_000, "net": {"kind": "mlp", "width": 10**9}},
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_no_memory_holds_is_refused_from_the_spec(case: str) -> None:
    spec = Experiment(**{**PLAIN, **TOO_LARGE[case]})
    sentence = (
        r"^The Experiment needs at least .* GB of memory, most of it for .*make it smaller\.$"
    )
    with pytest.raises(BadExperiment, match=sentence):
        check_memory(spec)


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kleiber.experiment.memory.machine_memory", lambda: 1e8)
    for net in (MLP(width=100, depth=3), CNN(), ResNet(), ViT()):
        task = FormulaTask(n_data=1000) if isinstance(net, MLP) else ImageTask()
        check_memory(Experiment(task=task, net=net, seeds=1))


def test_the_memory_of_a_net_is_never_overestimated() -> None:
    """The bound is from the largest layers: below what the exact count says, and near it."""
    cnn = CNN(channels=(64, 64, 64), pool_after=(1, 2), hidden=(8,))
    for net, inputs in ((MLP(width=50, depth=4), 3), (cnn, 64), (ResNet(), 64), (ViT(), 64)):
        shape = (3,) if isinstance(net, MLP) else (1, 8, 8)
        exact = measure_net(net, shape, 10).n_params
        assert 0.8 * exact < min_params(net, inputs, 10) <= exact


def test_without_sysconf_memory_is_unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e8 < machine_memory() < 1e15
    monkeypatch.delattr(os, "sysconf")
    assert machine_memory() == float("inf")


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Experiment(**PLAIN).steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_checkpoints() -> None:
    marks = Experiment(**PLAIN).measured_steps()
    assert marks[:4] == (0, 1, 2, 3)
    assert marks[-1] == 1000
    assert list(marks) == sorted(set(marks))
    late = [b / a for a, b in pairwise(marks[15:])]
    assert max(late) / min(late) < 1.1  # evenly in the logarithm
    assert Experiment(**PLAIN, checkpoints=[0, 5]).measured_steps() == (0, 5)
    assert Experiment(**PLAIN, checkpoints=1).measured_steps() == (0, 1000)


def test_schedules() -> None:
    stepped, cosine = Stepped(at=(0.25, 0.5), times=0.1), Cosine(floor=0.1)
    assert [rate_factor(stepped, p) for p in (0, 0.2, 0.25, 0.9)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )
    assert [rate_factor(cosine, p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.55, 0.1])


def test_every_part_has_its_own_kind() -> None:
    tasks = [FormulaTask(), TeacherTask(), CircleTask(), ImageTask()]
    nets = [MLP(width=1), CNN(), ResNet(), ViT()]
    optimisers = [SGD(), Adam(), Adam(kind="adamw")]
    for parts in (tasks, nets, optimisers):
        assert len({part.kind for part in parts}) == len(parts)
