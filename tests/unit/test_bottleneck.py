"""The bottleneck laws' exponents: the table of the notes, the laws' own optimum, refusals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kleiber import laws
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.law import restrict
from kleiber.laws.bottlenecks import bottleneck_exponents
from kleiber.planning.plan import plan
from kleiber.systems.feature_learning.theory import FeatureLearning


@pytest.mark.parametrize(
    ("alpha", "beta", "rich", "compute", "width", "time"),
    [  # section 3.3 of the notes
        (2.0, 0.5, False, 1 / 3, 1 / 3, 2 / 3),
        (2.0, 0.5, True, 0.4, 0.4, 0.6),
        (2.0, 0.25, False, 1 / 6, 1 / 3, 2 / 3),
        (2.0, 0.25, True, 0.5 * 2 / 4.5, 2 / 4.5, 2.5 / 4.5),
        (2.0, 1.3, False, 2.6 / 3.6, 1.6 / 3.6, 2 / 3.6),
        (2.0, 1.3, True, 2.6 / 3.6, 1.6 / 3.6, 2 / 3.6),
        (1.5, 2.5, True, 2 / 3, 0.5, 0.5),
    ],
)
def test_the_best_split_is_that_of_the_table(
    alpha: float, beta: float, rich: bool, compute: float, width: float, time: float
) -> None:
    found = bottleneck_exponents(alpha, beta, rich=rich)
    assert float(found["compute"]) == pytest.approx(compute)
    assert float(found["best_width"]) == pytest.approx(width)
    assert float(found["best_time"]) == pytest.approx(time)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("beta", [0.3, 0.8, 1.2, 1.8])
def test_the_laws_have_the_exponents(rich: bool, beta: float) -> None:
    """The minimum of the law along C = N t falls and moves as the exponents say."""
    alpha = 1.6
    exponents = bottleneck_exponents(alpha, beta, rich=rich, batches=False)
    hard = laws.bottleneck_rich if rich else laws.bottleneck_lazy
    law, task = (hard, {}) if beta < 1 else (laws.bottleneck_easy, {"T": 1.0})
    compute = np.array([1e24, 1e26])
    width = np.geomspace(1, 1e26, 20_001)
    best, loss = [], []
    for each in compute:
        values = law(each / width, width, A=1.0, W=1.0, alpha=alpha, beta=beta, **task)
        best.append(width[np.argmin(values)])
        loss.append(values.min())
    per = np.log(compute[1] / compute[0])
    assert np.log(best[1] / best[0]) / per == pytest.approx(
        float(exponents["best_width"]), abs=0.01
    )
    assert np.log(loss[0] / loss[1]) / per == pytest.approx(float(exponents["compute"]), abs=0.01)


def test_exponents_are_continuous_at_the_boundaries_and_take_arrays() -> None:
    alpha = np.array([1.3, 2.0, 3.0])
    for beta in (np.ones(3), 2 - 1 / alpha):
        for rich in (False, True):
            below, above = (
                bottleneck_exponents(alpha, beta + side, rich=rich) for side in (-1e-9, 1e-9)
            )
            for name, values in below.items():
                np.testing.assert_allclose(values, above[name], atol=1e-7, err_msg=name)
    with pytest.raises(ValueError, match="capacity must be above 1"):
        bottleneck_exponents(1.0, 0.5, rich=False)
    with pytest.raises(ValueError, match="source must be above 0"):
        bottleneck_exponents(1.5, [0.5, 0.0], rich=False)


@pytest.mark.long
def test_a_known_capacity_tells_rich_from_lazy_and_changes_the_plan() -> None:
    step, width = (
        item.ravel() for item in np.meshgrid(np.geomspace(10, 1e4, 9), np.geomspace(16, 1024, 7))
    )
    true = {"A": 2.0, "W": 3.0, "alpha": 1.6, "beta": 0.5}
    rng = np.random.default_rng(0)
    loss = laws.bottleneck_rich(step, width, **true) * np.exp(0.01 * rng.standard_normal(63))
    table = pl.DataFrame({"step": step, "width": width, "loss": loss})
    found = {}
    for name in ("lazy", "rich"):
        law = restrict(getattr(laws, f"bottleneck_{name}"), fixed={"alpha": 1.6})
        found[name] = fit(law, table, draws=60, noise=Noise("log", delta=None))
    assert found["rich"].objective < found["lazy"].objective / 3
    low, high = found["rich"].interval("beta")
    assert low < 0.5 < high
    grown = []
    for budget in (1e8, 1e10):
        allocation = plan(found["rich"], budget=budget, cost="width*step").allocation
        grown.append(allocation["width"].value)
    expected = float(bottleneck_exponents(1.6, 0.5, rich=True)["best_width"])
    assert np.log(grown[1] / grown[0]) / np.log(100) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("source", [0.3, 0.9, 1.2, 1.9])
@pytest.mark.parametrize("richness", [0.0, 1.0])
def test_the_theory_has_the_same_exponents(source: float, richness: float) -> None:
    theory = FeatureLearning(capacity=1.7, source=source, richness=richness).exponents()
    law = bottleneck_exponents(1.7, source, rich=richness > 0, batches=False)
    same = {"time": "time", "width": "width", "data": "data", "compute": "compute"}
    same |= {"best_width": "compute_width", "best_time": "compute_time"}
    for name, there in same.items():
        assert float(law[name]) == pytest.approx(theory[there], rel=1e-12), name


GRID = {"time": np.geomspace(100, 1e5, 10), "width": np.round(np.geomspace(30, 2000, 7))}


@pytest.mark.parametrize(
    ("capacity", "source", "richness"),
    [
        pytest.param(2.0, 0.5, 10.0, marks=pytest.mark.slow),
        (2.0, 0.5, 0.0),
        pytest.param(1.5, 0.5, 0.0, marks=pytest.mark.slow),
        pytest.param(1.6, 0.3, 0.0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_the_theory_s_hard_curves_give_their_capacity_back(
    capacity: float, source: float, richness: float
) -> None:
    """Noise-free: with a free transient and a sum of terms alpha came out as 0.98 for 2."""
    model = FeatureLearning(capacity=capacity, source=source, richness=richness)
    table = model.solve(GRID).rename({"time": "step"}).select("step", "width", "loss")
    name = "bottleneck_rich" if richness else "bottleneck_lazy"
    found = fit(getattr(laws, name), table, draws=0)
    assert found.status == "converged"
    assert found.params["alpha"] == pytest.approx(capacity, rel=0.05)
    assert found.params["beta"] == pytest.approx(source, rel=0.05)
    ratio = found.predict(table)["predicted"].to_numpy() / table["loss"].to_numpy()
    assert np.abs(np.log(ratio)).max() < 0.13


def test_hard_laws_have_no_transient_and_easy_ones_do() -> None:
    known = laws.catalogue()
    for kind in ("", "_data", "_batch"):
        assert "T" in known[f"bottleneck{kind}_easy"].params
        for name in (f"bottleneck{kind}_lazy", f"bottleneck{kind}_rich"):
            assert "T" not in known[name].params
    values = {"A": 1.3, "W": 0.7, "alpha": 1.6}
    easy = laws.bottleneck_easy(50.0, 30.0, **values, T=0.0, beta=1.4)
    for name in ("lazy", "rich"):  # at beta = 1 and beyond, the sum
        law = getattr(laws, f"bottleneck_{name}")
        assert float(law(50.0, 30.0, **values, beta=1.4)) == pytest.approx(float(easy), rel=1e-12)
        near = [float(law(50.0, 30.0, **values, beta=b)) for b in (1 - 1e-9, 1 + 1e-9)]
        assert near[0] == pytest.approx(near[1], rel=1e-6)
