"""Nets: counts against torch's own, parameterisations by what they promise, initial weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from kleiber.errors import BadExperiment  # noqa: E402
from kleiber.experiment import Experiment, read_experiment  # noqa: E402
from kleiber.experiment.counts import measure_net, task_outputs, task_shape  # noqa: E402
from kleiber.networks.image_nets import Block  # noqa: E402
from kleiber.networks.loop import train_nets  # noqa: E402
from kleiber.networks.net import gain  # noqa: E402
from kleiber.networks.net_stack import NetStack, loss_of, make_stack  # noqa: E402
from kleiber.networks.task import make_data  # noqa: E402

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("formula", {"kind": "mlp", "width": 12, "depth": 3}),
    "mlp without bias": ("circle", {"kind": "mlp", "width": 12, "bias": False}),
    "linear model": ("images", {"kind": "mlp", "width": 5, "activation": "identity"}),
    "mlp on images": ("images", {"kind": "mlp", "width": 12, "depth": 2}),
    "cnn": ("images", {"kind": "cnn", "channels": [4, 6, 8], "hidden": [16]}),
    "cnn, other ways": (
        "images",
        {"kind": "cnn", "channels": [4, 6], "pool_after": [1], "pool": "average", "hidden": [16, 8],
         "padding": False, "bias": False, "parameterisation": "mean_field"},
    ),
    "cnn without pooling": (
        "images", {"kind": "cnn", "channels": [4], "pool_after": [], "hidden": []}
    ),
    "resnet": ("images", {"kind": "resnet", "width": 4, "blocks": [1, 2]}),
    "resnet 34": ("cifar10", {"kind": "resnet", "width": 2, "blocks": [3, 4, 6, 3]}),
    "vit": ("images", {"kind": "vit", "width": 12, "depth": 2, "heads": 3}),
    "vit on colours": ("cifar10", {"kind": "vit", "width": 8, "depth": 1, "heads": 2}),
}  # fmt: skip


def spec(task: str, net: dict[str, Any], **more: Any) -> Experiment:
    kinds: dict[str, Any] = {
        "images": {"kind": "images"},
        "cifar10": {"kind": "images", "dataset": "cifar10"},
    }
    kinds["circle"] = {"kind": "circle", "n_test": 1024}
    given = kinds.get(task, {"kind": task})
    return read_experiment({"task": given, "net": net, "batch": 8, "steps": 5, **more})


def built(experiment: Experiment) -> NetStack:
    """The first seed's net, without asking for the data."""
    plain = make_data(spec("images", {"kind": "mlp", "width": 1}))
    shape, outputs = task_shape(experiment.task), task_outputs(experiment.task)
    data = plain.__class__(shape, outputs, len(shape) == 3, plain.train, plain.test)
    return make_stack(experiment, data, experiment.seeds[:1], compiled=False)


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_flops_are_those_that_torch_counts(name: str) -> None:
    task, net = NETS[name]
    experiment = spec(task, net)
    members = built(experiment)
    shape, outputs = task_shape(experiment.task), task_outputs(experiment.task)
    size = measure_net(experiment.net, shape, outputs)
    assert size.n_params == sum(value.numel() for value in members.model.params.values())
    x, y = torch.randn(1, 6, *shape), torch.randn(1, 6, outputs)
    members.model.mode(True, 0)
    with sdpa_kernel(SDPBackend.MATH):  # torch counts nothing of the fused one on a CPU
        with FlopCounterMode(display=False) as forward:
            found = members.model.forward(x)
        with FlopCounterMode(display=False) as both:
            loss_of("mse", members.model.forward(x), y).sum().backward()
    assert found.shape == (1, 6, outputs)
    assert forward.get_total_flops() == 6 * size.forward
    assert both.get_total_flops() == 6 * size.step


