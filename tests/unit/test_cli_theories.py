"""kleiber solve, simulate and reduce: how text becomes a grid and parameters, and what is refused.

The theory is made up: loss = height * n_data**-slope, with noise of a known size.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from kleiber import reduce, theory
from kleiber.claim import Estimate, estimate
from kleiber.cli import main
from kleiber.cli.words import read_grid, read_value
from kleiber.errors import BadTable, nearest
from kleiber.reports.overlay import overlay
from kleiber.table import read_table


@dataclass(frozen=True)
class MadeUp:
    """A power law that can be solved and simulated."""

    slope: float = 0.5
    height: float = 10.0
    kind: Literal["round", "square"] = "round"
    members: int = 3

    def solve(self, grid: Any) -> pl.DataFrame:
        columns = {name: np.asarray(values, float) for name, values in grid.items()}
        unknown = [name for name in columns if name not in ("n_data", "k")]
        if unknown:
            known = ("n_data", "k")
            raise BadTable(f"made_up has no column {unknown[0]!r}.{nearest(unknown[0], known)}")
        crossed = np.meshgrid(*columns.values(), indexing="ij")
        table = {name: part.ravel() for name, part in zip(columns, crossed, strict=True)}
        loss = self.height * table["n_data"] ** -self.slope
        return pl.DataFrame(table | {"loss": loss, "error": loss / table.get("k", 1.0)})

    def simulate(self, grid: Any, *, seeds: int = 8, seed: int = 0) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        frame = self.solve(grid)
        parts: list[pl.DataFrame] = []
        for each in range(seed, seed + seeds):
            factor = np.exp(0.1 * rng.standard_normal(frame.height))
            noisy = frame.with_columns(loss=frame["loss"] * factor, error=frame["error"] * factor)
            parts.append(noisy.with_columns(seed=pl.lit(each)))
        return pl.concat(parts)

    def exponents(self) -> dict[str, float]:
        return {"loss": self.slope}


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line, which knows the theory made_up besides the real ones."""
    real = theory.find
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(theory, "find", lambda name: MadeUp if name == "made_up" else real(name))

    def call(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Said(left.value.code, said.out, said.err)

    return call


def test_solve_writes_the_crossed_grid(run: Run, tmp_path: Path) -> None:
    over = ("--over", "n_data=10:1000:3", "--over", "k=1,2")
    said = run("solve", "made_up", "--set", "slope=1", *over, "-o", tmp_path / "theory.csv")
    assert (said.code, said.out) == (0, "")
    table = read_table(tmp_path / "theory.csv")
    assert table["n_data"].to_list() == [10, 10, 100, 100, 1000, 1000]
    assert np.allclose(table["error"], 10 / table["n_data"] / table["k"])


def test_solve_prints_one_document(run: Run) -> None:
    said = run("solve", "made_up", "--over", "n_data=100", "--json")
    assert json.loads(said.out) == [{"n_data": 100.0, "loss": 1.0, "error": 1.0}]
    assert said.err == ""


def test_solve_gives_the_frontier_and_the_learned_fractions(run: Run) -> None:
    settings = ("--set", "source=0.7", "--set", "richness=1")
    made = theory.FeatureLearning(source=0.7, richness=1.0)
    said = run("solve", "feature_learning", *settings, "--frontier", "compute=1e3,1e5", "--json")
    assert json.loads(said.out) == made.frontier([1e3, 1e5]).to_dicts()
    over = ("--over", "time=10", "--over", "mode=1:100:3")
    said = run("solve", "feature_learning", *settings, *over, "--json")
    shares = [row["learned"] for row in json.loads(said.out)]
    assert np.allclose(shares, made.learned(10.0, [1, 10, 100])[0])


def test_simulate_has_its_seeds(run: Run, tmp_path: Path) -> None:
    words = ("simulate", "made_up", "--over", "n_data=10:100:5", "--seeds", "4", "--seed", "7")
    assert run(*words, "-o", tmp_path / "one.parquet").code == 0
    assert run(*words, "-o", tmp_path / "two.parquet").code == 0
    table = read_table(tmp_path / "one.parquet")
    assert table["seed"].unique().sort().to_list() == [7, 8, 9, 10]
    assert table.equals(read_table(tmp_path / "two.parquet"))


@pytest.mark.parametrize("command", ["solve", "simulate"])
def test_the_plot_is_drawn(run: Run, tmp_path: Path, command: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "out.svg"
    over = ("--over", "n_data=10:1000:4", "--over", "k=1,10")
    assert run(command, "made_up", *over, "--plot", path, "--set", "height=3").code == 0
    first = path.read_bytes()
    assert 5_000 < len(first) < 150_000
    assert run(command, "made_up", *over, "--plot", path, "--set", "height=3").code == 0
    assert path.read_bytes() == first


OVER = ("--over", "n_data=1,2")
FRONTIER = ("solve", "feature_learning", "--frontier")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*FRONTIER, "flops=1e3"), "--frontier takes compute=LOW:HIGH:POINTS or compute=A,B,..."),
        ((*FRONTIER, "compute"), "--frontier takes COLUMN=LOW:HIGH:POINTS"),
        ((*FRONTIER, "compute=1e3", "--over", "time=1"), "takes the place of --over"),
        ((*FRONTIER, "compute=1e3", "--solver", "dmft"), "takes the place of --solver"),
        ((*FRONTIER, "compute=1e9", "--set", "modes=50"), "modes=50 is below 1e-07 of the loss"),
        (("solve", "made_up", "--frontier", "compute=1"), "made_up has no compute frontier"),
        (("solve", "hard_tale", *OVER), "Did you mean 'hard_tail'?"),
        (("solve", "made_up"), "Give the grid, e.g. --over"),
        (("solve", "made_up", *OVER, "--set", "slop=1"), "Did you mean 'slope'?"),
        (("solve", "made_up", *OVER, "--set", "slope=steep"), "slope takes a number, got 'steep'"),
        (("solve", "made_up", *OVER, "--set", "members=2.5"), "takes a whole number, got '2.5'"),
        (("solve", "made_up", *OVER, "--set", "kind=rounds"), "Did you mean 'round'?"),
        (("solve", "made_up", *OVER, "--set", "slope"), "--set takes NAME=VALUE"),
        (("solve", "made_up", "--over", "n_dat=1,2"), "Did you mean 'n_data'?"),
        (("solve", "made_up", "--over", "n_data=1.5,2"), "counts examples, so it is whole"),
        (("solve", "made_up", "--over", "n_data=1:10"), "takes COLUMN=LOW:HIGH:POINTS"),
        (("solve", "made_up", "--over", "n_data=10:1:5"), "needs 0 < LOW <= HIGH"),
        (("solve", "made_up", "--over", "n_data=0:1:5"), "needs 0 < LOW <= HIGH"),
        (("solve", "made_up", *OVER, *OVER), "--over names 'n_data' twice"),
        (("solve", "made_up", "--over", "n_data=1,x"), "n_data takes a number, got 'x'"),
        (("solve", "made_up", *OVER, "--plot", "out.gif"), "a figure is a .svg, .png or .pdf"),
        (("solve", "made_up", *OVER, "--plot", "o.svg", "--columns", "los"), "mean 'loss'?"),
        (("simulate", "made_up", *OVER, "-o", "nowhere/at/all.csv"), "there is no folder"),
        (("simulate", "made_up", *OVER, "-o", "x.xyz"), "the unknown suffix '.xyz'"),
        (("solve", "made_up", *OVER, "--plot", "ok.svg", "-o", "bad.svg"), "suffix '.svg'"),
        (("reduce", "average", "x.csv", "-o", "c.xyz"), "the unknown suffix '.xyz'"),
        (("simulate", "made_up", *OVER, "--centre", "medium"), "Did you mean 'median'?"),
        (("reduce", "avrage", "x.csv"), "Did you mean 'average'?"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    run: Run, words: Sequence[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert sentence in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_grid_is_spaced_by_logarithms_and_whole_where_it_counts() -> None:
    grid = read_grid(["n_data=1:1000:40", "rho=0.1:10:3", "k=5,1"])
    assert grid["n_data"].tolist() == sorted({*np.round(np.geomspace(1, 1000, 40)).tolist()})
    assert np.allclose(grid["rho"], [0.1, 1, 10])
    assert grid["k"].tolist() == [5, 1]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("1e3", int, 1000),
        ("none", float | None, None),
        ("0.5", float | None, 0.5),
        ("gamma", float | str, "gamma"),
        ("2", float | str, 2.0),
        ("a", str | Sequence[str] | None, "a"),
        ("a,b", str | Sequence[str] | None, ["a", "b"]),
        ("1,10", Sequence[float], [1.0, 10.0]),
        ("7", Sequence[int], [7]),
        ("yes", bool, True),
        ("1,2", Any, [1.0, 2.0]),
        ("x,y", Any, "x,y"),
    ],
)
def test_text_is_read_by_type(text: str, hint: Any, value: Any) -> None:
    assert read_value(text, hint, "it") == value


