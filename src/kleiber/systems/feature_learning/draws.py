"""Simulation of projected gradient descent on systems drawn at random.

With A = B A(0), B(0) = I, the model is trained on N x N matrices, whatever the number of modes:

    phi = B'w,  g = F (targets - F'phi/N)/n,  w += eta B g,  B += (eta gamma/N) w g'  (the old w)

F = A(0) Lambda^(1/2) in population and in one pass (n = 1, targets Lambda^(1/2) w*), and A(0)
times the n = D data for a fixed set. The dynamics turn with the basis of the N units, and run in
that in which F = U s V', so that g = s (V'targets - s phi/N)/n takes N multiplications, without
cancellation. These are the steps of the literal model, to rounding.

In one pass a batch of B Gaussian inputs acts through g = sum_b e_b x_b/B, e = r + sigma eps, where
the error r and the features x = s z of an input are jointly Gaussian: var r = L, cov(x, r) = s rho,
with rho the residual. Given all r_b, sum_b e_b x_b is Gaussian. Each step is drawn from exactly
that law: N normal numbers, and the sums of e r and e^2 (a Wishart matrix of B degrees).

Seeds are trained together in blocks that stay in cache. The products w g' wait in a buffer and are
added to B several at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.special import zeta

from kleiber.arguments import check_memory, check_whole
from kleiber.errors import BadTable
from kleiber.maths.seeds import stream
from kleiber.maths.spectrum import power_law
from kleiber.systems.feature_learning.model import Model
from kleiber.table import numbers

CACHE = 2**21  # bytes of the matrices B of one block
BUFFER = 16  # number of products w g' that are added together
CHUNK = 32  # steps for which random numbers are drawn at once
DRAWN_MODES = 2000  # least number of modes drawn of infinitely many
DRAWN_MODES_WIDE = 500
SMALL_RATE = 0.02  # eta times the largest rate, where gradient flow is asked for
MAX_OPERATIONS = 10**13  # largest number of multiplications of a simulation
COLUMNS = ("loss", "train_loss", "kernel_growth")

Rows = Float[np.ndarray, "members units"]


@dataclass(frozen=True)
class System:
    """One member in the basis of its own F: singular values, V'targets, and the part outside.

    `probe` maps phi to the basis of the population's F, whose values follow; None if that is F.
    """

    scale: Float[np.ndarray, "units"]
    target: Float[np.ndarray, "units"]
    rest: float
    probe: Float[np.ndarray, "units units"] | None = None
    test_scale: Float[np.ndarray, "units"] | None = None
    test_target: Float[np.ndarray, "units"] | None = None
    test_rest: float = 0.0


@dataclass(frozen=True)
class Block:
    """Members that are trained together, and the arrays that one step needs."""

    systems: tuple[System, ...]
    units: int
    eta: float
    gamma: float
    data: float
    batch: float
    noise: float
    scale: Rows
    target: Rows
    rest: Float[np.ndarray, "members 1"]
    tests: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


def simulate(model: Model, grid: pl.DataFrame, seeds: int, seed: int) -> pl.DataFrame:
    """Simulate the grid (column step or time): loss, train_loss, growth 1 + gamma |w|^2/N.

    train_loss is measured before each step on the data of the step, with label noise: fixed data,
    the fresh batch, or the population. Infinite width is an orthogonal A(0) of as many units as
    modes. Of infinitely many modes max(2000, 8 width, 8 n_data) are drawn (500 at infinite width);
    the others act as one isotropic term, which is their average. Without step_size, steps are 0.02
    over the largest rate. Between steps losses are interpolated linearly. The numbers of a seed do
    not depend on the number of seeds. Raises BadTable and ValueError.
    """
    if model.depth != 2:
        raise ValueError(f"Only depth 2 is simulated, got depth={model.depth}.")
    check_whole("seeds", seeds, low=1)
    modes, units = sizes(model)
    what = f"a system of {units:.3g} units and {modes:.3g} modes"
    data = model.n_data if np.isfinite(model.n_data) else 1
    size = 16 * (units + int(data)) * (modes + units)
    check_memory(what, size, "take a smaller width, n_data or modes")
    eta = model.step_size or small_step(model, modes)
    requested = _requested_steps(grid, eta)
    low = np.floor(requested).astype(int)
    steps, at = np.unique(
        np.concatenate([low, np.ceil(requested).astype(int)]), return_inverse=True
    )
    _check_cost(units, int(steps.max()), seeds, eta)
    size = max(1, CACHE // (8 * units**2))
    parts = list[pl.DataFrame]()
    for start in range(0, seeds, size):
        members = range(start, min(start + size, seeds))
        found = run(model, eta, steps, seed, members)
        share = requested - low
        for row, member in enumerate(members):
            each = {name: values[row][at].reshape(2, -1) for name, values in found.items()}
            columns = [pl.Series("seed", np.full(grid.height, member))]
            columns += [
                pl.Series(name, (1 - share) * ends[0] + share * ends[1])
                for name, ends in each.items()
            ]
            parts.append(grid.with_columns(columns))
    return pl.concat(parts)


def sizes(model: Model) -> tuple[int, int]:
    """Return the number of modes that are drawn and the number of units, both finite."""
    wide = np.isinf(model.width)
    other = model.n_data if np.isfinite(model.n_data) else 1
    drawn_modes = DRAWN_MODES_WIDE if wide else max(DRAWN_MODES, 8 * model.width, 8 * other)
    modes = int(min(model.modes, drawn_modes if np.isinf(model.modes) else model.modes))
    return modes, modes if wide else int(model.width)


def small_step(model: Model, modes: int) -> float:
    """Return a step far below the inverse of the largest rate lam_1 (1 + gamma n)."""
    norm = power_law(modes, model.capacity * (model.source - 1) + 1).sum()
    growth = (1 + np.sqrt(1 + 4 * model.richness * norm)) / 2
    kernel = 1 + modes / max(model.n_data, 1) if np.isfinite(model.n_data) else 1.0
    spread = (1 + zeta(model.capacity) / min(model.width, 1e9)) * min(kernel, 4.0)
    return float(SMALL_RATE / growth / spread)


def run(
    model: Model, eta: float, steps: Int[np.ndarray, "times"], seed: int, members: range
) -> dict[str, Float[np.ndarray, "members times"]]:
    """Train some members together and measure them at the rising `steps`."""
    block = make_block(model, eta, [draw_system(model, seed, member) for member in members])
    found = {name: np.empty((len(members), steps.size)) for name in COLUMNS}
    fresh = fresh_numbers(model, block, seed, members) if np.isfinite(model.batch_size) else None
    with np.errstate(over="ignore", invalid="ignore"):
        for index, measured in descend(block, steps, fresh):
            for name, values in zip(COLUMNS, measured, strict=True):
                found[name][:, index] = values
            if not np.isfinite(measured[0]).all():
                raise ValueError(
                    f"Gradient descent diverged before step {steps[index]}: step_size {eta:g} is "
                    "too "
                    "large; it must stay below 2 over the largest rate, which grows in training."
                )
    return found


def descend(
    block: Block, steps: Int[np.ndarray, "times"], fresh: Iterator[np.ndarray] | None
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Take gradient steps; yield the index in `steps` with loss, training loss and growth."""
    n, rich, members = block.units, block.gamma > 0, len(block.systems)
    factor, scaled, index = block.eta * block.gamma / n, block.scale / n, 0
    w, phi = np.zeros((2, members, n))
    wide = np.zeros((members, n + BUFFER, n))  # B, and below it the g of the products that wait
    wide[:, range(n), range(n)] = 1.0
    old, pending = np.zeros((members, BUFFER, n)), 0  # their w
    for t in range(int(steps[-1]) + 1):
        if rich and t:
            phi = (w[:, None] @ wide[:, :n])[:, 0]
            if pending:
                inner = factor * (old[:, :pending] @ w[:, :, None])
                phi += (inner.transpose(0, 2, 1) @ wide[:, n : n + pending])[:, 0]
        else:
            phi = w
        residual = block.target - scaled * phi
        gradient, squared = _gradient(block, residual, None if fresh is None else next(fresh))
        if t == steps[index]:
            yield index, _measure(block, residual, phi, w, squared)
            index += 1
        if not rich:
            w = w + block.eta * gradient
            continue
        rotated = (wide[:, : n + pending] @ gradient[:, :, None])[:, :, 0]
        moved = rotated[:, :n]
        if pending:
            moved = moved + ((factor * rotated[:, None, n:]) @ old[:, :pending])[:, 0]
        old[:, pending], wide[:, n + pending] = w, gradient
        w, pending = w + block.eta * moved, pending + 1
        if pending == BUFFER:
            wide[:, :n] += factor * (old.transpose(0, 2, 1) @ wide[:, n:])
            pending = 0


