"""plan: closed forms, limits, intervals, extrapolation, and every refusal with its advice."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import optimize

from kleiber import laws
from kleiber.errors import BadFormula, BadPlan
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.law import Law, law_from_formula, real
from kleiber.planning.cost import Cost, six_nd
from kleiber.planning.frontier import trace_frontier
from kleiber.planning.plan import describe_plan, plan

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
MUENNIGHOFF = {
    "E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353, "R_N": 5.3, "R_D": 15.4,
}  # fmt: skip
CONTRACT = {"budget", "allocation", "predicted", "extrapolation", "cost"}


def runs(rows: int = 60, **changed: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, rows)))
    clean = laws.chinchilla(n, d, **{**TRUTH, **changed})
    return {"n_params": n, "n_tokens": d, "loss": clean * np.exp(0.01 * rng.standard_normal(rows))}


@pytest.fixture(scope="module")
def made() -> Fit:
    return fit("chinchilla", runs(), draws=100)


@pytest.fixture(scope="module")
def of(made: Fit) -> Callable[..., Fit]:
    """A fit of any law with the parameters given, and no draws."""

    def exactly(law: Law, **params: float) -> Fit:
        assert set(params) == set(law.params)
        return dataclasses.replace(
            made, law=law, params=params, draws={}, free=law.params, covariance=None, notes=()
        )

    return exactly


def best_split(budget: float, p: Any) -> tuple[Any, Any]:
    """Compute-optimal N and D of Chinchilla's law under 6ND (Hoffmann et al. 2022, eq. 4)."""
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    n = g * (budget / 6) ** (p["beta"] / (p["alpha"] + p["beta"]))
    return n, budget / 6 / n


# Against closed forms and a general minimiser


@pytest.mark.parametrize("budget", [1e18, 5.76e23, 1e30])
def test_chinchilla_agrees_with_its_closed_form(budget: float, of: Callable[..., Fit]) -> None:
    for params in (
        TRUTH,
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        {"E": 1.8172, "A": 477.9, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672},
        {"E": 0.0, "A": 1e5, "B": 10.0, "alpha": 0.9, "beta": 0.06},
    ):
        n, d = best_split(budget, params)
        found = plan(of(laws.chinchilla, **params), budget, far=True)
        assert found.allocation["n_params"].value == pytest.approx(n, rel=1e-9)
        assert found.allocation["n_tokens"].value == pytest.approx(d, rel=1e-9)
        lowest = laws.chinchilla(n, d, **params)
        assert found.predicted.value == pytest.approx(float(lowest), rel=1e-12)


@pytest.mark.parametrize("budget", [1e20, 1e25])
def test_the_over_training_law_keeps_its_ratio(budget: float, of: Callable[..., Fit]) -> None:
    """a M**eta + b M**-eta is least at M = (b/a)**(1/(2 eta)), whatever is spent."""
    params = {"E": 1.8, "a": 60.0, "b": 240.0, "eta": 0.18}
    chosen = plan(of(laws.over_training, **params), budget).allocation
    ratio = chosen["n_tokens"].value / chosen["n_params"].value
    assert ratio == pytest.approx(4 ** (1 / 0.36), rel=1e-9)


def along_the_budget(
    law: Law, params: dict[str, float], budget: float, tokens_for: Callable[[float], float]
) -> float:
    """The lowest loss over n_params when n_tokens takes what the budget leaves, by Brent."""

    def at(z: float) -> float:
        tokens = tokens_for(math.exp(z))
        return float(law(math.exp(z), tokens, **params)) if tokens > 0 else 1e9

    found = optimize.minimize_scalar(
        at, bounds=(10, 35), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.fun)


