"""Is the optimum of a run better forecast from its own norm and error, or from a power law?

The published curves of D'Amico et al. 2025 (CNN, ResNet and ViT on CIFAR-10): each n_data in turn
is forecast from the complete runs on fewer data, up to 2 n_data in between left out as well, with
the run itself cut at a share of the way (in log norm) to its optimum. Errors are of log error_opt,
against the least error of the whole curve. Two rivals know n_data only: a power law in n_data, and
one with a floor. "seen" is the least error that the run has had so far, and "capped"
the lower of that and the power law. Run with KLEIBER_DATA set; docs/forecast_from_norm.txt keeps
what it prints.
"""

from __future__ import annotations

import math
import time

import numpy as np
import polars as pl

import kleiber
from kleiber.data.runs import load_runs
from kleiber.systems.implicit_bias.collapse_curves import MeanCurve, find_optimum, read_curves

CUTS = (0.3, 0.5, 0.7, 0.85, 1.0)
LEFT_OUT = (0, 1, 2)  # n_data between the largest complete run and the one forecast
FEWEST = 4  # complete runs
LEVEL = 0.9
RIVALS = ("power_law", "capped")
METHODS = ("weighted", "collapse", "power_law", "power_law_floor", "capped", "seen")


def with_floor(sizes: np.ndarray, errors: np.ndarray, at: float) -> float:
    """log of E + A n_data^-alpha at a size: E from a grid, the rest least squares on logarithms."""
    best = (math.inf, math.nan)
    for floor in np.concatenate([[0.0], np.geomspace(1e-3, 0.99, 100)]) * errors.min():
        slope, start = line_of(sizes, errors - floor)
        gap = np.log(floor + np.exp(start + slope * np.log(sizes))) - np.log(errors)
        best = min(
            best, (float(gap @ gap), math.log(floor + math.exp(start + slope * math.log(at))))
        )
    return best[1]


