"""Where a plan with attempts knows failure from."""

from __future__ import annotations

from typing import Any

from kleiber.arguments import check_record
from kleiber.attempts.record import CountFit
from kleiber.errors import BadPlan, shown
from kleiber.fitting.record import Fit
from kleiber.planning.counts_curve import counts_curve
from kleiber.planning.curve import FailureCurve
from kleiber.planning.theory_curve import theory_curve


def curve_of(source: Any, law: Any = None) -> FailureCurve:
    """The curve of a theory, of a law of counts along a column, or of that along a loss law."""
    if isinstance(source, FailureCurve):
        return source
    if isinstance(source, CountFit):
        if law is not None:
            check_record("law", law, Fit, "a Fit of the loss or None")
        return counts_curve(source, law)
    if not hasattr(source, "solve"):
        raise BadPlan(
            "A plan with attempts takes as its source a theory or a law of counts (fit_counts), "
            f"got {shown(source)}."
        )
    if law is not None:
        raise BadPlan(f"{type(source).__name__} knows its own loss; leave out the loss law")
    return source.curve() if hasattr(source, "curve") else theory_curve(source)
