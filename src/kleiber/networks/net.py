# pyright: basic
"""Nets: the layers of an MLP in each parameterisation, and the Model that the training loop uses.

An MLP's layer is h' = activation(scale W h + b). Its parameters have a first axis over nets, so
that the seeds of an Experiment are trained as one stack of matrices; CNN, ResNet and ViT
(image_nets.py) are torch modules, one net each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kleiber.experiment import CNN, MLP, Net
from kleiber.maths.seeds import stream
from kleiber.networks.task import ACTIVATIONS

Forward: TypeAlias = Callable[[Tensor], Tensor]  # [nets or 1, rows, ...] -> [nets, rows, out]
TORCH_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "relu_squared": lambda z: torch.relu(z) ** 2,
    "identity": lambda z: z,
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Layer:
    """W of shape [fan_out, fan_in] and b: how they are initialised and scaled, and their learning
    rates."""

    fan_in: int
    fan_out: int
    uniform: bool  # on +-deviation, else Gaussian of that deviation
    deviation: float
    bias: bool
    bias_deviation: float
    scale: float = 1.0
    rate: float = 1.0
    bias_rate: float = 1.0


@lru_cache
def gain(activation: str) -> float:
    """Return 1/sqrt(E activation(z)^2) for a unit Gaussian z, by the trapezoidal rule."""
    z = np.linspace(-12.0, 12.0, (1 << 16) + 1)
    weight = np.exp(-0.5 * z**2)
    return float(np.sqrt(weight.sum() / (weight @ ACTIVATIONS[activation](z) ** 2)))


def plan_layers(
    net: MLP, inputs: int, outputs: int, *, adaptive: bool = False
) -> tuple[Layer, ...]:
    """Return the layers of an MLP; `adaptive` optimisers (Adam) need other learning rates than
    SGD."""
    sizes = [inputs, *[net.width] * net.depth, outputs]
    pairs = list(pairwise(sizes))
    last = len(pairs) - 1
    position = ["input" if k < last else "output" for k in range(len(pairs))]
    position[1:last] = ["hidden"] * (last - 1)
    return tuple(
        _layer(net, where, fan_in, fan_out, adaptive)
        for where, (fan_in, fan_out) in zip(position, pairs, strict=True)
    )


def _layer(net: MLP, position: str, fan_in: int, fan_out: int, adaptive: bool) -> Layer:
    size, root = net.init_scale, math.sqrt(fan_in)
    if net.parameterisation == "standard":
        bound = size / root
        if net.init == "normal":
            return Layer(fan_in, fan_out, False, size, net.bias, size)
        if net.init == "kaiming":
            gain_factor = 1.0 if position == "input" else gain(net.activation)
            return Layer(fan_in, fan_out, False, bound * gain_factor, net.bias, 0.0)
        return Layer(fan_in, fan_out, True, bound, net.bias, bound)
    if net.parameterisation == "mup":
        return _mup_layer(net, position, fan_in, fan_out, adaptive)
    mean_field = net.parameterisation == "mean_field"
    scale = 1 / root
    if position == "output":
        scale = 1 / ((fan_in if mean_field else root) * net.richness)
    rate = net.richness**2 * (net.width if mean_field else 1)
    if adaptive:  # Adam's steps have a size of their own, so only the width counts
        rate = 1 / root if mean_field and position == "hidden" else 1.0
    return Layer(
        fan_in, fan_out, False, size, net.bias, 0.0, scale, rate, 1.0 if adaptive else rate
    )


def _mup_layer(net: MLP, position: str, fan_in: int, fan_out: int, adaptive: bool) -> Layer:
    """Return a layer of Yang et al. 2021 (arXiv 2203.03466), table 3, with m = width /
    base_width."""
    m = net.width / net.base_width
    deviation = net.init_scale / math.sqrt(fan_in)
    gain_factor = 1.0 if position == "input" else gain(net.activation)
    if position == "output":
        gain_factor /= math.sqrt(m)
    rates = {"input": 1.0, "hidden": 1 / m, "output": 1 / m}
    if not adaptive:
        rates = {"input": m, "hidden": 1.0, "output": 1 / m}
    bias_rate = 1.0 if adaptive or position == "output" else m
    return Layer(
        fan_in,
        fan_out,
        False,
        deviation * gain_factor,
        net.bias,
        0.0,
        1.0,
        rates[position],
        bias_rate,
    )


def draw_params(
    layers: tuple[Layer, ...], seeds: tuple[int, ...]
) -> dict[str, Float[np.ndarray, "nets ..."]]:
    """Draw initial parameters "0.weight" [nets, out, in], "0.bias" [nets, out], "1.weight" ..."""
    out: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        rng = stream(seed, "weights")
        for k, layer in enumerate(layers):
            shape = (layer.fan_out, layer.fan_in)
            out.setdefault(f"{k}.weight", []).append(_draw(rng, layer, layer.deviation, shape))
            if layer.bias:
                drawn = _draw(rng, layer, layer.bias_deviation, shape[:1])
                out.setdefault(f"{k}.bias", []).append(drawn)
    return {name: np.stack(arrays) for name, arrays in out.items()}


def _draw(
    rng: np.random.Generator, layer: Layer, size: float, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    if size == 0:
        return np.zeros(shape)
    return rng.uniform(-size, size, shape) if layer.uniform else size * rng.standard_normal(shape)


def stacked_forward(
    layers: tuple[Layer, ...], params: dict[str, Tensor], activation: str, gain_factor: float
) -> Forward:
    """Return the outputs of a stack of MLPs as a function of inputs, shared [1, rows, ...] or
    not."""
    activate = TORCH_ACTIVATIONS[activation]

    def forward(x: Tensor) -> Tensor:
        h = x.flatten(2)
        for k, layer in enumerate(layers):
            weight = params[f"{k}.weight"].transpose(1, 2)
            if len(h) != len(weight):
                h = h.expand(len(weight), -1, -1)
            if layer.scale != 1:
                weight = layer.scale * weight
            bias = params.get(f"{k}.bias")
            h = torch.bmm(h, weight) if bias is None else torch.baddbmm(bias[:, None], h, weight)
            if k + 1 < len(layers):
                h = activate(h) if gain_factor == 1 else gain_factor * activate(h)
        return h

    return forward


@dataclass(frozen=True, eq=False)
class Model:
    """What the training loop needs of some nets: parameters, learning rates and the forward pass.

    `buffers` are what a checkpoint keeps beside the parameters; `mode` switches between training
    and evaluation; `module` is the torch module if the net is one.
    """

    params: dict[str, Tensor]
    rates: dict[str, float]
    forward: Forward
    buffers: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    mode: Callable[[bool, int], None] = lambda training, step: None
    module: torch.nn.Module | None = None


def stacked_model(net: MLP, layers: tuple[Layer, ...], params: dict[str, Tensor]) -> Model:
    """Return a stack of MLPs with the given initial parameters."""
    rates: dict[str, float] = {}
    for name in params:
        layer = layers[int(name.split(".")[0])]
        rates[name] = layer.rate if name.endswith("weight") else layer.bias_rate
    forward = stacked_forward(layers, params, net.activation, activation_gain(net))
    if net.centred:
        start = {name: value.clone() for name, value in params.items()}
        forward = centred(
            forward, stacked_forward(layers, start, net.activation, activation_gain(net))
        )
    return Model(params, rates, forward)


def unstack(
    net: MLP, layers: tuple[Layer, ...], params: dict[str, Tensor], index: int
) -> nn.Sequential:
    """Return one net of a stack as plain layers, with every scale folded into the weights."""
    parts: list[nn.Module] = [nn.Flatten()]
    for k, layer in enumerate(layers):
        full = nn.Linear(layer.fan_in, layer.fan_out, layer.bias)
        gain_factor = activation_gain(net) if k else 1.0  # of the activation before it
        full.weight = nn.Parameter(gain_factor * layer.scale * params[f"{k}.weight"][index])
        if layer.bias:
            full.bias = nn.Parameter(params[f"{k}.bias"][index].clone())
        parts += [full, Activation(net.activation)]
    return nn.Sequential(*parts[:-1])


class Activation(nn.Module):
    """An activation, times its gain."""

    def __init__(self, activation: str, gain_factor: float = 1.0) -> None:
        super().__init__()
        self.function, self.gain_factor = TORCH_ACTIVATIONS[activation], gain_factor

    def forward(self, x: Tensor) -> Tensor:
        h = self.function(x)
        return h if self.gain_factor == 1 else self.gain_factor * h


def activation_gain(net: Net) -> float:
    """Return the factor of the activation: its gain if the parameterisation has unit weights, else
    1."""
    if isinstance(net, MLP | CNN) and net.parameterisation in ("ntk", "mean_field"):
        return gain(net.activation)
    return 1.0


def centred(forward: Forward, at_start: Forward) -> Forward:
    """Return the outputs minus those at initialisation."""

    def difference(x: Tensor) -> Tensor:
        with torch.no_grad():
            start = at_start(x)
        return forward(x) - start

    return difference
