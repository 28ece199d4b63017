"""How well ``kleiber.forecast`` forecasts: shared data, planted laws, and its ingredients.

    python benchmarks/forecast.py > docs/forecast.txt            about three CPU-minutes

Errors are the root mean square of the log error of a curve or table, its mean and its worst over
them. The constants of the method were chosen on the shared data and on planted tables of two seeds;
planted numbers here are of other seeds. Numbers of peers are quoted from their measurement on the
same splits (36 curves: Alabdulmohsin et al. 2022, arXiv 2209.06640; tables: our runs of the peers'
own code).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
from forecast_planted import Planted, planted_curves, planted_tables

import kleiber
from kleiber.data.runs import load_runs
from kleiber.forecasting import average, families, members, mixture, search

Array = np.ndarray
SEEDS = (10, 11, 12)
COLUMNS = ("n_params", "n_tokens")


def vision(cut: float) -> Iterator[Planted]:
    """The 36 learning curves: with a cut, trained on x up to 1/cut of the largest."""
    table = load_runs("learning_curves_vision")
    for key, part in table.group_by("task", "model", maintain_order=True):
        known = part.filter("fitted").unique("n_data", keep="last", maintain_order=True)
        asked = part.filter(~pl.col("fitted"))
        most = float(asked["n_data"].to_numpy().max())
        if cut:
            known = known.filter(pl.col("n_data") <= most / cut)
            asked = asked.filter(pl.col("n_data") > most / 2)
        columns = [part["n_data"].to_numpy()[:, None] for part in (known, asked)]
        y, measured = (part["error"].to_numpy() for part in (known, asked))
        yield Planted(", ".join(map(str, key)), columns[0], y, columns[1], measured)


def chinchilla_runs(cut: float) -> Iterator[Planted]:
    """The 240 Chinchilla points, with compute up to 1/cut of the largest; above 1/5 are asked."""
    table = load_runs("chinchilla_epoch").filter("epoch_kept")
    x, y = table.select(COLUMNS).to_numpy(), table["loss"].to_numpy()
    compute = x.prod(axis=1)
    known, asked = compute <= compute.max() / cut, compute > compute.max() / 5
    yield Planted("chinchilla", x[known], y[known], x[asked], y[asked])


def as_tables(item: Planted) -> tuple[dict[str, Array], dict[str, Array], tuple[str, ...]]:
    """Return the known rows and the asked ones as tables, and the names of their columns."""
    names = COLUMNS if item.x.shape[1] == 2 else ("n_data",)
    known, asked = (
        {name: rows[:, k] for k, name in enumerate(names)} for rows in (item.x, item.at)
    )
    return known | {"loss": item.y}, asked, names


def by_forecast(item: Planted) -> tuple[Array, Array]:
    """Return the log error of each row, and whether its 95% interval holds it, with its width."""
    known, asked, names = as_tables(item)
    told = kleiber.forecast(known, asked, x=names).table
    low, high = told["low"].to_numpy(), told["high"].to_numpy()
    if np.isnan(low).any():  # a refusal counts as an error of 1
        return np.ones(len(low)), np.array([np.nan, np.nan])
    error = np.log(item.measured / told["predicted"].to_numpy())
    inside = np.mean((item.measured >= low) & (item.measured <= high))
    return error, np.array([inside, np.mean(np.log(high / low))])


def by_law(law: Any, item: Planted) -> Array:
    """Return the log errors of one fitted law."""
    known, asked, _ = as_tables(item)
    told = kleiber.fit(law, known, draws=0).predict(asked)["predicted"].to_numpy()
    return np.log(item.measured / told)


def report(name: str, items: Iterable[Planted]) -> None:
    """Print the errors, the coverage and the CPU time of the forecasts of a set."""
    start, errors, inside = time.process_time(), [], []
    for item in items:
        error, told = by_forecast(item)
        errors.append(np.sqrt(np.mean(error**2)))
        inside.append(told)
    seconds = (time.process_time() - start) / len(errors)
    cover, width = np.nanmean(inside, axis=0)
    print(
        f"{name:<44} {len(errors):>4}  {np.mean(errors):.4f}  {np.max(errors):.4f}  {cover:>6.1%}  "
        f"{width:.3f}  {seconds:.3f}"
    )


def compare_laws() -> None:
    """Print single laws and published numbers beside the forecast."""
    print("\nSingle laws on the same splits: mean and worst error")
    for name in ("m4", "broken_1", "m2"):
        found = [np.sqrt(np.mean(by_law(name, item) ** 2)) for item in vision(0)]
        print(f"  36 curves, kleiber's {name:<10} {np.mean(found):.4f}  {np.max(found):.4f}")
    last = [np.sqrt(np.mean(np.log(i.measured / i.y[i.x[:, 0].argmax()]) ** 2)) for i in vision(0)]
    print(f"  36 curves, the last value          {np.mean(last):.4f}  {np.max(last):.4f}")
    print("  36 curves, M4 as published         0.0230")
    for cut in (20, 100):
        for name in ("chinchilla", "kaplan"):
            (item,) = chinchilla_runs(cut)
            error = np.sqrt(np.mean(by_law(name, item) ** 2))
            print(f"  Chinchilla, C <= max/{cut:<4} {name:<14} {error:.4f}")
    print("  Chinchilla, C <= max/20, best of the peers 0.0156 (log-Huber optimum)")


@contextlib.contextmanager
def changed(*changes: tuple[Any, str, Any]) -> Generator[None]:
    """Change constants of the method within the block."""
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def without() -> Iterator[tuple[str, list[tuple[Any, str, Any]]]]:
    """Yield each ingredient's absence as changes of constants."""
    yield "as it is", []
    yield "no recency", [(members, "RECENCIES", (1e3,) * 4)]
    normal = [(search, "FREEDOM", 1e6), (average, "NOISE", 1.0), (mixture, "NOISE", 1.0)]
    yield "squared error instead of Student's t", normal
    yield (
        "priors three times as wide",
        [
            (families, name, 3 * getattr(families, name))
            for name in ("RATE_SD", "FLOOR_SD", "SHARE_SD", "SHIFT_SD", "JOINT_SD")
        ]
        + [(search, "EXPONENT_SD", 3 * search.EXPONENT_SD)],
    )
    yield "evidence not tempered", [(average, "TEMPER", 1.0), (average, "NEAR", 1e9)]
    yield "no evidence", [(average, "TEMPER", 0.0)]
    yield "no weights from back-tests", [(average, "POWER", 0.0)]
    yield "no widening by back-tests", [(mixture, "widening_of", lambda tests: 1.0)]
    yield "one family, floor with added powers", [(members, "families", _floor_only)]


