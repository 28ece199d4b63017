"""The verdict on ensembles: exact identities, doors, and the table form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from kleiber import reduce
from kleiber.claim import Estimate
from kleiber.errors import BadTable
from kleiber.systems.lottery_tickets.ensemble import judge_ensemble
from kleiber.systems.lottery_tickets.ensemble_table import as_rows, ensemble
from kleiber.theory import Tickets

X = np.linspace(-2, 2, 65)[:-1] + 1 / 32
RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(5, 40, 3))
LABELS = RNG.integers(0, 3, 40)


def nets(theory: Tickets, widths: tuple[int, ...] = (8, 16), seeds: int = 12) -> dict[float, Any]:
    return {width: X**2 + theory.draw(width, seeds=seeds) for width in widths}


def long_form(predictions: dict[float, Any], target: Any) -> pl.DataFrame:
    parts = [
        pl.DataFrame({"x": X, "prediction": net, "target": target}).with_columns(
            width=pl.lit(width), seed=pl.lit(seed)
        )
        for width, item in predictions.items()
        for seed, net in enumerate(item)
    ]
    return pl.concat(parts)


def test_the_parts_are_those_of_all_pairs() -> None:
    errors = nets(Tickets(bias=0.05), (8,), 6)[8] - X**2
    part = judge_ensemble({8: errors}, np.zeros(64), members=(1, 2, 6)).widths[0]
    pairs = [(a * b).mean() for a, b in itertools.permutations(errors, 2)]
    assert part.mse.value == pytest.approx((errors**2).mean(), rel=1e-12)
    assert part.bias.value == pytest.approx(np.mean(pairs), rel=1e-10)
    assert part.variance.value == pytest.approx(errors.var(0, ddof=1).mean(), rel=1e-12)
    assert part.bias_share.value == pytest.approx(part.bias.value / part.mse.value, rel=1e-12)
    assert part.ensembles[1].value == pytest.approx(part.mse.value, rel=1e-12)


@pytest.mark.parametrize("members", [2, 3, 5])
def test_ensembles_are_the_mean_over_all_subsets(members: int) -> None:
    errors = nets(Tickets(bias=0.05), (8,), 6)[8] - X**2
    subsets = [errors[list(some)].mean(0) for some in itertools.combinations(range(6), members)]
    part = judge_ensemble({8: errors}, np.zeros(64), members=(members,)).widths[0]
    assert part.ensembles[members].value == pytest.approx(np.mean(np.square(subsets)), rel=1e-10)


@pytest.mark.parametrize("points", ["fixed", "drawn"])
def test_logits_are_judged_by_brier(points: Any) -> None:
    part = judge_ensemble({64: LOGITS}, LABELS, logits=True, points=points, members=(5,)).widths[0]
    chances = softmax(LOGITS, axis=2)
    onehot = np.eye(3)[LABELS]
    brier = ((chances - onehot) ** 2).sum(2).mean()
    together = ((chances.mean(0) - onehot) ** 2).sum(1).mean()
    assert part.mse.value == pytest.approx(brier, rel=1e-12)
    assert part.ensembles[5].value == pytest.approx(together, rel=1e-12)
    soft = judge_ensemble({64: LOGITS}, onehot, logits=True, points=points, members=(5,))
    assert soft.widths[0] == part


def test_both_bootstraps_agree_where_points_are_alike() -> None:
    signs = RNG.choice([-1.0, 1.0], size=(16, 1)) + 0.3
    errors = np.repeat(signs, 30, axis=1)  # every point the same: drawing points adds nothing
    fixed, drawn = (
        judge_ensemble({8: errors}, np.zeros(30), points=points).widths[0]
        for points in ("fixed", "drawn")
    )
    assert drawn.mse.stderr == pytest.approx(fixed.mse.stderr, rel=0.15)
    assert drawn.variance.value == pytest.approx(fixed.variance.value, rel=1e-12)


def test_drawn_points_widen_the_intervals() -> None:
    predictions = nets(Tickets(bias=0.2), (8,))
    fixed, drawn = (
        judge_ensemble(predictions, X**2, points=points).widths[0].bias.stderr
        for points in ("fixed", "drawn")
    )
    assert drawn > 2 * fixed


def test_scale_and_order_of_nets_do_not_matter() -> None:
    predictions = nets(Tickets(bias=0.05))
    one = judge_ensemble(predictions, X**2)
    ten = judge_ensemble({k: 10 * v for k, v in predictions.items()}, 10 * X**2)
    turned = judge_ensemble(dict(reversed(predictions.items())), X**2)
    assert turned == one
    assert ten.widths[0].mse.high == pytest.approx(100 * one.widths[0].mse.high)
    assert ten.trades[0].ratio.low == pytest.approx(one.trades[0].ratio.low)


def test_one_output_may_have_its_own_axis() -> None:
    predictions = nets(Tickets())
    with_axis = {width: item[:, :, None] for width, item in predictions.items()}
    plain = judge_ensemble(predictions, X**2)
    assert judge_ensemble(with_axis, X**2) == plain
    assert judge_ensemble(with_axis, X[:, None] ** 2) == plain


def test_trades_are_the_whole_multiples() -> None:
    verdict = judge_ensemble(nets(Tickets(), (4, 8, 12, 24)), X**2)
    found = [(item.width, item.members, item.wider) for item in verdict.trades]
    assert found == [(4, 2, 8), (4, 3, 12), (4, 6, 24), (8, 3, 24), (12, 2, 24)]
    first, parts = verdict.trades[0], verdict.widths
    assert first.ratio.value == pytest.approx(parts[0].ensembles[2].value / parts[1].mse.value)


def test_exponents_are_given_where_they_can_be() -> None:
    assert judge_ensemble(nets(Tickets(), (8,)), X**2).exponents == {}
    assert set(judge_ensemble(nets(Tickets()), X**2).exponents) == {"mse", "variance"}
    shared = judge_ensemble(nets(Tickets(bias=0.3)), X**2).exponents
    assert abs(shared["bias"].value) < 0.1


def test_a_dead_net_is_dropped_only_if_asked() -> None:
    predictions = nets(Tickets(), (8,))
    predictions[8][3] += 5.0
    all_of_them, kept = (
        judge_ensemble(predictions, X**2, drop=drop).widths[0] for drop in (None, 30.0)
    )
    assert (all_of_them.n_seeds, all_of_them.dropped) == (12, 0)
    assert (kept.n_seeds, kept.dropped) == (11, 1)
    assert kept.mse.value < 0.01 < all_of_them.mse.value


def test_a_table_says_what_the_arrays_say() -> None:
    predictions = nets(Tickets(bias=0.05))
    table = long_form(predictions, X**2).sample(fraction=1.0, shuffle=True, seed=1)
    made = ensemble(table, point="x")
    assert made.equals(as_rows(judge_ensemble(predictions, X**2)))
    assert made.filter(quantity="ensemble", width=8)["members"].to_list() == [2, 4, 8, 16]


def test_the_command_has_it() -> None:
    assert reduce.find("ensemble") is ensemble


def test_notes_are_rows_of_the_table() -> None:
    predictions = nets(Tickets(), (8, 16), 12)
    assert "note" not in ensemble(long_form(predictions, X**2), point="x")["quantity"].to_list()
    predictions[8][0] = 50.0
    made = ensemble(long_form(predictions, X**2), point="x").filter(pl.col("quantity") == "note")
    assert made["width"].to_list() == [None]
    assert made["value"].to_list() == [None]
    assert "Width 8: 1 of 12 nets" in made["reading"][0]


def test_a_table_of_logits() -> None:
    rows = [
        {"width": 64, "seed": s, "point": p, "y": int(LABELS[p])}
        | {f"z{c}": float(LOGITS[s, p, c]) for c in range(3)}
        for s in range(5)
        for p in range(40)
    ]
    made = ensemble(pl.DataFrame(rows), prediction=["z0", "z1", "z2"], target="y", logits=True)
    assert made.equals(as_rows(judge_ensemble({64: LOGITS}, LABELS, logits=True)))


def test_missing_and_double_rows_are_refused() -> None:
    table = long_form(nets(Tickets(), (8,)), X**2)
    with pytest.raises(BadTable, match="seed 0 has 63 rows"):
        ensemble(table[1:], point="x")
    with pytest.raises(BadTable, match="seed 0 has 65 rows"):
        ensemble(pl.concat([table[:1], table]), point="x")
    other = table.with_columns(pl.when(pl.col("seed") == 2).then(0.0).otherwise("target"))
    other = table.with_columns(target=other["literal"])
    with pytest.raises(BadTable, match="differs between nets"):
        ensemble(other, point="x")
    with pytest.raises(BadTable, match="point"):
        ensemble(table)
    with pytest.raises(BadTable, match="missing values"):
        ensemble(table.with_columns(seed=pl.lit(None, pl.Int64)), point="x")


FINE = np.ones((4, 3))


@pytest.mark.parametrize(
    ("predictions", "target", "options", "words"),
    [
        ({}, np.zeros(3), {}, "There are no predictions"),
        ({8: FINE[:3]}, np.zeros(3), {}, "at least 4 seeds"),
        ({8: FINE, 16: np.ones((4, 5))}, np.zeros(3), {}, r"got \[4, 5\] for width 16"),
        ({8: FINE}, np.zeros(4), {}, r"The target must be \[3\]"),
        ({8: FINE * np.nan}, np.zeros(3), {}, "NaN or infinity"),
        ({8: FINE}, np.full(3, np.inf), {}, "The target must be a finite array"),
        ({-8: FINE}, np.zeros(3), {}, "A width must be a positive number"),
        ({8: FINE}, np.ones(3), {}, "make no error at all"),
        ({8: FINE}, np.zeros(3), {"logits": True}, "Logits need an axis"),
        ({8: LOGITS}, LABELS + 1, {"logits": True}, "class numbers from 0 to 2"),
        ({8: LOGITS}, LABELS + 0.5, {"logits": True}, "class numbers"),
        ({8: LOGITS}, np.ones((40, 3)), {"logits": True}, "sum to 1"),
        ({8: FINE}, np.zeros(3), {"members": (0,)}, "members must be whole numbers"),
        ({8: FINE}, np.zeros(3), {"drop": 0.5}, "drop must be at least 1"),
    ],
)
def test_doors(predictions: Any, target: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        judge_ensemble(predictions, target, **options)


def test_identical_nets_share_everything() -> None:
    part = judge_ensemble({8: FINE}, np.zeros(3)).widths[0]
    assert part.variance == Estimate(0.0, 0.0, 0.0, 0.0)
    assert part.bias_share.value == 1.0
    assert part.reading == "shared"
