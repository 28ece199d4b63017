"""The machine code: the numbers of the NumPy path, made in the background, kept on disk.

It serves every law and noise model, so that one making of it (half a minute) serves all tests.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from kleiber import laws
from kleiber.files import cache_folder
from kleiber.fitting.compare import compare
from kleiber.fitting.engine import compiled, linear, native, tape
from kleiber.fitting.engine.compiled import find_kernel, make_kernel
from kleiber.fitting.engine.levenberg import LocalModel
from kleiber.fitting.engine.linear import tangent_refits
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import Problem, evaluate_objective, minimise, pose
from kleiber.fitting.fit import fit
from kleiber.fitting.spread.bootstrap import refit
from kleiber.law import Law, positive, real
from kleiber.maths.seeds import stream
from laws import SPANS, TRUTH

LEAST, HUBER, STUDENT = Noise("log"), Noise("log", delta=5e-3), Noise("log", dof=4.0)
NOISES = (LEAST, HUBER, STUDENT)
PLAIN = tuple(replace(noise, scale="linear") for noise in NOISES)
FIELDS = ("objective", "gradient", "gauss", "newton")


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder with the machine code, made once for all workers, and for later runs where pytest
    has a cache: its name tells the sources and the machine that it is for."""
    pytest.importorskip("numba", reason="machine code needs Numba: kleiber[fast]")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "machine"
    name = native.code_path().name
    if pytestconfig.pluginmanager.has_plugin("cacheprovider"):
        folder = pytestconfig.cache.mkdir("machine") / name.removesuffix(".bin")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    with FileLock(folder / "lock"):
        if not place.is_file():
            command = [sys.executable, "-m", "kleiber.fitting.engine.build", str(place)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert {item.name for item in folder.iterdir()} <= {"lock", place.name}
    return folder


@pytest.fixture
def machine(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine code is at hand."""
    monkeypatch.setenv("KLEIBER_CACHE", str(kept))
    monkeypatch.delenv("KLEIBER_FAST")
    return kept


def planted(law: Law, noise: Noise, rows: int = 40, seed: int = 0) -> Problem:
    """A problem of a catalogue law with log-normal noise."""
    rng = np.random.default_rng(seed)
    columns = {name: np.exp(rng.uniform(*np.log(SPANS[name]), size=rows)) for name in law.variables}
    y = law(**columns, **TRUTH[law.name]) * np.exp(0.01 * rng.standard_normal(rows))
    return pose(law, noise, columns, y, np.ones(rows))


def compiled_problem(problem: Problem) -> Problem:
    entry = native.find_entry()
    assert entry is not None
    kernel = make_kernel(problem.law, problem.noise, problem.columns, problem.target, entry)
    return replace(problem, kernel=kernel)


def around(problem: Problem, members: int, seed: int = 1) -> np.ndarray:
    """Coordinates about the truth."""
    rng = np.random.default_rng(seed)
    truth = np.array([[TRUTH[problem.law.name][name] for name in problem.law.params]])
    u = problem.to_coordinate(truth)
    return u + 0.02 * np.maximum(np.abs(u), 0.1) * rng.standard_normal((members, u.shape[1]))


def same(got: LocalModel, wanted: LocalModel, rtol: float) -> None:
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
                evaluate_objective(fast, u, weights, scale, shift=moved),
                evaluate_objective(plain, u, weights, scale, shift=moved),
                rtol=1e-12,
            )


# The numbers


def test_every_traced_law_is_tried() -> None:
    assert {name for name, law in laws.catalogue().items() if law.expr is not None} == set(TRUTH)


@pytest.mark.parametrize("noise", [*NOISES, PLAIN[1]], ids=lambda noise: noise.describe())
@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.usefixtures("machine")
def test_the_machine_computes_what_numpy_does(name: str, noise: Noise) -> None:
    check_against_numpy(laws.catalogue()[name], noise, members=7)


@pytest.mark.parametrize("rows", [16, 17, 700])
@pytest.mark.usefixtures("machine")
def test_blocks_of_rows_are_put_together(rows: int) -> None:
    """Tables of exactly one vector, of one row more, and of several blocks."""
    check_against_numpy(laws.chinchilla, HUBER, rows=rows)
    check_against_numpy(laws.chinchilla, LEAST, rows=rows)


@pytest.mark.usefixtures("machine")
def test_the_same_bits_every_time() -> None:
    problem = compiled_problem(planted(laws.kaplan, HUBER, rows=100))
    u, ones = around(problem, 20), np.ones((1, 100))
    first, second = (evaluate_objective(problem, u, ones, np.ones(20)) for _ in range(2))
    alone = evaluate_objective(problem, u[7:8], ones, np.ones(1))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_array_equal(getattr(first, name)[7:8], getattr(alone, name))


def apply(op: str, x: np.ndarray, number: float | None = None) -> np.ndarray:
    """An operation of the tape on every number of ``x``: as the gradient of a model that it is,
    whose slope is 1, each member having weight on one row only."""
    form = tape.ROW if number is None else tape.ROW_NUMBER
    row = 3 + tape.LOSS_ROWS + 1
    written = tape.Tape(
        scalar_code=np.zeros((0, 4), np.int32),
        code=np.array([(form, tape.OPS[op], row, 0, 2), (tape.NUMBER, 0, row + 1, 1, 0)], np.int32),
        outs=np.array([row, row + 1, -1], np.int32),
        scalars=np.array([0.0, 1.0, number or 0.0]),
        slots=row + 2,
        first=3,
    )
    entry = native.find_entry()
    assert entry is not None
    kernel = compiled.Kernel(entry, written, x[None], np.zeros(len(x)), PLAIN[0], False)
    given = np.zeros((len(x), 1)), np.eye(len(x)), np.ones(len(x)), None
    return kernel.evaluate(*given).gradient[:, 0]


@pytest.mark.usefixtures("machine")
def test_functions_keep_their_digits() -> None:
    """Against NumPy's, at ordinary, tiny, huge and impossible arguments: the compiler may not
    reorder what their digits depend on."""
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-18, 10, 1000)
    given = {
        "exp": np.concatenate([rng.uniform(-708, 709.7, 1000), size[size < 1], -size[size < 1]]),
        "log": np.concatenate([np.exp(rng.uniform(-700, 700, 1000)), 1 + size]),
        "log1p": np.concatenate([size, -size[size < 0.9]]),
        "sqrt": size,
        "tanh": np.concatenate([size, -size, rng.uniform(-2, 2, 1000)]),
    }
    odd = np.array([np.inf, -np.inf, np.nan, 710.0, 1e300, -800.0, 0.0, -1.0, -2.0])
    for name, x in given.items():
        rtol = 1e-15 if name == "tanh" else 5e-16
        np.testing.assert_allclose(
            apply(name, x), getattr(np, name)(x), rtol=rtol, atol=0, err_msg=name
        )
        got = apply(name, odd)
        with np.errstate(all="ignore"):
            wanted = getattr(np, name)(odd)
        good = np.isfinite(wanted)
        np.testing.assert_allclose(got[good], wanted[good], rtol=rtol, err_msg=name)
        assert not np.isfinite(got[~good]).any(), name
    np.testing.assert_array_equal(apply("step", odd), (odd > 0).astype(float))
    np.testing.assert_array_equal(apply("neg", odd[3:]), -odd[3:])


@pytest.mark.parametrize("exponent", [3.0, -2.0, 0.5, -1.5, 7.25, 40.0, -1.0 / 3.0])
@pytest.mark.usefixtures("machine")
def test_powers_keep_their_digits(exponent: float) -> None:
    x = np.concatenate([np.geomspace(1e-6, 1e6, 300), -np.geomspace(1e-3, 1e3, 100), [0.0, np.nan]])
    with np.errstate(all="ignore"):
        wanted = x**exponent
    got = apply("pow", x, exponent)
    good = np.isfinite(wanted)
    np.testing.assert_allclose(got[good], wanted[good], rtol=2e-14)
    assert not np.isfinite(got[~good]).any()


def far_away(u: np.ndarray) -> np.ndarray:
    """Members sent where the law overflows, underflows, or is no number; the last stays."""
    out = np.repeat(u, 6, 0)
    out[0, 1], out[1, 1], out[2, 3] = 800.0, np.inf, -60.0
    out[3, 3], out[4, 1] = np.nan, -2000.0
    return out


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.describe())
@pytest.mark.usefixtures("machine")
def test_regions_without_a_value_are_the_same(noise: Noise) -> None:
    plain = planted(laws.chinchilla, noise)
    u = far_away(around(plain, 1))
    ours, theirs = (
        evaluate_objective(item, u, plain.weights[None], np.full(len(u), 0.01))
        for item in (compiled_problem(plain), plain)
    )
    np.testing.assert_array_equal(np.isfinite(ours.objective), np.isfinite(theirs.objective))
    assert np.isfinite(theirs.objective).tolist() == [False, False, False, False, True, True]
    some = np.isfinite(theirs.objective)
    same(*(LocalModel(*(getattr(x, f)[some] for f in FIELDS)) for x in (ours, theirs)), rtol=1e-12)
    for item in (ours, theirs):
        assert (item.gradient[~some] == 0).all()


@Law
def falling(n_data: Any, *, a: Any = real(0, 5), b: Any = real(0, 1)) -> Any:
    """A line, which becomes negative."""
    return a - b * n_data


@pytest.mark.usefixtures("machine")
def test_a_logarithm_of_a_negative_prediction_is_no_value() -> None:
    x = np.arange(1.0, 21.0)
    plain = pose(falling, LEAST, {"n_data": x}, 3 - 0.1 * x, np.ones(20))
    u = np.array([[3.0, 0.1], [3.0, 0.2], [-1.0, 0.1], [3.0, 0.14]])
    for item in (compiled_problem(plain), plain):
        value = evaluate_objective(item, u, plain.weights[None], np.ones(4)).objective
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
@pytest.mark.usefixtures("machine")
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
@pytest.mark.usefixtures("machine")
def test_draws_that_the_compiled_descent_leaves_are_finished(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = planted(laws.chinchilla, LEAST, rows=60)
    found, _ = minimise(plain, around(plain, 1), plain.weights[None])
    whole = draw(compiled_problem(plain), found.point[0], 1.0, False)
    monkeypatch.setattr(compiled, "MAX_STEPS", limit)
    monkeypatch.setattr(linear, "MAX_ITERATIONS", limit)
    problem = compiled_problem(plain)
    assert problem.kernel is not None
    ends = problem.kernel.descend(
        found.point[[0, 0]] + 0.1, np.ones((1, 60)), np.ones(2), None, np.full(5, -np.inf), 1e-10
    )
    assert not ends.converged.any()
    cut = draw(problem, found.point[0], 1.0, False)
    assert cut[2].all()
    np.testing.assert_allclose(cut[0], whole[0], rtol=1e-8)


@pytest.mark.usefixtures("machine")
def test_optima_at_a_floor_are_left_to_the_general_descent() -> None:
    """Growing data: the best exponent of a falling law is zero, where no Newton step arrives."""
    n = np.geomspace(1e3, 1e6, 30)
    plain = pose(laws.power_law, LEAST, {"n_data": n}, 2 * n**0.05, np.ones(30))
    start = plain.to_coordinate(np.array([[3.0, 0.01]]))
    ends = [
        minimise(item, start, np.ones((1, 30)), exact=True)[0]
        for item in (compiled_problem(plain), plain)
    ]
    np.testing.assert_allclose(ends[0].objective, ends[1].objective, rtol=1e-9)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.describe())
@pytest.mark.usefixtures("machine")
def test_tangents_are_refitted_alike(noise: Noise) -> None:
    plain = planted(laws.chinchilla, noise, rows=60)
    found, scale = minimise(plain, around(plain, 1), plain.weights[None])
    weights = np.random.default_rng(3).integers(0, 3, (50, 60)).astype(float)
    ours, theirs = (
        tangent_refits(item, found.point[0], float(scale[0]), weights)
        for item in (compiled_problem(plain), plain)
    )
    assert np.abs(theirs - found.point).max() > 0.1  # there is something to agree on
    spread = theirs.std(axis=0)
    assert (np.abs(ours - theirs) < 0.05 * spread).mean() > 0.95  # both stop when that will do


# Whole fits


WAYS: dict[str, dict[str, Any]] = {
    "chinchilla, as it comes": {"law": "chinchilla"},
    "least squares, wild": {"law": "chinchilla", "noise": LEAST},
    "least squares, rows": {"law": "chinchilla", "noise": LEAST, "resample": "rows"},
    "Student-t": {"law": "chinchilla", "noise": STUDENT},
    "fixed": {"law": "chinchilla", "fixed": {"E": 1.8}},
    "tied": {"law": "chinchilla", "tied": {"beta": "alpha"}},
    "weights": {"law": "chinchilla", "weights": "trust"},
    "priors": {"law": "chinchilla", "priors": {"alpha": (0.35, 0.05), "E": (1.8, 0.1)}},
    "groups": {"law": "chinchilla", "by": "run"},
    "plain residuals": {"law": "chinchilla", "noise": PLAIN[1]},
    "kaplan": {"law": "kaplan"},
    "a formula": {"law": "E + A*n_params**-alpha + B*n_tokens**-beta"},
    "a formula of powers": {"law": "E + A*(n_params**1.5)**-alpha"},
}


# Laws whose numbers are told to be the same above, and that pose no other problem.
SAME = ("kaplan", "a formula")


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] if way in SAME else []) for way in WAYS]
)
def test_a_fit_is_the_same_with_and_without(
    way: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimum to the bit (searches are NumPy's), intervals to a millionth of their width."""
    ask = dict(WAYS[way])
    law = ask.pop("law")
    problem = planted(laws.kaplan if law == "kaplan" else laws.chinchilla, HUBER, rows=120)
    rng = np.random.default_rng(5)
    table = {**problem.columns, "loss": np.exp(problem.target)}
    table |= {"run": np.repeat(np.arange(24), 5), "trust": rng.uniform(0.5, 2.0, 120)}
    monkeypatch.setattr(compiled, "MIN_WORK", 1)
    used: list[object] = []

    def watch(*given: Any) -> Any:
        used.append(make_kernel(*given))
        return used[-1]

    monkeypatch.setattr(compiled, "make_kernel", watch)
    fast = fit(law, table, draws=200, **ask)
    assert used
    monkeypatch.setenv("KLEIBER_FAST", "0")
    plain = fit(law, table, draws=200, **ask)
    assert fast.params == plain.params
    assert (fast.status, fast.notes) == (plain.status, plain.notes)
    for name in plain.draws:
        np.testing.assert_allclose(fast.draws[name], plain.draws[name], rtol=1e-5, err_msg=name)
        (low, high), ours = plain.interval(name), fast.interval(name)
        np.testing.assert_allclose(ours, (low, high), rtol=0, atol=1e-6 * (high - low) + 1e-300)


def test_a_comparison_is_the_same_with_and_without(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = planted(laws.chinchilla, HUBER, rows=80)
    table = {**problem.columns, "loss": np.exp(problem.target)}
    monkeypatch.setattr(compiled, "MIN_WORK", 1)
    both: list[list[Any]] = []
    for _ in range(2):
        found = compare(
            ["chinchilla", "chinchilla_tied"], table, beyond="n_params", origins=[3e8], draws=50
        )
        both.append([(item.law, item.verdict, item.error, item.ratio) for item in found.contenders])
        monkeypatch.setenv("KLEIBER_FAST", "0")
    for ours, theirs in zip(*both, strict=True):
        assert ours[:2] == theirs[:2]
        for mine, other in zip(ours[2:], theirs[2:], strict=True):
            numbers = [[item.value, item.low, item.high] for item in (mine, other)]
            np.testing.assert_allclose(*numbers, rtol=1e-6)


# Whether it is worth it, and at hand


def untraced(n_data: Any, *, A: Any = positive(1, 10)) -> Any:
    return A if n_data[0] > 0 else n_data


def kernel_for(law: Law, draws: int, rows: int = 100) -> compiled.Kernel | None:
    columns = {name: np.geomspace(*SPANS[name], rows) for name in law.variables}
    return find_kernel(law, LEAST, columns, np.zeros(rows), draws)


@pytest.mark.usefixtures("machine")
def test_few_draws_are_not_worth_loading() -> None:
    enough = -(-compiled.MIN_WORK // 100)
    assert kernel_for(laws.power_law, enough - 1) is None
    assert kernel_for(laws.power_law, enough) is not None
    law = Law(untraced)
    assert law.expr is None
    assert kernel_for(law, enough) is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands of processes that would have been started, with an empty cache folder."""
    pytest.importorskip("llvmlite", reason="machine code needs Numba: kleiber[fast]")
    commands: list[list[str]] = []

    class Process:
        returncode: int | None = None

        def __init__(self, command: list[str], **_: Any) -> None:
            commands.append(command)

    monkeypatch.setattr("kleiber.fitting.engine.native.subprocess.Popen", Process)
    monkeypatch.setattr(compiled, "MIN_WORK", 1)
    monkeypatch.setenv("KLEIBER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KLEIBER_FAST")
    return commands


def test_a_first_fit_waits_for_nobody(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts one process to make the machine code and goes on with NumPy; so do the next ones,
    without another process, until an hour has passed."""
    problem = planted(laws.power_law, LEAST)
    table = {**problem.columns, "loss": np.exp(problem.target)}
    for _ in range(2):
        assert fit("power_law", table, draws=20).n_draws == 20
    place = native.code_path()
    (command,) = started
    assert command[-4:] == ["-m", "kleiber.fitting.engine.build", str(place), "--background"]
    begun = place.with_suffix(".begun")
    assert [item.name for item in place.parent.iterdir()] == [begun.name]
    long_ago = time.time() - native.RETRY_AFTER - 1
    os.utime(begun, (long_ago, long_ago))
    for _ in range(2):
        assert kernel_for(laws.power_law, 1) is None
    assert len(started) == 2


@pytest.mark.parametrize("word", ["0", "off", "NO", "false"])
def test_it_can_be_switched_off(
    word: str, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLEIBER_FAST", word)
    assert kernel_for(laws.power_law, 1) is None
    assert (started, cache_folder().exists()) == ([], False)


def test_nothing_is_made_without_numba(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it raises ModuleNotFoundError
    assert kernel_for(laws.power_law, 1) is None
    assert not started


def test_a_folder_that_cannot_be_made_is_done_without(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("KLEIBER_CACHE", str(file / "cache"))
    assert kernel_for(laws.power_law, 1) is None
    assert not started
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", [b"", b"half a file", b"0" * 5000])
def test_damaged_code_is_not_run_but_made_again(
    damage: bytes, kept: Path, started: list[list[str]]
) -> None:
    place = native.code_path()
    place.parent.mkdir()
    place.write_bytes(damage or (kept / place.name).read_bytes()[:-1])
    assert kernel_for(laws.power_law, 1) is None
    assert len(started) == 1
    place.write_bytes((kept / place.name).read_bytes())
    assert kernel_for(laws.power_law, 1) is not None


@pytest.mark.slow
def test_the_code_is_made_while_the_process_that_asked_for_it_is_gone(
    kept: Path, tmp_path: Path
) -> None:
    """It prints nothing, keeps nobody waiting, and leaves the code alone behind; a process that
    ends at once leaves it to itself."""
    script = (
        "import kleiber.fitting.engine.native as n, time; t = time.perf_counter();"
        "assert n.find_entry() is None; assert time.perf_counter() - t < 5"
    )
    environment = {**os.environ, "KLEIBER_CACHE": str(tmp_path)}
    del environment["KLEIBER_FAST"]
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    place = tmp_path / next(item.name for item in kept.iterdir() if item.suffix == ".bin")
    stop = time.monotonic() + 300
    while (left := [item.name for item in tmp_path.iterdir()]) != [place.name]:
        assert time.monotonic() < stop, left
        time.sleep(0.5)
    content = place.read_bytes()
    assert content[:32] == hashlib.sha256(content[32:]).digest()


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
