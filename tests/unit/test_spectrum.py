"""Capacity and source of a spectrum: planted ones, samples of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import zeta
from typer.testing import CliRunner

from kleiber.cli import app
from kleiber.errors import BadTable
from kleiber.experiment import Experiment
from kleiber.laws.bottlenecks import bottleneck_exponents
from kleiber.systems.feature_learning.spectrum import estimate_spectrum, lazy_loss
from kleiber.systems.feature_learning.spectrum_modes import Modes, Samples, modes_of
from kleiber.systems.feature_learning.spectrum_samples import kernel_of
from kleiber.systems.feature_learning.spectrum_table import spectrum

SCREE = np.arange(1.0, 2001)


def planted(
    samples: int, alpha: float, beta: float, seed: int, modes: int = 2000, drawn: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A Gram matrix and targets of Gaussian features of a power-law spectrum; modes beyond those
    drawn add their trace and, as noise, their power."""
    rng = np.random.default_rng(seed)
    k, decay = np.arange(1.0, modes + 1), alpha * beta + 1
    x = rng.standard_normal((samples, modes))
    weights = rng.standard_normal(modes) if drawn else np.ones(modes)
    gram = (x * k**-alpha) @ x.T + zeta(alpha, modes + 1) * np.eye(samples)
    rest = np.sqrt(zeta(decay, modes + 1)) * rng.standard_normal(samples)
    return gram, x @ (k ** (-decay / 2) * weights) + rest


@pytest.mark.parametrize(
    ("alpha", "beta", "regime"), [(1.5, 0.5, "hard"), (1.2, 0.4, "hard"), (2.0, 2.2, "super_easy")]
)
def test_exponents_of_a_planted_spectrum(alpha: float, beta: float, regime: str) -> None:
    found = estimate_spectrum(*planted(400, alpha, beta, 0), draws=8)
    capacity, source = found.estimates["capacity"], found.estimates["source"]
    assert capacity.value == pytest.approx(alpha, abs=0.02)
    assert source.low < beta < source.high
    assert source.stderr < 0.2 * max(beta, 1)
    assert found.regime == regime
    assert found.chances[regime] > 0.95
    assert found.window == (10.0, 400 / 3)
    rich = bottleneck_exponents(capacity.value, source.value, rich=True)
    for name in ("time", "compute"):
        assert found.estimates[f"{name}_rich"].value == pytest.approx(float(rich[name]))


