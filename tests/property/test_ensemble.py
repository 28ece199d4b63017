"""Planted ensembles: the intervals hold the truth as often as they say, and the null is kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from kleiber.systems.lottery_tickets.ensemble import judge_ensemble
from kleiber.theory import Tickets

CASES = 60
PLANTED = [  # theory, seeds
    (Tickets(), 10),  # the null: nothing shared, width and ensemble alike
    (Tickets(bias=0.05), 6),
    (Tickets(bias=0.05, correlation=0.2), 10),
    (Tickets(correlation=-0.1), 16),
]
# Intervals of quantities that are not at their boundary miss about 5%; B^2 = 0 is at a boundary,
# where its interval is too wide. No more misses than 5% could give, and not none for all.
MOST = stats.binom.isf(1e-4, CASES, 0.05)


def truth(theory: Tickets, width: int) -> tuple[float, float]:
    """B^2 and V of nets of that width."""
    bias = theory.bias**2
    return bias, theory.solve({"width": [width]})["mse"].item() - bias


@pytest.mark.parametrize(("theory", "seeds"), PLANTED, ids=str)
def test_intervals_hold_the_truth(theory: Tickets, seeds: int) -> None:
    (bias, variance), (_, wide) = truth(theory, 8), truth(theory, 16)
    misses: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for case in range(CASES):
        nets = {n: theory.draw(n, seeds=seeds, seed=case) for n in (8, 16)}
        verdict = judge_ensemble(nets, np.zeros(64), members=(4,), seed=case)
        part, (trade,) = verdict.widths[0], verdict.trades
        for name, found, expected in (
            ("mse", part.mse, bias + variance),
            ("bias", part.bias, bias),
            ("variance", part.variance, variance),
            ("share", part.bias_share, bias / (bias + variance)),
            ("ensemble", part.ensembles[4], bias + variance / 4),
            ("ratio", trade.ratio, (bias + variance / 2) / (bias + wide)),
            ("exponent", verdict.exponents["mse"], np.log2((bias + variance) / (bias + wide))),
        ):
            misses[name] += not found.low <= expected <= found.high
        words[trade.better] += 1
        words[part.reading] += 1
    assert max(misses.values()) <= MOST, misses
    assert misses.total() > 0  # intervals that never miss say nothing
    if theory.correlation == 0:  # the ratio is 1, whatever the bias
        assert words["wider"] + words["ensemble"] <= MOST, words
    if theory == Tickets():
        assert words["shared"] == 0
        assert words["averages"] > 0.9 * CASES
    if theory.correlation < 0:
        assert words["wider"] > 0.9 * CASES
        assert words["ensemble"] == 0


def test_the_estimators_are_unbiased() -> None:
    theory = Tickets(bias=0.05, correlation=0.1)
    bias, variance = truth(theory, 8)
    found = []
    for case in range(300):
        part = judge_ensemble({8: theory.draw(8, seeds=4, seed=case)}, np.zeros(64)).widths[0]
        found.append((part.bias.value, part.variance.value))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(300)
    assert (np.abs(mean - (bias, variance)) < 4 * error).all()


def test_intervals_hold_the_truth_of_a_population_of_points() -> None:
    rng, cases, misses = np.random.default_rng(7), 60, Counter[str]()
    for case in range(cases):
        scale = np.exp(rng.normal(size=150) - 0.5)  # points differ in difficulty, mean 1
        shared = rng.normal(size=150) * np.sqrt(2 * scale)
        errors = shared + rng.normal(size=(8, 150)) * np.sqrt(scale)
        for points in ("fixed", "drawn"):
            part = judge_ensemble({8: errors}, np.zeros(150), points=points, seed=case).widths[0]
            for name, found, true in (("bias", part.bias, 2), ("share", part.bias_share, 2 / 3)):
                misses[f"{name} {points}"] += not found.low <= true <= found.high
    most = stats.binom.isf(1e-4, cases, 0.05)
    assert misses["bias drawn"] <= most
    assert misses["share drawn"] <= most
    assert misses["bias fixed"] > most  # a test set is no grid: what is fixed must be said


def _one_mode(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, 1)) * np.sqrt(2) * np.cos(np.pi * (np.arange(32) + 0.5) / 32)


def test_intervals_hold_the_truth_of_one_random_mode() -> None:
    rng, cases, misses = np.random.default_rng(3), 100, Counter[str]()
    for case in range(cases):
        errors = {width: _one_mode(rng, 10) for width in (8, 16)}
        verdict = judge_ensemble(errors, np.zeros(32), members=(4,), seed=case)
        part, (trade,) = verdict.widths[0], verdict.trades
        for name, found, true in (
            ("mse", part.mse, 1.0),
            ("variance", part.variance, 1.0),
            ("ensemble", part.ensembles[4], 0.25),
            ("ratio", trade.ratio, 0.5),
        ):
            misses[name] += not found.low <= true <= found.high
    assert max(misses.values()) <= stats.binom.isf(1e-4, cases, 0.05), misses


def test_heavy_tails_and_dead_nets_come_with_a_note() -> None:
    rng = np.random.default_rng(5)
    words: Counter[str] = Counter()
    for case in range(40):
        alike = rng.standard_normal((16, 32))
        heavy = alike / np.sqrt(rng.chisquare(3, (16, 1)))
        dead = np.where(np.arange(16)[:, None] < 2, 20.0, alike)
        for name, errors in (("alike", alike), ("heavy", heavy), ("dead", dead)):
            notes = judge_ensemble({8: errors}, np.zeros(32), seed=case).notes
            words[name] += bool(notes)
            if name == "dead":
                assert "2 of 16 nets have more than 30 times the median error" in notes[0]
                assert "drop=30" in notes[0]
                kept = judge_ensemble({8: errors}, np.zeros(32), drop=30, seed=case)
                assert kept.notes == ()
    assert words["alike"] == 0
    assert words["heavy"] >= 30
