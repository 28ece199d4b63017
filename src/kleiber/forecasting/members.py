"""Members: every family fitted with every recency, at the frontier and at earlier origins.

A row counts by how recent it is: its weight is exp(-d/(c H)), d the log distance of its product of
columns from the frontier's, H the log distance that is asked for, and c one of RECENCIES; never
fewer than EFFECTIVE rows count. A back-test fits again on the rows before an earlier origin and
forecasts those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from kleiber.forecasting.families import Family, families
from kleiber.forecasting.search import Found, Rows, search

Array = np.ndarray
RECENCIES = (0.5, 1.0, 2.0, 4.0)
RECENCY_PRIOR = (1.0, 1.0, 0.5, 0.25)
EFFECTIVE = 8.0  # rows that count at least, where there are as many
SOFT = 0.5  # log distance over which the frontier is a mean of rows
NEAREST = 0.3  # log distance that a forecast has at least
ORIGINS = (0.5, 1.0)  # of back-tests, in the log distance that is asked for
TESTED = 3.0  # a back-test is over at most one part in three of the measured range
LEAST_ROWS, LEAST_TESTED = 6, 2
CHUNK = 400_000  # numbers of a batch of members, times parameters


@dataclass(frozen=True)
class Curve:
    """Logs of measured columns and target, and the log distance that is asked for."""

    x: Float[np.ndarray, "rows columns"]
    y: Float[np.ndarray, "rows"]
    horizon: float

    @property
    def progress(self) -> Float[np.ndarray, "rows"]:
        """The log of the product of the columns."""
        return self.x.sum(axis=1)


@dataclass(frozen=True)
class Origin:
    """The rows that a fit may use, the log distance that it forecasts over, and its frontier."""

    known: Bool[np.ndarray, "rows"]
    horizon: float
    frontier: Float[np.ndarray, "columns"]


@dataclass(frozen=True)
class Members:
    """The fits of all families, [origins, recencies] each; the first origin is the frontier."""

    curve: Curve
    origins: tuple[Origin, ...]
    families: tuple[Family, ...]
    found: tuple[Found, ...]


def distance_of(progress: Array, targets: Array) -> float:
    """Return the log distance of the farthest target from the farthest row, at least NEAREST."""
    return max(float(targets.max() - progress.max()), NEAREST)


def find_origins(curve: Curve) -> tuple[Origin, ...]:
    """Return the frontier and the origins of back-tests that have enough rows on both sides."""
    t = curve.progress
    last = float(t.max())
    tested = min(curve.horizon, (last - float(t.min())) / TESTED)
    out = [_origin(curve, np.ones(len(t), dtype=bool), curve.horizon)]
    for part in ORIGINS:
        known = t <= last - part * tested
        if known.sum() >= LEAST_ROWS and (~known).sum() >= LEAST_TESTED:
            out.append(_origin(curve, known, max(last - float(t[known].max()), NEAREST)))
    return tuple(out)


def _origin(curve: Curve, known: Array, horizon: float) -> Origin:
    t = curve.progress[known]
    weight = np.exp(-(t.max() - t) / SOFT)
    return Origin(known, horizon, weight @ curve.x[known] / weight.sum())


def recency_weights(progress: Array, horizon: float) -> Float[np.ndarray, "recencies rows"]:
    """Return the weights of rows for each recency."""
    distance = progress.max() - progress
    least = min(EFFECTIVE, 0.9 * len(progress))
    out = np.empty((len(RECENCIES), len(progress)))
    for k, recency in enumerate(RECENCIES):
        scale = recency * horizon
        while True:
            weight = np.exp(-distance / scale)
            if weight.sum() ** 2 / (weight**2).sum() >= least or scale > 1e3:
                break
            scale *= 1.15
        out[k] = weight
    return out


def fit_members(curves: Sequence[Curve]) -> list[Members]:
    """Fit all members of curves that have the same columns, many at once."""
    all_origins = [find_origins(curve) for curve in curves]
    known = families(curves[0].x.shape[1])
    jobs = [
        _rows(curve, origin) for curve, o in zip(curves, all_origins, strict=True) for origin in o
    ]
    found = [_search(family, jobs) for family in known]
    out: list[Members] = []
    at, step = 0, len(RECENCIES)
    for curve, origins in zip(curves, all_origins, strict=True):
        part = slice(at * step, (at + len(origins)) * step)
        own = tuple(_part(each, part, len(origins)) for each in found)
        out.append(Members(curve, origins, known, own))
        at += len(origins)
    return out


def _rows(curve: Curve, origin: Origin) -> Rows:
    """Return the rows of an origin in its coordinates, once for each recency."""
    x, y = curve.x[origin.known], curve.y[origin.known]
    weight = recency_weights(x.sum(axis=1), origin.horizon)
    count = len(RECENCIES)
    z = np.broadcast_to(x - origin.frontier, (count, *x.shape))
    return Rows(z, np.broadcast_to(y, (count, len(y))), weight)


def _search(family: Family, jobs: Sequence[Rows]) -> Found:
    """Search for all jobs, those of like length together."""
    order = sorted(range(len(jobs)), key=lambda k: jobs[k].y.shape[1])
    parts: dict[int, Found] = {}
    at = 0
    while at < len(order):
        end, size = at, 0
        while end < len(order):
            size = (end - at + 1) * len(RECENCIES) * jobs[order[end]].y.shape[1]
            if end > at and size * len(family.centre) > CHUNK:
                break
            end += 1
        chosen = order[at:end]
        found = search(family, _stack([jobs[k] for k in chosen]))
        for place, k in enumerate(chosen):
            parts[k] = _slice(found, slice(place * len(RECENCIES), (place + 1) * len(RECENCIES)))
        at = end
    fields = [[getattr(parts[k], name) for k in range(len(jobs))] for name in _FIELDS]
    return Found(*(np.concatenate(field) for field in fields))


_FIELDS = ("theta", "covariance", "scale", "evidence")


def _slice(found: Found, part: slice) -> Found:
    return Found(*(getattr(found, name)[part] for name in _FIELDS))


def _part(found: Found, part: slice, origins: int) -> Found:
    """Return the fits of one curve, [origins, recencies]."""
    own = _slice(found, part)
    shape = (origins, len(RECENCIES))
    return Found(*(getattr(own, name).reshape(*shape, *getattr(own, name).shape[1:])
                   for name in _FIELDS))  # fmt: skip


def _stack(jobs: Sequence[Rows]) -> Rows:
    """Return the rows of several jobs, padded with rows of no weight."""
    most = max(job.y.shape[1] for job in jobs)

    def pad(values: Array) -> Array:
        width = [(0, 0), (0, most - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
        return np.pad(values, width)

    z, y, weight = (
        np.concatenate([pad(getattr(job, name)) for job in jobs]) for name in ("z", "y", "weight")
    )
    return Rows(z, y, weight)
