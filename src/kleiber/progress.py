"""How long work tells how far it is: one callback for every verb that takes long.

It is called with (done, total, note) as work goes on, in the process and thread of the caller.
``done`` of ``total`` are counted in units of the verb (refits, steps, runs, claims, bytes);
``note`` says which stage they belong to, and a new stage counts from 0 again. What the callback
raises ends the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kleiber.arguments import check_call, refuse

ACCEPTED = "a function of done, total and note, or None"
Progress = Callable[[int, int, str], object]


def check_progress(progress: Any) -> Progress:
    """The callback a verb was given; for None one that nobody hears."""
    if progress is None:
        return ignore
    call = check_call("progress", progress, ACCEPTED)
    try:
        inspect.signature(call).bind(0, 1, "")
    except TypeError:
        raise refuse("progress", ACCEPTED, progress) from None
    except ValueError:  # one that does not tell its arguments
        pass
    return call


def ignore(done: int, total: int, note: str, /) -> None:
    """Progress that nobody watches."""
