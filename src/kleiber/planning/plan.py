"""Plans: the best allocation of a budget by a fitted law, or between training and attempts.

One planner serves both. With attempts it solves

    min failure(x, k)   subject to   cost(x) + queries k attempt(x) = budget,

where x are the training variables and k is the number of attempts at each query (Levi 2026, arXiv
2601.03764, figure 2; there with ``weight`` times the generalisation loss added): k is one more
variable, and its price is a part of the cost. Failure comes from a theory, or from a law fitted to
counts along training, through a loss law if it was fitted along a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kleiber.arguments import check_flag
from kleiber.fitting.record import Fit
from kleiber.forecasting.record import Forecast
from kleiber.planning.advice import check_now
from kleiber.planning.answer import answer
from kleiber.planning.constraint import Constraints
from kleiber.planning.cost import Cost, six_nd
from kleiber.planning.pose import Settings, find_curve, pose_attempts, pose_question
from kleiber.planning.problem import Ends
from kleiber.planning.record import Plan as Plan
from kleiber.planning.record import describe_plan as describe_plan
from kleiber.planning.source import fit_of
from kleiber.planning.support import check_support as check_support

AttemptPlan = Plan  # the record of a plan with attempts had a name of its own


def plan(
    fit: Fit | Forecast,
    budget: float | None = None,
    cost: Cost | str = six_nd,
    *,
    reach: float | None = None,
    under: Constraints | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    level: float = 0.95,
    far: bool = False,
) -> Plan:
    """Find the values of a fitted law's variables on which a budget is best spent.

    The plan solves

        min L(x)  subject to  cost(x) = budget,

    or max L(x) where the fitted law rises with its variables, as an accuracy does (Hoffmann et al.
    2022, arXiv 2203.15556, eq. 4).

    Parameters
    ----------
    fit
        A usable fit, or a forecast of one group: its draws are of several laws, so that the
        intervals include the choice of law.
    budget
        What may be spent, in the unit of the cost.
    cost
        A Cost, the name of one, a column, or a formula of columns.
    reach
        Instead of a budget: the value that the law must come to, at the least cost. At most this
        for a law that falls, at least this for one that rises.
    under
        Further constraints: costs with what each may come to, or inequalities as text, such as
        ``["n_params<=8e9", "n_tokens>=20*n_params"]``.
    limits
        The smallest and largest value of a variable; None leaves an end open.
    choices
        The values that a variable may take.
    given
        Values of variables that are not chosen, or that only the cost has.
    level
        Of the intervals, between 0 and 1.
    far
        Whether a plan may go beyond 1e4 times the dearest measured run, or the largest measured
        value of a variable that is not limited.

    Returns
    -------
    Plan
        The allocation and what is predicted there, with intervals, and how far both lie beyond
        what was measured.

    Raises
    ------
    BadPlan
        For a fit that cannot support a plan (it says which run to add), a law without a best
        allocation, or a question without an answer.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e7, 1e8, 1e9]
    >>> runs = {"n_params": sizes * 3, "n_tokens": [n for n in (1e9, 1e10, 1e11) for _ in sizes]}
    >>> law = "E + A/n_params**a + B/n_tokens**b"
    >>> truth = {"E": 1.7, "A": 400, "B": 400, "a": 0.34, "b": 0.28}
    >>> runs["loss"] = list(kleiber.law_from_formula(law, list(runs))(**runs, **truth))
    >>> fit = kleiber.fit(law, runs, draws=0)
    >>> made = kleiber.plan(fit, budget=6e21, cost="6nd")
    >>> f"{made.allocation['n_params'].value:.2e} parameters, loss {made.predicted.value:.2f}"
    '4.17e+09 parameters, loss 2.17'
    """
    fit = fit_of(fit)
    check_support(fit)
    asked = Settings(budget, reach, cost, under, limits, choices, given)
    return answer(*pose_question(fit, asked), level=level, far=far)


def plan_attempts(
    source: Any,
    budget: float | None = None,
    cost: Cost | str | None = None,
    *,
    attempt: Cost | str | float,
    queries: float = 1.0,
    reach: float | None = None,
    law: Any = None,
    weight: float = 0.0,
    under: Constraints | None = None,
    limits: Mapping[str, Ends] | None = None,
    choices: Mapping[str, Sequence[float]] | None = None,
    given: Mapping[str, float] | None = None,
    now: Mapping[str, float] | None = None,
    series: str | None = None,
    level: float = 0.95,
    far: bool = False,
) -> Plan:
    """Split a budget between training and attempts so that failure is least.

    With k attempts at each of ``queries``, the plan solves

        min failure(x, k)  subject to  cost(x) + queries k attempt(x) = budget,

    or find the least budget with a pass rate of ``reach`` (Levi 2026, arXiv 2601.03764, figure 2).

    Parameters
    ----------
    source
        A theory with ``solve`` over n_data and k, a law of counts fitted along a column of training
        (``fit_counts(..., along=...)``), or a ``FailureCurve``.
    budget
        What may be spent, in the unit of the cost.
    cost
        Of training: a Cost, the name of one, a column, or a formula of columns.
    attempt
        The cost of one attempt at one query: a number, or a formula of the training variables.
    queries
        How many are attempted, k times each.
    reach
        Instead of a budget: the pass rate to come to, at the least cost.
    law
        A Fit of the loss that counts were fitted along.
    weight
        So many times the generalisation loss is added to what is minimised (theories only).
    under, choices, given, level
        As for ``plan``; all may name k. Choices of k are whole numbers.
    limits
        The smallest and largest value of a variable and of k. Without: from a tenth of the smallest
        measured to 1000 times the largest, and k from 1 to 1000 times the most attempts made.
    now
        Where one stands (values of the training variables and of k): the advice is then about the
        next unit of budget there.
    series
        Which of several series the counts are to be planned by.
    far
        Whether to look beyond 1000 times the largest measured too.

    Returns
    -------
    Plan
        The allocation with k, the failure predicted there, and which side deserves more.

    Raises
    ------
    BadPlan
        For a question without an answer.

    Examples
    --------
    >>> import kleiber
    >>> theory = kleiber.theory.HardTail(tail=2.7, tolerance=0.6, noise=1.0)
    >>> made = kleiber.plan_attempts(theory, 1e5, "10*n_data", attempt=1, queries=1e3)
    >>> f"{made.allocation['k'].value:.0f} attempts, failure {made.predicted.value:.2g}"
    '83 attempts, failure 0.00017'
    """
    curve = find_curve(source, law, series)
    now = check_now(now)
    asked = Settings(budget, reach, cost, under, limits, choices, given)
    posed = pose_attempts(curve, asked, attempt, queries, weight, check_flag("far", far))
    return answer(*posed, level=level, now=now)