def noisy(samples: int, alpha: float, beta: float, share: float, seed: int) -> Any:
    """A planted Gram matrix and targets of Gaussian coefficients with noise of that share, and the
    variance of the noise."""
    gram, y = planted(samples, alpha, beta, seed, modes=1000, drawn=True)
    noise = share * float(zeta(alpha * beta + 1, 1))
    return (
        gram,
        y + np.sqrt(noise) * np.random.default_rng(seed + 99).standard_normal(samples),
        noise,
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
@pytest.mark.long
def test_label_noise_is_told_from_a_small_source(share: float) -> None:
    """A source of 0.8 with noise of 1% read as 0.14, with 10% as 0.02 [-0.03, 0.08]."""
    for seed in range(3):
        gram, y, noise = noisy(400, 1.5, 0.8, share, seed)
        found = estimate_spectrum(gram, y, draws=2)
        source, seen = found.estimates["source"], found.estimates["noise"]
        assert source.low <= 0.8 <= source.high
        assert seen.low <= noise <= seen.high
        assert found.estimates["noise_share"].value == pytest.approx(
            seen.value / (y**2).mean(), rel=1e-6
        )
        known = estimate_spectrum(gram, y, draws=16, noise=noise).estimates
        assert known["source"].low <= 0.8 <= known["source"].high
        if share:
            assert known["noise"].value == known["noise"].low == known["noise"].high == noise
            assert abs(seen.value / noise - 1) < 0.35
            wide = source.high - source.low
            assert known["source"].high - known["source"].low < wide
            assert found.estimates["capacity"].stderr < 0.02  # the kernel's own


def test_the_slope_alone_would_take_the_noise_for_the_target() -> None:
    gram, y, _ = noisy(400, 1.5, 0.8, 0.1, 0)
    assert estimate_spectrum(gram, y, draws=2, noise=0.0).estimates["source"].high < 0.2


def test_a_source_that_noise_hides_is_unknown_and_said_to_be() -> None:
    """At a source of 1.5 and a capacity of 2.5 noise of 10% is above all modes of the window."""
    gram, y, noise = noisy(300, 2.5, 1.5, 0.1, 0)
    found = estimate_spectrum(gram, y, draws=2)
    source = found.estimates["source"]
    assert np.isnan(source.value)
    assert (source.low, source.high) == (0.0, np.inf)
    for name in ("tail", "time_lazy", "time_rich", "compute_gain"):
        assert np.isnan(found.estimates[name].value)
    assert np.isfinite(found.estimates["capacity"].value)
    assert found.regime == "undecided"
    assert "The source cannot be determined" in found.notes[0]
    assert found.estimates["noise"].low <= noise <= found.estimates["noise"].high
    pure = estimate_spectrum(gram, np.random.default_rng(0).standard_normal(300), draws=2)
    assert "The source" in pure.notes[0]
    assert pure.estimates["noise"].low <= 1 <= pure.estimates["noise"].high


@pytest.mark.parametrize(("alpha", "samples", "dimension"), [(1.3, 500, 150), (1.5, 200, 400)])
def test_features_that_end_are_seen_to_end(alpha: float, samples: int, dimension: int) -> None:
    """The last modes of a law that ends bend its spectrum long before: 1.3 reads as 1.6."""
    rng = np.random.default_rng(5)
    k = np.arange(1.0, dimension + 1)
    x = rng.standard_normal((samples, dimension)) * k ** (-alpha / 2)
    y = x @ k ** (alpha / 2 - alpha * 0.25 - 0.5) + 0.1 * rng.standard_normal(samples)
    found = estimate_spectrum(x, y, kind="features", dimension=dimension, draws=4).estimates
    assert found["capacity"].value == pytest.approx(alpha, abs=0.03)
    assert found["capacity"].low < alpha < found["capacity"].high
    assert found["source"].low < 0.5 < found["source"].high
    endless = estimate_spectrum(x, y, kind="features", dimension=np.inf, draws=4).estimates
    assert endless["capacity"].value > alpha + 0.1
    if dimension < samples:  # the rank of a Gram matrix says as much
        gram = estimate_spectrum(x @ x.T, y, draws=4)
        assert gram.dimension == dimension
        assert gram.estimates["capacity"].value == pytest.approx(found["capacity"].value, rel=1e-6)


def test_powers_measured_on_samples_are_noted() -> None:
    rng = np.random.default_rng(0)
    k = np.arange(1.0, 301)
    exact = estimate_spectrum(k**-1.5, k**-1.75, draws=4)
    drawn = estimate_spectrum(k**-1.5, k**-1.75 * rng.chisquare(1, 300), draws=4)
    rng = np.random.default_rng(0)
    noisy_powers = (k**-0.875 * rng.standard_normal(300) + 0.1 * rng.standard_normal(300)) ** 2
    flat = estimate_spectrum(k**-1.5, noisy_powers, draws=4)
    assert not any("stops falling" in note for note in (*exact.notes, *drawn.notes))
    assert any("stops falling" in note for note in flat.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "beta", "share"),
    [(1.3, 0.3, 0.01), (1.8, 0.8, 0.01), (2.5, 0.3, 0.1), (1.5, 0.5, 0.1)],
)
def test_intervals_of_source_and_noise_hold_the_truth(
    alpha: float, beta: float, share: float
) -> None:
    """95% intervals of 60 planted targets with noise."""
    inside = np.zeros(2)
    for seed in range(60):
        gram, y, noise = noisy(300, alpha, beta, share, seed)
        made = estimate_spectrum(gram, y, draws=2, seed=seed).estimates
        for i, (name, true) in enumerate((("source", beta), ("noise", noise))):
            inside[i] += made[name].low <= true <= made[name].high
    assert (inside / 60 >= 0.88).all()


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.5), (1.2, 0.25), (2.0, 1.4)])
@pytest.mark.parametrize("drawn", [False, True])
def test_intervals_hold_the_truth(alpha: float, beta: float, drawn: bool) -> None:
    """95% intervals of 60 planted spectra; they may be wider than needed, not narrower."""
    inside = np.zeros(2)
    for seed in range(60):
        gram, y = planted(300, alpha, beta, seed, drawn=drawn)
        made = estimate_spectrum(gram, y, draws=16, seed=seed).estimates
        for i, (name, true) in enumerate((("capacity", alpha), ("source", beta))):
            inside[i] += made[name].low <= true <= made[name].high
    assert (inside / 60 >= 0.9).all()


