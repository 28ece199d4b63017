"""Moments of an ensemble's errors, and their bootstrap over seeds and over points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DRAWS = 999
LARGEST = 2 * 10**7  # numbers held at once

Errors = Float[np.ndarray, "seeds points outputs"]
Drawn = Float[np.ndarray, "draws"]


@dataclass(frozen=True)
class Moments:
    """The mean squared error of single nets and the variance over seeds, with draws of both.

    ``degrees_of_freedom`` is n_eff - 1, at least 1, with n_eff = (sum_s d_s)^2/sum_s d_s^2 the
    effective number of nets and d_s the squared distance of net s from the mean net. It is a third
    of the seeds if nets differ in one random mode (d_s is then a chi^2 of one degree of freedom),
    and nearly all of them if their errors have many modes.
    """

    n_seeds: int
    degrees_of_freedom: float
    mse: float
    variance: float
    mse_drawn: Drawn
    variance_drawn: Drawn


def draw_moments(
    ensembles: Sequence[Errors], over_points: bool, rng: np.random.Generator
) -> list[Moments]:
    """Compute the moments of each ensemble and 999 bootstrap draws of them.

    Seeds are drawn for each ensemble separately; points, if `over_points`, once for all ensembles.
    A draw of S seeds repeats some of them, which lowers its variance by the factor 1 - 1/S on
    average; the draws of the variance are corrected for it.
    """
    points = ensembles[0].shape[1]
    drawn = None
    if over_points:
        drawn = rng.multinomial(points, np.full(points, 1 / points), DRAWS) / points
    return [_moments(errors, drawn, rng) for errors in ensembles]


def _moments(
    errors: Errors, drawn: Float[np.ndarray, "draws points"] | None, rng: np.random.Generator
) -> Moments:
    seeds = len(errors)
    correction = seeds / (seeds - 1)
    distances = ((errors - errors.mean(0)) ** 2).sum((1, 2))
    squares = float((distances**2).sum())
    effective = float(distances.sum()) ** 2 / squares if squares > 0 else float(seeds)
    each, common = (float(item[0]) / seeds for item in _on_grid(errors, np.ones((1, seeds))))
    counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS).astype(float)
    sums = _on_grid(errors, counts) if drawn is None else _on_points(errors, counts, drawn)
    each_drawn, common_drawn = (item / seeds for item in sums)
    return Moments(
        seeds,
        max(effective - 1, 1.0),
        each,
        max((each - common / seeds) * correction, 0.0),
        each_drawn,
        np.maximum((each_drawn - common_drawn / seeds) * correction**2, 0.0),
    )


def _on_grid(errors: Errors, counts: Float[np.ndarray, "draws seeds"]) -> tuple[Drawn, Drawn]:
    """Return <sum_s w_s |e_s|^2> and <|sum_s w_s e_s|^2> over all points, for each draw's counts
    w."""
    flat = errors.reshape(len(errors), -1)
    gram = flat @ flat.T / errors.shape[1]
    return counts @ np.diagonal(gram), ((counts @ gram) * counts).sum(1)


def _on_points(
    errors: Errors,
    counts: Float[np.ndarray, "draws seeds"],
    drawn: Float[np.ndarray, "draws points"],
) -> tuple[Drawn, Drawn]:
    """Return the same sums with the points weighted, computed in blocks of draws."""
    seeds, points, outputs = errors.shape
    squares, flat = (errors**2).sum(2), errors.reshape(seeds, -1)
    block = max(1, LARGEST // (points * outputs))
    each, common = np.empty(len(counts)), np.empty(len(counts))
    for start in range(0, len(counts), block):
        part = slice(start, start + block)
        total = (counts[part] @ flat).reshape(-1, points, outputs)
        each[part] = ((counts[part] @ squares) * drawn[part]).sum(1)
        common[part] = ((total**2).sum(2) * drawn[part]).sum(1)
    return each, common
