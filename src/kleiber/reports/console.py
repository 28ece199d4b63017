"""Printing lines of text to a terminal or a file."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from kleiber.errors import escape_control_characters


def print_line(console: Console, text: str | Text) -> None:
    """Print one line, which the terminal may wrap; control characters are escaped."""
    if isinstance(text, str):
        text = escape_control_characters(text, "\n\t")
    elif (plain := escape_control_characters(text.plain, "\n\t")) != text.plain:
        text = Text(plain)
    console.print(text, soft_wrap=True, markup=False)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print each note on a line of its own."""
    for note in notes:
        print_line(console, Text("note", style="yellow") + Text(f": {note}"))
