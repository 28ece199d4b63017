"""Sweep files: a base Experiment and axes along which its fields vary.

    [base]                                  # an Experiment, with its tables [base.task] ...
    steps = 2000
    [grid]                                  # every combination
    "net.width" = [4, 8, 16]
    "task.n_data" = [64, 256]
    [zip]                                   # in parallel: the first with the first, ...
    "optimiser.rate" = [0.1, 0.05]
    steps = [1000, 2000]

Several `[[zip]]` tables give several parallel sets, each combined with the others and with the
grid. The last axis varies fastest.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from kleiber.errors import BadExperiment, listed, nearest, shown
from kleiber.experiment import Experiment, read_experiment
from kleiber.experiment.reading import check_fields, read_toml

PARTS = ("base", "grid", "zip")
MAX_EXPERIMENTS = 1_000_000  # Experiments of one file
MAX_SEEDS = 10 * MAX_EXPERIMENTS  # of all of them
MAX_AXES = 100


def read_sweep(source: str | os.PathLike[str] | Mapping[str, Any]) -> list[Experiment]:
    """Return the Experiments of a sweep file, or of a mapping of the same form, in order and
    without duplicates.

    Raises BadExperiment with one sentence: for a file that cannot be read, an unknown name (with
    the nearest), an axis that is not a list, or parallel lists of different lengths.
    """
    if isinstance(source, Mapping):
        check_fields(source)
        return expand(source)
    fields = read_toml(source)
    try:
        return expand(fields)
    except BadExperiment as error:
        raise BadExperiment(f"{Path(source).name}: {error}") from None


def expand(sweep: Mapping[str, Any]) -> list[Experiment]:
    """Return the Experiments of a base with a grid and with parallel values."""
    for name in sweep:
        if name not in PARTS:
            hint = nearest(name, PARTS) or (
                " The fields of an Experiment go under [base]."
                if name in Experiment.model_fields
                else ""
            )
            raise BadExperiment(f"There is no part {name!r}; a sweep has {listed(PARTS)}.{hint}")
    base = check_table(sweep.get("base"), "base")
    zipped: Any = sweep.get("zip", [])
    zip_tables = [check_table(side, "zip") for side in as_list(zipped)]
    grid = check_table(sweep.get("grid", {}), "grid")
    axes = [zip_axes(side) for side in [{k: v} for k, v in grid.items()] + zip_tables if side]
    for name, times in Counter(name for axis in axes for name in axis[0]).items():
        if times > 1:
            raise BadExperiment(f"The field {name!r} varies along two axes; give it one.")
    check_size(base, axes)
    made = {item.key(): item for item in combine_axes(base, axes)}
    return list(made.values())


def check_size(base: Mapping[str, Any], axes: Sequence[list[dict[str, Any]]]) -> None:
    """Raise BadExperiment for too many Experiments or seeds, before any is made."""
    if len(axes) > MAX_AXES:
        raise BadExperiment(f"A sweep has at most {MAX_AXES} axes, got {len(axes)}.")
    size = math.prod(len(axis) for axis in axes)
    if size > MAX_EXPERIMENTS:
        how_many = str(size) if size < 10**18 else f"1e{math.floor(math.log10(size))}"
        raise BadExperiment(
            f"The axes make {how_many} Experiments; at most {MAX_EXPERIMENTS} are taken."
        )
    places = next((axis for axis in axes if "seeds" in axis[0]), [base])
    seeds = size // len(places) * sum(_seeds(place.get("seeds")) for place in places)
    if seeds > MAX_SEEDS:
        raise BadExperiment(f"The Experiments have {seeds} seeds; at most {MAX_SEEDS} are taken.")


def _seeds(given: Any) -> int:
    """Return the number of seeds that a field stands for, before it is checked."""
    if isinstance(given, list | tuple):
        return len(cast("list[Any]", given))
    return max(given, 1) if isinstance(given, int) else 1


def combine_axes(
    base: Mapping[str, Any], axes: Sequence[list[dict[str, Any]]]
) -> Iterator[Experiment]:
    """Yield one Experiment for each combination; an error names the values that cause it."""
    for values in itertools.product(*axes):
        chosen = {name: value for axis in values for name, value in axis.items()}
        fields = deepcopy(dict(base))
        for name, value in chosen.items():
            set_field(fields, name, value)
        try:
            yield read_experiment(fields)
        except BadExperiment as error:
            at = ", ".join(f"{name} = {shown(value)}" for name, value in chosen.items())
            at = at if len(at) <= 200 else f"{at[:199]}…"
            raise BadExperiment(
                f"{str(error).removesuffix('.')} (at {at})." if at else str(error)
            ) from None


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, and anything else as a list of one."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def zip_axes(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return parallel lists of equal length as one axis: the values at each position."""
    for name, values in lists.items():
        if isinstance(values, Mapping) and values:
            inner = next(iter(cast("Mapping[str, Any]", values)))
            raise BadExperiment(f'An axis of a field within {name} is written "{name}.{inner}".')
        if not isinstance(values, list) or not values:
            given = shown(cast(Any, values))
            raise BadExperiment(f"The axis {name!r} needs a list of values, got {given}.")
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise BadExperiment(f"Lists that vary in parallel must be equally long: {sizes}.")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def set_field(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set the field of a dotted name, in the part that is given or else in the default one."""
    *parents, last = name.split(".")
    target: Any = fields
    for step in parents:
        if target is fields and step not in fields:
            default = getattr(Experiment.model_fields.get(step), "default", None)
            fields[step] = {"kind": kind} if (kind := getattr(default, "kind", None)) else {}
        inner: Any = target.setdefault(step, {})
        if not isinstance(inner, dict):
            raise BadExperiment(
                f"The field {name!r} does not exist: {step!r} is {shown(inner)}, which has no "
                "fields."
            )
        target = cast(Any, inner)
    target[last] = value


def check_table(value: Any, name: str) -> dict[str, Any]:
    """Return a table of the file; raise BadExperiment if it is missing or something else."""
    if not isinstance(value, dict):
        given = "it is missing" if value is None else f"got {shown(value)}"
        raise BadExperiment(f"A sweep needs the table [{name}], {given}.")
    return cast("dict[str, Any]", value)