@pytest.mark.parametrize(
    ("cost", "tokens_for"),
    [
        ("6*n_params*n_tokens", lambda n: 1e22 / 6 / n),
        ("6*n_params*n_tokens + 2e12*n_params", lambda n: (1e22 - 2e12 * n) / 6 / n),
        ("6*n_params**1.1*n_tokens", lambda n: 1e22 / 6 / n**1.1),
        ("2*n_params*(3*n_tokens + 1e9) + 1e21", lambda n: ((1e22 - 1e21) / 2 / n - 1e9) / 3),
    ],
)
@pytest.mark.parametrize("name", ["chinchilla", "kaplan"])
def test_a_cost_may_be_a_formula(
    cost: str, tokens_for: Callable[[float], float], name: str, of: Callable[..., Fit]
) -> None:
    law = laws.catalogue()[name]
    kaplan = {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095}
    params = TRUTH if name == "chinchilla" else kaplan
    found = plan(of(law, **params), 1e22, cost)
    n, d = (found.allocation[key].value for key in ("n_params", "n_tokens"))
    assert d == pytest.approx(tokens_for(n), rel=1e-9)
    known = along_the_budget(law, params, 1e22, tokens_for)
    assert found.predicted.value <= known * (1 + 1e-12)
    assert found.predicted.value == pytest.approx(known, rel=1e-9)
    assert found.cost.name == cost


def test_a_cost_may_be_a_record(made: Fit) -> None:
    doubled = Cost("twice", "12*n_params*n_tokens", "FLOPs", "everything is computed twice")
    one, two = plan(made, 2e22, doubled), plan(made, 1e22)
    assert one.allocation["n_params"].value == pytest.approx(two.allocation["n_params"].value)
    assert describe_plan(one)["convention"] == "everything is computed twice"


def test_a_law_of_one_variable_gets_all_the_budget(of: Callable[..., Fit]) -> None:
    made = of(laws.power_law_floor, E=1.0, A=30.0, alpha=0.5)
    for cost, n in (("7*n_data", 1e12 / 7), ("n_data**2", 1e6), ("3*n_data + 4e11", 2e11)):
        found = plan(made, 1e12, cost)
        assert found.allocation["n_data"].value == pytest.approx(n, rel=1e-12)
        assert found.predicted.value == pytest.approx(1 + 30 * n**-0.5, rel=1e-12)
        assert not any("limit" in note for note in found.notes)


