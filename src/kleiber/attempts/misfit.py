"""How well a family describes the counts, compared with other families and with the successes.

Families are compared by AIC; a difference of ``AIC_MARGIN`` leaves the worse one no support
(Burnham and Anderson 2002). The distribution of successes is compared with the law's by Pearson's
chi-squared test: problems with more attempts than the fewest count with what subsamples of their
attempts would show, so that all have one distribution; this and the fitted parameters make the test
conservative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.attempts.batch import Batch
from kleiber.attempts.family import Family
from kleiber.attempts.newton import Peak, maximise
from kleiber.attempts.table import Counts
from kleiber.errors import listed

AIC_MARGIN = 10.0  # of AIC
RARE = 1e-3  # p-value of a note
DOUBTFUL = 0.01  # p-value below which the slower families are fitted too
CLOSED_FORM = ("beta_binomial", "zero_inflated")  # families that are fitted in milliseconds
BY_QUADRATURE = ("scaled_beta", "kumaraswamy")
MAX_ATTEMPTS = 500  # attempts whose distribution of successes is tested
MIN_EXPECTED, MAX_BINS = 5.0, 8  # problems expected in a bin; bins at most

Point = Float[np.ndarray, "coordinates"]
Make = Callable[[Float[np.ndarray, "pairs 2"]], Family]


@dataclass(frozen=True)
class Misfit:
    """How well a family describes one group, beside other families.

    ``log_likelihood`` leaves out the binomial coefficients. ``others`` are the AICs of the other
    families that were fitted; ``better`` is the best of them if it leaves this one no support, and
    ``gain`` is the increase of its log-likelihood. ``chi_squared``, its degrees of freedom
    ``freedom`` and its ``p_value`` test the distribution of successes (NaN without a test).
    """

    log_likelihood: float
    aic: float
    others: Mapping[str, float]
    better: str | None
    gain: float
    chi_squared: float
    freedom: int
    p_value: float


def compare_families(
    law: Family,
    families: Mapping[str, Make],
    counts: Counts,
    batch: Batch,
    peak: Peak,
    fitted: np.ndarray,
) -> tuple[Misfit | None, ...]:
    """Return the misfit of every group that was fitted, None for the others.

    Families that need quadrature are fitted only to groups whose successes fail the test.
    """
    rows = np.flatnonzero(fitted)
    out: list[Misfit | None] = [None] * len(batch)
    if not len(rows):
        return tuple(out)
    plain = law if law.name not in families else families[law.name](batch.pairs)
    value = plain.value(peak.u[rows], batch.take(rows))
    tests = {
        int(g): chi_squared_of_successes(families[law.name], peak.u[g], counts, int(g))
        for g in rows
    }
    others: dict[int, dict[str, tuple[float, int]]] = {int(g): {} for g in rows}
    doubtful = np.array([g for g in rows if tests[int(g)][2] < DOUBTFUL], int)
    for names, selected in ((CLOSED_FORM, rows), (BY_QUADRATURE, doubtful)):
        for name in (name for name in names if name != law.name and len(selected)):
            other = families[name](batch.pairs)
            best = maximise(other, batch.take(selected))
            for g, top in zip(selected, best.value, strict=True):
                others[int(g)][name] = (float(top), len(other.params))
    for g, own in zip(rows, value, strict=True):
        out[int(g)] = _build_misfit(float(own), len(law.params), others[int(g)], tests[int(g)])
    return tuple(out)


def _build_misfit(
    own: float,
    params: int,
    others: Mapping[str, tuple[float, int]],
    test: tuple[float, int, float],
) -> Misfit:
    aic = 2 * params - 2 * own
    each = {name: 2 * free - 2 * value for name, (value, free) in others.items()}
    best = min(each, key=lambda name: each[name], default=None)
    better = best if best is not None and each[best] < aic - AIC_MARGIN else None
    gain = others[better][0] - own if better is not None else 0.0
    return Misfit(own, aic, each, better, gain, *test)


def chi_squared_of_successes(
    make: Make, u: Point, counts: Counts, group: int
) -> tuple[float, int, float]:
    """Return Pearson's chi-squared of the successes, its degrees of freedom, and the p-value."""
    rows = counts.of(group)
    n, c = counts.attempts[rows], counts.successes[rows]
    no_test = (np.nan, 0, np.nan)
    if counts.stopped[rows].any():
        return no_test
    m = float(min(MAX_ATTEMPTS, np.floor(np.quantile(n, 0.1))))
    n, c = n[n >= m], c[n >= m]
    expected = _expected(make, u, m)
    edges = _bins(expected, len(n))
    if len(edges) < 3:
        return no_test
    observed = _observed(n, c, m)
    bins = [np.add.reduceat(shares, edges) for shares in (observed, expected)]
    statistic = float(len(n) * ((bins[0] - bins[1]) ** 2 / bins[1]).sum())
    degrees_of_freedom = len(edges) - 1
    return statistic, degrees_of_freedom, float(special.chdtrc(degrees_of_freedom, statistic))


