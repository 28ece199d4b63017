# pyright: basic
"""Two-layer nets on functions, trained by the compiled loop of kernel.py if Numba is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from kleiber.experiment import MLP, SGD, Experiment, rate_factor
from kleiber.networks.kernel import ACTIVATIONS, MAX_INPUTS, load_kernel
from kleiber.networks.net import Layer, activation_gain
from kleiber.networks.task import Data, Feed

FETCH_BYTES = 1 << 22  # bytes of batches made at a time


def is_fused(experiment: Experiment, data: Data, device: str) -> bool:
    """Return whether the compiled loop trains this: one hidden layer, one output, few inputs, a
    CPU."""
    net = experiment.net
    return (
        device == "cpu"
        and isinstance(net, MLP)
        and net.depth == 1
        and net.activation in ACTIVATIONS
        and data.outputs == 1
        and data.shape[0] <= MAX_INPUTS
        and importlib.util.find_spec("numba") is not None
    )


@dataclass(frozen=True, eq=False)
class Fused:
    """The parameters of a stack of nets as rows of one array [nets, w by inputs | b | v | c], with
    the optimiser's moments; `start` holds the initial parameters of a centred net."""

    experiment: Experiment
    layers: tuple[Layer, ...]
    module: ModuleType
    theta: Float[np.ndarray, "nets size"]
    first: Float[np.ndarray, "nets size"]
    second: Float[np.ndarray, "nets size"]
    start: Float[np.ndarray, "nets size"] | None

    def advance(self, feed: Feed, died: dict[int, int], low: int, high: int) -> None:
        """Take the steps low, ..., high - 1."""
        rows = self.experiment.batch
        each = feed.distinct * (rows or 1) * (self.layers[0].fan_in + 1) * 8
        stride = high - low if rows is None else max(1, FETCH_BYTES // each)
        for step in range(low, high, stride):
            self._run(feed, died, step, min(high, step + stride))

    def _run(self, feed: Feed, died: dict[int, int], low: int, high: int) -> None:
        spec, real = self.experiment, self.theta.dtype.type
        x, y = feed.take(low, high - low)
        x, y = np.ascontiguousarray(x.transpose(0, 2, 1), real), y[:, :, 0]
        if self.start is not None:
            y = y + self._outputs(self.start, x)
        rows = spec.batch or x.shape[2]
        rate_factors = [rate_factor(spec.schedule, step / spec.steps) for step in range(low, high)]
        steps_taken = np.arange(low, high) + 1.0
        adaptive = not isinstance(spec.optimiser, SGD)
        ones, roots = np.ones(len(steps_taken)), np.ones(len(steps_taken))
        if not isinstance(spec.optimiser, SGD):
            ones = 1 - spec.optimiser.beta1**steps_taken
            roots = np.sqrt(1 - spec.optimiser.beta2**steps_taken)
        diverged_at = np.array([died.get(m, -1) for m in range(len(self.theta))])
        width = self.layers[0].fan_out
        self.module.run(
            self.theta, self.first, self.second, x, np.ascontiguousarray(y, real), rows,
            spec.batch is not None, width, self.scales(), self.part_ends(), self.rate_factors(),
            spec.optimiser.rate * np.array(rate_factors), ones, roots, adaptive, self.hyper(),
            diverged_at, low,
        )  # fmt: skip
        died.update({m: int(step) for m, step in enumerate(diverged_at) if step >= 0})

    def scales(self) -> np.ndarray:
        """Return the factors of w, of v and of the mean square."""
        weight = 0.5 if self.experiment.task.loss == "half_mse" else 1.0
        out = self.layers[1].scale * activation_gain(self.experiment.net)
        return np.array([self.layers[0].scale, out, weight], self.theta.dtype)

    def part_ends(self) -> np.ndarray:
        """Return the positions in a row at which w, b, v and c end."""
        fan_in, width = self.layers[0].fan_in, self.layers[0].fan_out
        return np.cumsum([fan_in * width, width, width, 1])

    def rate_factors(self) -> np.ndarray:
        """Return the factors of the learning rate of w, b, v and c; 0 without a bias."""
        inner, outer = self.layers
        each = [inner.rate, inner.bias_rate * inner.bias, outer.rate, outer.bias_rate * outer.bias]
        return np.array(each)

    def hyper(self) -> np.ndarray:
        """Return the optimiser's hyperparameters in the order in which the kernel reads them."""
        spec = self.experiment.optimiser
        if isinstance(spec, SGD):
            numbers = [spec.momentum, spec.weight_decay, float(spec.nesterov)]
        else:
            decoupled = spec.kind == "adamw"
            decay = spec.weight_decay
            numbers = [spec.beta1, spec.beta2, spec.eps, decay * (not decoupled), decay * decoupled]
        return np.array(numbers, self.theta.dtype)

    def predict(self, x: Float[np.ndarray, "sets rows inputs"]) -> np.ndarray:
        """Return the outputs of each net: [nets, rows, 1]."""
        columns = np.ascontiguousarray(x.transpose(0, 2, 1), self.theta.dtype)
        out = self._outputs(self.theta, columns)
        return (out if self.start is None else out - self._outputs(self.start, columns))[:, :, None]

    def _outputs(
        self, theta: Float[np.ndarray, "nets size"], x: Float[np.ndarray, "sets inputs rows"]
    ) -> Float[np.ndarray, "nets rows"]:
        out = np.empty((len(theta), x.shape[2]), theta.dtype)
        self.module.predict(theta, x, self.layers[0].fan_out, self.scales(), out)
        return out

    def views(self) -> dict[str, torch.Tensor]:
        """Return the parameters as torch tensors that share the memory."""
        fan_in, width = self.layers[0].fan_in, self.layers[0].fan_out
        w, b, v, c = np.split(self.theta, self.part_ends()[:-1], axis=1)
        arrays = {
            "0.weight": w.reshape(-1, fan_in, width).transpose(0, 2, 1),
            "0.bias": b,
            "1.weight": v[:, None, :],
            "1.bias": c,
        }
        return {
            name: torch.from_numpy(array)
            for name, array in arrays.items()
            if self.layers[int(name[0])].bias or name.endswith("weight")
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, as a checkpoint keeps them."""
        return {"first": torch.from_numpy(self.first), "second": torch.from_numpy(self.second)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the moments of a checkpoint."""
        self.first[:] = state["first"].numpy()
        self.second[:] = state["second"].numpy()


def fuse(experiment: Experiment, layers: tuple[Layer, ...], params: dict[str, np.ndarray]) -> Fused:
    """Return the stack of nets at its initial parameters."""
    assert isinstance(experiment.net, MLP)
    n_nets = len(params["0.weight"])
    width = layers[0].fan_out
    parts = [
        params["0.weight"].transpose(0, 2, 1).reshape(n_nets, -1),
        params.get("0.bias", np.zeros((n_nets, width))),
        params["1.weight"][:, 0],
        params.get("1.bias", np.zeros((n_nets, 1))),
    ]
    theta = np.concatenate(parts, axis=1).astype(experiment.dtype)
    module = load_kernel(experiment.net.activation, layers[0].fan_in, experiment.dtype)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    start = theta.copy() if experiment.net.centred else None
    return Fused(experiment, layers, module, theta, first, second, start)
