"""How often the misfit of a fit raises an alarm: on tables that the law describes, where every
alarm is false, and on tables with a planted misfit, where every silence is one too many.

Tables have extra columns that mean nothing (a seed, a learning rate, a recipe), so that there is
something to find by accident. A share is that of tables with an alarm.

    python benchmarks/misfit_alarms.py --tables 400 > docs/misfit_alarms.txt
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

import kleiber
from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.engine.problem import minimise
from kleiber.fitting.judge.inspection import inspect_fit
from kleiber.fitting.options import Options
from kleiber.fitting.table_problem import pose_rows, read_measurements

NOISES = {"least squares": Noise("log"), "Huber 1e-3": Noise("log", delta=1e-3)}
CHINCHILLA = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
FLOOR = {"E": 1.7, "A": 40.0, "alpha": 0.4}
TRUTH = {"chinchilla": CHINCHILLA, "power_law_floor": FLOOR}
RANGES = {"n_params": (1e7, 1e10), "n_tokens": (1e9, 1e12), "n_data": (1e2, 1e6)}
EVALUATIONS = 6  # rows of one run where rows share its noise


@dataclass(frozen=True)
class Sound:
    """A table that its law describes: so many rows, a design and a kind of noise."""

    law: str
    rows: int
    design: str
    noise: str


SOUND = [
    *(Sound(law, rows, "random", "equal") for law in TRUTH for rows in (8, 12, 30, 100)),
    *(Sound(law, 45, "grid", kind) for law in TRUTH for kind in ("equal", "unequal", "heavy")),
    *(Sound(law, 60, "random", kind) for law in TRUTH for kind in ("unequal", "heavy")),
    *(Sound(law, 45, "repeated", "equal") for law in TRUTH),
    *(Sound(law, 120, "runs", kind) for law in TRUTH for kind in ("shared", "drifting")),
]


def plant_sound(cell: Sound, rng: np.random.Generator) -> pl.DataFrame:
    """A table of the cell."""
    law = kleiber.laws.catalogue()[cell.law]
    columns: dict[str, np.ndarray] = {}
    run = np.arange(cell.rows) // EVALUATIONS
    for k, name in enumerate(law.variables):
        low, high = np.log(RANGES[name])
        x = rng.uniform(low, high, cell.rows)
        if cell.design == "grid":
            x = np.linspace(low, high, 5 + k)[rng.integers(0, 5 + k, cell.rows)]
        elif cell.design == "repeated":  # three seeds of each
            x = np.repeat(x[: cell.rows // 3], 3)
        elif cell.design == "runs" and len(law.variables) > 1 and k == 0:
            x = x[run * EVALUATIONS]
        elif cell.design == "runs":  # one run from its first evaluation to its last
            x = np.tile(np.linspace(low, high, EVALUATIONS), cell.rows // EVALUATIONS)
        columns[name] = np.exp(x)
    clean = law(**columns, **TRUTH[cell.law])
    table = {**columns, "loss": clean * np.exp(0.01 * noise_of(cell, run, columns, rng))}
    table |= {
        "seed": rng.integers(0, 3, cell.rows),
        "lr": rng.choice([1e-3, 2e-3, 4e-3], cell.rows),
    }
    table["recipe"] = rng.choice(["a", "b"], cell.rows)
    return pl.DataFrame(table | ({"run": run} if cell.design == "runs" else {}))


def noise_of(
    cell: Sound, run: np.ndarray, columns: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Noise of unit size."""
    normal = rng.standard_normal(cell.rows)
    if cell.noise == "heavy":
        return rng.standard_t(3, cell.rows)
    if cell.noise == "unequal":  # ten times noisier at the small end of the first column
        name, values = next(iter(columns.items()))
        low, high = np.log(RANGES[name])
        return 3 * normal * 10 ** -((np.log(values) - low) / (high - low))
    if cell.noise == "shared":
        return rng.standard_normal(run.max() + 1)[run] + 0.4 * normal
    if cell.noise == "drifting":  # a random walk along each run
        return np.cumsum(normal.reshape(-1, EVALUATIONS), axis=1).ravel()
    return normal


def inspect_sound(cell: Sound, noise: Noise, seed: int) -> bool:
    """Whether a sound table raises an alarm. The descent starts at the truth."""
    rng = np.random.default_rng([seed, zlib.crc32(str(cell).encode())])
    frame, law = plant_sound(cell, rng), kleiber.laws.catalogue()[cell.law]
    ask = Options(noise=noise, draws=0)
    rows = read_measurements(law, frame, ask)
    problem = pose_rows(law, rows, ask)
    truth = np.array([[TRUTH[cell.law][name] for name in law.params]])
    point = minimise(problem, problem.to_coordinate(truth), problem.weights[None])[0].point[0]
    params = dict(zip(law.params, problem.from_coordinate(point[None])[0].tolist(), strict=True))
    return inspect_fit(problem, point, (), law, params, rows, ask).alarm


