"""Families of curves that a forecast averages, in coordinates centred at the frontier.

With z_c = log(x_c/frontier_c) for every column c, all but one family are special cases of

    L = L_f [s + (1 - s) exp(T)],   T = g log sum_c p_c exp(-e_c z_c/g),

a floor of share s of the loss L_f at the frontier, and terms of shares p_c (their sum is 1) that
fall as powers e_c of their columns; g = 1 adds the terms (Hoffmann et al. 2022, arXiv 2203.15556),
and another g lets them interact (Caballero et al. 2023, arXiv 2210.14891, call such forms smoothly
joined; Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5, has one without floor). With a shift c,
z = (1 + c) log((x + c)/(1 + c)): a start before the power law begins. What is fitted is the local
exponent lambda_c = -dlog L/dlog x_c at the frontier, e_c = lambda_c/((1 - s) p_c), because the data
determine it best and it means the same in every family (tied: one e, lambda = (1 - s) e in all).
``broken`` is a line in log-log with a smooth bend; lambda is its slope beyond it.

symbol      meaning                                            prior (normal)
level       log L_f                                            mean of the recent rows, 0.5
lambda      local exponent, log                                log 0.15, 2
e           exponent of the law without floor, log             log 0.4, 0.7
s           share of the floor, logit                          0, 1.5
p           shares of the terms, logits                        0, 1
c           shift over the frontier's x, log                   -3, 2
g           interaction, log                                   0, 0.7
bend        place (log of its distance), change, log width     -1.5, 0, 0; 1.5, 0.3, 1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Array = np.ndarray
LEVEL_SD = 0.5
RATE, RATE_SD = np.log(0.15), 2.0
EXPONENT, EXPONENT_SD = np.log(0.4), 0.7
FLOOR, FLOOR_SD = 0.0, 1.5
SHARE_SD = 1.0
SHIFT, SHIFT_SD = -3.0, 2.0
JOINT_SD = 0.7
BEND, BEND_SD = (-1.5, 0.0, 0.0), (1.5, 0.3, 1.0)
MOST = 40.0  # an exponent of e that no forecast needs to exceed


@dataclass(frozen=True)
class Family:
    """A family of curves in some number of columns, with the weight that it has before the data
    are seen."""

    name: str
    columns: int
    prior: float = 1.0
    floor: bool = False
    tied: bool = False
    shift: bool = False
    joint: bool = False
    bent: bool = False
    level: bool = False  # a constant

    @property
    def rates(self) -> int:
        """Number of local exponents."""
        return 0 if self.level else 1 if self.tied else self.columns

    @property
    def shares(self) -> int:
        """Number of free shares of the terms."""
        return 0 if self.level else self.columns - 1

    @property
    def centre(self) -> Float[np.ndarray, "parameters"]:
        """Means of the priors."""
        parts = [0.0] + [RATE] * self.rates + [FLOOR] * self.floor + [0.0] * self.shares
        parts += [SHIFT] * self.shift + [0.0] * self.joint + list(BEND) * self.bent
        return np.array(parts)

    @property
    def spread(self) -> Float[np.ndarray, "parameters"]:
        """Standard deviations of the priors."""
        parts = [LEVEL_SD] + [RATE_SD] * self.rates + [FLOOR_SD] * self.floor
        parts += [SHARE_SD] * self.shares + [SHIFT_SD] * self.shift + [JOINT_SD] * self.joint
        return np.array(parts + list(BEND_SD) * self.bent)


def families(columns: int) -> tuple[Family, ...]:
    """Return the families that are averaged for a number of columns."""
    if columns == 1:
        return (
            Family("power", 1, 0.3),
            Family("power_floor", 1, 1.0, floor=True),
            Family("shifted_floor", 1, 0.8, floor=True, shift=True),
            Family("broken", 1, 0.1, bent=True),
            Family("constant", 1, 0.2, level=True),
        )
    return (
        Family("separable", columns, floor=True),
        Family("tied", columns, floor=True, tied=True),
        Family("joint", columns, floor=True, joint=True),
        Family("joint_tied", columns, floor=True, joint=True, tied=True),
        Family("joint_no_floor", columns, joint=True),
    )


@dataclass(frozen=True)
class _Parts:
    """A family's parameters, each with a last axis of its own."""

    level: Array
    rate: Array
    share: Array  # of the floor
    log_terms: Array  # log p_c
    shift: Array | None
    joint: Array  # g
    bend: tuple[Array, Array, Array] | None


