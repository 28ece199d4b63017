"""Law: read from a function, a formula or a file; called; restricted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from kleiber.errors import BadFormula, BadLaw
from kleiber.formula import Expr, evaluate, symbol
from kleiber.law import (
    Domain,
    Law,
    fraction,
    law_from_file,
    law_from_formula,
    positive,
    real,
    restrict,
)


@Law
def line(n_params, *, A=positive(1, 2), b=real(-1, 1)):
    """A line in n_params. Euclid, book 1,
    postulate 1.

    More words. And more.
    """
    return A * n_params + b


def make(text: str, **columns: str) -> Law:
    return law_from_formula(text, list(columns) or ["n", "d"])


@pytest.mark.parametrize(
    "domain", [positive(1e-3, 1e3), real(-5, 5), fraction(), fraction(0.4, 0.6), positive()]
)
def test_a_domain_maps_to_the_line_and_back(domain: Domain) -> None:
    u = np.linspace(-30, 30, 61)
    value = domain.from_coordinate(u)
    assert all(domain.contains(float(item)) for item in value[np.abs(u) < 25])
    np.testing.assert_allclose(
        domain.to_coordinate(value[np.abs(u) < 15]), u[np.abs(u) < 15], rtol=1e-9
    )
    assert (np.diff(value) >= 0).all()
    np.testing.assert_allclose(evaluate(domain.expression(symbol("u")), {"u": u}), value)
    h = 1e-6
    slope = (domain.from_coordinate(u + h) - domain.from_coordinate(u - h)) / (2 * h)
    np.testing.assert_allclose(domain.derivative(u), slope, rtol=1e-6, atol=1e-9)


def test_the_ends_of_a_domain_are_outside_it() -> None:
    assert positive().bounds == (0, math.inf)
    assert fraction().bounds == (0, 1)
    assert real().bounds == (-math.inf, math.inf)
    assert not positive().contains(0)
    assert not fraction().contains(1)
    assert not real().contains(math.nan)
    assert positive().to_coordinate(0.0) == -math.inf
    assert fraction().to_coordinate(1.0) == math.inf
    assert positive().from_coordinate(1e4) == math.inf


def test_a_parameter_above_zero_may_be_its_own_coordinate() -> None:
    above = Domain("above", 0.1, 2)
    assert above.bounds == positive().bounds
    assert above.floor == 0
    assert (
        float(above.from_coordinate(3.0)),
        float(above.to_coordinate(3.0)),
        float(above.derivative(3.0)),
    ) == (
        3,
        3,
        1,
    )
    assert above.expression(symbol("u")).value == "u"
    assert not above.contains(0)
    with pytest.raises(BadLaw, match="above 0"):
        Domain("above", 0, 1)


@pytest.mark.parametrize(
    ("domain", "bound"),
    [(positive(), 0), (fraction(), 0), (fraction(), 1), (Domain("above"), 0)],
)
def test_the_approach_to_a_bound_reaches_it_to_rounding(domain: Domain, bound: float) -> None:
    u = domain.coordinate_near(bound)
    assert u >= domain.floor
    assert float(domain.from_coordinate(u)) == pytest.approx(bound, rel=0, abs=1e-16)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: positive(1), "both ends"),
        (lambda: positive(None, 1), "both ends"),
        (lambda: positive(0, 1), "above 0"),
        (lambda: positive(-1, 1), "above 0"),
        (lambda: positive(2, 1), "low to high"),
        (lambda: real(2, 1), "low to high"),
        (lambda: real(0, math.inf), "finite"),
        (lambda: real(math.nan, 1), "finite"),
        (lambda: fraction(0, 0.5), "inside 0 and 1"),
        (lambda: fraction(0.5, 1), "inside 0 and 1"),
    ],
)
def test_a_bad_domain_says_why(make, says: str) -> None:
    with pytest.raises(BadLaw, match=says):
        make()


def test_a_law_reads_its_function() -> None:
    assert line.name == "line"
    assert line.variables == ("n_params",)
    assert line.params == ("A", "b")
    assert line.domains["A"] == Domain("positive", 1, 2)
    assert line.formula == "A*n_params + b"
    assert line.citation == "Euclid, book 1, postulate 1."
    assert isinstance(line.expr, Expr)
    with pytest.raises(TypeError):
        line.domains["A"] = positive()  # type: ignore[index]


def test_a_law_is_called_by_position_or_name_and_broadcasts() -> None:
    n = np.array([[1.0], [2.0]])
    assert line(n, A=[1, 10, 100], b=1).tolist() == [[2, 11, 101], [3, 21, 201]]
    assert float(line(n_params=2, A=3, b=4)) == 10


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ((1,), {"A": 1}),
        ((), {"A": 1, "b": 1}),
        ((1, 2), {"A": 1, "b": 1}),
        ((1,), {"A": 1, "b": 1, "c": 1}),
        ((1,), {"A": 1, "b": 1, "n_params": 2}),
    ],
)
def test_a_law_called_wrongly_says_what_it_takes(columns: tuple, named: dict) -> None:
    with pytest.raises(BadLaw, match="takes columns n_params and parameters A, b; got"):
        line(*columns, **named)


def test_a_law_that_cannot_be_traced_is_called_as_it_is() -> None:
    @Law
    def stepped(n, *, a=positive(1, 2)):
        return np.where(n > 2, a, 0.0)

    assert stepped.expr is None
    assert stepped.formula == "stepped"
    assert stepped([1, 3], a=5).tolist() == [0, 5]


def test_a_formula_without_end_is_shown_by_name() -> None:
    @Law
    def iterated(n, *, a=positive(1, 2)):
        for _ in range(60):
            n = n + a / n
        return n

    assert iterated.formula == "iterated"
    assert iterated.expr is not None
    assert float(iterated(1.0, a=1.0)) > 1


def no_parameters(n):
    return n


def no_columns(*, a=positive()):
    return a


def plain_default(n, *, a=1.0):
    return a * n


def no_default(n, *, a):
    return a * n


def starred(*n, a=positive()):
    return a * n[0]


def double_starred(n, *, a=positive(), **rest):
    return a * n


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_parameters, "needs positional arguments"),
        (no_columns, "needs positional arguments"),
        (plain_default, "'a' of law plain_default needs a domain"),
        (no_default, "'a' of law no_default needs a domain"),
        (starred, r"may not take \*n"),
        (double_starred, r"may not take \*rest"),
    ],
)
def test_a_function_that_is_no_law_says_why(function, says: str) -> None:
    with pytest.raises(BadLaw, match=says):
        Law(function)


def test_a_formula_is_a_law_whose_other_symbols_are_positive() -> None:
    law = law_from_formula("E + A/n_params**alpha", ["loss", "n_params", "n_tokens"])
    assert law.variables == ("n_params",)
    assert law.params == ("E", "A", "alpha")
    assert set(law.domains.values()) == {Domain("positive")}
    assert law.formula == "E + A/n_params**alpha"
    assert law.doc == "E + A/n_params**alpha"
    assert law.citation == ""
    assert float(law(4.0, E=1, A=2, alpha=0.5)) == 2
    assert float(law.function(4.0, E=1, A=2, alpha=0.5)) == 2


def test_symbols_keep_the_order_in_which_they_are_written() -> None:
    law = law_from_formula("z*d + y*n + aa + a", ["n", "d"])
    assert law.variables == ("d", "n")
    assert law.params == ("z", "y", "a", "aa")  # of two that begin alike, the shorter comes first


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a*loss_curve", "No symbol of the text 'a[*]loss_curve' is a column"),
        ("a*np", r"No symbol .* n, d"),
        ("n + d", "leaves no parameter"),
        ("3", "No symbol"),
        ("A*n_params", "uses the column 'n_params', which the table does not have"),
    ],
)
def test_a_formula_that_is_no_law_says_why(text: str, says: str) -> None:
    with pytest.raises(BadLaw, match=says):
        make(text)


def test_a_formula_that_cannot_be_read_is_bad_formula() -> None:
    with pytest.raises(BadFormula, match=r"'\^'"):
        make("a*n^2")


FILE = '''
from kleiber.law import Law, positive

@Law
def mine(n_params, *, A=positive(1, 2)):
    """Mine. Nobody 2025."""
    return A / n_params

def plain(n):
    return n

number = 3
'''


@pytest.fixture
def law_file(tmp_path: Path) -> Path:
    path = tmp_path / "my laws.py"
    path.write_text(FILE)
    return path


def test_a_law_of_a_file_remembers_where_it_is_from(law_file: Path) -> None:
    law = law_from_file(f"{law_file}:mine")
    assert law.origin == f"{law_file.resolve()}:mine"
    assert law.formula == "A/n_params"
    assert law.citation == "Nobody 2025."
    assert float(law(2.0, A=4)) == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("other", "'other' does not exist in .*; its laws: mine"),
        ("", "'' does not exist in"),
        ("plain", r"'plain' is not a Law \(write @Law above it\)"),
        ("number", "'number' is not a Law"),
        ("Law", "'Law' is not a Law"),
    ],
)
def test_a_file_without_that_law_says_what_it_has(law_file: Path, name: str, says: str) -> None:
    with pytest.raises(BadLaw, match=says):
        law_from_file(f"{law_file}:{name}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadLaw, match=r"no file '.*gone\.py'"):
        law_from_file(f"{tmp_path / 'gone.py'}:law")
    with pytest.raises(BadLaw, match="no file"):
        law_from_file(f"{tmp_path}:law")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1/0", "failed: ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError"),
        ("def f(:", "failed: SyntaxError"),
        ("raise SystemExit(3)", "failed: SystemExit: 3"),
        ("\x00", "failed: "),
        ("from kleiber.law import positive\npositive(-1, 1)", "failed: BadLaw: .*above 0"),
        ("", "its laws: none"),
    ],
)
def test_a_file_that_raises_is_reported_in_one_line(
    tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(content)
    with pytest.raises(BadLaw, match=says) as caught:
        law_from_file(f"{path}:law")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "law.txt"
    path.write_text("law = 1")
    with pytest.raises(BadLaw, match="is not a Python file"):
        law_from_file(f"{path}:law")


@Law
def plane(n, d, *, E=positive(1, 2), A=positive(1, 2), B=positive(1, 2), beta=fraction()):
    return E + A / n + B * d**-beta


def test_restrict_fixes_and_ties() -> None:
    law = restrict(plane, fixed={"E": 1.5, "beta": 0.5}, tied={"B": "2*A"})
    assert law.params == ("A",)
    assert law.variables == plane.variables
    assert law.name == plane.name
    assert law.formula == "1.5 + A/n + 2*A*d**-0.5"
    assert float(law(2.0, 4.0, A=3.0)) == 1.5 + 1.5 + 3
    assert float(law.function(2.0, 4.0, A=3.0)) == 6
    assert law.function(2.0, 4.0, A=3 + 1e-30j).imag == pytest.approx(1.5e-30)


def test_restrict_to_nothing_is_the_same_law() -> None:
    law = restrict(plane)
    assert law.params == plane.params
    values = {"E": 1.0, "A": 2.0, "B": 3.0, "beta": 0.5}
    assert float(law(2.0, 4.0, **values)) == float(plane(2.0, 4.0, **values))


def test_restrict_twice_and_on_a_law_that_is_not_traced() -> None:
    law = restrict(restrict(plane, fixed={"E": 1}), tied={"B": "A"})
    assert law.formula == "1 + A/n + A*d**-beta"

    @Law
    def stepped(n, *, a=positive(1, 2), b=real(0, 1)):
        return np.where(n > 2, a, b)

    assert restrict(stepped, tied={"b": "log(a)"})([1, 3], a=1.0).tolist() == [0, 1]


def test_a_parameter_may_be_fixed_to_zero_and_tied_to_a_number() -> None:
    assert restrict(plane, fixed={"E": 0}).formula == "0 + A/n + B*d**-beta"
    assert restrict(plane, tied={"E": "2"}).formula == "2 + A/n + B*d**-beta"


@pytest.mark.parametrize(
    ("fixed", "tied", "says"),
    [
        ({"e": 1}, {}, "no parameter 'e'; it has E, A, B, beta. Did you mean 'E'"),
        ({}, {"bet": "A"}, "no parameter 'bet'.*Did you mean 'beta'"),
        ({"A": 1}, {"A": "B"}, "fixed or tied, not both"),
        ({"E": 1, "A": 1, "B": 1, "beta": 0.5}, {}, "at least one must stay free"),
        ({"A": -1}, {}, r"A = -1 lies outside its domain \(positive\)"),
        ({"A": math.nan}, {}, "outside its domain"),
        ({"A": math.inf}, {}, "outside its domain"),
        ({"beta": 1}, {}, r"outside its domain \(fraction\)"),
        ({}, {"A": "2*C"}, "uses C; free parameters are E, B, beta"),
        ({}, {"A": "n"}, "uses n"),
        ({}, {"A": "A"}, "uses A"),
        ({}, {"A": "B", "B": "E"}, "uses B"),
        ({"B": 1}, {"A": "B"}, "uses B"),
    ],
)
def test_a_bad_restriction_says_why(fixed: dict, tied: dict, says: str) -> None:
    with pytest.raises(BadLaw, match=says):
        restrict(plane, fixed=fixed, tied=tied)


def test_a_tie_that_is_no_formula_is_bad_formula() -> None:
    with pytest.raises(BadFormula, match="function sin"):
        restrict(plane, tied={"A": "sin(B)"})
