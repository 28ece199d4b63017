"""The verb: fit a law to a table."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from kleiber.fitting.bootstrap import refit
from kleiber.fitting.compiled import compile_kernel, worth_compiling
from kleiber.fitting.conclusion import conclude
from kleiber.fitting.intervals import check_level
from kleiber.fitting.noise import Noise
from kleiber.fitting.outcome import draw_from, solve
from kleiber.fitting.posing import Settings
from kleiber.fitting.problem import Problem
from kleiber.fitting.record import Fit
from kleiber.fitting.status import Status
from kleiber.law import Law
from kleiber.laws import find
from kleiber.maths.seeds import stream
from kleiber.table import as_frame

DEFAULT_NOISE = Noise("log", delta=1e-3)  # the field's convention since Hoffmann et al. 2022


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
    descent.

    Raises BadTable, BadLaw or BadFormula for input that cannot be fitted. How the fit ended is in
    ``status`` and ``reason``.
    """
    steps = fit_steps(
        law, table, target=target, noise=noise, draws=draws, level=level, by=by, weights=weights,
        fixed=fixed, tied=tied, priors=priors, start=start, resample=resample, seed=seed,
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
    seed: int = 0,
) -> Generator[Progress, None, Fit]:
    """``fit`` in steps, for callers that show progress: yields after every run of draws."""
    frame = as_frame(table)
    if isinstance(law, str):
        law = find(law, [name for name in frame.columns if name != target])
    if isinstance(draws, bool) or draws != int(draws) or draws < 0 or draws == 1:
        raise ValueError(f"draws must be 0 (none) or at least 2, got {draws}")
    if resample not in ("auto", "rows", "wild"):
        raise ValueError(f"resample is 'auto', 'rows' or 'wild', got {resample!r}")
    setting = Settings(
        target, noise or DEFAULT_NOISE, int(draws), check_level(level), by, weights,
        dict(fixed or {}), dict(tied or {}), start, seed, resample,
        dict(priors or {}),
    )  # fmt: skip
    return _steps(law, frame, setting)


def _steps(law: Law, frame: pl.DataFrame, ask: Settings) -> Generator[Progress, None, Fit]:
    began = time.perf_counter()
    solved = solve(law, frame, ask)
    problem, drawn, unsettled = solved.problem, [np.empty((0, len(solved.point)))], 0
    if solved.status is not Status.TOO_FEW_POINTS and ask.draws:
        runs = refit(
            _quicken(problem, ask.draws),
            draw_from(solved, ask.seed),
            solved.best.scale,
            draws=ask.draws,
            groups=solved.groups,
            rng=stream(ask.seed, "resample"),
            wild=solved.made == "wild",
            even=solved.made == "even",
        )
        for run in runs:
            drawn.append(problem.outer(run.point))
            unsettled += int((~run.converged).sum())
            yield Progress(sum(len(item) for item in drawn), run.total)
    values = np.concatenate(drawn)
    seconds = time.perf_counter() - began
    return conclude(law, frame, ask, solved, values, unsettled=unsettled, seconds=seconds)


def _quicken(problem: Problem, draws: int) -> Problem:
    """The problem with a compiled kernel where the draws repay compiling it."""
    if not worth_compiling(problem.law, draws, len(problem.target)):
        return problem
    kernel = compile_kernel(problem.law, problem.noise, problem.columns, problem.target)
    return replace(problem, kernel=kernel)
