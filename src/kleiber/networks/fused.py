# pyright: basic
"""Two-layer nets on functions, trained by the compiled loop of kernel.py where Numba is there."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from kleiber.experiment import MLP, SGD, Experiment, rate_factor
from kleiber.networks.kernel import BENDS, MOST_INPUTS, load_kernel
from kleiber.networks.net import Layer, swell_of
from kleiber.networks.task import Data, Feed

FETCHED = 1 << 22  # bytes of batches made at a time


def is_fused(experiment: Experiment, data: Data, device: str) -> bool:
    """Whether the compiled loop trains this: one hidden layer, one output, few inputs, a CPU."""
    net = experiment.net
    return (
        device == "cpu"
        and isinstance(net, MLP)
        and net.depth == 1
        and net.activation in BENDS
        and data.outputs == 1
        and data.shape[0] <= MOST_INPUTS
        and importlib.util.find_spec("numba") is not None
    )


@dataclass(frozen=True, eq=False)
class Fused:
    """The parameters of a stack as rows of one array [members, w by inputs | b | v | c], and the
    optimiser's moments; `shift` is what is added to the targets of a centred net."""

    experiment: Experiment
    layers: tuple[Layer, ...]
    module: ModuleType
    theta: Float[np.ndarray, "members size"]
    first: Float[np.ndarray, "members size"]
    second: Float[np.ndarray, "members size"]
    start: Float[np.ndarray, "members size"] | None

    def advance(self, feed: Feed, died: dict[int, int], low: int, high: int) -> None:
        """Take the steps low, ..., high - 1."""
        rows = self.experiment.batch
        each = feed.distinct * (rows or 1) * (self.layers[0].fan_in + 1) * 8
        stride = high - low if rows is None else max(1, FETCHED // each)
        for step in range(low, high, stride):
            self._run(feed, died, step, min(high, step + stride))

    def _run(self, feed: Feed, died: dict[int, int], low: int, high: int) -> None:
        spec, real = self.experiment, self.theta.dtype.type
        x, y = feed.take(low, high - low)
        x, y = np.ascontiguousarray(x.transpose(0, 2, 1), real), y[:, :, 0]
        if self.start is not None:
            y = y + self._outputs(self.start, x)
        rows = spec.batch or x.shape[2]
        factors = [rate_factor(spec.schedule, step / spec.steps) for step in range(low, high)]
        taken = np.arange(low, high) + 1.0
        adaptive = not isinstance(spec.optimiser, SGD)
        ones, roots = np.ones(len(taken)), np.ones(len(taken))
        if not isinstance(spec.optimiser, SGD):
            ones = 1 - spec.optimiser.beta1**taken
            roots = np.sqrt(1 - spec.optimiser.beta2**taken)
        gone = np.array([died.get(m, -1) for m in range(len(self.theta))])
        width = self.layers[0].fan_out
        self.module.run(
            self.theta, self.first, self.second, x, np.ascontiguousarray(y, real), rows,
            spec.batch is not None, width, self.scales(), self.ends(), self.factors(),
            spec.optimiser.rate * np.array(factors), ones, roots, adaptive, self.hyper(), gone, low,
        )  # fmt: skip
        died.update({m: int(step) for m, step in enumerate(gone) if step >= 0})

    def scales(self) -> np.ndarray:
        """What multiplies w, v and the mean square."""
        weight = 0.5 if self.experiment.task.loss == "half_mse" else 1.0
        out = self.layers[1].scale * swell_of(self.experiment.net)
        return np.array([self.layers[0].scale, out, weight], self.theta.dtype)

    def ends(self) -> np.ndarray:
        """Where w, b, v and c end in a row."""
        fan_in, width = self.layers[0].fan_in, self.layers[0].fan_out
        return np.cumsum([fan_in * width, width, width, 1])

    def factors(self) -> np.ndarray:
        """What multiplies the rate of w, b, v and c; nought where there is no bias."""
        inner, outer = self.layers
        each = [inner.rate, inner.bias_rate * inner.bias, outer.rate, outer.bias_rate * outer.bias]
        return np.array(each)

    def hyper(self) -> np.ndarray:
        """The optimiser's numbers in the order that the kernel reads them."""
        spec = self.experiment.optimiser
        if isinstance(spec, SGD):
            numbers = [spec.momentum, spec.weight_decay, float(spec.nesterov)]
        else:
            apart = spec.kind == "adamw"
            decay = spec.weight_decay
            numbers = [spec.beta1, spec.beta2, spec.eps, decay * (not apart), decay * apart]
        return np.array(numbers, self.theta.dtype)

    def predict(self, x: Float[np.ndarray, "sets rows inputs"]) -> np.ndarray:
        """The outputs of each member, [members, rows, 1]."""
        columns = np.ascontiguousarray(x.transpose(0, 2, 1), self.theta.dtype)
        out = self._outputs(self.theta, columns)
        return (out if self.start is None else out - self._outputs(self.start, columns))[:, :, None]

    def _outputs(
        self, theta: Float[np.ndarray, "members size"], x: Float[np.ndarray, "sets inputs rows"]
    ) -> Float[np.ndarray, "members rows"]:
        out = np.empty((len(theta), x.shape[2]), theta.dtype)
        self.module.predict(theta, x, self.layers[0].fan_out, self.scales(), out)
        return out

    def views(self) -> dict[str, torch.Tensor]:
        """The parameters as torch sees them, sharing the memory."""
        fan_in, width = self.layers[0].fan_in, self.layers[0].fan_out
        w, b, v, c = np.split(self.theta, self.ends()[:-1], axis=1)
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
        """The moments, as a checkpoint keeps them."""
        return {"first": torch.from_numpy(self.first), "second": torch.from_numpy(self.second)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a checkpoint's moments."""
        self.first[:] = state["first"].numpy()
        self.second[:] = state["second"].numpy()


def fuse(experiment: Experiment, layers: tuple[Layer, ...], params: dict[str, np.ndarray]) -> Fused:
    """The stack at its initial parameters."""
    assert isinstance(experiment.net, MLP)
    members = len(params["0.weight"])
    width = layers[0].fan_out
    parts = [
        params["0.weight"].transpose(0, 2, 1).reshape(members, -1),
        params.get("0.bias", np.zeros((members, width))),
        params["1.weight"][:, 0],
        params.get("1.bias", np.zeros((members, 1))),
    ]
    theta = np.concatenate(parts, axis=1).astype(experiment.dtype)
    module = load_kernel(experiment.net.activation, layers[0].fan_in, experiment.dtype)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    start = theta.copy() if experiment.net.centred else None
    return Fused(experiment, layers, module, theta, first, second, start)