def scatter(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens of so many runs."""
    spans = [np.log(RANGES[name]) for name in ("n_params", "n_tokens")]
    n, d = (np.exp(rng.uniform(low, high, rows)) for low, high in spans)
    return n, d


def double_descent(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """Error against width with a second peak at width 60."""
    width = np.geomspace(2, 2048, 21)
    error = 0.1 + 0.6 / width**0.5 + 0.3 * np.exp(-((np.log(width / 60) / 0.35) ** 2))
    return "E + A/width**alpha", "error", frame_of(rng, 0.02, width=width, error=error)


def u_shape(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """A loss that rises again where a model is too large for its data."""
    n = np.geomspace(1e6, 1e10, 16)
    loss = 2 + 300 / n**0.4 + 0.02 * np.log10(n / 1e8).clip(0) ** 2
    return "E + A*n_params**-alpha", "loss", frame_of(rng, 0.002, n_params=n, loss=loss)


def warm_up(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """A learning curve from its first step on, of which warm-up is no power law."""
    step = np.arange(20, 4001, 40).astype(float)
    loss = 2 + 30 / (step + 50) ** 0.5 + 4 * np.exp(-step / 120)
    return "E + A*step**-alpha", "loss", frame_of(rng, 0.005, step=step, loss=loss)


def two_recipes(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """Two recipes of which one is 3% better, with noise of 1%."""
    n, d = scatter(rng, 40)
    recipe = rng.choice(["a", "b"], 40)
    clean = kleiber.laws.chinchilla(n_params=n, n_tokens=d, **CHINCHILLA)
    loss = clean * np.where(recipe == "b", 0.97, 1.0)
    return (
        "chinchilla",
        "loss",
        frame_of(rng, 0.01, n_params=n, n_tokens=d, loss=loss).with_columns(
            recipe=pl.Series(recipe)
        ),
    )


def learning_rate(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """A learning rate that has an optimum, in a table whose law does not know of it."""
    n, d = scatter(rng, 60)
    lr = rng.choice([1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 60)
    clean = kleiber.laws.chinchilla(n_params=n, n_tokens=d, **CHINCHILLA)
    loss = clean * (1 + 0.02 * np.log10(lr / 1e-3) ** 2)
    return "chinchilla", "loss", frame_of(rng, 0.01, n_params=n, n_tokens=d, lr=lr, loss=loss)


def wrong_law(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """A law without the term that the data have, with three seeds of each run."""
    n, d = (np.repeat(x, 3) for x in scatter(rng, 15))
    loss = kleiber.laws.chinchilla(n_params=n, n_tokens=d, **CHINCHILLA)
    return "E + A*n_params**-alpha", "loss", frame_of(rng, 0.01, n_params=n, n_tokens=d, loss=loss)


def bend_in_runs(rng: np.random.Generator) -> tuple[str, str, pl.DataFrame]:
    """Learning curves of 16 runs, each with a noise of its own, that all bend as no power does."""
    step = np.tile(np.geomspace(100, 1e5, 12), 16)
    size = np.repeat(np.exp(rng.uniform(np.log(1e7), np.log(1e10), 16)), 12)
    run = np.arange(192) // 12
    loss = 1.8 + 480 / size**0.35 + 20 / step**0.4 + 0.1 * np.exp(-((np.log(step / 3e3)) ** 2))
    loss = loss * np.exp(0.01 * rng.standard_normal(16)[run])
    law = "E + A*n_params**-alpha + B*step**-beta"
    return law, "loss", frame_of(rng, 0.003, n_params=size, step=step, loss=loss, run=run)


Planted = Callable[[np.random.Generator], tuple[str, str, pl.DataFrame]]
PLANTED: tuple[Planted, ...] = (
    double_descent, u_shape, warm_up, two_recipes, learning_rate, wrong_law, bend_in_runs,
)  # fmt: skip


def frame_of(rng: np.random.Generator, size: float, **columns: np.ndarray) -> pl.DataFrame:
    """The columns, the target with log noise of a size."""
    target = "error" if "error" in columns else "loss"
    noise = np.exp(size * rng.standard_normal(len(columns[target])))
    return pl.DataFrame(columns | {target: columns[target] * noise})


def inspect_planted(planted: Planted, noise: Noise, seed: int) -> bool:
    """Whether a table with a planted misfit raises an alarm."""
    law, target, frame = planted(np.random.default_rng([seed, 7]))
    made = kleiber.fit(law, frame, target=target, noise=noise, draws=0)
    return made.misfit is not None and made.misfit.alarm


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=400, help="sound tables a cell")
    parser.add_argument("--planted", type=int, default=50, help="tables of each planted misfit")
    ask = parser.parse_args()
    print(f"false alarms, {ask.tables} sound tables a cell")
    print(f"{'law':<16}{'rows':>5} {'design':<9}{'noise':<9}" + "".join(f"{n:>15}" for n in NOISES))
    total = dict.fromkeys(NOISES, 0.0)
    for cell in SOUND:
        line = f"{cell.law:<16}{cell.rows:>5} {cell.design:<9}{cell.noise:<9}"
        for name, noise in NOISES.items():
            share = float(np.mean([inspect_sound(cell, noise, s) for s in range(ask.tables)]))
            total[name] += share / len(SOUND)
            line += f"{share:>15.3f}"
        print(line, flush=True)
    print(f"{'mean':<39}" + "".join(f"{share:>15.3f}" for share in total.values()))
    print(f"\nalarms on {ask.planted} tables of each planted misfit")
    for planted in PLANTED:
        line = f"{planted.__name__.replace('_', ' '):<39}"
        for noise in NOISES.values():
            found = [inspect_planted(planted, noise, s) for s in range(ask.planted)]
            line += f"{float(np.mean(found)):>15.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
