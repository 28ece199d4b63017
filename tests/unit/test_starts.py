"""Where descents begin: stated ranges, and linear parameters solved for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, pose
from kleiber.fitting.engine.starts import draw_starts, linear_params, start_ranges
from kleiber.law import Law, fraction, law_from_formula, positive, real
from kleiber.laws import broken_1, catalogue, chinchilla
from kleiber.maths.affine import find_exponents
from laws import LAWS

LINEAR = {name: row.linear for name, row in LAWS.items()}
RNG = np.random.default_rng(0)
N = np.exp(RNG.uniform(np.log(5e7), np.log(5e9), 40))
D = np.exp(RNG.uniform(np.log(1e9), np.log(5e11), 40))
COLUMNS = {"n_params": N, "n_tokens": D}
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
LOSS = chinchilla(**COLUMNS, **TRUTH) * np.exp(0.01 * RNG.standard_normal(40))


@pytest.mark.parametrize("name", LINEAR)
def test_linear_parameters_of_the_catalogue(name: str) -> None:
    assert linear_params(catalogue()[name]) == LINEAR[name]


def test_the_whole_catalogue_is_here() -> None:
    assert set(catalogue()) == set(LINEAR)


@pytest.mark.parametrize("name", [name for name in LINEAR if LINEAR[name]])
def test_linear_parameters_are_jointly_affine(name: str) -> None:
    """The law at the middle of two settings of them is the middle of its values."""
    law = catalogue()[name]
    rng = np.random.default_rng(1)
    ends = {
        "n_params": 1e8,
        "n_tokens": 1e10,
        "n_unique": 1e9,
        "n_data": 1e4,
        "k": 10.0,
        "width": 8.0,
        "step": 50.0,
        "batch_size": 16.0,
        "norm": 5.0,
        "n_active": 1e7,
        "loss": 1.0,
        "flops": 1e18,
    }
    columns = {key: ends[key] * rng.uniform(1, 9, 20) for key in law.variables}
    first, second = (dict.fromkeys(law.params, 0.7) for _ in range(2))
    for key in LINEAR[name]:
        first[key], second[key] = rng.uniform(1, 3, 2)
    middle = {key: (first[key] + second[key]) / 2 for key in law.params}
    mean = (law(**columns, **first) + law(**columns, **second)) / 2
    assert law(**columns, **middle) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*x + b", ("a", "b")),
        ("a*x + a*b", ("a",)),
        ("a*b*x", ("a",)),
        ("exp(a*x) + b", ("b",)),
        ("(a + b*x)/(1 + c*x)", ("a", "b")),
        ("a*x**k + k", ("a",)),
        ("log(a) + x", ()),
    ],
)
def test_linear_parameters_of_formulas(text: str, expected: tuple[str, ...]) -> None:
    assert linear_params(law_from_formula(text, ["x"])) == expected


@Law
def opaque(x, *, a=positive(), k=real(), s=fraction(0.2, 0.9), c=positive(3, 4)):
    """Not traced: it branches on a value. Nobody 2000."""
    return a * x if np.all(x > 0) else k * x + s + c


def test_a_law_that_is_not_traced_has_no_linear_parameters_and_wide_ranges() -> None:
    assert opaque.expr is None
    assert linear_params(opaque) == ()
    ranges = start_ranges(opaque, {"x": np.ones(3)}, np.ones(3))
    assert ranges == {"a": (0.01, 100.0), "k": (-100.0, 100.0), "s": (0.2, 0.9), "c": (3, 4)}


def test_exponents_are_those_of_powers() -> None:
    law = law_from_formula("E + A/n**alpha + (n/m)**(b + c) + exp(-k*n)", ["n"])
    assert law.expr is not None
    assert find_exponents(law.expr) == {"alpha", "b", "c"}


def ranges_of(text: str, columns: dict[str, np.ndarray], y: np.ndarray) -> dict[str, tuple]:
    return start_ranges(law_from_formula(text, list(columns)), columns, y)


def test_ranges_of_a_formula() -> None:
    """Exponents, a scale from the column it is compared with, coefficients from the target."""
    text = "E + A/n_params**alpha + B*(1 + n_tokens/D0)**-beta"
    ranges = ranges_of(text, COLUMNS, LOSS)
    assert ranges["alpha"] == ranges["beta"] == (0.05, 2.0)
    assert ranges["D0"] == (D.min() / 10, D.max() * 10)
    assert ranges["E"][0] < 1.8 < ranges["E"][1]
    low, high = ranges["A"]
    term = np.median(N ** -np.sqrt(0.05 * 2.0))  # at the middle of the exponent's range
    assert np.sqrt(low * high) == pytest.approx(np.median(LOSS) / term, rel=1e-6)
    assert high / low == pytest.approx(1e4)


def test_a_rate_has_the_inverse_scale_of_its_column() -> None:
    x = np.geomspace(20, 3000, 15)
    ranges = ranges_of("a*exp(-k*x) + c", {"x": x}, np.exp(-x / 300))
    assert ranges["k"] == pytest.approx((1 / 3000 / 10, 10 / 20))


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_ranges_follow_the_units_of_the_data(size: float) -> None:
    """A column in other units moves scales, a target in other units moves coefficients."""
    x = np.geomspace(1, 100, 20)
    law = "a*exp(-x/d) + c"
    base = ranges_of(law, {"x": x}, 1 + np.exp(-x / 10))
    moved = ranges_of(law, {"x": x * size}, (1 + np.exp(-x / 10)) * size)
    for key in ("a", "d", "c"):
        assert moved[key] == pytest.approx(tuple(size * end for end in base[key]), rel=1e-9)


def test_real_parameters_start_on_both_sides_of_zero() -> None:
    @Law
    def wave(x, *, a=real(), k=real(), b=real(2, 3)):
        """Open ranges. Nobody 2000."""
        return a * np.exp(-k * x) + b

    x = np.linspace(1, 10, 20)
    ranges = start_ranges(wave, {"x": x}, np.ones(20))
    assert ranges["k"] == pytest.approx((-10, 10))
    assert ranges["a"][0] == -ranges["a"][1] < 0
    assert ranges["b"] == (2, 3)


def test_ranges_given_by_the_law_are_kept() -> None:
    ranges = start_ranges(chinchilla, COLUMNS, LOSS)
    assert ranges == {name: (d.low, d.high) for name, d in chinchilla.domains.items()}


def problem_of(law: Law, columns: dict[str, np.ndarray], y: np.ndarray, noise: Noise) -> Problem:
    return pose(law, noise, columns, y, np.random.default_rng(3).uniform(0.5, 2, len(y)))


def starts_of(problem: Problem, y: np.ndarray, count: int = 64, seed: int = 0) -> np.ndarray:
    ranges = start_ranges(problem.law, problem.columns, y)
    return problem.from_coordinate(draw_starts(problem, ranges, count=count, seed=seed))


def test_starts_lie_in_their_ranges_and_fill_them() -> None:
    problem = problem_of(chinchilla, COLUMNS, LOSS, Noise("log"))
    ranges = start_ranges(chinchilla, COLUMNS, LOSS)
    theta = starts_of(problem, LOSS, 128)
    for name in ("alpha", "beta"):
        values = theta[:, chinchilla.params.index(name)]
        low, high = ranges[name]
        position = (values - low) / (high - low)
        if problem.law.domains[name].kind == "positive":
            position = np.log(values / low) / np.log(high / low)
        # Sobol points leave no eighth of a range empty
        assert set(np.floor(8 * position).tolist()) == set(range(8))


def test_fractions_start_inside() -> None:
    @Law
    def mixed(x, *, s=fraction(0.1, 0.6), k=positive(0.5, 2)):
        """A fraction that is not linear. Nobody 2000."""
        return np.exp(-k * x) ** s + s * s

    x = np.linspace(0.1, 3, 20)
    theta = starts_of(problem_of(mixed, {"x": x}, np.ones(20), Noise("linear")), np.ones(20))
    assert (theta[:, 0] > 0.1).all()
    assert (theta[:, 0] < 0.6).all()


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (2, 2), (5, 8), (64, 64), (65, 128)])
def test_counts_are_rounded_up_to_powers_of_two(count: int, drawn: int) -> None:
    problem = problem_of(chinchilla, COLUMNS, LOSS, Noise("log"))
    assert starts_of(problem, LOSS, count).shape == (drawn, 5)


def test_seeds_decide_starts() -> None:
    problem = problem_of(chinchilla, COLUMNS, LOSS, Noise("log"))
    first, again, other = (starts_of(problem, LOSS, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all(axis=1).any()


@pytest.mark.parametrize("noise", [Noise("log"), Noise("linear"), Noise("log", 1e-3)], ids=str)
@pytest.mark.parametrize("law", [chinchilla, broken_1], ids=lambda law: law.name)
def test_linear_parameters_are_solved_as_by_nnls(law: Law, noise: Noise) -> None:
    """At every start, SciPy's non-negative least squares on the terms computed here: where all its
    coefficients are positive they are ours, and elsewhere ours fit hardly worse."""
    columns = COLUMNS if law is chinchilla else {"n_data": N}
    y = LOSS if law is chinchilla else 2 + 3e3 * N**-0.4
    problem = problem_of(law, columns, y, noise)
    theta = starts_of(problem, y)
    linear = [law.params.index(name) for name in linear_params(law)]
    weight = np.sqrt(problem.weights) / (y if noise.scale == "log" else 1.0)
    inside = 0
    for row in theta:
        named = dict(zip(law.params, row, strict=True))
        zero = named | dict.fromkeys(linear_params(law), 0.0)
        base = law(**columns, **zero)
        terms = [law(**columns, **(zero | {law.params[k]: 1.0})) - base for k in linear]
        matrix = np.stack(terms, axis=1) * weight[:, None]
        size = np.linalg.norm(matrix, axis=0)
        best, length = optimize.nnls(matrix / size, (y - base) * weight)
        own = row[linear] * size
        assert (row[linear] > 0).all()
        ours, theirs = (matrix / size @ value - (y - base) * weight for value in (own, best))
        if noise.delta is not None:  # nearly least absolute residuals: better in that, or as good
            inside += bool((best > 1e-6 * np.linalg.norm(best)).all())
            slack = 0.02 + 0.05 * bool((best <= 1e-6 * np.linalg.norm(best)).any())
            assert np.abs(ours).sum() <= np.abs(theirs).sum() + slack * np.abs(y * weight).sum()
        elif (best > 1e-6 * np.linalg.norm(best)).all():
            inside += 1
            assert np.linalg.norm(ours) == pytest.approx(length, rel=1e-3)
        else:  # a coefficient at zero is replaced by a hundredth of the target's size
            assert np.linalg.norm(ours) <= length + 0.05 * np.linalg.norm(y * weight)
    assert inside > 5


def test_signs_of_real_coefficients_are_free() -> None:
    @Law
    def line(x, *, a=real(-1, 1), b=real(-1, 1), k=positive(0.5, 2)):
        """Both coefficients are negative. Nobody 2000."""
        return a + b * np.exp(-k * x)

    x = np.linspace(0, 3, 30)
    y = -5 - 2 * np.exp(-x)
    problem = pose(line, Noise("linear"), {"x": x}, y, np.ones(30))
    theta = starts_of(problem, y)
    for a, b, k in theta:
        design = np.column_stack([np.ones(30), np.exp(-k * x)])
        assert [a, b] == pytest.approx(np.linalg.lstsq(design, y)[0].tolist(), rel=1e-5)


def test_a_start_where_the_law_has_no_value_keeps_what_was_drawn() -> None:
    """exp(k x) overflows at some starts: those keep their drawn coefficient, others are solved."""

    @Law
    def burst(x, *, a=positive(1, 2), k=positive(1e-3, 1e3)):
        """Overflows for k x above 709. Nobody 2000."""
        return a * np.exp(k * x)

    x = np.linspace(1, 10, 20)
    y = 7 * np.exp(0.01 * x)
    problem = pose(burst, Noise("linear"), {"x": x}, y, np.ones(20))
    theta = starts_of(problem, y)
    assert np.isfinite(theta).all()
    over = theta[:, 1] > 71
    assert over.any()
    assert ((theta[over, 0] >= 1) & (theta[over, 0] <= 2)).all()
    assert not ((theta[~over, 0] >= 1) & (theta[~over, 0] <= 2)).all()
