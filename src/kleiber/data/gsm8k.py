"""GSM8K: word problems of grade-school mathematics with worked answers (Cobbe et al. 2021, arXiv
2110.14168), and the exact verification of an answer by its final number."""

from __future__ import annotations

import decimal
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.arguments import check_text, refuse
from kleiber.data.fetch import fetch
from kleiber.errors import BadTable, shown
from kleiber.table import read_table, require

MARK = "####"  # stands before the final number of a worked answer
SPLITS = ("train", "test")
DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"  # 1,000,000 or 1000000
PLAIN = rf"(?:{DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}}(?![0-9A-Za-z]))?"
NUMBER = re.compile(  # 16-5 and 16 - 5 are differences; -5, -$5, $-5 and a true minus are signs
    rf"(?P<sign>(?<![\w)%\].])[-\u2212](?=[$.0-9]))?\$?(?P<inner>(?<=\$)[-\u2212])?(?P<top>{PLAIN})"
    rf"(?:/(?P<bottom>{PLAIN}))?"
)
INEXACT = (decimal.Inexact, decimal.DivisionByZero, decimal.InvalidOperation)
EXACT = decimal.Context(prec=60, traps=[*INEXACT])


def load_gsm8k() -> pl.DataFrame:
    """Return the 7,473 training and 1,319 test problems: problem, split, question, answer, final.

    ``problem`` is the split and the row in its file, from 0, as in ``"test/0"``; ``answer`` is the
    worked answer, and ``final`` the number at its end, as text without commas. Raises
    FileNotFoundError where a file cannot be had, BadTable where one does not hold such problems.
    """
    files = fetch("gsm8k")
    return pl.concat([_read_split(split, files[split]) for split in SPLITS])


def extract_answer(text: str) -> Decimal | None:
    """Return the final number of an answer: the first one after ``####``, else the last one.

    Commas of thousands, $, %, a full stop and zeros at the end do not matter; 1/2 is 0.5. Returns
    None if there is no number, or none that a decimal holds exactly, such as 1/3.
    """
    check_text("text", text)
    _, mark, rest = text.partition(MARK)
    found = NUMBER.search(rest) if mark else None
    if found is None:
        found = next(reversed([*NUMBER.finditer(text)]), None)
    return None if found is None else _value(found)


def is_right(answer: str, final: str | int | float | Decimal) -> bool:
    """Return whether the final number of an answer is the given one, compared as exact decimals.

    Raises BadTable for a ``final`` that is no number.
    """
    return extract_answer(check_text("answer", answer)) == _final(final)


def _final(given: Any) -> Decimal:
    """Return the number that an answer must have."""
    if isinstance(given, bool) or not isinstance(given, str | int | float | Decimal):
        raise refuse("final", "a number or its text", given)
    found = NUMBER.fullmatch(text := str(given).strip())
    value = None if found is None else _value(found)
    if value is None:
        raise BadTable(f"The value of final must be a number, got {shown(text)}.")
    return value


def _value(found: re.Match[str]) -> Decimal | None:
    """Return the number of a match, None for a fraction that is no decimal."""
    value = Decimal(found["top"].replace(",", ""))
    if found["bottom"]:
        try:
            value = EXACT.divide(value, Decimal(found["bottom"].replace(",", "")))
        except INEXACT:
            return None
    return value.copy_negate() if found["sign"] or found["inner"] else value


def _read_split(split: str, path: Path) -> pl.DataFrame:
    """Return the problems of a file."""
    table = read_table(path)
    try:
        require(table, ["question", "answer"])
    except BadTable as error:
        raise BadTable(f"{path}: {error}") from None
    finals: list[str] = []
    for row, answer in enumerate(table["answer"]):
        found = extract_answer(answer) if isinstance(answer, str) and MARK in answer else None
        if found is None:
            raise BadTable(f"{path}: the answer of row {row + 1} has no number after {MARK}.")
        finals.append(str(found))
    names = pl.Series("problem", [f"{split}/{row}" for row in range(table.height)])
    return table.select(
        names, pl.lit(split).alias("split"), "question", "answer", pl.Series("final", finals)
    )
