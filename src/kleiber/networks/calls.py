# pyright: basic
"""Which layers a module calls, in what order, how often and on inputs of what shape."""

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
    """One call of a layer, and the shape of one of the inputs that it was called with."""

    layer: nn.Module
    shape: tuple[int, ...]


def is_chain(module: nn.Module, layers: Collection[nn.Module]) -> bool:
    """Whether the order in which layers are registered is known to be that in which they run."""
    if any(module is layer for layer in layers):
        return True
    parts = list(module.children())
    return not parts or (type(module) in CHAINS and all(is_chain(part, layers) for part in parts))


def trace_calls(
    module: nn.Module, shape: tuple[int, ...], layers: Collection[nn.Module]
) -> list[Call]:
    """The calls of some layers, in order, when the module is given one input of that shape.

    Raises ValueError with the shape where the module does not run.
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
    """The module as in evaluation, where running it or reading its weights changes nothing."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
