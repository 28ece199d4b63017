"""Dynamical mean-field theory of projected gradient descent.

The model is that of Bordelon, Atanasov and Pehlevan (arXiv 2409.17858) in discrete time, with
width N and batch B (or data D) growing with the modes. All operators are causal, T x T in steps:

    symbol   meaning
    eta      step_size;  gamma: richness;  sigma: noise;  ~ : the part below the diagonal
    Q        from v3 = A(0) v2 to w:     Q = (I - eta^2 gamma S C3~)^-1 eta S, S = 1 for s < t
    Z        from v3 to v5 and v4:       Z = Q + eta gamma Cw~
    G        from v1 = Psi v0 to v0:     G = Z R3
    H_k      response of mode k:         H_k = (I + lam_k G R1)^-1
    R1, R3   responses of v1, v3:        R3 = (I + (1/N) sum_k lam_k R1 H_k Z)^-1,
                                         R1 = (I + (1/D) sum_k lam_k H_k G)^-1, or I for one pass
    C0 .. C3, Cw   covariances of v0 .. v3 and w, as written in `_covariances`

The loss is the diagonal of C0, the training loss that of C1. For one pass over Gaussian data, mode
k has lam_k diag <v0_k^2> in addition to C1, which is not small for the first modes. Row t depends
only on earlier rows, so one sweep over rows solves all equations, at a cost of two matrix-vector
products a step with the array H of K modes, K T^3 multiplications in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from kleiber.systems.feature_learning.bins import Modes, bin_modes
from kleiber.systems.feature_learning.model import Model
from kleiber.systems.feature_learning.volterra import fill, next_congruence, next_resolvent

Matrix = Float[np.ndarray, "times times"]
LARGEST = 2**31  # bytes of the modes' responses
BLOCK = 64  # number of steps whose responses are stored together


@dataclass(frozen=True)
class State:
    """The operators while they are being built, row by row.

    ``responses`` are the H_k in blocks of columns, [t - first, mode, s - first], each without the
    rows above its first column, which are zero.
    """

    modes: Modes
    responses: Sequence[Float[np.ndarray, "_ modes _"]]
    total: Float[np.ndarray, "times modes"]  # H_k 1
    square: Float[np.ndarray, "times modes"]  # <v0_k^2>
    matrices: dict[str, Matrix] = field(default_factory=dict[str, Matrix])

    def __getitem__(self, name: str) -> Matrix:
        return self.matrices[name]


NAMES = ("Q", "Z", "G", "R1", "R3", "M", "F", "J", "C0", "C1", "C2", "C3", "Cw", "P", "U", "E", "V")


def solve_dmft(
    model: Model, steps: Int[np.ndarray, "rows"]
) -> dict[str, Float[np.ndarray, "rows"]]:
    """Loss, training loss and kernel growth 1 + gamma <w^2> at `steps`, exact as sizes grow.

    The training loss of one pass is that of the fresh batch, with its noise. Raises ValueError for
    what the theory does not cover: depth other than 2, step_size 0, n_data with batch_size, steps
    that are no whole numbers from 0, or more of them than fit in memory.
    """
    last = _check(model, steps)
    modes = bin_modes(model, last * model.step_size)
    size = last + 1
    if 4 * size**2 * modes.lam.size > LARGEST:
        most = int(np.sqrt(LARGEST / 4 / modes.lam.size)) - 1
        raise ValueError(
            f"The mean-field theory stores every pair of steps for each of {modes.lam.size} "
            "modes, so "
            f"it reaches step {most}, got {last}; for later steps, solve over time."
        )
    found = sweep(model, modes, size)
    at = np.asarray(steps, int)
    unlearned = modes.rest
    return {
        "loss": np.diagonal(found["C0"])[at] + unlearned,
        "train_loss": np.diagonal(found["C1"])[at] + unlearned,
        "kernel_growth": 1 + model.richness * np.diagonal(found["Cw"])[at],
    }


def sweep(model: Model, modes: Modes, size: int) -> State:
    """Compute all operators over `size` steps, row by row."""
    shape = (size, modes.lam.size)
    starts = range(0, size, BLOCK)
    state = State(
        modes,
        [np.zeros((size - at, modes.lam.size, min(BLOCK, size - at))) for at in starts],
        np.zeros(shape),
        np.zeros(shape),
        {name: np.zeros((size, size)) for name in NAMES},
    )
    for t in range(size):
        _responses(model, state, t)
        _covariances(model, state, t)
        if t + 1 < size:
            _weights(model, state, t)
    return state


def _responses(model: Model, state: State, t: int) -> None:
    """Compute row t of G, H, R1, R3 and of the sums M = sum_k lam_k H_k, F = sum_k lam_k^2 H_k."""
    lam, count = state.modes.lam, state.modes.count
    r1, r3, z, g, m = (state[name] for name in ("R1", "R3", "Z", "G", "M"))
    end = t + 1
    g[t, :t] = z[t, :t] @ r3[:t, :t]
    through = g[t, :t] @ r1[:t, :t]
    for first, block in _blocks(state, t):
        row = block[t - first]
        if t > first:
            before = block[: t - first].reshape(t - first, -1)
            row[:] = -lam[:, None] * (through[first:] @ before).reshape(row.shape)
        if t - first < BLOCK:
            row[:, t - first] = 1.0
    h = _row(state, t)
    state.total[t] = h.sum(axis=1)
    m[t, :end], state["F"][t, :end] = (count * lam) @ h, (count * lam**2) @ h
    next_resolvent(r1, (m[t, :end] @ g[:end, :t]) / model.n_data)
    next_resolvent(r3, (r1[t, :end] @ m[:end, :end] @ z[:end, :t]) / model.width)


def _blocks(state: State, t: int) -> Iterator[tuple[int, Float[np.ndarray, "_ modes _"]]]:
    """Yield each block of columns that begins by step t, with its first column."""
    for number in range(t // BLOCK + 1):
        yield number * BLOCK, state.responses[number]


def _row(state: State, t: int) -> Float[np.ndarray, "modes upto"]:
    """Return row t of every H_k, up to column t."""
    parts = [block[t - first] for first, block in _blocks(state, t)]
    return np.concatenate(parts, axis=1)[:, : t + 1]


def _carried(
    state: State, t: int, fields: Float[np.ndarray, "modes upto"]
) -> Float[np.ndarray, "modes upto"]:
    """Return H_k times a field of each mode, up to step t."""
    out = np.zeros_like(fields)
    for first, block in _blocks(state, t):
        width = min(BLOCK, t + 1 - first)
        part = fields[:, first : first + width, None]
        out[:, first:] += (block[: t + 1 - first, :, :width].transpose(1, 0, 2) @ part)[:, :, 0]
    return out


def _covariances(model: Model, state: State, t: int) -> None:
    """Compute row t of the covariances; P = (1/N) Z C3 Z', U = (1/B) G C1 G', B = D for fixed data:

    C0 = sum_k lam_k H_k [w*_k^2 11' + P + lam_k U] H_k',   C1 = R1 (C0 + sigma^2 11') R1',
    C2 = sum_k {lam_k^2 R1 H_k [w*_k^2 11' + P] H_k' R1'
                + (lam_k/B) (I - lam_k R1 H_k G) C1 (I - lam_k R1 H_k G)'},   C3 = R3 C2 R3'.

    C1 is diagonal for one pass, where C1 + lam_k diag <v0_k^2> stands for C1 in the sums over k.
    """
    modes, end = state.modes, t + 1
    lam, count, power = modes.lam, modes.count, modes.power
    fresh = not np.isfinite(model.n_data)
    share = 1 / (model.batch_size if fresh else model.n_data)
    g = state["G"]
    fill(state["P"], next_congruence(state["Z"], state["C3"], t) / model.width)
    fill(state["U"], share * next_congruence(g, state["C1"], t))
    row = _row(state, t)
    wide, narrow = row @ state["P"][:end, :end], row @ state["U"][:end, :end]
    carried = row @ g[:end, :t]  # H_k G
    own = carried * state.square[:t].T
    if fresh:
        narrow += (share * lam)[:, None] * (own @ g[:end, :t].T)
    state.square[t] = power / (count * lam) * state.total[t] ** 2
    state.square[t] += ((wide + lam[:, None] * narrow) * row).sum(axis=1)
    mixed = (count * lam)[:, None] * _carried(state, t, wide + lam[:, None] * narrow)
    mixed += (power * state.total[t])[:, None] * state.total[:end].T
    fill(state["C0"], mixed.sum(axis=0))
    fill(state["E"], lam @ mixed)
    _noise(model, state, t, (count * lam**3) @ own if fresh else None)


def _noise(model: Model, state: State, t: int, own: Float[np.ndarray, "earlier"] | None) -> None:
    """Compute row t of C1, C2 and C3 from C0 and E = sum_k lam_k^2 H_k [...] H_k'."""
    lam, count, end = state.modes.lam, state.modes.count, t + 1
    r1, c1, j = state["R1"], state["C1"], state["J"]
    share = 1 / (model.n_data if own is None else model.batch_size)
    if own is None:
        shifted = state["V"]
        fill(shifted, state["C0"][t, :end] + model.noise**2)
        fill(c1, next_congruence(r1, shifted, t))
    else:
        c1[t, t] = state["C0"][t, t] + model.noise**2
    j[t, :t] = r1[t, :end] @ state["F"][:end, :end] @ state["G"][:end, :t]
    row = next_congruence(r1, state["E"], t)
    mixed = j[t, :t] @ c1[:t, :end] + j[:end, :t] @ c1[:t, t]
    row += share * ((count @ lam) * c1[t, :end] - mixed)
    if own is not None:
        row[:t] -= share * own
        row[t] += share * ((count * lam**2) @ state.square[t])
    fill(state["C2"], row)
    fill(state["C3"], next_congruence(state["R3"], state["C2"], t))


def _weights(model: Model, state: State, t: int) -> None:
    """Compute row t + 1 of Q, Cw and Z."""
    q, c3, end = state["Q"], state["C3"], t + 1
    eta, rich = model.step_size, model.step_size * model.richness
    q[end] = q[t] + eta * rich * (c3[t, :t] @ q[:t])
    q[end, t] += eta
    fill(state["Cw"], next_congruence(q, c3, end))
    state["Z"][end, :end] = q[end, :end] + rich * state["Cw"][end, :end]


def _check(model: Model, steps: Int[np.ndarray, "rows"]) -> int:
    """Return the last step. Raises ValueError for what the theory does not cover."""
    if model.depth != 2:
        raise ValueError(
            f"The mean-field theory in discrete time needs depth 2, got depth={model.depth}."
        )
    if not model.step_size > 0:
        raise ValueError("The mean-field theory in discrete time needs a step_size above 0.")
    if np.isfinite(model.n_data) and np.isfinite(model.batch_size):
        raise ValueError("Give n_data or batch_size, not both: data are a fixed set or pass once.")
    given = np.asarray(steps)
    if given.size == 0 or not np.issubdtype(given.dtype, np.integer) or given.min() < 0:
        raise ValueError("The steps must be whole numbers from 0.")
    return int(given.max())
