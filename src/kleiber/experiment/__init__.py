"""Experiment: everything that decides what a training run computes, as a frozen document.

A spec is written in Python or in TOML, checked field by field, and named by `key()`, a digest of
its canonical JSON. Fields that hold their default are left out of that JSON, so that a field added
later keeps the key of every run that does not use it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from kleiber.errors import BadExperiment, nearest, shown
from kleiber.experiment.fields import Count, Part, Whole
from kleiber.experiment.nets import CNN, MLP, Net, ResNet, Transformer, ViT
from kleiber.experiment.optimisers import (
    SGD,
    Adam,
    Constant,
    Cosine,
    Optimiser,
    Schedule,
    Stepped,
    rate_factor,
)
from kleiber.experiment.reading import check_fields, read_toml
from kleiber.experiment.tasks import (
    ArithmeticTask,
    CircleTask,
    FormulaTask,
    ImageTask,
    Task,
    TeacherTask,
)

__all__ = [
    "CNN",
    "MLP",
    "SGD",
    "Adam",
    "ArithmeticTask",
    "CircleTask",
    "Constant",
    "Cosine",
    "Experiment",
    "FormulaTask",
    "ImageTask",
    "Measure",
    "Net",
    "Optimiser",
    "ResNet",
    "Schedule",
    "Stepped",
    "Task",
    "TeacherTask",
    "Transformer",
    "ViT",
    "rate_factor",
    "read_experiment",
]
MAX_SEEDS = 100_000  # of one Experiment
KEY_LENGTH = 24  # hexadecimal digits: 96 bits
RECTIFIED = ("relu", "leaky_relu", "identity", "resnet")  # homogeneous: a path norm makes sense
Measure: TypeAlias = Literal[
    "loss",
    "train_loss",
    "error",
    "train_error",
    "error_augmented",
    "weight_norm",
    "log_spectral_complexity",
    "log_tail_complexity",
    "log_fc_complexity",
    "log_spectral_product",
    "log_operator_product",
    "log_21",
    "log_l1",
    "log_frobenius",
    "log_path",
    "seconds",
]
NORMS: tuple[str, ...] = tuple(name for name in get_args(Measure) if name.startswith("log_"))


def _as_seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("there must be at least one seed")
        if value > MAX_SEEDS:
            raise ValueError(f"at most {MAX_SEEDS} seeds are taken, got {value}")
        return tuple(range(value))
    return value


class Experiment(Part):
    """One training run and its seeds, as a frozen record that checks itself.

    ``train`` runs it, ``sweep`` runs many, and ``key()`` names it: the same in every process and on
    every machine. Each part is a mapping with a ``kind`` and that kind's own fields.

    Attributes
    ----------
    task
        What is learned. Kinds: ``"formula"`` (a function of x, y and z), ``"teacher"``,
        ``"circle"``, ``"images"``, ``"arithmetic"``.
    net
        What learns. Kinds: ``"mlp"``, ``"cnn"``, ``"resnet"``, ``"vit"``, ``"transformer"``.
    optimiser
        Kinds: ``"sgd"``, ``"adam"`` (the default), ``"adamw"``.
    schedule
        How the learning rate changes. Kinds: ``"constant"`` (the default), ``"cosine"``,
        ``"step"``.
    steps
        The number of optimiser steps.
    batch
        The number of examples of a step; by default all. A task without ``n_data`` needs it.
    checkpoints
        The steps at which measures are taken: that many spread evenly in log(step), with the start
        and the end, or exactly those listed.
    measures
        What is measured: ``"loss"``, ``"train_loss"``, ``"error"``, ``"weight_norm"`` and others.
    seeds
        A list, or n for the seeds 0 to n - 1. A seed decides the initial weights and the order of
        examples; the task's ``data_seed`` decides the data.
    dtype
        ``"float32"`` or ``"float64"``.

    Raises
    ------
    BadExperiment
        For a wrong or unknown field; the message has the nearest name.

    Examples
    --------
    >>> import kleiber
    >>> spec = kleiber.Experiment(
    ...     task={"kind": "formula", "formula": "x**2"}, net={"kind": "mlp", "width": 8},
    ...     batch=64, steps=100, checkpoints=3, seeds=2,
    ... )
    >>> spec.measured_steps()
    (0, 1, 10, 100)
    >>> spec.seeds
    (0, 1)
    """

    task: Task
    net: Net
    optimiser: Optimiser = Adam()
    schedule: Schedule = Constant()
    steps: Count = 1000
    batch: Count | None = None
    checkpoints: Annotated[Count | tuple[Whole, ...], Field(union_mode="left_to_right")] = 32
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = ("loss", "train_loss")
    seeds: Annotated[tuple[Whole, ...], BeforeValidator(_as_seeds), Field(min_length=1)] = (0,)
    dtype: Literal["float32", "float64"] = "float32"

    def __init__(self, **fields: Any) -> None:
        check_fields(fields)
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise BadExperiment(_sentence(error.errors()[0])) from None

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed is given twice")
        if isinstance(self.checkpoints, tuple):
            if list(self.checkpoints) != sorted(set(self.checkpoints)):
                raise ValueError("checkpoints must increase")
            if not self.checkpoints or self.checkpoints[-1] > self.steps:
                raise ValueError(f"checkpoints must be from 0 to the {self.steps} steps")
        if len(set(self.measures)) != len(self.measures):
            raise ValueError("a measure is given twice")
        _check_task(self)
        return self

    def measured_steps(self) -> tuple[int, ...]:
        """Return the steps at which measures are taken."""
        if isinstance(self.checkpoints, tuple):
            return self.checkpoints
        spread = np.geomspace(1, self.steps, self.checkpoints) if self.checkpoints > 1 else ()
        return tuple(sorted({0, self.steps, *(round(float(step)) for step in spread)}))

    def canonical(self) -> str:
        """Return the JSON that the key is a digest of: names sorted, defaults left out."""
        return json.dumps(_without_defaults(self), sort_keys=True, separators=(",", ":"))

    def key(self) -> str:
        """Return the key of this run, the same in every process and on every machine."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:KEY_LENGTH]


