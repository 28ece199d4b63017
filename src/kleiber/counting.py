"""Parameters, FLOPs and memory of a decoder transformer, term by term, in a stated convention.

Symbols: w width, l depth, v vocabulary, t context, a width of all query heads, k width of all key
heads, f units of a feed-forward layer, m its matrices (3 with a gate, else 2). A product of an
(r, s) and an (s, u) matrix is 2 r s u FLOPs. Every quantity may be a number, an array (one entry
per model) or an expression of ``formula.py``: the arithmetic is written once for all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np

from kleiber.errors import nearest

Quantity: TypeAlias = Any  # a number, an array or an Expr; results are of the kind given
HEAD_SIZE = 64  # units of one head where heads are not given
SOFTMAX = 3  # elementwise operations for one score: exponential, sum, division
LAYER_NORM, RMS_NORM = 7, 4  # for one unit: [mean, centre,] square, sum, scale, gain [, bias]


@dataclass(frozen=True)
class Convention:
    """What is counted as a parameter and as a floating-point operation.

    ``causal`` is the share of the attention scores that is counted: 1 all of them, 0.5 the
    customary half, None the lower triangle exactly, (t + 1)/2t. ``recomputation`` is the number of
    extra forward passes through the layers in the backward pass (1 with full checkpointing), and
    ``score_recomputation`` that of the attention scores alone (0.5 with FlashAttention, which
    repeats one product of two).
    """

    name: str
    of_params: str  # what is counted, as people read it
    of_flops: str
    embedding_params: bool = True  # token and position tables
    last_layer_params: bool = True  # the unembedding; a tied table is counted once
    small_params: bool = True  # biases and norms
    embedding_flops: bool = False  # the lookup, as if it were a matrix product
    last_layer_flops: bool = True
    score_flops: bool = True  # queries times keys, scores times values
    softmax_flops: bool = True
    elementwise_flops: bool = True  # norms, biases, activations, gates, residual additions
    causal: float | None = None
    recomputation: float = 0.0
    score_recomputation: float = 0.0


kaplan = Convention(
    "kaplan",
    "the layers' matrices, without embeddings and last layer (Kaplan et al. 2020, section 2.1)",
    "six for each parameter so counted and token, C = 6 N D",
    embedding_params=False,
    last_layer_params=False,
    small_params=False,
    last_layer_flops=False,
    score_flops=False,
    softmax_flops=False,
    elementwise_flops=False,
)
last_layer = replace(
    kaplan,
    name="last_layer",
    of_params="the layers' matrices and the last layer (Porian et al. 2024)",
    last_layer_params=True,
    last_layer_flops=True,
)
chinchilla = Convention(
    "chinchilla",
    "all parameters",
    "all matrix products, the embedding lookup as if it were one, all attention scores without "
    "the causal mask, softmax (Hoffmann et al. 2022, appendix F)",
    embedding_flops=True,
    elementwise_flops=False,
    causal=1.0,
)
exact = Convention(
    "exact",
    "all parameters",
    "all matrix products, the embedding lookup as none, attention scores below the causal mask, "
    "softmax, norms, biases, activations and residual additions",
)


def conventions() -> dict[str, Convention]:
    """The named conventions."""
    return {item.name: item for item in (kaplan, last_layer, chinchilla, exact)}


def find_convention(given: Convention | str) -> Convention:
    """A Convention, or a named one; ValueError with the nearest name for an unknown one."""
    if isinstance(given, Convention):
        return given
    known = conventions()
    if given not in known:
        raise ValueError(
            f"no convention named {given!r}; named are {', '.join(known)}.{nearest(given, known)}"
        )
    return known[given]


@dataclass(frozen=True)
class Shape:
    """A decoder transformer; ValueError for sizes that are not positive or do not divide.

    Left out, ``feed_forward`` is 4 width (8/3 width with a gate), ``heads`` width/64,
    ``key_heads`` (grouped queries) as heads, ``head_size`` width/heads. ``layer_norm`` is the norm
    with mean and bias; without it, the root mean square and a gain.
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

    def __post_init__(self) -> None:
        check_sizes(self)
        width, heads, keys = self.width, self.heads, self.key_heads
        if isinstance(heads, int) and isinstance(width, int) and self.head_size is None:
            if width % heads:
                raise ValueError(
                    f"width {width} is not a multiple of heads {heads}; give head_size"
                )
        if isinstance(heads, int) and isinstance(keys, int) and heads % keys:
            raise ValueError(f"heads {heads} is not a multiple of key_heads {keys}")


