# pyright: basic
"""The weight matrices of a module: which of its parameters enter a norm, and as what.

- Linear: the weight [outputs, inputs]. A layer that is Scaled: the weight times its scale.
- Convolution: [channels out, channels in x window], flattened; beside it how it acts on an image.
- MultiheadAttention and our Attention: queries, keys and values (the input projection split in
  three), then the output projection.
- Batch, layer, group and instance norms, biases and positions enter no matrix norm.

The order is that in which modules were registered, which is that of the forward pass in our nets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional, grad

from kleiber.errors import listed
from kleiber.networks.image_nets import Attention, Patches, Scaled

Kind = Literal["linear", "convolution", "attention"]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)
CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
ADJOINT: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_input,
    2: grad.conv2d_input,
    3: grad.conv3d_input,
}


@dataclass(frozen=True, eq=False)
class Weight:
    """One matrix [outputs, inputs]; of a convolution also its layer and what scales its kernel."""

    name: str
    kind: Kind
    matrix: Tensor
    layer: Convolution | None = None
    scale: float = 1.0

    def act(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The layer's convolution of inputs [k, channels, ...] with that kernel, without bias."""
        layer = self.layer
        assert layer is not None
        if layer.padding_mode != "zeros":
            around = layer._reversed_padding_repeated_twice
            x = functional.pad(x, around, mode=layer.padding_mode)
        padding = layer.padding if layer.padding_mode == "zeros" else 0
        convolve = CONVOLVE[len(layer.kernel_size)]
        return convolve(x, kernel, None, layer.stride, padding, layer.dilation, layer.groups)

    def act_back(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The adjoint of the convolution of x applied to that convolution."""
        layer = self.layer
        assert layer is not None
        if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            y = self.act(x, kernel)
            back = ADJOINT[len(layer.kernel_size)]
            return back(
                x.shape, kernel, y, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        with torch.enable_grad():
            x = x.clone().requires_grad_(True)
            return torch.autograd.grad(0.5 * self.act(x, kernel).square().sum(), x)[0]


def find_weights(
    module: nn.Module, unknown: Literal["refuse", "leave"] = "refuse"
) -> tuple[Weight, ...]:
    """The matrices of a module, in order.

    A layer with a matrix that is none of those above is refused with ValueError, or with
    unknown="leave" left out; `left_out` names what enters no matrix norm.
    """
    found, strange = list(_walk(module)), list[str]()
    if unknown == "refuse":
        strange = [name for name, value in _others(module, found) if value.ndim > 1]
    if strange:
        raise ValueError(
            f"{listed(strange)}: no matrix norm is known for such weights; norms are those of "
            'linear, convolution and attention layers (unknown="leave" leaves the others out)'
        )
    if not found:
        raise ValueError("the module has no linear, convolution or attention layer to measure")
    return tuple(weight for _, weights in found for weight in weights)


def left_out(module: nn.Module) -> tuple[str, ...]:
    """The parameters that enter no matrix norm: biases, norms, positions, unknown layers."""
    found = list(_walk(module))
    taken = {id(value) for owners, _ in found for value in owners}
    return tuple(name for name, value in module.named_parameters() if id(value) not in taken)


def _others(
    module: nn.Module, found: list[tuple[list[Tensor], list[Weight]]]
) -> Iterator[tuple[str, Tensor]]:
    """Parameters that enter nothing and belong to no layer of which that is known."""
    taken = {id(value) for owners, _ in found for value in owners}
    for name, part in module.named_modules():
        if isinstance(part, (*NORMS, Patches)):
            continue
        for short, value in part.named_parameters(name, recurse=False):
            if id(value) not in taken and "bias" not in short:
                yield f"{short} ({type(part).__name__})", value


def _walk(module: nn.Module) -> Iterator[tuple[list[Tensor], list[Weight]]]:
    """For each layer its parameters that are matrices, and the matrices."""
    scales: dict[int, float] = {}
    inside: set[int] = set()
    for name, part in module.named_modules():
        if isinstance(part, Scaled):
            scales[id(part.layer)] = part.scale
        elif isinstance(part, Attention):
            inside |= {id(part.into)}
            yield [part.into.weight], _split(name, part.into.weight)
        elif isinstance(part, nn.MultiheadAttention):
            if part.in_proj_weight is not None:
                yield [part.in_proj_weight], _split(name, part.in_proj_weight)
            else:
                each = (part.q_proj_weight, part.k_proj_weight, part.v_proj_weight)
                yield list(each), _named(name, each)
        elif isinstance(part, Convolution):
            scale = scales.get(id(part), 1.0)
            matrix = scale * part.weight.detach().flatten(1)
            yield [part.weight], [Weight(name, "convolution", matrix, part, scale)]
        elif isinstance(part, nn.Linear) and id(part) not in inside:
            matrix = scales.get(id(part), 1.0) * part.weight.detach()
            yield [part.weight], [Weight(name, "linear", matrix)]


def _split(name: str, stacked: Tensor) -> list[Weight]:
    return _named(name, stacked.detach().chunk(3))


def _named(name: str, matrices: Any) -> list[Weight]:
    stem = f"{name}." if name else ""
    return [
        Weight(f"{stem}{part}", "attention", cast("Tensor", matrix).detach())
        for part, matrix in zip(("queries", "keys", "values"), matrices, strict=True)
    ]


def input_sizes(
    module: nn.Module, shape: tuple[int, ...], weights: tuple[Weight, ...]
) -> dict[str, tuple[int, ...]]:
    """The shape of one input of each convolution, when the module is given one input of `shape`."""
    sizes: dict[str, tuple[int, ...]] = {}

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[name] = tuple(inputs[0].shape[1:])

    hooks = [
        weight.layer.register_forward_pre_hook(partial(note, weight.name))
        for weight in weights
        if weight.layer is not None
    ]
    modes = {part: part.training for part in module.modules()}
    first = next(module.parameters())
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros((1, *shape), dtype=first.dtype, device=first.device))
    finally:
        for part, training in modes.items():
            part.training = training
        for hook in hooks:
            hook.remove()
    return sizes
