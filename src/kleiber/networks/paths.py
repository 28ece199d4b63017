# pyright: basic
"""The path norm of a net, from one forward pass through its squared weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kleiber.networks.image_nets import Block, Dropout, Scaled
from kleiber.networks.net import TORCH_ACTIVATIONS, Activation

ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
POOLS = (nn.AvgPool2d, nn.AvgPool3d)
HOMOGENEOUS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.modules.batchnorm._BatchNorm, nn.ReLU,
    nn.LeakyReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.MaxPool2d, *POOLS, *ADAPTIVE, Activation,
    Dropout,
)  # fmt: skip
CONTAINERS = (nn.Sequential, Block, Scaled)  # modules that only join those
RECTIFIERS = tuple(TORCH_ACTIVATIONS[name] for name in ("relu", "leaky_relu", "identity"))


def path_norm(module: nn.Module, shape: tuple[int, ...] | None) -> float:
    """Return the log of the root of the sum over paths, from input to output, of squared weights.

    Neyshabur et al. 2015 (arXiv 1506.02617), by one forward pass of ones through the squared
    weights, biases 0. A batch norm is its scale in use, gamma^2/var; a mean over n has weights 1/n;
    of the paths through a maximum the heaviest counts. For rectifiers only.
    """
    if shape is None:
        raise ValueError("The norm log_path needs the shape of one input of the module.")
    if unsupported := unsupported_layer(module):
        raise ValueError(
            f"The norm log_path needs linear, convolution and batch norm layers with rectifiers, "
            f"got {unsupported}."
        )
    squared = _squared(module)
    steps = list(squared) if type(squared) is nn.Sequential else [squared]
    device = next(squared.parameters()).device
    total, x = 0.0, torch.ones((1, *shape), dtype=torch.float64, device=device)
    with torch.no_grad():
        for step in steps:  # rescaled after each, as products of many layers overflow
            x = step(x)
            size = float(x.max())
            if size <= 0:
                return -math.inf
            total, x = total + math.log(size), x / size
    return 0.5 * (total + math.log(float(x.sum())))


def unsupported_layer(module: nn.Module) -> str:
    """Return the kind of a layer that has no path norm, or ""."""
    computing = {
        id(inner)
        for part in module.modules()
        if parametrize.is_parametrized(part)
        for inner in part.parametrizations.modules()  # pyright: ignore
    }
    for part in module.modules():
        if id(part) in computing:
            continue
        if isinstance(part, Activation) and part.function not in RECTIFIERS:
            return "another activation"
        statistics = getattr(part, "track_running_stats", True)
        if not isinstance(part, (*HOMOGENEOUS, *CONTAINERS)) or not statistics:
            return type(part).__name__
    return ""


def _squared(module: nn.Module) -> nn.Module:
    """Return a copy with squared weights and without biases."""
    squared = _with_plain_weights(copy.deepcopy(module).double().eval())
    squared_ids: set[int] = set()  # parameters that several layers share
    for part in squared.modules():
        _square(part, squared_ids)
        if isinstance(part, (*POOLS, *ADAPTIVE)):
            part.register_forward_hook(_square_mean_weights)
    return squared


def _with_plain_weights(module: nn.Module) -> nn.Module:
    """Return the module with parametrised layers replaced by layers that own the computed weights.

    torch's own removal would take them from the original too, whose class a copy shares.
    """
    replaced: dict[int, nn.Module] = {}
    for part in module.modules():
        if parametrize.is_parametrized(part):
            base = type(part).__bases__[0]
            plain = replaced[id(part)] = base.__new__(base)  # pyright: ignore
            plain.__dict__.update(part.__dict__)
            plain._parameters = dict(part._parameters)
            plain._modules = {k: v for k, v in part._modules.items() if k != "parametrizations"}
            for name in part.parametrizations:  # pyright: ignore
                plain._parameters[name] = nn.Parameter(getattr(part, name).detach().clone())
    for part in list(module.modules()):
        for name, child in part._modules.items():
            part._modules[name] = replaced.get(id(child), child)
    return replaced.get(id(module), module)


def _square(part: nn.Module, squared_ids: set[int]) -> None:
    """Square the weights of a layer of a copy and remove its biases."""
    with torch.no_grad():
        for name, value in part.named_parameters(recurse=False):
            if id(value) not in squared_ids:
                value.copy_(torch.zeros_like(value) if "bias" in name else value.square())
                squared_ids.add(id(value))
        if isinstance(part, Scaled):
            part.scale = part.scale**2
        if isinstance(part, Activation):
            part.gain_factor = part.gain_factor**2
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_var is not None:
            assert part.running_mean is not None
            part.running_mean.zero_()
            part.running_var.add_(part.eps).square_().sub_(part.eps)


def _square_mean_weights(pool: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Return the output times the weight of one input in its mean, so that this weight is
    squared."""
    one = torch.ones_like(inputs[0][:1])
    if isinstance(pool, POOLS):
        counting = copy.copy(pool)
        counting.divisor_override = 1
        return output * pool.forward(one) / counting.forward(one)
    axes = output.ndim - 2
    for axis, (size, replaced) in enumerate(
        zip(inputs[0].shape[-axes:], output.shape[-axes:], strict=True)
    ):
        k = torch.arange(replaced, dtype=output.dtype, device=output.device)
        many = torch.ceil((k + 1) * size / replaced) - torch.floor(k * size / replaced)
        output = output / many.reshape(-1, *[1] * (axes - 1 - axis))
    return output
