# pyright: basic
"""The calls of a module's layers: their order, their number and the shapes of their inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from kleiber.errors import reason
from kleiber.networks.image_nets import Attention, Block, Layer, Patches, Scaled

# modules whose parts run in the order in which they are registered
CHAINS = (nn.Sequential, Block, Layer, Patches, Attention, Scaled)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, and the shape of one of its inputs."""

    layer: nn.Module
    shape: tuple[int, ...]


def is_chain(module: nn.Module, layers: Collection[nn.Module]) -> bool:
    """Return whether layers are known to run in the order in which they are registered."""
    if any(module is layer for layer in layers):
        return True
    parts = list(module.children())
    return not parts or (type(module) in CHAINS and all(is_chain(part, layers) for part in parts))


def trace_calls(
    module: nn.Module, shape: tuple[int, ...], layers: Collection[nn.Module]
) -> list[Call]:
    """Return the calls of some layers, in order, for one input of a given shape.

    Raises ValueError with the shape if the module does not run on it.
    """
    calls: list[Call] = []

    def note(layer: nn.Module, part: nn.Module, inputs: tuple, named: dict) -> None:
        given = next((x for x in (*inputs, *named.values()) if isinstance(x, Tensor)), None)
        calls.append(Call(layer, () if given is None else tuple(given.shape[1:])))

    hooks = [
        layer.register_forward_pre_hook(partial(note, layer), with_kwargs=True) for layer in layers
    ]
    first = next(module.parameters())
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it runs layers without calling them
        with evaluating(module), torch.no_grad():
            module(torch.zeros((1, *shape), dtype=first.dtype, device=first.device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"The module does not run on an input of shape {shape}: {reason(error)}."
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
    return calls


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, in which running it or reading its weights changes
    nothing."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
