"""Lines for people, on a terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from kleiber.errors import spelt_out


def say(console: Console, text: str | Text) -> None:
    """One line, which the terminal itself may wrap; what could steer the terminal is spelt out."""
    if isinstance(text, str):
        text = spelt_out(text, "\n\t")
    elif (plain := spelt_out(text.plain, "\n\t")) != text.plain:
        text = Text(plain)
    console.print(text, soft_wrap=True, markup=False)


def say_notes(console: Console, notes: Iterable[str]) -> None:
    """Each note on a line of its own."""
    for note in notes:
        say(console, Text("note", style="yellow") + Text(f": {note}"))