def _expected(make: Make, u: Point, m: float) -> Float[np.ndarray, "successes"]:
    """Return the law's probabilities of 0, 1, ..., m successes in m attempts."""
    c = np.arange(m + 1)[None]
    pairs = np.stack([np.full(c.size, m), c[0]], 1)
    one = np.ones_like(c)
    batch = Batch(m * one, c, one, np.arange(c.size)[None], pairs)
    family = make(pairs)
    assert family.cells is not None
    log = family.cells(u[None], batch)[0] + _log_choose(m, c[0])
    with np.errstate(under="ignore"):
        shares = np.exp(log)
    return shares / shares.sum()


def _observed(
    n: Float[np.ndarray, "problems"], c: Float[np.ndarray, "problems"], m: float
) -> Float[np.ndarray, "successes"]:
    """Return the mean over problems of the probabilities of 0, ..., m successes in m of their
    attempts."""
    pairs, times = np.unique(np.stack([n, c]), axis=1, return_counts=True)
    n, c = pairs[0][:, None], pairs[1][:, None]
    j = np.arange(m + 1)
    inside = (j <= c) & (m - j <= n - c)
    log = (
        _log_choose(c, np.minimum(j, c))
        + _log_choose(n - c, np.clip(m - j, 0, n - c))
        - _log_choose(n, m)
    )
    with np.errstate(under="ignore"):
        chances = np.where(inside, np.exp(log), 0.0)
    return times @ chances / times.sum()


def _log_choose(n: object, k: object) -> np.ndarray:
    n, k = np.asarray(n, float), np.asarray(k, float)
    return -np.log1p(n) - special.betaln(n - k + 1, k + 1)


def _bins(expected: Float[np.ndarray, "successes"], problems: int) -> list[int]:
    """Return the first number of successes of each bin; every bin expects enough problems."""
    minimum = max(MIN_EXPECTED / problems, 1 / MAX_BINS)
    edges, share = [0], 0.0
    for c, part in enumerate(expected):
        if share >= minimum:
            edges.append(c)
            share = 0.0
        share += part
    if share < minimum and len(edges) > 1:
        edges.pop()
    return edges


def misfit_notes(
    law: Family, names: Sequence[str], found: Sequence[Misfit | None]
) -> tuple[str, ...]:
    """Return a note for each better family, and one on groups that no family describes."""
    notes: list[str] = []
    pairs = [(n, item) for n, item in zip(names, found, strict=True) if item is not None]
    for better in dict.fromkeys(item.better for _, item in pairs if item.better):
        selected = [(name, item) for name, item in pairs if item.better == better]
        gains = sorted(item.gain for _, item in selected)
        gain = f"{gains[0]:.3g}" + (f" to {gains[-1]:.3g}" if len(selected) > 1 else "")
        notes.append(
            f"{law.name} does not describe the counts of {listed(n for n, _ in selected)} well: "
            f"the log-likelihood of {better} is {gain} higher; see --family {better} "
            f"(family={better!r})."
        )
    unexplained = [(n, item) for n, item in pairs if item.p_value < RARE and not item.better]
    if unexplained:
        worst = min(item.p_value for _, item in unexplained)
        notes.append(
            f"The successes of {listed(n for n, _ in unexplained)} are not distributed as "
            f"{law.name} says "
            f"(chi-squared test, p = {worst:.1g}), and no other family that was tried does much "
            "better: extrapolate with care."
        )
    return tuple(notes)
