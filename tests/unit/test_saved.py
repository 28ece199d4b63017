"""A fit on disk: all of it comes back, the contract's keys alone suffice, the rest is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber import laws
from kleiber.errors import BadTable
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.record import Fit
from kleiber.fitting.saved import describe, load, save
from kleiber.fitting.spread.wild import Moments
from kleiber.law import Law, positive
from kleiber.planning.plan import plan
from kleiber.version import __version__

CONTRACT = ("law", "formula", "params", "level", "objective", "status", "rows", "target", "seconds")
OWN = """
import numpy as np
from kleiber import Law, positive, real

@Law
def traced(n_params, n_tokens, *, E=positive(0.1, 10), A=positive(1, 1e4), a=real(0.1, 1)):
    return E + A * (n_params * n_tokens) ** -a

@Law
def capped(n_params, n_tokens, *, E=positive(0.1, 10), A=positive(1, 1e4), a=positive(0.1, 1)):
    return E + A * np.minimum(n_params, n_tokens) ** -a

@Law
def branching(n_params, n_tokens, *, E=positive(0.1, 10), A=positive(1, 1e4), a=positive(0.1, 1)):
    return E + np.where(n_params > 0, A * (n_params * n_tokens) ** -a, 0)
"""


def runs(rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, rows)))
    clean = laws.chinchilla(n, d, E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    noise = 0.01 * rng.standard_normal(rows)
    return {
        "n_params": n,
        "n_tokens": d,
        "loss": clean * np.exp(noise),
        "run": np.arange(rows) // 2,
    }


def equal(one: Any, two: Any) -> bool:
    """Equality in which NaN equals itself, arrays are compared whole, and laws by what they say."""
    if isinstance(one, Law):
        parts = ("name", "variables", "formula", "doc", "origin")
        return dict(one.domains) == dict(two.domains) and all(
            getattr(one, part) == getattr(two, part) for part in parts
        )
    if isinstance(one, Moments):
        return equal(one.root, two.root) and equal(one.fourth, two.fourth)
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=True)
    if isinstance(one, dict) or hasattr(one, "items"):
        return list(one) == list(two) and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(two)
    return type(one) is type(two) and one == two


def same(one: Fit, two: Fit) -> None:
    for field in dataclasses.fields(Fit):
        left, right = getattr(one, field.name), getattr(two, field.name)
        assert equal(left, right), (field.name, left, right)


@pytest.fixture
def again(tmp_path: Path) -> Callable[[Fit], Fit]:
    """A fit saved and loaded, after checking that what is on disk is strict JSON."""

    def once(made: Fit) -> Fit:
        save(made, tmp_path / "fit.json")
        text = (tmp_path / "fit.json").read_text()
        assert text.endswith("}\n")
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert [item.name for item in tmp_path.glob("*.json")] == ["fit.json"]
        return load(tmp_path / "fit.json")

    return once


@pytest.fixture(scope="module")
def made() -> Fit:
    return fit("chinchilla", runs(), draws=60)


# All of it comes back

OPTIONS: dict[str, dict[str, Any]] = {
    "draws": {"draws": 30},
    "no draws": {"draws": 0},
    "one variable": {"law": "E + A*n_params**-alpha", "draws": 10},
    "groups": {"draws": 10, "by": "run", "level": 0.8, "seed": 7},
    "weights": {"draws": 10, "weights": "run"},
    "least squares": {"draws": 10, "noise": Noise("log")},
    "plain Student": {"draws": 10, "noise": Noise("linear", dof=4.0)},
    "fixed and tied": {"draws": 10, "fixed": {"E": 1.8}, "tied": {"beta": "alpha"}},
    "fixed at zero": {"draws": 10, "fixed": {"E": 0}},
    "prior": {"draws": 10, "priors": {"beta": (0.37, 0.5)}},
    "not settled": {"draws": 10, "law": "chinchilla_tied"},
    "another law": {"draws": 10, "law": "over_training"},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_fit_comes_back_whole(case: str, again: Callable[[Fit], Fit]) -> None:
    options: dict[str, Any] = {"law": "chinchilla", **OPTIONS[case]}
    before = fit(options.pop("law"), runs(), **options)
    after = again(before)
    same(before, after)
    row = pl.DataFrame({"n_params": [1e11], "n_tokens": [1e12]})
    for new_run in (False, True):
        assert after.predict(row, new_run=new_run).equals(before.predict(row, new_run=new_run))
    assert after.summary() == before.summary()
    assert describe(after) == describe(before)


def test_the_odd_fits_come_back_whole(again: Callable[[Fit], Fit]) -> None:
    table = runs()
    exact = {"n_data": [1e3, 1e6], "loss": [3.0, 1.0]}
    same(*_both(fit("power_law", exact, draws=5), again))  # as many rows as parameters
    floorless = {**table, "loss": 480 * table["n_params"] ** -0.35 * (1 + 0.01 * table["run"] % 3)}
    same(*_both(fit("E + A*n_params**-alpha", floorless, draws=10), again))
    flat = {**table, "n_tokens": np.full(40, 1e10)}
    flat["loss"] = 1.8 + 480 * table["n_params"] ** -0.35
    before, after = _both(fit("chinchilla", flat, draws=5), again)
    same(before, after)
    assert after.status == "flat"


def _both(before: Fit, again: Callable[[Fit], Fit]) -> tuple[Fit, Fit]:
    return before, again(before)


def test_an_objective_of_nothing_and_infinite_draws_come_back(
    made: Fit, again: Callable[[Fit], Fit]
) -> None:
    draws = {name: values.copy() for name, values in made.draws.items()}
    draws["B"][3], draws["B"][4] = math.inf, 0.0
    odd = dataclasses.replace(
        made, objective=0.0, draws=draws, condition=math.inf, covariance=None, reason='quotes " é ∞'
    )
    same(odd, again(odd))


def test_a_numpy_float_is_a_number(made: Fit, again: Callable[[Fit], Fit]) -> None:
    odd = dataclasses.replace(made, params={k: np.float64(v) for k, v in made.params.items()})
    same(made, again(odd))


# Laws


def test_a_formula_law_comes_back_without_its_table(again: Callable[[Fit], Fit]) -> None:
    text = "floor + (n_params/1e9)**-rate*exp(-log(n_tokens)/9)*scale"
    before = fit(text, runs(), draws=5)
    after = again(before)
    same(before, after)
    assert after.law.expr is not None


def test_a_law_of_the_catalogue_comes_back_as_itself(
    made: Fit, again: Callable[[Fit], Fit]
) -> None:
    assert again(made).law is laws.chinchilla


def test_a_law_that_only_shares_a_name_with_the_catalogue_comes_back(
    again: Callable[[Fit], Fit],
) -> None:
    wider = {**laws.chinchilla.domains, "A": positive(1, 1e9)}
    own = dataclasses.replace(laws.chinchilla, domains=wider)
    same(*_both(fit(own, runs(), draws=5), again))

    @Law
    def chinchilla(n_params, *, E=positive(0.1, 10), A=positive(1, 1e4)):
        """Mine."""
        return E + A * n_params**-0.5

    same(*_both(fit(chinchilla, runs(), draws=5), again))


@pytest.mark.parametrize("name", ["traced", "capped", "branching"])
def test_a_law_from_a_file_comes_back(name: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    before = fit(f"{tmp_path}/own.py:{name}", runs(), draws=5)
    assert (before.law.expr is None) == (name == "branching")
    save(before, tmp_path / "fit.json")
    if name != "traced":
        with pytest.raises(BadTable, match="which loading would run; if you trust that file"):
            load(tmp_path / "fit.json")
    after = load(tmp_path / "fit.json", trust=name != "traced")
    assert after.law.formula == before.law.formula
    row = {"n_params": [1e11], "n_tokens": [1e12]}
    assert after.predict(row).equals(before.predict(row))
    held = {"n_params": 1e9}
    assert plan(after, 1e22, given=held).predicted == plan(before, 1e22, given=held).predicted
    (tmp_path / "own.py").unlink()
    if name == "traced":  # its formula says all
        assert load(tmp_path / "fit.json").predict(row).equals(before.predict(row))
    else:
        with pytest.raises(BadTable, match=r"no file .*own.py"):
            load(tmp_path / "fit.json", trust=True)


def test_an_untrusted_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    save(fit(f"{tmp_path}/own.py:branching", runs(), draws=2), tmp_path / "fit.json")
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + OWN)
    with pytest.raises(BadTable, match="trust=True"):
        load(tmp_path / "fit.json")
    assert not (tmp_path / "ran").exists()
    assert load(tmp_path / "fit.json", trust=True).usable
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "9.0.0"}, "newer than this"),
        ({"version": "soon"}, "names no version"),
        ({"rows": -3}, "'rows' must hold a whole number from 0, but holds -3"),
        ({"residuals": [0.1]}, "Its residuals are not"),
        ({"ranges": {"n_params": [2.0, 1.0]}}, "Its range of n_params"),
    ],
)
def test_documents_are_checked_whole(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    save(fit("chinchilla", runs(), draws=2), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadTable, match=message):
        load(path)


def test_a_value_outside_its_domain_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    save(fit("chinchilla", runs(), draws=2), path)
    document = json.loads(path.read_text())
    document["params"]["alpha"]["value"] = -0.3
    path.write_text(json.dumps(document))
    with pytest.raises(BadTable, match=r"alpha = -0\.3 lies outside its domain"):
        load(path)


def test_a_pipe_is_no_document(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fit.json")
    with pytest.raises(BadTable, match="a pipe or a device"):
        load(tmp_path / "fit.json")


def test_a_function_that_no_formula_expresses_is_asked_for_a_file(
    again: Callable[[Fit], Fit],
) -> None:
    @Law
    def mine(n_params, *, E=positive(0.1, 10), A=positive(1, 1e4)):
        """Branches."""
        return E + np.where(n_params > 0, A * n_params**-0.5, 0)

    with pytest.raises(BadTable, match="'mine' is a Python function that no formula expresses"):
        again(fit(mine, runs(), draws=0))


def test_a_law_of_the_catalogue_without_a_text_comes_back(again: Callable[[Fit], Fit]) -> None:
    x = np.geomspace(1e2, 1e8, 12)
    truth = {"E": 0.1, "span": 0.9, "A": 30.0, "c": 0.5, "alpha": 1.5}
    table = {"n_data": x, "loss": laws.m4(x, **truth)}
    same(*_both(fit("m4", table, draws=0, start=truth), again))


# What is in the file


def test_the_document_has_the_contracts_keys(made: Fit, tmp_path: Path) -> None:
    said = describe(made)
    assert set(CONTRACT) <= set(said)
    assert said["law"] == "chinchilla"
    assert said["formula"] == "E + A*n_params**-alpha + B*n_tokens**-beta"
    for name, item in said["params"].items():
        low, high = made.interval(name, made.level)
        wanted = {
            "value": made.params[name], "low": low, "high": high, "stderr": made.stderr[name],
        }  # fmt: skip
        assert item == wanted
    assert (said["level"], said["status"], said["rows"], said["target"]) == (
        0.95, "converged", 40, "loss",
    )  # fmt: skip
    save(made, tmp_path / "fit.json")
    whole = json.loads((tmp_path / "fit.json").read_text())
    assert {key: whole[key] for key in said} == json.loads(json.dumps(said))
    assert whole["version"] == __version__
    assert whole["digest"] == made.digest
    assert {k: tuple(v) for k, v in whole["ranges"].items()} == made.ranges
    assert all(len(values) == 60 for values in whole["draws"].values())


def test_the_contracts_keys_alone_are_a_fit_without_intervals(made: Fit, tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    path.write_text(json.dumps({key: describe(made)[key] for key in CONTRACT}))
    short = load(path)
    assert short.params == made.params
    assert short.law is laws.chinchilla
    assert all(math.isnan(end) for end in short.interval("alpha"))
    out = short.predict({"n_params": [1e9], "n_tokens": [1e10]})
    assert out["predicted"][0] == made.predict(out)["predicted"][0]
    assert math.isnan(out["low"][0])
    with pytest.raises(BadTable, match="saved without residuals"):
        short.predict(out, new_run=True)
    one, two = plan(short, 1e21), plan(made, 1e21)
    assert one.predicted.value == two.predicted.value
    assert math.isnan(one.allocation["n_params"].low)
    assert one.extrapolation is None
    assert any("no intervals: the fit has no draws" in note for note in one.notes)
    assert any("does not record the ranges of its table" in note for note in one.notes)


def test_draws_and_ranges_alone_bring_the_intervals_back(made: Fit, tmp_path: Path) -> None:
    save(made, tmp_path / "fit.json")
    whole = json.loads((tmp_path / "fit.json").read_text())
    keep = (*CONTRACT, "draws", "ranges", "digest", "version")
    (tmp_path / "short.json").write_text(json.dumps({key: whole[key] for key in keep}))
    short = load(tmp_path / "short.json")
    wide, own = short.interval("alpha"), made.interval("alpha")
    assert wide.low <= own.low < own.high <= wide.high  # what is not known of the noise widens
    assert wide == pytest.approx(own, rel=0.05)
    one, two = plan(short, 1e25), plan(made, 1e25)
    lower, low = one.allocation["n_params"].low, two.allocation["n_params"].low
    assert 0.85 * low < lower <= low
    assert one.extrapolation is not None
    assert two.extrapolation is not None
    assert one.extrapolation <= two.extrapolation
    assert any("lower bound" in note for note in one.notes)


# What is refused


def broken(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], str]:
    """The text of a document after a change to it."""

    def text(document: dict[str, Any]) -> str:
        change(document)
        return json.dumps(document)

    return text


def put(key: str, value: Any) -> Callable[[dict[str, Any]], str]:
    return broken(lambda document: document.update({key: value}))


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "empty": (lambda _: "", "Expecting value"),
    "not JSON": (lambda _: "n_params,loss\n1,2\n", "Expecting value"),
    "half": (lambda d: json.dumps(d)[:-100], "Expecting|Unterminated"),
    "a list": (lambda _: "[1, 2]", "has no law, formula, params, status, target"),
    "a plan": (lambda _: '{"budget": 1, "allocation": {}}', "has no law, formula"),
    "deep": (lambda _: "[" * 100_000, "recursion"),
    "NaN": (put("objective", math.nan), "it holds NaN, which JSON does not have"),
    "no target": (broken(lambda d: d.pop("target")), "has no target"),
    "params": (put("params", [1, 2]), "must hold its parameters, but holds .1, 2."),
    "no value": (put("params", {"E": {}}), "'free' must name some of its parameters"),
    "a word": (put("params", {"E": {"value": "big"}}), "but holds 'big' in 'E, value'"),
    "huge": (put("seconds", 10**400), "'seconds' must hold a number, but holds 1e400"),
    "params of another law": (
        broken(lambda d: d["params"].pop("beta")), "must name some of its parameters",
    ),
    "status": (put("status", "fine"), "'fine' is not a valid Status"),
    "level": (put("level", 95), "write 0.95 for 95%"),
    "short draws": (broken(lambda d: d["draws"].update(E=[1.0])), "draws differ in length"),
    "no draws of one": (broken(lambda d: d["draws"].pop("E")), "KeyError: 'E'"),
    "draws of nothing": (
        broken(lambda d: d["draws"].update(E=[None] * 60)),
        "must hold lists of numbers by name, but holds None in 'E, 0",
    ),
    "covariance": (put("covariance", [[1.0]]), "covariance is not 5 by 5"),
    "ranges": (put("ranges", {"n_params": 3}), "must hold pairs .* holds 3 in 'n_params'"),
    "noise": (put("noise", {"delta": -1.0}), "noise delta must be a positive number or None"),
    "domain": (
        broken(lambda d: d["domains"]["E"].update(kind="odd")), "no domain of kind 'odd'",
    ),
    "formula": (put("formula", "E + __import__('os')"), "Python function|not accepted|cannot"),
    "strange formula": (put("formula", "E + A*n_data**-q"), "does not match the saved parameters"),
    "no formula": (put("formula", 3), "TypeError|AttributeError|not a saved fit|can be used"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_no_fit_is_refused_in_one_sentence(
    case: str, made: Fit, tmp_path: Path
) -> None:
    save(made, tmp_path / "fit.json")
    text, message = BROKEN[case]
    path = tmp_path / "broken.json"
    path.write_text(text(json.loads((tmp_path / "fit.json").read_text())))
    with pytest.raises(BadTable, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "broken.json" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"no file .*gone.json.*kleiber fit .* -o fit.json"):
        load(tmp_path / "gone.json")
    with pytest.raises(BadTable, match="is not a saved fit"):
        load(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}\x00")
    with pytest.raises(BadTable, match="is not a saved fit: 'utf-8'"):
        load(tmp_path / "bytes.json")


def half(path: Path, text: str, encoding: str) -> None:
    """Write as on a disk that fills up."""
    path.write_bytes(text[: len(text) // 2].encode(encoding))
    raise OSError("no space left on device")


def test_saving_lands_whole_or_not_at_all(
    made: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.json"
    save(made, path)
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save(made, tmp_path / "none" / "fit.json")
    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        save(made, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["fit.json"]