def test_the_sample_s_own_tails_are_off_where_resolved_ones_are_not() -> None:
    """Slowly falling spectra: at the samples' tenth the empirical eigenvalues are not the true."""
    tails, resolved = [], []
    for seed in range(4):
        gram, y = planted(300, 1.2, 0.4, seed)
        for rule, kept in (("tails", tails), ("resolved", resolved)):
            found = estimate_spectrum(gram, y, rule=rule, draws=2)  # type: ignore[arg-type]
            kept.append(found.estimates["capacity"].value)
            assert ("resolved" in " ".join(found.notes)) == (rule == "tails")
    assert np.mean(tails) < 1.1
    assert np.mean(resolved) == pytest.approx(1.2, abs=0.01)


def test_population_modes_give_their_exponents() -> None:
    found = estimate_spectrum(SCREE**-1.7, SCREE ** -(1.7 * 0.6 + 1), draws=40)
    assert found.rule == "tails"
    assert found.window == (10.0, 200.0)
    assert found.estimates["capacity"].value == pytest.approx(1.7, abs=1e-6)
    assert found.estimates["tail"].value == pytest.approx(1.02, abs=0.01)  # modes beyond 2000 count
    assert found.estimates["source"].low < 0.6 < found.estimates["source"].high
    shuffled = np.random.default_rng(0).permutation(2000)
    again = estimate_spectrum(SCREE[shuffled] ** -1.7, SCREE[shuffled] ** -2.02, draws=40)
    assert again.estimates == found.estimates


