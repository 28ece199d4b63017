"""Constraints of a plan: columns and formulas as costs, and inequalities between them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from kleiber import laws
from kleiber.errors import BadFormula, BadPlan
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.formula import evaluate
from kleiber.law import law_from_formula
from kleiber.planning.constraint import format_constraint, read_constraints, read_inequality
from kleiber.planning.cost import Cost, find_cost, six_nd
from kleiber.planning.plan import Plan, describe_plan, plan

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
COLUMNS = ("n_params", "n_tokens")


@pytest.fixture(scope="module")
def made() -> Fit:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e8], [1e9]]), np.log([[1e11], [1e13]]), (2, 40)))
    loss = laws.chinchilla(n, d, **TRUTH) * np.exp(0.003 * rng.standard_normal(40))
    return fit("chinchilla", {"n_params": n, "n_tokens": d, "loss": loss}, draws=40)


@pytest.fixture(scope="module")
def exact(made: Fit) -> Fit:
    """The true law, without draws."""
    return replace(made, params=TRUTH, draws={}, best_runs=())


def values_of(found: Plan) -> tuple[float, float]:
    return found.allocation["n_params"].value, found.allocation["n_tokens"].value


# A column is a cost, and flops one that follows


def test_flops_is_6nd(exact: Fit) -> None:
    one, two = plan(exact, 1e22, "flops"), plan(exact, 1e22)
    assert values_of(one) == values_of(two)
    assert (one.cost.name, one.cost.formula, one.cost.unit) == ("flops", six_nd.formula, "FLOPs")
    assert "C = 6 N D" in one.cost.convention
    assert values_of(plan(exact, 2e22, "2*flops")) == pytest.approx(values_of(two), rel=1e-9)
    with pytest.raises(
        BadPlan, match="does not depend on n_tokens, so the budget does not limit it"
    ):
        plan(exact, 1e10, "n_params")


def test_flops_of_the_law_itself_are_a_column(made: Fit) -> None:
    law = law_from_formula("E + A*flops**-a", ["flops"])
    own = replace(
        made, law=law, params={"E": 1.7, "A": 1e3, "a": 0.15}, draws={}, free=law.params,
        ranges={"flops": (1e18, 1e22), "loss": (2.0, 3.5)}, outermost=(), best_runs=(),
    )  # fmt: skip
    found = plan(own, 1e22, "flops")
    assert found.allocation["flops"].value == pytest.approx(1e22, rel=1e-12)
    assert found.fixed == {"flops": "fixed by the budget"}


def test_flops_that_do_not_follow_are_unknown(made: Fit) -> None:
    law = law_from_formula("E + A*width**-a + B*n_tokens**-b", ["width", "n_tokens"])
    other = replace(made, law=law, params={"E": 1.0, "A": 9.0, "a": 0.5, "B": 9.0, "b": 0.3})
    with pytest.raises(BadFormula, match="no cost named 'flops'; named costs are 6nd, width"):
        plan(other, 1e22, "flops")
    held = plan(
        replace(other, draws={}), 1e15, "width**2*n_tokens", under={"width": 100.0}, far=True
    )
    assert held.allocation["width"].value <= 100.0


def test_given_values_may_be_in_a_formula_with_flops(exact: Fit) -> None:
    found = plan(exact, 1e6, "flops*price/1e16", given={"price": 2.0})
    n, d = values_of(found)
    assert 6 * n * d * 2.0 / 1e16 == pytest.approx(1e6, rel=1e-9)


# Inequalities


def test_a_most_of_a_column(made: Fit, exact: Fit) -> None:
    free = values_of(plan(exact, 1e22))[0]
    asked: list[Any] = [
        "n_params<=2e9",
        ["n_params <= 2e9"],
        {"n_params": 2e9},
        ["2e9 >= n_params"],
    ]
    for under in asked:
        found = plan(exact, 1e22, under=under)
        assert values_of(found)[0] == pytest.approx(2e9, rel=1e-12)
        assert values_of(found)[0] <= 2e9
        assert values_of(found)[1] == pytest.approx(1e22 / 6 / 2e9, rel=1e-9)
    loose = plan(exact, 1e22, under="n_params<=8e11")
    assert values_of(loose)[0] == pytest.approx(free, rel=1e-9)
    assert not any("held back" in note for note in loose.notes)
    tight = plan(made, 1e22, under="n_params<=2e9")
    assert tight.fixed == {
        "n_params": "fixed by n_params<=2e9", "n_tokens": "fixed by the budget",
    }  # fmt: skip
    assert "The plan is held back by n_params<=2e9." in tight.notes


def test_a_least_of_a_column(exact: Fit) -> None:
    found = plan(exact, 1e22, under="n_params>=2e10")
    assert values_of(found) == pytest.approx((2e10, 1e22 / 6 / 2e10), rel=1e-9)
    free = plan(exact, 1e22)
    assert values_of(plan(exact, 1e22, under="n_params>=1e8")) == pytest.approx(values_of(free))
    with pytest.raises(BadPlan, match="does not pay for the smallest run"):
        plan(exact, 1e22, under=["n_params>=2e10", "n_tokens>=1e12"])
    with pytest.raises(BadPlan, match=r"'n_params>=1e10' cannot be met within the limits"):
        plan(exact, 1e22, under="n_params>=1e10", limits={"n_params": (1e8, 1e9)})


@pytest.mark.parametrize("ratio", [0.5, 20.0, 400.0, 1e4])
@pytest.mark.parametrize("sign", ["<=", ">="])
def test_tokens_per_parameter(sign: str, ratio: float, exact: Fit) -> None:
    """Where the free plan breaks it, the plan is sqrt(C/(6 r)) parameters; else the free one."""
    budget = 3e22
    n, d = values_of(plan(exact, budget))
    allowed = d / n <= ratio if sign == "<=" else d / n >= ratio
    size = n if allowed else math.sqrt(budget / 6 / ratio)
    found = plan(exact, budget, under=f"n_tokens{sign}{ratio}*n_params", far=True)
    assert values_of(found) == pytest.approx((size, budget / 6 / size), rel=1e-7)
    assert found.tokens_per_param == pytest.approx(d / n if allowed else ratio, rel=1e-7)
    assert found.tokens_per_param is not None
    assert (found.tokens_per_param <= ratio * (1 + 1e-9)) or sign == ">="
    assert (found.tokens_per_param >= ratio * (1 - 1e-9)) or sign == "<="


def test_a_ratio_within_limits_leaves_budget_over(exact: Fit) -> None:
    box = {"n_params": (1e8, 1e9)}
    found = plan(exact, 1e22, under="n_tokens<=20*n_params", limits=box)
    assert values_of(found) == pytest.approx((1e9, 2e10), rel=1e-9)
    assert any("of the budget is spent" in note for note in found.notes)


@pytest.mark.parametrize("ratio", [1.0, 30.0, 3000.0])
def test_reaching_a_loss_at_a_least_ratio(ratio: float, exact: Fit) -> None:
    """The cheapest run that reaches the loss with so many tokens a parameter, by Brent."""
    free = plan(exact, reach=2.2)
    found = plan(exact, reach=2.2, under=f"n_tokens >= {ratio}*n_params", far=True)
    n, d = values_of(found)
    assert d / n >= ratio * (1 - 1e-9)
    assert found.predicted.value <= 2.2 * (1 + 1e-12)

    def missing(z: float) -> float:
        size = math.exp(z)
        return float(laws.chinchilla(size, ratio * size, **TRUTH)) - 2.2

    size = math.exp(optimize.brentq(missing, 10, 30, xtol=1e-13))
    f_n, f_d = values_of(free)
    best = free.budget if f_d / f_n >= ratio else 6 * ratio * size**2
    assert found.budget == pytest.approx(best, rel=1e-7)


def test_a_ratio_and_a_least_size_overshoot_the_target(exact: Fit) -> None:
    """An easy target within limits that force more tokens than it takes."""
    box = {"n_params": (1e10, 1e11)}
    found = plan(exact, reach=3.0, under="n_tokens>=20*n_params", limits=box)
    assert values_of(found) == pytest.approx((1e10, 2e11), rel=1e-9)
    assert found.predicted.value < 3.0


def test_constraints_in_three_variables(made: Fit) -> None:
    text = "E + A/n_params**a + B/n_tokens**b + C/batch_size**c"
    law = law_from_formula(text, ["n_params", "n_tokens", "batch_size"])
    params = {"E": 1.69, "A": 406.4, "a": 0.34, "B": 410.7, "b": 0.28, "C": 1.5, "c": 0.2}
    about: dict[str, Any] = {"law": law, "params": params, "draws": {}, "best_runs": ()}
    cost = "6*n_params*n_tokens*batch_size**0.5"
    found = plan(replace(made, **about), 1e24, cost, under="n_tokens>=100*n_params", far=True)
    values = {name: item.value for name, item in found.allocation.items()}
    assert values["n_tokens"] >= 100 * values["n_params"] * (1 - 1e-9)

    def loss(z: np.ndarray) -> float:
        n, b = np.exp(z)
        d = 1e24 / 6 / n / b**0.5
        return float(law(n, d, b, **params)) + 1e3 * max(0.0, 100 * n / d - 1)

    start = np.log([values["n_params"], values["batch_size"]])
    best = optimize.minimize(loss, start, method="Nelder-Mead", options={"fatol": 1e-13}).fun
    assert found.predicted.value <= best * (1 + 1e-6)


def test_costs_keep_their_own_inequalities(exact: Fit) -> None:
    hours = "gpu_hours(6nd, flops_per_second=989e12, utilisation=0.4)"
    found = plan(exact, 1e22, under=f"{hours}<=2000")
    n, d = values_of(found)
    assert 6 * n * d / (989e12 * 0.4 * 3600) == pytest.approx(2000, rel=1e-9)
    assert any("Only" in note and "budget is spent" in note for note in found.notes)
    twice = plan(exact, 1e22, under=["flops<=2e21", "n_tokens <= 3e10 * 2"])
    assert 6 * math.prod(values_of(twice)) <= 2e21 * (1 + 1e-9)
    assert values_of(twice)[1] <= 6e10


def test_intervals_are_kept_to_the_constraint(made: Fit) -> None:
    found = plan(made, 1e22, under="n_tokens>=400*n_params", far=True)
    why = "fixed by the budget and n_tokens>=400*n_params"
    assert found.fixed == dict.fromkeys(COLUMNS, why)
    document = describe_plan(found)
    for name in COLUMNS:
        item = document["allocation"][name]
        assert (item["low"], item["high"]) == (None, None)
        assert item["why"] == why
    assert found.predicted.low < found.predicted.value < found.predicted.high


# What an inequality is


@pytest.mark.parametrize(
    ("text", "at", "met"),
    [
        ("n_params<=8e9", (8e9, 1.0), True),
        ("n_params<=8e9", (8.1e9, 1.0), False),
        ("n_params < 8e9", (7e9, 1.0), True),
        ("n_params≥8e9", (9e9, 1.0), True),
        ("8e9<=n_params", (7e9, 1.0), False),
        ("n_tokens >= 20*n_params", (1.0, 21.0), True),
        ("n_tokens/n_params >= 20", (1.0, 19.0), False),
        ("(n_tokens + 1e3)/n_params <= 2*10", (1e3, 18.9e3), True),
        ("6nd <= 600", (10.0, 10.1), False),
        ("2e3 >= serve(tokens=10)", (99.0, 1.0), True),
    ],
)
def test_an_inequality_means_what_it_says(text: str, at: tuple[float, float], met: bool) -> None:
    cost, most = read_inequality(text, COLUMNS)
    value = float(evaluate(cost.expr, dict(zip(COLUMNS, at, strict=True))))
    assert (value <= most) is met


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("n_params", BadPlan, "A constraint is one inequality with <= or >="),
        ("n_params=8e9", BadPlan, "a value that is held is given instead"),
        ("n_params==8e9", BadPlan, "--given NAME=VALUE"),
        ("1e8<=n_params<=8e9", BadPlan, "A constraint is one inequality"),
        ("<=8e9", BadPlan, "a side on either side of <="),
        ("n_params<=", BadPlan, "a side on either side of <="),
        ("n_params<=nan", BadPlan, "What n_params may come to must be a positive number, got nan"),
        ("n_params<=inf", BadPlan, "must be a positive number, got inf"),
        ("n_params>=nan", BadPlan, "lower limit of n_params must be a positive number, got nan"),
        ("n_params<=-5", BadPlan, "must be a positive number, got -5"),
        ("5<=7", BadPlan, "holds no column"),
        ("n_parms<=8e9", BadFormula, "no cost named 'n_parms'.*Did you mean 'n_params'"),
        ("n_params<=8e9 tokens", BadFormula, "Cannot read"),
        ("", BadPlan, "A constraint is one inequality"),
    ],
)
def test_what_is_no_inequality(text: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_constraints([text], COLUMNS)


def test_a_constraint_that_rises_and_falls_is_not_broken_in_silence(exact: Fit) -> None:
    n, d = values_of(plan(exact, 1e22, under="n_tokens/n_params + n_params/1e9 <= 30"))
    assert d / n + n / 1e9 <= 30 * (1 + 1e-6)
    with pytest.raises(BadPlan, match="does not pay for the smallest run"):
        plan(exact, 1e22, under="n_tokens/n_params + n_params/1e9 <= 1e-3")


def test_how_constraints_are_said() -> None:
    assert format_constraint(find_cost("n_params", COLUMNS), 8e9) == "n_params<=8e9"
    assert format_constraint(*read_inequality("n_tokens >= 2*n_params", COLUMNS)) == (
        "n_tokens >= 2*n_params"
    )
    assert format_constraint(Cost("memory", "16*n_params"), 8e10) == "memory<=8e10"
    assert read_constraints(None, COLUMNS) == []
