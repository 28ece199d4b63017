"""What fits of bottleneck laws find on the theory's own noise-free curves of hard tasks.

Curves of `theory.FeatureLearning` (times 100 to 1e5, widths 30 to 2000) are fitted by the tied law
of the catalogue, and by the sum of its terms with and without the transient of easy tasks, as a
formula. Printed: capacity and source, and the typical error of the fit.

    python benchmarks/bottleneck_forms.py
"""

from __future__ import annotations

import numpy as np
import polars as pl

import kleiber
from kleiber.law import Law, law_from_formula

TASKS = ((2.0, 0.5), (1.5, 0.5), (1.6, 0.3), (2.5, 0.4), (1.7, 0.7), (2.0, 0.8))  # capacity, source
RICHNESS = (0.0, 1.0, 10.0)
GRID = {"time": np.geomspace(100, 1e5, 10), "width": np.round(np.geomspace(30, 2000, 7))}


def plain_sum(rich: bool, transient: bool) -> Law:
    """A t^-(beta m) + W N^-(alpha beta) [+ (T/N) t^-(1 - 1/alpha) m], for beta below 1."""
    m = "2/(1+beta)" if rich else "1"
    text = f"A*step**(-beta*{m}) + W*width**(-alpha*beta)"
    more = f" + T/width*step**(-(1-1/alpha)*{m})" if transient else ""
    return law_from_formula(text + more, ("step", "width"))


def curves(capacity: float, source: float, richness: float) -> pl.DataFrame:
    """The theory's losses, with time called step."""
    model = kleiber.theory.FeatureLearning(capacity=capacity, source=source, richness=richness)
    made = model.solve(GRID).rename({"time": "step"})
    return made.select("step", "width", "loss")


def describe(law: Law, table: pl.DataFrame) -> str:
    """Capacity, source and the root mean square of the log residuals."""
    found = kleiber.fit(law, table, draws=0)
    made = found.predict(table)["predicted"].to_numpy()
    off = np.log(made / table["loss"].to_numpy())
    values = f"{found.params['alpha']:.3g}, {found.params['beta']:.3g}"
    return f"{values} ({np.sqrt(np.mean(off**2)):.1%})"


def main() -> None:
    """Print one line for each task and richness."""
    print(f"{'capacity, source, richness':<28}{'joined':<22}{'sum':<22}sum with T")
    for capacity, source in TASKS:
        for richness in RICHNESS:
            table, rich = curves(capacity, source, richness), richness > 0
            law = kleiber.laws.bottleneck_rich if rich else kleiber.laws.bottleneck_lazy
            tried = (law, plain_sum(rich, False), plain_sum(rich, True))
            cells = "".join(f"{describe(each, table):<22}" for each in tried)
            print(f"{f'{capacity:g}, {source:g}, {richness:g}':<28}{cells}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