def test_gram_features_and_few_modes_agree() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 900)) * np.arange(1.0, 901) ** -0.8
    y = np.stack([x @ np.arange(1.0, 901) ** -0.2, x @ rng.standard_normal(900)], axis=1)
    by_gram = modes_of(Samples("gram", x @ x.T, y))
    by_features = modes_of(Samples("features", x, y))
    np.testing.assert_allclose(by_gram.eigenvalues, by_features.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(by_gram.powers, by_features.powers, rtol=1e-6)
    assert by_gram.powers.sum() == pytest.approx((y**2).sum() / 300)
    for kind, given in (("gram", x @ x.T), ("features", x)):
        few = modes_of(Samples(kind, given, y), top=40)  # type: ignore[arg-type]
        np.testing.assert_allclose(few.eigenvalues, by_gram.eigenvalues[:40], rtol=1e-8)
        np.testing.assert_allclose(few.powers, by_gram.powers[:40], rtol=1e-5)
        assert few.rest_power == pytest.approx(by_gram.powers[40:].sum(), rel=1e-6)
        assert few.rest_trace == pytest.approx(by_gram.eigenvalues[40:].sum(), rel=1e-6)
    narrow = modes_of(Samples("features", x[:, :50], y))
    wide = modes_of(Samples("gram", x[:, :50] @ x[:, :50].T, y))
    np.testing.assert_allclose(narrow.eigenvalues, wide.eigenvalues[:50], rtol=1e-9)
    np.testing.assert_allclose(narrow.powers, wide.powers[:50], rtol=1e-6)
    assert narrow.rank == wide.rank == 50
    assert narrow.rest_power == pytest.approx(wide.powers[50:].sum(), rel=1e-6)


@pytest.mark.parametrize(("samples", "width"), [(700, 250), (300, 300)])
@pytest.mark.long
def test_random_features_are_seen_through_to_their_kernel(samples: int, width: int) -> None:
    rng = np.random.default_rng(4)
    k = np.arange(1.0, 4001)
    psi = rng.standard_normal((samples, 4000)) * k**-0.75
    mixed = rng.standard_normal((4000, width)) / np.sqrt(width)
    y = psi @ (k**-0.875 / k**-0.75)
    through = estimate_spectrum(psi @ mixed, y, kind="features", width=width, draws=8)
    as_they_are = estimate_spectrum(psi @ mixed, y, kind="features", draws=8)
    assert through.estimates["capacity"].value == pytest.approx(1.5, abs=0.06)  # 4000 modes: 1.54
    for made in (through, as_they_are):
        assert made.estimates["source"].low < 0.5 < made.estimates["source"].high
    # taken for all there is, or for random ones: the interval allows for both, and a note says so
    capacity = as_they_are.estimates["capacity"]
    assert capacity.low < 1.5 < capacity.high
    assert capacity.stderr > 2 * through.estimates["capacity"].stderr
    assert f"width={width}" in as_they_are.notes[0]
    assert through.notes == ()
    sure = estimate_spectrum(psi @ mixed, y, kind="features", dimension=width, draws=8)
    assert sure.estimates["capacity"].stderr < capacity.stderr / 3


def test_the_largest_modes_are_enough_for_the_exponents() -> None:
    gram, y = planted(500, 1.6, 0.5, 1)
    whole = estimate_spectrum(gram, y, draws=4, window=(10, 100))
    part = estimate_spectrum(gram, y, draws=4, window=(10, 100), modes=200)
    for name in ("capacity", "source"):
        off = abs(part.estimates[name].value - whole.estimates[name].value)
        assert off < whole.estimates[name].stderr
    assert estimate_spectrum(gram, y, draws=4, modes=120).window[1] == 120


def test_the_lazy_loss_is_that_of_gradient_descent_on_the_samples() -> None:
    gram, y = planted(200, 1.5, 0.5, 2)
    found = estimate_spectrum(gram, y, draws=2)
    residual, eta = y.copy(), 0.001
    times, losses = [0.0], [float((y**2).mean())]
    for step in range(1, 5001):
        residual = residual - eta * gram @ residual / 200
        if step in (10, 500, 5000):
            times.append(step * eta)
            losses.append(float((residual**2).mean()))
    made = lazy_loss(found, times)
    np.testing.assert_allclose(made["loss"], losses, rtol=3e-3)
    assert lazy_loss(found, [0.1, 1e6])["resolved"].to_list() == [True, False]


def test_a_table_of_modes_or_of_samples(tmp_path: Path) -> None:
    modes = pl.DataFrame({"eigenvalue": SCREE**-1.5, "power": SCREE**-1.75})
    made = spectrum(modes)
    assert made.columns == ["name", "value", "stderr", "low", "high", "regime", "note"]
    values = dict(zip(made["name"], made["value"], strict=True))
    assert values["capacity"] == pytest.approx(1.5, abs=1e-6)
    assert values["time_gain"] == pytest.approx(2 / (1 + values["source"]))
    modes.write_csv(tmp_path / "modes.csv")
    out = tmp_path / "out.csv"
    done = CliRunner().invoke(
        app,
        ["reduce", "spectrum", str(tmp_path / "modes.csv"), "--window", "10,100", "-o", str(out)],
    )
    assert done.exit_code == 0, done.output
    assert pl.read_csv(out)["name"].to_list() == made["name"].to_list()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 300)) * np.arange(1.0, 301) ** -0.75
    samples = pl.DataFrame(x, schema=[f"f{i}" for i in range(300)])
    samples = samples.with_columns(pl.Series("y", x.sum(axis=1)))
    by_table = spectrum(samples, target="y", draws=4)
    by_array = estimate_spectrum(x, x.sum(axis=1), kind="features", draws=4)
    assert by_table["value"][0] == by_array.estimates["capacity"].value


