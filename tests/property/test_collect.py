"""Collecting attempts: no interruption and no extension changes an answer that was given."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

import kleiber


class Stop(Exception):
    """What ends a call."""


def collect(
    sizes: tuple[int, int, int], folder: Path | None, *, stop_at: int | None = None, answers: bool
) -> pl.DataFrame | None:
    """Collect attempts (problems, attempts, batch); None where the call number stop_at ended it."""
    problems, attempts, batch = sizes
    calls = 0

    def generate(asked: list[int], seed: int) -> list[str]:
        nonlocal calls
        calls += 1
        if calls - 1 == stop_at:
            raise Stop
        draw = random.Random(seed)
        return [str(draw.randrange(problem + 2)) for problem in asked]

    try:
        return kleiber.collect_attempts(
            list(range(problems)),
            generate,
            lambda problem, answer: answer == "0",
            attempts,
            path=folder,
            batch=batch,
            answers=answers and folder is not None,
        )
    except Stop:
        return None


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


SIZES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9))


@given(sizes=SIZES, answers=st.booleans())
def test_interrupted_at_every_batch_is_uninterrupted(
    sizes: tuple[int, int, int], answers: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        whole, pieces = Path(place, "whole"), Path(place, "pieces")
        table = collect(sizes, whole, answers=answers)
        assert table is not None
        assert collect(sizes, pieces, stop_at=0, answers=answers) is None
        rounds = 0
        while (found := collect(sizes, pieces, stop_at=1, answers=answers)) is None:
            rounds += 1
            assert len(contents(pieces)) == rounds
        assert found.equals(table)
        assert contents(pieces) == contents(whole)
        memory = collect(sizes, None, answers=answers)
        assert memory is not None
        assert memory.equals(table)


@given(sizes=SIZES, more=st.integers(1, 5), stop_at=st.integers(0, 30), answers=st.booleans())
def test_an_extension_keeps_what_there_is(
    sizes: tuple[int, int, int], more: int, stop_at: int, answers: bool
) -> None:
    problems, attempts, batch = sizes
    larger = (problems, attempts + more, batch)
    with tempfile.TemporaryDirectory() as place:
        whole, pieces = Path(place, "whole"), Path(place, "pieces")
        before = collect(sizes, whole, answers=answers)
        kept = contents(whole)
        after = collect(larger, whole, answers=answers)
        assert before is not None
        assert after is not None
        gained = after["successes"] - before["successes"]
        assert ((gained >= 0) & (gained <= more)).all()
        assert contents(whole).items() >= kept.items()
        collect(sizes, pieces, answers=answers)
        collect(larger, pieces, stop_at=stop_at, answers=answers)
        again = collect(larger, pieces, answers=answers)
        assert again is not None
        assert again.equals(after)
        assert contents(pieces) == contents(whole)
