"""The two laws against published numbers (A9) and against curves whose exponents are exact (A11).

Norms, authors' rule and exponents: D'Amico, Bocchi and Negri 2025, arXiv 2505.13230.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber import reduce
from kleiber.systems.implicit_bias.collapse import measure_collapse, rescale_curves
from kleiber.systems.implicit_bias.collapse_window import AUTHORS
from kleiber.systems.implicit_bias.perceptron import master_curve, master_optimum

DataPath = Callable[[str], Path]
TABLE = {  # gamma_1, gamma_2, gamma_measured, sigma
    "CNN": (0.2097, 1.321, 0.245, 0.069),
    "ResNet": (0.5314, 1.013, 0.564, 0.036),
    "ViT": (0.01244, 18.39, 0.209, 0.028),
}
LOADS = 200.0 * 2.0 ** np.arange(5)


def published(data_path: DataPath, model: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    files = "norms/learning_curves.csv", "norms/optima.csv"
    curves, optima = (pl.read_csv(data_path(file)) for file in files)
    return curves.filter(pl.col("model") == model), optima


@pytest.mark.parametrize("model", TABLE)
def test_the_published_exponents_come_out_to_the_digit(data_path: DataPath, model: str) -> None:
    curves, optima = published(data_path, model)
    found = measure_collapse(curves, optima)
    gamma_1, gamma_2, measured, sigma = TABLE[model]
    assert found.window is AUTHORS[model.casefold(), "cifar10"]
    assert found.estimates["gamma_1"].value == pytest.approx(gamma_1, rel=1e-3)
    assert found.estimates["gamma_2"].value == pytest.approx(gamma_2, rel=1e-3)
    assert found.estimates["gamma_measured"].value == pytest.approx(measured, abs=1e-3)
    assert found.sigma == pytest.approx(sigma, abs=1e-3)
    product = found.estimates["gamma_1"].value * found.estimates["gamma_2"].value
    assert found.estimates["gamma_predicted"].value == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "stderrs"), [("CNN", (0.0114, 0.323)), ("ResNet", (0.0273, 0.042))]
)
def test_the_published_errors_too(
    data_path: DataPath, model: str, stderrs: tuple[float, float]
) -> None:
    found = reduce.dynamical_exponents(*published(data_path, model))
    for name, stderr in zip(("gamma_1", "gamma_2"), stderrs, strict=True):
        assert found[name].stderr == pytest.approx(stderr, abs=6e-4)


def test_a_table_without_labels_takes_the_window_by_name(data_path: DataPath) -> None:
    curves, optima = published(data_path, "ViT")
    window = AUTHORS["vit", "cifar10"]
    optima = optima.filter(pl.col("model") == "ViT")
    found = reduce.dynamical_exponents(curves.drop("model", "dataset"), optima, "authors", window)
    assert found["gamma_1"].value == pytest.approx(0.01244, rel=1e-3)


@pytest.mark.parametrize("model", TABLE)
def test_without_labels_there_is_a_window_all_the_same(data_path: DataPath, model: str) -> None:
    curves, _ = published(data_path, model)
    found = measure_collapse(curves.drop("model"))
    assert found.window.source.startswith("automatic")
    assert found.estimates["gamma_1"].value == pytest.approx(TABLE[model][0], rel=0.1)


@pytest.mark.parametrize("model", TABLE)
def test_our_rule_agrees_within_its_own_errors(data_path: DataPath, model: str) -> None:
    curves, _ = published(data_path, model)
    found = measure_collapse(curves, rule="robust")
    values = found.estimates
    gap = values["gamma_predicted"].value - values["gamma_measured"].value
    assert abs(gap) < 2 * found.sigma
    assert (found.early == found.late).all()
    assert (found.early == found.measured).all()
    assert found.quality < 0.05
    assert ("ResNet" == model) == any("end of training" in flag for flag in found.flags)


def perceptron(error_of_load: Callable[[float], float]) -> pl.DataFrame:
    """Master curves eps = d(norm/load) times a factor of the load."""
    ell = np.geomspace(1e-3, 20, 160)
    d = master_curve(ell)
    parts = [
        pl.DataFrame({"n_data": load, "norm": ell * load, "error": d * error_of_load(load)})
        for load in LOADS
    ]
    return pl.concat(parts)


def relative_to_hebb(load: float) -> float:
    return float(np.sqrt(2 / (np.pi * load)))


def test_master_curves_give_the_exact_exponents() -> None:
    found = measure_collapse(perceptron(relative_to_hebb), window=(0.002, 0.02))
    values = {name: item.value for name, item in found.estimates.items()}
    assert values["gamma_1"] == pytest.approx(0.495, abs=0.003)
    assert values["gamma_2"] == pytest.approx(1.0, abs=0.002)
    assert values["gamma_measured"] == pytest.approx(0.5, abs=0.002)
    one, two, three = (found.estimates[n].stderr for n in ("gamma_1", "gamma_2", "gamma_measured"))
    terms = values["gamma_1"] * two, values["gamma_2"] * one, three
    assert found.sigma == pytest.approx(float(np.sqrt(np.square(terms).sum())), rel=1e-9)
    assert found.quality < 0.01
    best = np.exp(found.log_norm_opt) / LOADS
    np.testing.assert_allclose(best, master_optimum().ell, rtol=0.05)  # the grid's spacing


def test_the_parabola_finds_the_same_optimum_at_every_load() -> None:
    found = measure_collapse(perceptron(relative_to_hebb), rule="robust")
    best = np.exp(found.log_norm_opt) / LOADS
    np.testing.assert_allclose(best, best[0], rtol=1e-9)
    # the bottom is not symmetric, so that the vertex lies a little above the minimum
    np.testing.assert_allclose(best, master_optimum().ell, rtol=0.07)
    errors = np.exp(found.log_error_opt) / [relative_to_hebb(load) for load in LOADS]
    np.testing.assert_allclose(errors, master_optimum().d, rtol=1e-3)
    # a master curve collapses onto itself
    near = rescale_curves(found).filter(pl.col("x").log().is_between(-3, 1))
    x, y = near["x"].to_numpy(), near["y"].to_numpy()
    np.testing.assert_allclose(y, master_curve(x * best[0]) / errors[0], rtol=2e-3)


def test_where_raw_curves_do_not_overlap_the_product_is_said_not_to_hold() -> None:
    found = measure_collapse(perceptron(lambda load: 1 / (np.pi * load)), window=(0.002, 0.02))
    assert found.overlap > 0.3
    (flag,) = (item for item in found.flags if item.startswith("Raw curves differ"))
    assert "gamma_1 gamma_2 + 0.51" in flag
    total = found.estimates["gamma_predicted"].value + found.drift.value
    assert total == pytest.approx(found.estimates["gamma_measured"].value, abs=2e-3)
    assert found.estimates["gamma_measured"].value == pytest.approx(1.0, abs=0.002)


def test_the_elbow_is_where_the_master_curve_leaves_the_early_law() -> None:
    found = measure_collapse(perceptron(relative_to_hebb), window=(0.0013, 0.004))
    elbow = np.exp(found.log_elbow) / LOADS
    np.testing.assert_allclose(elbow, 0.12, atol=0.015)  # 0.12 from the asymptote itself
    gamma_1 = found.estimates["gamma_1"].value
    early = np.exp(found.log_k1 - gamma_1 * found.log_elbow[2])
    late = float(master_curve(elbow[2:3])[0]) * relative_to_hebb(LOADS[2])
    assert late / early == pytest.approx(1.1, rel=0.02)  # k1 is the mean over loads