GRAM, TARGETS = planted(60, 1.5, 0.5, 0)
ASYMMETRIC = GRAM + np.eye(60, k=1)
HOLED = np.where(np.eye(60, k=1) > 0, np.nan, GRAM)


def test_arrays_and_their_files_are_as_the_function(tmp_path: Path) -> None:
    known = estimate_spectrum(GRAM, TARGETS, kind="gram", draws=4).estimates["capacity"]
    np.savez(tmp_path / "gram.npz", gram=GRAM, targets=TARGETS)
    np.save(tmp_path / "gram.npy", GRAM)
    np.save(tmp_path / "y.npy", TARGETS)
    as_arrays = spectrum({"gram": GRAM, "targets": TARGETS}, draws=4)
    assert as_arrays["value"][0] == known.value
    assert spectrum(GRAM, targets=TARGETS, draws=4).equals(as_arrays, null_equal=True)
    for words in (["gram.npz"], ["gram.npy", "--targets", str(tmp_path / "y.npy")]):
        place, *rest = words
        line = ["reduce", "spectrum", str(tmp_path / place), *rest, "--draws", "4", "--json"]
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0, done.output
        rows = json.loads(done.stdout)
        assert rows[0]["value"] == known.value
        assert [row["name"] for row in rows] == as_arrays["name"].to_list()


def test_features_that_end_in_arrays_are_noted() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 60)) * np.arange(1.0, 61) ** -0.75
    arrays = {"features": x, "targets": x @ np.arange(1.0, 61) ** -0.1}
    assumed, given = spectrum(arrays, draws=4), spectrum(arrays, draws=4, dimension=60)
    assert "60 dimensions of the features are assumed" in str(assumed["note"].to_list())
    assert assumed["stderr"][0] > given["stderr"][0]
    assert given["note"].null_count() == len(given)


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        ({"kernel": GRAM, "targets": TARGETS}, {}, "'gram' or 'features', and 'targets', got ker"),
        ({"features_": GRAM, "targets": TARGETS}, {}, "Did you mean 'features_'"),
        ({"gram": GRAM, "target": TARGETS}, {}, "no array 'targets'.* Did you mean 'target'"),
        ({"gram": GRAM, "features": GRAM, "targets": TARGETS}, {}, "the kind says which"),
        ({"gram": GRAM[:, :50], "targets": TARGETS}, {}, r"symmetric, got shape \(60, 50\)"),
        ({"gram": ASYMMETRIC, "targets": TARGETS}, {}, r"got .* at \[.*\] and .* at \[.*\]\."),
        ({"gram": GRAM, "targets": TARGETS[1:]}, {}, "has 60 rows and targets has 59"),
        ({"gram": HOLED, "targets": TARGETS}, {}, r"59 of 3,600 are not, the first at \[0, 1\]"),
        ({"gram": GRAM, "targets": np.array(["a"] * 60)}, {}, "must hold numbers, got type <U1"),
        ({"gram": np.zeros((0, 0)), "targets": TARGETS}, {}, r"got shape \(0, 0\)"),
        ({"gram": GRAM, "targets": np.ones((60, 1, 1))}, {}, r"got shape \(60, 1, 1\)"),
        ({"gram": GRAM, "targets": TARGETS}, {"target": "y"}, "beside arrays it is targets"),
        (GRAM, {}, "A matrix alone has no targets"),
        (ASYMMETRIC, {"targets": TARGETS}, "give the kind, gram or features"),
        (GRAM, {"targets": TARGETS, "kind": "grams"}, "Did you mean 'gram'"),
    ],
)
def test_bad_arrays_are_one_sentence(given: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadTable, match=sentence) as fault:
        spectrum(given, **options)
    assert str(fault.value).rstrip("?").count("?") == 0
    assert str(fault.value)[-1] in ".?"


