# pyright: basic
"""Largest singular values of linear maps, by a block power iteration with warm starts.

    G = A^T A,  basis [V, G V, ..., G^q V],  Rayleigh-Ritz in it,  V <- its leading vectors

(a block Lanczos iteration with restarts). It ends when the residual |G v - theta v| is at most
`TOLERANCE` theta; then an eigenvalue of G lies within `TOLERANCE` theta of theta, so that the
singular value is good to half of that, and in practice to its square over the gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping

import torch
from torch import Tensor

from kleiber.errors import NotConverged

TOLERANCE = 2e-3
DIRECT = 48  # rows or columns up to which the Gram matrix is diagonalised outright
N_KEPT, N_FRESH, DEPTH, CYCLES = 2, 1, 6, 200
Gram = Callable[[Tensor], Tensor]  # rows x -> rows (A^T A x), [k, n] -> [k, n]
Warm = MutableMapping[str, Tensor]  # leading vectors by name, kept from one checkpoint to the next


def spectral_norm(matrix: Tensor, warm: Warm | None = None, name: str = "") -> float:
    """Return the largest singular value of a matrix [rows, columns]."""
    size = float(matrix.abs().max())
    if not size > 0:
        return 0.0
    a = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T) / size
    if a.shape[0] <= DIRECT:
        double = a.to(torch.float64)
        return size * math.sqrt(max(0.0, float(torch.linalg.eigvalsh(double @ double.T)[-1])))
    return size * largest_singular(
        lambda x: (x @ a) @ a.T, a.shape[0], a.dtype, a.device, warm, name
    )


def largest_singular(
    gram: Gram,
    size: int,
    dtype: torch.dtype,
    device: torch.device,
    warm: Warm | None = None,
    name: str = "",
) -> float:
    """Return the root of the largest eigenvalue of a Gram operator on vectors of a given size.

    Raises NotConverged with residual and iterations after CYCLES restarts.
    """
    drawn = torch.randn(
        (N_FRESH if warm and name in warm else N_KEPT + N_FRESH, size),
        generator=torch.Generator().manual_seed(size),
        dtype=torch.float64,
    ).to(device=device, dtype=dtype)
    start = torch.cat([warm[name], drawn]) if warm and name in warm else drawn
    residual = math.inf
    for _ in range(CYCLES):
        vectors, theta, residual = _cycle(gram, start)
        if residual <= TOLERANCE:
            if warm is not None:
                warm[name] = vectors
            return math.sqrt(theta)
        start = vectors
    raise NotConverged(
        "The power iteration for a spectral norm did not converge.", residual, CYCLES
    )


def _cycle(gram: Gram, start: Tensor) -> tuple[Tensor, float, float]:
    """Return the leading Ritz vectors of one Krylov basis, the largest value and its relative
    residual."""
    basis = torch.linalg.qr(start.T).Q.T
    image = gram(basis)
    last = image
    for _ in range(min(DEPTH, start.shape[1] // len(start) - 1)):
        new = last
        for _ in range(2):  # once more: what is left of nothing points anywhere
            new = torch.linalg.qr((new - (new @ basis.T) @ basis).T).Q.T
        last = gram(new)
        basis, image = torch.cat([basis, new]), torch.cat([image, last])
    small = (image @ basis.T).to(torch.float64)
    values, rotation = torch.linalg.eigh((small + small.T) / 2)
    theta = float(values[-1])
    if theta <= 0:
        return basis[:N_KEPT], 0.0, 0.0
    coefficients = rotation[:, -N_KEPT:].T.flip(0).to(basis.dtype)
    vectors = coefficients @ basis
    residual = float(torch.linalg.vector_norm(coefficients[0] @ image - theta * vectors[0]))
    return vectors, theta, residual / theta