def _gradient(
    block: Block, residual: Rows, drawn: Float[np.ndarray, "members numbers"] | None
) -> tuple[Rows, np.ndarray | None]:
    """Return g and, in one pass, the batch's mean squared error."""
    if drawn is None:
        return block.scale * residual / block.data, None
    n = block.units
    normal, (first, mixed, chi, less) = drawn[:, :n], drawn[:, n:, None].transpose(1, 0, 2)
    loss = np.einsum("mn,mn->m", residual, residual)[:, None] + block.rest
    root = block.noise * np.sqrt(loss * chi) * mixed  # sigma sum r eps
    squared = loss * chi + 2 * root + block.noise**2 * (mixed**2 + less)  # sum e^2
    error = np.einsum("mn,mn->m", residual, normal)[:, None] + np.sqrt(block.rest) * first
    length = np.sqrt(squared)
    along = (loss * chi + root - length * error) / loss / block.batch
    return block.scale * (along * residual + length / block.batch * normal), squared / block.batch


def _measure(
    block: Block, residual: Rows, phi: Rows, w: Rows, squared: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return loss, training loss and growth of each member."""
    own = (residual**2).sum(axis=1) + block.rest[:, 0]
    growth = 1 + block.gamma * (w**2).mean(axis=1)
    if not block.tests:
        train = own + block.noise**2 if squared is None else squared[:, 0]
        return own, train, growth
    rotated = (block.tests["probe"] @ phi[:, :, None])[:, :, 0]
    left = block.tests["target"] - block.tests["scale"] * rotated / block.units
    return (left**2).sum(axis=1) + block.tests["rest"], own / block.data, growth


def make_block(model: Model, eta: float, systems: list[System]) -> Block:
    """Stack the arrays of all members."""
    fixed = np.isfinite(model.n_data)
    tests = dict[str, np.ndarray]()
    if fixed:
        tests = {
            "probe": np.stack([item.probe for item in systems if item.probe is not None]),
            "scale": np.stack([i.test_scale for i in systems if i.test_scale is not None]),
            "target": np.stack([i.test_target for i in systems if i.test_target is not None]),
            "rest": np.array([item.test_rest for item in systems]),
        }
    return Block(
        tuple(systems),
        systems[0].scale.size,
        eta,
        model.richness,
        model.n_data if fixed else 1.0,
        model.batch_size,
        model.noise,
        np.stack([item.scale for item in systems]),
        np.stack([item.target for item in systems]),
        np.array([[item.rest] for item in systems]),
        tests,
    )


def draw_system(model: Model, seed: int, member: int) -> System:
    """Draw A(0), and the data set if it is fixed, and change to the basis of F."""
    modes, units = sizes(model)
    signal = np.sqrt(power_law(modes, model.capacity * model.source + 1))
    tails = tail_sums(model, modes)
    features = _features(model, seed, member, modes, units)
    extra = _extra(model, seed, member, units, tails)
    gram = features @ features.T
    gram[np.diag_indices(units)] += tails[0] if np.isfinite(model.width) else 0.0
    there, whole = _diagonalise(gram, features @ signal + extra, float(signal @ signal) + tails[1])
    if np.isinf(model.n_data):
        return whole
    data, label = int(model.n_data), stream(seed, f"feature_learning labels {member}")
    inputs = stream(seed, f"feature_learning inputs {member}").standard_normal((data, modes))
    own = features @ inputs.T
    if np.isfinite(model.width):
        own += np.sqrt(tails[0]) * label.standard_normal((units, data))
    spread = np.sqrt(model.noise**2 + tails[1])
    targets = inputs @ signal + spread * label.standard_normal(data)
    here, trained = _diagonalise(own @ own.T, own @ targets, float(targets @ targets))
    return replace(
        trained,
        probe=there.T @ here,
        test_scale=whole.scale,
        test_target=whole.target,
        test_rest=whole.rest,
    )


def tail_sums(model: Model, modes: int) -> tuple[float, float, float]:
    """Return the sums of lam_k, c_k and lam_k c_k over the modes that are not drawn."""
    if np.isfinite(model.modes):
        return 0.0, 0.0, 0.0
    power = model.capacity * model.source + 1
    first = modes + 1
    sums = [zeta(e, first) for e in (model.capacity, power, model.capacity + power)]
    return float(sums[0]), float(sums[1]), float(sums[2])


def _features(
    model: Model, seed: int, member: int, modes: int, units: int
) -> Float[np.ndarray, "units modes"]:
    """Draw A(0) Lambda^(1/2)."""
    root = power_law(modes, model.capacity / 2)
    if np.isinf(model.width):
        return np.diag(np.sqrt(units) * root)
    rng = stream(seed, f"feature_learning features {member}")
    return rng.standard_normal((units, modes)) * root


def _extra(
    model: Model, seed: int, member: int, units: int, tails: tuple[float, float, float]
) -> Float[np.ndarray, "units"]:
    """Draw the contribution to F targets of the modes that are not drawn."""
    if np.isinf(model.width) or not tails[2]:
        return np.zeros(units)
    rng = stream(seed, f"feature_learning tail {member}")
    return np.sqrt(tails[2]) * rng.standard_normal(units)


def _diagonalise(
    gram: Float[np.ndarray, "units units"], pulled: Float[np.ndarray, "units"], total: float
) -> tuple[Float[np.ndarray, "units units"], System]:
    """Diagonalise F F'; return U and the system from F F', F targets and |targets|^2."""
    values, turn = np.linalg.eigh(gram)
    kept = values > values[-1] * values.size * np.finfo(float).eps
    scale = np.where(kept, np.sqrt(np.where(kept, values, 1.0)), 0.0)
    target = np.where(kept, turn.T @ pulled / np.where(kept, scale, 1.0), 0.0)
    return turn, System(scale, target, max(total - float(target @ target), 0.0))


def fresh_numbers(model: Model, block: Block, seed: int, members: range) -> Iterator[np.ndarray]:
    """Yield for each step and member N + 2 normal numbers and chi-squares of B and B - 1
    degrees."""
    normals = [stream(seed, f"feature_learning steps {m}") for m in members]
    chis = [stream(seed, f"feature_learning batches {m}") for m in members]
    n, batch = block.units, model.batch_size
    while True:
        drawn = np.empty((CHUNK, len(members), n + 4))
        for i, (normal, chi) in enumerate(zip(normals, chis, strict=True)):
            drawn[:, i, : n + 2] = normal.standard_normal((CHUNK, n + 2))
            drawn[:, i, n + 2 :] = 2 * chi.standard_gamma([batch / 2, (batch - 1) / 2], (CHUNK, 2))
        yield from drawn


def _requested_steps(grid: pl.DataFrame, eta: float) -> Float[np.ndarray, "rows"]:
    """Return the requested steps, fractional if time is not a multiple of the step size."""
    if ("step" in grid.columns) == ("time" in grid.columns):
        raise BadTable("To simulate, the grid needs a column step or a column time, and not both.")
    name = "step" if "step" in grid.columns else "time"
    values = numbers(grid, name)
    if values.min() < 0 or (name == "step" and (values % 1 != 0).any()):
        raise BadTable(f"Column {name!r} must hold numbers from 0 (steps whole).")
    requested = values if name == "step" else values / eta
    near = np.round(requested)
    return np.where(np.abs(requested - near) < 1e-9 * np.maximum(near, 1), near, requested)


def _check_cost(units: int, last: int, seeds: int, eta: float) -> None:
    operations = 3.0 * units**2 * last * seeds
    if operations > MAX_OPERATIONS:
        raise ValueError(
            f"{last} steps of size {eta:g} at {units} units and {seeds} seeds are {operations:.0e} "
            f"multiplications, more than {MAX_OPERATIONS:.0e}; take fewer seeds, a shorter time "
            "or a larger "
            "step_size."
        )
