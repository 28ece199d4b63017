"""kleiber sweep: many runs into one store, with a progress bar; the same command goes on."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kleiber.cli.bars import show_progress
from kleiber.cli.console import open_console, print_error
from kleiber.cli.options import AsJson, as_text
from kleiber.reports.console import print_line

if TYPE_CHECKING:
    from kleiber.sweeps.run import SweepResult


SHOWN = 5  # failures that are named one by one
Adopt = Annotated[
    bool,
    typer.Option("--adopt", help="Use a folder that holds other Parquet files, and ignore those."),
]


def sweep_command(
    source: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep as TOML.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Folder of the store; created if needed."
        ),
    ],
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Train in N processes of one thread each.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on Dask, tcp://HOST:PORT, or local."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry runs that failed.")
    ] = False,
    adopt: Adopt = False,
    as_json: AsJson = False,
) -> None:
    """Train every run of a sweep that the store lacks; give the same command again to go on."""
    from kleiber.experiment.memory import check_memory  # here: Experiments take a tenth of a second
    from kleiber.sweeps.cluster import dask_executor
    from kleiber.sweeps.grid import read_sweep
    from kleiber.sweeps.inputs import check_own
    from kleiber.sweeps.run import run_sweep
    from kleiber.sweeps.store import Folder

    specs, store = read_sweep(source), Folder(out)
    if dask is None:  # other machines have memories of their own
        for spec in specs:
            check_memory(spec)
    if not adopt:
        check_own(store)
    place = contextlib.nullcontext() if dask is None else dask_executor(dask, workers)
    try:
        with place as executor, show_progress(open_console(stderr=True), stages=False) as show:
            done = run_sweep(
                specs,
                store,
                executor,
                workers=workers if dask is None else None,
                retry_failed=retry_failed,
                progress=show,
            )
    except KeyboardInterrupt:
        print_error("interrupted; what has finished is kept, give the same command again")
        raise
    if as_json:
        sys.stdout.write(as_text(describe_sweep(done, out)))
    else:
        _report(open_console(), done, out)
    if done.failures:
        raise typer.Exit(1)


def describe_sweep(done: SweepResult, store: Path) -> dict[str, Any]:
    """Describe the result of a sweep as a JSON document."""
    state = done.state
    failures = [
        {"key": key, "error": item.error, "step": item.step, "lost": item.lost}
        for key, item in done.failures.items()
    ]
    return {
        "store": str(store),
        "total": state.total,
        "found": state.found,
        "finished": state.finished,
        "failed": state.failed,
        "lost": state.lost,
        "diverged": state.diverged,
        "seconds": round(state.seconds, 3),
        "failures": failures,
    }


def _report(console: Console, done: SweepResult, store: Path) -> None:
    """Print the counts and the first failures."""
    from kleiber.sweeps.state import describe_state, format_seconds

    state = done.state
    print_line(console, f"{describe_state(state)}, {format_seconds(state.seconds)}: {store}")
    for key, failure in list(done.failures.items())[:SHOWN]:
        step = "" if failure.step is None else f" at step {failure.step}"
        first = failure.error.splitlines()[0] if failure.error else "unknown"
        print_line(console, Text("failed", style="red") + Text(f" {key}{step}: {first}"))
    if len(done.failures) > SHOWN:
        print_line(console, f"... {len(done.failures) - SHOWN} more in {store / 'failed'}")
    if state.failed > state.lost:
        print_line(
            console, f"tracebacks are in {store / 'failed'}; --retry-failed tries them again"
        )
    if state.lost:
        print_line(console, "runs whose worker died are tried again by the same command")
