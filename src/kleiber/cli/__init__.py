"""The command line: each command is a thin call of one public function.

Exit 0: good; 1: the fit is unusable, a verdict is not the known one, or a run of a sweep failed;
2: wrong usage or bad input (one sentence on stderr); 130: interrupted.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from kleiber.cli.console import open_console, print_error
from kleiber.errors import NotConverged, reason, shorten_message
from kleiber.reports.console import print_line
from kleiber.version import __version__

# click's, wherever this Typer keeps it
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])


def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Neural scaling laws: fit a law to measured runs, with its uncertainty, and plan a budget."""
    if version:
        print_line(open_console(), f"kleiber {__version__}")
        raise typer.Exit


# Each command: its module and function there. A module is loaded when its command runs: it may
# need seconds of libraries.
COMMANDS: Mapping[str, str] = {
    "read": "read:read_command",
    "fit": "fit:fit_command",
    "predict": "predict:predict_command",
    "forecast": "forecast:forecast_command",
    "score": "forecast:score_command",
    "speedup": "speedup:speedup_command",
    "plan": "plan:plan_command",
    "compare": "decide:compare_command",
    "counts": "counts:counts_command",
    "next": "decide:next_command",
    "table": "tables:table_command",
    "list": "tables:list_command",
    "check": "check:check_command",
    "solve": "theories:solve_command",
    "simulate": "theories:simulate_command",
    "exponents": "theories:exponents_command",
    "sweep": "sweep:sweep_command",
    "train": "train:train_command",
    "reduce": "reduce:reduce_command",
    "data": "data:data",
}
GROUPS = {"data": "data_command"}  # commands that have some of their own: who says what they are
PASSING = {"ignore_unknown_options": True}  # options of the reduction itself pass through to it


def make_app(wanted: str | None) -> typer.Typer:
    """Build the command line with one command loaded and the others by name (None loads all)."""
    made = typer.Typer(name="kleiber", pretty_exceptions_enable=False)
    made.callback(invoke_without_command=True)(top)
    for name, place in COMMANDS.items():
        module, _, function = place.partition(":")
        loaded: Any = None
        if wanted in (None, name):
            loaded = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        if name in GROUPS:
            inside = loaded or typer.Typer(help=_read_docstring(module, GROUPS[name]))
            made.add_typer(inside, name=name)
        else:
            settings = PASSING if name == "reduce" else None
            made.command(name, context_settings=settings)(loaded or _stand_in(module, function))
    return made


def _read_docstring(module: str, function: str) -> str:
    """Read the docstring of a function from the source of a module that is not loaded."""
    source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node) or ""
    raise LookupError(f"kleiber.cli.{module} has no function {function}")


def _stand_in(module: str, function: str) -> Callable[[], None]:
    """Return a placeholder that only appears in the list of commands."""

    def command() -> None: ...

    command.__doc__ = _read_docstring(module, function)
    return command


def __getattr__(name: str) -> Any:
    if name == "app":
        return make_app(None)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextlib.contextmanager
def _plain_warnings() -> Generator[None]:
    """Print warnings as one line on stderr while the block runs."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print_line(open_console(stderr=True), f"warning: {shorten_message(str(message))}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def repeat_options(words: Sequence[str]) -> list[str]:
    """Repeat ``--set`` and ``--over`` before each NAME=VALUE that follows."""
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


def _app_for(words: Sequence[str]) -> typer.Typer:
    """Build the command line for these words; shell completion needs all of it."""
    if any(name.endswith("_COMPLETE") and name.startswith("_KLEIBER") for name in os.environ):
        return make_app(None)
    return make_app(next((word for word in words if not word.startswith("-")), ""))


def main() -> None:
    """Run a command; any error ends it with one sentence on stderr."""
    if sys.stdout is None or sys.stderr is None:
        sys.exit(_refuse_closed())
    try:
        with _plain_warnings():
            words = repeat_options(sys.argv[1:])
            run = _app_for(words)
            code = run(words or ["--help"], standalone_mode=False) or (0 if words else 2)
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
        print_error(describe_failure(error))
        code = 1 if isinstance(error, NotConverged) else 2
    sys.exit(code)


def describe_failure(error: BaseException) -> str:
    """Describe an error in one sentence for the user."""
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
    """End silently after the reader of the output has gone (``| head``)."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as a shell calls a death by SIGPIPE


def _refuse_closed() -> int:
    """Refuse to run with a closed standard output or error."""
    if sys.stderr is not None:
        sys.stderr.write("kleiber: Standard output is closed; send it to a file or /dev/null.\n")
    return 2
