"""Opening two-layer nets: planted nets are read as what they are, and the doors are checked."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from kleiber import Experiment, laws
from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.fitting.fit import fit
from kleiber.networks.task import ACTIVATIONS, make_data
from kleiber.systems.lottery_tickets.ensemble import judge_ensemble
from kleiber.systems.lottery_tickets.intervals import (
    mean_of,
    median_of,
    ratio_of,
    share_of,
    slope_of,
)
from kleiber.systems.lottery_tickets.judge import judge_average, judge_speed, judge_tickets
from kleiber.systems.lottery_tickets.nets import (
    DERIVATIVES,
    Nets,
    draw_nets,
    keep_nets,
    make_nets,
    mean_squares,
    outputs,
    take_nets,
)
from kleiber.systems.lottery_tickets.one_ticket import best_ticket, fit_ticket
from kleiber.systems.lottery_tickets.pairs import (
    judge_pairs,
    judge_solo,
    match_neurons,
    pair_shares,
    solo_tickets,
)
from kleiber.systems.lottery_tickets.shares import (
    classify_pairs,
    neuron_shares,
    neuron_table,
    odd_share,
    participation,
)
from kleiber.systems.lottery_tickets.subsets import (
    cancellation,
    extrapolate_neurons,
    extrapolate_subsets,
    prune,
    random_features,
    refitted_errors,
    scaled_curve,
    solve_nets,
)

torch = pytest.importorskip("torch")

X = -2 + 4 * (np.arange(256) + 0.5) / 256
Y = X**2


@cache
def offsets() -> tuple[Any, Any]:
    """Slopes, and for each two offsets whose pairs err alike, with the opposite sign."""
    slopes, found = np.linspace(0.25, 0.5, 9), []
    for w in slopes:
        best = best_ticket(float(w)).offset
        below = fit_ticket(float(w), best - 0.1).mse
        above = optimize.brentq(lambda b, w=w, m=below: fit_ticket(w, b).mse - m, best, best + 0.3)
        found.append((best - 0.1, above))
    return slopes, np.array(found).T


def tickets(width: int, seeds: int, *, seed: int = 0) -> Nets:
    """Exact ensembles: each mirrored pair is fitted to the target alone, its error has a random
    sign, and the net is the mean of its pairs."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.25, 0.5, (seeds, width // 2))
    slopes, (below, above) = offsets()
    sign = rng.random(w.shape) < 0.5
    b = np.where(sign, np.interp(w, slopes, below), np.interp(w, slopes, above))
    bend = ACTIVATIONS["silu"]
    pairs = bend(w[..., None] * X + b[..., None]) + bend(-w[..., None] * X + b[..., None])
    bent = pairs - pairs.mean(-1, keepdims=True)
    v = (bent @ (Y - Y.mean())) / (bent**2).sum(-1) / (width / 2)
    c = Y.mean() - (v * pairs.mean(-1)).sum(1)
    return make_nets(np.concatenate([w, -w], 1), np.tile(b, 2), np.tile(v, 2), c)


def scattered(width: int, seeds: int, seed: int) -> Nets:
    """Neurons without any pairing, from a density that is symmetric about w = 0."""
    rng = np.random.default_rng(seed)
    w, b = rng.uniform(-1, 1, (seeds, width)), rng.uniform(-1, 1, (seeds, width))
    return make_nets(w, b, np.sign(rng.standard_normal((seeds, width))))


# Taking nets


def spec(**changed: Any) -> Experiment:
    given: dict[str, Any] = {
        "task": {"kind": "formula", "n_data": 16, "sampling": "grid"},
        "net": {"kind": "mlp", "width": 5},
        "steps": 20,
        "seeds": 3,
    }
    return Experiment(**(given | changed))


@pytest.mark.parametrize("net", [{}, {"activation": "relu"}, {"parameterisation": "mean_field"}])
def test_nets_of_ours_are_taken_as_they_predict(net: dict[str, Any]) -> None:
    from kleiber.networks.loop import train_nets

    trained = train_nets(spec(net={"kind": "mlp", "width": 5} | net))
    nets = take_nets(trained)
    assert nets.w.shape == (3, 5)
    assert nets.activation == net.get("activation", "silu")
    assert np.allclose(outputs(nets, X), trained.predict(X[:, None])[:, :, 0], atol=1e-5)


