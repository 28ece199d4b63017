# pyright: basic
"""NetStack: the nets of some seeds, trained together in torch by autograd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from kleiber.experiment import MLP, SGD, Experiment, Transformer, rate_factor
from kleiber.networks.fused import Fused, fuse, is_fused
from kleiber.networks.image_nets import image_model
from kleiber.networks.net import DTYPES, Model, draw_params, plan_layers, stacked_model, unstack
from kleiber.networks.task import Data, Feed, make_feed
from kleiber.networks.transformer import token_model

FETCH_BYTES = 1 << 22  # bytes of batches fetched at a time
MEASURE_BLOCK = 1 << 21  # numbers of one layer in memory while measuring


@dataclass(eq=False)
class NetStack:
    """The nets of some seeds while they train; `died` maps a net to the step at which its loss was
    not finite.

    A diverged net continues to take steps that are ignored; it shares no number with the others.
    """

    experiment: Experiment
    seeds: tuple[int, ...]
    model: Model
    optimiser: torch.optim.Optimizer | Fused
    feed: Feed
    device: str
    died: dict[int, int] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)
    warm: dict[str, Any] = field(default_factory=dict)  # what measuring keeps for the next time

    def advance(self, first: int, last: int) -> None:
        """Take the steps first, ..., last - 1."""
        if isinstance(self.optimiser, Fused):
            self.optimiser.advance(self.feed, self.died, first, last)
            return
        for step in range(first, last):
            if len(self.died) == len(self.seeds):
                return
            x, y = self.batch(step, last)
            self.model.mode(True, step)
            set_rate(self.optimiser, self.experiment, step)
            losses = loss_of(self.experiment.task.loss, self.model.forward(x), y)
            self.optimiser.zero_grad()
            losses.sum().backward()  # nets share nothing: each gets its own gradient
            self.optimiser.step()
            self.record_divergence(losses, step)

    def batch(self, step: int, last: int) -> tuple[Tensor, Tensor]:
        """Return the examples of one step, [nets or 1, rows, ...]; several steps are fetched at
        once."""
        size = self.experiment.batch
        if size is None and self.feed.data.augment is None:
            if not self.cache:
                x, y = self.feed.take(0, 1)
                self.cache = {"x": self.tensor(x), "y": self.tensor(y)}
            return self.cache["x"], self.cache["y"]
        if size is None or self.feed.data.augment is not None:
            x, y = self.feed.take(step, 1)
            return self.tensor(x), self.tensor(y)
        if not self.cache.get("first", step) <= step < self.cache.get("end", -1):
            each = len(self.seeds) * size * int(np.prod(self.feed.data.shape)) * 8
            count = max(1, min(FETCH_BYTES // each, last - step))
            x, y = self.feed.take(step, count)
            self.cache = {"x": self.tensor(x), "y": self.tensor(y), "first": step}
            self.cache["end"] = step + count
        low = (step - self.cache["first"]) * size
        return self.cache["x"][:, low : low + size], self.cache["y"][:, low : low + size]

    def tensor(self, array: Shaped[np.ndarray, "..."]) -> Tensor:
        """Return numbers in the experiment's precision, and labels as they are."""
        if array.dtype.kind == "i":
            return torch.tensor(array, device=self.device)
        return torch.tensor(array, dtype=DTYPES[self.experiment.dtype], device=self.device)

    def record_divergence(self, losses: Tensor, step: int) -> None:
        """Record the nets whose loss is no longer finite."""
        finite = torch.isfinite(losses.detach())
        if not finite.all():
            for index in torch.nonzero(~finite)[:, 0].tolist():
                self.died.setdefault(index, step)

    def outputs(self, x: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "nets rows *outputs"]:
        """Return the outputs of each net on inputs [nets or 1, rows, ...]."""
        self.model.mode(False, 0)
        width = getattr(self.experiment.net, "width", 64) * len(self.seeds)
        size = max(
            16, MEASURE_BLOCK // (width * (1 if isinstance(self.experiment.net, MLP) else 256))
        )
        if isinstance(self.optimiser, Fused):
            return self.optimiser.predict(x)
        with torch.no_grad():
            parts = [
                self.model.forward(self.tensor(x[:, low : low + size])).cpu()
                for low in range(0, x.shape[1], size)
            ]
        return torch.cat(parts, dim=1).numpy()

    def params(self) -> dict[str, Shaped[np.ndarray, "nets ..."]]:
        """Return the parameters by name, with nets as the first axis."""
        values = {name: value.detach().cpu().numpy() for name, value in self.model.params.items()}
        return values if self.model.module is None else {k: v[None] for k, v in values.items()}

    def modules(self) -> list[torch.nn.Module]:
        """Return each net as a torch module, an MLP's scales folded into its weights; not
        centred."""
        if self.model.module is not None:
            return [self.model.module]
        net = self.experiment.net
        assert isinstance(net, MLP)
        params = {name: torch.tensor(value) for name, value in self.params().items()}
        layers = plan_layers(net, int(np.prod(self.feed.data.shape)), self.feed.data.outputs)
        return [unstack(net, layers, params, index) for index in range(len(self.seeds))]

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "params": {name: value.detach() for name, value in self.model.params.items()},
            "buffers": dict(self.model.buffers),
            "optimiser": self.optimiser.state_dict(),
            "died": dict(self.died),
            "warm": self.warm,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        with torch.no_grad():
            for kind, into in (("params", self.model.params), ("buffers", self.model.buffers)):
                for name, value in into.items():
                    value.copy_(state[kind][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.died = dict(state["died"])
        self.warm = state.get("warm", {})


def set_rate(optimiser: torch.optim.Optimizer, spec: Experiment, step: int) -> None:
    """Set the scheduled learning rate of a step in every group of parameters."""
    rate = spec.optimiser.rate * rate_factor(spec.schedule, step / spec.steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def loss_of(kind: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of each net over its rows: [nets].

    Outputs [nets, rows, places, classes] have a target for each place, negative where none counts.
    """
    if outputs.ndim == 4:
        answered = targets.expand(outputs.shape[:3])
        counts = answered >= 0
        chance = torch.log_softmax(outputs, dim=-1)
        each = -chance.gather(3, answered.clamp(min=0)[..., None])[..., 0]
        return torch.where(counts, each, 0.0).sum((1, 2)) / counts.sum((1, 2))
    if kind == "cross_entropy":
        chance = torch.log_softmax(outputs, dim=-1)
        index = targets.expand(outputs.shape[:2])[..., None]
        return -chance.gather(2, index)[..., 0].mean(1)
    square = ((outputs - targets) ** 2).mean((1, 2))
    return 0.5 * square if kind == "half_mse" else square


def make_stack(
    experiment: Experiment,
    data: Data,
    seeds: tuple[int, ...],
    device: str = "cpu",
    *,
    compiled: bool = True,
) -> NetStack:
    """Return the nets of some seeds at initialisation; two-layer ones are `compiled` if
    possible."""
    net = experiment.net
    feed = make_feed(data, seeds, experiment.batch)
    if isinstance(net, MLP):
        inputs = int(np.prod(data.shape))
        layers = plan_layers(net, inputs, data.outputs, adaptive=experiment.optimiser.kind != "sgd")
        drawn = draw_params(layers, seeds)
        if compiled and is_fused(experiment, data, device):
            fused = fuse(experiment, layers, drawn)
            model = stacked_model(net, layers, fused.views())
            return NetStack(experiment, seeds, model, fused, feed, device)
        dtype = DTYPES[experiment.dtype]
        tensors = {k: torch.tensor(v, dtype=dtype, device=device) for k, v in drawn.items()}
        model = stacked_model(net, layers, tensors)
    elif isinstance(net, Transformer):
        (seed,) = seeds
        model = token_model(experiment, data.shape, data.outputs, seed, device)
    else:
        channels, rows, columns = data.shape
        (seed,) = seeds
        model = image_model(experiment, (channels, rows, columns), data.outputs, seed, device)
    for value in model.params.values():
        value.requires_grad_(True)
    return NetStack(experiment, seeds, model, make_optimiser(experiment, model), feed, device)


def make_optimiser(experiment: Experiment, model: Model) -> torch.optim.Optimizer:
    """Return torch's optimiser of a spec, with one group for each factor of the learning rate."""
    groups: dict[float, list[Tensor]] = {}
    for name, value in model.params.items():
        groups.setdefault(model.rates[name], []).append(value)
    listed = [{"params": values, "factor": factor} for factor, values in groups.items()]
    spec = experiment.optimiser
    if isinstance(spec, SGD):
        return torch.optim.SGD(
            listed, spec.rate, spec.momentum, 0.0, spec.weight_decay, spec.nesterov, fused=True
        )
    kind = torch.optim.Adam if spec.kind == "adam" else torch.optim.AdamW
    betas = (spec.beta1, spec.beta2)
    return kind(listed, spec.rate, betas, spec.eps, spec.weight_decay, fused=True)
