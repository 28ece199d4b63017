"""The shape of a decoder transformer, and families of shapes that follow from the width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

import numpy as np

from kleiber.arguments import check_record
from kleiber.errors import shown

Quantity: TypeAlias = Any  # a number, an array or an Expr; results are of the kind given
HEAD_SIZE = 64  # units of one head where heads are not given


@dataclass(frozen=True)
class Shape:
    """A decoder transformer; ValueError for sizes that are not positive or do not divide.

    Parameters
    ----------
    width, depth, vocabulary, context
        Units of the residual stream, layers, tokens of the vocabulary, tokens of a full context.
    feed_forward
        Units of a feed-forward layer (of one expert): 4 width, or 8/3 width with a gate.
    heads, key_heads, head_size
        Query heads (width/64), key heads (grouped queries; as heads), units of one head
        (width/heads).
    gated, tied, biases
        A feed-forward layer of three matrices; one table for embedding and last layer; biases in
        every linear layer but a router.
    layer_norm
        The norm with mean and bias; without it, the root mean square and a gain.
    learned_positions
        A table of positions that is added to the embedding.
    experts, active_experts
        Mixture of experts: feed-forward layers beside one another in every layer, and how many of
        them a token passes. A router is one matrix without bias from width to experts.
    window, window_share
        Tokens that a query sees with a sliding window, itself included, and the share of the layers
        that have one (all).
    qkv_biases
        Biases of queries, keys and values alone.
    qk_norms
        A norm of every head's queries and one of its keys, whose gains all heads share.
    """

    width: Quantity
    depth: Quantity
    vocabulary: Quantity
    context: Quantity
    feed_forward: Quantity = None
    heads: Quantity = None
    key_heads: Quantity = None
    head_size: Quantity = None
    gated: bool = False
    tied: bool = True
    biases: bool = False
    layer_norm: bool = False
    learned_positions: bool = False
    experts: Quantity = None
    active_experts: Quantity = None
    window: Quantity = None
    window_share: Quantity = 1.0
    qkv_biases: bool = False
    qk_norms: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)
        width, heads, keys = self.width, self.heads, self.key_heads
        if isinstance(heads, int) and isinstance(width, int) and self.head_size is None:
            if width % heads:
                raise ValueError(
                    f"The width {width} is not a multiple of heads {heads}; give head_size."
                )
        if isinstance(heads, int) and isinstance(keys, int) and heads % keys:
            raise ValueError(f"The heads, {heads}, are not a multiple of key_heads, {keys}.")


def read_quantity(name: str, value: Any, *, zero: bool = False) -> Quantity:
    """Return a number as a Python number, an array as float64, an expression unchanged.

    Integer arrays wrap around at 2^63, as counts of FLOPs do not. Raises ValueError unless it is
    finite and positive (or zero, if that is allowed).
    """
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        given = np.asarray(None)
    if isinstance(value, Mapping | str | bytes):
        raise ValueError(f"The value of {name} must be a number, got {shown(cast('Any', value))}.")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if given.dtype.kind == "O" and given.ndim == 0 and not number and value is not None:
        if not hasattr(value, "__mul__"):
            raise ValueError(f"The value of {name} must be a number, got {shown(value)}.")
        return value  # expressions are not checked
    if given.dtype.kind not in "iufO" or value is None:
        raise ValueError(f"The value of {name} must be a number, got {shown(value)}.")
    try:
        array = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"The value of {name} must hold numbers, got {shown(value)}.") from error
    if not bool(np.all(np.isfinite(array) & ((array >= 0) if zero else (array > 0)))):
        minimum = "zero or more" if zero else "positive"
        raise ValueError(f"The value of {name} must be {minimum} and finite, got {shown(value)}.")
    if not array.size:
        raise ValueError(f"The value of {name} must be a number, got an empty list.")
    if array.ndim:
        return array
    return value if type(value) in (int, float) else given.item()


def check_sizes(record: Any) -> None:
    """Read every quantity of a frozen record (``read_quantity``) and check them together; raise
    ValueError for those out of range."""
    for field in fields(record):
        value = getattr(record, field.name)
        if field.type == "bool":
            if not isinstance(value, bool):
                raise ValueError(
                    f"The value of {field.name} must be true or false, got {shown(value)}."
                )
        elif value is not None or field.default is not None:
            object.__setattr__(record, field.name, read_quantity(field.name, value))
    experts, active, share = record.experts, record.active_experts, record.window_share
    if (experts is None) != (active is None):
        raise ValueError(
            "The experts and active_experts, how many of them a token passes, are given together."
        )
    if experts is not None and _is_number(experts, active) and np.any(active > experts):
        raise ValueError(f"A token passes {shown(active)} experts of only {shown(experts)}.")
    if share is None or (_is_number(share) and np.any(share > 1)):
        raise ValueError(f"The window_share is a share of the layers, up to 1, got {shown(share)}.")


def _is_number(*values: Quantity) -> bool:
    return all(isinstance(value, int | float | np.ndarray) for value in values)


@dataclass(frozen=True)
class ShapeRule:
    """How a whole family of models follows from the width: depth is width / ``aspect``.

    ``ratio`` is feed-forward units per unit of width (4, or 8/3 with a gate), ``group`` query
    heads per key head; the rest is as in Shape. Sizes between whole numbers are allowed: a rule
    describes the trend along which real models lie.
    """

    aspect: float = 64.0
    vocabulary: float = 50257.0
    context: float = 2048.0
    ratio: float | None = None
    head_size: float = float(HEAD_SIZE)
    group: float = 1.0
    gated: bool = False
    tied: bool = True
    biases: bool = False
    layer_norm: bool = False
    learned_positions: bool = False
    experts: float | None = None
    active_experts: float | None = None
    window: float | None = None
    window_share: float = 1.0
    qkv_biases: bool = False
    qk_norms: bool = False

    def __post_init__(self) -> None:
        check_sizes(self)


def shape_at(rule: ShapeRule, width: Quantity, depth: Quantity = None) -> Shape:
    """Return the rule's model of a width; a given depth replaces width / aspect."""
    rule = check_record("rule", rule, ShapeRule, "a ShapeRule")
    width = read_quantity("width", width)
    heads = width / rule.head_size
    same = {field.name for field in fields(Shape)} & {field.name for field in fields(ShapeRule)}
    return Shape(
        width,
        width / rule.aspect if depth is None else depth,
        feed_forward=None if rule.ratio is None else rule.ratio * width,
        heads=heads,
        key_heads=heads / rule.group,
        **{name: getattr(rule, name) for name in same},
    )
