"""Comparison of laws by how well they extrapolate beyond rolling origins.

At each origin the laws are fitted to the runs up to a threshold of one column and judged on the
runs beyond it (``origins.py``). Rows, or groups of them, are resampled and every fit is repeated,
all laws on the same resamples. Laws are compared by the ratio of their errors (``ratios.py``): two
laws whose ratio has an interval that contains 1 cannot be told apart.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from kleiber.arguments import check_array, check_memory, check_text, check_whole
from kleiber.brief import brief, number
from kleiber.brief import listed as listed_briefly
from kleiber.claim import Estimate
from kleiber.errors import BadTable, listed, nearest, shown
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.engine.search import search
from kleiber.fitting.engine.starts import start_ranges
from kleiber.fitting.options import Options
from kleiber.fitting.origins import (
    choose_origins,
    count_units,
    measure_errors,
    plain_target,
)
from kleiber.fitting.ratios import Trial, compare_errors, take_error, take_ratio
from kleiber.fitting.solution import FEW_GROUPS
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.law import Law
from kleiber.laws import find_law
from kleiber.plain import as_plain, plain_estimate
from kleiber.progress import Progress, check_progress
from kleiber.rows import given_columns
from kleiber.table import as_frame, numbers

DRAWS = 100


@dataclass(frozen=True)
class Contender:
    """How one law of a comparison did.

    Attributes
    ----------
    law, n_params
        Its name, or its formula, and the number of its parameters.
    error
        Its typical error beyond the origins, an ``Estimate`` on the scale of the residuals.
    aicc
        The corrected Akaike criterion of its least-squares fit to all rows (Hurvich & Tsai 1989).
    behind
        Its error minus the best law's, with the interval of the ratio at the best law's error.
    verdict
        ``"best"``, ``"worse"`` (the interval of the ratio lies above 1) or ``"cannot tell"``.
    ratio
        Its error over the best law's, an ``Estimate``.
    """

    law: str
    n_params: int
    error: Estimate
    aicc: float
    behind: Estimate
    verdict: str
    ratio: Estimate


@dataclass(frozen=True)
class Comparison:
    """Laws from least to most error of extrapolation.

    Attributes
    ----------
    contenders
        For each law its ``law``, ``n_params``, ``error``, ``aicc``, ``behind``, ``ratio`` and
        ``verdict``, best law first.
    beyond
        The column along which the laws extrapolate.
    origins
        The thresholds of that column that were used.
    level
        The level of all intervals of ratios together.
    verdict
        One phrase: which law extrapolates best, or which laws cannot be told apart.
    notes
        Sentences on what to mind.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6 * 2**k for k in range(12)]
    >>> runs = {"n_params": sizes, "loss": [1.8 + 400 / n**0.4 for n in sizes]}
    >>> made = kleiber.compare(["A/n_params**alpha", "E + A/n_params**alpha"], runs,
    ...                        beyond="n_params", origins=[3e7], draws=2)
    >>> made.origins, made.beyond
    ((30000000.0,), 'n_params')
    """

    contenders: tuple[Contender, ...]
    beyond: str
    origins: tuple[float, ...]
    level: float
    verdict: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        each = (f"{item.law} {number(item.error.value)}" for item in self.contenders)
        return brief(
            "Comparison", self.verdict, {"errors": listed_briefly(each), "beyond": self.beyond}
        )


def compare(
    laws: Sequence[Law | str],
    table: Any,
    *,
    beyond: str,
    target: str = "loss",
    noise: Noise | None = None,
    origins: Sequence[float] | None = None,
    by: str | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Rank laws by how well they extrapolate beyond thresholds of a column.

    At each threshold the laws are fitted to the rows up to it and judged on the rows beyond it. The
    whole comparison is then repeated on resampled rows, all laws on the same resamples, and two
    laws whose ratio of errors has an interval that holds 1 cannot be told apart.

    Parameters
    ----------
    laws
        Two or more: ``Law`` records, names of the catalogue, formulas, or ``"file.py:name"``.
    table
        Any data frame of runs. (Until the next release the laws and the table may come the other
        way round, as they did before.)
    beyond
        The column to extrapolate along, such as ``"n_params"``.
    target
        The column that the laws predict.
    noise
        How residuals are measured; by default Huber's loss function of width 1e-3 on log residuals.
    origins
        The thresholds, in the unit of ``beyond``; by default its quantiles from 0.4 to 0.8.
    by
        A column whose groups of rows are resampled whole; None takes rows as independent.
    draws
        How often the comparison is repeated on resampled rows, at least 2.
    level
        The level of all intervals of ratios together.
    seed
        The seed of the starts and the resamples.
    progress
        Called with (done, total, note) as searches and refits are done.

    Returns
    -------
    Comparison
        The laws from least to most error, each with its verdict.

    Raises
    ------
    BadTable
        For fewer than two laws, a missing column, and thresholds that leave too few rows on a side.
    BadLaw, BadFormula
        For what is no law.
    ValueError
        For fewer than two draws.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6 * 2**k for k in range(16)]
    >>> noise = [1.001, 0.999, 1.0005, 0.9995] * 4
    >>> runs = {"n_params": sizes, "loss": [u * (1.8 + 4e3 / n**0.5) for u, n in zip(noise, sizes)]}
    >>> made = kleiber.compare(["A/n_params**alpha", "E + A/n_params**alpha"], runs,
    ...                        beyond="n_params", origins=[5e7, 3e8], draws=10)
    >>> made.contenders[0].law
    'E + A/n_params**alpha'
    """
    laws, table = _in_new_order(laws, table)
    progress = check_progress(progress)
    frame = as_frame(table)
    if isinstance(laws, str) or not isinstance(laws, Sequence) or len(laws) < 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        given = len(laws) if isinstance(laws, list | tuple) else shown(laws)
        raise BadTable(f"A comparison needs a list of at least two laws, got {given}.")
    noise_model = Noise("log", delta=1e-3) if noise is None else noise
    count = check_whole("draws", draws, low=2)
    options = Options(target=target, noise=noise_model, draws=count, level=level, by=by, seed=seed)
    check_memory(f"a comparison with {count:,} draws", 8.0 * count * frame.height, "ask for fewer")
    check_text("beyond", beyond, "the name of a column")
    if origins is not None:
        thresholds = "a list of thresholds or None"
        given: Any = origins
        if not isinstance(given, Sequence | np.ndarray) or len(cast("Any", given)):
            origins = check_array("origins", given, thresholds).tolist()
    if beyond not in frame.columns:
        raise BadTable(
            f"There is no column {shown(beyond)} to extrapolate along; the table has "
            f"{listed(given_columns(frame))}.{nearest(beyond, given_columns(frame))}"
        )
    known = [name for name in given_columns(frame) if name != target]
    found = [find_law(law, known) for law in laws]
    tables = [read_measurements(law, frame, options) for law in found]
    problems = [pose_rows(law, rows, options) for law, rows in zip(found, tables, strict=True)]
    groups, x = tables[0].groups, numbers(frame, beyond)
    cuts = choose_origins(x, origins, max(len(p.law.params) for p in problems))
    errors = measure_errors(problems, x, cuts, groups, options.draws, options.seed, progress)
    trial = compare_errors(
        _names(found), problems, errors, groups, count_units(x, cuts, groups), options
    )
    contenders = _rank(trial)
    notes = _notes(trial, cuts, origins)
    return Comparison(contenders, beyond, cuts, options.level, _verdict(contenders), notes)