def test_the_draw_is_that_of_training() -> None:
    from kleiber.networks.loop import train_nets

    still = train_nets(spec(optimiser={"kind": "sgd", "rate": 1e-30}, steps=1, dtype="float64"))
    taken, drawn = take_nets(still), draw_nets(5, 3)
    for name in "wbvc":
        assert np.allclose(getattr(taken, name), getattr(drawn, name), rtol=0, atol=1e-15)


def test_modules_are_opened_by_what_they_compute() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    class Functional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Linear(1, 4), torch.nn.Linear(4, 1, bias=False)

        def forward(self, x: Any) -> Any:
            return self.last(torch.nn.functional.gelu(self.first(x)))

    assert take_nets(plain).activation == "tanh"
    assert take_nets([Functional(), Functional()]).activation == "gelu"
    sigmoid = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1))
    with pytest.raises(BadTable, match="do not reproduce the outputs"):
        take_nets(sigmoid)
    with pytest.raises(BadTable, match="do not reproduce the outputs"):
        take_nets(plain, activation="relu")
    with pytest.raises(BadTable, match=r"linear layers \[\(2, 4\)"):
        take_nets(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU()))
    with pytest.raises(BadTable, match="one width and one activation"):
        take_nets([plain, Functional()])


def test_doors() -> None:
    with pytest.raises(BadTable, match="Did you mean 'silu'"):
        make_nets([1.0], [1.0], [1.0], activation="sillu")
    with pytest.raises(BadTable, match="one shape"):
        make_nets([1.0, 2.0], [1.0], [1.0])
    with pytest.raises(BadTable, match="finite"):
        make_nets([np.nan], [1.0], [1.0])
    with pytest.raises(BadTable, match="straight line"):
        participation(draw_nets(4, 4), X, 2 * X)
    with pytest.raises(BadTable, match="symmetric about 0"):
        odd_share(draw_nets(4, 4), X + 1, Y)
    with pytest.raises(BadTable, match="from 1 to 8"):
        scaled_curve(draw_nets(8, 4), X, Y, [9])
    with pytest.raises(BadTable, match="1024 points"):
        solve_nets(draw_nets(256, 4), X, Y)
    with pytest.raises(BadTable, match="differ by a line"):
        match_neurons(draw_nets(4, 4, activation="relu_squared"), modulo_line=True)
    with pytest.raises(BadTable, match="pairs belong to 3 nets of width 8"):
        extrapolate_subsets(draw_nets(8, 4), X, Y, pairs=match_neurons(draw_nets(8, 3)))
    with pytest.raises(BadTable, match="tickets must be whole and from 1 to 4"):
        extrapolate_subsets(draw_nets(8, 4), X, Y, sizes=[5])
    with pytest.raises(BadTable, match="given as width 4"):
        judge_tickets({4: draw_nets(8, 4)}, X, Y)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_slopes_are_those_of_the_activations(name: str) -> None:
    z = np.array([-2.3, -0.4, 0.7, 1.9])
    numeric = (ACTIVATIONS[name](z + 1e-6) - ACTIVATIONS[name](z - 1e-6)) / 2e-6
    assert np.allclose(DERIVATIVES[name](z), numeric, atol=1e-8)


# Verdicts


@pytest.mark.long
def test_an_ensemble_of_pairs_reads_ensembling() -> None:
    verdict = judge_tickets({n: tickets(n, 96, seed=n) for n in (8, 16, 32)}, X, Y)
    assert verdict.reading == "ensembling"
    assert {name: item.reading for name, item in verdict.tests.items()} == {
        "T1": "ensembling", "T2": "undecided", "T3": "ensembling", "T4": "optimisation",
    }  # fmt: skip
    assert all(e.low < 1 < e.high for e in verdict.tests["T2"].estimates.values())
    assert all(e.low < 1 < e.high for e in verdict.tests["T3"].estimates.values())
    assert verdict.growth is not None
    assert verdict.growth.value == pytest.approx(1, abs=0.05)
    for width, found in verdict.matching.items():
        assert found.share[2].value == 1 > found.crossed[2].value
        assert found.reading[2] == "paired"
        assert verdict.solo[width].good.value > 0.9
    assert len(verdict.words) == 4 + 3 + 3 + 1


