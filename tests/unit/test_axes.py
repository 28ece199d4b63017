"""Axes show what they should, with few round ticks that can be told apart."""

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
    make_axis,
    short,
    tick_labels,
    tick_places,
    unit_of,
    written,
)


@pytest.mark.parametrize(
    ("values", "wanted", "log"),
    [
        ([2.0, 3.0], True, True),
        ([2.0, 3.0], False, False),
        ([1.0, 11.0], False, True),
        ([0.0, 1e6], False, False),
        ([-1.0, 1e6], True, False),
    ],
)
def test_scale(values: list[float], wanted: bool, log: bool) -> None:
    axis = make_axis("x", np.array(values), log=wanted, margin=0.05)
    assert axis.log is log
    assert axis.low < min(values) < max(values) < axis.high


def test_others_widen_an_axis_by_half_at_most() -> None:
    values = np.array([1.0, 3.0])
    further = np.array([3.5, 1e9, -np.inf, np.nan])
    axis = make_axis("x", values, log=False, margin=0.0, also=further)
    assert (axis.low, axis.high) == (1.0, 4.0)
    near = make_axis("x", values, log=False, margin=0.0, also=further[:1])
    assert (near.low, near.high) == (1.0, 3.5)


def test_an_axis_of_one_value_has_room() -> None:
    for value in (0.0, -3.0, 5e9):
        axis = make_axis("x", np.full(4, value), log=True, margin=0.0)
        assert axis.low < value < axis.high


@given(
    low=st.floats(-1e9, 1e9),
    span=st.floats(1e-6, 1e9),
    decades=st.floats(0.02, 40),
    log=st.booleans(),
)
def test_ticks(low: float, span: float, decades: float, log: bool) -> None:
    if log:
        low = abs(low) + 1e-6
        axis = Axis("x", True, low, low * 10**decades)
    else:
        span = max(span, 1e-6 * abs(low))
        axis = Axis("x", False, low, low + span)
    places = tick_places(axis)
    labels = tick_labels(places)
    assert 3 <= len(places) <= 13
    assert all(axis.low <= place <= axis.high for place in places)
    assert places == sorted(places)
    assert len(set(labels)) == len(labels) == len(places)


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        ([2.25, 2.5, 2.75], ["2.25", "2.50", "2.75"]),
        ([-0.5, 0.0, 0.5], ["\N{MINUS SIGN}0.5", "0.0", "0.5"]),
        ([0.1, 1.0, 10.0], ["0.1", "1", "10"]),
        ([1e8, 3e8, 1e9], ["10⁸", "3\N{MULTIPLICATION SIGN}10⁸", "10⁹"]),
        ([0.0, 2.5e-4], ["0", "2.5\N{MULTIPLICATION SIGN}10⁻⁴"]),
    ],
)
def test_tick_labels(places: list[float], labels: list[str]) -> None:
    assert tick_labels(places) == labels


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
    assert written(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200))
def test_numbers_keep_four_digits(value: float) -> None:
    text = written(value).translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
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
    assert short("two\nlines") == "two lines"
    assert len(short("x" * 500)) == 32