def check_sizes(record: Any) -> None:
    """ValueError unless every number or array in a frozen record is finite and positive."""
    for field in fields(record):
        value = getattr(record, field.name)
        if field.type == "bool":
            if not isinstance(value, bool):
                raise ValueError(f"{field.name} is true or false, got {value!r}")
        elif isinstance(value, str | bool):
            raise ValueError(f"{field.name} must be a number, got {value!r}")
        elif np.asarray(value).dtype.kind in "iufb":  # an expression is checked by nobody
            if not bool(np.all(np.isfinite(value) & (np.asarray(value) > 0))):
                raise ValueError(f"{field.name} must be positive and finite, got {value}")


@dataclass(frozen=True)
class Terms:
    """Parameters or FLOPs, each part apart; ``total`` is their sum."""

    embedding: Quantity
    attention_projections: Quantity
    attention_scores: Quantity
    feed_forward: Quantity
    norms: Quantity
    unembedding: Quantity

    @property
    def total(self) -> Quantity:
        """The sum of the parts."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a shape with nothing left out: queries a, keys k, hidden f, matrices m."""

    queries: Quantity
    keys: Quantity
    heads: Quantity
    hidden: Quantity
    matrices: int


def _sizes(shape: Shape) -> _Sizes:
    heads = shape.width / HEAD_SIZE if shape.heads is None else shape.heads
    queries = shape.width if shape.head_size is None else heads * shape.head_size
    if shape.key_heads is None:
        keys = queries
    elif shape.head_size is None:
        keys = queries * shape.key_heads / heads
    else:
        keys = shape.key_heads * shape.head_size
    hidden = shape.feed_forward
    if hidden is None:
        hidden = shape.width * 8 / 3 if shape.gated else 4 * shape.width
    return _Sizes(queries, keys, heads, hidden, 3 if shape.gated else 2)


def count_params(shape: Shape, convention: Convention | str = exact) -> Terms:
    """Trainable parameters: v w + l (2 w (a + k) + m w f) [+ v w] + biases and norms."""
    rule, size = find_convention(convention), _sizes(shape)
    w, l = shape.width, shape.depth  # noqa: E741
    biases = rule.small_params and shape.biases
    in_and_out = 2 * w * (size.queries + size.keys)
    attention = in_and_out + (size.queries + 2 * size.keys + w if biases else 0)
    feed = size.matrices * w * size.hidden
    feed = feed + ((size.matrices - 1) * size.hidden + w if biases else 0)
    positions = shape.context * w if shape.learned_positions else 0
    apart = rule.last_layer_params and not (shape.tied and rule.embedding_params)
    return Terms(
        embedding=shape.vocabulary * w + positions if rule.embedding_params else 0,
        attention_projections=l * attention,
        attention_scores=0,
        feed_forward=l * feed,
        norms=(2 * l + 1) * w * (2 if shape.layer_norm else 1) if rule.small_params else 0,
        unembedding=shape.vocabulary * w if apart else 0,
    )


def count_forward(
    shape: Shape, convention: Convention | str = exact, n_tokens: Quantity = 1
) -> Terms:
    """FLOPs of the forward pass over ``n_tokens`` tokens in full contexts.

    Per token: 4 w (a + k) l for the projections, (4 a + 3 heads) t l times the share that is
    counted for scores and softmax, 2 m w f l for the feed-forward layers, 2 w v for the last layer
    (tied or not). Rotary positions, dropout and the loss are counted nowhere.
    """
    rule, size = find_convention(convention), _sizes(shape)
    w, l, t = shape.width, shape.depth, shape.context  # noqa: E741
    small = 1 if rule.elementwise_flops else 0
    biases = small if shape.biases else 0
    seen = (t + 1) / 2 if rule.causal is None else rule.causal * t
    score = (4 * size.queries if rule.score_flops else 0) + (
        SOFTMAX * size.heads if rule.softmax_flops else 0
    )
    attention = 4 * w * (size.queries + size.keys)
    attention = attention + biases * (size.queries + 2 * size.keys + w) + small * w
    feed = 2 * size.matrices * w * size.hidden + small * (size.matrices - 1) * size.hidden
    feed = feed + biases * ((size.matrices - 1) * size.hidden + w) + small * w
    lookup = 2 * w * shape.vocabulary if rule.embedding_flops else 0
    norm = LAYER_NORM if shape.layer_norm else RMS_NORM
    return Terms(
        embedding=n_tokens * (lookup + (small * w if shape.learned_positions else 0)),
        attention_projections=n_tokens * l * attention,
        attention_scores=n_tokens * l * score * seen,
        feed_forward=n_tokens * l * feed,
        norms=n_tokens * small * norm * (2 * l + 1) * w,
        unembedding=n_tokens * 2 * w * shape.vocabulary if rule.last_layer_flops else 0,
    )


