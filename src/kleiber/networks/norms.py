# pyright: basic
"""Norms of networks, in log space: spectral complexity and what is compared with it.

For matrices A_1 ... A_L (find_weights says which; convolutions flattened to [out, in x window]),
s_i = |A_i| the largest singular value, b_i the sum of the lengths of the rows of A_i - M_i (of its
output units), c_i that of the columns of A_i:

    log_spectral_complexity   log prod s_i (sum_i (b_i/s_i)^(2/3))^(3/2), Bartlett et al. 2017
                              (arXiv 1706.08498), eq. 1.2, activations of Lipschitz constant 1
    log_tail_complexity       the same with sum_{j>i} c_j in the place of b_i: what the code of
                              D'Amico et al. 2025 (arXiv 2505.13230) computes for its CNNs
    log_fc_complexity         that for the first and last layer alone, log s_L c_L: their ResNets
    log_spectral_product      log prod s_i
    log_operator_product      the same with each convolution's norm as a map of images
    log_21                    log sum b_i
    log_l1, log_frobenius     log sum |w| and log (sum w^2)^(1/2) of all parameters, whatever layer
    log_path                  log (sum over paths of the product of squared weights)^(1/2)

A layer that runs twice enters products and sums over layers twice, `log_l1` and `log_frobenius`
once; of a layer with parametrisations all of them see the weight that it computes. The references
M_i are 0 unless given. A norm of zero has the log -inf.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from kleiber.errors import listed, nearest
from kleiber.experiment import NORMS
from kleiber.networks.paths import path_norm, unsupported_layer
from kleiber.networks.singular import Warm, largest_singular, spectral_norm
from kleiber.networks.weights import (
    Weight,
    effective_parameters,
    find_weights,
    input_sizes,
    knows_order,
)

Norms = dict[str, float]
ORDERED = frozenset({"log_tail_complexity", "log_fc_complexity"})  # of one layer after another
SPECTRAL = frozenset(NORMS[:4])  # what needs the flattened matrices' largest singular values


def measure_norms(
    module: nn.Module,
    *,
    shape: tuple[int, ...] | None = None,
    reference: nn.Module | None = None,
    names: Collection[str] | None = None,
    unknown: Literal["refuse", "leave"] = "refuse",
    warm: Warm | None = None,
) -> Norms:
    """Return the logs of a module's norms by name, all available ones or those named.

    `shape` is that of one input. It is needed by log_operator_product where there are convolutions,
    by log_path, and by log_tail_complexity and log_fc_complexity where a module's own forward
    decides in which order its layers run; without it, or for layers without path norm, these are
    left out unless named. Such a module is run on one input of zeros to see the order. The
    rows of `reference` (the module at its start, say) are subtracted in log_spectral_complexity.
    With a dict as `warm`, iterations start from the vectors of the last call, as they should from
    one checkpoint to the next. Parameters that are not finite make every norm NaN.

    Raises ValueError for an unknown name and for layers without norm (but see find_weights).
    """
    wanted = set(NORMS if names is None else names)
    for name in sorted(wanted - set(NORMS)):
        raise ValueError(
            f"There is no norm {name!r}; norms are {', '.join(NORMS)}.{nearest(name, NORMS)}"
        )
    weights = find_weights(module, unknown, shape)
    ordered = shape is not None or knows_order(module)
    if names is None:
        wanted -= _unavailable(module, shape, weights) | (set() if ordered else ORDERED)
    elif not ordered and wanted & ORDERED:
        raise ValueError(
            f"The norm {listed(sorted(wanted & ORDERED))} depends on the order in which layers "
            "run, which "
            f"the forward pass of {type(module).__name__} decides; give the shape of one input."
        )
    if not all(torch.isfinite(value).all() for value in module.parameters()):
        return dict.fromkeys((name for name in NORMS if name in wanted), math.nan)
    found: Norms = {}
    spectral_norms: dict[str, float] = {}
    if wanted & (SPECTRAL | {"log_21"}):
        base = None if reference is None else find_weights(reference, unknown, shape)
        spectral_norms = {
            weight.name: spectral_norm(weight.matrix, warm, weight.name) for weight in weights
        }
        found |= complexities(weights, spectral_norms, base)
    if "log_operator_product" in wanted:
        found["log_operator_product"] = operator_product(
            module, weights, shape, spectral_norms, warm
        )
    if "log_path" in wanted:
        found["log_path"] = path_norm(module, shape)
    if wanted & {"log_l1", "log_frobenius"}:
        found |= entrywise(module)
    return {name: found[name] for name in NORMS if name in wanted}


def complexities(
    weights: tuple[Weight, ...],
    largest: Mapping[str, float],
    base: tuple[Weight, ...] | None = None,
) -> Norms:
    """Compute the norms that follow from largest singular values, by name, and from row and column
    lengths."""
    spectral_norms = [log(largest[weight.name]) for weight in weights]
    columns = [float(lengths(weight.matrix, 0)) for weight in weights]
    rows = plain = [log(float(lengths(weight.matrix, 1))) for weight in weights]
    if base is not None:
        if [each.matrix.shape for each in base] != [each.matrix.shape for each in weights]:
            raise ValueError("The reference is a module with other layers than the one measured.")
        rows = [
            log(float(lengths(weight.matrix - start.matrix, 1)))
            for weight, start in zip(weights, base, strict=True)
        ]
    after = [sum(columns[position:]) for position in range(1, len(columns))]
    return {
        "log_spectral_complexity": combine(spectral_norms, rows),
        "log_tail_complexity": combine(spectral_norms, [*map(log, after), -math.inf]),
        "log_fc_complexity": spectral_norms[-1] + log(columns[-1]),
        "log_spectral_product": sum(spectral_norms),
        "log_21": log_sum(plain),
    }


def lengths(matrix: Tensor, along: Literal[0, 1]) -> Tensor:
    """Return the sum of the lengths of the columns (0) or of the rows (1) of a matrix."""
    return torch.linalg.vector_norm(matrix, dim=along, dtype=torch.float64).sum()


def log(value: float) -> float:
    """Return the logarithm, -inf at 0."""
    return math.log(value) if value > 0 else -math.inf


def log_sum(logs: list[float]) -> float:
    """Return log sum exp, for terms of any size."""
    maximum = max(logs)
    if math.isinf(maximum):
        return maximum
    return maximum + math.log(sum(math.exp(each - maximum) for each in logs))


def combine(spectral_norms: list[float], others: list[float]) -> float:
    """Return log prod s_i (sum_i (t_i/s_i)^(2/3))^(3/2) from the logs of s and t; s > 0 where t >
    0."""
    if math.isinf(sum(spectral_norms)):
        return -math.inf
    ratios = [2 / 3 * (other - norm) for norm, other in zip(spectral_norms, others, strict=True)]
    return sum(spectral_norms) + 1.5 * log_sum(ratios)


def operator_product(
    module: nn.Module,
    weights: tuple[Weight, ...],
    shape: tuple[int, ...] | None,
    known: Mapping[str, float],
    warm: Warm | None = None,
) -> float:
    """Return the log of the product of operator norms, convolutions acting on images of their input
    size; `known` are largest singular values that need not be computed again."""
    sizes: Mapping[str, tuple[int, ...]] = {}
    if any(weight.layer is not None for weight in weights):
        if shape is None:
            raise ValueError(
                "The norm log_operator_product needs the shape of one input of the module."
            )
        sizes = input_sizes(module, shape, weights)
    total = 0.0
    for weight in weights:
        if weight.layer is not None:
            norm = convolution_norm(weight, sizes[weight.name], warm)
        elif weight.name in known:
            norm = known[weight.name]
        else:
            norm = spectral_norm(weight.matrix, warm, weight.name)
        total += log(norm)
    return total


def convolution_norm(weight: Weight, shape: tuple[int, ...], warm: Warm | None = None) -> float:
    """Return the largest singular value of a convolution as a map of inputs of a given shape.

    By power iteration; for circular padding with stride 1 by the Fourier transform of the kernel
    (Sedghi, Gupta & Long 2019, arXiv 1805.10408).
    """
    layer = weight.layer
    assert layer is not None
    kernel, count = weight.kernel, math.prod(shape)
    if is_circular(weight):
        return circular_norm(kernel, shape[1:])
    size = float(kernel.abs().max())
    if not size > 0:
        return 0.0
    kernel = kernel / size

    def gram(x: Tensor) -> Tensor:
        return weight.act_back(x.reshape(-1, *shape), kernel).reshape(-1, count)

    name = f"{weight.name} on {shape}"
    return size * largest_singular(gram, count, kernel.dtype, kernel.device, warm, name)


def is_circular(weight: Weight) -> bool:
    """Return whether a convolution commutes with shifts of a periodic image, all channels in one
    group."""
    layer = weight.layer
    if layer is None or layer.padding_mode != "circular" or layer.groups != 1:
        return False
    same = all(
        2 * int(around) == gap * (side - 1)
        for around, gap, side in zip(layer.padding, layer.dilation, layer.kernel_size, strict=True)
    )
    return same and set(layer.stride) == {1} and set(layer.dilation) == {1}


def circular_norm(kernel: Tensor, sides: tuple[int, ...]) -> float:
    """Return the operator norm of a circular convolution: the largest over frequencies."""
    axes = tuple(range(2, kernel.ndim))
    wide = torch.zeros((*kernel.shape[:2], *sides), dtype=torch.float64)
    for position in torch.cartesian_prod(*[torch.arange(n) for n in kernel.shape[2:]]).reshape(
        -1, len(axes)
    ):
        at = tuple(int(k) % n for k, n in zip(position, sides, strict=True))
        wide[(..., *at)] += kernel[(..., *position.tolist())].to("cpu", torch.float64)
    blocks = torch.fft.fftn(wide, dim=axes).flatten(2).permute(2, 0, 1)
    return float(torch.linalg.matrix_norm(blocks, ord=2).max())


def entrywise(module: nn.Module) -> Norms:
    """Return the l1 and Frobenius norms of all parameters together."""
    values = effective_parameters(module)
    one = sum(float(value.abs().sum(dtype=torch.float64)) for value in values)
    two = [float(torch.linalg.vector_norm(value, dtype=torch.float64)) for value in values]
    return {"log_l1": log(one), "log_frobenius": log(math.hypot(*two))}


def _unavailable(
    module: nn.Module, shape: tuple[int, ...] | None, weights: tuple[Weight, ...]
) -> set[str]:
    """Return the norms that the module, or an unknown input shape, excludes."""
    without: set[str] = set()
    if shape is None and any(weight.layer is not None for weight in weights):
        without.add("log_operator_product")
    if shape is None or unsupported_layer(module):
        without.add("log_path")
    return without


def log_margin(outputs: Tensor, labels: Tensor, share: float = 0.1) -> float:
    """Return the log of the margin that all but a share of examples reach: the output of their
    class minus the largest other.

    Outputs [rows, classes], labels [rows]. Raises ValueError where that margin is not positive, as
    for a net that errs on more of them.
    """
    if not 0 <= share < 1:
        raise ValueError(f"The share of examples below the margin must lie in [0, 1), got {share}.")
    own_output = outputs.gather(1, labels[:, None])[:, 0]
    others = outputs.scatter(1, labels[:, None], -math.inf).amax(1)
    margin = float(torch.quantile((own_output - others).double(), share))
    if not margin > 0:
        raise ValueError(
            f"The margin that {1 - share:.0%} of the examples reach is {margin:.3g}; a norm over a "
            "margin needs a positive one, of a net that has learned them."
        )
    return math.log(margin)


def over_margin(norms: Norms, margin: float) -> Norms:
    """Return the logs of norms divided by a margin, from the log of that margin (`log_margin`).

    Only norms that scale as the outputs do mean anything so: complexities, products and path norm.
    """
    scaling = set(NORMS) - {"log_21", "log_l1", "log_frobenius"}
    return {f"{name}_over_margin": norms[name] - margin for name in norms if name in scaling}
