"""Every argument of every public verb, given what it does not take: one sentence, no crash."""

from __future__ import annotations

import inspect
import math
import signal
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import polars as pl
import pytest
from beartype import BeartypeConf
from beartype.door import is_bearable
from beartype.roar import BeartypeException

import kleiber
from kleiber import counting, laws, reduce, theory
from kleiber.data import gsm8k
from kleiber.errors import shown
from kleiber.planning import cost
from kleiber.systems.papers import Paper

SOURCE = str(Path(kleiber.__file__).parent)
PARTS = 8  # of the sweep, so that workers can share it
TRILLION = 10**12
SLOWEST = 20  # seconds of one call
HUGE = 10**400
TOWER = BeartypeConf(is_pep484_tower=True)  # an int is a float
Good = tuple[Callable[..., Any], dict[str, Any]]


class Odd:
    """A thing that no verb has a use for."""


def odd_function(x: Any = None) -> Any:
    """A function that no verb has a use for."""
    return None


BAD: dict[str, Any] = {
    "None": None,
    "text": "no such thing",
    "empty text": "",
    "bytes": b"bytes",
    "fraction": 0.37,
    "huge": HUGE,
    "minus huge": -HUGE,
    "1e300": 1e300,
    "nan": math.nan,
    "inf": math.inf,
    "minus one": -1,
    "zero": 0,
    "true": True,
    "complex": 1j,
    "empty list": [],
    "list": [1, 2],
    "list of None": [None, None],
    "list of huge": [HUGE, HUGE],
    "empty mapping": {},
    "mapping": {"nothing": 1},
    "mapping of numbers": {1: "nothing"},
    "object": Odd(),
    "function": odd_function,
}


