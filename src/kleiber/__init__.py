"""kleiber: neural scaling laws, from a table of runs to a law, its uncertainty, and a plan."""

from kleiber import laws
from kleiber.claim import Estimate
from kleiber.errors import BadFormula, BadLaw, BadPlan, BadTable, NotConverged
from kleiber.fitting.fit import fit
from kleiber.fitting.intervals import Interval
from kleiber.fitting.noise import Noise
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.fitting.status import Status
from kleiber.law import Domain, Law, fraction, law_from_formula, positive, real
from kleiber.planning import cost
from kleiber.planning.plan import Plan, plan, trace_frontier
from kleiber.table import read_table, write_table
from kleiber.version import __version__

__all__ = [
    "BadFormula",
    "BadLaw",
    "BadPlan",
    "BadTable",
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
    "cost",
    "fit",
    "fraction",
    "law_from_formula",
    "laws",
    "load",
    "plan",
    "positive",
    "read_table",
    "real",
    "save",
    "trace_frontier",
    "write_table",
]