def halve(table: pl.DataFrame, of: str, *, times: int = 1, name: str | None = None) -> pl.DataFrame:
    return table.select((pl.col(of) / 2**times).alias(name or of))


def mean_of(table: pl.DataFrame, *, of: str = "loss") -> dict[str, Estimate]:
    values = table[of].to_numpy()
    return {of: estimate(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))}


@pytest.fixture
def reductions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A table file, and reductions of our own."""
    monkeypatch.setattr(reduce, "find", {"halve": halve, "mean": mean_of}.__getitem__)
    pl.DataFrame({"loss": [1.0, 3.0], "L": [8.0, 4.0]}).write_csv(tmp_path / "in.csv")
    return tmp_path


def test_reduce_hands_options_over_by_type(run: Run, reductions: Path) -> None:
    table, out = reductions / "in.csv", reductions / "out.csv"
    said = run("reduce", "halve", table, "-o", out, "--of", "error", "--times", "2",
               "--name=less", "--rename", "error=L")  # fmt: skip
    assert said.code == 0, said.err
    assert read_table(out)["less"].to_list() == [2.0, 1.0]


def test_named_estimates_become_rows(run: Run, reductions: Path) -> None:
    said = run("reduce", "mean", reductions / "in.csv", "--json")
    (row,) = json.loads(said.out)
    assert (row["name"], row["value"], row["stderr"]) == ("loss", 2.0, 1.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "halve needs --of VALUE"),
        (("--off", "loss"), "Did you mean 'of'?"),
        (("--of",), "--of needs a value"),
        (("--of", "loss", "--times", "x"), "times takes a number, got 'x'"),
        (("--of", "loss", "--of", "L"), "--of is given twice"),
        (("loss",), "Options of a reduction are --NAME VALUE"),
    ],
)
def test_reduce_refuses_in_one_sentence(
    run: Run, reductions: Path, options: Sequence[str], sentence: str
) -> None:
    said = run("reduce", "halve", reductions / "in.csv", *options)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert sentence in said.err


def test_every_reduction_on_offer_is_there() -> None:
    for name, function in reduce.reducers().items():
        assert function.__doc__, name


def test_points_are_means_or_medians_with_their_errors() -> None:
    values = np.exp(np.arange(9.0))
    table = pl.DataFrame({"n_data": [10.0] * 9, "loss": values, "seed": range(9)})
    (pane,) = overlay(None, table, x="n_data", centre="median").panes
    (points,) = pane.points
    assert points.y.tolist() == [values[4]]
    assert (points.low[0], points.high[0]) == (values[1], values[7])  # ranks 2 and 8 of 9: 96.1%
    (points,) = overlay(None, table, x="n_data").panes[0].points
    assert np.isclose(points.high[0] - points.y[0], 2 * values.std(ddof=1) / 3)


def test_an_overlay_needs_something_to_show() -> None:
    table = pl.DataFrame({"n_data": [10.0, 20.0], "seed": [0, 1]})
    with pytest.raises(BadTable, match=r"^No column is left .*\.$"):
        overlay(table, None, x="n_data")
    with pytest.raises(BadTable, match="'n_dat'"):
        overlay(table, None, x="n_dat")


def test_exponents_are_those_of_the_theory(run: Run) -> None:
    said = run("exponents", "made_up", "--set", "slope=0.7", "--json")
    expected = {
        "theory": "made_up",
        "phase": None,
        "crossover": None,
        "exponents": {"loss": 0.7},
    }
    assert (said.code, json.loads(said.out)) == (0, expected)


def test_exponents_tell_the_phase(run: Run) -> None:
    words = ("exponents", "feature_learning", "--set", "source=0.5", "--set", "richness=1")
    rich = theory.FeatureLearning(source=0.5, richness=1.0)
    document = json.loads(run(*words, "--json").out)
    assert document["phase"] == rich.phase == "hard, rich"
    assert document["crossover"] == rich.crossover()
    assert document["exponents"] == rich.exponents()
    shown = run(*words).out
    assert "hard, rich" in shown
    assert "0.666667" in shown


def test_exponents_take_the_limit_at_which_they_hold(run: Run) -> None:
    document = json.loads(
        run("exponents", "hard_tail", "--set", "precision=fixed", "--set", "rho=0.5", "--json").out
    )
    assert document["exponents"]["intrinsic"] == "inf"
    assert document["exponents"]["bias"] == 4.0


def test_a_solver_is_chosen_and_sizes_may_be_infinite(run: Run) -> None:
    over = ("--over", "time=10,100", "--over", "width=100,inf")
    said = run("solve", "feature_learning", "--solver", "limits", *over, "--json")
    grid = {"time": [10.0, 100.0], "width": [100.0, np.inf]}
    expected = theory.FeatureLearning().solve(grid, solver="limits")
    assert [row["loss"] for row in json.loads(said.out)] == expected["loss"].to_list()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("solve", "made_up", *OVER, "--solver", "dmft"), "has a single solver"),
        (("solve", "feature_learning", "--over", "time=1,9", "--solver", "dmf"), "mean 'dmft'?"),
        (("exponents", "made_up", "--set", "slop=1"), "Did you mean 'slope'?"),
        (("exponents", "hard_tial"), "Did you mean 'hard_tail'?"),
    ],
)
def test_an_unknown_solver_or_parameter_is_refused(
    run: Run, words: Sequence[str], sentence: str
) -> None:
    said = run(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert sentence in said.err
