"""The compiled objective: the same numbers as the NumPy path, kept on disk where that can be done.

Compiling costs seconds a law, so every law and noise model is tried through the text itself, run
by Python; Numba compiles a few of them (every law among the slow tests).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kleiber import laws
from kleiber.fitting.engine import compiled, source
from kleiber.fitting.engine.compiled import compile_kernel, worth_compiling
from kleiber.fitting.engine.levenberg import Local
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, look, minimise, pose
from kleiber.fitting.fit import fit
from kleiber.fitting.spread.bootstrap import refit
from kleiber.law import Law, positive, real
from kleiber.maths.machine_code import cache_folder
from kleiber.maths.seeds import stream

BREAKS = {"c1": 0.3, "d1": 1e4, "f1": 0.3, "c2": 0.4, "d2": 1e7, "f2": 0.3}
HOFFMANN = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
TASK = {"A": 0.8, "W": 1.5, "alpha": 1.6, "beta": 0.5}
EASY = {**TASK, "T": 0.3, "beta": 1.3}
TRUTH: dict[str, dict[str, float]] = {
    "bottleneck": {"A": 0.8, "W": 1.5, "T": 0.3, "p": 0.6, "q": 0.9, "s": 0.4},
    "bottleneck_easy": EASY,
    "bottleneck_data_easy": {**EASY, "F": 2.0},
    "bottleneck_batch_easy": {**EASY, "S": 0.5},
    "bottleneck_lazy": TASK,
    "bottleneck_rich": TASK,
    "bottleneck_data_lazy": {**TASK, "F": 2.0},
    "bottleneck_data_rich": {**TASK, "F": 2.0},
    "bottleneck_batch_lazy": {**TASK, "S": 0.5},
    "bottleneck_batch_rich": {**TASK, "S": 0.5},
    "early_norm": {"k1": 3.0, "gamma_1": 0.4, "q1": 0.02},
    "optimal_norm": {"k2": 5.0, "gamma_2": 0.9, "q2": 300.0},
    "three_regimes": {"k1": 3.0, "gamma_1": 0.4, "gamma_2": 0.9, "q1": 0.02, "q2": 300.0},
    "power_law": {"A": 5.0, "alpha": 0.3},
    "power_law_floor": {"E": 1.7, "A": 40.0, "alpha": 0.4},
    "m2": {"E": 1.7, "A": 40.0, "alpha": 0.4},
    "m3": {"A": 20.0, "gamma": 1e-5, "alpha": 0.35},
    "m4": {"E": 0.1, "span": 0.9, "A": 30.0, "c": 0.5, "alpha": 1.5},
    "broken_1": {"a": 0.2, "b": 5.0, "c0": 0.1, "c1": 0.4, "d1": 1e5, "f1": 0.3},
    "broken_2": {"a": 0.2, "b": 5.0, "c0": 0.05, **BREAKS},
    "broken_3": {"a": 0.05, "b": 5.0, "c0": 0.05, **BREAKS, "c3": -0.3, "d3": 1e9, "f3": 0.2},
    "chinchilla": HOFFMANN,
    "chinchilla_tied": {"E": 1.8, "A": 480.0, "B": 1500.0, "alpha": 0.35},
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095},
    "data_constrained": {**HOFFMANN, "R_N": 5.3, "R_D": 15.4},
    "over_training": {"E": 1.8, "a": 60.0, "b": 40.0, "eta": 0.18},
    "steps_and_size": {"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
    "failure_power": {"A": 0.8, "beta": 0.3},
    "failure_two_tails": {"P": 0.5, "beta": 1.5, "Q": 0.05, "gamma": 0.2},
    "failure_gamma": {"a": 0.3, "b": 30.0},
    "neg_log_pass_power": {"A": 3.0, "beta": 0.4},
    "width_crossover": {"E": 1e-3, "at": 24.0, "beta": 1.0, "gap": 3.0},
    "exponent_saturating": {"beta": 2.5, "Delta": 0.6, "c": 1e-3, "nu": 0.9},
}
SPANS = {
    "n_params": (1e6, 1e11),
    "n_tokens": (1e8, 1e13),
    "n_unique": (1e7, 1e12),
    "n_data": (1e2, 1e10),
    "step": (1e3, 1e6),
    "k": (1.0, 1e4),
    "width": (2.0, 1e4),
    "norm": (1.0, 1e6),
    "batch_size": (1.0, 1e3),
}
LEAST, HUBER, STUDENT = Noise("log"), Noise("log", delta=5e-3), Noise("log", dof=4.0)
NOISES = (LEAST, HUBER, STUDENT)
PLAIN = tuple(replace(noise, scale="linear") for noise in NOISES)
FIELDS = ("objective", "gradient", "gauss", "newton")


@pytest.fixture(scope="module")
def numba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Numba, with an empty folder for its work; skips where it is not installed."""
    found = pytest.importorskip("numba", reason="compiled kernels need Numba: kleiber[fast]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KLEIBER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield found


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels whose text is run by Python as it stands."""

    def decorate(function: Any = None, **_: Any) -> Any:
        return decorate if function is None else function

    def load(source: str) -> ModuleType:
        module = ModuleType("interpreted")
        exec(source, vars(module))
        return module

    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(njit=decorate))
    monkeypatch.setattr(compiled, "load_source", load)


def planted(law: Law, noise: Noise, rows: int = 40, seed: int = 0) -> Problem:
    """A problem of a catalogue law with log-normal noise."""
    rng = np.random.default_rng(seed)
    columns = {name: np.exp(rng.uniform(*np.log(SPANS[name]), size=rows)) for name in law.variables}
    y = law(**columns, **TRUTH[law.name]) * np.exp(0.01 * rng.standard_normal(rows))
    return pose(law, noise, columns, y, np.ones(rows))


def compiled_problem(problem: Problem) -> Problem:
    kernel = compile_kernel(problem.law, problem.noise, problem.columns, problem.target)
    return replace(problem, kernel=kernel)


def around(problem: Problem, members: int, seed: int = 1) -> np.ndarray:
    """Coordinates about the truth."""
    rng = np.random.default_rng(seed)
    truth = np.array([[TRUTH[problem.law.name][name] for name in problem.law.params]])
    u = problem.inner(truth)
    return u + 0.02 * np.maximum(np.abs(u), 0.1) * rng.standard_normal((members, u.shape[1]))


def same(got: Local, wanted: Local, rtol: float) -> None:
    """Equal to a share of each member's largest entry: of gauss too for newton, whose terms cancel
    where a law is linear."""
    for name in FIELDS:
        ours, theirs = getattr(got, name), getattr(wanted, name)
        size = np.abs(theirs).reshape(len(theirs), -1).max(axis=1)
        if name == "newton":
            size = np.maximum(size, np.abs(wanted.gauss).reshape(len(theirs), -1).max(axis=1))
        off = np.abs(ours - theirs).reshape(len(theirs), -1).max(axis=1)
        assert (off <= rtol * size).all(), (name, off / size)


def check_against_numpy(law: Law, noise: Noise, members: int = 3, rows: int = 12) -> None:
    """All four parts, with rows of weight zero, several draws' weights, and shifted data."""
    plain = planted(law, noise, rows)
    fast = compiled_problem(plain)
    rng = np.random.default_rng(2)
    u, scale = around(plain, members), rng.uniform(0.005, 0.02, members)
    shift = 0.01 * rng.standard_normal((members, rows))
    counts = rng.integers(0, 3, (members, rows)).astype(float)
    assert (counts == 0).any(axis=1).all()
    for weights in (np.ones((1, rows)), counts):
        for moved in (None, shift):
            same(
                look(fast, u, weights, scale, shift=moved),
                look(plain, u, weights, scale, shift=moved),
                rtol=1e-12,
            )


# The numbers


def test_every_traced_law_is_tried() -> None:
    assert {name for name, law in laws.catalogue().items() if law.expr is not None} == set(TRUTH)


@pytest.mark.parametrize("noise", [*NOISES, PLAIN[1]], ids=lambda noise: noise.describe())
@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.usefixtures("interpreted")
def test_the_text_is_the_numpy_path(name: str, noise: Noise) -> None:
    with np.errstate(all="ignore"):
        check_against_numpy(laws.catalogue()[name], noise)


QUICK = [
    ("chinchilla", LEAST),
    ("chinchilla", HUBER),
    ("chinchilla", STUDENT),
    ("power_law", PLAIN[0]),
]
SLOW = [(name, HUBER) for name in TRUTH if (name, HUBER) not in QUICK]


@pytest.mark.parametrize(
    ("name", "noise"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)]
)
@pytest.mark.usefixtures("numba")
def test_the_compiled_text_is_the_numpy_path(name: str, noise: Noise) -> None:
    check_against_numpy(laws.catalogue()[name], noise, members=7, rows=40)


