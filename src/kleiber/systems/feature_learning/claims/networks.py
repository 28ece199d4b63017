"""The statements on networks: circle MLPs, compute frontiers of circle MLPs, CNNs on images."""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.feature_learning.claims.circle import (
    LAZY,
    beyond,
    eigenvalue_slope,
    exponent_of,
    kernel_claim,
    lazy_prediction,
    mode_slope,
    over_lazy,
    rich_exponent,
    source,
)
from kleiber.systems.feature_learning.claims.images import STATEMENTS as IMAGES
from kleiber.systems.feature_learning.claims.width import STATEMENTS as WIDTH

KERNEL = "it is the kernel of infinitely wide nets, without anything random"
SOLVED = "the circle's own spectrum is no power law at these times"

CIRCLE = (
    Claim(
        "circle, kernel",
        "eigenvalues of the kernel fall as k^-2 for relu, so alpha = 2 (two hidden layers, k from "
        "64 to 1,024)",
        expected=2.0,
        within=0.02,
        compute=eigenvalue_slope("relu"),
        exact=KERNEL,
    ),
    Claim(
        "circle, kernel",
        "and as k^-4 for relu squared, so alpha = 4",
        expected=4.0,
        within=0.02,
        compute=eigenvalue_slope("relu_squared"),
        exact=KERNEL,
    ),
    Claim(
        "circle, lazy",
        "infinitely wide lazy nets learn k^-1 as t^-beta, beta = 1/2: the kernel's exponent over t "
        "from 1,000 to 100,000",
        expected=source(1.0),
        within=0.02,
        compute=kernel_claim(1.0, 1e3, 1e5),
        exact=KERNEL,
    ),
    Claim(
        "circle, lazy",
        "and k^-2 as t^-1.5",
        expected=source(2.0),
        within=0.02,
        compute=kernel_claim(2.0, 1e3, 1e5),
        exact=KERNEL,
    ),
    Claim(
        "circle, lazy",
        "nets of richness 0.001 train as their own linearisation: the largest relative difference "
        "of the loss after t = 0.5",
        expected=0.04,
        within=0.0,
        side="at_most",
        compute=lazy_prediction,
    ),
    Claim(
        "circle nets, hard task",
        "rich nets (gamma0 = 1) learn k^-1, beta = 1/2, as t^-2/3: the exponent from t = 10 on",
        expected=rich_exponent(source(1.0)),
        within=0.06,
        compute=exponent_of(1.0),
    ),
    Claim(
        "circle nets, hard task",
        "faster than infinitely wide lazy nets: the exponent less the kernel's in the same window",
        expected=0.1,
        within=0.0,
        side="at_least",
        compute=beyond(1.0, 0.0),
    ),
    Claim(
        "circle nets, hard task",
        "k^-0.75, beta = 1/4, as t^-0.4",
        expected=rich_exponent(source(0.75)),
        within=0.06,
        compute=exponent_of(0.75),
        scale="laptop",
    ),
    Claim(
        "circle nets, hard task",
        "k^-1.25, beta = 3/4, as t^-6/7",
        expected=rich_exponent(source(1.25)),
        within=0.06,
        compute=exponent_of(1.25),
        scale="laptop",
        known="inconclusive",
        why="three seeds: 0.850 with the interval 0.789 to 0.912, which the range cuts at 0.797.",
    ),
    Claim(
        "circle nets, hard task",
        "rich nets learn k^-1 faster than lazy ones (gamma0 = 0.001) from the same weights: the "
        "difference of exponents",
        expected=0.1,
        within=0.0,
        side="at_least",
        compute=over_lazy(1.0),
        scale="laptop",
    ),
    Claim(
        "circle nets, easy task",
        "rich nets learn k^-2 no faster than lazy ones (gamma0 = 0.001) from the same weights: the "
        "difference of exponents",
        expected=0.0,
        within=0.05,
        compute=over_lazy(2.0),
        scale="laptop",
        known="fails",
        why="at width 256 lazy nets fall behind the kernel of infinite width (1.01 against 1.19), "
        "rich nets do not; and the window ends before the exponents are reached.",
    ),
    Claim(
        "circle nets, lazy",
        "lazy nets of width 256 learn k^-1 as t^-1/2",
        expected=0.5,
        within=0.06,
        compute=exponent_of(1.0, richness=LAZY),
        scale="laptop",
        known="inconclusive",
        why="seeds differ in their kernels, which at width 256 are slower than the limit; the "
        "limit itself has the exponent 0.42 over t from 10 to 200 and 0.50 only beyond 1,000.",
    ),
    Claim(
        "circle nets, border",
        "k^-1.5, beta = 1, as t^-1",
        expected=rich_exponent(source(1.5)),
        within=0.06,
        compute=exponent_of(1.5),
        scale="laptop",
    ),
    Claim(
        "circle nets, easy task",
        "rich nets learn k^-2, beta = 3/2, as t^-1.5 by t = 200",
        expected=rich_exponent(source(2.0)),
        within=0.1,
        compute=exponent_of(2.0),
        scale="laptop",
        known="fails",
        why=f"{SOLVED}: the exponent of infinitely wide lazy nets is 1.19 there.",
    ),
    Claim(
        "circle nets, easy task",
        "feature learning leaves the exponent of an easy task as it is: that of rich nets less "
        "that of infinitely wide lazy ones, t from 10 to 200",
        expected=0.0,
        within=0.05,
        compute=beyond(2.0, 0.0),
        scale="laptop",
        known="fails",
        why="at such times the kernel's growth still adds to the slope; the model on the same "
        "spectrum says so too (next claim).",
    ),
    Claim(
        "circle nets, easy task, corrected",
        "over a finite window the model on the circle's own spectrum (gamma = 1) gives the "
        "exponent: that of rich nets less the model's, 1.31",
        expected=0.0,
        within=0.1,
        compute=beyond(2.0, 1.0),
        scale="laptop",
    ),
    Claim(
        "circle nets, modes",
        "mode k of a hard task is learned at t ~ k^(alpha (1 + beta)/2): the slope of log half "
        "time, 1.25 for k^-0.75 (k from 4 to 32); lazily it would be alpha = 2",
        expected=1.25,
        within=0.15,
        compute=mode_slope(0.75, 1.0, (4, 8, 16, 32)),
        scale="laptop",
    ),
    Claim(
        "circle nets, modes",
        "and 1.5 for k^-1 (k from 4 to 16)",
        expected=1.5,
        within=0.2,
        compute=mode_slope(1.0, 1.0, (4, 8, 16)),
        scale="laptop",
        known="inconclusive",
        why="three modes and three seeds: 1.56 with the interval 1.39 to 1.73.",
    ),
)
STATEMENTS: tuple[Claim, ...] = (*CIRCLE, *WIDTH, *IMAGES)
