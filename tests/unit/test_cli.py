"""The command line: what it prints where, its exit codes, and that bad input writes nothing."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kleiber.cli import COMMANDS, main, make_app
from kleiber.columns import COLUMNS
from kleiber.errors import BadTable
from kleiber.fitting.saved import load
from kleiber.laws import catalogue
from kleiber.planning.cost import costs
from kleiber.planning.plan import plan
from kleiber.reports.grids import figure, span
from kleiber.table import read_table, write_table
from kleiber.text_tables import MAX_LINE
from kleiber.version import __version__

EXAMPLE = Path(__file__).parents[2] / "examples" / "runs.csv"
FIT_KEYS = {
    "law", "formula", "params", "level", "objective", "status", "rows", "target", "seconds",
}  # fmt: skip
FILE_KEYS = {"draws", "ranges", "digest", "version"}
PLAN_KEYS = {"budget", "allocation", "predicted", "extrapolation", "cost"}


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["kleiber", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    return call


@pytest.fixture
def refused(run: Run, tmp_path: Path) -> Callable[..., str]:
    """Call the command line with bad input; its one line on stderr, after checking all else."""

    def call(*words: object) -> str:
        before = sorted(item.name for item in tmp_path.iterdir())
        said = run(*words)
        assert said.code == 2, said
        assert said.out == ""
        assert said.err.startswith("kleiber: ")
        assert said.err.count("\n") == 1
        assert said.err.endswith("\n")
        assert "Traceback" not in said.err
        assert sorted(item.name for item in tmp_path.iterdir()) == before
        return said.err

    return call


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of the example table, saved once."""
    from kleiber.fitting.fit import fit
    from kleiber.fitting.saved import save

    path = tmp_path_factory.mktemp("saved") / "fit.json"
    save(fit("chinchilla", read_table(EXAMPLE), draws=50), path)
    return path


# The main job


def test_the_published_reconstruction(
    run: Run, data_path: Callable[[str], Path], tmp_path: Path
) -> None:
    """Besiroglu et al. 2024 on the points that they kept, and the plan for Gopher's budget."""
    table = data_path("runs/chinchilla_epoch.csv")
    said = run(
        "fit", "chinchilla", table, "--rename", "n_params=N", "--rename", "n_tokens=D",
        "--where", "epoch_kept = true", "--huber", "1e-3", "--json", "-o", "fit.json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    fit = said.document
    assert set(fit) >= FIT_KEYS
    assert (fit["law"], fit["status"], fit["rows"], fit["target"]) == (
        "chinchilla", "converged", 240, "loss",
    )  # fmt: skip
    assert fit["objective"] == pytest.approx(1.018274e-3, abs=5e-10)
    p = {name: item["value"] for name, item in fit["params"].items()}
    optimum = {"E": 1.8172, "A": 477.9, "B": 2143, "alpha": 0.3473, "beta": 0.3672}
    assert p == pytest.approx(optimum, rel=3e-4)
    published = {
        "A": (286, 744), "B": (1042, 5810), "E": (1.769, 1.871), "alpha": (0.317, 0.373),
        "beta": (0.331, 0.415),
    }  # fmt: skip
    for name, ends in published.items():  # 4,000 resamples; ours are 1,000
        item = fit["params"][name]
        near = pytest.approx(ends, abs=0.1 * (ends[1] - ends[0]))
        assert (item["low"], item["high"]) == near, name
        assert item["low"] < item["value"] < item["high"]
        assert 0.15 < item["stderr"] / (ends[1] - ends[0]) < 0.4
    whole = json.loads((tmp_path / "fit.json").read_text())
    assert {key: whole[key] for key in fit} == fit
    assert set(whole) >= FILE_KEYS
    assert len(whole["draws"]["alpha"]) == 1000
    assert whole["version"] == __version__
    kept = pl.read_csv(table).filter(pl.col("epoch_kept"))
    assert whole["ranges"]["n_params"] == [kept["N"].min(), kept["N"].max()]

    said = run("plan", "fit.json", "--budget", "5.76e23", "--cost", "6nd", "--json")
    assert (said.code, said.err) == (0, "")
    made = said.document
    assert set(made) >= PLAN_KEYS
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    n = g * (5.76e23 / 6) ** (p["beta"] / (p["alpha"] + p["beta"]))
    split = {name: item["value"] for name, item in made["allocation"].items()}
    assert split == pytest.approx({"n_params": n, "n_tokens": 5.76e23 / 6 / n}, rel=1e-6)
    for item in (*made["allocation"].values(), made["predicted"]):
        assert item["low"] < item["value"] < item["high"]
    dearest = float((6 * kept["N"] * kept["D"]).to_numpy().max())
    assert made["extrapolation"] == pytest.approx(5.76e23 / dearest, rel=1e-12)
    assert made["cost"] == "6nd"


def test_the_readme_commands(run: Run, tmp_path: Path) -> None:
    said = run("fit", "chinchilla", EXAMPLE, "-o", "fit.json", "--draws", 100)
    assert (said.code, said.err) == (0, "")
    assert "converged: every parameter is determined by the table" in said.out
    said = run("plan", "fit.json", "--budget", "5e8", "--cost", "6nd")
    assert (said.code, said.err) == (0, "")
    assert "dearest measured run" in said.out
    assert [item.name for item in tmp_path.iterdir()] == ["fit.json"]


def test_the_console_script(saved: Path, tmp_path: Path) -> None:
    """The installed command, as a process: output, exit codes, a pipe that closes early."""
    command = shutil.which("kleiber", path=str(Path(sys.executable).parent))
    assert command is not None
    said = subprocess.run(
        [command, "plan", saved, "--budget", "5e8", "--json"], capture_output=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, b"")
    assert set(json.loads(said.stdout)) >= PLAN_KEYS
    said = subprocess.run(
        [command, "fit", "chinchilla", tmp_path / "none.csv"], capture_output=True, check=False
    )
    assert (said.returncode, said.stdout) == (2, b"")
    assert said.stderr.startswith(b"kleiber: There is no file")
    piped = f"{command} list laws | head -n 1; exit ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", piped], capture_output=True, check=False)
    assert said.stdout.count(b"\n") == 1
    assert b"Traceback" not in said.stderr