def test_functions_of_the_text_keep_their_digits(numba: ModuleType) -> None:
    """exp, log and log1p against NumPy's, at ordinary, tiny, huge and impossible arguments: the
    compiler may not reorder what their digits depend on."""
    text = source.PREAMBLE + "".join(
        f"@njit(error_model='numpy', fastmath=FAST)\n"
        f"def all_{name}(x, y):\n    for i in range(len(x)):\n        y[i] = {name}(x[i])\n"
        for name in ("exp", "log", "log1p")
    )
    made: dict[str, Any] = {}
    exec(text, made)
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-18, 10, 4000)
    given = {
        "exp": np.concatenate([rng.uniform(-708, 709.7, 4000), size[size < 1], -size[size < 1]]),
        "log": np.concatenate([np.exp(rng.uniform(-700, 700, 4000)), 1 + size]),
        "log1p": np.concatenate([size, -size[size < 0.9]]),
    }
    for name, x in given.items():
        y = np.empty_like(x)
        made[f"all_{name}"](x, y)
        np.testing.assert_allclose(y, getattr(np, name)(x), rtol=5e-16, atol=0, err_msg=name)
    odd = np.array([np.inf, -np.inf, np.nan, 710.0, 1e300, -800.0, 0.0, -1.0, -2.0])
    for name in given:
        y = np.empty_like(odd)
        made[f"all_{name}"](odd, y)
        with np.errstate(all="ignore"):
            wanted = getattr(np, name)(odd)
        good = np.isfinite(wanted)
        np.testing.assert_allclose(y[good], wanted[good], rtol=5e-16)
        assert not np.isfinite(y[~good]).any(), name