def test_least_squares_reads_synergy() -> None:
    nets = {n: random_features(n, X, Y, seeds=12) for n in (2, 4, 8)}
    verdict = judge_tickets(nets, X, Y, drop=None)
    assert verdict.reading == "synergy"
    assert verdict.tests["T2"].reading == verdict.tests["T3"].reading == "synergy"
    assert verdict.tests["T4"].reading == "width"
    assert 2 not in verdict.tests["T3"].estimates


def test_a_shared_error_is_no_ensemble() -> None:
    nets = {n: tickets(n, 24, seed=n) for n in (8, 16)}
    shifted = {n: make_nets(a.w, a.b, a.v, a.c + 0.3) for n, a in nets.items()}
    verdict = judge_tickets(shifted, X, Y)
    assert verdict.tests["T1"].reading == "shared"
    assert verdict.reading == "undecided"


def test_speed() -> None:
    base = Estimate(1.1, 0.05, 1.0, 1.2)
    assert judge_speed(base, Estimate(-0.6, 0.1, -0.8, -0.4)).reading == "speed"
    assert judge_speed(base, Estimate(1.0, 0.1, 0.8, 1.2)).reading == "width"
    assert judge_speed(base, Estimate(0.5, 0.2, 0.1, 0.9)).reading == "undecided"
    assert judge_speed(Estimate(0.1, 0.1, -0.1, 0.3), base).reading == "undecided"


# Pairs


@pytest.mark.long
def test_chance_is_not_read_as_pairing() -> None:
    words = [
        judge_pairs(scattered(48, 8, seed), tolerances=(0.2,)).reading[0] for seed in range(60)
    ]
    assert words.count("paired") <= 5  # 2.5% of 60 and what chance adds
    share = pair_shares(scattered(48, 200, 99), (0.2,)).mean()
    assert share > 0.1  # with no pairing at all


HEAVY: dict[str, Any] = {
    "Pareto": lambda rng, shape: (1 + rng.pareto(1.5, shape)) * rng.choice([-1.0, 1.0], shape),
    "Cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "log-normal": lambda rng, shape: np.exp(2 * rng.standard_normal(shape)),
    "nets differ": lambda rng, shape: (
        rng.standard_normal(shape) * np.exp(rng.standard_normal((shape[0], 1)))
    ),
}


@pytest.mark.parametrize("kind", HEAVY)
@pytest.mark.long
def test_heavy_tails_are_not_read_as_pairing(kind: str) -> None:
    rng, shape = np.random.default_rng(7), (16, 64)
    words: list[str] = []
    for _ in range(16):
        w, b = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)
        nets = make_nets(w, b, HEAVY[kind](rng, shape))
        words += judge_pairs(nets, tolerances=(0.1, 0.2, 0.5)).reading
    assert words.count("paired") <= 5  # 2.5% of 48, and what chance adds (4 in a thousand)


def test_dead_neurons_do_not_set_the_scale() -> None:
    nets = scattered(48, 8, 5)
    w, b = (np.concatenate([a, a], 1) for a in (nets.w, nets.b))
    v = np.concatenate([3 * nets.v, 0 * nets.v], 1)
    once, grown = (pair_shares(make_nets(w, b, size * v), (0.1,)) for size in (1, 100))
    assert (once == grown).all()
    assert np.isfinite(pair_shares(make_nets(w, b, 0 * v), (0.1,))).all()


def test_pairing_is_found_in_noise() -> None:
    nets = scattered(48, 8, 5)
    half = [np.abs(nets.w[:, :24]), nets.b[:, :24], nets.v[:, :24]]
    noise = 0.02 * np.random.default_rng(0).standard_normal((3, 8, 24))
    w = np.concatenate([half[0], -half[0] + noise[0]], 1)
    b, v = (np.concatenate([a, a + e], 1) for a, e in zip(half[1:], noise[1:], strict=True))
    found = judge_pairs(make_nets(w, b, v), initial=nets, tolerances=(0.1,))
    assert found.reading == ("paired",)
    assert found.initial is not None
    assert found.excess[0].low > 0.5 > found.shuffled[0].high