def _split(family: Family, theta: Array) -> _Parts:
    level, at = theta[..., :1], 1
    rate = np.exp(np.clip(theta[..., at : at + family.rates], -12, 3))
    at += family.rates
    share = np.zeros_like(level)
    if family.floor:
        share = 1 / (1 + np.exp(-np.clip(theta[..., at : at + 1], -30, 8)))
        at += 1
    logits = np.concatenate([theta[..., at : at + family.shares], np.zeros_like(level)], axis=-1)
    at += family.shares
    log_terms = logits - _log_sum(logits)[..., None]
    shift = bend = None
    joint = np.ones_like(level)
    if family.shift:
        shift = np.exp(np.clip(theta[..., at : at + 1], -12, 4))
        at += 1
    if family.joint:
        joint = np.exp(np.clip(theta[..., at : at + 1], -3, 3))
        at += 1
    if family.bent:
        width = np.exp(np.clip(theta[..., at + 2 : at + 3], -3, 2))
        bend = -np.exp(theta[..., at : at + 1]), theta[..., at + 1 : at + 2], width
    return _Parts(level, rate, share, log_terms, shift, joint, bend)


def evaluate(
    family: Family, theta: Float[Array, "... parameters"], z: Float[Array, "... rows columns"]
) -> Float[Array, "... rows"]:
    """Return log L at z."""
    return _evaluate(family, theta, z, slopes=False)[0]


def evaluate_with_slopes(
    family: Family, theta: Float[Array, "... parameters"], z: Float[Array, "... rows columns"]
) -> tuple[Float[Array, "... rows"], Float[Array, "... rows parameters"]]:
    """Return log L at z and its Jacobian."""
    value, columns = _evaluate(family, theta, z, slopes=True)
    return value, np.stack(np.broadcast_arrays(*columns), axis=-1)


def _evaluate(family: Family, theta: Array, z: Array, *, slopes: bool) -> tuple[Array, list[Array]]:
    parts = _split(family, theta)
    if family.level:
        value = parts.level + 0 * z[..., 0]
        return value, [np.ones_like(value)]
    if family.bent:
        return _bent(parts, z[..., 0], slopes=slopes)
    return _powers(family, parts, z, slopes=slopes)


def _bent(parts: _Parts, z: Array, *, slopes: bool) -> tuple[Array, list[Array]]:
    """Return a line in log-log with a bend that leaves value and slope at the frontier alone."""
    assert parts.bend is not None
    place, change, width = parts.bend
    here, there = np.logaddexp(0, (place - z) / width), np.logaddexp(0, place / width)
    value = parts.level - parts.rate * z + change * width * (here - there)
    if not slopes:
        return value, []
    on, end = (1 / (1 + np.exp(-np.clip(u / width, -MOST, MOST))) for u in (place - z, place))
    turned = here - there - (on * (place - z) - end * place) / width
    return value, [
        np.ones_like(value), -parts.rate * z, change * (on - end) * place,
        width * (here - there), change * width * turned,
    ]  # fmt: skip


@dataclass(frozen=True)
class _Powers:
    """What the value of joined powers is made of, and its slopes need."""

    exponents: Array  # e_c
    stretch: Array | None  # log((x + shift)/(1 + shift))
    fall: Array  # e_c z_c
    weights: Array  # of the terms
    power: Array  # T
    rest: Array  # log(L/L_f)


