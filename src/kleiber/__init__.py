"""kleiber: neural scaling laws, from a table of runs to a law, its uncertainty, and a plan."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from kleiber import laws, reduce, theory
from kleiber.claim import Claim, Estimate, Verdict
from kleiber.errors import BadExperiment, BadFormula, BadLaw, BadPlan, BadTable, NotConverged
from kleiber.fitting.compare import Comparison, compare
from kleiber.fitting.fit import fit
from kleiber.fitting.groups import GroupFit, GroupFits, fit_groups
from kleiber.fitting.intervals import Interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.posterior import sample_posterior
from kleiber.fitting.prediction import Prediction, predict
from kleiber.fitting.profile import profile
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.fitting.status import Status
from kleiber.law import Domain, Law, fraction, law_from_formula, positive, real
from kleiber.papers import check
from kleiber.planning import cost
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.next_run import next_run
from kleiber.planning.plan import Plan, plan
from kleiber.table import read_table, write_table
from kleiber.version import __version__

if TYPE_CHECKING:
    from kleiber.experiment import Experiment, read_experiment
    from kleiber.fitting.counts.fit import fit_counts
    from kleiber.fitting.forecast import NormForecast, forecast_from_norm
    from kleiber.networks import train
    from kleiber.planning.attempts import AttemptPlan, plan_attempts
    from kleiber.sweeps.run import sweep

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
    "GroupFit",
    "GroupFits",
    "Interval",
    "Law",
    "Noise",
    "NormForecast",
    "NotConverged",
    "Plan",
    "Prediction",
    "Status",
    "Verdict",
    "__version__",
    "check",
    "compare",
    "cost",
    "fit",
    "fit_counts",
    "fit_groups",
    "forecast_from_norm",
    "fraction",
    "law_from_formula",
    "laws",
    "load",
    "next_run",
    "plan",
    "plan_attempts",
    "positive",
    "predict",
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

_LATER = {  # loaded when first asked for, so that the import stays cheap
    "AttemptPlan": "planning.attempts",
    "Experiment": "experiment",
    "NormForecast": "fitting.forecast",
    "fit_counts": "fitting.counts.fit",
    "forecast_from_norm": "fitting.forecast",
    "plan_attempts": "planning.attempts",
    "read_experiment": "experiment",
    "sweep": "sweeps.run",
    "train": "networks",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