def far_away(u: np.ndarray) -> np.ndarray:
    """Members sent where the law overflows, underflows, or is no number; the last stays."""
    out = np.repeat(u, 6, 0)
    out[0, 1], out[1, 1], out[2, 3] = 800.0, np.inf, -60.0
    out[3, 3], out[4, 1] = np.nan, -2000.0
    return out


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.describe())
@pytest.mark.usefixtures("numba")
def test_regions_without_a_value_are_the_same(noise: Noise) -> None:
    plain = planted(laws.chinchilla, noise)
    u = far_away(around(plain, 1))
    ours, theirs = (
        look(item, u, plain.weights[None], np.full(len(u), 0.01))
        for item in (compiled_problem(plain), plain)
    )
    np.testing.assert_array_equal(np.isfinite(ours.objective), np.isfinite(theirs.objective))
    assert np.isfinite(theirs.objective).tolist() == [False, False, False, False, True, True]
    some = np.isfinite(theirs.objective)
    same(*(Local(*(getattr(x, f)[some] for f in FIELDS)) for x in (ours, theirs)), rtol=1e-12)
    for item in (ours, theirs):
        assert (item.gradient[~some] == 0).all()


@Law
def falling(n_data: Any, *, a: Any = real(0, 5), b: Any = real(0, 1)) -> Any:
    """A line, which becomes negative."""
    return a - b * n_data


