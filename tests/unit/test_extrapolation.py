"""How far a plan goes, measured runs that are better, and laws and questions without an answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kleiber import laws
from kleiber.cli import app
from kleiber.errors import BadPlan, BadTable
from kleiber.fitting.best_runs import MAX_RUNS, find_best_runs
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import load, save
from kleiber.law import law_from_formula
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import Plan, describe_plan, plan

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
PRODUCT = "E + A*n_params**-a*n_tokens**-b"
BOTH = ["n_params", "n_tokens"]


@pytest.fixture(scope="module")
def made() -> Fit:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e8], [1e9]]), np.log([[1e11], [1e13]]), (2, 40)))
    loss = laws.chinchilla(n, d, **TRUTH) * np.exp(0.003 * rng.standard_normal(40))
    return fit("chinchilla", {"n_params": n, "n_tokens": d, "loss": loss}, draws=40)


@pytest.fixture(scope="module")
def other(made: Fit) -> Callable[..., Fit]:
    """A law of the same table with the parameters given, and no draws."""

    def exactly(text: str = PRODUCT, **params: float) -> Fit:
        law = law_from_formula(text, BOTH)
        return replace(made, law=law, params=params, draws={}, free=law.params, covariance=None)

    return exactly


def values_of(found: Plan) -> dict[str, float]:
    return {name: item.value for name, item in found.allocation.items()}


# Every variable's own distance


def test_each_variable_is_held_against_the_largest_measured(made: Fit) -> None:
    found = plan(made, 1e25)
    assert set(found.extrapolations) == set(BOTH)
    for name, value in values_of(found).items():
        assert found.extrapolations[name] == pytest.approx(value / made.ranges[name][1], rel=1e-12)
    held = plan(made, 1e25, given={"n_params": 3e11})
    assert held.extrapolations["n_params"] == pytest.approx(3e11 / made.ranges["n_params"][1])
    assert describe_plan(found)["extrapolations"] == dict(found.extrapolations)


def test_a_serving_cost_goes_far_in_tokens_and_says_so(made: Fit) -> None:
    """Little is spent, and nearly all of it on the tokens of a small model."""
    cost = "6*n_params*n_tokens + 2*n_params*1e16"
    spent = max(6 * r["n_params"] * r["n_tokens"] + 2e16 * r["n_params"] for r in made.outermost)
    found = plan(made, 0.3 * spent, cost)
    assert found.extrapolation == pytest.approx(0.3, rel=1e-9)
    times = found.extrapolations["n_tokens"]
    assert times is not None
    assert times > 10
    tokens = values_of(found)["n_tokens"]
    largest = made.ranges["n_tokens"][1]
    assert any(
        note.startswith(f"n_tokens = {tokens:.4g} is {tokens / largest:.3g} times the largest")
        for note in found.notes
    )
    assert not any("dearest" in note for note in found.notes)


def test_below_the_smallest_is_said(made: Fit) -> None:
    found = plan(made, 1e20, given={"n_params": 2e7})
    assert "n_params = 2e+07 lies below the smallest measured (1.02e+08)." in found.notes
    near = plan(made, 1e23)
    assert not any("smallest" in note or "largest" in note for note in near.notes)


def test_distances_that_are_not_known(made: Fit) -> None:
    found = plan(replace(made, ranges={}, outermost=()), 1e22)
    assert dict(found.extrapolations) == {"n_params": None, "n_tokens": None}
    assert found.extrapolation is None
    json.dumps(describe_plan(found), allow_nan=False)


def test_tokens_per_parameter_with_its_interval(made: Fit) -> None:
    found = plan(made, 1e23)
    n, d = (values_of(found)[name] for name in BOTH)
    assert found.tokens_per_param == pytest.approx(d / n, rel=1e-12)
    assert found.tokens_per_param_interval is not None
    low, high = found.tokens_per_param_interval
    assert low < d / n < high
    known = made.interval(
        lambda p: (1e23 / 6) / (
            (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
            * (1e23 / 6) ** (p["beta"] / (p["alpha"] + p["beta"]))
        ) ** 2
    )  # fmt: skip
    assert (low, high) == pytest.approx(known, rel=1e-6)
    document = describe_plan(found)
    assert document["tokens_per_param"] == found.tokens_per_param
    assert document["tokens_per_param_interval"] == [low, high]
    held = plan(made, 6e21, given={"n_params": 1e9})
    assert held.tokens_per_param == pytest.approx(1000, rel=1e-9)
    assert held.tokens_per_param_interval is None
    law = law_from_formula("E + A*width**-a", ["width"])
    plain = replace(made, law=law, params={"E": 1.0, "A": 9.0, "a": 0.5}, draws={})
    assert plan(plain, 1e4, "width**2").tokens_per_param is None


# What the budget fixes has no interval


def test_one_free_variable_is_fixed_by_the_budget(made: Fit) -> None:
    found = plan(made, 6e21, given={"n_params": 1e9})
    item = found.allocation["n_tokens"]
    assert item.value == pytest.approx(1e12, rel=1e-9)
    assert all(math.isnan(x) for x in (item.low, item.high, item.stderr))
    assert found.fixed == {"n_tokens": "fixed by the budget"}
    assert describe_plan(found)["allocation"]["n_tokens"] == {
        "value": item.value, "low": None, "high": None, "why": "fixed by the budget",
    }  # fmt: skip
    bare = plan(replace(made, draws={}), 6e21, given={"n_params": 1e9})
    assert bare.fixed == {"n_tokens": "fixed by the budget"}
    assert found.predicted.low < found.predicted.value < found.predicted.high


def test_a_target_leaves_an_interval(made: Fit) -> None:
    found = plan(made, reach=2.2, given={"n_params": 1e10})
    assert found.fixed == {}
    item = found.allocation["n_tokens"]
    assert item.low < item.value < item.high
    assert "why" not in describe_plan(found)["allocation"]["n_tokens"]


def test_limits_that_bind_in_every_draw_fix(made: Fit) -> None:
    found = plan(made, 1e23, limits={"n_params": (1e8, 1e9)})
    assert found.fixed == {"n_params": "fixed by its limit", "n_tokens": "fixed by the budget"}
    free = plan(made, 1e23)
    assert free.fixed == {}
    rungs = plan(made, 1e23, choices={"n_params": [1e9, 1e12]})
    assert rungs.fixed == {"n_tokens": "fixed by the budget"}


# Beyond 1e4 times the dearest run


def test_a_plan_beyond_1e4_times_the_dearest_run_is_refused(made: Fit) -> None:
    dearest = max(6 * r["n_params"] * r["n_tokens"] for r in made.outermost)
    assert plan(made, 0.99e4 * dearest).extrapolation == pytest.approx(0.99e4)
    with pytest.raises(
        BadPlan,
        match=r"spends 1.01e\+04 times the dearest .*n_params reaches 9.8.*far=True \(--far\)",
    ):
        plan(made, 1.01e4 * dearest)
    found = plan(made, 1.01e4 * dearest, far=True)
    assert found.extrapolation == pytest.approx(1.01e4)
    assert any("1.01e+04 times the dearest measured run" in note for note in found.notes)
    with pytest.raises(BadPlan, match="times the dearest measured run"):
        trace_frontier(made, [1e22, 1.01e4 * dearest])
    assert len(trace_frontier(made, [1e22, 1.01e4 * dearest], far=True)) == 2
    unknown = replace(made, ranges={}, outermost=())
    assert plan(unknown, 1e30).extrapolation is None


def test_a_variable_beyond_1e4_times_the_largest_measured_is_refused(
    other: Callable[..., Fit],
) -> None:
    lean = other("E + A/n_params**a + B/n_tokens**b", E=1.0, A=2.0, a=0.3, B=1e6, b=0.28)
    with pytest.raises(BadPlan, match=r"takes .* times the largest measured n_tokens .*--far"):
        plan(lean, 1e25)
    found = plan(lean, 1e25, limits={"n_tokens": (1e9, None)})
    assert found.extrapolations["n_tokens"] == pytest.approx(
        values_of(found)["n_tokens"] / lean.ranges["n_tokens"][1]
    )
    assert values_of(plan(lean, 1e25, far=True)) == pytest.approx(values_of(found), rel=1e-12)


def test_columns_of_logarithms_plan_nothing() -> None:
    """n_params and n_tokens as log10 of what they should be: 1e21 FLOPs are 1e18 times their
    product."""
    n, d = np.meshgrid([7.0, 7.7, 8.2, 8.6, 9.0], [9.0, 9.7, 10.2, 10.7])
    loss = laws.chinchilla(10**n, 10**d, **TRUTH).ravel()
    table = {"n_params": n.ravel(), "n_tokens": d.ravel(), "loss": loss}
    with pytest.raises(BadTable, match="look like logarithms to base 10"):
        fit("E + A*n_params**-a + B*n_tokens**-b", table, draws=0)
    # other columns of logarithms may pass a fit, but no plan
    made = fit("E + A*x**-a + B*y**-b", {"x": n.ravel(), "y": d.ravel(), "loss": loss}, draws=0)
    with pytest.raises(BadPlan, match="times the dearest measured run"):
        plan(made, 1e21, "6*x*y")


# Measured runs that are better


def test_a_better_measured_run_is_said_first(made: Fit) -> None:
    """A table with one run that is far better than the law that was fitted to the others."""
    lucky = {"n_params": 2e9, "n_tokens": 3e10, "loss": 1.9}
    found = plan(replace(made, best_runs=(*made.best_runs, lucky)), 1e21)
    assert found.predicted.value > 1.9
    assert found.notes[0] == (
        "The plan is no better than a measured run: one in the table (n_params 2e+09, n_tokens "
        f"3e+10) costs no more and reached loss 1.9, where {found.predicted.value:.4g} is predicted"
        " here."
    )
    assert not any("no better than a measured" in note for note in plan(made, 1e26).notes)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 3.5e20},  # 6 N D of the lucky run is 3.6e20
        {"budget": 1e21, "limits": {"n_params": (1e8, 1e9)}},
        {"budget": 1e21, "under": "n_tokens<=2e10"},
        {"budget": 1e21, "given": {"n_params": 1e9}},
        {"budget": 1e21, "choices": {"n_params": [3e9, 1e10]}},
    ],
    ids=["dearer", "outside limits", "outside constraints", "larger than given", "off the ladder"],
)
def test_runs_that_the_question_excludes_are_not_held_against_it(
    options: dict[str, Any], made: Fit
) -> None:
    lucky = {"n_params": 2e9, "n_tokens": 3e10, "loss": 1.9}
    found = plan(replace(made, best_runs=(lucky,)), **options)
    assert not any("no better than a measured run" in note for note in found.notes)


def test_a_difference_within_the_scatter_says_so(made: Fit) -> None:
    near = plan(made, 1e23)
    values = {name: 0.999 * value for name, value in values_of(near).items()}
    twin = {**values, "loss": near.predicted.value * 0.998}
    found = plan(replace(made, best_runs=(twin,)), 1e23)
    assert "no better than a measured run" in found.notes[0]
    assert found.notes[0].endswith("a difference within the scatter of the runs about the law.")


def test_a_floor_above_measured_losses_is_said_first() -> None:
    rng = np.random.default_rng(1)
    n, d = np.exp(rng.uniform(np.log([[1e8], [1e9]]), np.log([[1e11], [1e13]]), (2, 40)))
    loss = laws.chinchilla(n, d, **TRUTH)
    high = fit(
        "chinchilla", {"n_params": n, "n_tokens": d, "loss": loss}, fixed={"E": 2.3}, draws=0
    )
    usable = replace(high, status=type(high.status)("converged"), notes=("from the fit.",))
    found = plan(usable, 1e24)
    first = [note for note in found.notes if note.startswith("The fitted law falls no lower than")]
    assert first
    assert "and loss 1.87" in first[0]
    assert found.notes.index(first[0]) < found.notes.index("from the fit.")
    rising = law_from_formula("E - A/n_params**a - B/n_tokens**b", BOTH)
    ceiling = replace(
        usable, law=rising, options=replace(usable.options, target="acc"),
        params={"E": 0.7, "A": 9.0, "a": 0.3, "B": 9.0, "b": 0.3}, best_runs=(),
        ranges={**high.ranges, "acc": (0.2, 0.75)},
    )  # fmt: skip
    assert (
        plan(ceiling, 1e24)
        .notes[0]
        .startswith("The fitted law rises no higher than 0.7, and acc 0.75 was measured")
    )


def test_impossible_predictions_are_said(other: Callable[..., Fit]) -> None:
    steep = other("E - A/n_params**a - B/n_tokens**b", E=1.4, A=9.0, a=0.3, B=9.0, b=0.3)
    asked = replace(steep.options, target="accuracy")
    steep = replace(steep, options=asked, ranges={**steep.ranges, "accuracy": (0.1, 0.8)})
    notes = plan(replace(steep, best_runs=()), 1e24).notes
    assert any("above 1, which a share cannot be" in note for note in notes)
    sunk = other("-E + A/n_params**a + B/n_tokens**b", E=1.0, A=9.0, a=0.3, B=9.0, b=0.3)
    assert any("is negative, which none measured is" in note for note in plan(sunk, 1e24).notes)


def test_the_best_runs_of_a_table() -> None:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e8], [1e9]]), np.log([[1e11], [1e13]]), (2, 300)))
    y = laws.chinchilla(n, d, **TRUTH) * np.exp(0.01 * rng.standard_normal(300))
    kept = find_best_runs({"n_params": n, "n_tokens": d}, "loss", y)
    losses = [run["loss"] for run in kept]
    assert losses == sorted(losses)
    assert (losses[0], losses[-1]) == (y.min(), y.max())
    for cost in np.geomspace((n * d).min(), (n * d).max(), 50):  # the best that so much buys
        best = min(run["loss"] for run in kept if run["n_params"] * run["n_tokens"] <= cost)
        assert best == y[n * d <= cost].min()
    smooth = np.arange(1.0, 1001.0)
    many = find_best_runs({"n_data": smooth, "step": smooth}, "loss", 1 / smooth)
    assert len(many) <= MAX_RUNS + 1
    assert many[0]["loss"] == 1e-3
    with_zero = find_best_runs({"x": np.array([0.0, 1.0, -2.0])}, "y", np.array([3.0, 1.0, 2.0]))
    assert {run["y"] for run in with_zero} == {1.0, 2.0, 3.0}


def test_the_best_runs_are_saved_and_old_documents_have_none(made: Fit, tmp_path: Path) -> None:
    assert made.best_runs[0]["loss"] == made.ranges["loss"][0]
    save(made, tmp_path / "fit.json")
    assert load(tmp_path / "fit.json").best_runs == made.best_runs
    old = json.loads((tmp_path / "fit.json").read_text())
    del old["best_runs"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    again = load(tmp_path / "old.json")
    assert again.best_runs == ()
    assert values_of(plan(again, 1e23)) == values_of(plan(made, 1e23))


def test_rows_without_weight_are_no_best_runs(made: Fit) -> None:
    n, d = np.meshgrid([1e8, 1e9, 1e10], [1e9, 1e10, 1e11, 1e12])
    n, d = n.ravel(), d.ravel()
    loss, weight = laws.chinchilla(n, d, **TRUTH), np.ones(12)
    loss[3], weight[3] = 0.01, 0.0
    table = {"n_params": n, "n_tokens": d, "loss": loss, "w": weight}
    found = fit("chinchilla", table, draws=0, weights="w")
    assert min(run["loss"] for run in found.best_runs) > 1


# Laws without a best split


@pytest.mark.long
def test_a_law_without_an_interior_optimum_is_refused(other: Callable[..., Fit]) -> None:
    for a, b, name in ((0.3, 0.2, "n_tokens"), (0.2, 0.3, "n_params")):
        made = replace(other(E=1.5, A=2e3, a=a, b=b), best_runs=())
        low, high = made.ranges[name]
        asked: list[dict[str, Any]] = [{"budget": 1e22}, {"reach": 2.0}]
        for options in asked:
            with pytest.raises(
                BadPlan, match=rf"no best split of .*: the smaller {name}, the better"
            ) as refused:
                plan(made, **options, far=True)
            assert f"--limit {name}={low:.3g}:{high:.3g}" in str(refused.value)
        with pytest.raises(BadPlan, match="no best split"):
            plan(made, 1e22, limits={name: (None, 1e12)})
        with pytest.raises(BadPlan, match="no best split"):
            sensitivity(made, 1e22)
        bounded = plan(made, 1e22, limits={name: (1e10, None)})
        assert bounded.allocation[name].value == 1e10
        assert f"{name} = 1e+10 sits at its limit." in bounded.notes
        rest = next(each for each in BOTH if each != name)
        capped = plan(made, 1e22, limits={rest: (None, 1e11)})
        assert capped.allocation[rest].value == 1e11
        assert plan(made, 1e22, under=f"{rest}<=1e11").allocation[rest].value == 1e11


def test_a_law_that_leaves_the_split_open_is_refused(other: Callable[..., Fit]) -> None:
    level = replace(other(E=1.5, A=2e3, a=0.25, b=0.25), best_runs=())
    box = {"n_params": (1e8, 1e10)}
    asked: list[dict[str, Any]] = [
        {"budget": 1e22},
        {"reach": 2.0},
        {"budget": 1e22, "limits": box},
    ]
    for options in asked:
        with pytest.raises(BadPlan, match="Every split between n_params and n_tokens has the same"):
            plan(level, **options)
    found = plan(level, 6e21, given={"n_params": 1e10})
    assert found.allocation["n_tokens"].value == pytest.approx(1e11, rel=1e-9)


def test_draws_without_a_best_split_are_counted(made: Fit) -> None:
    law = law_from_formula("E + A/n_params**a + B/n_tokens**b", BOTH)
    params = {"E": 1.69, "A": 406.4, "a": 0.34, "B": 410.7, "b": 0.28}
    draws = {name: np.full(20, value) for name, value in params.items()}
    draws["A"][:3] = 1e-9  # three draws that need no parameters
    some = replace(made, law=law, params=params, draws=draws, free=law.params, moments=None)
    found = plan(some, 1e22)
    assert any(note.startswith("3 of 20 draws have no best split") for note in found.notes)


# Questions that are no numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reach": math.nan}, "The value to reach must be a finite number, got nan"),
        ({"reach": math.inf}, "The value to reach must be a finite number, got inf"),
        ({"reach": -math.inf}, "The value to reach must be a finite number, got -inf"),
        ({"budget": math.nan}, "The budget must be a positive number, got nan"),
        ({"budget": 1e22, "under": {"n_params": math.nan}}, "may come to must be a positive"),
        ({"budget": 1e22, "under": {"n_params": math.inf}}, "may come to must be a positive"),
        ({"budget": 1e22, "under": "n_params<=nan"}, "must be a positive number, got nan"),
        ({"budget": 1e22, "limits": {"n_params": (1e8, math.nan)}}, "must be 0 < low <= high"),
        ({"budget": 1e22, "limits": {"n_params": (math.nan, None)}}, "must be 0 < low <= high"),
        ({"budget": 1e22, "limits": {"n_params": (math.inf, math.inf)}}, "must be 0 < low <= hig"),
        ({"budget": 1e22, "limits": {"n_params": (-1.0, 1e9)}}, "must be 0 < low <= high"),
        ({"budget": 1e22, "given": {"n_params": math.nan}}, "must be a positive number, got nan"),
        ({"budget": 1e22, "given": {"n_params": math.inf}}, "must be a positive number, got inf"),
        ({"budget": 1e22, "choices": {"n_params": [1e9, math.nan, 1e10]}}, "must be positive num"),
        ({"budget": 1e22, "choices": {"n_params": [1e9, math.inf]}}, "must be positive numbers"),
    ],
)
def test_what_is_no_number_is_refused(options: dict[str, Any], message: str, made: Fit) -> None:
    for ask in (plan, sensitivity) if "choices" not in options else (plan,):
        with pytest.raises(BadPlan, match=message):
            ask(made, **options)


def test_a_curve_takes_numbers(made: Fit) -> None:
    wrong = (
        ([math.nan], r"got \[nan\]"),
        ([1e22, math.inf], r"got \[1e\+22, inf\]"),
        ([], r"got \[\]"),
    )
    for budgets, message in wrong:
        with pytest.raises(BadPlan, match=message):
            trace_frontier(made, budgets)


def test_the_curve_has_the_distances_too(made: Fit) -> None:
    curve = trace_frontier(made, [1e22, 1e24])
    single = plan(made, 1e24)
    assert curve["tokens_per_param"][1] == single.tokens_per_param
    assert curve["n_tokens_extrapolation"][1] == single.extrapolations["n_tokens"]


# The command line


@pytest.fixture(scope="module")
def saved(made: Fit, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("far") / "fit.json"
    save(made, path)
    return str(path)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["plan", *words])


def test_the_text_says_all_of_it(saved: str) -> None:
    lines = run(saved, "--budget", "6e21", "--given", "n_params=1e9").stdout.splitlines()
    row = next(line for line in lines if line.startswith("n_tokens"))
    assert row.split("  ")[0] == "n_tokens"
    assert "fixed by the budget" in row
    assert "tokens per parameter: 1000 fixed by the budget" in lines
    assert "of the largest measured: n_params 0.0102 times, n_tokens 0.105 times" in lines
    text = run(saved, "--budget", "1e23").stdout
    assert re.search(r"^tokens per parameter: [\d.]+ \[[\d.]+, [\d.]+\]$", text, re.M)


def test_columns_and_inequalities_on_the_command_line(saved: str) -> None:
    words = [saved, "--budget", "1e22", "--cost", "flops", "--under", "n_params<=2e9", "--json"]
    done = run(*words, "--under", "n_tokens>=20*n_params")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["cost"] == "flops"
    assert document["allocation"]["n_params"]["value"] == 2e9
    assert document["allocation"]["n_params"]["why"] == "fixed by n_params<=2e9"
    assert document["tokens_per_param"] == pytest.approx(1e22 / 6 / 2e9 / 2e9, rel=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reach", "nan"], "The value to reach must be a finite number, got nan"),
        (["--reach", "inf"], "must be a finite number, got inf"),
        (["--budget", "nan"], "must be a positive number, got nan"),
        (["--budget", "1e22", "--limit", "n_params=nan:1e9"], "must be 0 < low <= high"),
        (["--budget", "1e22", "--limit", "n_params=1e8:nan"], "must be 0 < low <= high"),
        (["--budget", "1e22", "--given", "n_params=nan"], "must be a positive number, got nan"),
        (["--budget", "1e22", "--choice", "n_params=1e9,nan"], "must be positive numbers"),
        (["--budget", "1e22", "--under", "n_params<=nan"], "must be a positive number, got nan"),
        (["--budget", "1e22", "--under", "n_params=8e9"], "one inequality with <= or >="),
        (["--budget", "1e22", "--frontier", "nan:1e23"], "0 < LOW < HIGH"),
        (["--budget", "1e40"], "times the dearest measured run"),
    ],
)
def test_wrong_usage_exits_2(words: list[str], message: str, saved: str) -> None:
    done = run(saved, *words)
    assert isinstance(done.exception, ValueError)  # the console script says it and exits 2
    assert message in str(done.exception)


def test_far_is_an_option(saved: str) -> None:
    done = run(saved, "--budget", "1e40", "--far", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["extrapolation"] > 1e4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reach", "nan"], "The pass rate to reach lies between 0 and 1"),
        (["--budget", "nan"], "The budget must be a positive number, got nan"),
        (["--budget", "99", "--queries", "nan"], "The queries must be a positive number, got nan"),
        (["--budget", "99", "--weight", "nan"], "The weight must be zero or more, got nan"),
        (["--budget", "99", "--limit", "k=nan:5"], "must be 0 < low <= high"),
        (["--budget", "99", "--limit", "k=1e13:"], "lie between 1 and 1e+12 attempts"),
        (["--budget", "99", "--limit", "n_data=5:nan"], "must be 0 < low <= high"),
        (["--budget", "99", "--given", "n_data=nan"], "chooses one or two"),
        (["--budget", "99", "--now", "n_data=nan", "--now", "k=1"], "The n_data now must be a pos"),
    ],
)
def test_plans_with_attempts_refuse_the_same(words: list[str], message: str) -> None:
    theory = "--attempts hard_tail --set noise=1 --set tolerance=1 --attempt-cost 10".split()
    done = run(*theory, *words)
    assert isinstance(done.exception, ValueError)
    assert message in str(done.exception)