def read_experiment(source: str | os.PathLike[str] | Mapping[str, Any]) -> Experiment:
    """Read an Experiment from a TOML file, or from a mapping with its fields.

    Parameters
    ----------
    source
        The path of the file, or the mapping.

    Returns
    -------
    Experiment
        The checked record.

    Raises
    ------
    BadExperiment
        For a file that cannot be read and for a wrong field.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "spec.toml"
    >>> _ = path.write_text('''
    ... steps = 100
    ... batch = 64
    ... task = {kind = "formula", formula = "x**2"}
    ... net = {kind = "mlp", width = 8}
    ... ''')
    >>> kleiber.read_experiment(path).net.width
    8
    """
    if isinstance(source, Mapping):
        return Experiment(**source)
    fields = read_toml(source)
    try:
        return Experiment(**fields)
    except BadExperiment as error:
        raise BadExperiment(f"{Path(source).name}: {error}") from None


def _without_defaults(part: BaseModel) -> dict[str, Any]:
    """Return the fields of a part that differ from their default, and always its kind."""
    out: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            out[name] = _without_defaults(value)
        elif name == "kind" or field.is_required() or value != field.default:
            out[name] = value
    return out


def _check_task(spec: Experiment) -> None:
    """Raise ValueError for parts that are valid by themselves but not together."""
    task, net = spec.task, spec.net
    images, tokens = isinstance(task, ImageTask), isinstance(task, ArithmeticTask)
    moved = isinstance(task, ImageTask) and bool(task.flip or task.shift)
    if tokens != isinstance(net, Transformer):
        raise ValueError(
            f"a task of kind {task.kind!r} and a net of kind {net.kind!r} do not go together; "
            "'arithmetic' needs 'transformer', and no other task does"
        )
    if not (images or tokens) and not isinstance(net, MLP):
        raise ValueError(f"a net of kind {net.kind!r} needs a task of images")
    if not (images or tokens) and (wrong := {"error", "train_error"} & set(spec.measures)):
        raise ValueError(
            f"the measure {min(wrong)!r} needs a task of images or of arithmetic, whose answers "
            "are right or wrong"
        )
    if tokens and (wrong := set(NORMS) & set(spec.measures)):
        raise ValueError(
            f"the measure {min(wrong)!r} is not defined for the embedding of a transformer"
        )
    if "error_augmented" in spec.measures and not moved:
        raise ValueError("the measure 'error_augmented' needs images that flip or shift")
    if "log_path" in spec.measures and getattr(net, "activation", net.kind) not in RECTIFIED:
        raise ValueError("the measure 'log_path' needs a net of rectifiers, without attention")
    if not images and task.n_data is None and spec.batch is None:
        raise ValueError("a task without n_data draws fresh examples; give batch, how many a step")
    if task.n_data is not None and spec.batch is not None and spec.batch > task.n_data:
        raise ValueError(f"batch {spec.batch} is more than the {task.n_data} examples of the task")


def _sentence(error: ErrorDetails) -> str:
    """Describe what is wrong with one field, with the nearest valid value."""
    where = ".".join(_field_path(error["loc"]))
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        message = str(context["error"])
    elif kind == "missing":
        return f"{where} is missing."
    elif kind in ("literal_error", "union_tag_invalid"):
        known = str(context.get("expected", context.get("expected_tags"))).replace("'", "")
        options = known.replace(" or ", ", ").split(", ")
        value = context.get("tag", given)
        where = f"{where}.kind" if kind == "union_tag_invalid" else where
        message = f"{shown(value)} is not one of {', '.join(options)}."
        message += nearest(str(value), options)
    elif kind == "union_tag_not_found":
        message = "it needs a kind"
    elif kind in ("model_attributes_type", "model_type"):
        message = f"its fields are needed, got {shown(given)}"
    else:
        message = f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(given)}"
    sentence = f"{where}: {message}" if where else message[:1].upper() + message[1:]
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def _field_path(location: tuple[int | str, ...]) -> list[str]:
    """Return the names of fields on the way to an error, without pydantic's own parts."""
    if len(location) > 1 and location[0] in ("task", "net", "optimiser", "schedule"):
        location = (location[0], *location[2:])  # the kind
    elif location and location[0] == "checkpoints":
        location = location[:1]  # the member of the union
    return [str(place) for place in location]
