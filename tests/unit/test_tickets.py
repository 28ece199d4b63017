"""The law of lottery tickets and the theory of one ticket: doors, columns, draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import kleiber
from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.one_ticket import (
    best_ticket,
    cells_error,
    fit_ticket,
    flat_channel,
    relu_bound,
    silu_derivative,
)
from kleiber.theory import Theory, Tickets, catalogue, find

MIXED = Tickets(bias=0.02, correlation=0.1)


def test_it_is_a_theory() -> None:
    assert catalogue()["tickets"] is Tickets is find("Tickets") is kleiber.theory.Tickets
    assert isinstance(Tickets(), Theory)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bias": -0.1}, "bias must not be negative"),
        ({"spread": 0.0}, "spread must be positive, got 0"),
        ({"tickets": -1.0}, "tickets must be positive"),
        ({"correlation": 1.5}, "correlation must be above -1 and at most 1"),
        ({"correlation": -1.0}, "correlation must be above -1"),
        ({"dimension": 0}, "dimension must be a whole number"),
        ({"radius": float("nan")}, "radius must be a finite number"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tickets(**given)


@pytest.mark.parametrize(
    ("theory", "grid", "words"),
    [
        (Tickets(), {"width": [1.0]}, "width must be at least 2"),
        (Tickets(), {"widht": [8.0]}, "Did you mean 'width'"),
        (Tickets(), {"width": [8.0], "mse": [1.0]}, "no use for 'mse'"),
        (Tickets(correlation=-0.1), {"width": [8.0, 22.0]}, "must be below 22, got 22"),
    ],
)
def test_grids_are_checked(theory: Tickets, grid: dict[str, Any], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        theory.solve(grid)


def test_the_law_is_the_formula() -> None:
    solved = MIXED.solve({"width": [8, 64]})
    n = np.array([4, 32])
    assert np.allclose(solved["mse"], 0.02**2 + 0.1**2 * (0.9 / n + 0.1), rtol=1e-14)
    assert np.allclose(solved["local_exponent"], solved["averaged"] / solved["mse"])
    assert np.allclose(solved["two_term"], solved["mse"] + solved["approximation"])
    assert np.allclose(solved["relu_bound"], (4 / np.array([9, 65])) ** 4 / 180)
    assert "relu_bound" not in Tickets(dimension=2).solve({"width": [8]}).columns


def test_the_local_exponent_is_a_derivative() -> None:
    low, high = MIXED.solve({"width": [20 / 1.001, 20 * 1.001]})["mse"].log()
    (there,) = MIXED.solve({"width": [20.0]})["local_exponent"]
    assert there == pytest.approx((low - high) / (2 * math.log(1.001)), rel=1e-5)


def test_exponents() -> None:
    assert Tickets().exponents()["mse"] == 1
    assert Tickets(dimension=8).exponents()["two_term"] == 0.5
    assert MIXED.exponents()["mse"] == 0 == Tickets(bias=0.1).exponents()["mse"]
    assert Tickets(dimension=3).exponents()["approximation"] == 4 / 3
    assert "mse" not in Tickets(correlation=-0.01).exponents()
    far = MIXED.solve({"width": [1e9]})["local_exponent"].item()
    assert far == pytest.approx(MIXED.exponents()["mse"], abs=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3, 6])
def test_terms_are_equal_at_the_crossovers(dimension: int) -> None:
    theory = Tickets(bias=0.02, correlation=0.1, dimension=dimension, tickets=5.0)
    at = theory.crossovers()
    (averaged,) = theory.solve({"width": [at["floor"]]})["averaged"]
    assert averaged == pytest.approx(theory.floor, rel=1e-12)
    if at["approximation"] >= 1:
        row = theory.solve({"width": [at["approximation"]]})
        assert row["averaged"].item() == pytest.approx(row["approximation"].item(), rel=1e-12)


def test_crossovers_that_are_not_there() -> None:
    assert Tickets().crossovers()["floor"] == math.inf
    assert "approximation" not in Tickets(dimension=4).crossovers()
    assert "approximation" not in Tickets(correlation=1.0).crossovers()


def test_draws_stay_as_seeds_and_widths_are_added() -> None:
    some = MIXED.simulate({"width": [8, 16]}, seeds=2, seed=3)
    more = MIXED.simulate({"width": [4, 8, 16]}, seeds=3, seed=3)
    both = some.join(more, on=["width", "seed"], how="inner")
    assert both.height == 4
    assert (both["mse"] == both["mse_right"]).all()
    assert MIXED.simulate({"width": [8]}, seeds=1, seed=4)["mse"][0] != some["mse"][0]


def test_only_whole_tickets_are_drawn() -> None:
    with pytest.raises(ValueError, match="whole number"):
        Tickets(tickets=0.3).simulate({"width": [8]})
    with pytest.raises(ValueError, match="seeds must be a whole number from 1"):
        Tickets().simulate({"width": [8]}, seeds=0)
    with pytest.raises(ValueError, match="width must be at least 2"):
        Tickets().draw(1.0)


def test_tickets_that_share_all_their_error_do_not_average() -> None:
    theory = Tickets(correlation=1.0)
    solved = theory.solve({"width": [4, 400]})
    assert (solved["mse"] == 0.1**2).all()
    assert theory.draw(4.0, seeds=1).std() > 0


@pytest.mark.parametrize("order", range(1, 8))
def test_derivatives_of_silu(order: int) -> None:
    h, z = 1e-5, -0.7
    numeric = (silu_derivative(z + h, order - 1) - silu_derivative(z - h, order - 1)) / (2 * h)
    assert silu_derivative(z, order) == pytest.approx(numeric, rel=1e-6, abs=1e-8)


def test_a_ticket_is_even_and_scales_with_the_domain() -> None:
    one, mirrored = fit_ticket(0.8, -1.1), fit_ticket(-0.8, -1.1)
    assert one.mse == pytest.approx(mirrored.mse, rel=1e-10)
    wide = fit_ticket(0.4, -1.1, radius=4.0)  # x^2 in four times the units
    assert wide.mse == pytest.approx(16 * one.mse, rel=1e-10)
    assert wide.output == pytest.approx(4 * one.output, rel=1e-12)


def test_no_offset_beats_the_best() -> None:
    best = best_ticket(0.8)
    others = [fit_ticket(0.8, float(b)).mse for b in np.linspace(-2.4, 0, 97)]
    assert best.mse <= min(others)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_ticket(0.0, -1.0), "A ticket needs"),
        (lambda: fit_ticket(1.0, math.inf), "finite offset"),
        (lambda: best_ticket(100.0), "A ticket needs"),
        (lambda: flat_channel(0.0), "output weight"),
        (lambda: relu_bound([4, 0]), "A width must be finite and from 1"),
        (lambda: relu_bound(4, radius=-1.0), "radius must be finite and positive"),
        (lambda: cells_error(4, 0), "dimension a whole number"),
        (lambda: silu_derivative(0.0, -1), "order of a derivative"),
    ],
)
def test_doors_of_one_ticket(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