@pytest.mark.parametrize("activation", ["silu", "relu", "tanh"])
def test_mirror_images_up_to_a_line(activation: str) -> None:
    one = draw_nets(8, 4, activation=activation)
    w, b = np.abs(one.w) + 0.1, one.b
    sign = -1 if activation == "tanh" else 1
    both = make_nets(
        np.tile(w, 2), np.concatenate([b, -b], 1), np.concatenate([one.v, sign * one.v], 1),
        activation=activation,
    )  # fmt: skip
    assert (pair_shares(both, (1e-9,), modulo_line=True) == 1).all()
    assert (pair_shares(both, (1e-9,)) == 0).all()
    odd = outputs(both, X) - outputs(both, -X)
    if activation != "tanh":  # the odd part is a line
        assert np.abs(np.diff(odd, 2, axis=1)).max() < 1e-9


def test_matching_is_the_best_assignment() -> None:
    nets = draw_nets(6, 1)
    pairs = match_neurons(nets)
    left, right = np.nonzero(nets.w[0] < 0)[0], np.nonzero(nets.w[0] >= 0)[0]
    v = nets.v[0] / np.quantile(np.abs(nets.v[0]), 2 / 3)
    points = np.stack([np.abs(nets.w[0]), nets.b[0], v], -1)
    few, many = sorted((left, right), key=len)
    best = min(
        sum(np.linalg.norm(points[a] - points[b]) for a, b in zip(few, order, strict=False))
        for order in itertools.permutations(many, len(few))
    )
    assert pairs.distance[0].sum() == pytest.approx(best)
    assert set(pairs.left[0]) <= set(left)
    assert set(pairs.right[0]) <= set(right)


def test_solo_tickets() -> None:
    (quality,) = solo_tickets(keep_nets(tickets(8, 4), [0]), X, Y)
    assert (quality > 0.9999).all()
    assert judge_solo(tickets(8, 6), X, Y).best.value < 1e-4


# Shares


def test_participation_counts_equals() -> None:
    nets = tickets(16, 4)
    for by in ("curvature", "projection"):
        assert participation(nets, X, Y, by=by) == pytest.approx(16, abs=0.1)
        assert neuron_shares(nets, X, Y, by=by).sum(1) == pytest.approx(1, abs=0.01)
    dead = make_nets(np.zeros((4, 3)), np.ones((4, 3)), np.ones((4, 3)))
    assert (participation(dead, X, Y) == 0).all()


def test_shares_take_any_target() -> None:
    nets = random_features(8, X, np.exp(X), seeds=4)
    for by in ("curvature", "projection"):
        assert neuron_shares(nets, X, np.exp(X), by=by).sum(1) == pytest.approx(1, abs=5e-3)


def test_census_of_two_neurons() -> None:
    w = [[0.8, -0.8], [0.8, 0.8], [0.0, 0.0]]
    b, v = [[-1.2, -1.2]] * 3, [[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]]
    c = [float((Y - outputs(make_nets(w[k], b[k], v[k]), X)).mean()) for k in range(3)]
    found = classify_pairs(make_nets(w, b, v, c), X, Y)
    assert found.kind.tolist() == ["symmetric", "other", "dead"]
    assert found.dead.value == pytest.approx(1 / 3)
    assert found.mse[2] == pytest.approx(16 / 5 - 16 / 9, rel=1e-4)
    with pytest.raises(BadTable, match="2 neurons"):
        classify_pairs(draw_nets(3, 4), X, Y)


def test_the_odd_part_and_the_table_of_neurons() -> None:
    even = tickets(8, 4)
    assert (odd_share(even, X, Y) < 1e-20).all()
    line = make_nets([[1.0, -1.0]], [[0.0, 0.0]], [[1.0, -1.0]])  # x
    assert odd_share(line, X, 0 * X + 1e-9)[0] == pytest.approx(1)
    points = neuron_table(even, X, Y)
    assert points.columns == ["seed", "w", "b", "v", "share"]
    assert points.height == 32


# Subsets