@cache
def runs() -> pl.DataFrame:
    """Six runs by three sizes of a law that they follow nearly."""
    n, d = (item.ravel() for item in np.meshgrid(np.geomspace(1e6, 1e8, 6), [1e8, 1e9, 1e10]))
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal(n.size)
    loss = (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * noise
    return pl.DataFrame(
        {
            "n_params": n,
            "n_tokens": d,
            "loss": loss,
            "seed": np.arange(n.size),
            "task": ["a", "b"] * (n.size // 2),
            "weight": np.ones(n.size),
        }
    )


@cache
def line() -> pl.DataFrame:
    """Runs along one column."""
    x = np.geomspace(1e6, 1e8, 12)
    noise = 1 + 1e-3 * np.random.default_rng(1).standard_normal(12)
    return pl.DataFrame({"n_params": x, "loss": 400 * x**-0.34 * noise, "task": ["a", "b"] * 6})


@cache
def attempts() -> pl.DataFrame:
    """Counts of successes at two sizes."""
    rng = np.random.default_rng(2)
    rates = [rng.beta(a, 4, 40) for a in (0.4, 0.6, 0.8)]
    return pl.DataFrame(
        {
            "problem": np.tile(np.arange(40), 3),
            "n_tokens": np.repeat([1e8, 1e9, 1e10], 40),
            "attempts": np.full(120, 20),
            "successes": rng.binomial(20, np.concatenate(rates)),
        }
    )


@cache
def curves() -> pl.DataFrame:
    """Error against norm for six amounts of data, as a perceptron has it."""
    parts: list[pl.DataFrame] = []
    for load in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        found = theory.Perceptron(load).solve({"norm": np.geomspace(0.2, 3 * load, 25)})
        parts.append(found.select("norm", "error").with_columns(n_data=pl.lit(100 * load)))
    return pl.concat(parts)


@cache
def fitted() -> Any:
    return kleiber.fit("chinchilla", runs(), draws=50)


@cache
def fitted_line() -> Any:
    return kleiber.fit("A*n_params**-alpha", line(), draws=20)


@cache
def fitted_scale() -> Any:
    """A fit of one parameter without a width, whose chain is short."""
    noise = kleiber.Noise("log")
    return kleiber.fit("A*n_params**-alpha", line(), draws=0, fixed={"alpha": 0.34}, noise=noise)


@cache
def counted() -> Any:
    return kleiber.fit_counts(attempts(), by=[], along="n_tokens")


@cache
def document() -> Path:
    import tempfile

    path = Path(tempfile.mkdtemp()) / "fit.json"
    kleiber.save(fitted_line(), path)
    return path


def check_papers(papers: Any, **options: Any) -> Any:
    return kleiber.check(papers, **options)


check_papers.__signature__ = inspect.signature(kleiber.check)  # type: ignore


PAPER = Paper("none", "Nothing", "Nobody", ())


@cache
def law_file() -> str:
    path = document().with_name("mine.py")
    path.write_text(
        "import kleiber\n@kleiber.Law\n"
        "def law(n_params, *, A=kleiber.positive(1, 2)):\n    return A * n_params\n"
    )
    return f"{path}:law"


def call_law(n_params: Any = 1e6, A: Any = 1.0, alpha: Any = 0.3) -> Any:
    return LAW(n_params, A=A, alpha=alpha)


def total_of(costs: Any) -> Any:
    return cost.total(costs)


def ensemble_table() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    members, points = 40, 8
    target = np.tile(np.linspace(-1, 1, points), members)
    return pl.DataFrame(
        {
            "width": np.full(members * points, 8),
            "seed": np.repeat(np.arange(members), points),
            "point": np.tile(np.arange(points), members),
            "target": target,
            "prediction": target + 0.1 * rng.standard_normal(members * points),
        }
    )


def widths() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    w = np.repeat([8, 16, 32, 64], 6)
    return pl.DataFrame(
        {
            "width": w,
            "seed": np.tile(np.arange(6), 4),
            "loss": 1 / w * np.exp(0.1 * rng.standard_normal(24)),
            "flops": w**2.0 * 100,
        }
    )


def envelopes() -> pl.DataFrame:
    rows = [
        {"width": float(w), "flops": float(w * t), "loss": 1 / w + 3 / t**0.5}
        for w in (8, 16, 32, 64, 128)
        for t in np.geomspace(10, 1e6, 40)
    ]
    return pl.DataFrame(rows)


def spectrum_table() -> pl.DataFrame:
    k = np.arange(1.0, 201)
    return pl.DataFrame({"eigenvalue": k**-1.5, "power": k**-2.0})


def votes() -> dict[str, np.ndarray]:
    x = np.linspace(-1.0, 1.0, 30)
    chosen = np.round(10 + 9 * x).astype(int)
    return {"embeddings": x[:, None], "counts": np.stack([chosen, 20 - chosen], axis=1)}


@cache
def good_calls() -> dict[str, Good]:
    """One call a verb, with every argument that has a value worth giving."""
    table, fit = runs(), fitted()
    budget = 1e19
    model = theory.FeatureLearning(modes=50)
    tail, tickets = theory.HardTail(dimension=5), theory.Tickets()
    shape = counting.Shape(64, 2, 100, 32)
    rule = counting.ShapeRule()
    reducers = reduce.reducers()
    made: dict[str, Good] = {
        "fit": (kleiber.fit, {"law": "chinchilla", "table": table, "draws": 4}),
        "fit_groups": (
            kleiber.fit_groups,
            {"law": "A*n_params**-alpha", "table": line(), "group": "task"},
        ),
        "fit_groups draws": (
            lambda draws=4, level=0.9, target="loss": kleiber.fit_groups(
                "A*n_params**-a", line(), group="task", draws=draws, level=level, target=target
            ),
            {"draws": 4},
        ),
        "compare": (
            kleiber.compare,
            {
                "table": line(),
                "laws": ["A*n_params**-a", "A*n_params**-a + E"],
                "beyond": "n_params",
                "draws": 2,
                "origins": [3e7],
            },
        ),
        "predict": (kleiber.predict, {"fit": fit, "table": table}),
        "Fit.predict": (fit.predict, {"table": table}),
        "Fit.interval": (fit.interval, {"quantity": "alpha"}),
        "profile": (kleiber.profile, {"fit": fitted_line(), "table": line(), "name": "alpha"}),
        "sample_posterior": (
            kleiber.sample_posterior,
            {"fit": fitted_scale(), "table": line(), "steps": 2000},
        ),
        "save": (kleiber.save, {"result": fitted_line(), "path": document()}),
        "load": (kleiber.load, {"path": document()}),
        "plan": (kleiber.plan, {"fit": fit, "budget": budget}),
        "sensitivity": (
            kleiber.sensitivity,
            {"fit": fitted_line(), "budget": budget, "cost": "6e8*n_params"},
        ),
        "trace_frontier": (kleiber.trace_frontier, {"fit": fit, "budgets": [budget]}),
        "next_run": (
            kleiber.next_run,
            {"fit": fit, "quantity": "alpha", "budget": 1e18},
        ),
        "plan_attempts": (
            kleiber.plan_attempts,
            {
                "source": counted(),
                "budget": 1e19,
                "cost": "6*1e8*n_tokens",
                "attempt": 1e12,
                "queries": 10.0,
            },
        ),
        "sensitivity with attempts": (
            kleiber.sensitivity,
            {"fit": counted(), "budget": 1e19, "cost": "6*1e8*n_tokens", "attempt": 1e12},
        ),
        "collect_attempts": (
            kleiber.collect_attempts,
            {
                "problems": [0.2, 0.8],
                "generate": lambda problems, seed: [seed % 2] * len(problems),
                "verify": lambda problem, answer: answer == 1,
                "attempts": 2,
            },
        ),
        "extract_answer": (gsm8k.extract_answer, {"text": "#### 5"}),
        "is_right": (gsm8k.is_right, {"answer": "#### 5", "final": 5}),
        "fit_counts": (kleiber.fit_counts, {"table": attempts(), "by": "n_tokens"}),
        "CountFit.pass_at": (counted().pass_at, {"k": 10}),
        "CountFit.interval": (counted().interval, {"quantity": "a"}),
        "CountFit.window": (counted().window, {"low": 2.0, "high": 10.0}),
        "forecast_from_norm": (
            kleiber.forecast_from_norm,
            {
                "curves": curves().filter(pl.col("n_data") < 6000),
                "partial": curves().filter(pl.col("n_data") > 6000, pl.col("norm") < 20),
            },
        ),
        "check": (check_papers, {"papers": PAPER}),
        "law_from_formula": (
            kleiber.law_from_formula,
            {"text": "A*n_params**-a", "columns": ["n_params"]},
        ),
        "positive": (kleiber.positive, {}),
        "real": (kleiber.real, {}),
        "fraction": (kleiber.fraction, {}),
        "Domain": (kleiber.Domain, {"kind": "positive"}),
        "Noise": (kleiber.Noise, {}),
        "Law": (kleiber.Law, {"function": laws.chinchilla.function}),
        "Claim": (
            kleiber.Claim,
            {
                "where": "section 1",
                "says": "one is one",
                "expected": 1.0,
                "within": 0.1,
                "compute": odd_function,
            },
        ),
        "laws.find": (laws.find, {"spec": "chinchilla", "columns": ["n_params"]}),
        "laws.broken": (laws.broken, {"n": 1}),
        "laws.bottleneck_exponents": (
            laws.bottleneck_exponents,
            {"capacity": 1.5, "source": 0.5, "rich": True},
        ),
        "law": (call_law, {}),
        "law_from_file": (laws.law_from_file, {"spec": law_file()}),
        "theory.find": (theory.find, {"name": "tickets"}),
        "reduce.find": (reduce.find, {"name": "average"}),
        "FeatureLearning": (theory.FeatureLearning, {}),
        "FeatureLearning.solve": (model.solve, {"grid": {"time": [1.0, 10.0]}}),
        "FeatureLearning.simulate": (
            theory.FeatureLearning(modes=10, width=10).simulate,
            {"grid": {"time": [1.0]}, "seeds": 1},
        ),
        "FeatureLearning.learned": (model.learned, {"time": 1.0, "modes": 1}),
        "FeatureLearning.frontier": (model.frontier, {"compute": 100.0}),
        "HardTail": (theory.HardTail, {}),
        "HardTail.solve": (tail.solve, {"grid": {"n_data": [10], "k": [1, 10]}}),
        "HardTail.simulate": (tail.simulate, {"grid": {"n_data": [10]}, "seeds": 1}),
        "HardTail.failure": (tail.failure, {"k": 1, "rho": 0.5}),
        "HardTail.window_exponent": (tail.window_exponent, {"rho": 0.5}),
        "HardTail.crossover": (tail.crossover, {"rho": 0.5}),
        "HardTail.exponents": (tail.exponents, {}),
        "HardTail.loss": (tail.loss, {"n_data": 10}),
        "Tickets": (theory.Tickets, {}),
        "Tickets.solve": (tickets.solve, {"grid": {"width": [4]}}),
        "Tickets.simulate": (tickets.simulate, {"grid": {"width": [4]}, "seeds": 1}),
        "Tickets.draw": (tickets.draw, {"width": 4, "seeds": 1}),
        "Perceptron": (theory.Perceptron, {}),
        "Perceptron.solve": (theory.Perceptron(2.0).solve, {"grid": {"norm": [1.0]}}),
        "Perceptron.error": (theory.Perceptron(2.0).error, {"norm": 1.0}),
        "Perceptron.simulate": (
            theory.Perceptron(2.0).simulate,
            {"grid": {"norm": [1.0]}, "seeds": 1, "size": 20},
        ),
        "Perceptron.simulate_flow": (
            theory.Perceptron(2.0).simulate_flow,
            {"grid": {"norm": [1.0]}, "seeds": 1, "size": 20},
        ),
        "serve": (cost.serve, {"tokens": 1e3}),
        "train_and_serve": (cost.train_and_serve, {"queries": 1.0, "tokens": 1e3}),
        "total": (total_of, {"costs": "6nd"}),
        "gpu_hours": (
            cost.gpu_hours,
            {"cost": "6nd", "flops_per_second": 1e15, "utilisation": 0.4},
        ),
        "money": (
            cost.money,
            {"cost": "6nd", "price": 2.0, "flops_per_second": 1e15, "utilisation": 0.4},
        ),
        "transformer": (cost.transformer, {}),
        "width_depth": (cost.width_depth, {}),
        "find_cost": (cost.find_cost, {"given": "6nd"}),
        "Cost": (cost.Cost, {"name": "mine", "formula": "n_params"}),
        "Shape": (counting.Shape, {"width": 64, "depth": 2, "vocabulary": 100, "context": 32}),
        "ShapeRule": (counting.ShapeRule, {}),
        "shape_at": (counting.shape_at, {"rule": rule, "width": 64}),
        "find_convention": (counting.find_convention, {"given": "exact"}),
        "count_forward": (counting.count_forward, {"shape": shape}),
        "count_memory": (counting.count_memory, {"shape": shape}),
        "count_params": (counting.count_params, {"shape": shape}),
        "count_training": (counting.count_training, {"shape": shape}),
        "solve_width": (counting.solve_width, {"rule": rule, "n_params": 1e6}),
        "Convention": (
            counting.Convention,
            {"name": "mine", "of_params": "all", "of_flops": "all"},
        ),
        "average": (reducers["average"], {"table": runs(), "value": "loss", "by": "task"}),
        "pass-at-k": (reducers["pass-at-k"], {"table": attempts(), "by": "n_tokens", "k": [1]}),
        "exponent": (reducers["exponent"], {"table": line()}),
        "width-exponent": (reducers["width-exponent"], {"table": widths(), "draws": 20}),
        "width-curve": (reducers["width-curve"], {"table": widths(), "draws": 20}),
        "ensemble": (reducers["ensemble"], {"table": ensemble_table(), "members": [2, 4]}),
        "collapse": (reducers["collapse"], {"table": curves()}),
        "envelope": (reducers["envelope"], {"table": envelopes(), "draws": 5}),
        "envelope-exponents": (
            reducers["envelope-exponents"],
            {"table": envelopes(), "draws": 5},
        ),
        "spectrum": (reducers["spectrum"], {"table": spectrum_table()}),
        "heads": (reducers["heads"], {"table": votes(), "n_data": [8], "seeds": 2}),
        "dynamical_exponents": (reduce.dynamical_exponents, {"table": curves()}),
    }
    return made


# taken although the signature says less: a rule may hold one number for each of several models
ACCEPTED = {
    (name, "list")
    for name in ("aspect", "vocabulary", "context", "ratio", "head_size", "group", "window")
} | {("window", "list of None")}  # both ends open
LAW = kleiber.law_from_formula("A*n_params**-alpha", ["n_params"])
INTERNAL = (
    "unsupported operand", "not supported between", "object has no", "'NoneType' object", "ufunc",
    "object is not", "has no len", "could not convert", "setting an array", "<lambda>",
)  # fmt: skip


def names_it(message: str, argument: str, value: Any) -> bool:
    """Whether a message names the argument or quotes the value."""
    text = message.casefold()
    words = {argument.casefold(), argument.replace("_", " ").casefold()}
    words |= {argument.removesuffix("s").casefold(), f"{type(value).__name__}".casefold()}
    if isinstance(value, dict):
        words |= {"table", *(str(key).casefold() for key in value)}
    quoted = shown(value)[:12].casefold()
    if isinstance(value, list) and value:
        words.add(shown(value[0]).casefold())
    return any(word in text for word in words) or quoted in text or str(value)[:20] in message


def fault(error: BaseException, argument: str, value: Any) -> str:
    """What is wrong with how a verb refuses a value, or ""."""
    message, kind = str(error), type(error).__name__
    if isinstance(error, RecursionError | NotImplementedError | UnicodeError):
        return f"{kind}: {message[:200]}"
    if not isinstance(error, TypeError | ValueError | OSError | kleiber.NotConverged):
        return f"{kind}: {message[:200]}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not last.filename.startswith(SOURCE) or "raise" not in (last.line or ""):
        where = Path(last.filename).name
        return f"{kind} from inside ({where}:{last.lineno}): {message[:200]}"
    if any(word in message for word in INTERNAL):
        return f"{kind} of the inside: {message[:200]}"
    if len(message) > 600 or "\n" in message:
        return f"{kind} too long: {message[:200]}"
    if not (message[:1].isupper() or message[:1] in "'\"") or message[-1] not in ".?)":
        return f"{kind} no sentence: {message[:200]}"
    if not names_it(message, argument, value):
        return f"{kind} names nothing: {message[:200]}"
    return ""


def hints_of(verb: Callable[..., Any]) -> dict[str, Any]:
    target = verb.__init__ if inspect.isclass(verb) else verb
    try:
        return typing.get_type_hints(target)
    except Exception:
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type that an argument is declared with."""
    if hint is inspect.Parameter.empty or hint is Any or hint is object:
        return True
    if isinstance(value, bool) and not is_bearable(True, hint):
        return False
    kinds = [value]
    if isinstance(value, float) and value.is_integer():  # a whole number, as JSON may have it
        kinds.append(int(value))
    if isinstance(value, list):
        kinds.append(tuple(value))
    try:
        return any(is_bearable(each, hint, conf=TOWER) for each in kinds)
    except BeartypeException:
        return True


def too_slow(*_: Any) -> None:
    raise TimeoutError(f"more than {SLOWEST} s")


def faults_of(name: str, verb: Callable[..., Any], good: dict[str, Any]) -> list[str]:
    """Everything wrong with how a verb takes each argument's bad values."""
    hints, found = hints_of(verb), list[str]()
    verb(**good)
    for argument, parameter in inspect.signature(verb).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        for label, value in BAD.items():
            signal.alarm(SLOWEST)
            try:
                verb(**{**good, argument: value})
                signal.alarm(0)
            except Exception as error:
                signal.alarm(0)
                wrong = fault(error, argument, value)
            else:
                known = fits(value, hints.get(argument, Any)) or (argument, label) in ACCEPTED
                wrong = "" if known else "accepted"
            if wrong:
                found.append(f"{name}({argument}={label}): {wrong}")
    return found


@pytest.fixture
def _as_at_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the types that only tests check, and with every warning of NumPy an error."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    before = signal.signal(signal.SIGALRM, too_slow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_as_at_home")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_argument_is_checked_at_the_door(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a text is a good path to save to
    calls = list(good_calls().items())
    assert len(calls) > 80
    found = [
        sentence
        for name, (verb, good) in calls[part::PARTS]
        for sentence in faults_of(name, verb, good)
    ]
    assert found == []


HUGE_SIZES: dict[str, Callable[[], Any]] = {
    "draws of a fit": lambda: kleiber.fit("chinchilla", runs(), draws=TRILLION),
    "draws of counts": lambda: kleiber.fit_counts(attempts(), by="n_tokens", draws=TRILLION),
    "draws of a comparison": lambda: kleiber.compare(
        ["A*n_params**-a", "A*n_params**-a + E"], line(), beyond="n_params", draws=TRILLION
    ),
    "steps of a chain": lambda: kleiber.sample_posterior(fitted_line(), line(), steps=TRILLION),
    "draws of pass@k": lambda: reduce.find("pass-at-k")(attempts(), by="n_tokens", draws=TRILLION),
    "draws of widths": lambda: reduce.find("width-curve")(widths(), draws=TRILLION),
    "draws of an envelope": lambda: reduce.find("envelope")(envelopes(), draws=TRILLION),
    "draws of a spectrum": lambda: reduce.find("spectrum")(spectrum_table(), draws=TRILLION),
    "a grid": lambda: theory.FeatureLearning().solve({"time": range(TRILLION)}),
    "width": lambda: theory.FeatureLearning(width=TRILLION).simulate({"time": [1.0]}, seeds=1),
    "modes": lambda: theory.FeatureLearning(modes=TRILLION).simulate({"time": [1.0]}, seeds=1),
    "data": lambda: theory.FeatureLearning(n_data=TRILLION, modes=10).simulate({"time": [1.0]}),
    "seeds": lambda: theory.HardTail().simulate({"n_data": [10]}, seeds=TRILLION),
    "seeds of tickets": lambda: theory.Tickets().simulate({"width": [4]}, seeds=TRILLION),
    "dimension": lambda: theory.HardTail(dimension=TRILLION),
    "points": lambda: theory.HardTail().window_exponent(1.0, points=TRILLION),
    "attempts": lambda: theory.HardTail().failure(1e18, 1.0),
    "perceptrons": lambda: theory.Perceptron(2.0).simulate({"norm": [1.0]}, size=TRILLION),
    "breaks": lambda: laws.broken(TRILLION),
    "time": lambda: theory.FeatureLearning(richness=1.0).solve({"time": [1e300]}),
    "richness": lambda: theory.FeatureLearning(richness=1e300),
    "noise": lambda: theory.HardTail(noise=1e300),
    "bias": lambda: theory.Tickets(bias=1e300),
}


@pytest.mark.usefixtures("_as_at_home")
@pytest.mark.parametrize("what", HUGE_SIZES)
def test_what_no_machine_holds_is_refused(what: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        HUGE_SIZES[what]()
    message = str(caught.value)
    assert message[0].isupper() or message[0] == "'"
    assert "\n" not in message
    assert len(message) <= 600
    assert "llocate" not in message


def test_k_far_beyond_the_attempts_has_no_interval() -> None:
    assert all(math.isnan(x) for x in np.ravel(list(counted().pass_at(1e18).low)))


@pytest.mark.parametrize(
    "options", [{"depth": 10}, {"source": 50.0}, {"capacity": 100.0}, {"source": 90.0}]
)
def test_theories_hold_at_the_ends_of_their_ranges(options: dict[str, Any]) -> None:
    found = theory.FeatureLearning(**options).solve({"time": [1.0, 100.0]})["loss"]
    assert np.isfinite(found.to_numpy()).all()
    assert found[1] <= found[0]


NAMES = [f"\x1b[31m{k}" + "x" * 3000 for k in range(300)]
WIDE: dict[str, Callable[[pl.DataFrame], Any]] = {
    "target": lambda table: kleiber.fit("A*n_params**-a", table, target="los"),
    "law": lambda table: kleiber.fit("A*n_parms**-a", table),
    "by": lambda table: kleiber.fit("A*n_params**-a", table, by=NAMES[0] + "y"),
    "beyond": lambda table: kleiber.compare(["A*n_params", "m3"], table, beyond="N"),
    "group": lambda table: kleiber.fit_groups("A*n_params**-a", table, group="N"),
    "formula": lambda table: kleiber.law_from_formula("A*n_parm", table.columns),
    "cost": lambda table: cost.find_cost("nothing", table.columns),
    "exponent": lambda table: reduce.find("exponent")(table, x="N"),
    "average": lambda table: reduce.find("average")(table, value="N"),
    "counts": lambda table: kleiber.fit_counts(table),
    "theory": lambda _: theory.find(NAMES[0]),
    "reduction": lambda _: reduce.find(NAMES[0]),
    "fixed": lambda table: kleiber.fit("A*n_params**-a", table, fixed={NAMES[0]: 1.0}),
    "grid": lambda _: theory.Tickets().solve({NAMES[0]: [1.0]}),
}


@pytest.mark.usefixtures("_as_at_home")
@pytest.mark.parametrize("what", WIDE)
def test_long_and_coloured_names_do_not_reach_a_message(what: str) -> None:
    table = pl.DataFrame({"n_params": [1e6, 1e7, 1e8], "loss": [3.0, 2.5, 2.2]})
    table = table.with_columns(pl.lit(1.0).alias(name) for name in NAMES)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        WIDE[what](table)
    assert len(str(caught.value)) <= 600
    assert str(caught.value).isprintable()


class Leaves(BaseException):
    """What no handler of Exception sees."""


def dig(x: Any) -> Any:
    return dig(x)


def leave() -> Any:
    raise SystemExit(0)


def vanish() -> Any:
    raise Leaves("gone")


LAWS: dict[str, Callable[[Any, Any], Any]] = {
    "SystemExit": lambda n, A: leave(),
    "Leaves": lambda n, A: vanish(),
    "RecursionError": lambda n, A: dig(n),
    "ZeroDivisionError": lambda n, A: 1 // 0,
    "wrong shape": lambda n, A: np.ones(3),
    "complex": lambda n, A: np.full(np.shape(n), 1j),
    "None": lambda n, A: None,
    "text": lambda n, A: "text",
    "texts": lambda n, A: np.array(["text"] * 12),
}


@pytest.mark.usefixtures("_as_at_home")
@pytest.mark.parametrize("what", LAWS)
def test_a_law_of_the_users_that_fails_is_a_bad_law(what: str) -> None:
    def mine(n_params: Any, *, A: Any = kleiber.positive(1.0, 2.0)) -> Any:
        return LAWS[what](n_params, A)

    with pytest.raises(kleiber.BadLaw) as caught:
        kleiber.fit(kleiber.Law(mine), line(), draws=0)
    message = str(caught.value)
    assert message[0].isupper()
    assert message.endswith(".")
    assert len(message) <= 600


@pytest.mark.parametrize("line_", ["raise SystemExit(0)", "class E(BaseException): pass\nraise E"])
def test_a_file_of_laws_that_leaves_is_a_bad_law(line_: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(line_)
    with pytest.raises(kleiber.BadLaw, match="failed: "):
        laws.law_from_file(f"{tmp_path / 'mine.py'}:law")
