"""The verb ``read``: any supported log, or a folder of them, as one table with notes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import polars as pl

import kleiber.readers as package
from kleiber.arguments import check_choice, check_flag, check_mapping, check_text
from kleiber.errors import BadTable, listed, nearest, reason, shown
from kleiber.readers.columns import rename_known
from kleiber.readers.record import Logs, Reader

HEAD = 65_536  # bytes of a file that are looked at
MOST = 10_000  # files of a folder
SKIPPED_NAMES = (".git", "__pycache__", ".ipynb_checkpoints")
LAST, EVERY = "last", "every"


def catalogue() -> dict[str, Reader]:
    """Return the readers by name, the most particular first.

    Examples
    --------
    >>> from kleiber.readers.registry import catalogue
    >>> "wandb_panel" in catalogue()
    True
    """
    found: dict[str, Reader] = {}
    for item in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(item.name)
        for value in vars(module).values():
            if isinstance(value, Reader):
                found[value.name] = value
        several: tuple[Any, ...] = getattr(module, "READERS", ())
        found |= {each.name: each for each in several}
    last = found.pop("table")  # any table at all
    return dict(sorted(found.items())) | {"table": last}


def read(
    source: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    target: str | None = None,
    at: str = EVERY,
    set: Mapping[str, Any] | None = None,
    melt: bool = False,
) -> Logs:
    """Read logs of trackers, trainers and evaluation programs as one table.

    Parameters
    ----------
    source
        A file, a folder of files, or several of them: TensorBoard events, exports of Weights &
        Biases, ``trainer_state.json``, Lightning's ``metrics.csv``, trackio, MLflow, results and
        samples of lm-evaluation-harness, inspect_ai and lighteval, attempts of large-language-
        monkeys, text logs, and tables as spreadsheets give them (``kleiber list readers``).
    target
        A column that rows must have; the others are dropped, with a note.
    at
        ``"every"`` for every logged step, ``"last"`` for the last row of each run.
    set
        Columns with one value for all rows, such as ``{"n_params": 1.2e9}``.
    melt
        Whether a wide table, a column for each run beside that of the steps, becomes a long one.

    Returns
    -------
    Logs
        ``table`` in long form under kleiber's column names where they are known, and ``notes`` on
        what was dropped, sampled, rounded or is unknown.

    Raises
    ------
    BadTable
        For a file that no reader knows, a damaged one, and a target that no row has.
    ImportError
        Where a format needs a library that is not installed; it names the extra.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "train.log"
    >>> _ = path.write_text("iter 0: loss 4.1000, time 2ms\\niter 10: loss 3.2000, time 2ms\\n")
    >>> kleiber.read(path, at="last").table["step"].to_list()
    [10]
    """
    check_choice("at", at, (EVERY, LAST))
    given = check_mapping("set", set, "a mapping from columns to values or None")
    sources = [source] if isinstance(source, str | PathLike) else list(source)
    if not sources:
        raise BadTable("No log is given; name a file or a folder.")
    paths = [Path(fspath(each)) for each in sources]
    parts = [_read_source(path, check_flag("melt", melt)) for path in paths]
    if len(parts) > 1:
        parts = [_with_run(part, path.stem) for part, path in zip(parts, paths, strict=True)]
    notes = [note for part in parts for note in part.notes]
    table = _join([part.table for part in parts])
    for name, value in given.items():
        table = table.with_columns(pl.lit(value).alias(name))
    if target is not None:
        table, said = _keep_target(table, check_text("target", target, "the name of a column"))
        notes += said
    if at == LAST:
        table = _last(table, target)
    notes += _unknown(table)
    return Logs(table, tuple(dict.fromkeys(notes)))


def _read_source(path: Path, melt: bool) -> Logs:
    if not path.exists():
        raise BadTable(f"There is no file or folder {shown(str(path), 200)}.")
    readers = catalogue()
    if path.is_dir():
        folder = _folder_reader(path)
        if folder is not None:
            return _named(folder, path)
        return _read_folder(path, readers, melt)
    return _read_file(path, readers, melt)


def _folder_reader(path: Path) -> Reader | None:
    """Return the reader of a folder that is one log as a whole."""
    for reader in catalogue().values():
        if reader.sniff(path, b""):
            return reader
    return None


def _named(reader: Reader, path: Path) -> Logs:
    """Read with a reader; any fault of the file is one sentence that names both."""
    try:
        return _with_names(reader.read(path))
    except (BadTable, ImportError):
        raise
    except Exception as error:  # a damaged file can fail anywhere in a library
        raise BadTable(
            f"{shown(str(path), 200)} is no {reader.doc} that can be read: {reason(error)}."
        ) from error


def _with_names(logs: Logs) -> Logs:
    return Logs(rename_known(logs.table), logs.notes)


def _read_file(path: Path, readers: Mapping[str, Reader], melt: bool) -> Logs:
    with path.open("rb") as file:
        head = file.read(HEAD)
    for reader in readers.values():
        if reader.sniff(path, head):
            if melt and reader.name == "table":
                from kleiber.readers.table import read_wide

                return _with_names(read_wide(path))
            return _named(reader, path)
    raise BadTable(
        f"No reader knows {shown(str(path), 200)}: it is damaged, or of another format than those "
        "of kleiber list readers."
    )


def _read_folder(folder: Path, readers: Mapping[str, Reader], melt: bool) -> Logs:
    """Read every log in a folder; files that no reader knows are counted."""
    parts: list[Logs] = []
    notes: list[str] = []
    strange = 0
    for path in _walk(folder):
        try:
            found = _read_source(path, melt) if path.is_dir() else _read_file(path, readers, melt)
        except BadTable as error:
            strange += 1
            if strange <= 3:
                notes.append(f"Left out: {error}")
            continue
        name = str(path.relative_to(folder).parent)
        parts.append(_with_run(found, path.stem if name == "." else name))
    if not parts:
        raise BadTable(f"{shown(str(folder), 200)} holds no log that a reader knows.")
    if strange > 3:
        notes.append(f"{strange} files in {folder.name} are no logs and were left out.")
    notes = [note for part in parts for note in part.notes] + notes
    return Logs(_join([part.table for part in parts]), tuple(notes))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, and its folders that are one log as a whole."""
    count = 0
    stack = [folder]
    while stack:
        here = stack.pop()
        inner: list[Path] = []
        for path in sorted(here.iterdir()):
            if path.name in SKIPPED_NAMES or path.is_symlink():
                continue
            if path.is_dir() and _folder_reader(path) is None:
                inner.append(path)
                continue
            count += 1
            if count > MOST:
                raise BadTable(f"{folder.name} holds more than {MOST:,} files; name those meant.")
            yield path
        stack += reversed(inner)