def test_the_mlp_of_the_notes() -> None:
    """3N + 1 parameters; weights uniform on +-1, readout on +-1/sqrt(N)."""
    width = 400
    experiment = spec("formula", {"kind": "mlp", "width": width})
    assert measure_net(experiment.net, (1,), 1).n_params == 3 * width + 1
    params = built(experiment).params()
    for name, bound in (("0.weight", 1), ("0.bias", 1), ("1.weight", width**-0.5)):
        values = params[name]
        assert np.abs(values).max() <= bound
        assert np.std(values) == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_gains() -> None:
    assert gain("relu") == pytest.approx(np.sqrt(2), rel=1e-9)
    assert gain("relu_squared") == pytest.approx(np.sqrt(2 / 3), rel=1e-9)
    assert gain("identity") == pytest.approx(1, rel=1e-9)


START = {"ntk": 1.0, "mean_field": 1 / 4, "mup": 2.0}  # at width 16; muP: root(base_width / 16)


@pytest.mark.parametrize("parameterisation", START)
@pytest.mark.parametrize("depth", [1, 3])
def test_outputs_at_the_start_are_of_the_promised_size(parameterisation: str, depth: int) -> None:
    """One in the ntk parameterisation, falling as 1/sqrt(width) in the other two."""
    sizes: list[float] = []
    for width in (16, 256):
        net = {"kind": "mlp", "width": width, "depth": depth, "activation": "relu",
               "parameterisation": parameterisation}  # fmt: skip
        experiment = spec("circle", net, seeds=60 if width == 16 else 20)
        data = make_data(experiment)
        stack = make_stack(experiment, data, experiment.seeds, compiled=False)
        sizes.append(float(np.std(stack.outputs(data.test[0][None, ::512]))))
    falls = 1.0 if parameterisation == "ntk" else 4.0
    assert sizes[0] == pytest.approx(START[parameterisation], rel=0.25)
    assert sizes[1] == pytest.approx(START[parameterisation] / falls, rel=0.25)


@pytest.mark.parametrize(
    ("parameterisation", "kind", "moves"),
    [("ntk", "sgd", False), ("mean_field", "sgd", True), ("mup", "sgd", True),
     ("mup", "adam", True), ("mean_field", "adam", True)],
)  # fmt: skip
def test_features_move_at_every_width_or_do_not(
    parameterisation: str, kind: str, moves: bool
) -> None:
    """The change of the hidden layer's output in a few steps, width against 8 times the width."""
    moved = []
    for width in (64, 512):
        net = {"kind": "mlp", "width": width, "depth": 2, "activation": "relu", "bias": False,
               "parameterisation": parameterisation}  # fmt: skip
        rate = {"sgd": 0.1, "adam": 0.01}[kind]
        optimiser = {"kind": kind, "rate": rate}
        experiment = spec("circle", net, seeds=8, optimiser=optimiser, batch=64)
        data = make_data(experiment)
        stack = make_stack(experiment, data, experiment.seeds, compiled=False)
        before = hidden(stack, data.test[0][::32])
        stack.advance(0, 5)
        moved.append(float(np.sqrt(np.mean((hidden(stack, data.test[0][::32]) - before) ** 2))))
    ratio = moved[0] / moved[1]
    if moves:
        assert 0.6 < ratio < 1.6
    else:
        assert ratio == pytest.approx(np.sqrt(8), rel=0.4)  # as 1/sqrt(width)


def hidden(stack: NetStack, x: np.ndarray) -> np.ndarray:
    """The second hidden layer's input, in units of its size at the start."""
    params = stack.params()
    h = np.asarray(x, np.float32)[None]
    for k in (0, 1):
        h = np.maximum(h, 0) if k else h
        h = h @ params[f"{k}.weight"].transpose(0, 2, 1) / np.sqrt(params[f"{k}.weight"].shape[2])
    scale = 1.0 if stack.experiment.net.kind == "mlp" else 0.0
    if getattr(stack.experiment.net, "parameterisation", "") == "mup":
        scale *= np.sqrt(params["1.weight"].shape[2])
    return scale * h


