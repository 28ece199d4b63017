"""The progress of a sweep, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

REPORTED_IF_NONZERO = ("running", "failed", "diverged", "elsewhere")


@dataclass(frozen=True)
class State:
    """The progress of a sweep in runs; `left` is the remaining seconds, None if unknown."""

    total: int
    found: int = 0  # had finished before
    finished: int = 0  # now, the found ones included
    running: int = 0
    failed: int = 0
    lost: int = 0  # their worker died; they are tried again next time
    diverged: int = 0  # finished with at least one member that diverged
    elsewhere: int = 0  # another sweep on this store works on them
    seconds: float = 0.0
    left: float | None = None


def describe_state(state: State) -> str:
    """Describe the counts of a sweep in words, without unexpected ones that are zero."""
    found = f" ({state.found} found)" if state.found else ""
    return ", ".join([f"{state.finished} of {state.total} runs finished{found}", *_others(state)])


def describe_progress(state: State) -> str:
    """Describe what a progress bar does not show: the other counts, and the remaining time."""
    found = [f"({state.found} found)"] if state.found else []
    left = [f"about {format_seconds(state.left)} left"] if state.left else []
    return ", ".join([*found, *_others(state), *left])


def _others(state: State) -> list[str]:
    return [f"{number} {name}" for name in REPORTED_IF_NONZERO if (number := getattr(state, name))]


def format_seconds(seconds: float) -> str:
    """Format a time as 12.3 s, 4:05 or 3:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"