def test_interrupting_a_long_bootstrap_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while the progress bar runs: exit 130, no traceback, no file."""
    shell, terminal = pty.openpty()
    words = ["fit", "chinchilla", EXAMPLE, "--draws", "100000000", "-o", "fit.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from kleiber.cli import main; main()", *words, "--plot", "x.svg"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while b"refits" not in seen:
        seen += os.read(shell, 1000)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    while True:
        try:
            seen += os.read(shell, 1000)
        except OSError:  # the terminal is gone once it is read to its end
            break
    os.close(shell)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in seen
    assert b"Error" not in seen
    assert list(tmp_path.iterdir()) == []


# Options of fit


def fitted(run: Run, *words: object, law: str = "chinchilla", table: Path = EXAMPLE) -> Any:
    """The document of a fit that must succeed."""
    said = run("fit", law, table, "--draws", 0, "--json", *words)
    assert (said.code, said.err) == (0, ""), said
    return said.document


def values(document: Any) -> dict[str, float]:
    """The fitted parameters of a document."""
    return {name: item["value"] for name, item in document["params"].items()}


@pytest.mark.parametrize(
    ("words", "noise"),
    [
        ([], {"scale": "log", "delta": 1e-3, "dof": None}),
        (["--huber", "0.01"], {"scale": "log", "delta": 0.01, "dof": None}),
        (["--least-squares"], {"scale": "log", "delta": None, "dof": None}),
        (["--student", "4"], {"scale": "log", "delta": None, "dof": 4}),
        (["--least-squares", "--linear"], {"scale": "linear", "delta": None, "dof": None}),
        (["--huber", "0.1", "--linear"], {"scale": "linear", "delta": 0.1, "dof": None}),
    ],
)
def test_noise_models(run: Run, words: list[str], noise: dict[str, Any]) -> None:
    assert fitted(run, *words)["noise"] == noise


def test_held_parameters(run: Run) -> None:
    made = fitted(run, "--fix", "E=0.5", "--tie", "beta=alpha*1.1")
    assert made["params"]["E"] == {"value": 0.5, "low": 0.5, "high": 0.5, "stderr": None}
    ratio = made["params"]["beta"]["value"] / made["params"]["alpha"]["value"]
    assert ratio == pytest.approx(1.1)
    assert made["fixed"] == {"E": 0.5}
    assert made["tied"] == {"beta": "alpha*1.1"}
    said = run("fit", "chinchilla", EXAMPLE, "--draws", 0, "--fix", "E=0.5")
    assert "fixed" in said.out


def test_tables_are_prepared_on_the_way_in(run: Run, tmp_path: Path) -> None:
    table = pl.read_csv(EXAMPLE).rename({"n_params": "Model Size", "loss": "L"})
    table = table.with_columns(flops=6.0 * pl.col("Model Size") * pl.col("n_tokens")).drop(
        "n_tokens"
    )
    table = table.with_columns(pl.when(pl.col("seed") == 2).then(0).otherwise(1).alias("w"))
    table.write_csv("odd.csv")
    prepared = [
        "--rename", "n_params=Model Size", "--rename", "loss=L", "--with",
        "n_tokens=flops/(6*n_params)",
    ]  # fmt: skip
    plain = fitted(run)
    same = fitted(run, *prepared, table=tmp_path / "odd.csv")
    kept = fitted(run, *prepared, "--where", "seed < 2", table=tmp_path / "odd.csv")
    weighed = fitted(run, *prepared, "--weights", "w", table=tmp_path / "odd.csv")
    assert (plain["rows"], same["rows"], kept["rows"], weighed["rows"]) == (90, 90, 60, 90)
    for name, item in plain["params"].items():
        assert same["params"][name]["value"] == pytest.approx(item["value"], rel=1e-4)
        two = kept["params"][name]["value"]
        assert weighed["params"][name]["value"] == pytest.approx(two, rel=1e-3)
    target = fitted(
        run, "--target", "L", "--rename", "n_params=Model Size", *prepared[4:],
        table=tmp_path / "odd.csv",
    )  # fmt: skip
    assert target["target"] == "L"
    assert values(target) == pytest.approx(values(same))


def test_draws_level_groups_and_seed(run: Run) -> None:
    said = run(
        "fit", "chinchilla_tied", EXAMPLE, "--draws", 40, "--level", 0.8, "--by", "seed", "--seed",
        5, "--json",
    )  # fmt: skip
    assert said.code == 0
    made = said.document
    assert (made["level"], made["by"]) == (0.8, "seed")
    assert any("Only 3 groups in 'seed'" in note for note in made["notes"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz"])
def test_every_kind_of_file_gives_the_same_fit(
    run: Run, suffix: str, saved: Path, tmp_path: Path
) -> None:
    write_table(read_table(EXAMPLE), tmp_path / f"runs{suffix}")
    made = fitted(run, table=tmp_path / f"runs{suffix}")
    assert values(made) == pytest.approx(load(saved).params)


def test_a_formula_and_a_law_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from kleiber import Law, positive\n@Law\n"
        "def mine(n_params, n_tokens, *, E=positive(.1, 9), A=positive(1, 9), a=positive(.1, 2)):\n"
        "    return E + A * n_params**-a\n"
    )
    one = fitted(run, law="floor + scale*n_params**-rate")
    two = fitted(run, law=f"{tmp_path}/own.py:mine")
    assert two["params"]["a"]["value"] == pytest.approx(one["params"]["rate"]["value"], rel=1e-4)


def test_a_figure_is_drawn(run: Run, tmp_path: Path) -> None:
    said = run("fit", "chinchilla", EXAMPLE, "--draws", 20, "--plot", "fit.svg", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.document["status"] == "converged"
    text = (tmp_path / "fit.svg").read_text()
    assert text.lstrip().startswith("<?xml")
    assert text.rstrip().endswith("</svg>")


def test_an_unusable_fit_exits_1_and_so_does_its_plan(run: Run, tmp_path: Path) -> None:
    words = ["fit", "chinchilla", EXAMPLE, "--where", "n_tokens = 5000", "--draws", "5"]
    said = run(*words, "--json", "-o", "flat.json")
    assert said.code == 1
    assert said.document["status"] == "flat"
    assert "flat: " in run(*words).out
    said = run("plan", "flat.json", "--budget", "1e9", "-o", "plan.json")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("kleiber: This fit cannot support a plan: flat")
    assert "add runs with n_tokens at" in said.err
    assert said.err.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == ["flat.json"]


def test_duplicate_rows_are_warned_of_in_one_line(run: Run, tmp_path: Path) -> None:
    table = pl.read_csv(EXAMPLE)
    pl.concat([table, table.head(3)]).write_csv("twice.csv")
    said = run("fit", "chinchilla", "twice.csv", "--draws", 0, "--json")
    assert said.code == 0
    assert said.err.count("\n") == 1
    assert said.err.startswith("warning: 3 of 93 rows repeat an earlier row")
    assert said.document["rows"] == 93


# Bad tables: each is one line on stderr and exit 2, and nothing is written

GOOD = "n_params,n_tokens,loss\n"
ROWS = "".join(f"{10**k},{10**d},{3 / k + 4 / d}\n" for k in range(6, 9) for d in range(7, 10))
BAD_TABLES: dict[str, tuple[str, str, str]] = {  # name of the file, its text, what is said
    "missing column": ("t.csv", "n_parms,n_tokens,loss\n1,2,3\n", "Did you mean 'n_parms'?"),
    "known alias": ("t.csv", "N,D,loss\n1,2,3\n", "--rename n_params=N on the command line"),
    "text": ("t.csv", GOOD + ROWS + "1e9,many,2\n", "holds text: 'many' in row 11 of the file"),
    "NaN": ("t.csv", GOOD + ROWS + "1e9,1e9,nan\n", "not finite, nan, in row 11 of the file"),
    "infinity": ("t.csv", GOOD + ROWS + "inf,1e9,2\n", "not finite, inf, in row 11 of the file"),
    "missing value": ("t.csv", GOOD + ROWS + "1e9,,2\n", "a missing value, in row 11 of the file"),
    "zero": (
        "t.csv",
        GOOD + ROWS + "0,1e9,2\n",
        "0, in row 11 of the file; its logarithm",
    ),
    "negative": ("t.csv", GOOD + ROWS + "1e9,1e9,-2\n", "not positive, -2, in row 11 of the file"),
    "empty": ("t.csv", "", "is empty"),
    "only a header": ("t.csv", GOOD, "names but no rows"),
    "few rows": ("t.csv", GOOD + "1e6,1e6,3\n2e6,1e7,2\n", "5 free parameters and the table has"),
    "ragged": ("t.csv", GOOD + ROWS + "1,2\n", "line 11"),
    "not CSV": ("t.csv", "PAR1 pretends", "There is no file|PAR1|Parquet|column"),
    "not Parquet": ("t.parquet", GOOD + ROWS, "CSV|Parquet"),
    "not NPZ": ("t.npz", GOOD + ROWS, "zip"),
    "not JSON Lines": ("t.jsonl", GOOD + ROWS, "not JSON Lines; it looks like CSV"),
    "half a JSON line": ("t.jsonl", '{"n_params": 1, "n_tokens": 2, "loss": 3}\n{"n_par', "line 2"),
    "suffix": ("t.xlsx", "x", "suffix|.xlsx"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table(case: str, refused: Callable[..., str], tmp_path: Path) -> None:
    name, text, message = BAD_TABLES[case]
    (tmp_path / name).write_text(text)
    assert re.search(
        message, refused("fit", "chinchilla", name, "-o", "fit.json", "--plot", "x.svg")
    )


def test_a_truncated_parquet(refused: Callable[..., str], tmp_path: Path) -> None:
    write_table(read_table(EXAMPLE), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    assert "Parquet" in refused("fit", "chinchilla", "t.parquet", "-o", "fit.json")


def test_an_endless_line(refused: Callable[..., str], tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("wb") as handle:
        handle.write(GOOD.encode() + b"1" * (MAX_LINE + 2**20))
    assert "a line longer than 16 MB" in refused("fit", "chinchilla", "t.csv", "-o", "fit.json")
    with (tmp_path / "t.csv").open("wb") as handle:  # 1 GB, of which the disk holds nothing
        handle.write(GOOD.encode())
        handle.truncate(2**30)
    assert "binary data" in refused("fit", "chinchilla", "t.csv", "-o", "fit.json")


BAD_WORDS: dict[str, tuple[list[str], str]] = {
    "no file": (["fit", "chinchilla", "none.csv"], "There is no file 'none.csv'"),
    "a folder": (["fit", "chinchilla", "."], "holds no .parquet files"),
    "law": (["fit", "chinchila", "$"], "Did you mean 'chinchilla'?"),
    "law of no file": (["fit", "none.py:law", "$"], "no file 'none.py'"),
    "formula": (["fit", "E + A*n_params**", "$"], "Cannot read the formula"),
    "code": (["fit", "__import__('os')*n_params", "$"], "__import__"),
    "target": (["fit", "chinchilla", "$", "--target", "los"], "Did you mean 'loss'?"),
    "rename the wrong way": (
        ["fit", "chinchilla", "$", "--rename", "loss=L2", "--rename", "seed=run"],
        "Cannot rename 'L2' to 'loss'|the wrong way round",
    ),
    "rename reversed": (
        ["fit", "chinchilla", "$", "--rename", "N=n_params", "--rename", "n_params=n_tokens"],
        "column 'n_tokens'|already|no column",
    ),
    "rename without =": (["fit", "chinchilla", "$", "--rename", "N"], "--rename takes NEW=OLD"),
    "rename twice": (
        ["fit", "chinchilla", "$", "--rename", "a=seed", "--rename", "b=seed"], "two new names",
    ),
    "rename one name twice": (
        ["fit", "chinchilla", "$", "--rename", "a=seed", "--rename", "a=loss"], "names 'a' twice",
    ),
    "where": (["fit", "chinchilla", "$", "--where", "sede = 1"], "Did you mean 'seed'?"),
    "where in bits": (["fit", "chinchilla", "$", "--where", "seed ="], "does not work"),
    "where nothing": (["fit", "chinchilla", "$", "--where", "seed > 9"], "keeps none of the 90"),
    "with": (["fit", "chinchilla", "$", "--with", "flops=6*N"], "no column 'N'"),
    "with formula": (["fit", "chinchilla", "$", "--with", "x=6*n_params("], "Cannot read|not acc"),
    "weights": (["fit", "chinchilla", "$", "--weights", "w"], "no column 'w'"),
    "by": (["fit", "chinchilla", "$", "--by", "run"], "No column 'run' to group by"),
    "fix": (["fit", "chinchilla", "$", "--fix", "gamma=1"], "no parameter 'gamma'"),
    "fix a word": (["fit", "chinchilla", "$", "--fix", "E=big"], "--fix takes a number, got 'big'"),
    "tie": (["fit", "chinchilla", "$", "--tie", "beta=gamma"], "uses gamma"),
    "two noises": (["fit", "chinchilla", "$", "--huber", "1", "--student", "3"], "give one"),
    "linear alone": (["fit", "chinchilla", "$", "--linear"], "--linear needs --huber WIDTH"),
    "huber": (["fit", "chinchilla", "$", "--huber", "-1"], "delta must be a positive number"),
    "student": (["fit", "chinchilla", "$", "--student", "0"], "dof must be a positive number"),
    "level": (["fit", "chinchilla", "$", "--level", "95"], "write 0.95 for 95%"),
    "draws": (["fit", "chinchilla", "$", "--draws", "1"], "draws must be 0"),
    "draws in words": (["fit", "chinchilla", "$", "--draws", "many"], "'--draws'.*fit --help"),
    "seed": (["fit", "chinchilla", "$", "--seed", "-1"], "seed must be a whole number from 0"),
    "prior": (["fit", "chinchilla", "$", "--prior", "beta=1"], "takes NAME=VALUE:SPREAD"),
    "option": (["fit", "chinchilla", "$", "--huberr", "1"], "No such option.*kleiber fit --help"),
    "no table": (["fit", "chinchilla"], "Missing argument 'TABLE'.*kleiber fit --help"),
    "command": (["fitt", "chinchilla", "$"], "No such command 'fitt'"),
    "out folder": (["fit", "chinchilla", "$", "-o", "no/fit.json"], "there is no folder .*no'"),
    "plot folder": (["fit", "chinchilla", "$", "--plot", "no/f.svg"], "there is no folder .*no'"),
    "plot suffix": (["fit", "chinchilla", "$", "--plot", "f.txt", "-o", "f.json"], "suffix '.txt'"),
    "out is a folder": (["fit", "chinchilla", "$", "-o", "."], "it is a folder"),
    "out is the table": (["fit", "chinchilla", "$", "-o", "$"], "would replace what is read"),
    "plan of nothing": (["plan", "none.json", "--budget", "1"], "kleiber fit ... -o fit.json"),
    "plan of a table": (["plan", "$", "--budget", "1"], "is not a saved fit"),
    "plan of no budget": (["plan", "!"], "A plan takes a budget"),
    "budget": (["plan", "!", "--budget", "-5"], "positive number, got -5"),
    "budget in words": (["plan", "!", "--budget", "much"], "'--budget'.*plan --help"),
    "small budget": (["plan", "!", "--budget", "2"], "does not pay for the smallest run"),
    "cost": (["plan", "!", "--budget", "1e9", "--cost", "6dn"], "Did you mean '6nd'?"),
    "limit": (["plan", "!", "--budget", "1e9", "--limit", "n_params=5"], "NAME=LOW:HIGH"),
    "limit name": (["plan", "!", "--budget", "1e9", "--limit", "k=1:2"], "this plan chooses"),
    "given": (["plan", "!", "--budget", "1e9", "--given", "k=1"], "The given values have an entry "
    "'k'"),
    "frontier": (["plan", "!", "--budget", "1e9", "--frontier", "1:2:inf"], "2 to 1000 points"),
    "frontier ends": (["plan", "!", "--budget", "1e9", "--frontier", "9:2"], "0 < LOW < HIGH"),
    "frontier form": (["plan", "!", "--budget", "1e9", "--frontier", "9"], "LOW:HIGH:POINTS"),
    "curve file": (["plan", "!", "--budget", "1e9", "-o", "p.csv"], "--frontier"),
    "plan folder": (["plan", "!", "--budget", "1e9", "-o", "no/p.json"], "there is no folder"),
    "plan over fit": (["plan", "!", "--budget", "1e9", "-o", "!"], "would replace what is read"),
    "table suffix": (["table", "$", "-o", "t.txt"], "txt"),
    "table folder": (["table", "$", "-o", "no/t.csv"], "there is no folder"),
    "list": (["list", "law"], "no list of .law.. Did you mean .laws.?.*There are: laws, "),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words(case: str, refused: Callable[..., str], saved: Path) -> None:
    words, message = BAD_WORDS[case]
    paths = {"$": EXAMPLE, "!": saved}
    assert re.search(message, refused(*(paths.get(word, word) for word in words)))


def test_drawing_without_matplotlib(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = refused("fit", "chinchilla", EXAMPLE, "--plot", "fit.svg", "-o", "fit.json")
    assert "pip install 'kleiber[report]'" in said


# plan


def test_plans_with_options(run: Run, saved: Path, tmp_path: Path) -> None:
    said = run(
        "plan", saved, "--budget", "5e8", "--cost", "6*n_params*n_tokens + 1e3*n_params", "--limit",
        "n_params=10:50", "--level", 0.8, "-o", "plan.json", "--json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    made = said.document
    known = plan(
        load(saved), 5e8, "6*n_params*n_tokens + 1e3*n_params", limits={"n_params": (10, 50)},
        level=0.8,
    )  # fmt: skip
    assert made["allocation"]["n_params"]["value"] == known.allocation["n_params"].value == 50
    assert made["predicted"]["low"] == known.predicted.low
    assert made["level"] == 0.8
    assert json.loads((tmp_path / "plan.json").read_text()) == made
    said = run("plan", saved, "--budget", "6e8", "--given", "n_tokens=1e6", "--json")
    assert said.document["allocation"]["n_params"]["value"] == pytest.approx(100)


def test_the_frontier_in_json_and_as_a_table(run: Run, saved: Path, tmp_path: Path) -> None:
    words = ["plan", saved, "--budget", "5e8", "--frontier", "1e7:1e9:3"]
    curve = run(*words, "--json").document["frontier"]
    assert [row["budget"] for row in curve] == pytest.approx([1e7, 1e8, 1e9])
    run(*words, "-o", "curve.csv")
    table = read_table(tmp_path / "curve.csv")
    assert table["n_params"].to_list() == pytest.approx([row["n_params"] for row in curve])
    assert {"n_params_low", "predicted_high", "extrapolation"} <= set(table.columns)


def test_a_plan_without_intervals_says_why(run: Run, tmp_path: Path) -> None:
    run("fit", "chinchilla", EXAMPLE, "--draws", 0, "-o", "fit.json")
    said = run("plan", "fit.json", "--budget", "5e8", "--frontier", "1e8:1e9:2", "--json")
    assert said.document["predicted"]["low"] is None
    assert said.document["frontier"][0]["n_params_low"] is None
    assert any("no intervals" in note for note in said.document["notes"])
    said = run("plan", "fit.json", "--budget", "5e8", "--frontier", "1e8:1e9:2")
    assert "unknown" in said.out
    assert "nan" not in said.out


# What people see


def grid_lines(text: str) -> list[str]:
    """The lines of a grid: below a rule, up to the first line of words."""
    lines, found = text.splitlines(), list[str]()
    for k, line in enumerate(lines):
        if set(line.strip()) == {"─"}:
            found += [lines[k - 1], line]
            for row in lines[k + 1 :]:
                if ": " in row or row.endswith(" s") or "rows," in row:
                    break
                found.append(row)
    return found


def test_a_narrow_terminal_cuts_no_number(
    run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(saved)
    monkeypatch.setenv("COLUMNS", "60")
    said = run("fit", "chinchilla", EXAMPLE, "--draws", 50)
    for name, value in made.params.items():
        assert figure(value, 6) in said.out
        assert span(*made.interval(name)) in said.out
        assert figure(made.stderr[name]) in said.out
    known = plan(made, 5e11)
    said_plan = run("plan", saved, "--budget", "5e11")
    for item in (*known.allocation.values(), known.predicted):
        assert figure(item.value) in said_plan.out
        assert span(item.low, item.high) in said_plan.out
    said_curve = run("plan", saved, "--budget", "5e11", "--frontier", "1e10:1e11:2")
    for budget in (1e10, 1e11):
        each = plan(made, budget)
        for item in (*each.allocation.values(), each.predicted):
            assert figure(item.value) in said_curve.out
            assert span(item.low, item.high) in said_curve.out
    for text in (said.out, said_plan.out, said_curve.out):
        assert "…" not in text
        assert len(grid_lines(text)) > 4
        assert max(map(len, grid_lines(text))) <= 60


def test_a_wide_terminal_shows_the_curve_in_one_line_a_budget(
    run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    said = run("plan", saved, "--budget", "5e8", "--frontier", "1e8:1e9:2")
    made = plan(load(saved), 1e8)
    item = made.allocation["n_params"]
    line = next(row for row in said.out.splitlines() if row.startswith("1e8"))
    assert f"{figure(item.value)} {span(item.low, item.high)}" in line
    assert f"{figure(made.predicted.value)} {span(made.predicted.low, made.predicted.high)}" in line


def test_numbers_are_written_short_and_whole() -> None:
    assert [figure(x) for x in (7.319e10, 1.97391, 1e-9, -2e5, 0.0, math.inf)] == [
        "7.319e10", "1.974", "1e-9", "-2e5", "0", "inf",
    ]  # fmt: skip
    assert figure(None) == figure(math.nan) == span(math.nan, math.nan) == "unknown"
    assert span(1.23456, math.inf) == "[1.235, inf]"
    assert span(math.nan, 2.0) == "[unknown, 2]"


def test_text_from_a_table_is_never_markup(run: Run, tmp_path: Path) -> None:
    pl.DataFrame(
        {"[red]x[/red]": [1.5, 2.5], "name": ["[/bold]", ":smile: \x1b[31m"], "n": [2**60, None]}
    ).write_parquet("t.parquet")
    said = run("table", "t.parquet")
    assert (said.code, said.err) == (0, "")
    for text in ("[red]x[/red]", "[/bold]", ":smile:", str(2**60)):
        assert text in said.out
    assert "\x1b[31m" not in said.out
    table = pl.read_csv(EXAMPLE).rename({"loss": "loss [nats]"})
    table.write_csv("t.csv")
    said = run("fit", "chinchilla", "t.csv", "--target", "loss [nats]", "--draws", 0)
    assert said.out.startswith("chinchilla  loss [nats] = E + A")


# table, list, version, help


def test_a_table_is_read_prepared_and_written(run: Run, tmp_path: Path) -> None:
    said = run(
        "table", EXAMPLE, "--where", "run = 0", "--with", "flops=6*n_params*n_tokens",
        "--rename", "run=seed", "-o", "out.parquet",
    )  # fmt: skip
    assert (said.code, said.out) == (0, "")
    assert said.err == "30 rows, 5 columns: out.parquet\n"
    table = pl.read_parquet("out.parquet")
    assert table.columns == ["n_params", "n_tokens", "run", "loss", "flops"]
    said = run("table", EXAMPLE)
    assert "n_tokens" in said.out
    assert "... 40 more rows" in said.out
    for part in ("a", "b"):
        table.write_parquet(f"{part}.parquet")
    Path("out.parquet").unlink()
    assert run("table", ".", "-o", "both.csv").code == 0
    assert len(pl.read_csv("both.csv")) == 60


def test_lists(run: Run) -> None:
    listed = {what: run("list", what, "--json").document for what in ("laws", "columns", "costs")}
    assert [row["name"] for row in listed["laws"]] == list(catalogue())
    assert [row["name"] for row in listed["columns"]] == list(COLUMNS)
    assert {row["name"] for row in listed["costs"]} >= set(costs())
    for row in listed["laws"]:
        law = catalogue()[row["name"]]
        assert row["formula"] == law.formula
        assert row["citation"] == law.citation
        assert all(f"{name} " in row["parameters"] for name in law.params)
    assert all(row["meaning"] and row["unit"] for row in listed["columns"])
    for what, rows in listed.items():
        said = run("list", what)
        assert (said.code, said.err) == (0, "")
        assert "…" not in said.out
        assert all(row["name"][:8] in said.out for row in rows)


def test_version_help_and_nothing(run: Run) -> None:
    assert run("--version") == Said(0, f"kleiber {__version__}\n", "")
    said = run()
    assert said.code == 2
    assert "Usage: kleiber" in said.out
    for command in ("fit", "plan", "table", "list"):
        assert command in said.out
        helped = run(command, "--help")
        assert (helped.code, helped.err) == (0, "")
        assert "Usage: kleiber" in helped.out
    assert "NEW=OLD" in run("fit", "--help").out


def test_laws_are_compared_and_the_next_run_is_chosen(run: Run, saved: Path) -> None:
    said = run("next", saved, "--budget", "1e9", "--parameter", "beta", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.document
    said = run(
        "compare", EXAMPLE, "chinchilla", "chinchilla_tied", "--beyond", "n_tokens", "--draws", 5,
        "--json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    assert said.document


def test_rows_are_named_as_the_file_numbers_them(run: Run, tmp_path: Path) -> None:
    """After a filter, beneath a blank line and a cell of two lines, in CSV and in JSON Lines."""
    (tmp_path / "t.csv").write_text('n_params,loss,note\n1,2,a\n\n2,-1,"b\nb"\n3,x,a\n4,1,a\n')
    said = run("fit", "a*n_params**-b", "t.csv", "--where", "note <> 'a'")
    assert "-1, in row 5 of the file" in said.err, said.err
    said = run("fit", "a*n_params**-b", "t.csv", "--where", "n_params > 2")
    assert "'x' in row 6 of the file" in said.err, said.err
    lines = [{"n_params": n, "loss": loss} for n, loss in [(1, 2), (2, 1.5), (3, -1), (4, 1)]]
    text = "\n\n".join(json.dumps(line) for line in lines)
    (tmp_path / "t.jsonl").write_text(text)
    said = run("fit", "a*n_params**-b", "t.jsonl", "--where", "n_params > 1")
    assert "-1, in row 5 of the file" in said.err, said.err
    said = run("counts", "t.jsonl", "--with", "attempts=n_params", "--with", "successes=n_params/2",
               "--with", "problem=n_params", "--where", "n_params > 2")  # fmt: skip
    assert "1.5, in row 5 of the file" in said.err, said.err
    said = run("fit", "a*n_parms**-b", "t.jsonl")
    assert "file_row" not in said.err


COMMAND = [sys.executable, "-m", "kleiber"]


def test_a_reader_that_has_gone() -> None:
    """``| head``: no word about it, and the code of a death by SIGPIPE."""
    words = [*COMMAND, "list", "laws", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_closed_output() -> None:
    code = f"{shlex.join([*COMMAND, 'list', 'laws'])} >&-"
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "kleiber: Standard output is closed; send it to a file or /dev/null.\n"


def test_ctrl_c_while_the_command_loads() -> None:
    """It ends the process as it ends one that has not begun; a background job stays deaf to it."""
    code = "import os, signal, kleiber.__main__; os.kill(os.getpid(), signal.SIGINT); print('on')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    deaf = ["sh", "-c", f"trap '' INT; exec {shlex.join(words)}"]
    done = subprocess.run(deaf, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


ODD = {
    "MemoryError": (MemoryError("Unable to allocate 3 TiB"), "not enough memory"),
    "RecursionError": (RecursionError("maximum recursion depth"), "nested too deeply"),
    "TypeError": (TypeError("'NoneType' object"), "fault of its own: TypeError"),
    "ZeroDivisionError": (ZeroDivisionError("division by zero"), "fault of its own: ZeroDiv"),
    "panic": (pl.exceptions.PanicException("index out of bounds"), "fault of its own: Panic"),
    "long": (BadTable("The table is wrong: " + "x" * 5000 + " Do this."), "Do this."),
    "terminal": (BadTable("The text \x1b[31m\x07 is odd."), r"The text \x1b[31m\x07 is odd."),
}


@pytest.mark.parametrize("name", ODD)
def test_any_error_is_one_sentence(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    error, words = ODD[name]

    def fail() -> None:
        raise error

    monkeypatch.setattr("kleiber.reports.listing.list_laws", fail)
    said = run("list", "laws")
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    assert len(said.err) <= 620


def test_no_cell_steers_the_terminal(run: Run, tmp_path: Path) -> None:
    write_table(pl.DataFrame({"a\x1b[1m": ["\x1b]0;title\x07", "b"]}), tmp_path / "t.parquet")
    said = run("table", "t.parquet")
    assert said.code == 0
    assert "\x1b" not in said.out
    assert r"a\x1b[1m" in said.out
    assert r"\x1b]0;title" in said.out


# What takes long is loaded by the commands that need it

HEAVY = ("numpy", "polars", "scipy", "torch", "matplotlib")  # pydantic is what Typer stands on


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fitt"], []])
def test_help_and_errors_load_no_library(words: list[str]) -> None:
    code = (
        "import sys\nfrom kleiber.cli import main\nsys.argv = ['kleiber', *sys.argv[1:]]\n"
        f"try: main()\nfinally: assert not {{*{HEAVY}}} & {{*sys.modules}}, {{*sys.modules}}"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == (0 if words in (["--help"], ["--version"]) else 2)
    assert "AssertionError" not in done.stderr
    assert ("Did you mean 'fit'" in done.stderr) == (words == ["fitt"])


def test_help_of_no_command_loads_a_library() -> None:
    code = (
        "import sys\nfrom kleiber.cli import COMMANDS, main\n"
        "for words in (*([name, '--help'] for name in COMMANDS), ['fit', 'law', 't', '--z']):\n"
        "    sys.argv = ['kleiber', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: print(words[0], end.code, file=sys.stderr)\n"
        f"assert not {{*{HEAVY}}} & {{*sys.modules}}, {{*sys.modules}}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = [line for line in done.stderr.splitlines() if line[-1:].isdigit()]
    assert codes == [*(f"{name} 0" for name in COMMANDS), "fit 2"]


def test_the_list_of_commands_is_that_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []
    for wanted in ("", None):
        make_app(wanted)(["--help"], standalone_mode=False)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert all(f" {name} " in shown[0] for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_markup_eats_a_word_of_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(name)([name, "--help"], standalone_mode=False)
    assert not re.search(r"\w \.(?![\w.])", capsys.readouterr().out)
