"""Weak priors on parameters, off by default.

A prior is normal in a parameter's own coordinate: in log(theta) for a positive one, in logit for a
fraction, in theta for a real one. It adds tau/2 ((c(theta) - m)/s)^2 to the objective, where tau
converts the loss into a log likelihood: with density exp(-rho(r)/tau) the average of rho'(r) r is
tau (the variance for least squares), which is how tau is estimated. Each draw shifts the prior's
centre at random by the prior's spread, so that the draws carry its uncertainty too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, nearest, shown
from kleiber.fitting.engine.levenberg import LocalModel
from kleiber.law import Law


@dataclass(frozen=True)
class Prior:
    """Priors on the parameters at ``positions``, in the coordinates of their own domains.
    ``in_log`` marks parameters that are fitted untransformed but have a prior on their logarithm;
    ``tau`` is the weight."""

    positions: Int[np.ndarray, "priors"]
    centre: Float[np.ndarray, "priors"]
    spread: Float[np.ndarray, "priors"]
    in_log: tuple[bool, ...]
    tau: float


def make_prior(
    law: Law, fitted: Law, given: Mapping[str, tuple[float, float]], tau: float
) -> Prior:
    """Make the Prior from {name: (value, spread)}; ``fitted`` is the law in its fitted coordinates.

    The spread is that of log(theta) for a positive parameter: 0.5 means a factor of 1.65 either
    way. Raises BadLaw for an unknown parameter or a value outside its domain.
    """
    positions: list[int] = []
    centre: list[float] = []
    spread: list[float] = []
    in_log: list[bool] = []
    for name, pair in given.items():
        if name not in fitted.domains:
            raise BadLaw(
                f"No free parameter {name!r} to have a prior; free are {', '.join(fitted.params)}."
                f"{nearest(name, fitted.params)}"
            )
        value, width = _check_pair(name, pair)
        if not law.domains[name].contains(value) or not (math.isfinite(width) and width > 0):
            raise BadLaw(
                f"The prior of {name} is (value, spread) with the value in its domain "
                f"({law.domains[name].kind}) and a positive spread, got {(value, width)}."
            )
        positions.append(fitted.params.index(name))
        centre.append(float(law.domains[name].to_coordinate(value)))
        spread.append(width)
        in_log.append(fitted.domains[name].kind == "above")
    return Prior(np.array(positions), np.array(centre), np.array(spread), tuple(in_log), tau)


def _check_pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        value, width = pair
        return float(value), float(width)
    except (TypeError, ValueError):
        raise BadLaw(f"The prior of {name} is (value, spread), got {shown(pair)}.") from None


def add_prior(
    local: LocalModel,
    u: Float[np.ndarray, "batch params"],
    prior: Prior,
    prior_shift: Float[np.ndarray, "batch priors"] | None,
) -> LocalModel:
    """Add the penalty of the prior to the local model; ``prior_shift`` moves the centres of each
    draw."""
    objective, gradient = local.objective.copy(), local.gradient.copy()
    gauss, newton = local.gauss.copy(), local.newton.copy()
    for j, k in enumerate(prior.positions):
        x = u[:, k]
        with np.errstate(divide="ignore", invalid="ignore"):
            c = np.log(x) if prior.in_log[j] else x
            first = 1 / x if prior.in_log[j] else np.ones_like(x)
        second = -(first**2) if prior.in_log[j] else np.zeros_like(x)
        deviation = c - prior.centre[j] - (0.0 if prior_shift is None else prior_shift[:, j])
        weight = prior.tau / prior.spread[j] ** 2
        objective += 0.5 * weight * deviation**2
        gradient[:, k] += weight * deviation * first
        gauss[:, k, k] += weight * first**2
        newton[:, k, k] += weight * (first**2 + deviation * second)
    return LocalModel(objective, gradient, gauss, newton)
