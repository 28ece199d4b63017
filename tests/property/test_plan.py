"""allocate under hypothesis: closed forms, the budget spent, never worse than a grid, monotone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from kleiber import laws
from kleiber.formula import evaluate, parse
from kleiber.law import Law, law_from_formula
from kleiber.planning.allocate import allocate
from kleiber.planning.constraint import read_inequality
from kleiber.planning.cost import find_cost, six_nd
from kleiber.planning.question import ask

# A fifth of the profile's: an example plans several times.
few = settings(max_examples=settings().max_examples // 5, deadline=None)
chinchillas = st.fixed_dictionaries(
    {
        "E": st.floats(0, 4),
        "A": st.floats(0, math.log(1e5)).map(math.exp),
        "B": st.floats(0, math.log(1e5)).map(math.exp),
        "alpha": st.floats(0.05, 1.5),
        "beta": st.floats(0.05, 1.5),
    }
)
kaplans = st.fixed_dictionaries(
    {
        "N_c": st.floats(math.log(1e9), math.log(1e16)).map(math.exp),
        "D_c": st.floats(math.log(1e9), math.log(1e16)).map(math.exp),
        "alpha_N": st.floats(0.03, 0.5),
        "alpha_D": st.floats(0.03, 0.5),
    }
)
overs = st.fixed_dictionaries(
    {
        "E": st.floats(0, 4),
        "a": st.floats(1, 1e3),
        "b": st.floats(1, 1e3),
        "eta": st.floats(0.05, 0.75),
    }
)
planted = st.one_of(
    st.tuples(st.just(laws.chinchilla), chinchillas),
    st.tuples(st.just(laws.kaplan), kaplans),
    st.tuples(st.just(laws.over_training), overs),
)
budgets = st.floats(math.log(1e15), math.log(1e28)).map(math.exp)
priced = st.sampled_from(
    [
        "6*n_params*n_tokens",
        "6*n_params*n_tokens + 1e3*n_params",
        "2*n_params**1.2*n_tokens + 1e4*n_tokens + 1e6",
        "n_params*n_tokens*log(2 + n_tokens)",
    ]
)


def best(
    law: Law,
    params: Mapping[str, float],
    budget: float,
    cost: str = "6nd",
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, float]:
    """The allocation of one parameter vector."""
    question = ask(law, [(find_cost(cost), budget)], limits=limits or {}, given={})
    found = allocate(question, {name: np.array([value]) for name, value in params.items()})
    return {name: float(values[0]) for name, values in found.items()}


def spent(cost: str, n: Any, d: Any) -> np.ndarray:
    """What runs cost."""
    return evaluate(find_cost(cost).expr, {"n_params": n, "n_tokens": d})


def tokens_for(cost: str, budget: float, n: np.ndarray) -> np.ndarray:
    """What the budget leaves for tokens, by bisection of our own."""
    low, high = np.zeros_like(n), np.full_like(n, 230.0)
    for _ in range(80):
        middle = (low + high) / 2
        paid = spent(cost, n, np.exp(middle)) <= budget
        low, high = np.where(paid, middle, low), np.where(paid, high, middle)
    return np.exp(low)


@few
@given(chinchillas, budgets)
def test_chinchilla_agrees_with_its_closed_form(p: dict[str, float], budget: float) -> None:
    """N = G (C/6)**(beta/(alpha+beta)), G = (alpha A/(beta B))**(1/(alpha+beta)); D = C/(6 N)."""
    log_g = math.log(p["alpha"] * p["A"] / (p["beta"] * p["B"])) / (p["alpha"] + p["beta"])
    log_n = log_g + p["beta"] / (p["alpha"] + p["beta"]) * math.log(budget / 6)
    log_d = math.log(budget / 6) - log_n
    assume(min(log_n, log_d) > 0.01)  # no run is smaller than one parameter and one token
    found = best(laws.chinchilla, p, budget)
    assert found["n_params"] == pytest.approx(math.exp(log_n), rel=1e-6)
    assert found["n_tokens"] == pytest.approx(math.exp(log_d), rel=1e-6)


@few
@given(planted, budgets, priced)
def test_the_budget_is_spent_to_the_last_flop(
    case: tuple[Law, dict[str, float]], budget: float, cost: str
) -> None:
    found = best(*case, budget, cost)
    columns = {name: found[name] for name in ("n_params", "n_tokens")}
    assert float(spent(cost, *columns.values())) == pytest.approx(budget, rel=1e-9)
    assert found["spent"] == pytest.approx(budget, rel=1e-9)
    assert found["predicted"] == pytest.approx(float(case[0](**columns, **case[1])), rel=1e-12)


@few
@given(planted, budgets, priced)
def test_no_point_of_a_grid_is_better(
    case: tuple[Law, dict[str, float]], budget: float, cost: str
) -> None:
    law, params = case
    found = best(law, params, budget, cost)
    n = np.geomspace(1, budget, 400)
    n = n[spent(cost, n, 1.0) <= budget]
    others = law(n, tokens_for(cost, budget, n), **params)
    assert found["predicted"] <= others.min() * (1 + 1e-12)


@few
@given(
    chinchillas.filter(lambda p: p["alpha"] > 0.15 and p["beta"] > 0.15),
    st.floats(math.log(0.02), 0).map(math.exp),
    st.sampled_from([1e-4, 3e-3, 0.1, 2.0]),
    st.sampled_from(
        [
            "n_params*n_tokens**0.7",
            "n_params + 0.001*n_tokens",
            "n_params**1.5*n_tokens",
            "16*n_params + 1e-3*n_params*n_tokens**0.5",
        ]
    ),
)
def test_a_sliver_of_what_can_be_paid_is_found(
    p: dict[str, float], above: float, room: float, further: str
) -> None:
    """The cheapest run to reach a loss while a further cost may come to 1 + room times the least
    that any such run comes to: affordable, and no dearer than the best of many along the curve."""
    least = math.log(p["A"] / above) / p["alpha"]  # of log(n_params): all tokens would be needed
    x = least + np.geomspace(1e-7, 100, 100_001)
    y = -np.log((above - p["A"] * np.exp(-p["alpha"] * x)) / p["B"]) / p["beta"]
    assume(x[0] > 0)
    seen = (y > 0) & (y < 200) & (x < 200)
    assume(seen[1:-1].any())
    x, y = x[seen], y[seen]
    over = np.asarray(evaluate(parse(further), {"n_params": np.exp(x), "n_tokens": np.exp(y)}))
    assume(0 < np.argmin(over) < len(over) - 1)
    limit = float(over.min() * (1 + room))
    costs = [(find_cost("6nd"), math.inf), (find_cost(further), limit)]
    question = ask(laws.chinchilla, costs, limits={}, given={}, target=p["E"] + above)
    made = allocate(question, {name: np.array([value]) for name, value in p.items()})
    found = {name: float(values[0]) for name, values in made.items()}
    columns = {name: found[name] for name in ("n_params", "n_tokens")}
    assert found["predicted"] <= (p["E"] + above) * (1 + 1e-12)
    assert float(evaluate(parse(further), columns)) <= limit * (1 + 1e-9)
    assert math.log(found["spent"]) <= (math.log(6) + x + y)[over <= limit].min() + 1e-9


@few
@given(planted, budgets, st.floats(1.0001, 1e6), priced)
def test_more_budget_is_never_worse(
    case: tuple[Law, dict[str, float]], budget: float, times: float, cost: str
) -> None:
    less, more = (best(*case, spent, cost) for spent in (budget, budget * times))
    assert more["predicted"] <= less["predicted"] * (1 + 1e-12)


@few
@given(
    planted,
    budgets,
    st.tuples(st.floats(1, 15), st.floats(0.1, 20)),
    st.tuples(st.floats(1, 15), st.floats(0.1, 20)),
)
def test_limits_are_kept_and_nothing_inside_them_is_better(
    case: tuple[Law, dict[str, float]],
    budget: float,
    sizes: tuple[float, float],
    tokens: tuple[float, float],
) -> None:
    law, params = case
    box = {
        "n_params": (math.exp(sizes[0]), math.exp(sum(sizes))),
        "n_tokens": (math.exp(tokens[0]), math.exp(sum(tokens))),
    }
    assume(6 * box["n_params"][0] * box["n_tokens"][0] < budget)
    found = best(law, params, budget, limits=box)
    for name, (low, high) in box.items():
        assert low * (1 - 1e-12) <= found[name] <= high * (1 + 1e-12)
    assert found["spent"] <= budget * (1 + 1e-9)
    n, d = np.meshgrid(*(np.geomspace(*ends, 40) for ends in box.values()))
    others = law(n, d, **params)[6 * n * d <= budget]
    assert found["predicted"] <= others.min() * (1 + 1e-9)


@few
@given(st.lists(chinchillas, min_size=2, max_size=3), budgets)
def test_draws_are_planned_each_for_itself(many: list[dict[str, float]], budget: float) -> None:
    stacked = {name: np.array([each[name] for each in many]) for name in many[0]}
    question = ask(laws.chinchilla, [(find_cost("6nd"), budget)], limits={}, given={})
    found = allocate(question, stacked)
    for k, each in enumerate(many):
        alone = best(laws.chinchilla, each, budget)
        for name, value in alone.items():
            assert found[name][k] == pytest.approx(value, rel=1e-9)


@few
@given(chinchillas, budgets, st.floats(1, 1e4), st.floats(0.1, 1.2))
def test_a_third_variable_is_split_off_as_well_as_can_be(
    p: dict[str, float], budget: float, price: float, gamma: float
) -> None:
    """With a term F U**-gamma and a cost 6 N D + price U: for each U the rest has a closed form."""
    text = "E + A*n_params**-alpha + B*n_tokens**-beta + F*n_unique**-gamma"
    law = law_from_formula(text, ["n_params", "n_tokens", "n_unique"])
    params = {**p, "F": 100.0, "gamma": gamma}
    log_g = math.log(p["alpha"] * p["A"] / (p["beta"] * p["B"])) / (p["alpha"] + p["beta"])

    def loss(z: float) -> float:
        rest = max(budget - price * math.exp(z), 1e-300) / 6
        log_n = log_g + p["beta"] / (p["alpha"] + p["beta"]) * math.log(rest)
        log_n = min(max(log_n, 0), max(math.log(rest), 0))
        if rest < 1:
            return math.inf
        return float(law(math.exp(log_n), rest / math.exp(log_n), math.exp(z), **params))

    grid = np.linspace(0, math.log(budget / price), 200)
    near = grid[int(np.argmin([loss(z) for z in grid]))]
    ends = (max(near - 1, 0), min(near + 1, math.log(budget / price)))
    known = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9})
    found = best(law, params, budget, f"6*n_params*n_tokens + {price!r}*n_unique")
    assert found["predicted"] <= min(known.fun, loss(near)) * (1 + 1e-9)
    assert found["spent"] == pytest.approx(budget, rel=1e-9)


@few
@given(
    chinchillas,
    budgets,
    st.floats(math.log(1e-3), math.log(1e5)).map(math.exp),
    st.sampled_from(
        ["n_tokens<={}*n_params", "n_tokens>={}*n_params", "n_tokens*{}>=n_params**1.5"]
    ),
)
def test_no_point_that_meets_an_inequality_is_better(
    p: dict[str, float], budget: float, ratio: float, text: str
) -> None:
    cost, most = read_inequality(text.format(ratio), ("n_params", "n_tokens"))
    costs = [(find_cost("6nd"), budget), (cost, most)]
    question = ask(laws.chinchilla, costs, limits={}, given={})
    made = allocate(question, {name: np.array([value]) for name, value in p.items()})
    found = {name: float(values[0]) for name, values in made.items()}
    n = np.geomspace(1, budget / 6, 2001)
    d = np.maximum(budget / 6 / n, 1.0)
    if text.startswith("n_tokens<="):
        d = np.minimum(d, ratio * n)
    allowed = (evaluate(cost.expr, {"n_params": n, "n_tokens": d}) <= most) & (d >= 1)
    assume(allowed.any())
    columns = {name: found[name] for name in ("n_params", "n_tokens")}
    assert float(evaluate(cost.expr, columns)) <= most * (1 + 1e-9)
    assert found["spent"] <= budget * (1 + 1e-9)
    assert found["predicted"] <= laws.chinchilla(n, d, **p)[allowed].min() * (1 + 1e-9)


@few
@given(chinchillas, budgets, st.booleans())
def test_the_largest_is_where_the_smallest_of_its_negative_is(
    p: dict[str, float], budget: float, reaching: bool
) -> None:
    """Maximised, minus the law is planned as the law is minimised, budgets and targets alike."""
    text = "0 - (E + A*n_params**-alpha + B*n_tokens**-beta)"
    mirror = law_from_formula(text, ["n_params", "n_tokens"])
    single = {name: np.array([value]) for name, value in p.items()}
    target = p["E"] + 0.3 * p["A"] ** 0.5 if reaching else None
    falling = ask(laws.chinchilla, [(six_nd, budget)], limits={}, given={}, target=target)
    minus = None if target is None else -target
    rising = replace(ask(mirror, [(six_nd, budget)], limits={}, given={}, target=minus), sense=-1.0)
    down, up = allocate(falling, single), allocate(rising, single)
    for name in ("n_params", "n_tokens", "spent"):
        np.testing.assert_allclose(up[name], down[name], rtol=1e-9)
    np.testing.assert_allclose(up["predicted"], -down["predicted"], rtol=1e-12)
