"""The verb: fit a law to a table."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_memory
from kleiber.fitting.assembly import conclude, fitted_params
from kleiber.fitting.engine.compiled import find_kernel
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import search_from_draws
from kleiber.fitting.judge.status import Status
from kleiber.fitting.judge.units import refuse_logarithms
from kleiber.fitting.options import Options, choose_options
from kleiber.fitting.record import Fit
from kleiber.fitting.solution import Solved, draw_from, judge_optimum, solve
from kleiber.fitting.spread.bootstrap import refit
from kleiber.law import Law
from kleiber.laws import find_law
from kleiber.maths.seeds import stream
from kleiber.progress import Progress, check_progress
from kleiber.rows import given_columns
from kleiber.table import as_frame

GLANCE = 200  # draws after which is judged whether more are worth it
HOPELESS = 0.5  # share of draws that do not settle, above which no more are made
LOOKS = 3  # rounds of draws, each from a lower optimum that the one before has found


def fit(
    law: Law | str,
    table: Any,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> Fit:
    """Fit a law to a table of runs, with an interval for everything that it finds.

    The law's free parameters minimise the sum over rows of weight * rho(r), r = log(prediction) -
    log(target), with Huber's rho of width 1e-3 by default (Hoffmann et al. 2022,
    arXiv:2203.15556, section 3.3). Intervals are percentiles of refits to resampled data.

    Parameters
    ----------
    law
        A ``Law``, the name of one of the catalogue (``kleiber list laws``), a formula such as
        ``"E + A/n_params**alpha"``, or ``"file.py:name"``.
    table
        Any data frame, or a mapping from names to columns: one row for each measurement.
    options
        The settings, ``kleiber.Options``; by default its defaults.
    progress
        Called with (done, total, note) as refits are done.
    changes
        Options by keyword, ``target="error"``, ``draws=200``: they overrule ``options``.

    Returns
    -------
    Fit
        Parameters, draws, intervals, misfit; how the fit ended is in ``status`` and ``reason``.

    Raises
    ------
    BadTable, BadLaw, BadFormula
        For input that cannot be fitted.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> runs = {"n_params": sizes, "loss": [1.8 + 400 / n**0.4 for n in sizes]}
    >>> found = kleiber.fit("E + A/n_params**alpha", runs, draws=0)
    >>> round(found.params["alpha"], 3)
    0.4
    """
    ask, heard = choose_options("fit", options, changes), check_progress(progress)
    frame = as_frame(table)
    law = find_law(law, [name for name in given_columns(frame) if name != ask.target])
    check_memory(
        f"the fit with {ask.draws:,} draws",
        8.0 * ask.draws * (len(law.params) + frame.height / 8),
        "ask for fewer draws",
    )
    began = time.perf_counter()
    solved = solve(law, frame, ask)
    refuse_logarithms(solved.law, solved.problem.columns, fitted_params(ask, solved))
    drawn = Drawn(np.empty((0, len(solved.point))), 0)
    if solved.status is not Status.TOO_FEW_POINTS and ask.draws:
        for _ in range(LOOKS):
            drawn = _draw(solved, ask, heard)
            better = search_from_draws(solved.problem, solved.best, drawn.point)
            if better is None:
                break
            decided = solved.decided
            solved = judge_optimum(solved.law, solved, better, ask)
            solved = replace(solved, decided=(*decided, *solved.decided))
    values = solved.problem.outer(drawn.point)
    seconds = time.perf_counter() - began
    return conclude(ask, solved, values, unsettled=drawn.unsettled, seconds=seconds)


class Drawn(NamedTuple):
    """Coordinates of all draws, and how many of them did not settle."""

    point: Float[np.ndarray, "draws params"]
    unsettled: int


def _draw(solved: Solved, ask: Options, progress: Progress) -> Drawn:
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
        progress(done, run.total, "refits")
        if done >= GLANCE and unsettled > HOPELESS * done:
            break  # no interval can come of it, and such draws cost a hundred times the others
    return Drawn(np.concatenate(points), unsettled)


def _quicken(problem: Problem, draws: int) -> Problem:
    """The problem with a kernel in machine code, where it is at hand and worth it."""
    columns, target = problem.columns, problem.target
    return replace(problem, kernel=find_kernel(problem.law, problem.noise, columns, target, draws))
