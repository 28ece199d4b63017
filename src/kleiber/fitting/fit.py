"""The verb: fit a law to a table."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from kleiber.arguments import check_mapping, check_memory, check_texts, check_whole
from kleiber.errors import shown
from kleiber.fitting.conclusion import conclude, fitted_params
from kleiber.fitting.engine.compiled import find_kernel
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import look_again
from kleiber.fitting.judge.status import Status
from kleiber.fitting.judge.units import refuse_logarithms
from kleiber.fitting.outcome import Solved, draw_from, judge_optimum, solve
from kleiber.fitting.posing import Settings
from kleiber.fitting.record import Fit
from kleiber.fitting.spread.bootstrap import refit
from kleiber.fitting.spread.intervals import check_level
from kleiber.law import Law
from kleiber.laws import find_law
from kleiber.maths.seeds import stream
from kleiber.rows import given_columns
from kleiber.table import as_frame

GLANCE = 200  # draws after which is judged whether more are worth it
HOPELESS = 0.5  # share of draws that do not settle, above which no more are made
DEFAULT_NOISE = Noise("log", delta=1e-3)  # the field's convention since Hoffmann et al. 2022


LOOKS = 3  # rounds of draws, each from a lower optimum that the one before has found


class Progress(NamedTuple):
    """How many draws are done, of how many."""

    done: int
    total: int


def fit(
    law: Law | str,
    table: Any,
    *,
    target: str = "loss",
    noise: Noise | None = None,
    draws: int = 1000,
    level: float = 0.95,
    by: str | None = None,
    weights: str | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, str] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float] | None = None,
    resample: str = "auto",
    real: Collection[str] = (),
    seed: int = 0,
) -> Fit:
    """Fit ``law`` (a Law, a catalogue name, a formula, or file.py:name) to a table of runs.

    ``noise`` defaults to Huber 1e-3 on log residuals (Hoffmann et al. 2022). ``draws`` refits give
    the intervals: to resampled ``rows``, for plain least squares ``wild`` ones (``resample``), and
    with at most 8 rows more than parameters to ``even`` noise; by whole groups of the column ``by``
    where one is given; ``weights``
    names a column that multiplies each row's charge; ``fixed`` holds parameters at numbers and
    ``tied`` at formulas of others; ``priors`` gives {name: (value, spread)}, weak beliefs in log
    coordinates for positive parameters, none by default; ``start`` replaces the search by one
    descent; ``real`` names parameters that may have either sign. Those of a formula are positive
    unless the data clearly want one below 0, which the fit then notes.

    Raises BadTable, BadLaw or BadFormula for input that cannot be fitted. How the fit ended is in
    ``status`` and ``reason``.
    """
    steps = fit_steps(
        law, table, target=target, noise=noise, draws=draws, level=level, by=by, weights=weights,
        fixed=fixed, tied=tied, priors=priors, start=start, resample=resample, real=real,
        seed=seed,
    )  # fmt: skip
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def fit_steps(
    law: Law | str,
    table: Any,
    *,
    target: str = "loss",
    noise: Noise | None = None,
    draws: int = 1000,
    level: float = 0.95,
    by: str | None = None,
    weights: str | None = None,
    fixed: Mapping[str, float] | None = None,
    tied: Mapping[str, str] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    start: Mapping[str, float] | None = None,
    resample: str = "auto",
    real: Collection[str] = (),
    seed: int = 0,
) -> Generator[Progress, None, Fit]:
    """``fit`` in steps, for callers that show progress: yields after every run of draws."""
    setting = Settings(
        target, DEFAULT_NOISE if noise is None else noise, check_draws(draws), check_level(level),
        by, weights, check_mapping("fixed", fixed, "a mapping from parameters to numbers or None"),
        check_mapping("tied", tied, "a mapping from parameters to formulas or None"),
        None if start is None else check_mapping("start", start, "a mapping to numbers or None"),
        seed, resample,
        check_mapping("priors", priors, "a mapping from parameters to (value, spread) or None"),
        tuple(check_texts("real", real, "a list of parameters")),
    )  # fmt: skip
    frame = as_frame(table)
    law = find_law(law, [name for name in given_columns(frame) if name != target])
    check_memory(
        f"the fit with {setting.draws:,} draws",
        8.0 * setting.draws * (len(law.params) + frame.height / 8),
        "ask for fewer draws",
    )
    return _steps(law, frame, setting)


def check_draws(draws: Any) -> int:
    """The number of draws: 0 for none, else at least 2."""
    accepted = "0 (none) or at least 2"
    if (found := check_whole("draws", draws, accepted=accepted)) == 1:
        raise ValueError(f"The value of draws must be {accepted}, got {shown(draws)}.")
    return found


def _steps(law: Law, frame: pl.DataFrame, ask: Settings) -> Generator[Progress, None, Fit]:
    began = time.perf_counter()
    solved = solve(law, frame, ask)
    refuse_logarithms(solved.law, solved.problem.columns, fitted_params(ask, solved))
    drawn = Drawn(np.empty((0, len(solved.point))), 0)
    if solved.status is not Status.TOO_FEW_POINTS and ask.draws:
        for _ in range(LOOKS):
            drawn = yield from _draw(solved, ask)
            better = look_again(solved.problem, solved.best, drawn.point)
            if better is None:
                break
            decided = solved.decided
            solved = judge_optimum(solved.law, solved, better, ask)
            solved = replace(solved, decided=(*decided, *solved.decided))
    values = solved.problem.outer(drawn.point)
    seconds = time.perf_counter() - began
    return conclude(frame, ask, solved, values, unsettled=drawn.unsettled, seconds=seconds)


class Drawn(NamedTuple):
    """Coordinates of all draws, and how many of them did not settle."""

    point: Float[np.ndarray, "draws params"]
    unsettled: int


def _draw(solved: Solved, ask: Settings) -> Generator[Progress, None, Drawn]:
    """All draws of an optimum."""
    begin = draw_from(solved, ask.seed)
    runs = refit(
        _quicken(solved.problem, ask.draws),
        begin.starts,
        solved.best.scale,
        draws=ask.draws,
        groups=solved.groups,
        rng=stream(ask.seed, "resample"),
        wild=solved.made == "wild",
        even=solved.made == "even",
        lifts=begin.lifts,
    )
    points: list[np.ndarray] = []
    unsettled = done = 0
    for run in runs:
        points.append(run.point)
        unsettled += int((~run.converged).sum())
        done += len(run.point)
        yield Progress(done, run.total)
        if done >= GLANCE and unsettled > HOPELESS * done:
            break  # no interval can come of it, and such draws cost a hundred times the others
    return Drawn(np.concatenate(points), unsettled)


def _quicken(problem: Problem, draws: int) -> Problem:
    """The problem with a kernel in machine code, where it is at hand and worth it."""
    columns, target = problem.columns, problem.target
    return replace(problem, kernel=find_kernel(problem.law, problem.noise, columns, target, draws))
