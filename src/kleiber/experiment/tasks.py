"""The tasks of a spec: functions of one to three inputs, teachers, circles, images, arithmetic."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from kleiber.errors import BadFormula, reason
from kleiber.experiment.arithmetic import Grammar
from kleiber.experiment.fields import Activation, Count, Part, Positive, Real, Share, Whole
from kleiber.formula import parse, symbols

AXES = ("x", "y", "z")  # the inputs of a formula
SIDES = {"digits": 8, "mnist": 28, "cifar10": 32, "cifar100": 32}  # pixels of images, each way
Nonnegative = Annotated[Real, Field(ge=0)]


class FormulaTask(Part):
    """A function of x, or of x and y, or of x, y and z, on the box [low, high]^inputs.

    `n_data` training examples, the same for every seed: midpoints of a grid (`n_data` then is a
    power of the whole number of points per axis) or uniform draws, of which the first P are the
    same for every P; without `n_data` each step draws a fresh batch. The test set is a grid at
    least as dense as `n_test` points, midway between no training points by design.
    """

    kind: Literal["formula"] = "formula"
    formula: str = "x**2"
    low: Real = -2.0
    high: Real = 2.0
    n_data: Count | None = None
    sampling: Literal["grid", "uniform"] = "uniform"
    noise: Nonnegative = 0.0
    n_test: Count = 4096
    data_seed: Whole = 0
    loss: Literal["mse", "half_mse"] = "mse"

    @field_validator("formula")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            used = symbols(parse(text))
        except BadFormula as error:
            raise ValueError(reason(error)) from None
        unknown = sorted(used - set(AXES))
        if unknown or not used:
            raise ValueError(f"the formula must contain x, y or z and no other name, got {text!r}")
        return text

    @model_validator(mode="after")
    def _consistent(self) -> FormulaTask:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must lie below high {self.high}")
        if self.sampling == "grid":
            if self.n_data is None:
                raise ValueError("a grid needs n_data, the number of its points")
            side = round(self.n_data ** (1 / self.inputs))
            if side**self.inputs != self.n_data:
                near = side**self.inputs
                raise ValueError(
                    f"a grid in {self.inputs} dimensions cannot have n_data {self.n_data}; "
                    f"{near} is near"
                )
        return self

    @property
    def inputs(self) -> int:
        """The number of inputs: z makes three, y makes two."""
        return max(AXES.index(name) for name in symbols(parse(self.formula))) + 1


class TeacherTask(Part):
    """The outputs of a fixed random MLP on standard Gaussian inputs, centred and of unit variance.

    Training examples as in FormulaTask, drawn.
    """

    kind: Literal["teacher"] = "teacher"
    inputs: Count = 3
    width: Count = 8
    depth: Whole = 1
    activation: Activation = "tanh"
    teacher_seed: Whole = 0
    n_data: Count | None = None
    noise: Nonnegative = 0.0
    n_test: Count = 4096
    data_seed: Whole = 0
    loss: Literal["mse", "half_mse"] = "mse"


class CircleTask(Part):
    """y(theta) = sum_{k=1..modes} k^-decay cos(k theta), inputs sqrt(2) (cos theta, sin theta).

    Examples are drawn from a grid of `points` angles; the test set is the whole grid. Without
    `n_data` each step draws a fresh batch. Inputs have norm sqrt(inputs), so that a unit Gaussian
    weight over sqrt(fan in) sees a unit vector. Bordelon et al. 2024 (arXiv 2409.17858), section 5.
    """

    kind: Literal["circle"] = "circle"
    decay: Positive = 1.0
    modes: Count | None = None  # as many as the grid resolves: points/2 - 1
    points: Annotated[Count, Field(ge=4)] = 16384
    n_data: Count | None = None
    noise: Nonnegative = 0.0
    n_test: Count | None = None
    data_seed: Whole = 0
    loss: Literal["mse", "half_mse"] = "half_mse"

    @model_validator(mode="after")
    def _resolved(self) -> CircleTask:
        if self.modes is not None and self.modes >= self.points / 2:
            raise ValueError(f"{self.points} points resolve fewer than {self.points // 2} modes")
        if self.n_test is not None and self.n_test > self.points:
            raise ValueError(f"n_test {self.n_test} is more than the {self.points} points")
        return self

    @property
    def inputs(self) -> int:
        """The number of inputs, two."""
        return 2


class ImageTask(Part):
    """Images and their classes: the first `n_data` training images of one fixed shuffle.

    `shrink` averages squares of so many pixels each way. Pixels are centred and scaled by the data
    set's mean and deviation. `flip` mirrors half of the training images, `shift` moves them by up
    to so many pixels; test images are never touched (the measure `error_augmented` is the error on
    test images treated the same).
    """

    kind: Literal["images"] = "images"
    dataset: Literal["digits", "mnist", "cifar10", "cifar100"] = "digits"
    n_data: Count | None = None  # all
    n_test: Count | None = None  # all
    shrink: Count = 1
    flip: bool = False
    shift: Whole = 0
    data_seed: Whole = 0
    loss: Literal["cross_entropy", "mse", "half_mse"] = "cross_entropy"

    @model_validator(mode="after")
    def _divides(self) -> ImageTask:
        if SIDES[self.dataset] % self.shrink:
            side = SIDES[self.dataset]
            raise ValueError(f"shrink {self.shrink} does not divide {self.dataset}'s {side} pixels")
        return self


class ArithmeticTask(Part):
    """Arithmetic problems from a grammar, answered one token after the other.

    A problem has up to `operations` additions, subtractions and multiplications of numbers of up to
    `digits` digits; the numbers of operations and of digits have P(n) ~ n^-(1 + tail). A share
    `words` of the problems is told in sentences. Training problems are drawn anew at each step, or
    are `n_data` fixed ones; no test problem is among them. The loss is the mean over the answers'
    tokens; the error is the share of test problems whose most probable answer is not the right one.
    """

    kind: Literal["arithmetic"] = "arithmetic"
    operations: Annotated[Count, Field(le=50)] = 4
    digits: Annotated[Count, Field(le=9)] = 2
    tail: Positive = 1.0
    words: Share = 0.25
    n_data: Count | None = None
    n_test: Count = 512
    data_seed: Whole = 0
    loss: Literal["cross_entropy"] = "cross_entropy"

    @property
    def grammar(self) -> Grammar:
        """The grammar of the problems."""
        return Grammar(self.operations, self.digits, self.tail, self.words)

    @property
    def inputs(self) -> int:
        """The number of places of one input: the tokens of the longest problem and answer but the
        last."""
        return self.grammar.length - 1


Task: TypeAlias = Annotated[
    FormulaTask | TeacherTask | CircleTask | ImageTask | ArithmeticTask,
    Field(discriminator="kind"),
]
