"""kleiber: neural scaling laws, from a table of runs to a law, its uncertainty, and a plan."""

from kleiber import laws
from kleiber.claim import Estimate
from kleiber.errors import BadFormula, BadLaw, BadPlan, BadTable, NotConverged
from kleiber.fitting.compare import Comparison, compare
from kleiber.fitting.fit import fit
from kleiber.fitting.intervals import Interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.posterior import sample_posterior
from kleiber.fitting.profile import profile
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.fitting.status import Status
from kleiber.law import Domain, Law, fraction, law_from_formula, positive, real
from kleiber.planning import cost
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.next_run import next_run
from kleiber.planning.plan import Plan, plan
from kleiber.table import read_table, write_table
from kleiber.version import __version__

__all__ = [
    "BadFormula",
    "BadLaw",
    "BadPlan",
    "BadTable",
    "Comparison",
    "Domain",
    "Estimate",
    "Fit",
    "Interval",
    "Law",
    "Noise",
    "NotConverged",
    "Plan",
    "Status",
    "__version__",
    "compare",
    "cost",
    "fit",
    "fraction",
    "law_from_formula",
    "laws",
    "load",
    "next_run",
    "plan",
    "positive",
    "profile",
    "read_table",
    "real",
    "sample_posterior",
    "save",
    "sensitivity",
    "trace_frontier",
    "write_table",
]