@pytest.mark.usefixtures("numba")
def test_a_logarithm_of_a_negative_prediction_is_no_value() -> None:
    x = np.arange(1.0, 21.0)
    plain = pose(falling, LEAST, {"n_data": x}, 3 - 0.1 * x, np.ones(20))
    u = np.array([[3.0, 0.1], [3.0, 0.2], [-1.0, 0.1], [3.0, 0.14]])
    for item in (compiled_problem(plain), plain):
        value = look(item, u, plain.weights[None], np.ones(4)).objective
        assert np.isfinite(value).tolist() == [True, False, False, True]


# Refits


def draw(problem: Problem, u: np.ndarray, scale: float, wild: bool) -> tuple[np.ndarray, ...]:
    runs = list(
        refit(problem, u[None], scale, draws=100, groups=None, rng=stream(0, "resample"), wild=wild)
    )
    return tuple(
        np.concatenate([getattr(run, what) for run in runs])
        for what in ("point", "objective", "converged")
    )


@pytest.mark.parametrize(
    ("noise", "wild"), [(LEAST, True), (LEAST, False), (HUBER, False), (STUDENT, False)]
)
@pytest.mark.usefixtures("numba")
def test_refits_are_the_same(noise: Noise, wild: bool) -> None:
    plain = planted(laws.chinchilla, noise, rows=60)
    found, scale = minimise(plain, around(plain, 1), plain.weights[None])
    u, size = found.point[0], float(scale[0])
    ours, theirs = (draw(item, u, size, wild) for item in (compiled_problem(plain), plain))
    assert ours[2].all()
    assert theirs[2].all()
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-10)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-8)