def test_a_law_of_three_variables(of: Callable[..., Fit]) -> None:
    made = of(laws.data_constrained, **MUENNIGHOFF)
    cost, budget = "6*n_params*n_tokens + 1e11*n_unique", 1e22

    def loss(z: np.ndarray) -> float:
        n, u = np.exp(z)
        d = (budget - 1e11 * u) / 6 / n
        return float(laws.data_constrained(n, d, u, **MUENNIGHOFF)) if d > 0 else 1e9

    known = optimize.minimize(
        loss, np.log([5e9, 5e10]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    found = plan(made, budget, cost)
    n, d, u = (found.allocation[key].value for key in ("n_params", "n_tokens", "n_unique"))
    assert 6 * n * d + 1e11 * u == pytest.approx(budget, rel=1e-9)
    assert found.predicted.value <= known.fun * (1 + 1e-10)
    assert [n, u] == pytest.approx(np.exp(known.x), rel=1e-3)


def test_given_values_are_not_chosen(made: Fit, of: Callable[..., Fit]) -> None:
    found = plan(made, 6e21, given={"n_params": 1e9})
    assert set(found.allocation) == {"n_tokens"}
    assert found.allocation["n_tokens"].value == pytest.approx(1e12, rel=1e-9)
    assert not any("limit" in note for note in found.notes)
    scarce = of(laws.data_constrained, **MUENNIGHOFF)
    poor, rich = (plan(scarce, 1e22, given={"n_unique": u}) for u in (1e9, 1e12))
    assert set(poor.allocation) == {"n_params", "n_tokens"}
    assert poor.predicted.value > rich.predicted.value
    priced = plan(made, 1e22, "6*n_params*(n_tokens + n_data)", given={"n_data": 1e9})
    n, d = (priced.allocation[key].value for key in ("n_params", "n_tokens"))
    assert 6 * n * (d + 1e9) == pytest.approx(1e22, rel=1e-9)


def test_a_law_that_cannot_be_traced(of: Callable[..., Fit]) -> None:
    def function(n_params: Any, n_tokens: Any, **p: Any) -> Any:
        tokens = np.where(np.asarray(n_tokens) > 0, n_tokens, 1)
        return p["E"] + p["A"] * n_params ** -p["alpha"] + p["B"] * tokens ** -p["beta"]

    untraced = dataclasses.replace(laws.chinchilla, function=function, expr=None)
    found = plan(of(untraced, **TRUTH), 1e23)
    n, d = best_split(1e23, TRUTH)
    assert found.allocation["n_params"].value == pytest.approx(n, rel=1e-6)
    assert found.allocation["n_tokens"].value == pytest.approx(d, rel=1e-6)


# Limits


def test_limits_are_kept_and_noted(made: Fit) -> None:
    free = plan(made, 1e22).allocation["n_params"].value
    found = plan(made, 1e22, limits={"n_params": (1e8, free / 3)})
    assert found.allocation["n_params"].value == free / 3
    assert found.allocation["n_tokens"].value == pytest.approx(1e22 / 2 / free, rel=1e-9)
    assert f"n_params = {free / 3:.4g} sits at its limit." in found.notes
    found = plan(made, 1e22, limits={"n_tokens": (1, 1e10)})
    assert found.allocation["n_tokens"].value == pytest.approx(1e10, rel=1e-9)
    assert found.allocation["n_tokens"].value <= 1e10
    loose = plan(made, 1e22, limits={"n_params": (1, 1e30), "n_tokens": (1, math.inf)})
    assert loose.allocation["n_params"].value == pytest.approx(free, rel=1e-9)
    assert not any("limit" in note for note in loose.notes)


def test_a_best_run_below_the_smallest_is_refused(of: Callable[..., Fit]) -> None:
    small = {"E": 0.0, "A": 1.0, "B": 1e5, "alpha": 1.4, "beta": 0.06}
    with pytest.raises(BadPlan, match=r"no best split of this budget: the smaller n_params, the b"):
        plan(of(laws.chinchilla, **small), 1e23)
    box = {"n_params": (1e6, None)}
    found = plan(of(laws.chinchilla, **small), 1e23, limits=box, far=True)
    assert found.allocation["n_params"].value == 1e6
    assert "n_params = 1e+06 sits at its limit." in found.notes


def test_limits_that_leave_money_over_say_so(made: Fit) -> None:
    box = {"n_params": (1e6, 2e9), "n_tokens": (1e6, 1e10)}
    found = plan(made, 1e22, limits=box)
    assert [found.allocation[name].value for name in box] == [2e9, 1e10]
    assert any("Only 1.2e+20 of the budget is spent" in note for note in found.notes)
    assert sum("sits at its limit" in note for note in found.notes) == 2


def test_a_limit_may_be_a_point(made: Fit) -> None:
    found = plan(made, 6e22, limits={"n_params": (1e10, 1e10)})
    assert found.allocation["n_params"].value == 1e10
    assert found.allocation["n_tokens"].value == pytest.approx(1e12, rel=1e-9)


# Intervals


def test_intervals_are_those_of_the_draws(made: Fit) -> None:
    found = plan(made, 1e23, level=0.9)
    for k, name in enumerate(("n_params", "n_tokens")):
        item = found.allocation[name]
        known = made.interval(lambda p, k=k: best_split(1e23, p)[k], 0.9)
        assert (item.low, item.high) == pytest.approx(known, rel=1e-6)
        assert item.stderr == pytest.approx(best_split(1e23, made.draws)[k].std(ddof=1), rel=1e-6)
        assert item.low < item.value < item.high
    n, d = (found.allocation[name].value for name in ("n_params", "n_tokens"))
    row = made.predict({"n_params": [n], "n_tokens": [d]}, 0.9).row(0)
    assert (found.predicted.value, found.predicted.low, found.predicted.high) == pytest.approx(
        row[-3:], rel=1e-9
    )
    wide = plan(made, 1e23, level=0.99).allocation["n_params"]
    item = found.allocation["n_params"]
    assert wide.low < item.low < item.high < wide.high


def test_without_draws_there_are_no_intervals_and_it_says_why(of: Callable[..., Fit]) -> None:
    found = plan(of(laws.chinchilla, **TRUTH), 1e22)
    for item in (*found.allocation.values(), found.predicted):
        assert math.isnan(item.low)
        assert math.isnan(item.high)
        assert math.isnan(item.stderr)
    assert any(
        note.startswith("There are no intervals: the fit has no draws") for note in found.notes
    )


# Extrapolation


def test_extrapolation_is_over_the_dearest_run(made: Fit) -> None:
    table = runs()
    dearest = float((6 * table["n_params"] * table["n_tokens"]).max())
    near, far = plan(made, 9 * dearest), plan(made, 11 * dearest)
    assert near.extrapolation == pytest.approx(9, rel=1e-12)
    assert far.extrapolation == pytest.approx(11, rel=1e-12)
    assert not any("dearest" in note for note in near.notes)
    assert any("11 times the dearest measured run" in note for note in far.notes)
    other = plan(made, 1e22, "6*n_params*n_tokens + 1e12*n_params")
    costs = 6 * table["n_params"] * table["n_tokens"] + 1e12 * table["n_params"]
    assert other.extrapolation == pytest.approx(1e22 / costs.max(), rel=1e-12)


def test_extrapolation_without_the_runs(made: Fit) -> None:
    corner = dataclasses.replace(made, outermost=())
    found = plan(corner, 1e22)
    most = made.ranges["n_params"][1] * made.ranges["n_tokens"][1]
    assert found.extrapolation == pytest.approx(1e22 / 6 / most)
    assert any("lower bound" in note for note in found.notes)
    found = plan(dataclasses.replace(corner, ranges={}), 1e22)
    assert found.extrapolation is None
    assert any("extrapolation is unknown" in note for note in found.notes)


# What is refused


def flat(seed: int = 1, **columns: np.ndarray) -> Fit:
    table = {**runs(), **columns}
    clean = laws.chinchilla(table["n_params"], table["n_tokens"], **TRUTH)
    table["loss"] = clean * np.exp(0.003 * np.random.default_rng(seed).standard_normal(60))
    return fit("chinchilla", table, draws=0)


def test_a_flat_fit_is_refused_with_the_runs_to_add() -> None:
    same = flat(n_tokens=np.full(60, 1e11))
    with pytest.raises(BadPlan, match=r"flat, .*beta.*add runs with n_tokens at 2.5e.10 and 4e.11"):
        plan(same, 1e22)
    held = dataclasses.replace(same, status=type(same.status)("max_evaluations"))
    with pytest.raises(BadPlan, match="Fit again from other starts"):
        plan(held, 1e22)
    line = flat(2, n_tokens=20 * runs()["n_params"])
    with pytest.raises(BadPlan, match="smallest n_params with the largest n_tokens, and the rever"):
        plan(line, 1e22)


def test_a_variable_that_the_fit_does_not_need_is_not_planned(made: Fit) -> None:
    gone = dataclasses.replace(made, params={**made.params, "B": 0.0}, draws={})
    with pytest.raises(BadPlan, match=r"does not fall with n_tokens.*add runs that vary n_tokens"):
        plan(gone, 1e22)
    found = plan(gone, 6e21, given={"n_tokens": 1e12})
    assert found.allocation["n_params"].value == pytest.approx(1e9, rel=1e-9)
    found = plan(gone, 6e21, limits={"n_tokens": (1e12, 1e13)})
    assert found.allocation["n_tokens"].value == pytest.approx(1e12, rel=1e-9)


def test_a_bound_is_noted() -> None:
    floorless = runs(E=-0.01)  # the optimum without the bound is below it
    found = fit("chinchilla", floorless, noise=Noise("log"), draws=0)
    assert found.status == "bound_hit"
    assert any("The fit hit a bound: E went to 0" in note for note in plan(found, 1e22).notes)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0}, ValueError, "budget must be a positive number, got 0"),
        ({"budget": -1e20}, ValueError, "positive number, got -1e"),
        ({"budget": math.nan}, ValueError, "positive number, got nan"),
        ({"budget": math.inf}, ValueError, "positive number, got inf"),
        ({"budget": 5.9}, BadPlan, "5.9 does not pay for the smallest run .n_params 1, n_tokens 1"),
        ({"budget": 1e300}, BadPlan, "1e.300 pays for more than any run: n_params 1e.99"),
        ({"cost": "6*n_params"}, BadPlan, "not depend on n_tokens, so the budget does not limit"),
        ({"cost": "6*n_params*n_token"}, BadPlan, "Did you mean 'n_token'"),
        ({"cost": "n_params*n_tokens*depth"}, BadPlan, "needs depth, which law chinchilla does"),
        ({"cost": "n_params/n_tokens"}, BadPlan, "does not rise with n_tokens"),
        ({"cost": "n_params*n_tokens*0 - 5"}, BadPlan, "does not rise with n_params"),
        ({"cost": "6dn"}, BadFormula, "Did you mean '6nd'"),
        ({"cost": "flop"}, BadFormula, "no cost named 'flop'.*Did you mean 'flops'"),
        ({"cost": "6*n_params*("}, BadFormula, "Cannot read"),
        ({"cost": "n_params*n_tokens + 1e23"}, BadPlan, "does not pay for the smallest run"),
        ({"limits": {"n_params": (2e9, 1e9)}}, BadPlan, "must be 0 < low <= high"),
        ({"limits": {"n_params": (0, 1e9)}}, BadPlan, "must be 0 < low <= high"),
        ({"limits": {"n_params": (math.nan, 1e9)}}, BadPlan, "must be 0 < low <= high"),
        (
            {"limits": {"n_data": (1, 2)}},
            BadPlan,
            "'n_data', but this plan chooses n_params, n_tok",
        ),
        ({"limits": {"n_params": (1e15, 1e16), "n_tokens": (1e9, 1e10)}}, BadPlan, "smallest run"),
        ({"given": {"n_params": 1e9, "n_tokens": 1e9}}, BadPlan, "nothing is left to choose"),
        ({"given": {"n_params": -1.0}}, BadPlan, "n_params must be a positive number, got -1.0"),
        ({"given": {"n_params": math.nan}}, BadPlan, "must be a positive number, got nan"),
        ({"given": {"n_parms": 1e9}}, BadPlan, "neither law chinchilla nor the cost uses. Did you"),
        ({"given": {"n_params": 1e30}}, BadPlan, "does not pay for the smallest run"),
        ({"level": 95}, ValueError, "write 0.95 for 95%"),
    ],
)
def test_a_question_without_an_answer(
    options: dict[str, Any], error: type[Exception], message: str, made: Fit
) -> None:
    with pytest.raises(error, match=message) as caught:
        plan(made, **{"budget": 1e22, **options})
    assert "\n" not in str(caught.value)


