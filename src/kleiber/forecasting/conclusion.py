"""The forecast of one group from its members: mixture, back-tests, notes and the next run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import special

from kleiber.forecasting.advice import find_next_run
from kleiber.forecasting.average import BackTest, back_test, weigh
from kleiber.forecasting.members import Members
from kleiber.forecasting.mixture import make_mixture
from kleiber.forecasting.record import GroupForecast
from kleiber.forecasting.support import Asked, hides_noise, note


def conclude(
    key: tuple[Any, ...],
    asked: Asked,
    members: Members,
    rng: np.random.Generator,
    *,
    target: str,
    reverse: bool,
    level: float,
) -> GroupForecast:
    """Return the forecast of one group from its members."""
    tests = back_test(members)
    hidden = hides_noise(asked.x, asked.y)
    mixture = make_mixture(members, tests, rng, hidden=hidden, reverse=reverse)
    weights = weigh(members, tests)
    ends = zip(asked.names, asked.x.min(axis=0), asked.x.max(axis=0), strict=True)
    return GroupForecast(
        key,
        len(asked.x),
        mixture,
        largest=float(np.exp(np.log(asked.x).sum(axis=1).max())),
        ranges={name: (float(low), float(high)) for name, low, high in ends},
        weights={
            family.name: float(weights.values[k].sum()) for k, family in enumerate(members.families)
        },
        tests=_describe_tests(asked, tests, mixture.widening, level, reverse=reverse),
        errors=_errors(tests, mixture.noise),
        notes=tuple(note(asked, members, tests, weights, mixture)),
        next_run=find_next_run(asked, mixture),
        measured=_measured(asked, target, reverse=reverse),
    )


def _errors(tests: Sequence[BackTest], noise: float) -> tuple[float, float]:
    """Return the noise, and the growth of errors with log distance that back-tests show."""
    if not tests:
        return float("nan"), float("nan")
    squares = np.concatenate([test.error**2 for test in tests])
    distance = np.concatenate([test.distance for test in tests])
    growth = max(0.0, float(np.mean(squares)) - noise**2) / max(float(np.mean(distance**2)), 1e-6)
    return noise, float(np.sqrt(growth))


def _measured(asked: Asked, target: str, *, reverse: bool) -> pl.DataFrame:
    columns = {name: asked.x[:, k] for k, name in enumerate(asked.names)}
    return pl.DataFrame(columns | {target: 1 - asked.y if reverse else asked.y})


def _describe_tests(
    asked: Asked, tests: Sequence[BackTest], widening: float, level: float, *, reverse: bool
) -> pl.DataFrame:
    """Return the rows of all back-tests with what was forecast of them."""
    half = float(special.ndtri((1 + level) / 2)) * np.sqrt(widening)
    parts: list[pl.DataFrame] = []
    for test in tests:
        logs = {
            "measured": test.forecast + test.error,
            "predicted": test.forecast,
            "low": test.forecast - half * test.spread,
            "high": test.forecast + half * test.spread,
        }
        values = {name: 1 - np.exp(v) if reverse else np.exp(v) for name, v in logs.items()}
        if reverse:
            values["low"], values["high"] = values["high"], values["low"]
        columns = {name: asked.x[test.rows, k] for k, name in enumerate(asked.names)}
        known = np.full(len(test.rows), len(asked.x) - len(test.rows))
        beyond = np.exp(test.distance)
        parts.append(pl.DataFrame(columns | values | {"beyond": beyond, "known_rows": known}))
    return pl.concat(parts) if parts else pl.DataFrame()
