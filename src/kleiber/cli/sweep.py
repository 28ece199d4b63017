"""kleiber sweep: many runs into one store, with a progress bar; the same command goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from kleiber.cli.options import AsJson, as_text, complain, people
from kleiber.reports.grids import say
from kleiber.sweeps.cluster import dask_executor
from kleiber.sweeps.doors import check_own
from kleiber.sweeps.run import Progress, Swept, carry_out
from kleiber.sweeps.store import Folder

SHOWN = 5  # failures that are named one by one
Adopt = Annotated[
    bool, typer.Option("--adopt", help="Take a folder of other Parquet files; set those aside.")
]


def sweep_command(
    source: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep as TOML.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="The store; made if need be.")
    ],
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Train in N processes of one thread each.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on Dask, tcp://HOST:PORT, or local."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.")
    ] = False,
    adopt: Adopt = False,
    as_json: AsJson = False,
) -> None:
    """Train every run of a sweep that the store lacks; give the same command again to go on."""
    from kleiber.experiment.memory import check_memory  # here: Experiments take a tenth of a second
    from kleiber.sweeps.grid import read_sweep

    specs, store = read_sweep(source), Folder(out)
    if dask is None:  # other machines have memories of their own
        for spec in specs:
            check_memory(spec)
    if not adopt:
        check_own(store)
    place = contextlib.nullcontext() if dask is None else dask_executor(dask, workers)
    try:
        with place as executor, progress_bar(people(aside=True)) as show:
            done = carry_out(
                specs,
                store,
                executor,
                workers=workers if dask is None else None,
                retry_failed=retry_failed,
                progress=show,
            )
    except KeyboardInterrupt:
        complain("interrupted; what has finished is kept, give the same command again")
        raise
    if as_json:
        sys.stdout.write(as_text(describe_sweep(done, out)))
    else:
        _report(people(), done, out)
    if done.failures:
        raise typer.Exit(1)


def describe_sweep(done: Swept, store: Path) -> dict[str, Any]:
    """How a sweep ended, as JSON."""
    state = done.progress
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


def _report(console: Console, done: Swept, store: Path) -> None:
    """The counts, and the first failures."""
    state = done.progress
    say(console, f"{counts(state)}, {clock(state.seconds)}: {store}")
    for key, failure in list(done.failures.items())[:SHOWN]:
        step = "" if failure.step is None else f" at step {failure.step}"
        first = failure.error.splitlines()[0] if failure.error else "unknown"
        say(console, Text("failed", style="red") + Text(f" {key}{step}: {first}"))
    if len(done.failures) > SHOWN:
        say(console, f"... {len(done.failures) - SHOWN} more in {store / 'failed'}")
    if state.failed > state.lost:
        say(console, f"tracebacks are in {store / 'failed'}; --retry-failed tries them again")
    if state.lost:
        say(console, "runs whose worker died are tried again by the same command")


def counts(state: Progress) -> str:
    """The counts of a sweep in words; what is zero and not to be expected is left out."""
    found = f" ({state.found} found)" if state.found else ""
    parts = [f"{state.finished} of {state.total} runs finished{found}"]
    for name in ("running", "failed", "diverged", "elsewhere"):
        if number := getattr(state, name):
            parts.append(f"{number} {name}")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """A time as 12.3 s, 4:05 or 3:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def progress_bar(console: Console) -> Generator[Callable[[Progress], None] | None]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not console.is_terminal:
        yield None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(state: Progress) -> None:
            parts = counts(state).split("finished", 1)[1].removeprefix(", ").split(", ")
            left = [f"about {clock(state.left)} left"] if state.left else []
            bar.update(
                task,
                total=state.total,
                completed=state.finished + state.failed,
                description=", ".join(filter(None, [*parts, *left])),
            )

        yield show
