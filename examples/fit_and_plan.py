"""From a table to a law, and from the law to a plan.

Fits Chinchilla's law to runs.csv, saves the fit, and asks what 5e8 FLOPs should buy.

    python examples/fit_and_plan.py
"""

from __future__ import annotations

from pathlib import Path

import kleiber

RUNS = Path(__file__).parent / "runs.csv"


def main() -> None:
    """Fit, save, load and plan."""
    table = kleiber.read_table(RUNS)
    fit = kleiber.fit(kleiber.laws.chinchilla, table)
    print(fit.summary())

    # N* ~ C^a with a = beta/(alpha + beta): an interval of any function of the parameters
    low, high = fit.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    print(f"exponent of the best size in compute: {low:.3f} to {high:.3f}")

    kleiber.save(fit, "fit.json")
    plan = kleiber.plan(kleiber.load("fit.json"), budget=5e8, cost=kleiber.cost.six_nd)
    for name, item in plan.allocation.items():
        print(f"{name}: {item.value:.4g}, between {item.low:.4g} and {item.high:.4g}")
    best = plan.predicted
    print(f"{plan.target}: {best.value:.4f}, between {best.low:.4f} and {best.high:.4f}")
    print(f"that is {plan.extrapolation:.3g} times the dearest measured run")


if __name__ == "__main__":
    main()
