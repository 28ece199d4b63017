"""Grids: a base Experiment and axes along which its fields vary, as a list of Experiments.

    [base]                                  # an Experiment, with its tables [base.task] ...
    steps = 2000
    [grid]                                  # every combination
    "net.width" = [4, 8, 16]
    "task.n_data" = [64, 256]
    [zip]                                   # side by side: the first with the first, ...
    "optimiser.rate" = [0.1, 0.05]
    steps = [1000, 2000]

`[[zip]]` more than once gives several sets that go side by side, each crossed with the others and
with the grid. The last axis varies fastest.
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
MOST = 1_000_000  # Experiments of one file
MOST_SEEDS = 10 * MOST  # of all of them
MOST_AXES = 100


def read_sweep(source: str | os.PathLike[str] | Mapping[str, Any]) -> list[Experiment]:
    """The Experiments of a sweep file, or of a mapping of the same form, in order, each once.

    Raises BadExperiment with one sentence: for a file that cannot be read, an unknown name (with
    the nearest), an axis that is no list, lists of different lengths side by side.
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
    """The Experiments of a base with a grid and with values side by side."""
    for name in sweep:
        if name not in PARTS:
            hint = nearest(name, PARTS) or (
                " The fields of an Experiment go under [base]."
                if name in Experiment.model_fields
                else ""
            )
            raise BadExperiment(f"no part {name!r}; a sweep has {listed(PARTS)}.{hint}")
    base = table_of(sweep.get("base"), "base")
    sides: Any = sweep.get("zip", [])
    together = [table_of(side, "zip") for side in listed_out(sides)]
    grid = table_of(sweep.get("grid", {}), "grid")
    axes = [side_by_side(side) for side in [{k: v} for k, v in grid.items()] + together if side]
    for name, times in Counter(name for axis in axes for name in axis[0]).items():
        if times > 1:
            raise BadExperiment(f"{name!r} varies along two axes")
    check_size(base, axes)
    made = {item.key(): item for item in crossed(base, axes)}
    return list(made.values())


def check_size(base: Mapping[str, Any], axes: Sequence[list[dict[str, Any]]]) -> None:
    """BadExperiment if there are more Experiments or seeds than are taken; none is laid out."""
    if len(axes) > MOST_AXES:
        raise BadExperiment(f"a sweep has at most {MOST_AXES} axes, got {len(axes)}")
    size = math.prod(len(axis) for axis in axes)
    if size > MOST:
        many = str(size) if size < 10**18 else f"1e{math.floor(math.log10(size))}"
        raise BadExperiment(f"the axes make {many} Experiments; at most {MOST} are taken")
    places = next((axis for axis in axes if "seeds" in axis[0]), [base])
    seeds = size // len(places) * sum(_seeds(place.get("seeds")) for place in places)
    if seeds > MOST_SEEDS:
        raise BadExperiment(f"the Experiments have {seeds} seeds; at most {MOST_SEEDS} are taken")


def _seeds(given: Any) -> int:
    """How many seeds a field stands for, before it is checked."""
    if isinstance(given, list | tuple):
        return len(cast("list[Any]", given))
    return max(given, 1) if isinstance(given, int) else 1


def crossed(base: Mapping[str, Any], axes: Sequence[list[dict[str, Any]]]) -> Iterator[Experiment]:
    """One Experiment for each combination; an error names the values that it comes from."""
    for values in itertools.product(*axes):
        chosen = {name: value for axis in values for name, value in axis.items()}
        fields = deepcopy(dict(base))
        for name, value in chosen.items():
            put(fields, name, value)
        try:
            yield read_experiment(fields)
        except BadExperiment as error:
            at = ", ".join(f"{name} = {shown(value)}" for name, value in chosen.items())
            at = at if len(at) <= 200 else f"{at[:199]}…"
            raise BadExperiment(f"{error} (at {at})" if at else str(error)) from None


def listed_out(value: Any) -> list[Any]:
    """A list as it is, one thing as a list of it."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def side_by_side(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists of equal length as one axis: the values at each place."""
    for name, values in lists.items():
        if isinstance(values, Mapping) and values:
            inner = next(iter(cast("Mapping[str, Any]", values)))
            raise BadExperiment(f'an axis of a field within {name} is written "{name}.{inner}"')
        if not isinstance(values, list) or not values:
            given = shown(cast(Any, values))
            raise BadExperiment(f"the axis {name!r} needs a list of values, got {given}")
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise BadExperiment(f"what varies side by side must be equally long: {sizes}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def put(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set the field of a dotted name, in the part that is there or else in the default one."""
    *above, last = name.split(".")
    place: Any = fields
    for step in above:
        if place is fields and step not in fields:
            default = getattr(Experiment.model_fields.get(step), "default", None)
            fields[step] = {"kind": kind} if (kind := getattr(default, "kind", None)) else {}
        inner: Any = place.setdefault(step, {})
        if not isinstance(inner, dict):
            raise BadExperiment(f"{name!r}: {step!r} is {shown(inner)}, which has no fields")
        place = cast(Any, inner)
    place[last] = value


def table_of(value: Any, name: str) -> dict[str, Any]:
    """A table of the file; BadExperiment if it is something else or missing."""
    if not isinstance(value, dict):
        given = "it is missing" if value is None else f"got {shown(value)}"
        raise BadExperiment(f"a sweep needs the table [{name}], {given}")
    return cast("dict[str, Any]", value)
