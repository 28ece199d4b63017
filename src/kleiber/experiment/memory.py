"""Memory: what training an Experiment holds at the least, against what the machine has."""

from __future__ import annotations

import math
from itertools import pairwise

from kleiber.arguments import machine_memory
from kleiber.errors import BadExperiment
from kleiber.experiment import Experiment
from kleiber.experiment.counts import task_outputs, task_shape
from kleiber.experiment.nets import CNN, MLP, Net, ResNet, ViT
from kleiber.experiment.tasks import CircleTask, ImageTask, TeacherTask

LAYER = 1000  # bytes of the objects of one layer
ROW = 100  # bytes of one seed's measures at one checkpoint


def check_memory(spec: Experiment) -> None:
    """BadExperiment if training must hold more than this machine's physical memory.

    The estimate is a lower bound from the spec alone, so what passes may still be too large.
    """
    there = machine_memory()
    parts = {
        "the nets' parameters and gradients": net_bytes(spec),
        "the task's data": data_bytes(spec),
        "the measures": row_bytes(spec),
    }
    if sum(parts.values()) > there:
        what = max(parts, key=lambda name: parts[name])
        raise BadExperiment(
            f"The Experiment needs at least {_shown(sum(parts.values()))} of memory, most of it "
            f"for {what}, and this machine has {_shown(there)}; make it smaller."
        )


def net_bytes(spec: Experiment) -> int:
    """Bytes of the parameters of all seeds, which are kept, and of one seed's gradient."""
    inputs, outputs = math.prod(task_shape(spec.task)), task_outputs(spec.task)
    each = _itemsize(spec) * least_params(spec.net, inputs, outputs) + LAYER * _layers(spec.net)
    return (len(spec.seeds) + 1) * each


def least_params(net: Net, inputs: int, outputs: int) -> int:
    """The weights of a net's largest layers, found without laying the net out."""
    match net:
        case MLP(width=wide, depth=depth):
            return wide * (inputs + outputs + (depth - 1) * wide)
        case CNN(channels=channels, hidden=hidden):
            kernels = sum(9 * a * b for a, b in pairwise(channels))
            return kernels + sum(a * b for a, b in pairwise(hidden))
        case ResNet(width=wide, blocks=blocks):  # 2**60 channels are too many in any case
            return sum(9 * (2 * n - 1) * (wide << min(k, 60)) ** 2 for k, n in enumerate(blocks))
        case ViT(width=wide, depth=depth):
            return depth * wide * (4 * wide + 2 * round(wide * min(net.ratio, 1e9)))


def _layers(net: Net) -> int:
    return sum(net.blocks) if isinstance(net, ResNet) else getattr(net, "depth", 1)


def data_bytes(spec: Experiment) -> int:
    """Bytes of the examples that are held at once: of training, of a step, of the test."""
    task = spec.task
    if isinstance(task, ImageTask):
        return 0  # a data set that exists
    train = max(task.n_data or 0, spec.batch or 0)
    test = task.points if isinstance(task, CircleTask) else task.n_test
    wide = task.inputs + 1
    teacher = 0
    if isinstance(task, TeacherTask):
        sizes = [task.inputs, *[task.width] * min(task.depth, 2)]
        teacher = sum(a * b for a, b in pairwise(sizes))
        teacher += max(task.depth - 2, 0) * task.width**2 + LAYER * task.depth
    return _itemsize(spec) * (train + test) * wide + 4 * teacher


def row_bytes(spec: Experiment) -> int:
    """Bytes of the rows of all seeds at all checkpoints."""
    marks = spec.checkpoints
    asked = marks if isinstance(marks, int) else len(marks)
    return 8 * asked + ROW * len(spec.seeds) * min(asked, spec.steps)


def _itemsize(spec: Experiment) -> int:
    return 8 if spec.dtype == "float64" else 4


def _shown(count: float) -> str:
    """A number of bytes in GB."""
    return f"{count / 1e9:,.0f} GB" if count < 1e21 else "1e12 GB"
