"""Where an expression is affine: as a whole, and inside a function that takes any number."""

from __future__ import annotations

import numpy as np
import pytest

from kleiber.fitting.engine.affine_starts import solve_affine_arguments
from kleiber.fitting.fit import fit
from kleiber.formula import parse, symbols
from kleiber.law import law_from_formula
from kleiber.maths.affine import find_affine_arguments, find_exponents

INSIDES = {
    "E + k*(log(lr) - (c - p*log(n) + q*log(d)))**2": ("c", "p", "q"),
    "E + k*(x - m)**2": ("m",),
    "top/(1 + exp((m - x)/w))": ("m",),
    "a + b*x + c*x**2": (),  # affine as a whole
    "E + A/n**alpha": (),
    "E + A/(n + n0)**alpha": (),  # a power of any exponent wants a positive number
    "log(x + m)": (),
    "(a + b/x)**2": (),  # no column says where it is near zero
    "tanh(s*(x - m))": ("m",),
    "k*(x - m)**2/(x - n0)": ("m",),
}


@pytest.mark.parametrize("text", INSIDES)
def test_insides(text: str) -> None:
    expr = parse(text)
    columns = {"x", "lr", "n", "d"} & symbols(expr)
    law = law_from_formula(text, columns)
    found = {name for name, domain in law.domains.items() if domain.kind == "real"}
    assert found == set(INSIDES[text])


def test_exponents_are_no_insides() -> None:
    expr = parse("n**(a - b*log(d))")
    assert find_exponents(expr) == {"a", "b", "d"}
    assert find_affine_arguments(expr, ["a", "b"], []) == ()


def test_starts_solve_the_inside_on_rows_of_the_table() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 50)
    (inside,) = find_affine_arguments(parse("k*(x - m)**2"), ["k", "m"], ["m"])
    starts = solve_affine_arguments(inside, {"x": x}, 1 + (x - 7) ** 2, count=64, rng=rng)
    assert starts is not None
    assert starts[0, 0] == pytest.approx(x.mean())
    assert x.min() <= starts.min() < 5 < 6 < starts.max() <= x.max()


def valley(seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Losses of 17 sizes, each at many learning rates, with the best rate inside the grid."""
    rng = np.random.default_rng(seed)
    n = np.exp(rng.uniform(np.log(6e7), np.log(1.1e9), 17))
    d = np.exp(rng.uniform(np.log(2e9), np.log(1e11), 17))
    rates = np.geomspace(2e-4, 8e-3, 12)
    columns = {"n_params": np.repeat(n, 12), "n_tokens": np.repeat(d, 12), "lr": np.tile(rates, 17)}
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    truth |= {"k": float(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))}
    truth |= {"p": rng.uniform(0.3, 0.8), "q": rng.uniform(0.1, 0.4)}
    middle = np.log(1.3e-3) + rng.uniform(-0.5, 0.5)
    truth["c"] = float(middle + truth["p"] * np.log(3e8) - truth["q"] * np.log(1e10))
    return columns, truth


FORMULA = (
    "E + A/n_params**alpha + B/n_tokens**beta"
    " + k*(log(lr) - (c - p*log(n_params) + q*log(n_tokens)))**2"
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.long
def test_a_valley_in_the_learning_rate_is_found(seed: int) -> None:
    columns, truth = valley(seed)
    law = law_from_formula(FORMULA, columns)
    values = law(**columns, **truth)
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(len(values)))
    found = fit(FORMULA, {**columns, "loss": values * noise}, draws=0)
    planted = fit(FORMULA, {**columns, "loss": values * noise}, draws=0, start=truth)
    assert found.objective <= planted.objective * (1 + 1e-7)
    assert found.params["k"] == pytest.approx(truth["k"], rel=0.2)
