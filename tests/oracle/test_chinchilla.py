"""Epoch's reconstruction of the Chinchilla runs (Besiroglu et al. 2024), and its published fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import optimize

from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.status import Status
from kleiber.fitting.record import Fit
from kleiber.fitting.spread.bootstrap import resample_weights
from kleiber.laws import chinchilla
from kleiber.maths.seeds import stream

DELTA = 1e-3
NOISE = Noise("log", DELTA)
CHUNK = 500  # draws whose rows are picked together
# Besiroglu et al. 2024: their point, and the 2.5% and 97.5% quantiles of 4,000 resamples, each
# with half a unit of its last digit.
POINT = {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
ENDS = {
    "A": (286, 744, 0.5),
    "B": (1042, 5810, 0.5),
    "E": (1.769, 1.871, 5e-4),
    "alpha": (0.317, 0.373, 5e-4),
    "beta": (0.331, 0.415, 5e-4),
}


@pytest.fixture(scope="module")
def runs(data_path: Callable[[str], Path]) -> pl.DataFrame:
    """The 240 runs that the published fit keeps."""
    table = pl.read_csv(data_path("runs/chinchilla_epoch.csv")).filter(pl.col("epoch_kept"))
    assert len(table) == 240
    return table.rename({"N": "n_params", "D": "n_tokens"})


@pytest.fixture(scope="module")
def fitted(runs: pl.DataFrame) -> Fit:
    """The fit with 4,000 draws."""
    return fit(chinchilla, runs, noise=NOISE, draws=4000, seed=0)


def huber(point: np.ndarray, runs: pl.DataFrame, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of Huber losses of log residuals and its gradient, in (log E, log A, log B, alpha,
    beta): written anew, as the published script has it (a log-sum-exp)."""
    e, a, b, alpha, beta = point
    n, d = np.log(runs["n_params"].to_numpy()), np.log(runs["n_tokens"].to_numpy())
    terms = np.stack([np.full(len(n), e), a - alpha * n, b - beta * d])
    top = terms.max(axis=0)
    total = top + np.log(np.exp(terms - top).sum(axis=0))
    r = total - np.log(runs["loss"].to_numpy())
    size = np.minimum(np.abs(r), DELTA)
    share = np.exp(terms - total) * (weights * np.clip(r, -DELTA, DELTA))
    slope = [share[0].sum(), share[1].sum(), share[2].sum(), -(share[1] @ n), -(share[2] @ d)]
    return float((weights * size * (np.abs(r) - size / 2)).sum()), np.array(slope)


def as_point(params: dict[str, float]) -> np.ndarray:
    """Coordinates of ``huber``."""
    logs = np.log([params["E"], params["A"], params["B"]])
    return np.array([*logs, params["alpha"], params["beta"]])


