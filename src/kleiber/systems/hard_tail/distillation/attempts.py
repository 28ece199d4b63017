# pyright: basic
"""Attempts of a student at problems: counted by sampling, and their exact probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch

from kleiber.experiment.arithmetic import encode_answer, encode_problem, is_right, lay_out
from kleiber.maths.seeds import stream
from kleiber.networks.loop import threads
from kleiber.networks.net_stack import loss_of
from kleiber.networks.sampling import answer_probability, sample
from kleiber.networks.transformer import Decoder, run_rows
from kleiber.systems.hard_tail.distillation.nets import asked_problems, teach, train_models
from kleiber.systems.hard_tail.distillation.spec import Distillation

ROWS = 2048  # attempts that are sampled at once


def distil(spec: Distillation, folder: Path | None = None) -> pl.DataFrame:
    """Train the models of a Distillation and sample its student.

    Returns a row for each problem: problem, operations, digits, attempts, successes, probability
    (the exact one, of a right answer), with the student's loss and error on all problems. `folder`
    keeps the base model and the teacher for other runs.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    base, teacher = train_models(spec, folder)
    return ask(spec, teach(spec, base, teacher))


def ask(spec: Distillation, student: Decoder) -> pl.DataFrame:
    """Sample a student at the problems of a Distillation and return the counts."""
    problems = asked_problems(spec)
    prompts = [encode_problem(problem) for problem in problems]
    answers = [encode_answer(problem) for problem in problems]
    each = max(1, ROWS // spec.attempts)
    successes: list[int] = []
    with threads(1):
        for low in range(0, len(problems), each):
            part = range(low, min(low + each, len(problems)))
            uniforms = np.stack([draw_uniforms(spec, number) for number in part])
            drawn = sample(
                student, [prompts[k] for k in part], uniforms, temperature=spec.temperature
            )
            for k, rows in zip(part, drawn.tolist(), strict=True):
                successes.append(sum(is_right(problems[k], row) for row in rows))
        exact = answer_probability(student, prompts, answers, temperature=spec.temperature)
        loss, error = judge_answers(spec, student, prompts, answers)
    return pl.DataFrame(
        {
            "problem": [problem.text for problem in problems],
            "operations": [problem.operations for problem in problems],
            "digits": [problem.digits for problem in problems],
            "attempts": [spec.attempts] * len(problems),
            "successes": successes,
            "probability": exact,
        }
    ).with_columns(loss=pl.lit(loss), error=pl.lit(error))


def draw_uniforms(spec: Distillation, number: int) -> np.ndarray:
    """Return the uniform numbers that decide all attempts at one problem."""
    rng = stream(spec.seed, f"attempts {spec.group} {number}")
    return rng.random((spec.attempts, spec.task.grammar.answer_length))


def judge_answers(
    spec: Distillation,
    student: Decoder,
    prompts: list[tuple[int, ...]],
    answers: list[tuple[int, ...]],
) -> tuple[float, float]:
    """Return the student's loss a token of the right answers, and the share of its most probable
    answers that are wrong."""
    tokens, targets = lay_out(prompts, answers, spec.task.grammar.length)
    with torch.no_grad():
        logits = run_rows(student, torch.from_numpy(tokens)).double()
    labels = torch.from_numpy(targets)
    loss = loss_of("cross_entropy", logits[None], labels[None])
    wrong = ((logits.argmax(-1) != labels) & (labels >= 0)).any(-1)
    return float(loss[0]), float(wrong.double().mean())
