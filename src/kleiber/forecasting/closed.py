"""A forecast as the Fit of one formula, whose draws are the members of the average.

Every family but ``broken`` is an instance of

    E + S (P_1 ((x_1/f_1 + k)/(1 + k))^-b_1 + ...)^g,

f the frontier: so a plan, or the choice of the next run, made for every draw includes the choice of
law. The parameters themselves are those of the one instance that is closest to the average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from kleiber.errors import BadPlan, listed
from kleiber.fitting.best_runs import find_best_runs, find_outermost
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.judge.status import Status
from kleiber.fitting.options import Options
from kleiber.fitting.record import Fit
from kleiber.forecasting.families import Family
from kleiber.forecasting.mixture import Drawn, Mixture
from kleiber.forecasting.record import Forecast, GroupForecast
from kleiber.forecasting.search import Rows, search
from kleiber.law import Law, law_from_formula

AVERAGE = "forecast"  # the name of the formula as a law
DRAWS = 400
GRID = 12  # rows along each column to which the formula is fitted, 4 with more than three
BEHIND, AHEAD = 1e-2, 1e3  # times the frontier, the ends of those rows
REASON = "an average of laws, weighed by evidence and back-tests"
Array = np.ndarray


def as_fit(made: Forecast, values: Sequence[Any] = ()) -> Fit:
    """Return the forecast of one group as a Fit, which plans take.

    Raises BadPlan for a forecast that is refused, and for one of several groups without the values
    of one.
    """
    part = _pick_group(made, values)
    if part.mixture is None:
        raise BadPlan(f"This forecast cannot support a plan: {part.why}")
    if part.mixture.reverse:
        raise BadPlan(
            f"The forecast of {made.target} was made through 1 - {made.target}: forecast a column "
            "of that (--with) to plan by it."
        )
    odd = [name for name in made.x if not name.isidentifier()]
    if odd:
        raise BadPlan(f"A plan needs columns named by identifiers; rename {listed(odd)}.")
    law = formula_law(made.x, part.mixture)
    best = _closest(made.x, part.mixture)
    return _make_fit(made, part, law, best, _draw(made.x, part.mixture))


def _pick_group(made: Forecast, values: Sequence[Any]) -> GroupForecast:
    if len(made.groups) == 1:
        return made.groups[0]
    known = {tuple(map(str, part.values)): part for part in made.groups}
    key = tuple(map(str, values))
    if key not in known:
        raise BadPlan(
            f"The forecast is of {len(known)} groups by {listed(made.group)}; make one of a single "
            "group to plan by it (--where)."
        )
    return known[key]


def formula_law(names: Sequence[str], mixture: Mixture) -> Law:
    """Return the formula of which members are instances."""
    frontier = np.exp(mixture.frontier)
    terms = [
        f"P_{k}*(({name}/{frontier[k]:.9g} + k)/(1 + k))**-b_{k}" if len(names) == 1
        else f"P_{k}*({name}/{frontier[k]:.9g})**-b_{k}"
        for k, name in enumerate(names)
    ]  # fmt: skip
    return law_from_formula(f"E + S*({' + '.join(terms)})**g", list(names), name=AVERAGE)


def _parameters(
    names: Sequence[str], family: Family, theta: Float[Array, "draws parameters"]
) -> dict[str, Array]:
    """Return the formula's parameters for draws of a family."""
    count, at = len(names), 1 + family.rates
    level = np.exp(theta[:, 0])
    rate = np.exp(np.clip(theta[:, 1:at], -12, 3))
    share = np.zeros(len(theta))
    if family.floor:
        share = 1 / (1 + np.exp(-np.clip(theta[:, at], -30, 8)))
        at += 1
    logits = np.concatenate([theta[:, at : at + family.shares], np.zeros((len(theta), 1))], axis=1)
    at += family.shares
    terms = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    shift, joint = np.zeros(len(theta)), np.ones(len(theta))
    if family.shift:
        shift = np.exp(np.clip(theta[:, at], -12, 4))
        at += 1
    if family.joint:
        joint = np.exp(np.clip(theta[:, at], -3, 3))
    if family.level:
        exponents = np.zeros((len(theta), count))
    else:
        exponents = rate / (1 - share)[:, None] / (1 if family.tied else terms)
    exponents = np.broadcast_to(exponents * (1 + shift)[:, None], (len(theta), count))
    out = {"E": level * share, "S": level * (1 - share), "g": joint}
    out |= {f"P_{k}": terms[:, k] for k in range(count)}
    out |= {f"b_{k}": exponents[:, k] / joint for k in range(count)}
    return out | ({"k": shift} if count == 1 else {})


def _draw(names: Sequence[str], mixture: Mixture) -> dict[str, Float[Array, "draws"]]:
    """Return the formula's parameters for draws of all members, by their weights."""
    kept = [member for member in mixture.members if not member.family.bent]
    parts = [_parameters(names, item.family, _flat(item)) for item in kept]
    weights = np.concatenate([_flat_weights(item) for item in kept])
    ends = np.cumsum(weights / weights.sum())
    picks = np.minimum(np.searchsorted(ends, (np.arange(DRAWS) + 0.5) / DRAWS), len(ends) - 1)
    return {name: np.concatenate([part[name] for part in parts])[picks] for name in parts[0]}


def _flat(item: Drawn) -> Float[Array, "draws parameters"]:
    return item.theta.reshape(-1, item.theta.shape[-1])


def _flat_weights(item: Drawn) -> Float[Array, "draws"]:
    count = item.theta.shape[1]
    return np.repeat(item.weights / count, count)


def _closest(names: Sequence[str], mixture: Mixture) -> dict[str, float]:
    """Return the parameters of the formula that is closest to the average."""
    count = len(names)
    rows = GRID if count <= 3 else 4
    steps = (np.indices([rows] * count).reshape(count, -1) / (rows - 1)).T
    z = np.log(BEHIND) + np.log(AHEAD / BEHIND) * steps
    centre, _ = mixture.moments(np.exp(z + mixture.frontier))
    family = Family("closest", count, floor=True, joint=count > 1, shift=count == 1)
    weight = np.exp(-np.abs(z).sum(axis=1) / (2 * count))
    found = search(family, Rows(z[None], centre[None], 100 * weight[None]))
    return {name: float(v[0]) for name, v in _parameters(names, family, found.theta).items()}


def _make_fit(
    made: Forecast,
    part: GroupForecast,
    law: Law,
    best: Mapping[str, float],
    draws: Mapping[str, Float[Array, "draws"]],
) -> Fit:
    columns = {name: part.measured[name].to_numpy() for name in made.x}
    target = part.measured[made.target].to_numpy()
    return Fit(
        law=law,
        params={name: best[name] for name in law.params},
        status=Status.CONVERGED,
        reason=REASON,
        objective=float("nan"),
        residuals=np.log(target) - np.log(np.asarray(law(**columns, **best), dtype=float)),
        condition=float("nan"),
        draws={name: draws[name] for name in law.params},
        ranges=part.ranges,
        digest=made.digest,
        options=Options(
            target=made.target, noise=Noise("log"), draws=DRAWS, level=made.level, seed=made.seed
        ),
        rows=part.rows,
        units=part.rows,
        free=law.params,
        covariance=None,
        stderr={name: float(np.std(draws[name])) for name in law.params},
        starts={},
        seconds=0.0,
        resample="even",
        outermost=find_outermost(columns),
        best_runs=find_best_runs(columns, made.target, target),
        notes=part.notes,
    )
