"""Where the command line writes for people; it loads nothing that takes long."""

from __future__ import annotations

from rich.console import Console

from kleiber.errors import shorten_message
from kleiber.reports.console import print_line


def open_console(*, stderr: bool = False) -> Console:
    """Open the console for results, or on stderr for progress, warnings and errors."""
    return Console(stderr=stderr, highlight=False, emoji=False)


def print_error(error: Exception | str) -> None:
    """Print a message as one line on stderr."""
    print_line(
        open_console(stderr=True), "kleiber: " + shorten_message(" ".join(str(error).split()))
    )
