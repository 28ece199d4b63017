"""Where a sweep stands, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

UNUSUAL = ("running", "failed", "diverged", "elsewhere")  # counts that are said unless zero


@dataclass(frozen=True)
class State:
    """Where a sweep stands, in runs; `left` is seconds, None while nobody can know."""

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


def counts(state: State) -> str:
    """The counts of a sweep in words; what is zero and not to be expected is left out."""
    found = f" ({state.found} found)" if state.found else ""
    return ", ".join([f"{state.finished} of {state.total} runs finished{found}", *_others(state)])


def remarks(state: State) -> str:
    """What stands beside a bar of ended runs: the other counts, and the time that is left."""
    found = [f"({state.found} found)"] if state.found else []
    left = [f"about {clock(state.left)} left"] if state.left else []
    return ", ".join([*found, *_others(state), *left])


def _others(state: State) -> list[str]:
    return [f"{number} {name}" for name in UNUSUAL if (number := getattr(state, name))]


def clock(seconds: float) -> str:
    """A time as 12.3 s, 4:05 or 3:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