def test_a_centred_net_starts_at_nought() -> None:
    for net in (
        {"kind": "mlp", "width": 8, "parameterisation": "ntk", "centred": True},
        {
            "kind": "cnn",
            "channels": [4],
            "pool_after": 1,
            "hidden": [8],
            "parameterisation": "ntk",
            "centred": True,
        },
    ):
        experiment = spec("images", net)
        members = built(experiment)
        x = np.random.default_rng(0).standard_normal((1, 5, 1, 8, 8))
        assert not members.outputs(x).any()
        members.advance(0, 2)
        assert members.outputs(x).any()


def test_the_lazy_limit_is_lazy() -> None:
    """Outputs after the same gradient-flow time hardly depend on richness once it is small; the
    weights move by its amount."""
    ends, moves = [], []
    for richness in (1e-4, 1e-3, 1.0):
        net = {"kind": "mlp", "width": 64, "depth": 2, "activation": "tanh", "bias": False,
               "parameterisation": "mean_field", "centred": True, "richness": richness}  # fmt: skip
        optimiser = {"kind": "sgd", "rate": 0.1}
        experiment = spec(
            "circle",
            net,
            batch=64,
            steps=20,
            optimiser=optimiser,
            dtype="float64",
            checkpoints=1,
        )
        trained = train_nets(experiment, compiled=False)
        start = built(experiment).params()["1.weight"]
        moves.append(float(np.abs(trained.params["1.weight"] - start).mean()))
        ends.append(trained.predict(make_data(experiment).test[0][::32])[0])
    size = np.abs(ends[0]).max()
    assert np.abs(ends[0] - ends[1]).max() < 1e-3 * size
    assert np.abs(ends[0] - ends[2]).max() > 1e-2 * size
    assert moves[1] / moves[0] == pytest.approx(10, rel=0.05)
    table = trained.table
    assert table["time"].to_list()[-1] == pytest.approx(2.0)


def test_dropout_drops_in_training_alone() -> None:
    net = {"kind": "cnn", "channels": [4], "pool_after": 1, "hidden": [64], "dropout": 0.5}
    members = built(spec("images", net))
    x = torch.randn(1, 5, 1, 8, 8)
    outputs = {}
    for training, step in ((True, 0), (True, 1), (False, 0)):
        members.model.mode(training, step)
        outputs[training, step] = members.model.forward(x).detach()
    members.model.mode(True, 0)
    assert torch.equal(members.model.forward(x), outputs[True, 0])
    assert not torch.equal(outputs[True, 0], outputs[True, 1])
    assert not torch.equal(outputs[True, 0], outputs[False, 0])


def test_images_run_in_channels_last() -> None:
    members = built(spec("images", {"kind": "cnn", "channels": [4, 8], "hidden": [8]}))
    seen: list[Any] = []
    module = members.model.module
    assert module is not None
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            weight: Any = part.weight
            assert weight.is_contiguous(memory_format=torch.channels_last)
            part.register_forward_hook(lambda part, given, out: seen.append((given[0], out)))
    members.outputs(np.zeros((1, 3, 1, 8, 8)))
    assert len(seen) == 2
    for pair in seen:
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in pair)


def test_no_pointwise_convolution_has_a_stride() -> None:
    """Told a stride, its weight gradient corrupts memory (see Block); what it gives is the same."""
    members = built(spec("images", {"kind": "resnet", "width": 4, "blocks": [1, 1]}))
    assert members.model.module is not None
    parts = [part for part in members.model.module.modules() if isinstance(part, Block)]
    assert [block.stride for block in parts] == [1, 2]
    short: Any = parts[1].short
    layer = short[0]
    assert layer.kernel_size == layer.stride == (1, 1)
    block = parts[1].double().eval()
    x = torch.arange(588.0, dtype=torch.float64).sin().reshape(3, 4, 7, 7)
    wanted = torch.nn.functional.conv2d(x, layer.weight, stride=2)
    wanted = torch.relu(block.path(x) + short[1](wanted))
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        ({"kind": "cnn", "channels": [4] * 4, "padding": False}, "Nothing is left of 8x8 images"),
        ({"kind": "vit", "patch": 3}, "patch 3 does not divide 8x8 images"),
    ],
)
def test_nets_that_do_not_fit_their_images(net: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadExperiment, match=sentence):
        built(spec("images", net))
