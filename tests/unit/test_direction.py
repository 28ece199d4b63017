"""Targets that rise: maximised, reached from below, and refused where the law disagrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from kleiber import laws
from kleiber.errors import BadPlan
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.law import Law, law_from_formula, real
from kleiber.planning.direction import better_is
from kleiber.planning.frontier import sensitivity, trace_frontier
from kleiber.planning.plan import Plan, describe_plan, plan

ACCURACY = "E - A/n_params**a - B/n_tokens**b"
SIZES = {
    5e7: (2.5e8, 1e9, 3e9, 1e10),
    1.5e8: (7.5e8, 3e9, 9e9, 3e10),
    4e8: (2e9, 8e9, 2.4e10, 8e10),
    1e9: (5e9, 2e10, 6e10, 2e11),
    3e9: (1.5e10, 6e10, 1.8e11, 6e11),
}
LEAST = (30 / 60) ** (1 / 0.6)  # of n_params over the root of C/6 at the best accuracy


@pytest.fixture(scope="module")
def runs() -> dict[str, np.ndarray]:
    """acc = 0.9 - 30 N^-0.3 - 60 D^-0.3, to five digits."""
    pairs = [(n, d) for n, tokens in SIZES.items() for d in tokens]
    n, d = np.array(pairs).T
    return {"n_params": n, "n_tokens": d, "acc": np.round(0.9 - 30 * n**-0.3 - 60 * d**-0.3, 5)}


@pytest.fixture(scope="module")
def made(runs: dict[str, np.ndarray]) -> Fit:
    return fit(ACCURACY, runs, target="acc", draws=20)


def values_of(found: Plan) -> dict[str, float]:
    return {name: item.value for name, item in found.allocation.items()}


@pytest.mark.long
def test_an_accuracy_is_maximised(made: Fit) -> None:
    for budget in (1e20, 1e21, 3e23):
        found = plan(made, budget)
        size = LEAST * (budget / 6) ** 0.5
        assert found.allocation["n_params"].value == pytest.approx(size, rel=5e-3)
        assert found.allocation["n_tokens"].value == pytest.approx(budget / 6 / size, rel=5e-3)
        assert found.aim == "maximise"
        item = found.allocation["n_params"]
        assert item.low < item.value < item.high
    assert plan(made, 1e21).allocation["n_params"].value == pytest.approx(4.07e9, rel=2e-3)
    assert describe_plan(plan(made, 1e21))["aim"] == "maximise"


@pytest.mark.long
def test_it_is_the_plan_of_the_loss_that_mirrors_it(runs: dict[str, np.ndarray], made: Fit) -> None:
    """One minus the law falls: budgets, limits, ladders, constraints and targets agree."""
    law = law_from_formula("1 - E + A/n_params**a + B/n_tokens**b", ["n_params", "n_tokens"])
    options = replace(made.options, target="miss")
    mirror = replace(made, law=law, options=options, ranges={**made.ranges, "miss": (0.1, 0.5)})
    asked: list[dict[str, Any]] = [
        {"budget": 1e21},
        {"budget": 1e21, "limits": {"n_params": (1e8, 2e9)}},
        {"budget": 1e21, "choices": {"n_params": [1e9, 3e9, 7e9]}},
        {"budget": 1e21, "under": ["n_tokens>=40*n_params"]},
        {"budget": 1e21, "under": {"n_params": 2e9}},
        {"budget": 1e21, "cost": "6*n_params*n_tokens + 1e12*n_params"},
        {"budget": 1e20, "given": {"n_tokens": 1e10}},
    ]
    for options in asked:
        up, down = plan(made, **options), plan(mirror, **options)
        assert values_of(up) == pytest.approx(values_of(down), rel=1e-9)
        assert up.predicted.value == pytest.approx(1 - down.predicted.value, rel=1e-12)
        assert (up.aim, down.aim) == ("maximise", "minimise")
    for target in (0.75, 0.83):
        up, down = plan(made, reach=target), plan(mirror, reach=1 - target)
        assert up.budget == pytest.approx(down.budget, rel=1e-9)
        assert values_of(up) == pytest.approx(values_of(down), rel=1e-6)
        assert up.predicted.value == pytest.approx(target, rel=1e-12)
        assert up.needed is not None
        assert up.needed.low < up.needed.value < up.needed.high
    curves = [trace_frontier(each, [1e20, 1e22]) for each in (made, mirror)]
    assert curves[0]["n_params"].to_list() == pytest.approx(curves[1]["n_params"].to_list())
    assert curves[0]["predicted"].is_sorted()
    moved = [sensitivity(each, 1e21) for each in (made, mirror)]
    np.testing.assert_allclose(moved[0]["n_params"], moved[1]["n_params"], atol=1e-4)


def test_a_law_that_cannot_be_traced_is_maximised_too(made: Fit) -> None:
    def function(n_params: Any, n_tokens: Any, **p: Any) -> Any:
        tokens = np.where(np.asarray(n_tokens) > 0, n_tokens, 1)
        return p["E"] - p["A"] * n_params ** -p["a"] - p["B"] * tokens ** -p["b"]

    untraced = replace(made.law, function=function, expr=None)
    bare = replace(made, law=untraced, draws={})
    found = plan(bare, 1e21)
    assert values_of(found) == pytest.approx(values_of(plan(made, 1e21)), rel=1e-6)
    assert plan(bare, reach=0.8).budget == pytest.approx(plan(made, reach=0.8).budget, rel=1e-6)


def test_an_accuracy_out_of_reach(made: Fit) -> None:
    with pytest.raises(
        BadPlan, match=r"^The acc 0.95 is out of reach: .* rises no higher than 0.9"
    ):
        plan(made, reach=0.95)


def test_a_saturating_score_of_any_name(made: Fit) -> None:
    """The name says nothing: the fitted law decides, and the plan is that of a minimiser."""
    law = law_from_formula("E - A/n_params**a - B/n_tokens**b", ["n_params", "n_tokens"])
    params = {"E": 70.0, "A": 900.0, "a": 0.25, "B": 3000.0, "b": 0.3}
    asked = replace(made.options, target="elo")
    named = replace(
        made, law=law, params=params, draws={}, options=asked, ranges={
            name: ends for name, ends in made.ranges.items() if name != "acc"
        }, best_runs=(),
    )  # fmt: skip

    def lost(z: float) -> float:
        size = np.exp(z)
        return -float(law(size, 1e21 / 6 / size, **params))

    best = optimize.minimize_scalar(
        lost, bounds=(15, 30), method="bounded", options={"xatol": 1e-9}
    )
    found = plan(named, 1e21)
    assert found.predicted.value == pytest.approx(-best.fun, rel=1e-12)
    assert found.allocation["n_params"].value == pytest.approx(np.exp(best.x), rel=1e-5)
    assert any("The fitted elo rises with its variables" in note for note in found.notes)


# What is refused


def test_a_loss_that_rises_is_no_plan(made: Fit) -> None:
    with pytest.raises(
        BadPlan, match=r"The fitted val_loss rises with n_params and n_tokens, .* should fall"
    ):
        plan(replace(made, options=replace(made.options, target="val_loss")), 1e21)


def test_an_accuracy_that_falls_is_no_plan(chinchilla: Callable[..., Fit]) -> None:
    with pytest.raises(BadPlan, match=r"The fitted accuracy falls with .* should rise"):
        plan(chinchilla(target="accuracy"), 1e21)


@pytest.fixture
def chinchilla(made: Fit) -> Callable[..., Fit]:
    def exactly(**changed: Any) -> Fit:
        params = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
        about: dict[str, Any] = {"law": laws.chinchilla, "params": params, "draws": {}}
        about["options"] = replace(made.options, target=changed.pop("target", "loss"))
        return replace(made, **{**about, "best_runs": (), **changed})

    return exactly


@pytest.mark.parametrize("target", ["loss", "accuracy", "y"])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_law_that_rises_in_one_variable_and_falls_in_another(
    way: float, target: str, chinchilla: Callable[..., Fit]
) -> None:
    @Law
    def torn(n_params, n_tokens, *, A=real(-1, 1)):
        """More of the one is better, of the other worse."""
        return 1 + A * n_params**-0.1 * n_tokens**0.2

    with pytest.raises(BadPlan, match=r"falls with \w+ and rises with \w+, so neither"):
        plan(chinchilla(law=torn, params={"A": way}, target=target), 1e21)
    box = {"n_tokens": (1e9, 1e10)}
    found = plan(chinchilla(law=torn, params={"A": 1.0}), 1e21, limits=box, far=True)
    assert found.allocation["n_tokens"].value == 1e9  # as the user asked: n_params is free


def test_a_valley_is_not_a_contradiction(chinchilla: Callable[..., Fit]) -> None:
    """A loss that rises again once a model is large for its tokens still has a best size."""
    text = "E + A/n_params**a + C*(n_params/n_tokens)**c"
    law = law_from_formula(text, ["n_params", "n_tokens"])
    params = {"E": 1.5, "A": 400.0, "a": 0.34, "C": 0.3, "c": 1.0}
    found = plan(chinchilla(law=law, params=params, free=law.params), 1e21)
    assert found.aim == "minimise"
    n = np.geomspace(1e7, 1e12, 100_001)
    losses = law(n, 1e21 / 6 / n, **params)
    assert found.predicted.value <= losses.min()
    assert found.allocation["n_params"].value == pytest.approx(n[losses.argmin()], rel=1e-3)


@pytest.mark.parametrize(
    ("target", "better"),
    [
        ("loss", 1), ("eval/loss", 1), ("val_loss", 1), ("error", 1), ("ppl", 1), ("failure", 1),
        ("neg_log_pass", 1), ("accuracy", -1), ("acc", -1), ("pass_at_k", -1), ("mmlu_acc", -1),
        ("y", 0), ("glossary", 0), ("compass", 0), ("elo", 0),
    ],
)  # fmt: skip
def test_what_names_say(target: str, better: int) -> None:
    assert better_is(target) == better
