"""Where the command line writes for people; it loads nothing that takes long."""

from __future__ import annotations

from rich.console import Console

from kleiber.errors import shorten_message
from kleiber.reports.console import say


def people(*, aside: bool = False) -> Console:
    """Where tables for people go, or aside of them: progress, warnings and errors."""
    return Console(stderr=aside, highlight=False, emoji=False)


def complain(error: Exception | str) -> None:
    """One line on stderr, whatever the message holds."""
    say(people(aside=True), "kleiber: " + shorten_message(" ".join(str(error).split())))