def _in_new_order(laws: Any, table: Any) -> tuple[Any, Any]:
    """Return laws and table in this order, also if they were given in the old one, with a
    warning."""
    if not _are_laws(table) or _are_laws(laws):
        return laws, table
    warnings.warn(
        "The laws come first now, compare(laws, table), as in fit; the old order goes with "
        "the next release.",
        FutureWarning,
        stacklevel=3,
    )
    return table, laws


def _are_laws(given: Any) -> bool:
    """Return whether an argument is a list of laws."""
    items = cast("list[Any]", given) if isinstance(given, list | tuple) else []
    return bool(items) and all(isinstance(item, str | Law) for item in items)


def _rank(trial: Trial) -> tuple[Contender, ...]:
    """Return the laws from smallest to largest error, each compared with the first."""
    order: list[int] = np.argsort(trial.points, kind="stable").tolist()
    best = order[0]
    return tuple(_contend(trial, k, best) for k in order)


def _contend(trial: Trial, k: int, best: int) -> Contender:
    """Compare one law with the best."""
    problem, best_error = trial.problems[k], float(np.exp(trial.points[best]))
    ratio = take_ratio(trial, k, best)
    ends = [best_error * (end - 1) for end in (ratio.value, ratio.low, ratio.high)]
    behind = Estimate(ends[0], best_error * ratio.stderr, ends[1], ends[2])
    verdict = "best" if k == best else "worse" if ratio.low > 1 else "cannot tell"
    error = take_error(float(trial.points[k]), trial.draws[k], trial.read_at)
    aicc = corrected_aic(problem, trial.options.seed)
    name, size = trial.names[k], len(problem.law.params)
    return Contender(name, size, error, aicc, behind, verdict, ratio)


