"""The catalogue: names, citations, published numbers, limits; and how a law is found."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

from kleiber import laws
from kleiber.columns import COLUMNS
from kleiber.errors import BadFormula, BadLaw
from kleiber.formula import CALCULATE
from kleiber.law import Law, restrict
from kleiber.maths.graph import Graph, partials
from laws import LAWS

NAMES = sorted(LAWS)
X = np.geomspace(1e2, 1e9, 15)
N, D = np.repeat(np.geomspace(1e6, 1e12, 7), 6), np.tile(np.geomspace(1e8, 1e13, 6), 7)
HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
MUENNIGHOFF = {  # the authors' README gives logarithms of E, A and B
    "E": math.exp(0.6254804), "A": math.exp(6.255414), "B": math.exp(7.3049974),
    "alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743,
}  # fmt: skip


def close(got: object, wanted: object, rtol: float = 1e-13) -> None:
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=0)  # type: ignore[arg-type]


def test_the_catalogue_is_sorted_and_complete() -> None:
    assert list(laws.catalogue()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_law_is_an_attribute_with_a_sentence_and_a_citation(name: str) -> None:
    law = laws.catalogue()[name]
    assert getattr(laws, name) is law
    assert law.name == name
    first = " ".join(law.doc.split("\n\n")[0].split())
    assert first.index(". ") > 20
    assert ". " + law.citation in first
    assert re.match(r"[A-Z][A-Za-z']+ (et al\. )?20\d\d \(arXiv", law.citation)
    assert "(arXiv " in law.citation
    assert law.citation.endswith(".")
    assert law.expr is not None


@pytest.mark.parametrize("name", NAMES)
def test_start_ranges_exist_where_the_data_cannot_give_them(name: str) -> None:
    law, row = laws.catalogue()[name], LAWS[name]
    for param, domain in law.domains.items():
        # an open range needs the formula: a coefficient, or a scale beside a column
        assert domain.low is not None or param in (*row.linear, *row.scales)
        assert domain.low is not None or law.expr is not None
        assert param not in COLUMNS


def test_each_module_says_what_its_symbols_mean() -> None:
    for name, law in laws.catalogue().items():
        modules = [item.name for item in pkgutil.iter_modules(laws.__path__, "kleiber.laws.")]
        homes = [importlib.import_module(module) for module in modules]
        (home,) = (module for module in homes if name in vars(module))
        words = set((home.__doc__ or "").replace(",", " ").split())
        for param in law.params:
            assert {param, param.rstrip("0123456789")} & words, (name, param)


def test_chinchilla_at_published_points() -> None:
    value = laws.chinchilla([70e9, 280e9], [1.4e12, 300e9], **HOFFMANN)
    assert np.round(value, 3).tolist() == [1.937, 1.993]  # Chinchilla and Gopher


def test_data_constrained_at_the_authors_points() -> None:
    value = laws.data_constrained([6.34e9, 8.67e9], [242e9, 178e9], 25e9, **MUENNIGHOFF)
    close(value, [2.2256440889984477, 2.2269634075087867], rtol=1e-14)


def test_m2_is_the_power_law_with_a_floor() -> None:
    assert laws.m2.function is laws.power_law_floor.function
    assert laws.m2.formula == laws.power_law_floor.formula
    assert laws.m2.citation == laws.power_law_floor.citation


def test_two_tails_are_each_one_alone() -> None:
    p = {"P": 2.0, "beta": 2.5, "gamma": 0.4}
    close(laws.failure_two_tails(X, Q=1e-300, **p), laws.failure_power(X, A=2.0, beta=2.5))
    close(laws.failure_two_tails([1e200], Q=0.1, **p), 0.1 * 1e200**-0.4)


def test_rare_success_starts_certain_to_fail_and_ends_as_a_power() -> None:
    close(laws.failure_gamma([1e-300, 1e12], a=0.3, b=50), [1, (1e12 / 50) ** -0.3], rtol=1e-9)


def test_the_saturating_exponent_runs_from_beta_less_delta_to_beta() -> None:
    p = {"beta": 2.5, "Delta": 0.9, "c": 1e-3, "nu": 1.6}
    close(laws.exponent_saturating([1e-300, 1e300], **p), [1.6, 2.5])


def test_the_floor_may_be_fixed_to_zero() -> None:
    law = restrict(laws.power_law_floor, fixed={"E": 0})
    close(law(X, A=3, alpha=0.4), laws.power_law(X, A=3, alpha=0.4))


def test_tied_chinchilla_is_chinchilla_tied() -> None:
    law = restrict(laws.chinchilla, tied={"beta": "alpha"})
    values = {"E": 1.7, "A": 300, "B": 500, "alpha": 0.3}
    assert law.params == laws.chinchilla_tied.params
    close(law(N, D, **values), laws.chinchilla_tied(N, D, **values))


def test_m3_without_saturation_is_a_power_law_and_levels_off_at_one_over_gamma() -> None:
    law = restrict(laws.m3, fixed={"gamma": 0})
    close(law(X, A=3, alpha=0.4), laws.power_law(X, A=3, alpha=0.4))
    close(laws.m3(1e15, A=3, gamma=1e-5, alpha=0.4), 3 * 1e-5**0.4, rtol=1e-9)
    close(laws.m3(1e5, A=3, gamma=1e-5, alpha=0.4), 3 * 2e-5**0.4)


def test_m4_with_small_alpha_is_m2() -> None:
    values = {"E": 0.1, "A": 2.0}
    got = laws.m4(X, **values, span=0.9, c=0.4, alpha=1e-12)
    close(got, laws.m2(X, **values, alpha=0.4), rtol=1e-10)


def test_m4_with_alpha_one_has_a_closed_form() -> None:
    power = 50 * X**-0.4
    close(laws.m4(X, E=0.1, span=0.9, A=50, c=0.4, alpha=1), 0.1 + 0.9 * power / (1 + power))


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 0.7, 1.0, 3.0, 50.0])
def test_m4_solves_its_equation_and_runs_from_chance_to_floor(alpha: float) -> None:
    x = np.geomspace(1e-8, 1e12, 200)
    y = laws.m4(x, E=0.2, span=0.7, A=30, c=0.5, alpha=alpha)
    inside = (y > 0.2 + 1e-5) & (y < 0.9 - 1e-5)
    assert inside.sum() > 5
    left = np.log(y - 0.2) - alpha * np.log(0.9 - y)
    close(left[inside], (math.log(30) - 0.5 * np.log(x))[inside], rtol=1e-9)
    assert (np.diff(y) <= 0).all()
    assert y[0] <= 0.9
    assert y[-1] >= 0.2
    if alpha <= 3:  # with a larger one the start is not yet chance at 1e-300
        far = laws.m4([1e-300, 1e300], E=0.2, span=0.7, A=30, c=0.5, alpha=alpha)
        close(far, [0.9, 0.2], rtol=1e-12)


def test_a_law_is_shown_without_its_tree() -> None:
    assert len(repr(laws.m4)) < 2000


def test_m4_takes_many_parameter_vectors_at_once() -> None:
    alpha = np.array([[0.2], [1.0], [4.0]])
    together = laws.m4(X, E=0.1, span=0.9, A=50, c=0.4, alpha=alpha)
    assert together.shape == (3, 15)
    for row, each in zip(together, alpha[:, 0], strict=True):
        close(row, laws.m4(X, E=0.1, span=0.9, A=50, c=0.4, alpha=each), rtol=1e-14)


def test_m4_carries_a_nan_without_hanging() -> None:
    value = laws.m4([1e3, math.nan, 1e5], E=0.1, span=0.9, A=50, c=0.4, alpha=2)
    assert np.isnan(value).tolist() == [False, True, False]


def test_m4_without_data_is_chance() -> None:
    values = {"E": 0.1, "span": 0.9, "A": 50, "c": 0.4, "alpha": 2.0}
    close(laws.m4([0.0, 1e-60], **values), 1.0, rtol=1e-9)
    with np.errstate(all="raise"):
        stepped = laws.m4.function(np.zeros(1), **values | {"span": 0.9 + 1e-30j})
    assert stepped.tolist() == [1 + 1e-30j]


def test_m4_with_known_chance_level_is_a_tie() -> None:
    law = restrict(laws.m4, tied={"span": "0.999 - E"})
    assert law.params == ("E", "A", "c", "alpha")
    close(law(1e-9, E=0.1, A=50, c=0.9, alpha=1), 0.999, rtol=1e-7)


BREAK = {"a": 0.05, "b": 8.0, "c0": 0.2, "c1": 0.5, "d1": 1e5, "f1": 0.3}


def test_a_break_that_changes_no_slope_is_no_break() -> None:
    got = laws.broken_1(X, **BREAK | {"c1": 0})
    close(got, laws.power_law_floor(X, E=0.05, A=8, alpha=0.2))


def test_a_broken_law_is_a_power_law_on_either_side_of_the_break() -> None:
    near, far = 1e5 / 1e8, 1e5 * 1e8
    close(laws.broken_1(near, **BREAK), 0.05 + 8 * near**-0.2)
    close(laws.broken_1(far, **BREAK | {"a": 0}), 8 * 1e5**0.5 * far**-0.7)


def test_a_break_far_beyond_the_data_leaves_fewer_breaks() -> None:
    more = BREAK | {"c2": 0.7, "d2": 1e60, "f2": 0.4}
    close(laws.broken_2(X, **more), laws.broken_1(X, **BREAK))
    close(
        laws.broken_3(X, **more, c3=-0.4, d3=1e60, f3=1.0),
        laws.broken_1(X, **BREAK),
    )


def test_breaks_may_come_in_any_order() -> None:
    ends = {"a": 0.05, "b": 8.0, "c0": 0.2}
    first = {"c1": 0.5, "d1": 1e4, "f1": 0.3, "c2": -0.1, "d2": 1e7, "f2": 0.6}
    second = {"c2": 0.5, "d2": 1e4, "f2": 0.3, "c1": -0.1, "d1": 1e7, "f1": 0.6}
    close(laws.broken_2(X, **ends, **first), laws.broken_2(X, **ends, **second))


def test_the_broken_law_of_the_papers_first_figure_is_the_product_it_prints() -> None:
    p = {"a": 1e-3, "b": 4.66e3, "c0": 0.05, "c1": 0.49, "d1": 3e6, "f1": 1.1,
         "c2": -0.811, "d2": 1e14, "f2": 1.425, "c3": 2.1, "d3": 2e20, "f3": 0.3}  # fmt: skip
    x = np.geomspace(0.1, 1e26, 28)
    product = x ** -p["c0"]
    for i in "123":
        product *= (1 + (x / p[f"d{i}"]) ** (1 / p[f"f{i}"])) ** (-p[f"c{i}"] * p[f"f{i}"])
    close(laws.broken_3(x, **p), p["a"] + p["b"] * product, rtol=1e-11)


@pytest.mark.parametrize("width", [1e-9, 1e-3, 0.05, 2.0, 1e3])
@pytest.mark.parametrize("x", [1e-9, 1e5 * (1 - 1e-9), 1e5, 1e5 * (1 + 1e-9), 1e30])
def test_a_break_of_any_width_has_finite_slopes_anywhere(width: float, x: float) -> None:
    law = laws.broken_1
    assert law.expr is not None
    graph = Graph()
    top = graph.build(law.expr)
    first, second = partials(graph, top, law.params, second=True)
    values = BREAK | {"f1": width, "n_data": x}
    have: list[float] = []
    for op, args, value in graph.nodes:
        with np.errstate(under="ignore", over="ignore"):
            if op == "number":
                have.append(float(value))
            elif op == "symbol":
                have.append(values[str(value)])
            else:
                have.append(float(CALCULATE[op](*(have[item] for item in args))))
    assert np.isfinite([have[item] for item in (top, *first, *second)]).all()


@pytest.mark.parametrize("n", [0, -1])
def test_a_broken_law_without_breaks_is_refused(n: int) -> None:
    with pytest.raises(BadLaw, match=f"1 to 100 breaks .*, got {n}"):
        laws.broken(n)


def test_a_broken_law_of_any_number_of_breaks_can_be_made() -> None:
    law = laws.broken(5)
    assert (law.name, len(law.params), law.variables) == ("broken_5", 18, ("n_data",))
    assert law.citation == laws.broken_1.citation
    assert law.formula.count("log1p") == 5


def test_kaplan_with_endless_data_or_parameters_is_a_power_law() -> None:
    p = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
    close(laws.kaplan(N, 1e40, **p), (6.4e13 / N) ** 0.076)
    close(laws.kaplan(1e60, D, **p), (1.8e13 / D) ** 0.103)


def test_steps_and_size_with_endless_steps_or_parameters_is_a_power_law() -> None:
    p = {"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76}
    close(laws.steps_and_size(N, 1e40, **p), (6.5e13 / N) ** 0.077)
    close(laws.steps_and_size(1e300, 5e4, **p), (2.1e3 / 5e4) ** 0.76)


def test_three_regimes_is_the_early_law_at_the_optimal_norm() -> None:
    k1, k2, gamma_1, gamma_2, q1, q2 = 3.0, 2.0, 0.4, 0.9, 0.01, 5e4
    norm = laws.optimal_norm(X, k2=k2, gamma_2=gamma_2, q2=q2)
    error = laws.early_norm(norm, k1=k1, gamma_1=gamma_1, q1=q1)
    own = {"k1": k1 * k2**-gamma_1, "gamma_1": gamma_1, "gamma_2": gamma_2, "q2": q2 / k2}
    close(laws.three_regimes(X, q1=q1, **own), error)


def test_over_training_is_chinchilla_tied_in_other_coordinates() -> None:
    A, B, alpha = 406.4, 410.7, 0.3
    p = {"a": A * 6 ** (alpha / 2), "b": B * 6 ** (alpha / 2), "eta": alpha / 2}
    wanted = laws.chinchilla_tied(N, D, E=1.7, A=A, B=B, alpha=alpha)
    close(laws.over_training(N, D, E=1.7, **p), wanted)


def optimal_size(unique: np.ndarray) -> np.ndarray:
    """Compute-optimal parameters for a number of tokens, as Hoffmann et al. eq. 4 has it."""
    alpha, beta = HOFFMANN["alpha"], HOFFMANN["beta"]
    ratio = (alpha * HOFFMANN["A"] / (beta * HOFFMANN["B"])) ** (1 / (alpha + beta))
    return ratio * (unique * ratio) ** (beta / alpha)


def test_data_constrained_is_chinchilla_while_nothing_repeats() -> None:
    small = np.minimum(N, 0.99 * optimal_size(D))
    for unique in (D, 3 * D, 1e30):
        got = laws.data_constrained(small, D, unique, **HOFFMANN, R_N=5, R_D=15)
        close(got, laws.chinchilla(small, D, **HOFFMANN))


def test_data_constrained_is_chinchilla_when_repetition_does_no_harm() -> None:
    got = laws.data_constrained(N, D, 1e9, **HOFFMANN, R_N=1e30, R_D=1e30)
    close(got, laws.chinchilla(N, D, **HOFFMANN), rtol=1e-12)


def test_endless_repetition_is_worth_r_d_more_epochs() -> None:
    small = np.minimum(N, 0.5 * optimal_size(np.asarray(1e9)))
    got = laws.data_constrained(small, 1e15, 1e9, **HOFFMANN, R_N=5, R_D=15)
    close(got, laws.chinchilla(small, 16e9, **HOFFMANN))


def test_a_law_is_found_by_name_formula_or_file(tmp_path: Path) -> None:
    assert laws.find(" chinchilla ", ["n_params"]) is laws.chinchilla
    law = laws.find("E + A/n**alpha", ["n", "loss"])
    assert (law.variables, law.params) == (("n",), ("E", "A", "alpha"))
    path = tmp_path / "mine.py"
    path.write_text("from kleiber.laws import m2 as found")
    assert laws.find(f"{path}:found", ["n_data"]).params == laws.m2.params


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        ("chinchila", BadLaw, "'chinchila'.*Did you mean 'chinchilla'.*kleiber list laws"),
        ("Chinchilla", BadLaw, "Did you mean 'chinchilla'"),
        ("zzz", BadLaw, r"No law is called 'zzz'\. See: kleiber list laws"),
        ("n", BadLaw, "No law is called 'n'"),
        ("gone.py:law", BadLaw, r"no file 'gone\.py'"),
        ("gone.py", BadLaw, r"say which of its laws is meant, as gone\.py:name"),
        ("", BadFormula, "empty"),
        ("E + A^n", BadFormula, r"\*\* for a power"),
        ("E + A*m", BadLaw, "No symbol"),
    ],
)  # fmt: skip
def test_what_is_not_found_says_what_was_given(spec: str, kind: type, says: str) -> None:
    with pytest.raises(kind, match=says):
        laws.find(spec, ["n"])


def test_the_catalogue_cannot_be_changed_by_its_readers() -> None:
    laws.catalogue().clear()
    assert list(laws.catalogue()) == NAMES
    assert all(isinstance(law, Law) for law in laws.catalogue().values())