def count_training(
    shape: Shape, convention: Convention | str = exact, n_tokens: Quantity = 1
) -> Terms:
    """FLOPs of training on ``n_tokens`` tokens: forward, backward (twice forward), recomputation.

    Layers are recomputed, embedding and last layer are not (Narayanan et al. 2021, section 5.1).
    """
    rule = find_convention(convention)
    once = count_forward(shape, rule, n_tokens)
    layers = 3 + rule.recomputation
    return Terms(
        embedding=3 * once.embedding,
        attention_projections=layers * once.attention_projections,
        attention_scores=(layers + rule.score_recomputation) * once.attention_scores,
        feed_forward=layers * once.feed_forward,
        norms=layers * once.norms,
        unembedding=3 * once.unembedding,
    )


@dataclass(frozen=True)
class Memory:
    """Bytes that training keeps for the parameters; activations are not in it."""

    parameters: Quantity
    gradients: Quantity
    optimiser: Quantity

    @property
    def total(self) -> Quantity:
        """The sum of the parts."""
        return self.parameters + self.gradients + self.optimiser


def count_memory(
    shape: Shape,
    *,
    parameter_bytes: float = 2,
    gradient_bytes: float = 2,
    optimiser_bytes: float = 12,
) -> Memory:
    """Bytes of parameters, gradients and optimiser states, by bytes per parameter.

    The defaults are mixed-precision Adam, 16 bytes per parameter: two-byte parameters and
    gradients, four-byte copies of the parameters and of both moments (Rajbhandari et al. 2020,
    section 3.1).
    """
    each = {"parameter": parameter_bytes, "gradient": gradient_bytes, "optimiser": optimiser_bytes}
    for name, value in each.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}_bytes must be zero or more, got {value}")
    n = count_params(shape).total
    return Memory(n * parameter_bytes, n * gradient_bytes, n * optimiser_bytes)


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

    def __post_init__(self) -> None:
        check_sizes(self)


def shape_at(rule: ShapeRule, width: Quantity, depth: Quantity = None) -> Shape:
    """The rule's model of a width; a given depth takes the place of width / aspect."""
    heads = width / rule.head_size
    return Shape(
        width,
        width / rule.aspect if depth is None else depth,
        rule.vocabulary,
        rule.context,
        feed_forward=None if rule.ratio is None else rule.ratio * width,
        heads=heads,
        key_heads=heads / rule.group,
        head_size=rule.head_size,
        gated=rule.gated,
        tied=rule.tied,
        biases=rule.biases,
        layer_norm=rule.layer_norm,
        learned_positions=rule.learned_positions,
    )


def powers_of_width(
    rule: ShapeRule,
    count: Callable[[Shape], Quantity],
    depth: float | None = None,
) -> tuple[float, float, float]:
    """(c1, c2, c3) with count(model of width w) = c1 w + c2 w^2 + c3 w^3, as every count is.

    With a given depth c3 is zero. ValueError for a count that has a part without the width.
    """
    from numpy.polynomial import Polynomial

    total = count(shape_at(rule, Polynomial([0.0, 1.0]), depth))
    c0, c1, c2, c3, *_ = (*np.asarray(getattr(total, "coef", [total]), dtype=float), 0, 0, 0)
    if c0 != 0:
        raise ValueError(f"the count has a part of {c0:g} that does not depend on the width")
    return float(c1), float(c2), float(c3)


def solve_width(
    rule: ShapeRule, n_params: Quantity, convention: Convention | str = exact
) -> Quantity:
    """The width at which the rule's model has ``n_params`` parameters, in closed form.

    A rule makes N = c1 w + c2 w^2 + c3 w^3. With w = x - s, s = c2/3 c3, this is x^3 + p x = q;
    Cardano's u^3 = q/2 + sqrt(q^2/4 + p^3/27) gives x = u - p/3u, written as
    q / (u^2 + p/3 + (p/3u)^2) so that nothing cancels.
    """
    c1, c2, c3 = powers_of_width(rule, lambda shape: count_params(shape, convention).total)
    s = c2 / (3 * c3)
    p = c1 / c3 - 3 * s**2
    if p == 0 and s == 0:
        return (n_params / c3) ** (1 / 3)
    q = n_params / c3 + (s * c1 / c3 - 2 * s**3)
    u = (q / 2 + np.sqrt(q**2 / 4 + p**3 / 27)) ** (1 / 3)
    return q / (u**2 + p / 3 + (p / 3 / u) ** 2) - s