def test_a_law_without_a_finite_value_is_refused(of: Callable[..., Fit]) -> None:
    law = law_from_formula("E + log(-n_params*n_tokens)", ["n_params", "n_tokens"])
    with pytest.raises(BadPlan, match="no finite value at any affordable allocation"):
        plan(of(law, E=1.0), 1e22)


def test_a_law_that_rises_with_a_variable_is_refused(of: Callable[..., Fit]) -> None:
    @Law
    def rising(n_params, n_tokens, *, A=real(-1, 1)):
        """More tokens, more loss."""
        return 1 + A * n_params**-0.1 * n_tokens**0.2

    with pytest.raises(BadPlan, match="falls with n_params and rises with n_tokens"):
        plan(of(rising, A=1.0), 1e22)


# The curve, and what is written


def test_the_frontier_is_made_of_plans(made: Fit) -> None:
    budgets = [1e20, 1e22, 1e24]
    curve = trace_frontier(made, budgets, level=0.8)
    assert curve["budget"].to_list() == budgets
    for row in curve.iter_rows(named=True):
        single = plan(made, row["budget"], level=0.8)
        items = {**single.allocation, "predicted": single.predicted}
        for name, item in items.items():
            got = (row[name], row[f"{name}_low"], row[f"{name}_high"])
            assert got == (item.value, item.low, item.high)
        assert row["extrapolation"] == single.extrapolation
    assert curve["predicted"].is_sorted(descending=True)
    limited = trace_frontier(made, [1e22], limits={"n_params": (1, 1e9)})
    assert limited["n_params"][0] == 1e9
    assert set(pl.DataFrame(curve).dtypes) == {pl.Float64}


def test_the_document_has_the_contracts_keys(made: Fit, of: Callable[..., Fit]) -> None:
    found = plan(made, 5.76e23)
    said = json.loads(json.dumps(describe_plan(found), allow_nan=False))
    assert set(said) >= CONTRACT
    assert said["cost"] == six_nd.name == "6nd"
    assert set(said["allocation"]) == {"n_params", "n_tokens"}
    for name, item in {**said["allocation"], "predicted": said["predicted"]}.items():
        known = found.predicted if name == "predicted" else found.allocation[name]
        assert item == {"value": known.value, "low": known.low, "high": known.high}
    bare = describe_plan(plan(of(laws.chinchilla, **TRUTH), 1e22))
    assert bare["predicted"]["low"] is None
    json.dumps(bare, allow_nan=False)
