"""A lower bound on the memory that training an Experiment needs."""

from __future__ import annotations

import math
from itertools import pairwise

from kleiber.arguments import machine_memory
from kleiber.errors import BadExperiment
from kleiber.experiment import Experiment
from kleiber.experiment.counts import task_outputs, task_shape
from kleiber.experiment.nets import CNN, MLP, Net, ResNet, Transformer, ViT
from kleiber.experiment.tasks import CircleTask, ImageTask, TeacherTask

LAYER = 1000  # bytes of the objects of one layer
ROW = 100  # bytes of one seed's measures at one checkpoint


def check_memory(spec: Experiment) -> None:
    """Raise BadExperiment if training needs more than this machine's physical memory.

    The estimate is a lower bound from the spec alone, so what passes may still be too large.
    """
    available = machine_memory()
    parts = {
        "the nets' parameters and gradients": net_bytes(spec),
        "the task's data": data_bytes(spec),
        "the measures": row_bytes(spec),
    }
    if sum(parts.values()) > available:
        what = max(parts, key=lambda name: parts[name])
        raise BadExperiment(
            f"The Experiment needs at least {_format_bytes(sum(parts.values()))} of memory, most "
            f"of it for {what}, and this machine has {_format_bytes(available)}; make it smaller."
        )


def net_bytes(spec: Experiment) -> int:
    """Return the bytes of the parameters of all seeds, which are kept, and of one seed's
    gradient."""
    inputs, outputs = math.prod(task_shape(spec.task)), task_outputs(spec.task)
    each = _itemsize(spec) * min_params(spec.net, inputs, outputs) + LAYER * _layers(spec.net)
    return (len(spec.seeds) + 1) * each


def min_params(net: Net, inputs: int, outputs: int) -> int:
    """Return the number of weights of a net's largest layers, computed without building the net."""
    match net:
        case MLP(width=width, depth=depth):
            return width * (inputs + outputs + (depth - 1) * width)
        case CNN(channels=channels, hidden=hidden):
            kernels = sum(9 * a * b for a, b in pairwise(channels))
            return kernels + sum(a * b for a, b in pairwise(hidden))
        case ResNet(width=width, blocks=blocks):  # 2**60 channels are too many in any case
            return sum(9 * (2 * n - 1) * (width << min(k, 60)) ** 2 for k, n in enumerate(blocks))
        case ViT(width=width, depth=depth) | Transformer(width=width, depth=depth):
            return depth * width * (4 * width + 2 * round(width * min(net.ratio, 1e9)))


def _layers(net: Net) -> int:
    return sum(net.blocks) if isinstance(net, ResNet) else getattr(net, "depth", 1)


def data_bytes(spec: Experiment) -> int:
    """Return the bytes of the examples that are in memory at once: training, one step, test."""
    task = spec.task
    if isinstance(task, ImageTask):
        return 0  # a data set that exists
    train = max(task.n_data or 0, spec.batch or 0)
    test = task.points if isinstance(task, CircleTask) else task.n_test
    width = task.inputs + 1
    teacher = 0
    if isinstance(task, TeacherTask):
        sizes = [task.inputs, *[task.width] * min(task.depth, 2)]
        teacher = sum(a * b for a, b in pairwise(sizes))
        teacher += max(task.depth - 2, 0) * task.width**2 + LAYER * task.depth
    return _itemsize(spec) * (train + test) * width + 4 * teacher


def row_bytes(spec: Experiment) -> int:
    """Return the bytes of the rows of all seeds at all checkpoints."""
    checkpoints = spec.checkpoints
    asked = checkpoints if isinstance(checkpoints, int) else len(checkpoints)
    return 8 * asked + ROW * len(spec.seeds) * min(asked, spec.steps)


def _itemsize(spec: Experiment) -> int:
    return 8 if spec.dtype == "float64" else 4


def _format_bytes(count: float) -> str:
    """Format a number of bytes in GB."""
    return f"{count / 1e9:,.0f} GB" if count < 1e21 else "1e12 GB"
