# pyright: basic
"""The weight matrices of a module: which of its parameters enter a norm, and as what.

- Linear: the weight [outputs, inputs]. A layer that is Scaled: the weight times its scale.
- Convolution: [channels out, channels in x window], flattened; beside it how it acts on an image.
- MultiheadAttention and our Attention: queries, keys and values (the input projection split in
  three), then the output projection.
- A layer with `torch.nn.utils.parametrize` (weight, spectral or orthogonal normalisation): the
  weight that it computes.
- Batch, layer, group and instance norms, biases, class tokens and positions (parameters of shape
  [1, 1, d], or named so) enter no matrix norm.

The order is that in which layers run, and a layer that runs twice is there twice. Of modules that
only chain others it is known; of others it is found by running them on an input of a given `shape`,
without which the order is that in which layers were registered (`knows_order`).
Weights in half precision are taken as float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional, grad
from torch.nn.utils import parametrize

from kleiber.errors import listed
from kleiber.networks.calls import evaluating, is_chain, trace_calls
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
    """One matrix [outputs, inputs]; a convolution also has its layer, its kernel's scale, and the
    shape of one of its inputs if the module was run."""

    name: str
    kind: Kind
    matrix: Tensor
    layer: Convolution | None = None
    scale: float = 1.0
    shape: tuple[int, ...] | None = None

    @property
    def kernel(self) -> Tensor:
        """The kernel of a convolution, times its scale."""
        assert self.layer is not None
        return self.matrix.reshape(self.layer.out_channels, -1, *self.layer.kernel_size)

    def act(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return the layer's convolution of inputs [k, channels, ...] with a kernel, without
        bias."""
        layer = self.layer
        assert layer is not None
        if layer.padding_mode != "zeros":
            around = layer._reversed_padding_repeated_twice
            x = functional.pad(x, around, mode=layer.padding_mode)
        padding = layer.padding if layer.padding_mode == "zeros" else 0
        convolve = CONVOLVE[len(layer.kernel_size)]
        return convolve(x, kernel, None, layer.stride, padding, layer.dilation, layer.groups)

    def act_back(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return the adjoint of the convolution applied to the convolution of x."""
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


@dataclass(frozen=True, eq=False)
class _LayerWeights:
    """A layer with matrices: the parameters that they are made of, and the matrices."""

    layer: nn.Module
    owners: tuple[Tensor, ...]
    weights: tuple[Weight, ...]


def find_weights(
    module: nn.Module,
    unknown: Literal["refuse", "leave"] = "refuse",
    shape: tuple[int, ...] | None = None,
) -> tuple[Weight, ...]:
    """Return the matrices of a module, in the order in which they act (see above).

    A layer with another kind of matrix, or one that does not run on an input of `shape`, raises
    ValueError, or is left out with unknown="leave"; `left_out` names the parameters that enter no
    matrix norm.
    """
    found = _layers_with_weights(module)
    if unknown == "refuse":
        unknown_names = [
            name for name, value in _unknown_parameters(module, found) if value.ndim > 1
        ]
        if unknown_names:
            raise ValueError(
                f"No matrix norm is known for the weights {listed(unknown_names)}; norms are those "
                "of linear, convolution and attention layers "
                '(unknown="leave" leaves the others out).'
            )
    if not found:
        raise ValueError("The module has no linear, convolution or attention layer to measure.")
    if shape is not None and not (_is_known(module, found) and _runs_once(found)):
        return _in_order(module, shape, _layers_with_weights(module, twice=False), unknown)
    if not _is_known(module, found):
        found = _layers_with_weights(module, twice=False)
    return tuple(weight for item in found for weight in item.weights)


def knows_order(module: nn.Module) -> bool:
    """Return whether the order in which layers run is known without running the module."""
    return _is_known(module, _layers_with_weights(module))


def _is_known(module: nn.Module, found: list[_LayerWeights]) -> bool:
    return is_chain(module, [item.layer for item in found])


def _runs_once(found: list[_LayerWeights]) -> bool:
    layers = [id(item.layer) for item in found]
    return len(set(layers)) == len(layers)


def _in_order(
    module: nn.Module, shape: tuple[int, ...], found: list[_LayerWeights], unknown: str
) -> tuple[Weight, ...]:
    """Return the matrices of the layers that run on one input, once for each call."""
    weights: dict[int, list[Weight]] = {}
    applied_inside: dict[
        int, nn.Module
    ] = {}  # a projection that its attention applies without calling it
    for item in found:
        if isinstance(item.layer, nn.MultiheadAttention):
            applied_inside[id(item.layer.out_proj)] = item.layer
        layer = applied_inside.get(id(item.layer), item.layer)
        weights.setdefault(id(layer), []).extend(item.weights)
    layers = {id(item.layer): item.layer for item in found if id(item.layer) in weights}
    made, call_counts = list[Weight](), dict[int, int]()
    for call in trace_calls(module, shape, layers.values()):
        count = call_counts[id(call.layer)] = call_counts.get(id(call.layer), 0) + 1
        again = f" (call {count})" if count > 1 else ""
        made += [
            replace(each, name=each.name + again, shape=call.shape if each.layer else None)
            for each in weights[id(call.layer)]
        ]
    not_called = [
        each.name for key, others in weights.items() if key not in call_counts for each in others
    ]
    if not_called and unknown == "refuse":
        raise ValueError(
            f"The layer of {listed(not_called)} is not called for an input of shape {shape}, so "
            "its place in the module is not known "
            '(unknown="leave" leaves such layers out).'
        )
    if not made:
        raise ValueError(f"No layer of the module runs on an input of shape {shape}.")
    return tuple(made)


def left_out(module: nn.Module) -> tuple[str, ...]:
    """Return the parameters that enter no matrix norm: biases, norms, positions, unknown layers."""
    used = {id(value) for item in _layers_with_weights(module) for value in item.owners}
    return tuple(name for name, value in module.named_parameters() if id(value) not in used)


def effective_parameters(module: nn.Module) -> list[Tensor]:
    """Return every parameter once, with computed weights in the place of their parameters."""
    computed, used = list[Tensor](), set[int]()
    with evaluating(module):
        for part in module.modules():
            for name in cast("Any", getattr(part, "parametrizations", ())):
                used |= {id(value) for value in _owners(part, name)}
                computed.append(_read(getattr(part, name)))
    others = [_read(value) for value in module.parameters() if id(value) not in used]
    return computed + others


def _unknown_parameters(
    module: nn.Module, found: list[_LayerWeights]
) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters that enter no norm and belong to no known layer."""
    used = {id(value) for item in found for value in item.owners}
    for name, part in module.named_modules():
        if isinstance(part, (*NORMS, Patches)):
            continue
        for own, value in part.named_parameters(recurse=False):
            if id(value) in used or "bias" in own or is_token(own, value):
                continue
            yield f"{name}.{own} ({type(part).__name__})".removeprefix("."), value


def is_token(name: str, value: Tensor) -> bool:
    """Return whether a parameter is a class token or positions, added to others or concatenated
    with them."""
    vector = value.ndim > 2 and math.prod(value.shape[:-1]) == 1
    return vector or any(word in name.lower() for word in ("token", "pos_emb", "position"))


def _layers_with_weights(module: nn.Module, *, twice: bool = True) -> list[_LayerWeights]:
    """Return the layers with matrices, as registered; those registered twice also twice."""
    scales: dict[int, float] = {}
    applied_inside: set[int] = set()
    found = list[_LayerWeights]()
    with evaluating(module):
        for name, part in module.named_modules(remove_duplicate=not twice):
            if isinstance(part, Scaled):
                scales[id(part.layer)] = part.scale
            elif isinstance(part, Attention):
                applied_inside |= {id(part.into)}
                matrix = _read(part.into.weight)
                found.append(
                    _LayerWeights(part, _owners(part.into, "weight"), _split(name, matrix))
                )
            elif isinstance(part, nn.MultiheadAttention):
                found.append(_of_attention(name, part))
            elif isinstance(part, Convolution):
                scale = scales.get(id(part), 1.0)
                matrix = scale * _read(part.weight).flatten(1)
                weight = Weight(name, "convolution", matrix, part, scale)
                found.append(_LayerWeights(part, _owners(part, "weight"), (weight,)))
            elif isinstance(part, nn.Linear) and id(part) not in applied_inside:
                matrix = scales.get(id(part), 1.0) * _read(part.weight)
                weight = Weight(name, "linear", matrix)
                found.append(_LayerWeights(part, _owners(part, "weight"), (weight,)))
    return found


def _of_attention(name: str, part: nn.MultiheadAttention) -> _LayerWeights:
    if part.in_proj_weight is not None:
        own = _owners(part, "in_proj_weight")
        return _LayerWeights(part, own, _split(name, _read(part.in_proj_weight)))
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    owners = tuple(value for each in names for value in _owners(part, each))
    return _LayerWeights(
        part, owners, _attention_weights(name, [_read(getattr(part, each)) for each in names])
    )


def _read(weight: Tensor) -> Tensor:
    """Return a weight outside the graph, in float32 if it is in half precision."""
    value = weight.detach()
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _owners(layer: nn.Module, name: str) -> tuple[Tensor, ...]:
    """Return the parameters that a weight is, or is computed from."""
    if parametrize.is_parametrized(layer, name):
        return tuple(cast("Any", layer.parametrizations)[name].parameters())
    return (getattr(layer, name),)


def _split(name: str, stacked: Tensor) -> tuple[Weight, ...]:
    return _attention_weights(name, stacked.chunk(3))


def _attention_weights(name: str, matrices: Any) -> tuple[Weight, ...]:
    stem = f"{name}." if name else ""
    return tuple(
        Weight(f"{stem}{part}", "attention", cast("Tensor", matrix))
        for part, matrix in zip(("queries", "keys", "values"), matrices, strict=True)
    )


def input_sizes(
    module: nn.Module, shape: tuple[int, ...], weights: tuple[Weight, ...]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of one input of each convolution, for one input of `shape` to the module."""
    sizes = {weight.name: weight.shape for weight in weights if weight.shape is not None}
    others = {id(w.layer): w for w in weights if w.layer is not None and w.name not in sizes}
    if others:
        layers = [cast("nn.Module", weight.layer) for weight in others.values()]
        for call in trace_calls(module, shape, layers):
            sizes[others[id(call.layer)].name] = call.shape
    return sizes