def test_scaled_subsets_are_an_identity() -> None:
    nets = draw_nets(6, 2)
    parts = nets.v[:, :, None] * ACTIVATIONS["silu"](nets.w[:, :, None] * X + nets.b[:, :, None])
    for size in (1, 3, 5, 6):
        each = [
            ((6 / size * parts[:, list(rows)].sum(1) + nets.c[:, None] - Y) ** 2).mean(1)
            for rows in itertools.combinations(range(6), size)
        ]
        assert np.mean(each, axis=0) == pytest.approx(scaled_curve(nets, X, Y, [size])[:, 0])


@pytest.mark.parametrize("width", [8, 16, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.long
def test_subsets_of_an_exact_ensemble_go_on_to_the_whole_net(width: int) -> None:
    found = extrapolate_subsets(tickets(width, 64, seed=width), X, Y, draws=2)
    assert found.sizes[-1] == width // 2
    assert found.unit == "ticket"
    assert found.drop.low < 2 < found.drop.high < 3
    assert found.slope.low < -1 < found.slope.high + 0.1
    neurons = extrapolate_neurons(tickets(width, 64, seed=width), X, Y, draws=2)
    assert neurons.unit == "neuron"
    assert neurons.drop.low > 1000  # half of a pair is no ticket


def test_subsets_of_tickets_that_cancel_fall_off_a_cliff() -> None:
    nets = tickets(32, 200, seed=1)
    errors = mean_squares(nets, X, Y)
    together = keep_nets(nets, errors < np.quantile(errors, 0.1))  # as many of each sign
    assert extrapolate_subsets(together, X, Y, draws=2).drop.low > 10
    solved = random_features(16, X, Y, seeds=12)
    assert extrapolate_subsets(solved, X, Y, draws=2).drop.low > 1e6


def test_scaled_tickets_are_an_identity() -> None:
    nets = draw_nets(8, 4)
    pairs = match_neurons(nets)
    found = extrapolate_subsets(nets, X, Y, sizes=(2, 4), draws=2, pairs=pairs)
    errors: list[list[float]] = []
    parts = nets.v[:, :, None] * ACTIVATIONS["silu"](nets.w[:, :, None] * X + nets.b[:, :, None])
    for own, left, right in zip(parts, pairs.left, pairs.right, strict=True):
        alone = np.setdiff1d(np.arange(8), np.concatenate([left, right]))
        units = np.concatenate([own[left] + own[right], own[alone]])
        units, count = units - units.mean(1, keepdims=True), len(units)
        target = Y - Y.mean()
        means = {
            n: np.mean(
                [
                    ((count / n * units[list(rows)].sum(0) - target) ** 2).mean()
                    for rows in itertools.combinations(range(count), n)
                ]
            )
            for n in (1, count // 2, count)
        }
        last = means[count]
        spread = (means[1] - last) / (count - 1)
        halved = spread * (count / (count // 2) - 1)
        assert means[count // 2] == pytest.approx(last + halved)
        errors.append([float(last + spread * (4 / n - 1)) for n in (2, 4)])
    assert np.array([e.value for e in found.scaled]) == pytest.approx(np.median(errors, axis=0))


def test_extrapolation_and_refits() -> None:
    found = extrapolate_neurons(tickets(16, 8), X, Y, draws=4)
    assert found.sizes == (1, 2, 4, 8, 16)
    for scaled, refitted, solved in zip(found.scaled, found.refitted, found.solved, strict=True):
        assert solved is not None
        assert solved.value <= refitted.value * (1 + 1e-9) <= scaled.value * (1 + 1e-6)
    assert found.slope.value == pytest.approx(-1, abs=0.3)
    whole = refitted_errors(draw_nets(4, 4), X, Y, 4, refit="all", draws=1)[:, 0]
    assert whole == pytest.approx(mean_squares(solve_nets(draw_nets(4, 4), X, Y), X, Y))


def test_cancellation_is_one_for_independent_errors() -> None:
    apart, together = cancellation(tickets(16, 400), X, Y)
    found = ratio_of(apart, together)
    assert found.low < 1 < found.high < 1.4


def test_random_silu_features_are_as_good_as_exact() -> None:
    x = -2 + 4 * (np.arange(512) + 0.5) / 512
    errors = {
        n: float(np.median(mean_squares(random_features(n, x, x**2, seeds=64), x, x**2)))
        for n in (2, 4, 8, 16)
    }
    assert errors[8] < 1e-10  # the acceptance check
    assert errors[16] < 1e-18
    assert 3e-3 < errors[2] < 3e-2  # 1.1e-2 in the note
    assert 3e-6 < errors[4] < 1e-4  # 1.5e-5


def test_pruning_drops_what_has_no_share() -> None:
    good = tickets(8, 6)
    w = np.concatenate([good.w, np.full((6, 4), 0.3)], 1)
    b = np.concatenate([good.b, np.zeros((6, 4))], 1)
    v = np.concatenate([good.v, np.zeros((6, 4))], 1)
    padded = make_nets(w, b, v, good.c)
    found = prune(padded, X, Y, kept=(1, 8, 12))
    assert found.fraction == (1 / 12, 8 / 12, 1)
    assert found.mse[1].value == pytest.approx(found.mse[2].value)
    assert found.at_random[1].value > 10 * found.mse[1].value
    for refit in ("scale", "all"):
        better = prune(padded, X, Y, kept=(1, 8, 12), refit=refit)
        pairs = zip(better.mse, found.mse, strict=True)
        assert all(a.value <= b.value * (1 + 1e-9) for a, b in pairs)


# Intervals


@pytest.mark.long
def test_intervals_over_seeds_cover() -> None:
    rng = np.random.default_rng(0)
    held = np.zeros(4)
    for _ in range(300):
        z = np.exp(rng.standard_normal(12))
        held[0] += mean_of(np.log(z)).low <= 0 <= mean_of(np.log(z)).high
        median = median_of(z)
        held[1] += median.low <= 1 <= median.high
        share = share_of(int(rng.binomial(40, 0.15)), 40)
        held[2] += share.low <= 0.15 <= share.high
        widths = {n: n**-1.2 * np.exp(0.3 * rng.standard_normal(12)) for n in (8, 16, 32)}
        slope = slope_of(widths)
        held[3] += slope.low <= -1.2 <= slope.high
    least = stats.binom.ppf(0.001, 300, 0.95)
    assert (held >= least).all(), held
    with pytest.raises(BadTable, match="at least 4"):
        mean_of(np.ones(3))


# What any user may judge


@pytest.mark.long
def test_logits_of_cnns_go_straight_into_the_verdict() -> None:
    from kleiber.networks.loop import train_nets

    predictions: dict[int, Any] = {}
    for width in (2, 4):
        run = Experiment(
            task={"kind": "images", "dataset": "digits", "n_data": 200, "n_test": 100},
            net={"kind": "cnn", "channels": [width], "pool_after": [1], "hidden": [4 * width]},
            steps=25, batch=50, checkpoints=[25], seeds=4,
        )  # fmt: skip
        trained = train_nets(run)
        data = make_data(run)
        predictions[width] = trained.predict(data.prepare(data.test[0]))
    labels = data.test[1]
    assert predictions[2].shape == (4, 100, 10)
    verdict = judge_ensemble(predictions, labels, logits=True, points="drawn")
    for part in verdict.widths:
        assert 0 < part.mse.value < 1.2
        assert part.ensembles[4].value < part.mse.value
    assert judge_average(verdict).reading in ("ensembling", "shared", "mixed", "undecided")
    assert (verdict.trades[0].width, verdict.trades[0].wider) == (2, 4)


@pytest.mark.long
def test_the_crossover_of_two_terms_is_fitted_with_an_interval() -> None:
    law, width = laws.width_crossover, np.geomspace(4, 512, 15)
    truth = {"E": 1e-4, "at": 24.0, "beta": 1.0, "gap": 3.0}
    noise = np.exp(0.02 * np.random.default_rng(1).standard_normal(15))
    table = {"width": width, "loss": law(width, **truth) * noise}
    found = fit(law, table, draws=100, seed=0)
    low, high = found.interval("at").low, found.interval("at").high
    assert low < 24 < high < 2 * low
    assert found.params["beta"] + found.params["gap"] == pytest.approx(4, abs=0.2)
