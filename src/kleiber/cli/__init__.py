"""The command line: each command is a thin call of one public function.

Exit 0: good; 1: the fit is unusable, a verdict is not the known one, or a run of a sweep failed;
2: wrong usage or bad input (one sentence on stderr); 130: interrupted.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Generator, Sequence
from typing import Annotated, Any, cast

import typer

from kleiber.cli.check import check_command
from kleiber.cli.counts import counts_command
from kleiber.cli.data import data
from kleiber.cli.decide import compare_command, next_command
from kleiber.cli.fit import fit_command
from kleiber.cli.options import complain, people
from kleiber.cli.plan import plan_command
from kleiber.cli.predict import predict_command
from kleiber.cli.reduce import reduce_command
from kleiber.cli.sweep import sweep_command
from kleiber.cli.tables import list_command, table_command
from kleiber.cli.theories import simulate_command, solve_command
from kleiber.cli.train import train_command
from kleiber.errors import NotConverged, reason, shortened
from kleiber.reports.grids import say
from kleiber.version import __version__

# click's, wherever this Typer keeps it
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])


def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Neural scaling laws: fit a law to measured runs, with its uncertainty, and plan a budget."""
    if version:
        say(people(), f"kleiber {__version__}")
        raise typer.Exit


app = typer.Typer(name="kleiber", pretty_exceptions_enable=False)
app.callback(invoke_without_command=True)(top)
app.command("fit")(fit_command)
app.command("predict")(predict_command)
app.command("plan")(plan_command)
app.command("compare")(compare_command)
app.command("counts")(counts_command)
app.command("next")(next_command)
app.command("table")(table_command)
app.command("list")(list_command)
app.command("check")(check_command)
app.command("solve")(solve_command)
app.command("simulate")(simulate_command)
app.command("sweep")(sweep_command)
app.command("train")(train_command)
# options of the reduction itself pass through to it
app.command("reduce", context_settings={"ignore_unknown_options": True})(reduce_command)
app.add_typer(data, name="data")


@contextlib.contextmanager
def _plain_warnings() -> Generator[None]:
    """Warnings as one line on stderr."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(people(aside=True), f"warning: {shortened(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def spread(words: Sequence[str]) -> list[str]:
    """The words with an option --set or --over before each of several NAME=VALUE after one."""
    found: list[str] = []
    option = ""
    for word in words:
        pair = re.match(r"[A-Za-z_]\w*=", word) is not None
        if option and pair and found[-1] != option:
            found.append(option)
        elif not pair:
            option = word if word in ("--set", "--over") else ""
        found.append(word)
    return found


def main() -> None:
    """Run a command; any error ends it with one sentence."""
    if sys.stdout is None or sys.stderr is None:
        sys.exit(_refuse_closed())
    try:
        with _plain_warnings():
            words = spread(sys.argv[1:])
            code = app(words or ["--help"], standalone_mode=False) or (0 if words else 2)
            sys.stdout.flush()
    except BrokenPipeError:
        code = _leave_pipe()
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BaseException as error:  # polars' panics are no Exceptions
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            sys.exit(_leave_pipe())  # click has met it, and says 1
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        if os.environ.get("KLEIBER_TRACEBACK"):
            traceback.print_exc()
        complain(word_failure(error))
        code = 1 if isinstance(error, NotConverged) else 2
    sys.exit(code)


def word_failure(error: BaseException) -> str:
    """An error as the sentence that a user gets."""
    if isinstance(error, UsageError):
        where = error.ctx.command_path if error.ctx else "kleiber"
        return f"{error.format_message()} See: {where} --help"
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for this; ask for fewer rows, points, draws or units "
            f"({reason(error)})."
        )
    if isinstance(error, RecursionError):
        return "This is nested too deeply to be read; write it with fewer levels."
    if isinstance(error, NotConverged | ValueError | OSError | ImportError):
        return str(error)
    return (
        f"kleiber could not do this, which is a fault of its own: {type(error).__name__}, "
        f"{reason(error)}; KLEIBER_TRACEBACK=1 before the command shows where."
    )


def _leave_pipe() -> int:
    """End as a program does whose reader has gone (``| head``): in silence."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as a shell calls a death by SIGPIPE


def _refuse_closed() -> int:
    """Refuse to work for a standard output or error that is closed."""
    if sys.stderr is not None:
        sys.stderr.write("kleiber: Standard output is closed; send it to a file or /dev/null.\n")
    return 2
