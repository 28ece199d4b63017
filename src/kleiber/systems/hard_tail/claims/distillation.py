"""Claims on maths distillation in a setting of our own: arithmetic, transformers trained here.

The paper's abstract names a maths teacher-student distillation as its second proxy (summaries say
GSM8K, Flan-T5-XL and -small, LoRA of rank 8, N from 10 to 6309). Here the base model is a
transformer of 0.34 million parameters that knows one-digit problems, the teacher is right about
half of the time on problems of up to three operations with two digits, and students learn N of its
samples, one a problem, by the last layer alone, by LoRA or as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.experiment import ArithmeticTask, Transformer
from kleiber.systems.hard_tail.distillation.spec import Distillation, Method

FOLDER = "hard_tail_distillation"  # where students are kept
METHODS: tuple[Method, ...] = ("last_layer", "lora", "whole")
WORDS = {"last_layer": "the last layer alone", "lora": "LoRA", "whole": "the whole net"}
SIZES = (10, 32, 100, 316, 1000, 3162)
SEEDS = 3
BUDGET, PRICE = 2000.0, 10.0  # an attempt at every problem costs as much as ten examples
SMALL = Distillation(
    task=ArithmeticTask(operations=2, digits=1, tail=1.0, words=0.0),
    net=Transformer(width=48, depth=2),
    base_steps=150,
    teacher_steps=300,
    batch=64,
    rate=3e-3,
    problems=100,
    attempts=64,
)
Compute = Callable[[Context], Estimate]


def specs(context: Context, group: str = "test") -> list[Distillation]:
    """Return the students of a scale: small ones at "quick", by the last layer alone."""
    quick = context.scale == "quick"
    base = SMALL if quick else Distillation()
    return [
        base.model_copy(
            update={"method": method, "n_data": n, "seed": context.seed + s, "group": group}
        )
        for method in (METHODS[:1] if quick else METHODS)
        for n in ((10, 1000) if quick else SIZES)
        for s in range(2 if quick else SEEDS)
    ]


def kept(context: Context) -> Path | None:
    """Return the folder that keeps the students, if there is one."""
    return None if context.keep is None else context.keep / FOLDER


def students(context: Context) -> pl.DataFrame:
    """Return the counts of all students, trained once."""
    from kleiber.systems.hard_tail.distillation.chain import run_students  # torch is an extra

    return context.share("students", lambda: run_students(specs(context), kept(context)))


def growth(method: str) -> Compute:
    """Return dlog a/dlog N of students by one method."""

    def compute(context: Context) -> Estimate:
        from kleiber.systems.hard_tail.distillation.chain import exponent_slopes

        draws = context.choose(quick=100, laptop=400)
        found = exponent_slopes(students(context), method, draws=draws, seed=context.seed)
        return estimate(found.value, found.stderr)

    return compute


def levelling(context: Context) -> Estimate:
    """Return dlog a/dlog N over the three largest N less that over the three smallest, by the last
    layer alone."""
    from kleiber.systems.hard_tail.distillation.chain import exponent_slopes

    table, few = students(context), len(SIZES) // 2
    late, early = (
        exponent_slopes(table, "last_layer", draws=400, seed=context.seed, sizes=sizes)
        for sizes in (SIZES[few:], SIZES[:few])
    )
    error = np.hypot(
        np.std(late.drawn - early.drawn, ddof=1), _error_of_mean(late.seeds - early.seeds)
    )
    return estimate(late.value - early.value, float(error))


def falling_loss(context: Context) -> Estimate:
    """Return dlog loss/dlog N by the last layer alone."""
    from kleiber.systems.hard_tail.distillation.chain import loss_slopes

    slopes = loss_slopes(students(context), "last_layer")
    return estimate(float(slopes.mean()), _error_of_mean(slopes))


def _error_of_mean(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def planned(context: Context, which: int) -> Estimate:
    """Return log(failure at the planned split/at another of equal cost), on problems that were not
    used for the law, with students that are trained for it."""
    from kleiber.systems.hard_tail.distillation import chain

    method = "last_layer"

    def run() -> tuple[list[chain.Split], pl.DataFrame]:
        split = chain.plan_split(
            students(context), method, BUDGET, PRICE, draws=100, seed=context.seed
        )
        splits = [split, *chain.other_splits(split, BUDGET, PRICE)]
        asked = [
            Distillation(method=method, n_data=each.n_data, seed=context.seed + s, group="check")
            for each in splits
            for s in range(SEEDS)
        ]
        return splits, chain.run_students(asked, kept(context))

    splits, table = context.share("splits", run)
    seeds = [context.seed + s for s in range(SEEDS)]
    first, other = (chain.failures_of(table, method, splits[k], seeds) for k in (0, which))
    return estimate(*chain.compare_failures(first, other, context.seed))


def _growth_claim(method: str, scale: str) -> Claim:
    return Claim(
        "maths distillation, our own setting",
        f"The exponent of failure with attempts grows with N, taught by {WORDS[method]}: "
        "dlog a/dlog N is positive.",
        expected=0.0,
        within=0.0,
        compute=growth(method),
        side="at_least",
        scale=scale,
    )


STATEMENTS = (
    _growth_claim("last_layer", "quick"),
    _growth_claim("lora", "laptop"),
    _growth_claim("whole", "laptop"),
    Claim(
        "maths distillation, our own setting",
        "The growth levels off: dlog a/dlog N from 316 to 3,162 samples is below that from 10 to "
        "100 (last layer alone).",
        expected=0.0,
        within=0.0,
        compute=levelling,
        side="at_most",
        scale="laptop",
    ),
    Claim(
        "maths distillation, our own setting",
        "The student's loss on right answers falls slowly with N: dlog loss/dlog N is between "
        "-0.25 and 0 (last layer alone).",
        expected=-0.125,
        within=0.125,
        compute=falling_loss,
        scale="laptop",
    ),
    *(
        Claim(
            "maths distillation, our own setting",
            f"The planned split of a budget fails less often than one of equal cost with {SHIFTED} "
            "samples, on problems that the law was not fitted to: log of the ratio.",
            expected=0.0,
            within=0.0,
            compute=lambda context, which=which: planned(context, which),
            side="at_most",
            scale="laptop",
        )
        for which, SHIFTED in ((1, "a quarter of the"), (2, "more"))
    ),
)