def _with_run(logs: Logs, name: str) -> Logs:
    if "run" in logs.table.columns:
        return logs
    return Logs(logs.table.select(pl.lit(name).alias("run"), pl.all()), logs.notes)


def _join(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return tables below one another, numbers of two kinds as the wider one."""
    if len(tables) == 1:
        return tables[0]
    try:
        return pl.concat(tables, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise BadTable(f"The logs do not fit into one table: {reason(error)}.") from None


def _keep_target(table: pl.DataFrame, target: str) -> tuple[pl.DataFrame, list[str]]:
    from kleiber.readers.columns import known_name

    name = target if target in table.columns else known_name(target)
    if name not in table.columns:
        raise BadTable(
            f"No log has {target!r}; there are {listed(table.columns)}."
            f"{nearest(target, table.columns)}"
        )
    known = pl.col(name).is_not_null()
    if table[name].dtype.is_float():
        known = known & pl.col(name).is_finite()
    kept = table.filter(known)
    if kept.is_empty():
        raise BadTable(f"No row of the logs has a value of {target!r}.")
    gone = len(table) - len(kept)
    said = f"{gone} rows without a number in {name} were dropped."
    return kept, [said] if gone else []


def _last(table: pl.DataFrame, target: str | None) -> pl.DataFrame:
    """Return the last row of each run, or the last value of each column where none is asked for."""
    if "run" not in table.columns:
        return table.tail(1) if "step" in table.columns else table
    if "step" in table.columns:
        table = table.sort("step", maintain_order=True)
    if target is not None:
        return table.unique("run", keep="last", maintain_order=True)
    others = [pl.col(n).drop_nulls().last() for n in table.columns if n != "run"]
    return table.group_by("run", maintain_order=True).agg(others)


def _unknown(table: pl.DataFrame) -> list[str]:
    if "step" in table.columns and not {"n_params", "flops", "width"} & {*table.columns}:
        return ["The number of parameters is unknown: give it with --set n_params=NUMBER."]
    return []
