"""Checked field types, and the base class of the parts of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kleiber.errors import listed, nearest
from kleiber.experiment.reading import LARGEST

Activation: TypeAlias = Literal[
    "relu", "leaky_relu", "silu", "tanh", "gelu", "relu_squared", "identity"
]


def _reject_text(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("it must be a number")
    return value


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


Whole = Annotated[int, BeforeValidator(_reject_text), Field(ge=0, le=LARGEST)]
Count = Annotated[int, BeforeValidator(_reject_text), Field(ge=1, le=LARGEST)]
Real = Annotated[float, BeforeValidator(_reject_text), Field(allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_reject_text), Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_reject_text), Field(ge=0, lt=1)]
Counts = Annotated[tuple[Count, ...], BeforeValidator(as_list), Field(min_length=1)]


class Part(BaseModel):
    """A frozen record of checked fields; an unknown field is an error that names the nearest
    one."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, data: Any) -> Any:
        known = list(cls.model_fields)
        for name in _names(data):
            if name not in known:
                hint = nearest(name, known)
                raise ValueError(f"no field {name!r}; fields are {listed(known, 20)}.{hint}")
        return data


def _names(data: Any) -> list[str]:
    return [str(name) for name in cast("Any", data)] if isinstance(data, Mapping) else []