def test_the_tangent_kernel_of_an_experiment(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from kleiber.networks.ntk import initial_ntk
    from kleiber.networks.task import make_data

    spec = Experiment(
        task={"kind": "teacher", "inputs": 3, "n_data": 90},
        net={"kind": "mlp", "width": 40},
        steps=1,
        seeds=[3],
    )
    data = make_data(spec)
    assert data.train is not None
    x, y = (part[:80] for part in data.train)
    known = estimate_spectrum(initial_ntk(spec, x, seed=3), y, kind="gram", draws=4, noise=0)
    found = spectrum(spec, samples=80, draws=4, noise=0)
    assert found["value"][0] == known.estimates["capacity"].value
    assert "net of seed 3 before training, on 80 training" in found["note"].drop_nulls()[0]
    with pytest.raises(BadTable, match="has 90 training examples"):
        spectrum(spec, samples=91)
    file = tmp_path / "spec.toml"
    task = '[task]\nkind = "teacher"\ninputs = 3\n'
    file.write_text(f'batch = 32\n{task}[net]\nkind = "mlp"\nwidth = 40\n')
    words = ["reduce", "spectrum", str(file), "--samples", "80", "--draws", "4"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    assert "other seeds have others" in done.stdout.replace("\n", " ")


def test_labels_of_classes_are_one_hot_without_their_means(monkeypatch: Any) -> None:
    pytest.importorskip("torch")
    from kleiber.networks import ntk, task

    labels = np.arange(40) % 4
    data = SimpleNamespace(
        train=(np.ones((40, 2)), labels), classes=True, outputs=4, prepare=np.asarray
    )
    monkeypatch.setattr(task, "make_data", lambda _: data)
    monkeypatch.setattr(ntk, "initial_ntk", lambda *_, **__: np.eye(40))
    spec = Experiment(task={"kind": "formula"}, net={"kind": "mlp", "width": 4}, batch=4)
    found = kernel_of(spec, 40)
    assert np.allclose(found.targets, np.eye(4)[labels] - 0.25)


@pytest.mark.parametrize(
    ("given", "targets", "options", "sentence"),
    [
        (np.ones((3, 4)), np.ones(4), {}, "one row for each row"),
        (np.ones((3, 4)), np.ones(3), {"kind": "gram"}, "square and symmetric"),
        (-np.eye(60) + 2 / 60, np.ones(60), {}, "negative eigenvalue"),
        (np.eye(60), np.ones(60), {"kind": "grams"}, "Did you mean 'gram'"),
        (SCREE**-1.5, -(SCREE**-2), {}, "not negative"),
        (SCREE**-1.5, SCREE**-2, {"rule": "resolved"}, "needs samples"),
        (SCREE**-1.5, SCREE**-2, {"window": (50, 20)}, "two rising numbers"),
        (SCREE[:40] ** -1.5, SCREE[:40] ** -2, {}, "too little of the spectrum"),
        (SCREE**-1.5, SCREE**-2, {"draws": 1}, "draws must be a whole number from 2"),
        (np.full((9, 9), np.nan), np.ones(9), {}, "finite"),
        (np.eye(60), np.zeros(60), {}, "nothing to learn"),
        (np.eye(60), np.ones(60), {"noise": -1.0}, "variance of label noise, a number from 0"),
        (np.eye(60), np.ones(60), {"dimension": 0.5}, "number of features from 1"),
        (np.eye(60), np.ones(60), {"dimension": 9.0, "width": 9.0}, "not both"),
    ],
)
def test_bad_input_is_one_sentence(
    given: np.ndarray, targets: np.ndarray, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadTable, match=sentence):
        estimate_spectrum(given, targets, **options)


def test_what_is_odd_is_noted() -> None:
    slow = estimate_spectrum(SCREE**-0.8, SCREE**-1.5, draws=4)
    assert "does not converge" in slow.notes[0]
    flat = Modes(np.ones(3), np.ones(3), 0)
    assert flat.rank == 3
