"""Short representations of what public functions return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kleiber

X = np.geomspace(1e6, 1e9, 12)
RUNS = {"n_params": X, "loss": (1.8 + 400 * X**-0.4) * (1 + 1e-3 * np.sin(np.arange(12)))}
COUNTS = {"problem": list("abcdefgh"), "attempts": 8 * [9], "successes": [0, 1, 2, 4, 7, 9, 3, 1]}
LAW = "E + A/n_params**alpha"


def grouped() -> Any:
    task = ["a"] * 6 + ["b"] * 6
    return kleiber.fit_groups("A/n_params**alpha", RUNS | {"task": task}, group="task", draws=0)


MADE: dict[str, Callable[[], Any]] = {
    "Fit": lambda: kleiber.fit(LAW, RUNS, draws=20),
    "GroupFits": grouped,
    "CountFit": lambda: kleiber.fit_counts(COUNTS, draws=20),
    "Plan": lambda: kleiber.plan(kleiber.fit(LAW, RUNS, draws=20), 6e10, "6*n_params"),
    "Prediction": lambda: kleiber.predict(kleiber.fit(LAW, RUNS, draws=20), RUNS),
    "Comparison": lambda: kleiber.compare(
        [LAW, "A/n_params**alpha"], RUNS, beyond="n_params", draws=2, origins=[1e8]
    ),
    "Forecast": lambda: kleiber.forecast(RUNS, x="n_params"),
}


@pytest.mark.parametrize("kind", MADE)
def test_short(kind: str) -> None:
    text = repr(MADE[kind]())
    assert text.startswith(f"{kind}(")
    assert len(text) < 600
    assert "array" not in text
    assert "\n" not in text


def test_fit_says_what_matters() -> None:
    made = kleiber.fit(LAW, RUNS, draws=20)
    assert f"E = {made.params['E']:.4g} ± {made.stderr['E']:.4g}" in repr(made)
    assert "converged" in repr(made)
    assert "rows: 12" in repr(made)
