"""Axes have the scale that their values ask for, and labels and numbers in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleiber.columns import COLUMNS
from kleiber.reports.axes import (
    Axis,
    axis_label,
    format_number,
    make_axis,
    shorten_name,
    unit_of,
)


@pytest.mark.parametrize(
    ("values", "wanted", "log"),
    [
        ([2.0, 3.0], True, True),
        ([2.0, 3.0], False, False),
        ([1.0, 11.0], False, True),
        ([0.0, 1e6], False, False),
        ([-1.0, 1e6], True, False),
        ([5.0], True, True),
        ([], True, False),
    ],
)
def test_scale(values: list[float], wanted: bool, log: bool) -> None:
    assert make_axis("x", np.array(values), log=wanted) == Axis("x", log)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.81722, "1.817"),
        (2143.42, "2143"),
        (0.0012345678, "0.001235"),
        (-0.5, "\N{MINUS SIGN}0.5000"),
        (4.7912e9, "4.791\N{MULTIPLICATION SIGN}10⁹"),
        (99999.0, "1.000\N{MULTIPLICATION SIGN}10⁵"),
        (-3e-7, "\N{MINUS SIGN}3.000\N{MULTIPLICATION SIGN}10⁻⁷"),
        (0.0, "0"),
        (9.86e-305, "0"),
        (math.inf, "∞"),
        (math.nan, "unknown"),
    ],
)
def test_numbers_in_words(value: float, text: str) -> None:
    assert format_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200))
def test_numbers_keep_four_digits(value: float) -> None:
    text = format_number(value).translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    plain = text.replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}10", "e")
    assert float(plain) == pytest.approx(value, rel=5.001e-4, abs=1e-300)


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_say_what_a_column_is(name: str) -> None:
    label = axis_label(name)
    assert label.startswith(f"{name}: {COLUMNS[name].meaning}")
    assert label.endswith(f"({unit_of(name)})") or not unit_of(name)


def test_labels_of_strange_names() -> None:
    assert axis_label("anything") == "anything"
    assert unit_of("anything") == ""
    assert shorten_name("two\nlines") == "two lines"
    assert len(shorten_name("x" * 500)) == 32
