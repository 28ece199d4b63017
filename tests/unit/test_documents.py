"""save and load: every record comes back as it was; what is no record is refused in a sentence."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Int

import kleiber
from kleiber.errors import BadTable
from kleiber.plain import as_plain, from_plain

LEAST = kleiber.Noise("log")


class Colour(Enum):
    RED = "red"


class Ends(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Inner:
    name: str
    share: float | None = None


@dataclass(frozen=True)
class Whole:
    """A field of each kind that results have."""

    number: float
    count: int
    flag: bool
    kind: Literal["a", "b"]
    colour: Colour
    ends: Ends
    inner: Inner
    parts: tuple[Inner, ...]
    pair: tuple[int, str]
    table: pl.DataFrame = field(compare=False)
    named: dict[str, float] = field(default_factory=dict[str, float])
    perhaps: Inner | None = None


def whole(**changed: Any) -> Whole:
    about: dict[str, Any] = {
        "number": 1.5, "count": 3, "flag": True, "kind": "a", "colour": Colour.RED,
        "ends": Ends(0.0, math.inf), "inner": Inner("x"), "parts": (Inner("y", 0.5), Inner("z")),
        "pair": (1, "one"), "table": pl.DataFrame({"x": [1, 2]}), "named": {"a": 1.0},
    }  # fmt: skip
    return Whole(**about | changed)


def through(made: Any) -> Any:
    text = json.dumps(as_plain(made, keep_infinities=True), allow_nan=False)
    return from_plain(type(made), json.loads(text))


@given(
    st.floats(allow_nan=False), st.integers(-(2**60), 2**60), st.text(), st.none() | st.floats(0, 1)
)
def test_any_record_comes_back(number: float, count: int, name: str, share: float | None) -> None:
    made = whole(number=number, count=count, inner=Inner(name, share), ends=Ends(-number, number))
    back = through(made)
    assert back == made
    assert back.table.equals(made.table)
    assert through(whole(perhaps=Inner("w"))).perhaps == Inner("w")


def test_what_is_unknown_comes_back_unknown() -> None:
    assert math.isnan(through(whole(number=math.nan)).number)
    assert as_plain(whole(number=math.nan))["number"] is None
    assert as_plain(whole())["ends"] == {"low": 0.0, "high": None}  # as it is printed
    assert as_plain(whole(), keep_infinities=True)["ends"] == {"low": 0.0, "high": "inf"}


@dataclass(frozen=True, eq=False)
class Arrays:
    real: Float[np.ndarray, "rows columns"]
    whole: Int[np.ndarray, "rows"]
    truth: Bool[np.ndarray, "rows"]


def test_arrays_come_back_with_their_kinds_of_numbers() -> None:
    made = Arrays(np.array([[1.0, math.nan], [-math.inf, 2.0]]), np.arange(3), np.array([True]))
    back = through(made)
    assert np.array_equal(back.real, made.real, equal_nan=True)
    assert back.whole.dtype == np.int64
    assert back.truth.dtype == bool
    assert back.truth.tolist() == [True]


@pytest.mark.parametrize(
    ("entry", "value", "sentence"),
    [
        ("number", "large", "The entry it.number must hold a number, but holds 'large'."),
        ("number", True, "The entry it.number must hold a number, but holds True."),
        ("count", 1.5, "The entry it.count must hold a whole number, but holds 1.5."),
        ("flag", 1, "The entry it.flag must hold true or false, but holds 1."),
        ("kind", "c", "The entry it.kind must hold one of 'a', 'b', but holds 'c'."),
        ("colour", "blue", "The entry it.colour must hold one of 'red', but holds 'blue'."),
        ("ends", [0, 1], "The entry it.ends must hold the fields of Ends, but holds [0, 1]."),
        (
            "parts",
            [{"nam": "y"}],
            "The entry it.parts.0 has a field 'nam'; the fields of Inner are name, share.",
        ),
        ("pair", [1], "The entry it.pair must hold a list, but holds [1]."),
        ("inner", {}, "The entry it.inner must hold the fields of Inner, but holds {}."),
    ],
)
def test_what_is_no_record_is_refused_in_a_sentence(entry: str, value: Any, sentence: str) -> None:
    document = as_plain(whole(), keep_infinities=True) | {entry: value}
    with pytest.raises(BadTable) as caught:
        from_plain(Whole, document)
    assert str(caught.value) == sentence


def runs() -> dict[str, list[float]]:
    rng = np.random.default_rng(5)
    n = np.logspace(1, 4, 40)
    return {
        "n": n.tolist(),
        "loss": (1 + 5 * n**-0.4 * np.exp(0.01 * rng.normal(size=40))).tolist(),
    }


def attempts(problems: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(6)
    rows = [
        {"model": str(t), "n_tokens": t, "problem": p, "attempts": 20,
         "successes": int(rng.binomial(20, rng.beta(a, 1)))}
        for t, a in ((1e6, 0.4), (1e7, 0.6), (1e8, 0.9))
        for p in range(problems)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_a_comparison_comes_back(tmp_path: Path) -> None:
    made = kleiber.compare(["E+A*n**-a", "A*n**-a"], runs(), beyond="n", noise=LEAST, draws=20)
    kleiber.save(made, tmp_path / "comparison.json")
    assert kleiber.load(tmp_path / "comparison.json") == made


def test_a_plan_comes_back(tmp_path: Path) -> None:
    fitted = kleiber.fit("E+A*n**-a", runs(), noise=LEAST, draws=20)
    made = kleiber.plan(fitted, 1e5, "n")
    kleiber.save(made, tmp_path / "plan.json")
    back = kleiber.load(tmp_path / "plan.json")
    assert as_plain(back, keep_infinities=True) == as_plain(made, keep_infinities=True)
    assert type(back.allocation["n"]) is type(made.allocation["n"])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"along": "n_tokens"},
        {"along": "n_tokens", "by": "recipe"},
        {"draws": 10},
        {"prior": "straight"},
        {"family": "lid", "draws": 5},
    ],
)
def test_a_fit_of_counts_comes_back(tmp_path: Path, asked: dict[str, Any]) -> None:
    problems = 24 if "family" in asked else 60  # the lid takes seconds on all of them
    table = attempts(problems)
    if "by" in asked:
        other = attempts(problems).with_columns(successes=pl.col("successes") // 2)
        parts = [(table, "whole"), (other, "half")]
        table = pl.concat([part.with_columns(recipe=pl.lit(name)) for part, name in parts])
    made = kleiber.fit_counts(table, **asked)
    assert (made.pooled is None) == ("by" not in asked)
    kleiber.save(made, tmp_path / "counts.json")
    back = kleiber.load(tmp_path / "counts.json")
    if "family" not in asked:  # the lid's intervals take seconds, and follow from what is compared
        one, other = (fit.pass_at([1, 10, 1000]) for fit in (made, back))
        for name in ("value", "low", "high"):
            assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        assert back.interval(made.family.params[0]) == made.interval(made.family.params[0])
    assert (back.groups, back.status, back.notes) == (made.groups, made.status, made.notes)
    assert (back.misfit, back.trend, back.pooled) == (made.misfit, made.trend, made.pooled)
    assert np.array_equal(back.drawn, made.drawn)
    assert np.array_equal(back.peak.u, made.peak.u)
    assert back.family.name == made.family.name


def test_a_fit_of_counts_of_an_older_version_comes_back(tmp_path: Path) -> None:
    """Documents were written without what is pooled, scatter, verdict and divisor."""
    made = kleiber.fit_counts(attempts(), along="n_tokens")
    kleiber.save(made, tmp_path / "counts.json")
    old = json.loads((tmp_path / "counts.json").read_text())
    del old["pooled"], old["trend"]["scatter"]
    for name in ("verdict", "value", "divisor", "degrees_of_freedom"):
        del old["trend"]["growth"][name]
    (tmp_path / "counts.json").write_text(json.dumps(old))
    back = kleiber.load(tmp_path / "counts.json")
    assert (back.pooled, back.trend.scatter) == (None, None)
    assert back.trend.growth.p_value == made.trend.growth.p_value
    assert "likelihood ratio" in back.trend.summary()


def test_fits_come_back_with_what_they_were_asked(tmp_path: Path) -> None:
    asked = kleiber.Options(noise=LEAST, draws=20, seed=4, priors={"a": (0.4, 1.0)}, real=["A"])
    made = kleiber.fit("E+A*n**-a", runs(), asked)
    kleiber.save(made, tmp_path / "fit.json")
    assert kleiber.load(tmp_path / "fit.json").options == made.options == asked
    each = kleiber.fit_groups(
        "A*n**-a", {**runs(), "g": [1, 2] * 20}, asked, group="g", real=(), priors=None
    )
    kleiber.save(each, tmp_path / "fits.json")
    second = each.fits[1].fit
    assert second is not None
    assert kleiber.load(tmp_path / "fits.json", group=2).params == second.params


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            {"kind": "Plam"},
            "holds a 'Plam'; what can be read is a Fit, CountFit, Comparison, Forecast, Plan. Did",
        ),
        ({"kind": "Plan", "version": "99.0"}, "newer than this"),
        (
            {"kind": "Plan", "budget": "all"},
            "holds no Plan that can be used: The entry it.budget must",
        ),
        ({"kind": "CountFit"}, "holds no CountFit that can be used: It has no family, counts"),
        ([], "is not a saved fit"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, document: Any, sentence: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(document))
    with pytest.raises(BadTable) as caught:
        kleiber.load(file)
    assert sentence in str(caught.value)


def test_a_plan_is_no_fit_to_plan_with(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"kind": "Plan"}')
    from kleiber.fitting.saved import load

    with pytest.raises(BadTable, match="holds a 'Plan', and not a fit"):
        load(tmp_path / "plan.json")


def test_only_results_are_saved(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="The value of result must be one of Fit, GroupFits, CountF"
    ):
        kleiber.save({"a": 1}, tmp_path / "x.json")
    assert not list(tmp_path.iterdir())
