"""Progress: one callback for every function that takes long.

It is called with (done, total, note) as work goes on, in the process and thread of the caller.
``done`` of ``total`` are counted in units of the function (refits, steps, runs, claims, bytes);
``note`` names the stage, and a new stage counts from 0 again. An exception in the callback ends the
work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from kleiber.arguments import check_call, refuse

ACCEPTED = "a function of done, total and note, or None"
Progress = Callable[[int, int, str], object]


def check_progress(progress: Any) -> Progress:
    """Return the callback that a function was given; for None one that does nothing."""
    if progress is None:
        return no_progress
    call = check_call("progress", progress, ACCEPTED)
    try:
        inspect.signature(call).bind(0, 1, "")
    except TypeError:
        raise refuse("progress", ACCEPTED, progress) from None
    except ValueError:  # one that does not tell its arguments
        pass
    return call


def no_progress(done: int, total: int, note: str, /) -> None:
    """Do nothing: the callback that is used if none is given."""
