"""isoFLOP parabolas: planted optima, budgets that have none, intervals, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kleiber
from kleiber import BadTable
from kleiber.cli import main
from kleiber.reduce import isoflop

# An exact parabola in log N about N* = .1 C^.5 for each budget.
FACTORS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])


def planted(
    budgets: tuple[float, ...] = (1e18, 1e19, 1e20), noise: float = 0.0, seed: int = 0
) -> pl.DataFrame:
    c = np.repeat(budgets, len(FACTORS))
    best = 0.1 * c**0.5
    n = best * np.tile(FACTORS, len(budgets))
    loss = 30 * c**-0.05 + 0.1 * np.log(n / best) ** 2
    loss *= 1 + noise * np.random.default_rng(seed).standard_normal(len(c))
    return pl.DataFrame({"flops": c, "n_params": n, "loss": loss})


def test_optima_and_exponent_of_exact_parabolas() -> None:
    made = isoflop(planted())
    np.testing.assert_allclose(made.table["n_params"], 0.1 * np.array([1e18, 1e19, 1e20]) ** 0.5)
    np.testing.assert_allclose(
        made.table["n_tokens"], made.table["flops"] / 6 / made.table["n_params"]
    )
    np.testing.assert_allclose(made.table["loss"], 30 * made.table["flops"].to_numpy() ** -0.05)
    assert made.exponent.value == pytest.approx(0.5)
    assert made.token_exponent.value == pytest.approx(0.5)
    assert list(made.without.values()) == pytest.approx([0.5] * 3)
    assert any("flops/(6 n_params)" in note for note in made.notes)


def chinchilla_ladder() -> pl.DataFrame:
    """Three budgets about the closed-form optima 8.44e7, 2.76e8, 9e8 with exponent .514."""
    c = np.repeat([1e18, 1e19, 1e20], 7)
    ratio = (0.35 * 480 / (0.37 * 2100)) ** (1 / 0.72)
    n = ratio * (c / 6) ** (0.37 / 0.72) * np.tile(5 ** np.linspace(-1, 1, 7), 3)
    d = c / 6 / n
    return pl.DataFrame(
        {"flops": c, "n_params": n, "n_tokens": d, "loss": 1.8 + 480 / n**0.35 + 2100 / d**0.37}
    )


def test_a_planted_law_gives_its_closed_form() -> None:
    made = isoflop(chinchilla_ladder())
    assert made.exponent.low < 0.37 / 0.72 < made.exponent.high
    assert made.exponent.value == pytest.approx(0.37 / 0.72, abs=2e-3)
    assert made.token_exponent.value == pytest.approx(0.35 / 0.72, abs=2e-3)


def test_budgets_without_an_interior_minimum_are_named_with_their_reason() -> None:
    table = planted((1e17, 1e18, 1e19, 1e20, 1e21))
    best = 0.1 * table["flops"] ** 0.5
    ratio = table["n_params"] / best
    flipped = (table["flops"] == 1e21).to_numpy()
    table = table.with_columns(
        loss=pl.Series(
            np.where(flipped, 5 - 0.1 * np.log(ratio) ** 2 + 0.01 * ratio, table["loss"])
        )
    )
    cut = table.filter(~((pl.col("flops") == 1e17) & (ratio > 1.1)) | (pl.col("flops") != 1e17))
    cut = cut.filter(~((pl.col("flops") == 1e20) & (pl.col("n_params") > 1.5e9)))
    made = isoflop(cut)
    why = dict(made.table.select("flops", "why").rows())
    assert why[1e17].startswith("3 sizes")
    assert why[1e21] == "the parabola has no minimum (it is not convex)"
    assert why[1e20].startswith("3 sizes")
    assert made.table.filter(pl.col("flops") == 1e21)["n_params"][0] is None
    assert sum("has no optimum" in note for note in made.notes) == 3
    assert any("two budgets" in note for note in made.notes)


def test_a_minimum_at_an_edge_is_refused() -> None:
    rising = planted().with_columns(loss=3 + 0.1 * (pl.col("n_params") / 1e7).log() ** 2)
    made = isoflop(rising.filter(pl.col("n_params") > 1.5e7))
    assert "smallest size" in made.table["why"][1]
    assert np.isnan(made.exponent.value)
    assert made.table["n_params"][1:].null_count() == 2


def test_budgets_that_nearly_agree_are_one_and_a_chain_is_refused() -> None:
    logged = planted().with_columns(
        flops=pl.col("flops") * (1 + 0.004 * (pl.int_range(pl.len()) % 5))
    )
    made = isoflop(logged)
    assert made.table["runs"].to_list() == [5, 5, 5]
    assert any("count as one budget" in note for note in made.notes)
    chain = pl.DataFrame({"flops": 1e18 * 1.04 ** np.arange(30), "n_params": 1e7, "loss": 3.0})
    with pytest.raises(BadTable, match="run into one another"):
        isoflop(chain)


def test_scatter_beyond_the_noise_widens_the_interval_and_is_said() -> None:
    budgets = (1e18, 1e19, 1e20, 1e21)
    table = planted(budgets, noise=1e-4)
    still = isoflop(table)
    moved = dict(zip(budgets, (1.0, 1.4, 0.8, 1.1), strict=True))
    off = table.with_columns(
        n_params=pl.col("n_params") * pl.col("flops").replace_strict(moved, return_dtype=pl.Float64)
    )
    made = isoflop(off)
    assert not any("scatter" in note for note in still.notes)
    assert any("scatter" in note for note in made.notes)
    assert made.exponent.stderr > 10 * still.exponent.stderr


def test_four_sizes_fitted_exactly_have_no_interval_from_nothing() -> None:
    made = isoflop(planted((1e18, 1e19), noise=1e-3))
    assert np.isfinite(made.exponent.low)
    one = isoflop(planted((1e18,), noise=1e-3))
    assert np.isnan(one.exponent.value)
    assert "needs two budgets" in one.notes[-1]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    found = [isoflop(planted(noise=2e-3, seed=k), draws=100, seed=k).exponent for k in range(120)]
    held = sum(item.low < 0.5 < item.high for item in found)
    assert 106 <= held <= 119


def test_sizes_too_far_apart_for_a_parabola_are_said() -> None:
    table = planted(noise=1e-4)
    u = (table["n_params"] / (0.1 * table["flops"] ** 0.5)).log()
    bent = table.with_columns(loss=pl.col("loss") + 0.02 * u**3)
    assert not any("cubic term is real" in note for note in isoflop(table).notes)
    assert any("cubic term is real" in note for note in isoflop(bent).notes)


def test_the_same_seed_gives_the_same_interval() -> None:
    table = planted(noise=1e-3)
    assert isoflop(table, seed=3).exponent == isoflop(table, seed=3).exponent
    assert isoflop(table, seed=3).exponent != isoflop(table, seed=4).exponent


def test_a_wrong_call_is_refused() -> None:
    with pytest.raises(BadTable, match="flops"):
        isoflop(planted().drop("flops"))
    with pytest.raises(BadTable, match="tolerance"):
        isoflop(planted(), tolerance=2)


def test_the_command_writes_prints_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(*words: str | Path) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["kleiber", "reduce", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code

    table, out = tmp_path / "runs.csv", tmp_path / "out.csv"
    chinchilla_ladder().write_csv(table)
    assert code("isoflop", table, "--json", "--plot", tmp_path / "p.png") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["exponent"]["value"] == pytest.approx(0.514, abs=2e-3)
    assert len(document["budgets"]) == 3
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert code("isoflop", table, "-o", out) == 0
    assert "N* ~ C^0.51" in capsys.readouterr().out
    assert kleiber.read_table(out).height == 3
    assert code("average", table, "--plot", tmp_path / "q.png") == 2
    assert "has no figure" in capsys.readouterr().err