def _verdict(contenders: Sequence[Contender]) -> str:
    best, *others = contenders
    rivals = [item.law for item in others if item.verdict == "cannot tell"]
    if rivals:
        return f"cannot tell {best.law} from {', '.join(rivals)}"
    return f"{best.law} extrapolates best"


def _notes(
    trial: Trial, cuts: tuple[float, ...], origins: Sequence[float] | None
) -> tuple[str, ...]:
    notes: list[str] = []
    if len(cuts) == 1:
        notes.append("One origin only: the ranking rests on a single split.")
    dropped = [f"{cut:g}" for cut in origins or () if cut not in cuts]
    if dropped:
        notes.append(f"Too few rows up to, or none beyond, {', '.join(dropped)}: left out.")
    infinite = [n for n, error in zip(trial.names, trial.points, strict=True) if np.isinf(error)]
    if infinite:
        notes.append(
            f"{', '.join(infinite)}: infinite error, since some prediction beyond an origin is no "
            f"{'positive number' if trial.options.noise.scale == 'log' else 'finite number'}."
        )
    what = "rows" if trial.groups is None else f"groups in {trial.options.by!r}"
    if math.isnan(trial.level):
        notes.append(f"No intervals: {trial.units} {what} are too few to resample.")
    elif trial.groups is not None and trial.units < FEW_GROUPS:
        notes.append(
            f"Only {trial.units} {what}: intervals from fewer than {FEW_GROUPS} groups are too "
            "narrow to trust."
        )
    return tuple(notes)


def corrected_aic(problem: Problem, seed: int) -> float:
    """Return AICc = n log(RSS/n) + 2k + 2k(k+1)/(n-k-1) of least squares on the scale of the noise
    model, with k the parameters and the variance (Hurvich & Tsai 1989); infinite if n <= k + 1."""
    plain = replace(problem, noise=Noise(problem.noise.scale))
    ranges = start_ranges(problem.law, problem.columns, plain_target(problem))
    best = search(plain, ranges, seed)
    n, k = len(problem.target), len(problem.law.params) + 1
    if n <= k + 1:
        return math.inf
    rss = max(2 * best.objective, 1e-300)
    return float(n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _names(laws: Sequence[Law]) -> list[str]:
    """Return a name for each law; formulas, which share one, are named by their text."""
    first = [law.formula if law.name == "formula" else law.name for law in laws]
    return [f"{name} ({i + 1})" if first.count(name) > 1 else name for i, name in enumerate(first)]


def describe_comparison(made: Comparison) -> Mapping[str, Any]:
    """Return the document that ``compare --json`` prints."""
    return as_plain(
        {
            "beyond": made.beyond,
            "origins": made.origins,
            "level": made.level,
            "verdict": made.verdict,
            "laws": [
                {
                    "law": item.law,
                    "n_params": item.n_params,
                    "error": plain_estimate(item.error),
                    "aicc": item.aicc,
                    "behind": plain_estimate(item.behind),
                    "ratio": plain_estimate(item.ratio),
                    "verdict": item.verdict,
                }
                for item in made.contenders
            ],
            "notes": made.notes,
        }
    )
