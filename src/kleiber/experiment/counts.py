"""Parameters and FLOPs of an Experiment's net, from the spec alone.

FLOPs are those of the matrix products and convolutions, 2 r s u for (r, s) times (s, u); biases,
activations, norms, softmax and the optimiser are not counted. A training step costs three times the
forward pass, less the first layer's gradient by its inputs, which nobody needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from kleiber.experiment.arithmetic import VOCABULARY
from kleiber.experiment.nets import CNN, MLP, Net, ResNet, Transformer, ViT
from kleiber.experiment.tasks import ArithmeticTask, ImageTask, Task

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
SHAPES["cifar100"] = SHAPES["cifar10"]


@dataclass(frozen=True)
class Size:
    """Parameters, and the FLOPs of one example forward and of its first layer."""

    n_params: int
    forward: int
    first: int

    @property
    def step(self) -> int:
        """FLOPs of training on one example."""
        return 3 * self.forward - self.first


def task_shape(task: Task) -> tuple[int, ...]:
    """Return the shape of one input."""
    if not isinstance(task, ImageTask):
        return (task.inputs,)
    colours, *sides = SHAPES[task.dataset]
    return (colours, *(side // task.shrink for side in sides))


def task_outputs(task: Task) -> int:
    """Return the number of outputs, for each place where an input has places."""
    if isinstance(task, ArithmeticTask):
        return len(VOCABULARY)
    if isinstance(task, ImageTask):
        return 100 if task.dataset == "cifar100" else 10
    return 1


def measure_net(net: Net, shape: tuple[int, ...], outputs: int) -> Size:
    """Return the parameters and FLOPs of a net on inputs of a given shape."""
    match net:
        case MLP():
            sizes = [math.prod(shape), *[net.width] * net.depth, outputs]
            return _sum_parts([_full(a, b, net.bias) for a, b in pairwise(sizes)])
        case CNN():
            return _cnn(net, shape, outputs)
        case ResNet():
            return _resnet(net, shape, outputs)
        case ViT():
            return _vit(net, shape, outputs)
        case Transformer():
            return _transformer(net, shape, outputs)


def _sum_parts(parts: list[tuple[int, int]]) -> Size:
    return Size(sum(n for n, _ in parts), sum(f for _, f in parts), parts[0][1])


def _full(fan_in: int, fan_out: int, bias: bool = True) -> tuple[int, int]:
    return fan_in * fan_out + bias * fan_out, 2 * fan_in * fan_out


def _conv(fan_in: int, fan_out: int, side: int, places: int, bias: bool) -> tuple[int, int]:
    weights = fan_in * fan_out * side**2
    return weights + bias * fan_out, 2 * weights * places


def _cnn(net: CNN, shape: tuple[int, ...], outputs: int) -> Size:
    channels, rows, columns = shape
    parts: list[tuple[int, int]] = []
    for k, wide in enumerate(net.channels, start=1):
        rows, columns = (n if net.padding else n - 2 for n in (rows, columns))
        parts.append(_conv(channels, wide, 3, rows * columns, net.bias))
        channels = wide
        if k in net.pool_after:
            rows, columns = rows // 2, columns // 2
    sizes = [channels * rows * columns, *net.hidden, outputs]
    return _sum_parts([*parts, *(_full(a, b, net.bias) for a, b in pairwise(sizes))])


def _resnet(net: ResNet, shape: tuple[int, ...], outputs: int) -> Size:
    channels, rows, columns = shape
    parts = [_conv(channels, net.width, 3, rows * columns, False), (2 * net.width, 0)]
    channels = net.width
    for stage, blocks in enumerate(net.blocks):
        wide = net.width << stage
        if stage:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        for k in range(blocks):
            places = rows * columns
            parts += [_conv(channels, wide, 3, places, False), _conv(wide, wide, 3, places, False)]
            parts.append((4 * wide, 0))
            if channels != wide or (stage and not k):
                parts += [_conv(channels, wide, 1, places, False), (2 * wide, 0)]
            channels = wide
    return _sum_parts([*parts, _full(channels, outputs)])


def _vit(net: ViT, shape: tuple[int, ...], outputs: int) -> Size:
    channels, rows, columns = shape
    patches = (rows // net.patch) * (columns // net.patch)
    wide, hidden = net.width, round(net.width * net.ratio)
    full = [_full(wide, 3 * wide), _full(wide, wide), _full(wide, hidden), _full(hidden, wide)]
    layer = [(n, patches * f) for n, f in full]
    layer += [(4 * wide, 4 * wide * patches**2)]  # norms; queries times keys, scores times values
    embed = _conv(channels, wide, net.patch, patches, True)
    place_and_norm = (patches * wide + 2 * wide, 0)
    return _sum_parts([embed, place_and_norm, *layer * net.depth, _full(wide, outputs)])


def _transformer(net: Transformer, shape: tuple[int, ...], outputs: int) -> Size:
    (places,) = shape
    wide, hidden = net.width, round(net.width * net.ratio)
    matrices = [wide * 3 * wide, wide * wide, wide * hidden, hidden * wide]
    layer = [(n, 2 * n * places) for n in matrices]
    layer += [(4 * wide, 4 * wide * places**2)]  # norms; queries times keys, scores times values
    learned = (places + 1) * wide if net.positions == "learned" else 0  # one is sampled after it
    embed = (outputs * wide + learned, 0)  # a look-up
    return _sum_parts(
        [embed, *layer * net.depth, (2 * wide, 0), (wide * outputs, 2 * wide * outputs * places)]
    )
