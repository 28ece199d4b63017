"""Logs and Reader: what a reader returns, and what one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Logs:
    """Logs as a table, and what was done to them.

    Attributes
    ----------
    table
        One row for each logged step of a run (column ``run``), each problem, or each task.
    notes
        Sentences on what was dropped, sampled, rounded or is unknown.

    Examples
    --------
    >>> import kleiber, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "train.log"
    >>> _ = path.write_text("iter 0: loss 4.1000, time 2ms\\niter 10: loss 3.2000, time 2ms\\n")
    >>> kleiber.read(path).table["train_loss"].to_list()
    [4.1, 3.2]
    """

    table: pl.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A format of logs.

    Attributes
    ----------
    name, doc
        Its name, and what it reads in one line.
    sniff
        Whether a file is of this format, told from its name and its first bytes.
    read
        Reads the file; ``run`` names its runs where the file itself does not.

    Examples
    --------
    >>> from kleiber.readers.registry import catalogue
    >>> catalogue()["trainer_state"].doc
    'Hugging Face trainer_state.json'
    """

    name: str
    doc: str
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path], Logs]