def line_of(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The power law, as slope and start on logarithms."""
    return np.polyfit(np.log(sizes), np.log(errors), 1)


def cut(item: MeanCurve, share: float, frame: pl.DataFrame) -> pl.DataFrame:
    """The run's rows up to a share of the way to its optimum, in log norm."""
    end = item.log_norm[0] + share * (find_optimum(item)[0] - item.log_norm[0])
    rows = frame.filter(pl.col("n_data") == item.n_data)
    return rows.filter(pl.col("norm").log() <= end + 1e-9)


def trials(frame: pl.DataFrame) -> list[dict[str, float]]:
    """Every forecast of one model's curves."""
    items = read_curves(frame).items
    best = {item.n_data: find_optimum(item) for item in items}
    rows: list[dict[str, float]] = []
    for k, item in enumerate(items):
        for gap in LEFT_OUT:
            known = items[: k - gap] if k - gap > 0 else ()
            if len(known) < FEWEST:
                continue
            sizes = np.array([one.n_data for one in known])
            errors = np.exp([best[size][1] for size in sizes])
            complete = frame.filter(pl.col("n_data") <= sizes[-1])
            floor = with_floor(sizes, errors, item.n_data)
            for share in CUTS:
                run = cut(item, share, frame)
                if run.height < 3:
                    continue
                made = kleiber.forecast_from_norm(complete, run, level=LEVEL)
                truth = best[item.n_data]
                own = made.forecasts["collapse"].value
                guess = {
                    "weighted": math.log(made.error.value),
                    "collapse": math.log(own),
                    "power_law": float(np.polyval(line_of(sizes, errors), math.log(item.n_data))),
                    "power_law_floor": floor,
                    "seen": math.log(float(run["error"].to_numpy().min())),
                }
                guess |= {
                    "capped": min(guess["power_law"], guess["seen"]),
                }
                rows.append(
                    {"n_data": item.n_data, "gap": gap, "share": share, "weight": made.weight}
                    | {name: value - truth[1] for name, value in guess.items()}
                    | {
                        "held": made.error.low <= math.exp(truth[1]) <= made.error.high,
                        "held_norm": made.log10_norm.low
                        <= truth[0] / math.log(10)
                        <= made.log10_norm.high,
                        "norm": made.log10_norm.value - truth[0] / math.log(10),
                    }
                )
    return rows


def paired(table: pl.DataFrame, rival: str, rng: np.random.Generator) -> str:
    """rms weighted / rms rival with its interval (90%), targets drawn anew."""
    sums = table.group_by("model", "n_data").agg(
        (pl.col("weighted") ** 2).sum(), (pl.col(rival) ** 2).sum()
    )
    sums = sums.sort("model", "n_data")
    a, b = sums["weighted"].to_numpy(), sums[rival].to_numpy()
    rows = rng.integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(np.sqrt(a[rows].sum(1) / b[rows].sum(1)), [0.05, 0.95])
    return f"{np.sqrt(a.sum() / b.sum()):5.2f} [{low:4.2f}, {high:4.2f}]"


def rms(table: pl.DataFrame, name: str) -> float:
    """Root-mean-square error in percent of the value forecast."""
    values = table[name].fill_nan(None).drop_nulls().to_numpy()
    return 100 * float(np.sqrt((values**2).mean())) if len(values) else math.nan


def line(name: str, share: float, part: pl.DataFrame, rng: np.random.Generator) -> str:
    """One row of the table printed."""
    errors = " ".join(f"{rms(part, method):10.2f}" for method in METHODS)
    ratios = "  ".join(paired(part, rival, rng) for rival in RIVALS)
    return (
        f"{name:8s} {share:6.0%} {part.height:4d} {errors}  {ratios}"
        f" {part['weight'].mean():6.2f} {part['held'].mean():6.0%} {part['held_norm'].mean():9.0%}"
    )


def main() -> None:
    """Print the table."""
    start = time.process_time()
    frame = load_runs("norms")
    models = ("CNN", "ResNet", "ViT")
    table = pl.concat(
        pl.DataFrame(trials(frame.filter(pl.col("model") == model))).with_columns(
            model=pl.lit(model)
        )
        for model in models
    )
    rng = np.random.default_rng(0)
    print("Error of log error_opt, rms in %, by the share of the way (log norm) to the optimum.")
    print(
        "capped: the power law, or the least error seen where that is lower. Ratios: weighted over"
    )
    print("it and over the power law, with 90% intervals over the targets; weight: the collapse's;")
    print("held, held_norm: how often the 90% intervals held error and norm.\n")
    print(
        f"{'model':8s} {'share':>6s} {'n':>4s} "
        + " ".join(
            f"{name[:10]:>10s}"
            for name in ("weighted", "collapse", "power law", "with floor", "capped", "seen")
        )
        + f"   {'to power law':19s}  {'to capped':18s}"
        + f" {'weight':>6s} {'held':>6s} {'held_norm':>9s}"
    )
    for model in (*models, "all"):
        for share in CUTS:
            part = table.filter(pl.col("share") == share)
            part = part if model == "all" else part.filter(pl.col("model") == model)
            print(line(model, share, part, rng))
        print()
    for gap in LEFT_OUT:
        part = table.filter(pl.col("gap") == gap)
        print(line(f"gap {gap}", 1.0, part.filter(pl.col("share") == 1.0), rng))
    print("\nThe largest n_data alone (one target a model, nothing else left out):")
    for model in models:
        part = table.filter((pl.col("model") == model) & (pl.col("gap") == 0))
        last = part.filter(pl.col("n_data") == part["n_data"].max())
        for row in last.iter_rows(named=True):
            values = " ".join(f"{100 * row[method]:+8.2f}" for method in METHODS)
            print(f"{model:8s} {row['share']:6.0%} {values}  log10 norm {row['norm']:+.2f}")
    print(f"\n{time.process_time() - start:.1f} s of CPU")


if __name__ == "__main__":
    main()