def _powers(family: Family, parts: _Parts, z: Array, *, slopes: bool) -> tuple[Array, list[Array]]:
    """Return the floor with joined powers."""
    terms = np.exp(parts.log_terms)
    exponents = parts.rate / (1 - parts.share) / (np.ones_like(terms) if family.tied else terms)
    moved, stretch = z, None
    if parts.shift is not None:
        c = parts.shift[..., None]
        stretch = np.logaddexp(z, np.log(c)) - np.log1p(c)
        moved = stretch * (1 + c)
    fall = np.clip(exponents[..., None, :] * moved, -MOST, MOST)
    inner = parts.log_terms[..., None, :] - fall / parts.joint[..., None]
    total = _log_sum(inner)
    power = np.clip(parts.joint * total, -MOST, MOST)
    rest = np.log(parts.share + (1 - parts.share) * np.exp(power))
    value = parts.level + rest
    if not slopes:
        return value, []
    weights = np.exp(inner - total[..., None])
    made = _Powers(exponents, stretch, fall, weights, power, rest)
    return value, _power_slopes(family, parts, z, made)


def _log_sum(logs: Float[np.ndarray, "... terms"]) -> Float[np.ndarray, "..."]:
    """Return the log of the sum of the last axis' exponentials."""
    if logs.shape[-1] == 1:
        return logs[..., 0]
    total = np.logaddexp(logs[..., 0], logs[..., 1])
    for k in range(2, logs.shape[-1]):
        total = np.logaddexp(total, logs[..., k])
    return total


def _power_slopes(family: Family, parts: _Parts, z: Array, made: _Powers) -> list[Array]:
    """Return the derivative of log L by each parameter."""
    pulled, share = made.weights * made.fall, parts.share
    whole = pulled.sum(-1)
    q = (1 - share) * np.exp(made.power - made.rest)  # the power's part of the loss
    out = [np.ones_like(made.rest)]
    out += [-q * p for p in ([whole] if family.tied else np.moveaxis(pulled, -1, 0))]
    if family.floor:
        toward = (1 - np.exp(made.power)) / np.exp(made.rest) - q * whole / (1 - share)
        out.append(share * (1 - share) * toward)
    if family.shares:
        by_term = parts.joint[..., None] * made.weights
        by_term = by_term if family.tied else by_term + pulled  # exponents change with the shares
        terms, sums = np.exp(parts.log_terms), by_term.sum(-1)
        out += [q * (by_term[..., k] - terms[..., k, None] * sums) for k in range(family.shares)]
    if made.stretch is not None and parts.shift is not None:
        c = parts.shift
        here = np.exp(np.clip(z[..., 0], -MOST, MOST)) + c
        change = (1 + c) * c / here - c + c * made.stretch[..., 0]
        out.append(-q * made.exponents * change)
    if family.joint:
        out.append(q * (made.power + whole))
    return out


def exponents_in_logs(
    family: Family, theta: Float[Array, "batch parameters"]
) -> tuple[Float[Array, "batch exponents"], Float[Array, "batch exponents parameters"]]:
    """Return log e_c, the exponents of the law without its floor and before its shift, and their
    Jacobian."""
    batch, size = theta.shape
    count = family.rates
    if not count or family.bent:
        return np.zeros((batch, 0)), np.zeros((batch, 0, size))
    value, slopes = theta[:, 1 : 1 + count].copy(), np.zeros((batch, count, size))
    slopes[:, np.arange(count), 1 + np.arange(count)] = 1
    at = 1 + count
    if family.floor:
        u = np.clip(theta[:, at : at + 1], -30, 8)
        value += np.logaddexp(0, u)
        slopes[:, :, at] = 1 / (1 + np.exp(-u))
        at += 1
    if family.shares and not family.tied:
        logits = np.concatenate([theta[:, at : at + family.shares], np.zeros((batch, 1))], axis=1)
        log_terms = logits - _log_sum(logits)[:, None]
        value -= log_terms
        slopes[:, :, at : at + family.shares] = np.exp(log_terms)[:, None, :-1]
        k = np.arange(family.shares)
        slopes[:, k, at + k] -= 1
    at += family.shares
    if family.shift:
        u = np.clip(theta[:, at : at + 1], -12, 4)
        value += np.logaddexp(0, u)
        slopes[:, :, at] = 1 / (1 + np.exp(-u))
    return value, slopes
