"""kleiber: neural scaling laws, from a table of runs to a law, its uncertainty, and a plan."""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from kleiber.version import __version__

if TYPE_CHECKING:
    from kleiber import laws, reduce, theory
    from kleiber.attempts.collect import collect_attempts
    from kleiber.attempts.fit import fit_counts
    from kleiber.attempts.paired import PairedCounts, compare_counts
    from kleiber.claim import Claim, Estimate, Verdict
    from kleiber.documents import load, save
    from kleiber.errors import BadExperiment, BadFormula, BadLaw, BadPlan, BadTable, NotConverged
    from kleiber.experiment import Experiment, read_experiment
    from kleiber.fitting.compare import Comparison, compare
    from kleiber.fitting.engine.noise import Noise
    from kleiber.fitting.fit import fit
    from kleiber.fitting.groups import GroupFit, GroupFits, fit_groups
    from kleiber.fitting.judge.status import Status
    from kleiber.fitting.options import Options
    from kleiber.fitting.prediction import Prediction, predict
    from kleiber.fitting.record import Fit
    from kleiber.fitting.spread.intervals import Interval
    from kleiber.fitting.spread.posterior import sample_posterior
    from kleiber.fitting.spread.profile import profile
    from kleiber.forecasting.forecast import forecast
    from kleiber.forecasting.ranking import rank_systems
    from kleiber.forecasting.record import Forecast
    from kleiber.forecasting.score import Score, score
    from kleiber.forecasting.speedup import Speedup, speedup
    from kleiber.forecasting.through import ForecastThrough, forecast_through
    from kleiber.law import Domain, Law, fraction, law_from_formula, positive, real
    from kleiber.networks import train
    from kleiber.planning import cost
    from kleiber.planning.frontier import sensitivity, trace_frontier
    from kleiber.planning.next_run import next_run
    from kleiber.planning.plan import AttemptPlan, Plan, plan, plan_attempts
    from kleiber.readers.record import Logs
    from kleiber.readers.registry import read
    from kleiber.sweeps.run import sweep
    from kleiber.systems.implicit_bias.forecast import NormForecast, forecast_from_norm
    from kleiber.systems.papers import check
    from kleiber.table import read_table, write_table

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
    "Forecast",
    "ForecastThrough",
    "GroupFit",
    "GroupFits",
    "Interval",
    "Law",
    "Logs",
    "Noise",
    "NormForecast",
    "NotConverged",
    "Options",
    "PairedCounts",
    "Plan",
    "Prediction",
    "Score",
    "Speedup",
    "Status",
    "Verdict",
    "__version__",
    "check",
    "collect_attempts",
    "compare",
    "compare_counts",
    "cost",
    "fit",
    "fit_counts",
    "fit_groups",
    "forecast",
    "forecast_from_norm",
    "forecast_through",
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
    "rank_systems",
    "read",
    "read_experiment",
    "read_table",
    "real",
    "reduce",
    "sample_posterior",
    "save",
    "score",
    "sensitivity",
    "speedup",
    "sweep",
    "theory",
    "trace_frontier",
    "train",
    "write_table",
]

_HOMES = {  # where each name is, loaded when it is first asked for: the import itself is quick
    "AttemptPlan": "planning.plan",
    "BadExperiment": "errors",
    "BadFormula": "errors",
    "BadLaw": "errors",
    "BadPlan": "errors",
    "BadTable": "errors",
    "Claim": "claim",
    "Comparison": "fitting.compare",
    "Domain": "law",
    "Estimate": "claim",
    "Experiment": "experiment",
    "Fit": "fitting.record",
    "Forecast": "forecasting.record",
    "ForecastThrough": "forecasting.through",
    "GroupFit": "fitting.groups",
    "GroupFits": "fitting.groups",
    "Interval": "fitting.spread.intervals",
    "Law": "law",
    "Logs": "readers.record",
    "Noise": "fitting.engine.noise",
    "NormForecast": "systems.implicit_bias.forecast",
    "NotConverged": "errors",
    "Options": "fitting.options",
    "PairedCounts": "attempts.paired",
    "Plan": "planning.plan",
    "Prediction": "fitting.prediction",
    "Score": "forecasting.score",
    "Speedup": "forecasting.speedup",
    "Status": "fitting.judge.status",
    "Verdict": "claim",
    "check": "systems.papers",
    "collect_attempts": "attempts.collect",
    "compare": "fitting.compare",
    "compare_counts": "attempts.paired",
    "cost": "planning.cost",
    "fit": "fitting.fit",
    "fit_counts": "attempts.fit",
    "fit_groups": "fitting.groups",
    "forecast": "forecasting.forecast",
    "forecast_from_norm": "systems.implicit_bias.forecast",
    "forecast_through": "forecasting.through",
    "fraction": "law",
    "law_from_formula": "law",
    "load": "documents",
    "next_run": "planning.next_run",
    "plan": "planning.plan",
    "plan_attempts": "planning.plan",
    "positive": "law",
    "predict": "fitting.prediction",
    "profile": "fitting.spread.profile",
    "rank_systems": "forecasting.ranking",
    "read": "readers.registry",
    "read_experiment": "experiment",
    "read_table": "table",
    "real": "law",
    "sample_posterior": "fitting.spread.posterior",
    "save": "documents",
    "score": "forecasting.score",
    "sensitivity": "planning.frontier",
    "speedup": "forecasting.speedup",
    "sweep": "sweeps.run",
    "trace_frontier": "planning.frontier",
    "train": "networks",
    "write_table": "table",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name, name)
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{home}") is None:
        raise AttributeError(f"Module {__name__!r} has no attribute {name!r}.")
    module = importlib.import_module(f"{__name__}.{home}")
    value = getattr(module, name) if name in _HOMES and name != "cost" else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
