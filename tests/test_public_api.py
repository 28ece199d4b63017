"""The façade: its names are frozen, its import is light, and no module hides a verb."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kleiber

ROOT = Path(__file__).parents[1]
# The public names as released; a change here is a change of the contract (CHANGELOG.md).
FROZEN = """
AttemptPlan plan_attempts BadExperiment BadFormula BadLaw BadPlan BadTable Claim Comparison Domain
Estimate Experiment Fit GroupFit GroupFits Interval Law Noise NormForecast NotConverged Options
Plan Forecast Prediction Score Speedup Status Verdict __version__ check collect_attempts compare
cost fit fit_counts fit_groups forecast forecast_from_norm fraction law_from_formula laws load
next_run plan positive predict profile rank_systems score speedup read_experiment read_table real
reduce sample_posterior save sensitivity sweep theory trace_frontier train write_table PairedCounts
compare_counts ForecastThrough forecast_through Logs read
""".split()
MODULES = ("cost", "laws", "reduce", "theory")  # public names that are modules; all others are not
HEAVY = ("torch", "matplotlib", "plotly", "dask", "distributed", "pandas", "numba", "typer")

LIGHT = f"""
import json, sys
import kleiber
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""

# Importing a submodule binds its name on the package, where it could hide a verb of that name.
EVERYTHING = """
import importlib, inspect, json, pkgutil
import kleiber

def call_without_arguments(value):
    try:
        value()
    except TypeError as error:
        return "missing" in str(error)
    return False

report = {"missing": [], "modules": [], "changed": [], "uncallable": [], "imported": 0}
for item in pkgutil.walk_packages(kleiber.__path__, "kleiber."):
    if item.name.endswith(("__main__", "engine.descent")):  # the latter makes machine code, 20 s
        continue
    try:
        importlib.import_module(item.name)
        report["imported"] += 1
    except ModuleNotFoundError as error:
        report["missing"].append([item.name, error.name])
for name in kleiber.__all__:
    first, second = getattr(kleiber, name), getattr(kleiber, name)
    if first is not second:
        report["changed"].append(name)
    if inspect.ismodule(first):
        report["modules"].append(name)
    elif inspect.isfunction(first):
        needs = [p for p in inspect.signature(first).parameters.values()
                 if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
                 and p.kind is not p.VAR_KEYWORD]
        if needs and not (call_without_arguments(first) and call_without_arguments(second)):
            report["uncallable"].append(name)
print(json.dumps(report))
"""


def run(code: str) -> Any:
    """What a fresh interpreter prints for the code, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_names_are_frozen() -> None:
    assert sorted(kleiber.__all__) == sorted(FROZEN)
    assert len(set(kleiber.__all__)) == len(kleiber.__all__)
    assert set(kleiber.__all__) <= set(dir(kleiber))


def test_the_import_is_light() -> None:
    assert run(LIGHT) == []


def test_the_import_is_cheap() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "import_time.py"))
    baseline, ours = benchmark["measure"](3)
    if ours > benchmark["GOAL"] * baseline:  # beside other work three are too few for a median
        baseline, ours = benchmark["measure"](9)
    assert ours <= benchmark["GOAL"] * baseline


def test_no_module_hides_a_verb() -> None:
    report = run(EVERYTHING)
    assert report["imported"] > 10
    assert {needed for _, needed in report["missing"]} <= {"torch", "dask", "distributed"}
    assert report["changed"] == []
    assert report["uncallable"] == []
    assert set(report["modules"]) <= set(MODULES)


def test_an_unknown_name_says_so() -> None:
    with pytest.raises(AttributeError, match="no_such_verb"):
        _ = kleiber.no_such_verb  # pyright: ignore[reportAttributeAccessIssue]
