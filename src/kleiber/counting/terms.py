"""Parameters, FLOPs and bytes of a shape, by part."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from kleiber.arguments import check_flag, check_number, check_record
from kleiber.counting.convention import Convention, exact, find_convention
from kleiber.counting.shape import HEAD_SIZE, Quantity, Shape, read_quantity

SOFTMAX = 3  # elementwise operations for one score: exponential, sum, division
LAYER_NORM, RMS_NORM = 7, 4  # for one unit: [mean, centre,] square, sum, scale, gain [, bias]


@dataclass(frozen=True)
class Terms:
    """Parameters or FLOPs by part; ``total`` is their sum."""

    embedding: Quantity
    attention_projections: Quantity
    attention_scores: Quantity
    feed_forward: Quantity
    norms: Quantity
    unembedding: Quantity
    router: Quantity = 0

    @property
    def total(self) -> Quantity:
        """The sum of the parts."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class _Sizes:
    """The sizes of a shape with defaults filled in: queries a, keys k, hidden f, matrices m."""

    queries: Quantity
    keys: Quantity
    heads: Quantity
    head_size: Quantity
    hidden: Quantity
    matrices: int


def _sizes(shape: Shape) -> _Sizes:
    heads = shape.width / HEAD_SIZE if shape.heads is None else shape.heads
    queries = shape.width if shape.head_size is None else heads * shape.head_size
    size = _share(queries, heads) if shape.head_size is None else shape.head_size
    keys = queries if shape.key_heads is None else shape.key_heads * size
    hidden = shape.feed_forward
    if hidden is None:
        hidden = shape.width * 8 / 3 if shape.gated else 4 * shape.width
    return _Sizes(queries, keys, heads, size, hidden, 3 if shape.gated else 2)


def _share(whole: Quantity, parts: Quantity) -> Quantity:
    """Return whole/parts, an integer if both are integers and it divides."""
    if isinstance(whole, int) and isinstance(parts, int) and whole % parts == 0:
        return whole // parts
    return whole / parts


def count_params(
    shape: Shape, convention: Convention | str = exact, *, active: bool = False
) -> Terms:
    """Count trainable parameters: v w + l (2 w (a + k) + E m w f + E w) [+ v w] + biases and norms.

    The term E w is the router's, without experts there is none. With ``active`` the parameters that
    one token meets: e experts in the place of all E, and the whole embedding and last layer.
    """
    shape = check_record("shape", shape, Shape, "a Shape")
    rule, size = find_convention(convention), _sizes(shape)
    active = check_flag("active", active)
    w, layers = shape.width, shape.depth
    experts = 1 if shape.experts is None else shape.active_experts if active else shape.experts
    own = size.queries + 2 * size.keys if shape.biases or shape.qkv_biases else 0
    attention = 2 * w * (size.queries + size.keys)
    feed = size.matrices * w * size.hidden
    norms: Quantity = 0
    if rule.small_params:
        attention = attention + own + (w if shape.biases else 0)
        feed = feed + ((size.matrices - 1) * size.hidden + w if shape.biases else 0)
        each = (2 * layers + 1) * w + (layers * 2 * size.head_size if shape.qk_norms else 0)
        norms = each * (2 if shape.layer_norm else 1)
    positions = shape.context * w if shape.learned_positions else 0
    apart = rule.last_layer_params and not (shape.tied and rule.embedding_params)
    return Terms(
        embedding=shape.vocabulary * w + positions if rule.embedding_params else 0,
        attention_projections=layers * attention,
        attention_scores=0,
        feed_forward=layers * feed * experts,
        norms=norms,
        unembedding=shape.vocabulary * w if apart else 0,
        router=0 if shape.experts is None else layers * w * shape.experts,
    )


