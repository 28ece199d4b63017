"""Formulas in mathematical notation say the same as their text."""

from __future__ import annotations

import pytest

from kleiber.formula import Expr, number, parse, symbol
from kleiber.laws import catalogue
from kleiber.reports.notation import typeset_name, typeset_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("E + A*n**-alpha", ("E", r"+A\,\mathrm{n}^{-\alpha}")),
        ("E + A/n**alpha - B", ("E", r"+A/\mathrm{n}^{\alpha}", "-B")),
        ("a - (b - c)", ("a", "-(b-c)")),
        ("-a*n + b", (r"-a\,\mathrm{n}", "+b")),
        ("b + -a*n", ("b", r"-a\,\mathrm{n}")),
        ("a - -b*n", ("a", r"-(-b\,\mathrm{n})")),
        ("a*-b", (r"a\,(-b)",)),
        ("(a + b)*c", (r"(a+b)\,c",)),
        ("a/(b*c)", (r"a/(b\,c)",)),
        ("a*b/c", (r"a\,b/c",)),
        ("(a**b)**c", ("(a^{b})^{c}",)),
        ("(-a)**2", ("(-a)^{2}",)),
        ("2*3*a", (r"2\cdot 3\,a",)),
        ("a**(b + c)", ("a^{b+c}",)),
        ("exp(-a) + sqrt(b)", (r"\exp(-a)", r"+\sqrt{b}")),
        ("1e9*a", (r"1\times 10^{9}\,a",)),
        ("a/1e9", (r"a/(1\times 10^{9})",)),
    ],
)
def test_terms(text: str, terms: tuple[str, ...]) -> None:
    assert typeset_terms(parse(text), ["n"]) == terms


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("E", "E"),
        ("alpha", r"\alpha"),
        ("alpha_N", r"\alpha_{\mathrm{N}}"),
        ("c1", r"c_{\mathrm{1}}"),
        ("R_D", r"R_{\mathrm{D}}"),
        ("k_alpha", r"k_{\alpha}"),
        ("span", r"\mathrm{span}"),
        ("two_words", r"\mathrm{two\_words}"),
        ("_", r"\mathrm{\_}"),
        ("a$b", r"\mathrm{a\$b}"),
    ],
)
def test_names(name: str, symbol: str) -> None:
    assert typeset_name(name) == symbol
    assert typeset_name(name, [name]).startswith(r"\mathrm{")


def test_what_has_no_notation() -> None:
    assert typeset_terms(Expr("step", (symbol("a"),)), []) == ()
    deep = symbol("a")
    for _ in range(2000):
        deep = Expr("exp", (deep,))
    assert typeset_terms(deep, []) == ()
    shared = symbol("a")
    for _ in range(35):
        shared = shared * shared
    assert typeset_terms(shared, []) == ()
    long = number(1.0)
    for _ in range(2000):
        long = long + symbol("a")
    assert typeset_terms(long, []) == ()


def test_the_catalogue_has_notation() -> None:
    without = {
        name
        for name, law in catalogue().items()
        if law.expr is not None and not typeset_terms(law.expr, law.variables)
    }
    assert without == {"data_constrained", "m4"}  # they have steps
