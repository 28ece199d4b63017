"""The nets of a spec: MLP, CNN, ResNet, ViT and Transformer, as sizes and a parameterisation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from kleiber.experiment.fields import (
    Activation,
    Count,
    Counts,
    Part,
    Positive,
    Share,
    as_list,
)


class MLP(Part):
    """`depth` hidden layers of `width` units.

    Parameterisations (n fan in, N width; ``gain`` makes a unit Gaussian keep its second moment):
    standard: weights and biases uniform on +-1/sqrt(n), as torch's Linear. ntk: unit Gaussian
    weights over sqrt(n), output over `richness`. mean_field: as ntk with the output over
    N `richness` in place of sqrt(N), rates times N `richness`^2, so that rate x steps is the lazy
    kernel's time. mup: Yang et al. 2021 (arXiv 2203.03466), table 8, equal to Gaussian weights of
    deviation gain/sqrt(n) at `base_width`. `centred` subtracts the output at the start.
    """

    kind: Literal["mlp"] = "mlp"
    width: Count
    depth: Count = 1
    activation: Activation = "silu"
    bias: bool = True
    parameterisation: Literal["standard", "ntk", "mean_field", "mup"] = "standard"
    init: Literal["default", "kaiming", "normal"] = "default"
    init_scale: Positive = 1.0
    richness: Positive = 1.0
    centred: bool = False
    base_width: Count = 64

    @model_validator(mode="after")
    def _consistent(self) -> MLP:
        return _check_scaled(self)


class CNN(Part):
    """3x3 convolutions of the given channels, 2x2 pooling after some, then full layers.

    The default is the paper's CNN for MNIST and CIFAR-10 (arXiv 2505.13230). Parameterisations as
    in MLP, the width being that of the last hidden layer.
    """

    kind: Literal["cnn"] = "cnn"
    channels: Counts = (32, 64, 128)
    pool_after: Annotated[tuple[Count, ...], BeforeValidator(as_list)] = (2,)
    pool: Literal["max", "average"] = "max"
    padding: bool = True
    hidden: Annotated[tuple[Count, ...], BeforeValidator(as_list)] = (512,)
    activation: Activation = "relu"
    bias: bool = True
    dropout: Share = 0.0
    parameterisation: Literal["standard", "ntk", "mean_field"] = "standard"
    init_scale: Positive = 1.0
    richness: Positive = 1.0
    centred: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> CNN:
        if any(layer > len(self.channels) for layer in self.pool_after):
            raise ValueError(
                f"pool_after {self.pool_after} goes beyond the {len(self.channels)} convolutions"
            )
        return _check_scaled(self)


class ResNet(Part):
    """Basic blocks with batch norm after a 3x3 stem; `width` channels, doubled at each stage."""

    kind: Literal["resnet"] = "resnet"
    width: Count = 16
    blocks: Counts = (2, 2, 2, 2)
    init_scale: Positive = 1.0


class ViT(Part):
    """A pre-norm transformer on patches whose outputs are averaged."""

    kind: Literal["vit"] = "vit"
    patch: Count = 4
    width: Count = 64
    depth: Count = 4
    heads: Count = 4
    ratio: Positive = 4.0
    init_scale: Positive = 1.0

    @model_validator(mode="after")
    def _divides(self) -> ViT:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Transformer(Part):
    """A decoder-only transformer: pre-norm layers of causal attention and a GELU of width `ratio`.

    `positions` are rotary (Su et al. 2021, arXiv 2104.09864) or learned. Parameterisations:
    standard: Gaussian weights of deviation 1/sqrt(fan in), scores q.k/sqrt(head size). mup: Yang et
    al. 2021 (arXiv 2203.03466), table 8, equal to the standard one at `base_width`: scores
    q.k/head size, and with Adam rates over width/base_width in the hidden and output matrices.
    """

    kind: Literal["transformer"] = "transformer"
    width: Count = 128
    depth: Count = 4
    heads: Count = 4
    ratio: Positive = 4.0
    positions: Literal["rotary", "learned"] = "rotary"
    parameterisation: Literal["standard", "mup"] = "standard"
    base_width: Count = 128
    init_scale: Positive = 1.0

    @model_validator(mode="after")
    def _divides(self) -> Transformer:
        each, rest = divmod(self.width, self.heads)
        if rest:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions == "rotary" and each % 2:
            raise ValueError(f"rotary positions need heads of even size, not of {each}")
        return self


Net: TypeAlias = Annotated[MLP | CNN | ResNet | ViT | Transformer, Field(discriminator="kind")]


def _check_scaled(net: Any) -> Any:
    """Raise ValueError for fields that the chosen parameterisation does not use."""
    scaled = net.parameterisation in ("ntk", "mean_field")
    if net.richness != 1 and not scaled:
        raise ValueError("richness is used only by the parameterisations ntk and mean_field")
    if getattr(net, "init", "default") != "default" and net.parameterisation != "standard":
        raise ValueError("init is used only by the standard parameterisation")
    return net