def _floor_only(columns: int) -> tuple[families.Family, ...]:
    return (families.Family("floor", columns, floor=True),)


def ablate() -> None:
    """Print errors and coverage without one ingredient at a time."""
    sets = {
        "36 curves": list(vision(0)),
        "curves, x <= max/4": list(vision(4)),
        "Chinchilla /20": list(chinchilla_runs(20)),
        "planted tables /20": list(planted_tables(20, SEEDS[0])),
        "planted curves": list(planted_curves(SEEDS[0])),
    }
    print("\nWithout an ingredient: mean error, coverage of 95% intervals")
    print(f"  {'':<38}" + "".join(f"{name:>20}" for name in sets))
    for name, changes in without():
        cells = []
        with changed(*changes):
            for items in sets.values():
                found = [by_forecast(item) for item in items]
                error = np.mean([np.sqrt(np.mean(e**2)) for e, _ in found])
                cells.append(f"{error:.4f} {np.nanmean([t[0] for _, t in found]):.0%}")
        print(f"  {name:<38}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def time_groups() -> None:
    """Print the CPU time of 500 simple curves in one call."""
    rng = np.random.default_rng(0)
    rows = np.geomspace(1e3, 1e5, 10)
    parts = [
        pl.DataFrame({"task": [str(k)] * 10, "n_data": rows,
                      "loss": (e + a * rows**-b) * np.exp(0.01 * rng.standard_normal(10))})
        for k, (e, a, b) in enumerate(rng.uniform((0.1, 5, 0.2), (1, 50, 0.7), (500, 3)))
    ]  # fmt: skip
    start = time.process_time()
    kleiber.forecast(pl.concat(parts), {"n_data": [4e5]}, x="n_data", group="task")
    print(f"\n500 curves of ten rows in one call: {time.process_time() - start:.1f} CPU-s")


def main() -> None:
    """Print all tables."""
    print(f"{'':<44} sets  mean    worst   inside  width  CPU-s each")
    for cut, name in ((0, "36 vision curves, as published"), (4, "the same, x <= max/4"),
                      (16, "the same, x <= max/16")):  # fmt: skip
        report(name, vision(cut))
    for cut in (20, 100):
        report(f"Chinchilla, C <= max/{cut}, above max/5 asked", chinchilla_runs(cut))
    for cut in (20, 100):
        items = (item for seed in SEEDS for item in planted_tables(cut, seed))
        report(f"planted tables, C <= max/{cut}", items)
    report("planted curves, up to 4 times", (i for seed in SEEDS for i in planted_curves(seed)))
    compare_laws()
    ablate()
    time_groups()


if __name__ == "__main__":
    main()
