"""kleiber train: one Experiment into a store; a killed run goes on from its last state."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kleiber.cli.bars import show_progress
from kleiber.cli.console import open_console
from kleiber.cli.options import AsJson, as_text
from kleiber.cli.sweep import Adopt
from kleiber.errors import BadExperiment, reason
from kleiber.reports.console import print_line

if TYPE_CHECKING:
    import polars as pl

    from kleiber.experiment import Experiment
    from kleiber.sweeps.store import Folder


def train_command(
    source: Annotated[Path, typer.Argument(metavar="SPEC", help="An Experiment as TOML.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Folder of the store; created if needed."
        ),
    ],
    device: Annotated[str, typer.Option(help="Torch device: cpu or cuda.")] = "cpu",
    adopt: Adopt = False,
    as_json: AsJson = False,
) -> None:
    """Train every seed of an Experiment; what is in the store already is not trained again."""
    from kleiber.experiment import read_experiment
    from kleiber.sweeps.inputs import check_own
    from kleiber.sweeps.store import Folder

    spec, store = read_experiment(source), Folder(out)
    if not adopt:
        check_own(store)
    begun = time.monotonic()
    found = store.holds(spec.key())
    if not found:
        _train(spec, store, device)
    table = store.read([spec.key()])
    document: dict[str, Any] = {**describe_run(spec, table, out), "found": found}
    document["seconds"] = round(time.monotonic() - begun, 3)
    if as_json:
        sys.stdout.write(as_text(document))
    else:
        _report(open_console(), document)
    if len(document["diverged"]) == len(spec.seeds):
        raise typer.Exit(1)


def _train(spec: Experiment, store: Folder, device: str) -> None:
    """Reserve the run, train it with a saved state, and write the finished file."""
    from kleiber.experiment.memory import check_memory
    from kleiber.networks import check_device, train

    check_device(device)
    check_memory(spec)
    release = store.claim(spec.key())
    if release is None:
        raise BadExperiment(f"Another process is training {spec.key()} into {str(store.path)!r}.")
    states = store.path / ".states"
    try:
        states.mkdir(parents=True, exist_ok=True)
        with show_progress(open_console(stderr=True)) as show:
            resume = states / f"{spec.key()}.pt"
            with _explain_memory_errors():
                table = train(spec, resume=resume, progress=show, device=device)
            store.keep(spec, table)
        with contextlib.suppress(OSError):  # other runs have their states there
            states.rmdir()
    finally:
        release()


@contextlib.contextmanager
def _explain_memory_errors() -> Generator[None]:
    """Turn a failed allocation into one sentence (torch raises RuntimeError)."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise BadExperiment(
            f"The memory does not suffice to train this Experiment: {reason(error)}."
        ) from error


def describe_run(spec: Experiment, table: pl.DataFrame, store: Path) -> dict[str, Any]:
    """Describe a run as JSON: the median, minimum and maximum of each measure over the seeds that
    have not diverged."""
    import polars as pl

    diverged = table.filter(pl.col("diverged"))["seed"].to_list()
    last = table.filter((pl.col("step") == table["step"].max()) & ~pl.col("diverged"))
    ends: dict[str, Any] = {}
    for name in spec.measures:
        if len(values := last[name].drop_nulls()):
            ends[name] = {"median": values.median(), "low": values.min(), "high": values.max()}
    return {
        "key": spec.key(),
        "file": str(store / f"{spec.key()}.parquet"),
        "n_params": table["n_params"][0],
        "seeds": len(spec.seeds),
        "steps": spec.steps,
        "rows": len(table),
        "diverged": diverged,
        "ends": ends,
    }


def _report(console: Console, document: dict[str, Any]) -> None:
    """Print the sizes, the final value of each measure, the diverged seeds and the file."""
    from kleiber.reports.grids import figure

    word = "found" if document["found"] else f"trained in {document['seconds']:.1f} s"
    many = "seed" if document["seeds"] == 1 else "seeds"
    print_line(
        console,
        f"{document['seeds']} {many} of {document['n_params']} parameters, "
        f"{document['steps']} steps: {word}",
    )
    for name, end in document["ends"].items():
        span = f" ({figure(end['low'], 3)} to {figure(end['high'], 3)})"
        alone = document["seeds"] - len(document["diverged"]) == 1
        print_line(console, f"{name} at the end: {figure(end['median'], 3)}{'' if alone else span}")
    if document["diverged"]:
        print_line(console, f"diverged: seeds {', '.join(map(str, document['diverged']))}")
    print_line(console, document["file"])
