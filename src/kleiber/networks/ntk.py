# pyright: basic
"""The empirical neural tangent kernel of a net, and training linearised about it.

    K(x, x') = (1/outputs) sum_c sum_p r_p  d f_c(x)/d p  d f_c(x')/d p

with the factor r_p that the net's parameterisation puts on the rate of each parameter, so that the
residuals of gradient descent at small rate follow dr/dt = -K r/rows with t = rate x steps. In the
parameterisations ntk and mean_field K is the kernel of lazy training, whatever the richness.
Gradients are those of single examples (Jacot et al. 2018, arXiv 1806.07572), in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import functional_call, grad, vmap

from kleiber.experiment import MLP, Experiment
from kleiber.maths.seeds import stream
from kleiber.networks.loop import threads
from kleiber.networks.net import activation_gain, plan_layers, stacked_forward
from kleiber.networks.net_stack import NetStack, make_stack
from kleiber.networks.task import Data, make_data

MEMORY = 1 << 28  # bytes of one block of gradients

Output = Callable[[dict[str, Tensor], Tensor], Tensor]  # parameters, one example -> outputs


def ntk_gram(
    stack: NetStack, x: Shaped[np.ndarray, "rows ..."], *, index: int = 0
) -> Float[np.ndarray, "rows rows"]:
    """Return the kernel between inputs (pixels prepared as in training) of one net in its current
    state.

    A net of several outputs is probed by one sum of them with random signs, whose kernel has the
    mean over outputs as its expectation.
    """
    output, params, rates = _as_function(stack, index)
    outputs = stack.feed.data.outputs
    signs = stream(0, "ntk signs").choice([-1.0, 1.0], outputs) / np.sqrt(outputs)
    probe = torch.tensor(np.ones(1) if outputs == 1 else signs)

    def scalar(at: dict[str, Tensor], example: Tensor) -> Tensor:
        return output(at, example) @ probe

    gradients = vmap(grad(scalar), (None, 0))
    size = sum(value.numel() for value in params.values())
    rows = max(1, MEMORY // (8 * size))
    inputs = torch.tensor(np.asarray(x, np.float64))

    def block(low: int) -> Tensor:
        made = gradients(params, inputs[low : low + rows])
        return torch.cat(
            [value.flatten(1) * rates[name] ** 0.5 for name, value in made.items()], dim=1
        )

    gram = np.empty((len(inputs), len(inputs)))
    with threads(1):
        for low in range(0, len(inputs), rows):
            gradients_of_block = block(low)
            for other in range(low, len(inputs), rows):
                part = (
                    gradients_of_block @ (gradients_of_block if other == low else block(other)).T
                ).numpy()
                gram[low : low + rows, other : other + rows] = part
                gram[other : other + rows, low : low + rows] = part.T
    return gram


def _as_function(stack: NetStack, index: int) -> tuple[Output, dict[str, Tensor], dict[str, float]]:
    """Return one net as a function of its parameters and one example, its parameters in double
    precision, and their learning rates."""
    net, model = stack.experiment.net, stack.model
    params_of_net = {name: value.detach().cpu().double() for name, value in model.params.items()}
    if model.module is not None:
        module = model.module

        def of_module(params: dict[str, Tensor], example: Tensor) -> Tensor:
            return functional_call(module, params, (example[None],))[0]

        return of_module, params_of_net, model.rates
    assert isinstance(net, MLP)
    data = stack.feed.data
    layers = plan_layers(net, int(np.prod(data.shape)), data.outputs)

    def of_stack(params: dict[str, Tensor], example: Tensor) -> Tensor:
        stacked = {name: value[None] for name, value in params.items()}
        return stacked_forward(layers, stacked, net.activation, activation_gain(net))(
            example[None, None]
        )[0, 0]

    return of_stack, {name: value[index] for name, value in params_of_net.items()}, model.rates


def initial_ntk(
    experiment: Experiment,
    x: Shaped[np.ndarray, "rows ..."],
    *,
    seed: int = 0,
    data: Data | None = None,
) -> Float[np.ndarray, "rows rows"]:
    """Return the kernel of a seed's net at initialisation; ``data`` are the Experiment's, if
    loaded."""
    params_of_net = make_data(experiment) if data is None else data
    return ntk_gram(make_stack(experiment, params_of_net, (seed,), compiled=False), x)


@dataclass(frozen=True)
class Linearised:
    """Training linearised about its kernel: the eigenvalues of K/rows, descending, and the power of
    the targets along each eigenvector, c_k = sum over outputs of (u_k . y)^2/rows."""

    eigenvalues: Float[np.ndarray, "modes"]
    power: Float[np.ndarray, "modes"]

    def loss(
        self, time: Float[np.ndarray, "times"], *, rate: float = 0.0, halved: bool = True
    ) -> Float[np.ndarray, "times"]:
        """Return half the mean square (or the whole) of the residuals: sum_k c_k exp(-2 lambda_k
        t), or for steps of a finite rate, sum_k c_k (1 - rate lambda_k)^(2 t/rate)."""
        values = np.maximum(self.eigenvalues, 0)
        each = np.log(np.abs(1 - rate * values)) / rate if rate else -values
        decay = np.exp(2 * np.multiply.outer(time, each))
        return decay @ self.power * (0.5 if halved else 1.0)


def linearise(
    gram: Float[np.ndarray, "rows rows"], targets: Float[np.ndarray, "examples *outputs"]
) -> Linearised:
    """Linearise training on a sample, with targets of one or several outputs.

    Raises ValueError where the sizes differ.
    """
    rows = len(gram)
    if gram.shape != (rows, rows) or len(targets) != rows:
        raise ValueError(f"A kernel of {rows} rows needs as many targets, got {len(targets)}.")
    values, vectors = np.linalg.eigh(gram / rows)
    projections = (vectors.T @ targets.reshape(rows, -1)) ** 2
    return Linearised(values[::-1].copy(), projections.sum(1)[::-1] / rows)
