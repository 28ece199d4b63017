"""Curves, sensitivities, and plans under several costs, to a target, and on a ladder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kleiber import laws
from kleiber.errors import BadLaw, BadPlan
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.formula import evaluate, parse
from kleiber.law import Law, law_from_formula
from kleiber.planning.cost import Cost, six_nd
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import Plan, plan

LEAST = Noise("log")
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
MEMORY = Cost("memory", "16*n_params", "bytes")
TIME = Cost("time", "n_tokens/1e6", "seconds")
CHOICES = (1e9, 3e9, 7e9, 13e9, 34e9, 70e9)


@pytest.fixture(scope="module")
def made() -> Fit:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, 60)))
    loss = laws.chinchilla(n, d, **TRUTH) * np.exp(0.01 * rng.standard_normal(60))
    return fit("chinchilla", {"n_params": n, "n_tokens": d, "loss": loss}, noise=LEAST, draws=100)


@pytest.fixture(scope="module")
def bare(made: Fit) -> Fit:
    """The fit without draws, for plans whose intervals are not asked for."""
    return replace(made, draws={})


def loss_at(made: Fit, found: Plan) -> float:
    values = {name: item.value for name, item in found.allocation.items()}
    return float(made.law(**values, **made.params))


def values_of(found: Plan) -> dict[str, float]:
    return {name: item.value for name, item in found.allocation.items()}


# Curves


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"under": {MEMORY: 16 * 3e9}, "level": 0.8},
        {"limits": {"n_tokens": (1e9, 1e12)}},
        {"choices": {"n_params": CHOICES}},
        {"cost": Cost("own", "6*n_params*n_tokens*price", "money"), "given": {"price": 1.5}},
    ],
    ids=["plain", "under", "limits", "choices", "given"],
)
@pytest.mark.long
def test_every_row_of_a_curve_is_a_plan(options: dict[str, Any], made: Fit) -> None:
    budgets = [3e21, 1e23, 2e24]
    asked = dict(options)
    cost = asked.pop("cost", six_nd)
    curve = trace_frontier(made, budgets, cost, **asked)
    assert curve["budget"].to_list() == budgets
    for row in curve.iter_rows(named=True):
        single = plan(made, row["budget"], cost, **asked)
        for name, item in {**single.allocation, "predicted": single.predicted}.items():
            got = (row[name], row[f"{name}_low"], row[f"{name}_high"])
            assert got == pytest.approx((item.value, item.low, item.high), rel=0, nan_ok=True)
        assert row["extrapolation"] == single.extrapolation
    losses = curve["predicted"].to_list()
    assert all(after <= before for before, after in itertools.pairwise(losses))


def test_a_curve_without_intervals_has_gaps(made: Fit) -> None:
    curve = trace_frontier(replace(made, draws={}), [1e22])
    assert np.isnan(curve["predicted_low"][0])
    assert curve["predicted"][0] == plan(made, 1e22).predicted.value


def test_a_curve_refuses_what_a_plan_refuses(bare: Fit) -> None:
    with pytest.raises(ValueError, match="The budget must be a positive number, got -1"):
        trace_frontier(bare, [1e22, -1.0])
    with pytest.raises(BadPlan, match="does not pay for the smallest run"):
        trace_frontier(bare, [1e22, 1.0])
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        trace_frontier(bare, [1e22], level=95)


def test_draws_that_never_reach_a_target_have_no_part_in_intervals(made: Fit) -> None:
    lost = np.arange(made.n_draws) % 2 == 0
    high = replace(made, draws={**made.draws, "E": np.where(lost, 5.0, made.draws["E"])})
    rest = replace(made, draws={name: each[~lost] for name, each in made.draws.items()})
    found, known = plan(high, reach=2.2), plan(rest, reach=2.2)
    assert any("50 of 100 draws never reach" in note for note in found.notes)
    for name, item in known.allocation.items():
        assert found.allocation[name].stderr == pytest.approx(item.stderr, rel=1e-9)


# Sensitivities


def test_sensitivities_of_chinchilla_are_its_derivatives(made: Fit) -> None:
    """log N = (log(alpha A) - log(beta B) + beta log(C/6)) / (alpha + beta); the loss at the
    optimum by the envelope theorem."""
    budget, p = 1e23, made.params
    table = sensitivity(made, budget)
    assert table["parameter"].to_list() == list(made.free)
    by_name = {row["parameter"]: row for row in table.iter_rows(named=True)}
    whole = p["alpha"] + p["beta"]
    log_n = np.log(p["alpha"] * p["A"] / (p["beta"] * p["B"])) + p["beta"] * np.log(budget / 6)
    log_n /= whole
    wanted = {
        "E": 0.0,
        "A": 1 / whole,
        "B": -1 / whole,
        "alpha": (1 - p["alpha"] * log_n) / whole,
        "beta": (-1 + p["beta"] * (np.log(budget / 6) - log_n)) / whole,
    }
    n, d = (item.value for item in plan(made, budget).allocation.values())
    loss = loss_at(made, plan(made, budget))
    first, second = p["A"] * n ** -p["alpha"], p["B"] * d ** -p["beta"]
    moved = {
        "E": p["E"] / loss,
        "A": first / loss,
        "B": second / loss,
        "alpha": -p["alpha"] * np.log(n) * first / loss,
        "beta": -p["beta"] * np.log(d) * second / loss,
    }
    for name, row in by_name.items():
        assert row["n_params"] == pytest.approx(wanted[name], abs=2e-4), name
        assert row["n_tokens"] == pytest.approx(-wanted[name], abs=2e-4), name
        assert row["predicted"] == pytest.approx(moved[name], abs=2e-5), name
        relative = made.stderr[name] / p[name]
        assert row["n_params_shift"] == pytest.approx(row["n_params"] * relative, rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 1e22},
        {"budget": 1e24, "under": {TIME: 1e6}},
        {"budget": 1e23, "limits": {"n_params": (1e6, 1e9)}},
        {"reach": 2.1},
    ],
    ids=["budget", "under", "limits", "reach"],
)
@pytest.mark.long
def test_sensitivities_are_differences_of_plans(options: dict[str, Any], bare: Fit) -> None:
    table = sensitivity(bare, **options)
    step = 1e-3
    for row in table.iter_rows(named=True):
        name = row["parameter"]
        ends: list[dict[str, float]] = []
        for sign in (1, -1):
            params = {**bare.params, name: bare.params[name] * (1 + sign * step)}
            found = plan(replace(bare, params=params), **options)
            ends.append({**values_of(found), "predicted": found.predicted.value})
        for what, above in ends[0].items():
            slope = np.log(above / ends[1][what]) / (2 * step)
            assert row[what] == pytest.approx(slope, abs=1e-4), (name, what)


def test_tied_parameters_follow_the_one_they_are_tied_to() -> None:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, 60)))
    table = {"n_params": n, "n_tokens": d}
    loss = laws.chinchilla(n, d, **{**TRUTH, "beta": 0.35}) * np.exp(0.01 * rng.standard_normal(60))
    asked: dict[str, Any] = {"noise": LEAST, "draws": 0}
    tied = fit("chinchilla", {**table, "loss": loss}, tied={"beta": "alpha"}, **asked)
    same = fit("chinchilla_tied", {**table, "loss": loss}, **asked)
    ours, theirs = sensitivity(tied, 1e23), sensitivity(same, 1e23)
    assert ours["parameter"].to_list() == ["E", "A", "B", "alpha"]
    for what in ("n_params", "predicted"):
        np.testing.assert_allclose(ours[what], theirs[what], atol=1e-3)


# Several costs


@pytest.mark.parametrize(
    ("under", "binds"),
    [
        ({MEMORY: 16 * 5e9}, MEMORY),
        ({TIME: 1e5}, TIME),
        ({MEMORY: 16 * 5e12, TIME: 1e12}, six_nd),
        ({MEMORY: 16 * 5e9, TIME: 5e5}, None),
    ],
    ids=["memory", "time", "neither", "both"],
)
def test_what_binds_holds_with_equality(
    under: Mapping[Cost | str, float], binds: Cost | None, bare: Fit
) -> None:
    """No cost is exceeded; one that makes the plan worse is spent to the last unit."""
    budget = 1e24
    free, found = plan(bare, budget), plan(bare, budget, under=under)
    values = values_of(found)
    bills = {six_nd: 6 * values["n_params"] * values["n_tokens"]}
    bills |= {MEMORY: 16 * values["n_params"], TIME: values["n_tokens"] / 1e6}
    most = {six_nd: budget, **under}
    for cost, limit in most.items():
        assert isinstance(cost, Cost)
        assert bills[cost] <= limit * (1 + 1e-9)
    if binds is None:  # both of the further costs bind, and the budget is left over
        for cost, limit in under.items():
            assert isinstance(cost, Cost)
            assert bills[cost] == pytest.approx(limit, rel=1e-9)
        assert any("of the budget is spent" in note for note in found.notes)
    else:
        assert bills[binds] == pytest.approx(most[binds], rel=1e-9)
    if binds is six_nd:
        assert values["n_params"] == pytest.approx(values_of(free)["n_params"], rel=1e-9)
    else:
        assert found.predicted.value > free.predicted.value
    best = best_on_grid(bare, most)
    assert found.predicted.value <= best * (1 + 1e-12)
    assert found.predicted.value == pytest.approx(best, rel=1e-3)


def best_on_grid(made: Fit, most: Mapping[Any, float]) -> float:
    """The least loss on a fine grid of sizes, each with all the tokens that every cost allows."""
    n = np.geomspace(1e6, 1e14, 4001)
    d = most[six_nd] / (6 * n)
    if TIME in most:
        d = np.minimum(d, 1e6 * most[TIME])
    if MEMORY in most:
        n, d = n[n <= most[MEMORY] / 16], d[n <= most[MEMORY] / 16]
    return float(made.law(n_params=n, n_tokens=d, **made.params).min())


def test_costs_may_be_named_or_formulas(bare: Fit) -> None:
    found = plan(bare, 1e24, under={"16*n_params": 16 * 5e9})
    wanted = plan(bare, 1e24, under={MEMORY: 16 * 5e9})
    assert values_of(found) == values_of(wanted)
    with pytest.raises(BadPlan, match="does not pay for the smallest run"):
        plan(bare, 1e24, under={MEMORY: 1.0})
    with pytest.raises(
        ValueError, match="What memory may come to must be a positive number, got 0"
    ):
        plan(bare, 1e24, under={MEMORY: 0.0})


# Targets


@pytest.mark.parametrize("budget", [1e20, 5.76e23, 1e26])
def test_reaching_what_a_budget_reaches_costs_that_budget(budget: float, made: Fit) -> None:
    first = plan(made, budget)
    back = plan(made, reach=first.predicted.value)
    assert back.budget == pytest.approx(budget, rel=1e-6)
    assert back.needed is not None
    assert back.needed.value == back.budget
    assert back.needed.low < budget < back.needed.high
    assert back.predicted.value == pytest.approx(first.predicted.value, rel=1e-9)
    for name, value in values_of(first).items():
        assert values_of(back)[name] == pytest.approx(value, rel=1e-3)
    assert first.needed is None


def test_reaching_within_other_costs(bare: Fit) -> None:
    """With memory for a small model only, the same loss costs more; the memory is spent."""
    free = plan(bare, reach=2.0)
    small = plan(bare, reach=2.0, under={MEMORY: 16 * 5e9})
    assert values_of(free)["n_params"] > 5e9
    assert values_of(small)["n_params"] == pytest.approx(5e9, rel=1e-6)
    assert small.budget > free.budget
    assert loss_at(bare, small) == pytest.approx(2.0, rel=1e-9)


def test_reaching_what_other_costs_do_not_allow(bare: Fit) -> None:
    """Loss 2 takes a model of a least size however many its tokens."""
    p = bare.params
    least = (p["A"] / (2.0 - p["E"])) ** (1 / p["alpha"])
    found = plan(bare, reach=2.0, under={"1*n_params": 1.001 * least}, far=True)
    assert values_of(found)["n_params"] == pytest.approx(1.001 * least, rel=1e-9)
    with pytest.raises(
        BadPlan, match=r"^No allocation that brings loss to 2 within 1\*n_params; ask"
    ):
        plan(bare, reach=2.0, under={"1*n_params": 0.999 * least}, far=True)


def test_three_variables_to_a_target_under_a_further_cost(bare: Fit) -> None:
    """Where the further cost does not bind the plan is the free one; where it does, a note says
    that the plan may not be the cheapest. The cost leaves out the variable that closes the gap."""
    columns = ("n_params", "n_tokens", "batch_size")
    law = law_from_formula(
        "E + A*n_params**-alpha + B*n_tokens**-beta + C*batch_size**-gamma", columns
    )
    params = {
        "E": 1.69,
        "A": 406.4,
        "alpha": 0.34,
        "B": 410.7,
        "beta": 0.28,
        "C": 1.5,
        "gamma": 0.2,
    }
    made = replace(bare, law=law, params=params, free=law.params, covariance=None, notes=())
    cost, further = "6*n_params*n_tokens*batch_size**0.2", "n_params**1.5*n_tokens"

    def spent(found: Plan) -> float:
        return float(evaluate(parse(further), values_of(found)))

    free = plan(made, reach=2.2, cost=cost)
    loose = plan(made, reach=2.2, cost=cost, under={further: 1.005 * spent(free)})
    assert loose.budget == pytest.approx(free.budget, rel=1e-9)
    tight = plan(made, reach=2.2, cost=cost, under={further: 0.7 * spent(free)})
    assert spent(tight) <= 0.7 * spent(free) * (1 + 1e-9)
    assert free.budget < tight.budget < 2 * free.budget
    assert not any("may be cheaper" in note for note in free.notes)
    assert any("may be cheaper by some per cent" in note for note in tight.notes)


def test_reaching_within_limits(bare: Fit) -> None:
    """A model no larger than its limit, and as many tokens as the rest takes."""
    found = plan(bare, reach=2.0, limits={"n_params": (1e6, 5e9)})
    p = bare.params
    left = 2.0 - p["E"] - p["A"] * 5e9 ** -p["alpha"]
    tokens = (p["B"] / left) ** (1 / p["beta"])
    assert values_of(found) == pytest.approx({"n_params": 5e9, "n_tokens": tokens}, rel=1e-6)
    assert found.budget == pytest.approx(6 * 5e9 * tokens, rel=1e-6)
    assert any("n_params = 5e+09 sits at its limit" in note for note in found.notes)


def test_an_easier_target_costs_less(bare: Fit) -> None:
    budgets = [plan(bare, reach=value).budget for value in (2.0, 2.2, 2.5, 3.0)]
    assert all(after < before for before, after in itertools.pairwise(budgets))


def test_targets_that_cannot_be(bare: Fit) -> None:
    with pytest.raises(BadPlan, match=r"The loss 1.5 is out of reach.*falls no lower than 1\.7"):
        plan(bare, reach=1.5)
    for budget, target in ((None, None), (1e22, 2.0)):
        with pytest.raises(BadPlan, match="a budget, or a value to reach, and not both"):
            plan(bare, budget, reach=target)
    with pytest.raises(BadPlan, match="a budget, or a value to reach"):
        sensitivity(bare)


def test_draws_that_never_reach_the_target_are_noted(made: Fit) -> None:
    found = plan(made, reach=float(np.quantile(made.draws["E"], 0.7)) + 1e-4, far=True)
    assert any("draws never reach the target" in note for note in found.notes)


# Ladders


def test_choices_are_kept_to_and_the_best_is_taken(bare: Fit) -> None:
    """One size of the ladder, all the tokens that the budget then buys."""
    budget = 1e23
    found = plan(bare, budget, choices={"n_params": CHOICES})
    values = values_of(found)
    losses = {
        n: float(bare.law(n_params=n, n_tokens=budget / 6 / n, **bare.params)) for n in CHOICES
    }
    assert values["n_params"] == pytest.approx(min(losses, key=lambda n: losses[n]), rel=1e-12)
    assert 6 * values["n_params"] * values["n_tokens"] == pytest.approx(budget, rel=1e-9)
    assert found.predicted.value == pytest.approx(min(losses.values()), rel=1e-9)
    assert found.predicted.value >= plan(bare, budget).predicted.value


def test_two_ladders_leave_budget_over(bare: Fit) -> None:
    ladders = {"n_params": CHOICES, "n_tokens": (1e11, 3e11, 1e12, 3e12)}
    found = plan(bare, 1e23, choices=ladders)
    values = values_of(found)
    able = [
        (float(bare.law(n_params=n, n_tokens=d, **bare.params)), n, d)
        for n, d in itertools.product(*ladders.values())
        if 6 * n * d <= 1e23
    ]
    loss, n, d = min(able)
    assert values == pytest.approx({"n_params": n, "n_tokens": d}, rel=1e-12)
    assert found.predicted.value == pytest.approx(loss, rel=1e-12)
    assert any("of the budget is spent" in note for note in found.notes)


def test_a_target_on_a_ladder_is_met_at_the_least_cost(bare: Fit) -> None:
    found = plan(bare, reach=2.05, choices={"n_params": CHOICES})
    values = values_of(found)
    assert min(abs(values["n_params"] / n - 1) for n in CHOICES) < 1e-12
    p = bare.params
    costs: list[float] = []
    for n in CHOICES:
        left = 2.05 - p["E"] - p["A"] * n ** -p["alpha"]
        costs.append(6 * n * (p["B"] / left) ** (1 / p["beta"]) if left > 0 else np.inf)
    assert found.budget == pytest.approx(min(costs), rel=1e-6)
    assert loss_at(bare, found) == pytest.approx(2.05, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": {"n_params": ()}}, r"choices of n_params must be positive numbers, got \(\)"),
        ({"choices": {"n_params": (0.0, 1e9)}}, r"choices of n_params must be positive"),
        (
            {"choices": {"depth": (1.0,)}},
            r"The choices have an entry 'depth', but this plan chooses",
        ),
        (
            {"choices": {"n_params": (1e9,)}, "limits": {"n_params": (1e10, 1e11)}},
            r"No choice of n_params lies within its limits",
        ),
        ({"choices": {"n_params": (1e24,)}}, r"does not pay for the smallest run"),
    ],
)
def test_ladders_that_are_refused(options: dict[str, Any], message: str, bare: Fit) -> None:
    with pytest.raises((BadPlan, BadLaw), match=message):
        plan(bare, 1e23, **options)


def test_a_law_of_one_variable_has_a_curve() -> None:
    x = np.geomspace(1e2, 1e6, 30)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(30))
    law: Law = laws.power_law_floor
    loss = law(x, E=1.7, A=40.0, alpha=0.4) * noise
    found = fit("power_law_floor", {"n_data": x, "loss": loss}, noise=LEAST, draws=50)
    curve = trace_frontier(found, [1e6, 1e8], Cost("labels", "2*n_data", "money"))
    assert curve["n_data"].to_list() == pytest.approx([5e5, 5e7])
    table = sensitivity(found, 1e8, "2*n_data")
    assert table["n_data"].to_list() == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    p = found.params
    term = p["A"] * 5e7 ** -p["alpha"]
    wanted = [p["E"], term, -p["alpha"] * np.log(5e7) * term]
    assert table["predicted"].to_list() == pytest.approx(
        [part / (p["E"] + term) for part in wanted], rel=1e-4
    )
