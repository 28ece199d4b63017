"""The optimisers of a spec and the schedules of their learning rate."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from kleiber.experiment.fields import Part, Positive, Real, Share

Nonnegative = Annotated[Real, Field(ge=0)]


class SGD(Part):
    """theta -= rate (g + weight_decay theta), with heavy-ball or Nesterov momentum."""

    kind: Literal["sgd"] = "sgd"
    rate: Positive = 0.01
    momentum: Share = 0.0
    nesterov: bool = False
    weight_decay: Nonnegative = 0.0

    @model_validator(mode="after")
    def _moves(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum")
        return self


class Adam(Part):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient, or decoupled from it as adamw
    (Loshchilov & Hutter 2019)."""

    kind: Literal["adam", "adamw"] = "adam"
    rate: Positive = 1e-3
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: Positive = 1e-8
    weight_decay: Nonnegative = 0.0


Optimiser: TypeAlias = Annotated[SGD | Adam, Field(discriminator="kind")]


class Constant(Part):
    """A constant learning rate."""

    kind: Literal["constant"] = "constant"


class Cosine(Part):
    """A cosine decay of the rate's factor from 1 to `floor`."""

    kind: Literal["cosine"] = "cosine"
    floor: Annotated[Real, Field(ge=0, le=1)] = 0.0


class Stepped(Part):
    """A factor `times` at each share of the steps in `at`."""

    kind: Literal["step"] = "step"
    at: tuple[Annotated[Positive, Field(lt=1)], ...] = (0.25, 0.5, 0.75)
    times: Positive = 0.1


Schedule: TypeAlias = Annotated[Constant | Cosine | Stepped, Field(discriminator="kind")]


def rate_factor(schedule: Constant | Cosine | Stepped, progress: float) -> float:
    """Return the factor of the learning rate after a share ``progress`` of all steps."""
    match schedule:
        case Constant():
            return 1.0
        case Cosine(floor=floor):
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
        case Stepped(at=at, times=times):
            return times ** sum(progress >= share for share in at)
