"""kleiber: neural scaling laws, from a table of runs to a law, its uncertainty, and a plan."""

from typing import TYPE_CHECKING, Any

from kleiber import laws, reduce, theory
from kleiber.claim import Claim, Estimate, Verdict
from kleiber.errors import BadExperiment, BadFormula, BadLaw, BadPlan, BadTable, NotConverged
from kleiber.experiment import Experiment, read_experiment
from kleiber.fitting.compare import Comparison, compare
from kleiber.fitting.counts.fit import fit_counts
from kleiber.fitting.fit import fit
from kleiber.fitting.intervals import Interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.posterior import sample_posterior
from kleiber.fitting.profile import profile
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.fitting.status import Status
from kleiber.law import Domain, Law, fraction, law_from_formula, positive, real
from kleiber.networks import train
from kleiber.papers import check
from kleiber.planning import cost
from kleiber.planning.attempts import AttemptPlan, plan_attempts
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.next_run import next_run
from kleiber.planning.plan import Plan, plan
from kleiber.sweeps.run import sweep
from kleiber.table import read_table, write_table
from kleiber.version import __version__

if TYPE_CHECKING:
    from kleiber.fitting.forecast import NormForecast, forecast_from_norm

__all__ = [
    "AttemptPlan",
    "BadExperiment",
    "BadFormula",
    "BadLaw",
    "BadPlan",
    "BadTable",
    "Claim",
    "Comparison",
    "Domain",
    "Estimate",
    "Experiment",
    "Fit",
    "Interval",
    "Law",
    "Noise",
    "NormForecast",
    "NotConverged",
    "Plan",
    "Status",
    "Verdict",
    "__version__",
    "check",
    "compare",
    "cost",
    "fit",
    "fit_counts",
    "forecast_from_norm",
    "fraction",
    "law_from_formula",
    "laws",
    "load",
    "next_run",
    "plan",
    "plan_attempts",
    "positive",
    "profile",
    "read_experiment",
    "read_table",
    "real",
    "reduce",
    "sample_posterior",
    "save",
    "sensitivity",
    "sweep",
    "theory",
    "trace_frontier",
    "train",
    "write_table",
]


def __getattr__(name: str) -> Any:  # loaded when first asked for, so that the import stays cheap
    if name not in ("NormForecast", "forecast_from_norm"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kleiber.fitting import forecast

    return getattr(forecast, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
