"""The runs of the lottery tickets: named settings, kept nets, the losses read from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kleiber.claim import Context
from kleiber.experiment import Adam
from kleiber.systems.lottery_tickets.claims.runs import at_step, final, losses, nets
from kleiber.systems.lottery_tickets.claims.settings import (
    SETTINGS,
    Setting,
    checkpoint_steps,
    experiment_of,
    find,
    sine,
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a setting of a few steps."""
    chosen = dict(SETTINGS) | {"short": Setting(steps=200, quick=((4, 3), (8, 3)))}
    monkeypatch.setattr("kleiber.systems.lottery_tickets.claims.settings.SETTINGS", chosen)
    return "short"


def test_a_net_puts_out_what_was_measured(short: str) -> None:
    found = nets(Context(), short, 8)
    assert found.w.shape == found.b.shape == found.v.shape == (3, 8)
    assert found.c.shape == found.losses.shape == found.seeds.shape == (3,)
    assert found.predictions.shape == (3, found.target.size)
    own = ((found.predict(found.x) - found.target) ** 2).mean(1)
    assert np.allclose(own, found.losses, rtol=1e-4)
    assert found.diverged == 0


def test_nets_are_kept_with_their_table_and_not_trained_again(short: str, tmp_path: Path) -> None:
    context = Context(scale="laptop", keep=tmp_path)
    before = nets(context, short, 4, seeds=2)
    assert len(list((tmp_path / "tickets").glob("*.parquet"))) == 1
    file = next((tmp_path / "tickets" / "nets").glob("*.npz"))
    written = file.stat().st_mtime_ns
    again = nets(Context(scale="laptop", keep=tmp_path), short, 4, seeds=2)
    assert file.stat().st_mtime_ns == written
    assert (again.v == before.v).all()
    assert (again.losses == before.losses).all()
    file.unlink()  # a table whose nets are lost
    third = nets(Context(scale="laptop", keep=tmp_path), short, 4, seeds=2)
    assert (third.v == before.v).all()


def test_final_is_the_median_of_the_last_hundredth(short: str) -> None:
    table = losses(Context(), short, [4])
    last = table.filter((pl.col("step") >= 198) & (pl.col("seed") == 1))
    assert final(table).filter(pl.col("seed") == 1)["loss"][0] == last["loss"].median()
    assert at_step(table, 199)["step"].unique().to_list() == [199]
    assert final(table)["width"].to_list() == [4, 4, 4]


def test_the_context_decides_seeds_and_their_number() -> None:
    first, other = (experiment_of(Context(seed=s), "silu", 16) for s in (0, 1))
    assert len(first.seeds) == len(other.seeds)
    assert not set(first.seeds) & set(other.seeds)
    laptop = Context(scale="laptop")
    counts = [find("silu").seeds(laptop, n) for n in find("silu").widths(laptop)]
    assert (counts[0], counts[-1]) == (1000, 8)
    assert counts == sorted(counts, reverse=True)
    assert find("silu").seeds(Context(scale="full"), 1024) == 1000


def test_the_rate_of_the_control_falls_with_the_width() -> None:
    for width in (8, 64):
        optimiser = experiment_of(Context(), "rate 8e-3/N", width).optimiser
        assert isinstance(optimiser, Adam)
        assert optimiser.rate == pytest.approx(8e-3 / width)


def test_every_setting_makes_experiments_of_its_own() -> None:
    assert len({experiment_of(Context(), name, 64).key() for name in SETTINGS}) == len(SETTINGS)
    assert checkpoint_steps(40_000)[-5:] == (39_600, 39_700, 39_800, 39_900, 40_000)


def test_the_sine_is_one() -> None:
    from kleiber.formula import evaluate, parse

    x = np.linspace(-2, 2, 201)
    assert np.allclose(evaluate(parse(sine()), {"x": x}), np.sin(np.pi * x), atol=1e-10)


def test_an_unknown_setting_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="Did you mean 'relu'"):
        find("rellu")
