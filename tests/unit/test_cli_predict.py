"""kleiber predict, and kleiber fit --group: what they print where, and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from kleiber import fit, load, predict, read_table, save
from kleiber.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "runs.csv"


class Said(NamedTuple):
    """How a command ended, and what it said where."""

    code: Any
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Said(ended.value.code, out, err)

    return call


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of the example table, saved once."""
    path = tmp_path_factory.mktemp("saved") / "fit.json"
    save(fit("chinchilla", read_table(EXAMPLE), draws=50), path)
    return path


def test_one_run(run: Run, saved: Path) -> None:
    words = ("predict", saved, "--at", "n_params=512", "--at", "n_tokens=1e5", "--level", "0.9")
    row = predict(load(saved), {"n_params": [512], "n_tokens": [1e5]}, level=0.9).table.row(
        0, named=True
    )
    said = run(*words, "--json")
    assert (said.code, said.err) == (0, "")
    document = json.loads(said.out)
    assert document["level"] == 0.9
    (made,) = document["rows"]
    assert made["predicted"] == {
        "value": row["predicted"], "low": row["low"], "high": row["high"],
    }  # fmt: skip
    assert made["new_measurement"] == {"low": row["new_low"], "high": row["new_high"]}
    assert made["extrapolations"] == {"n_params": 2.0, "n_tokens": 2.0}
    assert made["extrapolation"] == 4.0
    shown = run(*words)
    assert shown.code == 0
    assert f"{row['predicted']:.6g}" in shown.out
    assert f"[{row['new_low']:.4g}, {row['new_high']:.4g}]" in shown.out
    assert "A new measurement is one further row" in shown.out


def test_several_values_are_crossed(run: Run, saved: Path) -> None:
    said = run("predict", saved, "--at", "n_tokens=1e4,1e5", "--at", "n_params=8,16,32", "--json")
    at = [row["at"] for row in json.loads(said.out)["rows"]]
    assert [(x["n_params"], x["n_tokens"]) for x in at] == [
        (n, d) for n in (8, 16, 32) for d in (1e4, 1e5)
    ]


def test_a_table_of_runs(run: Run, saved: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("Size,n_tokens,name\n512,1e5,big\n8,500,small\n")
    words = ("predict", saved, "--table", rows, "--rename", "n_params=Size")
    assert run(*words, "-o", "out.csv").code == 0
    table = pl.read_csv(tmp_path / "out.csv")
    assert table["name"].to_list() == ["big", "small"]
    wanted = predict(load(saved), {"n_params": [512, 8], "n_tokens": [1e5, 500]}).table
    assert table["new_high"].to_list() == wanted["new_high"].to_list()
    said = run(*words, "-o", "out.json", "--json")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(said.out)
    fewer = run(*words, "--where", "name = 'big'", "--json")
    assert len(json.loads(fewer.out)["rows"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Give --at NAME=VALUE for every column of the law, or --table"),
        (("--at", "n_params=8", "--table", "rows.csv"), "and not both"),
        (("--at", "n_params=8"), "The law needs n_tokens too; give --at n_tokens=VALUE."),
        (("--at", "n_params=8", "--at", "n_token=9"), "Did you mean 'n_tokens'?"),
        (("--at", "n_params=7B", "--at", "n_tokens=9"), "--at takes a number, got '7B'"),
        (("--at", "n_params=nan", "--at", "n_tokens=9"), "not finite, nan"),
        (("--at", "n_params=0", "--at", "n_tokens=9"), "not positive, 0"),
        (("--at", "n_params=8", "--at", "n_tokens=9", "--level", "95"), "write 0.95 for 95%"),
        (("--at", "n_params=8", "--at", "n_tokens=9", "-o", "x.xls"), "unknown suffix '.xls'"),
        (("--at", "n_params=8", "--at", "n_tokens=9", "--where", "1=1"), "prepare a --table"),
        (("--table", "gone.csv"), "There is no file 'gone.csv'"),
    ],
)
def test_bad_words(
    words: tuple[str, ...], message: str, run: Run, saved: Path, tmp_path: Path
) -> None:
    said = run("predict", saved, *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("kleiber: ")
    assert message in " ".join(said.err.split())
    assert list(tmp_path.iterdir()) == []


def test_rows_beyond_memory_are_refused(run: Run, saved: Path) -> None:
    many = ",".join(map(str, range(1, 1102)))
    said = run("predict", saved, "--at", f"n_params={many}", "--at", f"n_tokens={many}")
    assert (said.code, said.out) == (2, "")
    assert "more than 1,000,000 rows" in said.err


def test_an_unusable_fit_exits_1(run: Run, saved: Path, tmp_path: Path) -> None:
    document = json.loads(saved.read_text()) | {"status": "flat", "reason": "A and B trade off"}
    (tmp_path / "flat.json").write_text(json.dumps(document))
    said = run("predict", "flat.json", "--at", "n_params=8", "--at", "n_tokens=9", "-o", "x.csv")
    assert (said.code, said.out) == (1, "")
    assert "This fit cannot support a prediction: flat, A and B trade off." in said.err
    assert not (tmp_path / "x.csv").exists()


# One law a group


def grouped(tmp_path: Path) -> Path:
    """The example by size, with a size that has one run only."""
    table = read_table(EXAMPLE, derive={"n_data": "1*n_tokens"})
    one = table.head(1).with_columns(n_params=pl.lit(4, pl.Int64))
    path = tmp_path / "sizes.csv"
    pl.concat([table.filter(pl.col("n_params") < 64), one]).write_csv(path)
    return path


def test_a_law_for_each_group(run: Run, tmp_path: Path) -> None:
    words = ("fit", "power_law", grouped(tmp_path), "--group", "n_params", "--draws", "20")
    said = run(*words, "-o", "fits.json")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0].startswith("power_law  loss = A*n_data**-alpha")
    assert [line.split()[0] for line in lines[3:7]] == ["4", "8", "16", "32"]
    assert "n_params = 4: too_few_points: " in said.out
    one = load(tmp_path / "fits.json", group=8)
    assert f"{one.params['A']:.4g} [" in lines[4]
    document = json.loads(run(*words, "--json").out)
    assert document["group"] == "n_params"
    assert [item["value"] for item in document["groups"]] == [4, 8, 16, 32]
    assert document["groups"][1]["params"]["A"]["value"] == one.params["A"]
    good = run(*words, "--where", "n_params > 4")
    assert good.code == 0
    refused = run("plan", "fits.json", "--budget", "1e9")
    assert refused.code == 2
    assert "holds one fit for each value of 'n_params': 4, 8, 16, 32." in refused.err


def test_many_parameters_take_a_line_each(run: Run, tmp_path: Path) -> None:
    said = run("fit", "chinchilla", EXAMPLE, "--group", "seed", "--draws", "0")
    shown = [line.split() for line in said.out.splitlines()[3:8]]
    assert [words[0] for words in shown] == ["0", "A", "B", "alpha", "beta"]
    assert shown[0][1:3] == ["30", "E"]


def test_a_figure_is_of_one_fit(run: Run, tmp_path: Path) -> None:
    said = run("fit", "chinchilla", EXAMPLE, "--group", "seed", "--plot", "fit.svg")
    assert (said.code, said.out) == (2, "")
    assert "--plot draws one fit" in said.err
