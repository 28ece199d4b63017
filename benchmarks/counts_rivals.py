"""pass@k extrapolated from few attempts: kleiber's laws against the literature's ways.

From the full counts of the Pythia models (10,000 attempts at each of 128 MATH problems; Brown et
al. 2024 through Schaeffer et al. 2025), n attempts are drawn without replacement. Each way then
gives pass@10,000, and its exponent over k = 1..10,000 of both observables: least-squares slopes of
log failure and of log(-log pass) on 20 k's. The full counts are the truth.

ways        line        least squares of log failure, or of log(-log pass), on log k up to n
            schaeffer   scaled beta of Schaeffer et al. 2025 (arXiv 2502.17578): scale fixed at
                        min(1, (M + 1)/M max c/n), a and b in [0.01, 100] by maximum likelihood
            mle         kleiber, beta_binomial, each model alone
            straight    kleiber, beta_binomial with prior="straight", each model alone
            scaled      kleiber, scaled_beta, all three parameters

    python benchmarks/counts_rivals.py TABLE.csv --attempts 100 --repeats 200
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from scipy import optimize, special

from kleiber.attempts.errors import failure_of
from kleiber.attempts.fit import fit_counts

FAR = 10_000
KS = np.unique(np.round(np.geomspace(1, FAR, 20)))
Said = tuple[float, float, float]  # pass@FAR, slope of log failure, slope of log(-log pass)


def slope(k: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope and value at k = FAR."""
    rate, level = np.polyfit(np.log(k), y, 1)
    return float(rate), float(level + rate * np.log(FAR))


def of_failure(failure: np.ndarray) -> Said:
    """pass@FAR and both slopes of a curve of failure at KS."""
    return (
        float(1 - failure[-1]),
        slope(KS, np.log(failure))[0],
        slope(KS, np.log(-np.log1p(-failure)))[0],
    )


def lines(c: np.ndarray, n: int) -> dict[str, Said]:
    """The literature's two lines."""
    k = np.unique(np.round(np.geomspace(1, n, 20)))
    failure = failure_of(np.full((len(c), 1), float(n)), c[:, None].astype(float), k).mean(0)
    rate_f, end_f = slope(k, np.log(failure))
    rate_p, end_p = slope(k, np.log(-np.log1p(-failure)))
    return {
        "line, log failure": (1 - np.exp(end_f), rate_f, np.nan),
        "line, log -log pass": (float(np.exp(-np.exp(end_p))), np.nan, rate_p),
    }


def schaeffer(c: np.ndarray, n: int) -> Said:
    """Their estimator, from its description: quadrature instead of hypergeometric functions."""
    scale = min(1.0, (len(c) + 1) / len(c) * c.max() / n)
    values, times = np.unique(c, return_counts=True)
    t = np.linspace(-60, 40, 1501)
    log_v, log_w = -np.logaddexp(0, -t), -np.logaddexp(0, t)
    log_rest = np.log1p(-np.minimum(scale * np.exp(log_v), 1 - 1e-16))
    kernel = values[:, None] * (np.log(scale) + log_v) + (n - values[:, None]) * log_rest

    def log_density(a: float, b: float) -> np.ndarray:
        return a * log_v + b * log_w - special.betaln(a, b) + np.log(t[1] - t[0])

    def loss(q: np.ndarray) -> float:
        return float(-(times * special.logsumexp(kernel + log_density(*q), axis=1)).sum())

    found = optimize.minimize(loss, [0.3, 3.0], method="L-BFGS-B", bounds=[(0.01, 100)] * 2)
    mass = np.exp(log_density(*found.x))
    mass[0] += max(0.0, 1 - mass.sum())
    return of_failure(np.exp(KS[:, None] * log_rest) @ mass)


def ours(table: pl.DataFrame, **options: object) -> list[Said]:
    """Every model's answers by kleiber."""
    made = fit_counts(table, by="model", **options)  # type: ignore[arg-type]
    failure = np.exp(made.family.log_failure(made.peak.u, KS))
    return [of_failure(row) for row in failure]


def main() -> None:
    """Print root mean squared errors and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--attempts", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--scaled", action="store_true", help="also kleiber's scaled_beta (slow)")
    args = parser.parse_args()
    full = pl.read_csv(args.table)
    names = full["model"].unique(maintain_order=True).to_list()
    c = np.stack([full.filter(pl.col("model") == m).sort("problem")["c"] for m in names])
    truth = np.array(
        [
            of_failure(
                failure_of(np.full((len(row), 1), 1.0 * FAR), row[:, None] * 1.0, KS).mean(0)
            )
            for row in c
        ]
    )
    rng = np.random.default_rng(0)
    base = pl.DataFrame(
        {"model": np.repeat(names, c.shape[1]), "problem": np.tile(np.arange(c.shape[1]), len(c))}
    )
    ways: dict[str, Callable[[pl.DataFrame], list[Said]]] = {
        "kleiber mle": ours,
        "kleiber straight": lambda table: ours(table, prior="straight"),
    }
    if args.scaled:
        ways["kleiber scaled_beta"] = lambda table: ours(table, family="scaled_beta")
    errors: dict[str, list[np.ndarray]] = {}
    for _ in range(args.repeats):
        drawn = rng.hypergeometric(c, FAR - c, args.attempts)
        if (drawn.max(1) == 0).any():
            continue  # a model without any success has nothing to say, by any way
        rival = [lines(row, args.attempts) for row in drawn]
        said = {name: [row[name] for row in rival] for name in rival[0]}
        said["schaeffer"] = [schaeffer(row, args.attempts) for row in drawn]
        table = base.with_columns(attempts=pl.lit(args.attempts), successes=drawn.ravel())
        said |= {name: way(table) for name, way in ways.items()}
        for name, values in said.items():
            errors.setdefault(name, []).append(np.array(values) - truth)
    print(
        f"{args.attempts} of {FAR} attempts, {len(errors['schaeffer'])} draws, {len(names)} models"
    )
    print("root mean squared error, and mean squared error over that of kleiber straight")
    print(f"{'':<22}{'pass@10000':>18}{'slope, failure':>18}{'slope, -log pass':>18}")
    mean = {name: (np.array(e) ** 2).mean((0, 1)) for name, e in errors.items()}
    for name, values in mean.items():
        cells = [
            f"{np.sqrt(v):>10.4f} {v / w:>6.2f}x" if np.isfinite(v) else f"{'':>18}"
            for v, w in zip(values, mean["kleiber straight"], strict=True)
        ]
        print(f"{name:<22}" + "".join(cells))
    print("\nmean error ± its standard deviation of pass@10000, model by model")
    for i, model in enumerate(names):
        row = [f"{name} {np.array(e)[:, i, 0].mean():+.3f}±{np.array(e)[:, i, 0].std():.3f}"
               for name, e in errors.items()]  # fmt: skip
        print(f"{model} ({truth[i, 0]:.3f}): " + ", ".join(row))


if __name__ == "__main__":
    main()
