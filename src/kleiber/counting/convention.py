"""Conventions: what counts as a parameter and as a floating-point operation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from kleiber.arguments import check_flag, check_number, check_text
from kleiber.errors import nearest, shown


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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "str":
                check_text(field.name, value)
            elif field.type == "bool":
                check_flag(field.name, value)
            elif value is not None or field.name != "causal":
                check_number(field.name, value, "a number from 0", low=0)


kaplan = Convention(
    "kaplan",
    "the layers' matrices, without embeddings and last layer (Kaplan et al. 2020, section 2.1)",
    "six for each parameter so counted that a token passes, C = 6 N D",
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
    """Return the named conventions."""
    return {item.name: item for item in (kaplan, last_layer, chinchilla, exact)}


def find_convention(given: Convention | str) -> Convention:
    """Return a Convention or a named one; raise ValueError with the nearest name for an unknown
    one."""
    if isinstance(given, Convention):
        return given
    known = conventions()
    if check_text("convention", given, "a Convention or the name of one") not in known:
        raise ValueError(
            f"There is no convention named {shown(given)}; named are {', '.join(known)}."
            f"{nearest(given, known)}"
        )
    return known[given]