def count_forward(
    shape: Shape, convention: Convention | str = exact, n_tokens: Quantity = 1
) -> Terms:
    """Count the FLOPs of the forward pass over ``n_tokens`` tokens in full contexts.

    Per token: 4 w (a + k) l for the projections, (4 a + 3 heads) l times the
    counted scores (``_counted_scores``) for scores and softmax, 2 m w f e l for the
    feed-forward layers, 2 w E l for routers, 2 w v for the last layer (tied or not). Rotary
    positions, dropout, the loss, a router's softmax and its choice are not counted.
    """
    shape = check_record("shape", shape, Shape, "a Shape")
    rule, size = find_convention(convention), _sizes(shape)
    n_tokens = read_quantity("n_tokens", n_tokens, zero=True)
    w, layers = shape.width, shape.depth
    small = 1 if rule.elementwise_flops else 0
    biases = small if shape.biases else 0
    own = small if shape.biases or shape.qkv_biases else 0
    score = (4 * size.queries if rule.score_flops else 0) + (
        SOFTMAX * size.heads if rule.softmax_flops else 0
    )
    attention = 4 * w * (size.queries + size.keys) + own * (size.queries + 2 * size.keys)
    attention = attention + biases * w + small * w
    feed = 2 * size.matrices * w * size.hidden + small * (size.matrices - 1) * size.hidden
    feed = feed + biases * ((size.matrices - 1) * size.hidden + w)
    if shape.experts is not None:  # weighted by the router, w each, and added up, w but for one
        feed = shape.active_experts * feed + small * (2 * shape.active_experts - 1) * w
    lookup = 2 * w * shape.vocabulary if rule.embedding_flops else 0
    norm = small * (LAYER_NORM if shape.layer_norm else RMS_NORM)
    heads = layers * (size.queries + size.keys) if shape.qk_norms else 0
    return Terms(
        embedding=n_tokens * (lookup + (small * w if shape.learned_positions else 0)),
        attention_projections=n_tokens * layers * attention,
        attention_scores=n_tokens * layers * score * _counted_scores(shape, rule.causal),
        feed_forward=n_tokens * layers * (feed + small * w),
        norms=n_tokens * norm * ((2 * layers + 1) * w + heads),
        unembedding=n_tokens * 2 * w * shape.vocabulary if rule.last_layer_flops else 0,
        router=0 if shape.experts is None else n_tokens * layers * 2 * w * shape.experts,
    )


def _counted_scores(shape: Shape, causal: float | None) -> Quantity:
    """Return the scores that are counted for one query, averaged over a full context and the
    layers.

    Below the causal mask (t + 1)/2, and with a window of s <= t tokens s - s (s - 1)/2t. A share of
    all scores is one of those that a mask without direction leaves: t, and 2 s - s^2/t.
    """
    t = shape.context
    whole = (t + 1) / 2 if causal is None else causal * t
    if shape.window is None:
        return whole
    s = _smaller(shape.window, t)
    near = s - s * (s - 1) / (2 * t) if causal is None else causal * (2 * s - s * s / t)
    return whole + shape.window_share * (near - whole)


def _smaller(a: Quantity, b: Quantity) -> Quantity:
    """Return the smaller of two quantities, for expressions as a formula."""
    if all(isinstance(item, int | float) for item in (a, b)):
        return min(a, b)
    if all(isinstance(item, int | float | np.ndarray) for item in (a, b)):
        return np.minimum(a, b)
    return (a + b - np.sqrt((a - b) ** 2)) / 2


def count_training(
    shape: Shape, convention: Convention | str = exact, n_tokens: Quantity = 1
) -> Terms:
    """Count the FLOPs of training on ``n_tokens`` tokens: forward, backward (twice forward),
    recomputation.

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
        router=layers * once.router,
    )


@dataclass(frozen=True)
class Memory:
    """The bytes that training keeps for the parameters, without activations."""

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
    """Count the bytes of parameters, gradients and optimiser states, by bytes per parameter.

    The defaults are mixed-precision Adam, 16 bytes per parameter: two-byte parameters and
    gradients, four-byte copies of the parameters and of both moments (Rajbhandari et al. 2020,
    section 3.1).
    """
    each = {"parameter": parameter_bytes, "gradient": gradient_bytes, "optimiser": optimiser_bytes}
    for name, value in each.items():
        check_number(f"{name}_bytes", value, "zero or more", low=0)
    n = count_params(shape).total
    return Memory(n * parameter_bytes, n * gradient_bytes, n * optimiser_bytes)
