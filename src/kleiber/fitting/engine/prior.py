"""Weak priors, off by default: what is believed of a parameter before the table is seen.

A prior is normal in a parameter's own coordinate: in log(theta) for a positive one, in logit for
a fraction, in theta for a real one. It adds tau/2 ((c(theta) - m)/s)^2 to the objective, where tau
turns the noise model's charge into a log likelihood: with density exp(-rho(r)/tau) the average of
rho'(r) r is tau (the variance for least squares), which is how it is estimated. Draws move the
prior's centre by its own spread, so that they carry its uncertainty too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kleiber.errors import BadLaw, nearest, shown
from kleiber.fitting.engine.levenberg import Local
from kleiber.law import Law


@dataclass(frozen=True)
class Prior:
    """Priors of the parameters at ``where``, in the coordinates of their own domains. ``straight``
    marks those that are fitted as they are but believed in as logarithms. ``tau`` is the weight."""

    where: Int[np.ndarray, "priors"]
    centre: Float[np.ndarray, "priors"]
    spread: Float[np.ndarray, "priors"]
    straight: tuple[bool, ...]
    tau: float


def read_priors(
    law: Law, fitted: Law, given: Mapping[str, tuple[float, float]], tau: float
) -> Prior:
    """Priors from {name: (value, spread)}; ``fitted`` is the law in its fitted coordinates.

    The spread is that of log(theta) for a positive parameter: 0.5 means a factor of 1.65 either
    way. Raises BadLaw for an unknown parameter or a value outside its domain.
    """
    where: list[int] = []
    centre: list[float] = []
    spread: list[float] = []
    straight: list[bool] = []
    for name, pair in given.items():
        if name not in fitted.domains:
            raise BadLaw(
                f"No free parameter {name!r} to have a prior; free are {', '.join(fitted.params)}."
                f"{nearest(name, fitted.params)}"
            )
        value, width = _read_pair(name, pair)
        if not law.domains[name].contains(value) or not (math.isfinite(width) and width > 0):
            raise BadLaw(
                f"The prior of {name} is (value, spread) with the value in its domain "
                f"({law.domains[name].kind}) and a positive spread, got {(value, width)}."
            )
        where.append(fitted.params.index(name))
        centre.append(float(law.domains[name].inner(value)))
        spread.append(width)
        straight.append(fitted.domains[name].kind == "above")
    return Prior(np.array(where), np.array(centre), np.array(spread), tuple(straight), tau)


def _read_pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        value, width = pair
        return float(value), float(width)
    except (TypeError, ValueError):
        raise BadLaw(f"The prior of {name} is (value, spread), got {shown(pair)}.") from None


def add_prior(
    local: Local,
    u: Float[np.ndarray, "members params"],
    prior: Prior,
    moved: Float[np.ndarray, "members priors"] | None,
) -> Local:
    """The picture with the prior's charge; ``moved`` shifts the centre for each member."""
    objective, gradient = local.objective.copy(), local.gradient.copy()
    gauss, newton = local.gauss.copy(), local.newton.copy()
    for j, k in enumerate(prior.where):
        x = u[:, k]
        with np.errstate(divide="ignore", invalid="ignore"):
            c = np.log(x) if prior.straight[j] else x
            first = 1 / x if prior.straight[j] else np.ones_like(x)
        second = -(first**2) if prior.straight[j] else np.zeros_like(x)
        off = c - prior.centre[j] - (0.0 if moved is None else moved[:, j])
        weight = prior.tau / prior.spread[j] ** 2
        objective += 0.5 * weight * off**2
        gradient[:, k] += weight * off * first
        gauss[:, k, k] += weight * first**2
        newton[:, k, k] += weight * (first**2 + off * second)
    return Local(objective, gradient, gauss, newton)
