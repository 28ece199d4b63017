"""The progress bar of every command that takes long."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from kleiber.progress import Progress


@contextlib.contextmanager
def show_progress(
    console: Console, *, stages: bool = True, sizes: bool = False
) -> Generator[Progress]:
    """Show progress bars on a terminal while the block runs (nothing elsewhere).

    With ``stages`` there is one bar for each note; otherwise one bar with the latest note beside
    it. ``sizes`` are in bytes.
    """
    counted = DownloadColumn() if sizes else MofNCompleteColumn()
    columns = [BarColumn(), counted, TimeRemainingColumn()]
    words = TextColumn("{task.description}", markup=False)
    shown = [words, *columns] if stages else [*columns[:-1], words]
    tasks: dict[str, TaskID] = {}
    quiet = not console.is_terminal
    with Bars(*shown, console=console, transient=True, disable=quiet) as bars:

        def show(done: int, total: int, note: str, /) -> None:
            name = note if stages else ""
            if name not in tasks:
                tasks[name] = bars.add_task(note, total=total)
            bars.update(tasks[name], completed=done, total=total, description=note)

        yield show