def polish(start: np.ndarray, runs: pl.DataFrame, weights: np.ndarray) -> np.ndarray:
    """SciPy's BFGS, begun again until it no longer falls. Coefficients are taken at the middle
    of the columns, where they do not trade off with the exponents."""
    middle = [np.log(runs[name].to_numpy()).mean() for name in ("n_params", "n_tokens")]
    turn = np.eye(5)
    turn[1, 3], turn[2, 4] = middle

    def scaled(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = huber(turn @ v, runs, weights)
        return 1e4 * value, 1e4 * turn.T @ slope

    v, value = np.linalg.solve(turn, start), np.inf
    for _ in range(20):
        found = optimize.minimize(scaled, v, jac=True, method="BFGS", options={"gtol": 1e-7})
        v = found.x
        if found.fun > value * (1 - 1e-12):
            break
        value = found.fun
    return turn @ v


def test_the_optimum(fitted: Fit) -> None:
    assert fitted.status == Status.CONVERGED
    assert fitted.rows == 240
    assert fitted.objective == pytest.approx(1.018274e-3, abs=5e-10)
    assert fitted.params["E"] == pytest.approx(1.8172, abs=5e-5)
    assert fitted.params["B"] == pytest.approx(2143, abs=0.5)
    assert fitted.params["alpha"] == pytest.approx(0.3473, abs=5e-5)
    assert fitted.params["beta"] == pytest.approx(0.3672, abs=5e-5)
    assert fitted.params["A"] == pytest.approx(477.83, abs=5e-3)


def test_scipy_finds_the_same_optimum_and_none_lower(fitted: Fit, runs: pl.DataFrame) -> None:
    ones = np.ones(len(runs))
    for start in (POINT, dict(fitted.params)):
        point = polish(as_point(start), runs, ones)
        assert huber(point, runs, ones)[0] == pytest.approx(fitted.objective, rel=1e-9)
        assert np.exp(point[:3]) == pytest.approx(
            [fitted.params[name] for name in ("E", "A", "B")], rel=2e-5
        )
        assert point[3:] == pytest.approx(
            [fitted.params[name] for name in ("alpha", "beta")], rel=1e-5
        )


def test_the_published_point_is_slightly_worse(fitted: Fit, runs: pl.DataFrame) -> None:
    """Part of what it lacks are its own rounded digits, which A and B can make good."""
    there = huber(as_point(POINT), runs, np.ones(len(runs)))[0]
    held = {name: POINT[name] for name in ("E", "alpha", "beta")}
    beside = fit(chinchilla, runs, noise=NOISE, draws=0, fixed=held)
    assert fitted.objective < beside.objective < there < 1.003 * fitted.objective
    assert beside.objective < 1.0001 * fitted.objective
    assert beside.params["A"] == pytest.approx(POINT["A"], rel=2e-3)
    assert beside.params["B"] == pytest.approx(POINT["B"], rel=2e-3)


@pytest.mark.parametrize("name", ENDS)
def test_intervals_agree_with_the_published_ones(name: str, fitted: Fit) -> None:
    """Two quantiles of 4,000 draws each differ by the noise of both and the rounding of one."""
    draws = np.sort(fitted.draws[name])
    assert len(draws) == 4000
    low, high, rounding = ENDS[name]
    default = fitted.interval(name)
    for share, published, end in ((0.025, low, default.low), (0.975, high, default.high)):
        noise = quantile_noise(draws, share)
        plain = np.quantile(draws, share)
        assert abs(plain - published) < 4 * np.sqrt(2) * noise + rounding
        assert abs(end - published) < 4 * np.sqrt(2) * noise + rounding
        # the default reads a level for 240 rows and 5 parameters: less apart than that noise
        assert abs(end - plain) < 2 * noise


def quantile_noise(draws: np.ndarray, share: float) -> float:
    """Standard error of a quantile of independent draws, by the binomial spread of its rank."""
    step = np.sqrt(share * (1 - share) / len(draws))
    return float(np.quantile(draws, share + step) - np.quantile(draws, share - step)) / 2


@pytest.mark.parametrize("draws", [1000, 4000], ids=["numpy", "compiled where Numba is"])
def test_draws_are_true_refits(draws: int, runs: pl.DataFrame, fitted: Fit) -> None:
    """20 draws, their rows picked again here: SciPy finds nothing lower from the fitted point nor
    from the draw itself, and ends where the draw is."""
    found = fitted if draws == 4000 else fit(chinchilla, runs, noise=NOISE, draws=draws, seed=0)
    rng = stream(0, "resample")
    weights = np.concatenate(
        [resample_weights(rng, CHUNK, 240, None) for _ in range(draws // CHUNK)]
    )
    assert (weights.sum(axis=1) == 240).all()
    for k in np.random.default_rng(7).choice(draws, 20, replace=False):
        draw = as_point({name: float(values[k]) for name, values in found.draws.items()})
        value = huber(draw, runs, weights[k])[0]
        for start in (draw, as_point(dict(found.params))):
            end = polish(start, runs, weights[k])
            assert huber(end, runs, weights[k])[0] == pytest.approx(value, rel=1e-6)


def test_seeds_reproduce_draws_exactly(runs: pl.DataFrame) -> None:
    first, again, other = (
        fit(chinchilla, runs, noise=NOISE, draws=200, seed=seed) for seed in (3, 3, 4)
    )
    assert again.params == first.params
    for name, values in first.draws.items():
        assert (again.draws[name] == values).all()
        assert not (other.draws[name] == values).any()


def test_the_optimum_does_not_depend_on_the_seed(runs: pl.DataFrame, fitted: Fit) -> None:
    for seed in range(20):
        found = fit(chinchilla, runs, noise=NOISE, draws=0, seed=seed)
        assert found.objective == pytest.approx(fitted.objective, rel=1e-12)
        assert list(found.params.values()) == pytest.approx(list(fitted.params.values()), rel=1e-8)