@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.usefixtures("numba")
def test_draws_that_the_compiled_descent_leaves_are_finished(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = planted(laws.chinchilla, LEAST, rows=60)
    found, _ = minimise(plain, around(plain, 1), plain.weights[None])
    whole = draw(compiled_problem(plain), found.point[0], 1.0, False)
    monkeypatch.setattr(compiled, "LIMIT", limit)
    problem = compiled_problem(plain)
    assert problem.kernel is not None
    ends = problem.kernel.polish(
        found.point[[0, 0]] + 0.1, np.ones((1, 60)), np.ones(2), None, np.full(5, -np.inf), 1e-10
    )
    assert not ends.settled.any()
    cut = draw(problem, found.point[0], 1.0, False)
    assert cut[2].all()
    np.testing.assert_allclose(cut[0], whole[0], rtol=1e-8)


@pytest.mark.usefixtures("numba")
def test_optima_at_a_floor_are_left_to_the_general_descent() -> None:
    """Growing data: the best exponent of a falling law is zero, where no Newton step arrives."""
    n = np.geomspace(1e3, 1e6, 30)
    plain = pose(laws.power_law, LEAST, {"n_data": n}, 2 * n**0.05, np.ones(30))
    start = plain.inner(np.array([[3.0, 0.01]]))
    ends = [
        minimise(item, start, np.ones((1, 30)), exact=True)[0]
        for item in (compiled_problem(plain), plain)
    ]
    np.testing.assert_allclose(ends[0].objective, ends[1].objective, rtol=1e-9)


@pytest.mark.usefixtures("numba")
def test_a_fit_of_many_draws_is_the_same_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = planted(laws.chinchilla, LEAST, rows=60)
    table = {**problem.columns, "loss": np.exp(problem.target)}
    plain = fit("chinchilla", table, noise=LEAST, draws=100)
    loaded: list[str] = []
    load = compiled.load_source

    def watch(source: str) -> ModuleType:
        loaded.append(source)
        return load(source)

    monkeypatch.setattr(compiled, "load_source", watch)
    monkeypatch.setattr(compiled, "WORTH", 100 * 60)
    fast = fit("chinchilla", table, noise=LEAST, draws=100)
    assert len(loaded) == 1
    assert fast.params == plain.params
    for name in plain.draws:
        np.testing.assert_allclose(fast.draws[name], plain.draws[name], rtol=1e-8)


# Whether it is worth it


def untraced(n_data: Any, *, A: Any = positive(1, 10)) -> Any:
    return A if n_data[0] > 0 else n_data


@pytest.mark.usefixtures("numba")
def test_few_draws_are_not_worth_compiling() -> None:
    rows = 100
    enough = -(-compiled.WORTH // rows)
    assert not worth_compiling(laws.power_law, enough - 1, rows)
    assert worth_compiling(laws.power_law, enough, rows)
    law = Law(untraced)
    assert law.expr is None
    assert not worth_compiling(law, enough, rows)


def test_nothing_is_compiled_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ModuleNotFoundError
    assert not worth_compiling(laws.power_law, compiled.WORTH, 100)
    monkeypatch.setattr(compiled, "WORTH", 1)
    problem = planted(laws.power_law, LEAST)
    found = fit("power_law", {**problem.columns, "loss": np.exp(problem.target)}, draws=20)
    assert found.n_draws == 20


# Where it is kept


def test_the_folder_of_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KLEIBER_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLEIBER_CACHE", "~/own")
    assert cache_folder() == tmp_path / "home" / "own"
    monkeypatch.setenv("KLEIBER_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kleiber"
    for given in (None, ""):
        if given is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder() == tmp_path / "home" / ".cache" / "kleiber"


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Forgets the kernels of this process, as a new one would not know them."""

    def drop() -> None:
        for name in [name for name in sys.modules if name.startswith("kleiber_kernel_")]:
            del sys.modules[name]

    drop()
    yield drop
    drop()


def run_small() -> tuple[Local, Local]:
    """A small law compiled and not."""
    plain = planted(laws.power_law, PLAIN[0])
    u, scale = around(plain, 3), np.ones(3)
    fast = compiled_problem(plain)
    return tuple(look(item, u, plain.weights[None], scale) for item in (fast, plain))  # pyright: ignore[reportReturnType]


def small_kernel() -> Any:
    return next(item for name, item in sys.modules.items() if name.startswith("kleiber_kernel_"))


@pytest.mark.usefixtures("numba")
def test_machine_code_is_kept_and_used_again(
    forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KLEIBER_CACHE", str(tmp_path / "cache"))
    same(*run_small(), rtol=1e-12)
    (text,) = (tmp_path / "cache" / "kernels").glob("*.py")
    assert list(text.parent.glob("__pycache__/*.nbi"))
    assert not small_kernel().run.stats.cache_hits
    written = text.stat().st_mtime_ns
    forget()
    same(*run_small(), rtol=1e-12)
    assert text.stat().st_mtime_ns == written
    assert small_kernel().run.stats.cache_hits
    forget()
    text.write_bytes(b"\xff half a ker")  # what another process left behind
    same(*run_small(), rtol=1e-12)
    assert "def run(" in text.read_text(encoding="utf-8")


@pytest.mark.usefixtures("numba")
def test_a_folder_that_cannot_be_made_is_done_without(
    forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("KLEIBER_CACHE", str(file / "cache"))
    same(*run_small(), rtol=1e-12)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    known = small_kernel()
    same(*run_small(), rtol=1e-12)
    assert small_kernel() is known  # compiled once in this process


@pytest.mark.usefixtures("numba")
def test_numba_without_a_place_of_its_own_is_no_error(
    forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a folder that is read-only, with a home that is too."""
    caching: Any = importlib.import_module("numba.core.caching")
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    monkeypatch.setenv("KLEIBER_CACHE", str(tmp_path))
    same(*run_small(), rtol=1e-12)
    assert not list(tmp_path.glob("kernels/__pycache__/*.nbi"))
