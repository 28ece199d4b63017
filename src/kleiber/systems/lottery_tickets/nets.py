"""Two-layer scalar nets as arrays: f_s(x) = sum_i v_si phi(w_si x + b_si) + c_s.

The first axis is over seeds, and phi is the activation. Everything here is NumPy; torch is needed
only to read nets from torch modules. Liu and Tegmark 2023 (arXiv 2310.02258) read such nets as
ensembles of lottery tickets, pairs of neurons with (w, b, v) and (-w, b, v), whose sum is even.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import ndtr

from kleiber.errors import BadTable, listed, nearest
from kleiber.maths.seeds import stream
from kleiber.networks.task import ACTIVATIONS, Array

AGREE = 1e-4  # largest relative difference between a module and the net read from it

Points = Float[np.ndarray, "points"]
Seeds = Float[np.ndarray, "seeds"]
Neurons = Float[np.ndarray, "seeds width"]


@dataclass(frozen=True, eq=False)
class Nets:
    """Nets of one width that differ in their seed; `activation` is the name of one of an MLP."""

    w: Neurons
    b: Neurons
    v: Neurons
    c: Seeds
    activation: str

    @property
    def width(self) -> int:
        """The number of neurons of a net."""
        return self.w.shape[1]


def make_nets(
    w: ArrayLike, b: ArrayLike, v: ArrayLike, c: ArrayLike = 0.0, *, activation: str = "silu"
) -> Nets:
    """Make nets from arrays [seeds, width] (or [width], one net) and c [seeds]. Raises BadTable."""
    if activation not in ACTIVATIONS:
        raise BadTable(
            f"No activation is called {activation!r}.{nearest(activation, ACTIVATIONS)} "
            f"There are: {listed(list(ACTIVATIONS), 20)}."
        )
    try:
        parts = [np.atleast_2d(np.asarray(item, float)) for item in (w, b, v)]
        shift = np.broadcast_to(np.asarray(c, float).ravel(), (len(parts[0]),)).copy()
    except (TypeError, ValueError) as error:
        raise BadTable(
            f"Nets are arrays of numbers [seeds, width] and c [seeds]: {error}."
        ) from error
    shapes = {item.shape for item in parts}
    if len(shapes) != 1 or parts[0].ndim != 2 or 0 in parts[0].shape:
        raise BadTable(
            "The arrays w, b and v must have one shape [seeds, width], got "
            + ", ".join(str(list(item.shape)) for item in parts)
            + "."
        )
    if not all(np.isfinite(item).all() for item in (*parts, shift)):
        raise BadTable("Weights must be finite; leave out the nets that diverged.")
    weights, biases, outer = parts
    return Nets(weights, biases, outer, shift, activation)


def draw_nets(width: int, seeds: int | Sequence[int], *, activation: str = "silu") -> Nets:
    """Draw the initial nets of the standard parameterisation for the seeds (n means 0 to n - 1).

    w and b are uniform on +-1, v and c on +-1/sqrt(width).
    """
    drawn: list[list[Array]] = []
    root = width**-0.5
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        rng = stream(seed, "weights")
        w, b = rng.uniform(-1, 1, width), rng.uniform(-1, 1, width)
        drawn.append([w, b, rng.uniform(-root, root, width), rng.uniform(-root, root, 1)])
    w, b, v, c = (np.stack(part) for part in zip(*drawn, strict=True))
    return make_nets(w, b, v, c, activation=activation)


def take_nets(source: Any, *, activation: str | None = None) -> Nets:
    """Read nets from a `Trained`, a torch module Linear-activation-Linear, or a list of them.

    All modules must have one width. The activation is found by comparing the module's outputs with
    those of the net read from it, which also checks that it computes nothing else. Raises BadTable.
    """
    if hasattr(source, "experiment") and hasattr(source, "modules"):
        if getattr(source.experiment.net, "centred", False):
            raise BadTable(
                "A centred net is a difference of two nets, whose neurons cannot be read."
            )
        modules = source.modules()
        activation = activation or getattr(source.experiment.net, "activation", None)
    else:
        listed_given = isinstance(source, list | tuple)
        modules = list(cast(Any, source)) if listed_given else [source]
    if not modules:
        raise BadTable("There are no modules to read nets from.")
    opened = [_open(module, activation) for module in modules]
    if len({(one.width, one.activation) for one in opened}) != 1:
        found = ", ".join(f"{one.width} {one.activation}" for one in opened[:4])
        raise BadTable(f"The modules must have one width and one activation, got {found}.")
    parts = [np.concatenate([getattr(one, name) for one in opened]) for name in "wbvc"]
    return make_nets(*parts, activation=opened[0].activation)


def _open(module: Any, activation: str | None) -> Nets:
    """Read one module's weights and find the activation that reproduces the module's outputs."""
    import torch

    layers = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    shapes = [tuple(each.weight.shape) for each in layers]
    if len(layers) != 2 or shapes[0][1] != 1 or shapes[1][0] != 1 or shapes[0][0] != shapes[1][1]:
        raise BadTable(
            "Only nets Linear(1, N), activation, Linear(N, 1) can be read; this module has the "
            f"linear layers {[shape[::-1] for shape in shapes]}."
        )

    def array(value: Any, size: int) -> Array:
        return np.zeros(size) if value is None else value.detach().cpu().double().numpy().ravel()

    first, last = layers
    width = shapes[0][0]
    w, b = array(first.weight, width), array(first.bias, width)
    v, c = array(last.weight, width), array(last.bias, 1)
    x = np.linspace(-3, 3, 61)
    with torch.no_grad():
        given = torch.tensor(x[:, None], dtype=first.weight.dtype, device=first.weight.device)
        expected = module(given).cpu().double().numpy().ravel()
    size = float(np.abs(v) @ np.abs(w) + np.abs(v) @ np.abs(b) + np.abs(c).sum())
    for name in ACTIVATIONS if activation is None else [activation]:
        nets = make_nets(w, b, v, c, activation=name)
        if np.allclose(outputs(nets, x)[0], expected, rtol=0, atol=AGREE * (size + 1e-12)):
            return nets
    raise BadTable(
        f"With {f'the activation {activation}' if activation else 'every known activation'} the "
        "two linear layers do not reproduce the outputs of this module."
    )


def features(nets: Nets, x: Points) -> Float[np.ndarray, "seeds width points"]:
    """Return phi(w x + b) of each neuron, the activation of its input."""
    return ACTIVATIONS[nets.activation](nets.w[:, :, None] * x + nets.b[:, :, None])


def contributions(nets: Nets, x: Points) -> Float[np.ndarray, "seeds width points"]:
    """Return v phi(w x + b) of each neuron."""
    return nets.v[:, :, None] * features(nets, x)


def outputs(nets: Nets, x: Points) -> Float[np.ndarray, "seeds points"]:
    """Return f(x) of each net."""
    return np.einsum("sn,snp->sp", nets.v, features(nets, x)) + nets.c[:, None]


def mean_squares(nets: Nets, x: Points, y: Points) -> Seeds:
    """Return the mean squared error of each net on the target y at x."""
    return ((outputs(nets, x) - y) ** 2).mean(1)


def keep_nets(nets: Nets, kept: Any) -> Nets:
    """Return the nets that a mask or an index array selects."""
    return replace(nets, w=nets.w[kept], b=nets.b[kept], v=nets.v[kept], c=nets.c[kept])


def check_target(x: ArrayLike, y: ArrayLike) -> tuple[Points, Points]:
    """Return inputs and target as arrays. Raises BadTable unless they are 8 or more finite
    pairs."""
    inputs, target = np.asarray(x, float), np.asarray(y, float)
    if inputs.ndim != 1 or inputs.shape != target.shape or inputs.size < 8:
        raise BadTable(
            "The inputs x and the target y must be arrays of one axis with the same 8 or more "
            "points, "
            "got shapes "
            f"{list(inputs.shape)} and {list(target.shape)}."
        )
    if not (np.isfinite(inputs).all() and np.isfinite(target).all()) or np.ptp(inputs) == 0:
        raise BadTable(
            "The inputs x and the target y must be finite, and x must have different values."
        )
    return inputs, target


def _silu_derivative(z: Array) -> Array:
    q = 1 / (1 + np.exp(-np.clip(z, -500, None)))
    return q + z * q * (1 - q)


DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, 1.0, 0.01),
    "silu": _silu_derivative,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "gelu": lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    "relu_squared": lambda z: 2 * np.maximum(z, 0),
    "identity": np.ones_like,
}  # of the activations by their argument z
