"""What a change is worth: known multipliers, pairs, ratios, refusals, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber.errors import BadTable
from kleiber.forecasting.families import families
from kleiber.forecasting.multiplier import Multiplied
from kleiber.forecasting.systems import DIFFERENCE, MEAN, OTHER, Runs, join_systems

COMPUTE = np.geomspace(1e18, 1e20, 8)
AT = 1e21


def loss(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return 1.8 + 480 * n**-0.34 + 2080 * d**-0.36


def runs(multiplier: float, noise: float = 0.0, seed: int = 0, ratio: float = 20.0) -> pl.DataFrame:
    n = np.sqrt(COMPUTE / 6 / ratio)
    d, root = ratio * n, np.sqrt(multiplier)
    y = loss(root * n, root * d)
    y *= np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pl.DataFrame({"n_params": n, "n_tokens": d, "loss": y})


@pytest.mark.parametrize("multiplier", [0.8, 1.0, 1.5])
def test_a_planted_multiplier_is_found(multiplier: float) -> None:
    found = kleiber.speedup(runs(1.0), runs(multiplier), at=AT)
    assert found.value == pytest.approx(multiplier, rel=0.03)
    assert found.low < multiplier < found.high
    assert found.pairs == len(COMPUTE)
    assert found.beyond == pytest.approx(10.0)
    assert found.ratio == pytest.approx(20.0)


def test_compute_alone_gives_the_same_answer() -> None:
    tables = [runs(m, 0.002, seed) for seed, m in enumerate((1.0, 1.3))]
    alone = [t.select("loss", flops=6 * pl.col("n_params") * pl.col("n_tokens")) for t in tables]
    both, flops = kleiber.speedup(*tables, at=AT), kleiber.speedup(*alone, at=AT)
    assert both.value == pytest.approx(flops.value, rel=1e-6)
    assert flops.ratio is None


def test_systems_change_places() -> None:
    tables = [runs(m, 0.002, seed) for seed, m in enumerate((1.0, 1.3))]
    one, other = kleiber.speedup(*tables, at=1e20), kleiber.speedup(*tables[::-1], at=1e20)
    assert one.value * other.value == pytest.approx(1.0, rel=0.02)
    assert (one.verdict, other.verdict) == ("better", "worse")


def test_noise_that_pairs_share_cancels() -> None:
    widths: list[float] = []
    for shared in (False, True):
        tables = [runs(1.0, 0.01, 5), runs(1.3, 0.01, 5 if shared else 6)]
        found = kleiber.speedup(*tables, at=1e20)
        widths.append(np.log(found.high / found.low))
    assert widths[1] < 0.7 * widths[0]


def test_evaluations_of_a_run_are_no_further_runs() -> None:
    tables = [runs(m, 0.003, seed) for seed, m in enumerate((1.0, 1.3))]
    named = [t.with_columns(run=pl.int_range(pl.len()).cast(pl.String)) for t in tables]
    repeated = [pl.concat([t] * 20) for t in named]
    one, many = kleiber.speedup(*named, at=AT), kleiber.speedup(*repeated, at=AT)
    assert many.low == pytest.approx(one.low, rel=1e-6)
    assert many.high == pytest.approx(one.high, rel=1e-6)


def test_more_seeds_narrow_the_interval() -> None:
    def ladder(multiplier: float, seeds: range) -> pl.DataFrame:
        return pl.concat([runs(multiplier, 0.01, seed) for seed in seeds])

    few = kleiber.speedup(ladder(1.0, range(1)), ladder(1.3, range(50, 51)), at=1e20)
    many = kleiber.speedup(ladder(1.0, range(16)), ladder(1.3, range(50, 66)), at=1e20)
    assert np.log(many.high / many.low) < 0.7 * np.log(few.high / few.low)


def grid(tokens: float = 1.0) -> pl.DataFrame:
    ratios = (5.0, 20.0, 80.0)
    n, d = zip(
        *((np.sqrt(c / 6 / r), r * np.sqrt(c / 6 / r)) for c in COMPUTE for r in ratios),
        strict=True,
    )
    size, data = np.array(n), np.array(d)
    return pl.DataFrame({"n_params": size, "n_tokens": data, "loss": loss(size, tokens * data)})


def test_a_gain_of_data_depends_on_the_ratio() -> None:
    def truth(ratio: float) -> float:
        steps = np.exp(np.linspace(0, 1.2, 20_001))
        n = np.sqrt(steps * AT / 6 / ratio)
        reached = loss(n[:1], 1.5 * ratio * n[:1])
        return float(np.interp(-reached[0], -loss(n, ratio * n), steps))

    few, many = (kleiber.speedup(grid(), grid(1.5), at=AT, ratio=r) for r in (5.0, 80.0))
    assert few.value == pytest.approx(truth(5.0), rel=0.05)
    assert many.value == pytest.approx(truth(80.0), rel=0.05)
    assert few.value > many.value


def test_the_best_ratio_of_each() -> None:
    tilts = np.exp(np.linspace(-3, 3, 2001))

    def best(compute: np.ndarray, tokens: float) -> np.ndarray:
        n = np.sqrt(compute[:, None] / 6 / 20) / tilts**0.5
        return loss(n, tokens * 20 * n * tilts).min(axis=1)

    steps = np.exp(np.linspace(0, 1, 2001))
    truth = float(np.interp(-best(np.array([AT]), 1.5)[0], -best(steps * AT, 1.0), steps))
    found = kleiber.speedup(grid(), grid(1.5), at=AT, ratio="optimal")
    assert found.value == pytest.approx(truth, rel=0.05)
    assert found.ratio == "optimal"


@pytest.mark.parametrize("columns", [1, 2])
def test_slopes_of_the_joint_law(columns: int) -> None:
    rng = np.random.default_rng(0)
    kinds = (np.array([1.0, 0.0, 0.5, -1.0]), np.array([0.0, 1.0, 0.5, 1.0]))
    for family in families(columns):
        if family.level:
            continue
        model = Multiplied(family, *kinds, np.array([1.0, 0.7, 1.0, 0.5]), 2.0)
        theta = model.centre + 0.2 * rng.standard_normal((2, len(model.centre)))
        z = rng.normal(-1.0, 1.0, (2, 4, columns))
        value, slopes = model.value_with_slopes(theta, z)
        assert value == pytest.approx(model.value(theta, z))
        for k in range(theta.shape[1]):
            step = 1e-5 * (np.arange(theta.shape[1]) == k)
            numeric = (model.value(theta + step, z) - model.value(theta - step, z)) / 2e-5
            assert slopes[..., k] == pytest.approx(numeric, abs=2e-6), (family.name, k)


def test_pairs_and_others() -> None:
    a = Runs(np.log([[1e18], [1e19], [1e20]]), np.array([1.0, 0.9, 0.8]), np.ones(3))
    b = Runs(np.log([[1.01e18], [3e19], [1e20]]), np.array([0.95, 0.8, 0.7]), np.array([1.0, 2, 3]))
    sites = join_systems(a, b)
    assert sorted(sites.kind.tolist()) == sorted([MEAN, DIFFERENCE] * 2 + [OTHER] * 2)
    assert sorted(sites.y[sites.kind == DIFFERENCE]) == pytest.approx([-0.1, -0.05])
    assert sites.count[sites.kind == DIFFERENCE].max() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": -1.0}, "at"),
        ({"at": AT, "ratio": "best"}, "ratio"),
        ({"at": AT, "ratio": -2.0}, "ratio"),
        ({"at": AT, "target": "perplexity"}, "perplexity"),
        ({"at": AT, "level": 2.0}, "level"),
    ],
)
def test_bad_arguments(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kleiber.speedup(runs(1.0), runs(1.3), **change)


def test_few_sizes_are_refused() -> None:
    with pytest.raises(BadTable, match="System B has runs of 3 sizes"):
        kleiber.speedup(runs(1.0), runs(1.3)[:3], at=AT)
    with pytest.raises(BadTable, match="needs the columns n_params and n_tokens, or flops"):
        kleiber.speedup(runs(1.0).drop("n_tokens", "n_params"), runs(1.3), at=AT)


def test_systems_are_ranked() -> None:
    parts = {"old": 1.0, "new": 1.4, "bad": 0.7, "same": 1.0}
    table = pl.concat(
        [runs(m, 0.002, k).with_columns(recipe=pl.lit(n)) for k, (n, m) in enumerate(parts.items())]
    )
    found = kleiber.rank_systems(table, by="recipe", at=AT)
    assert [each.system for each in found] == ["new", "same", "bad"]
    assert [each.verdict for each in found] == ["better", "cannot tell", "worse"]
    few = pl.concat([table, table[:2].with_columns(recipe=pl.lit("few"))])
    last = kleiber.rank_systems(few, by="recipe", at=AT, baseline="new")[-1]
    assert (last.system, last.verdict) == ("few", "refused")
    with pytest.raises(BadTable, match="Did you mean 'old'"):
        kleiber.rank_systems(table, by="recipe", at=AT, baseline="odl")


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kleiber", *words], capture_output=True, text=True, check=False
    )


def test_command(tmp_path: Path) -> None:
    for name, multiplier in (("a", 1.0), ("b", 1.4)):
        runs(multiplier, 0.002).write_csv(tmp_path / f"{name}.csv")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    done = call("speedup", *files, "--at", "1e21", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["low"] < 1.4 < document["high"]
    assert document["verdict"] == "better"
    refused = call("speedup", files[0], "--at", "1e21")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
