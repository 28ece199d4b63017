"""Distillation: everything that decides what a student learns and is asked, as a frozen record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import model_validator

from kleiber.experiment import Adam, ArithmeticTask, Cosine, Experiment, Transformer
from kleiber.experiment.fields import Count, Part, Positive, Whole

Method: TypeAlias = Literal["last_layer", "lora", "whole"]


FEW = 16  # test problems of the base model: the easy part may have no more


class Distillation(Part):
    """A base model, its teacher, and a student that is taught N of the teacher's samples.

    The base is trained on problems of up to `easy_operations` operations and `easy_digits` digits,
    the teacher on the whole `task`. The student learns by the readout alone ("last_layer": logistic
    regression on the base's features, with a Gaussian prior around the base's readout), by low-rank
    changes of all other matrices ("lora", Hu et al. 2021, arXiv 2106.09685) or as a whole.
    """

    task: ArithmeticTask = ArithmeticTask(operations=3, tail=1.5)
    net: Transformer = Transformer(width=96, depth=3)
    easy_operations: Count = 1
    easy_digits: Count = 1
    base_steps: Count = 1500
    teacher_steps: Count = 3000
    batch: Count = 96
    rate: Positive = 1.5e-3
    method: Method = "last_layer"
    n_data: Count = 100
    passes: Count = 20  # of the student over its samples, if they make fewer than student_steps
    student_steps: Count = 250
    student_batch: Count = 64
    student_rate: Positive = 1e-3
    rank: Count = 8
    prior: Positive = 1.0  # deviation of the last layer's weights around the base's
    temperature: Positive = 1.0
    problems: Count = 256
    attempts: Count = 128
    group: Literal["test", "check"] = "test"
    seed: Whole = 0

    @model_validator(mode="after")
    def _is_easier(self) -> Distillation:
        if self.easy_operations > self.task.operations or self.easy_digits > self.task.digits:
            raise ValueError("the easy part goes beyond the task: fewer operations and digits")
        return self

    def key(self) -> str:
        """Return the key of this run, the same in every process and on every machine."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]

    def base(self) -> Experiment:
        """Return the training of the base model."""
        easy = {"operations": self.easy_operations, "digits": self.easy_digits, "n_test": FEW}
        task = self.task.model_copy(update=easy)
        return self._experiment(task, self.base_steps)

    def teacher(self) -> Experiment:
        """Return the training of the teacher, which starts from the base model."""
        return self._experiment(self.task, self.teacher_steps)

    def _experiment(self, task: ArithmeticTask, steps: int) -> Experiment:
        return Experiment(
            task=task,
            net=self.net,
            optimiser=Adam(rate=self.rate),
            schedule=Cosine(),
            steps=steps,
            batch=self.batch,
            checkpoints=(0, steps),
            measures=("loss", "error"),
            seeds=(self.seed,),
        )


@dataclass(frozen=True)
class Split:
    """One way to spend a budget: N training examples, and k attempts at each problem."""

    n_data: int
    k: int
