"""The function ``fit``: fit a law to a table."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from kleiber.arguments import check_memory
from kleiber.fitting.assembly import build_fit, fitted_params
from kleiber.fitting.engine.compiled import find_kernel
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import search_from_draws
from kleiber.fitting.judge.status import Status
from kleiber.fitting.judge.units import refuse_logarithms
from kleiber.fitting.options import Options, choose_options
from kleiber.fitting.record import Fit
from kleiber.fitting.solution import Solution, assess_optimum, find_draw_starts, solve
from kleiber.fitting.spread.bootstrap import refit
from kleiber.law import Law
from kleiber.laws import find_law
from kleiber.maths.seeds import stream
from kleiber.progress import Progress, check_progress
from kleiber.rows import given_columns
from kleiber.table import as_frame

CHECK_AFTER = 200  # draws after which is judged whether more are worth it
MAX_UNCONVERGED = 0.5  # share of draws that do not settle, above which no more are made
MAX_ROUNDS = 3  # rounds of draws, each from a lower optimum that the one before has found


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
    options, progress = choose_options("fit", options, changes), check_progress(progress)
    frame = as_frame(table)
    law = find_law(law, [name for name in given_columns(frame) if name != options.target])
    check_memory(
        f"the fit with {options.draws:,} draws",
        8.0 * options.draws * (len(law.params) + frame.height / 8),
        "ask for fewer draws",
    )
    began = time.perf_counter()
    solution = solve(law, frame, options)
    refuse_logarithms(solution.law, solution.problem.columns, fitted_params(options, solution))
    drawn = Draws(np.empty((0, len(solution.point))), 0)
    if solution.status is not Status.TOO_FEW_POINTS and options.draws:
        for _ in range(MAX_ROUNDS):
            drawn = _draw(solution, options, progress)
            improved = search_from_draws(solution.problem, solution.best, drawn.point)
            if improved is None:
                break
            sign_changed = solution.sign_changed
            solution = assess_optimum(solution.law, solution, improved, options)
            solution = replace(solution, sign_changed=(*sign_changed, *solution.sign_changed))
    values = solution.problem.from_coordinate(drawn.point)
    seconds = time.perf_counter() - began
    return build_fit(options, solution, values, unconverged=drawn.unconverged, seconds=seconds)


class Draws(NamedTuple):
    """Coordinates of all draws, and how many of them did not converge."""

    point: Float[np.ndarray, "draws params"]
    unconverged: int


def _draw(solution: Solution, options: Options, progress: Progress) -> Draws:
    """Make all draws of an optimum."""
    start = find_draw_starts(solution, options.seed)
    runs = refit(
        _attach_kernel(solution.problem, options.draws),
        start.starts,
        solution.best.scale,
        draws=options.draws,
        groups=solution.groups,
        rng=stream(options.seed, "resample"),
        wild=solution.resampling == "wild",
        even=solution.resampling == "even",
        escapes=start.escapes,
    )
    points: list[np.ndarray] = []
    unconverged = done = 0
    for run in runs:
        points.append(run.point)
        unconverged += int((~run.converged).sum())
        done += len(run.point)
        progress(done, run.total, "refits")
        if done >= CHECK_AFTER and unconverged > MAX_UNCONVERGED * done:
            break  # no interval can come of it, and such draws cost a hundred times the others
    return Draws(np.concatenate(points), unconverged)


def _attach_kernel(problem: Problem, draws: int) -> Problem:
    """Return the problem with its machine code, if that is available and worth loading."""
    columns, target = problem.columns, problem.target
    return replace(problem, kernel=find_kernel(problem.law, problem.noise, columns, target, draws))
