"""What the commands share: options, how they are read, and where output goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleiber.cli.console import open_console
from kleiber.errors import BadTable
from kleiber.reports.console import print_line

if TYPE_CHECKING:
    import polars as pl

    from kleiber.fitting.engine.noise import Noise
    from kleiber.fitting.record import Fit
    from kleiber.forecasting.record import Forecast


Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="NEW=OLD", help="Give column OLD the name NEW; repeatable."),
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Keep rows, e.g. 'epoch_kept = true'."),
]
Derive = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=FORMULA", help="Add a column, e.g. flops=6*n_params*..."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the Python file that defines the fit's law.")
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Drop rows without a value of the target.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Level = Annotated[float, typer.Option("--level", help="Level of the intervals.")]


def read_pairs(items: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """Read NAME=TEXT options into a dictionary."""
    out: dict[str, str] = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not (name.strip() and equals and text.strip()):
            raise BadTable(f"--{option} takes {example}, got {item!r}.")
        if name.strip() in out:
            raise BadTable(f"--{option} names {name.strip()!r} twice.")
        out[name.strip()] = text.strip()
    return out


def read_frame(
    source: Path,
    rename: Sequence[str] | None,
    where: str | None,
    derive: Sequence[str] | None,
    weights: str | None = None,
    skip_missing: Sequence[str] = (),
    keep_rows: bool = True,
) -> pl.DataFrame:
    """Read the table of a command and keep the row numbers of its file."""
    from kleiber.table import read_table

    renames = read_pairs(rename, "rename", 'NEW=OLD, e.g. n_params="Model Size"')
    twice = [old for old in renames.values() if list(renames.values()).count(old) > 1]
    if twice:
        raise BadTable(f"--rename gives the column {twice[0]!r} two new names.")
    table = read_folder(source) if source.is_dir() else source
    return read_table(
        table,
        rename={old: new for new, old in renames.items()},
        where=where,
        derive=read_pairs(derive, "with", "NAME=FORMULA, e.g. flops=6*n_params*n_tokens"),
        weights=weights,
        skip_missing=skip_missing,
        keep_rows=keep_rows,
    )


def read_folder(folder: Path) -> pl.DataFrame:
    """Read the runs of a sweep's store, or the rows of a folder's Parquet files."""
    from kleiber.sweeps.runs import is_store
    from kleiber.sweeps.store import Folder
    from kleiber.table import read_tables

    return Folder(folder).read() if is_store(folder) else read_tables(folder)


def as_text(document: Any) -> str:
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def load_fitted(path: Path, trust: bool) -> Fit | Forecast:
    """Load what a plan or a prediction may be made from."""
    from kleiber.documents import read_result
    from kleiber.fitting.record import Fit
    from kleiber.forecasting.record import Forecast

    command = "save a fit with `kleiber fit ... -o fit.json`"
    found = read_result(path, "a saved fit", command, trust=trust)
    if not isinstance(found, Fit | Forecast):
        raise BadTable(
            f"{str(path)!r} holds a {type(found).__name__}; what is needed is a fit (kleiber fit "
            "-o) or a forecast (kleiber forecast -o)."
        )
    return found


def read_columns(text: str | None) -> list[str] | None:
    """Read column names separated by commas."""
    return None if text is None else [item.strip() for item in text.split(",")]


def read_number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadTable(f"--{option} takes a number, got {text!r}.") from None


def check_writable(*paths: Path | None, keep: Path | None = None) -> None:
    """Refuse, before any work, an output path that cannot be written or would replace the input."""
    from kleiber.files import resolve_target

    for path in filter(None, paths):
        if resolve_target(path) == (keep and keep.resolve()):
            raise BadTable(f"Writing {str(path)!r} would replace what is read; give another name.")


def read_noise(huber: float | None, least: bool, student: float | None, linear: bool) -> Noise:
    from kleiber.fitting.engine.noise import Noise

    if sum((huber is not None, least, student is not None)) > 1:
        raise BadTable("--huber, --least-squares and --student exclude each other; give one.")
    delta = None if least or student is not None else 1e-3 if huber is None else huber
    if linear and huber is None and delta is not None:
        raise BadTable("--linear needs --huber WIDTH, --least-squares or --student beside it.")
    return Noise("linear" if linear else "log", delta=delta, dof=student)


def output_table(frame: pl.DataFrame, out: Path | None, as_json: bool, title: str) -> None:
    """Write the table to a file, print it as JSON, or show it."""
    import polars as pl

    from kleiber.reports.grids import show_frame
    from kleiber.table import write_table

    if out is not None:
        write_table(frame, out)
        print_line(
            open_console(stderr=True), f"{len(frame)} rows, {len(frame.columns)} columns: {out}"
        )
    if as_json:
        finite = pl.col(pl.Float64)
        rows = frame.with_columns(pl.when(finite.is_finite()).then(finite)).to_dicts()
        sys.stdout.write(as_text(rows))
    elif out is None:
        show_frame(open_console(), frame, title)
