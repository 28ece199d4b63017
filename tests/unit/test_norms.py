"""Norms of networks: the notes' check A10, largest singular values, and what enters."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

from kleiber.errors import BadExperiment, NotConverged  # noqa: E402
from kleiber.experiment import CNN, Experiment, ResNet, ViT  # noqa: E402
from kleiber.networks import singular  # noqa: E402
from kleiber.networks.image_nets import build_module, draw_weights  # noqa: E402
from kleiber.networks.loop import train, train_nets  # noqa: E402
from kleiber.networks.measure import measure  # noqa: E402
from kleiber.networks.net_stack import make_stack  # noqa: E402
from kleiber.networks.norms import (  # noqa: E402
    NORMS,
    convolution_norm,
    log_margin,
    measure_norms,
    over_margin,
)
from kleiber.networks.task import make_data  # noqa: E402
from kleiber.networks.weights import find_weights, input_sizes, left_out  # noqa: E402

NETS = {
    "cnn": (CNN(channels=(4, 6), hidden=(40,)), (1, 8, 8)),
    "resnet": (ResNet(width=4, blocks=(1, 1)), (3, 8, 8)),
    "vit": (ViT(patch=4, width=16, depth=2, heads=2), (1, 8, 8)),
}
DIGITS: dict[str, Any] = {
    "task": {"kind": "images", "n_data": 200, "n_test": 100, "shift": 1},
    "net": {"kind": "cnn", "channels": (4, 6), "hidden": (60,)},
    "batch": 50,
    "steps": 40,
}
LAYERS = {"cnn": 4, "resnet": 7, "vit": 2 + 2 * 6}


def drawn(name: str, seed: int = 0) -> tuple[Any, tuple[int, int, int]]:
    net, shape = NETS[name]
    module = build_module(net, shape, 10)
    draw_weights(module, seed, gaussian=False, size=1.0)
    return module, shape


def direct(matrices: list[np.ndarray], others: list[float]) -> float:
    """prod s (sum (t/s)^(2/3))^(3/2), without logarithms."""
    tops = np.array([np.linalg.norm(a, 2) for a in matrices])
    return float(tops.prod() * ((np.array(others) / tops) ** (2 / 3)).sum() ** 1.5)


def matrices_of(module: nn.Module) -> list[np.ndarray]:
    return [weight.matrix.double().numpy() for weight in find_weights(module)]


@pytest.mark.parametrize("name", NETS)
def test_log_space_is_the_direct_value(name: str) -> None:
    module, shape = drawn(name)
    module.double()
    found = measure_norms(module, shape=shape)
    a = matrices_of(module)
    assert len(a) == LAYERS[name]
    rows = [float(np.linalg.norm(m, axis=1).sum()) for m in a]
    columns = [float(np.linalg.norm(m, axis=0).sum()) for m in a]
    after = [sum(columns[k:]) for k in range(1, len(a) + 1)]
    tops = [np.linalg.norm(m, 2) for m in a]
    every = torch.cat([value.detach().flatten() for value in module.parameters()]).numpy()
    wanted = {
        "log_spectral_complexity": direct(a, rows),
        "log_tail_complexity": direct(a, after),
        "log_fc_complexity": tops[-1] * columns[-1],
        "log_spectral_product": np.prod(tops),
        "log_21": sum(rows),
        "log_l1": np.abs(every).sum(),
        "log_frobenius": np.linalg.norm(every),
    }
    for key, value in wanted.items():
        assert found[key] == pytest.approx(math.log(value), abs=1e-10), key


@pytest.mark.parametrize("name", NETS)
def test_complexity_is_homogeneous_of_the_number_of_layers(name: str) -> None:
    module, shape = drawn(name)
    before = measure_norms(module.double(), shape=shape)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight *= 3.0
    after = measure_norms(module, shape=shape)
    wanted = LAYERS[name] * math.log(3.0)
    for key in NORMS[:2] + NORMS[3:5]:
        assert after[key] - before[key] == pytest.approx(wanted, abs=1e-6), key
    assert after["log_21"] - before["log_21"] == pytest.approx(math.log(3.0))


def test_row_norm_keeps_under_rotations_of_the_inputs_only() -> None:
    layer = nn.Linear(7, 5).double()
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    before = measure_norms(layer)["log_21"]
    with torch.no_grad():
        right = copy.deepcopy(layer)
        right.weight.copy_(layer.weight @ turn)
        left = copy.deepcopy(layer)
        left.weight.copy_(turn[:5, :5] @ layer.weight)
    assert measure_norms(right)["log_21"] == pytest.approx(before, abs=1e-12)
    assert abs(measure_norms(left)["log_21"] - before) > 1e-4


def test_two_layers_tail_variant_is_that_of_the_last_alone() -> None:
    last = nn.Linear(12, 4)
    for size in (1e-3, 1.0, 1e3):
        stem = nn.Conv2d(2, 3, 3, padding=1)
        with torch.no_grad():
            stem.weight *= size
        module = nn.Sequential(stem, nn.Flatten(), last)
        found = measure_norms(module.double())
        a = last.weight.detach().numpy()
        wanted = math.log(np.linalg.norm(a, 2) * np.linalg.norm(a, axis=0).sum())
        assert found["log_tail_complexity"] == pytest.approx(wanted, abs=1e-10)
        assert found["log_fc_complexity"] == pytest.approx(wanted, abs=1e-10)


def test_fc_variant_knows_nothing_of_what_is_before() -> None:
    module, _ = drawn("resnet")
    before = measure_norms(module)["log_fc_complexity"]
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.weight *= 5.0
    assert measure_norms(module)["log_fc_complexity"] == before


def test_reference_is_subtracted_from_the_rows_alone() -> None:
    module, _ = drawn("cnn")
    other, _ = drawn("cnn", seed=1)
    names = ("log_spectral_complexity", "log_spectral_product", "log_21")
    plain = measure_norms(module, names=names)
    moved = measure_norms(module, reference=other, names=names)
    pairs = zip(matrices_of(module), matrices_of(other), strict=True)
    rows = [float(np.linalg.norm(a - b, axis=1).sum()) for a, b in pairs]
    wanted = direct(matrices_of(module), rows)
    assert moved["log_spectral_complexity"] == pytest.approx(math.log(wanted), abs=1e-5)
    assert {k: moved[k] for k in names[1:]} == {k: plain[k] for k in names[1:]}
    same = measure_norms(module, reference=copy.deepcopy(module), names=names)
    assert same["log_spectral_complexity"] == -math.inf
    with pytest.raises(ValueError, match="other layers"):
        measure_norms(module, reference=drawn("resnet")[0])


def test_nothing_overflows_in_log_space() -> None:
    layers = [nn.Linear(60, 60, bias=False) for _ in range(40)]
    module = nn.Sequential(*layers)
    before = measure_norms(module, shape=(60,))
    with torch.no_grad():
        for layer in layers:
            layer.weight *= 1e25
    after = measure_norms(module, shape=(60,))
    shift = math.log(1e25)
    for name in ("log_spectral_complexity", "log_operator_product", "log_path"):
        assert after[name] - before[name] == pytest.approx(40 * shift, abs=0.02), name
    assert after["log_l1"] - before["log_l1"] == pytest.approx(shift, abs=1e-4)


def jacobian(weight: Any, shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    eye = torch.eye(count, dtype=weight.layer.weight.dtype).reshape(count, *shape)
    return weight.act(eye, weight.kernel).flatten(1).numpy().T


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_a_convolution_has_the_norm_of_its_matrix(mode: Any, stride: int) -> None:
    torch.manual_seed(3)
    layer = nn.Conv2d(3, 4, 3, stride, padding=1, padding_mode=mode).double()
    (weight,) = find_weights(layer)
    exact = np.linalg.norm(jacobian(weight, (3, 6, 8)), 2)
    assert convolution_norm(weight, (3, 6, 8)) == pytest.approx(exact, rel=1e-3)
    if mode == "circular" and stride == 1:  # by Fourier transform
        assert convolution_norm(weight, (3, 6, 8)) == pytest.approx(exact, rel=1e-12)


def test_the_flattened_norm_is_no_operator_norm_but_bounds_it() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 8, 3, padding=1)
    (weight,) = find_weights(layer)
    flat = float(torch.linalg.matrix_norm(weight.matrix, ord=2))
    true = convolution_norm(weight, (2, 24, 24))
    assert 1.1 * flat < true <= 3 * flat
    one = nn.Conv1d(2, 3, 3, padding=1)
    (weight,) = find_weights(one)
    exact = np.linalg.norm(jacobian(weight, (2, 30)), 2)
    assert convolution_norm(weight, (2, 30)) == pytest.approx(exact, rel=1e-3)


def test_a_warm_start_follows_training() -> None:
    """The largest singular values along training: 1e-3 of a full SVD, from the last vectors."""
    worst, warm = [0.0], dict[str, Any]()

    def look(step: int, stack: Any) -> None:
        (module,) = stack.modules()
        sizes = input_sizes(module, (1, 8, 8), find_weights(module))
        for weight in find_weights(module):
            exact = float(torch.linalg.svdvals(weight.matrix.double())[0])
            got = singular.spectral_norm(weight.matrix, warm, weight.name)
            worst.append(abs(got / exact - 1))
            if weight.layer is not None:
                exact = float(np.linalg.norm(jacobian(weight, sizes[weight.name]), 2))
                worst.append(abs(convolution_norm(weight, sizes[weight.name], warm) / exact - 1))

    fields = DIGITS | {"optimiser": {"kind": "adam", "rate": 0.01}, "checkpoints": 8}
    train_nets(Experiment(**fields), watch=look)
    assert max(worst) < 1e-3
    assert {name.split(" ")[0] for name in warm} == {"0", "2", "6"}  # the others are small


def test_a_warm_start_sees_another_direction_take_over() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(90, 90, generator=generator)).Q for _ in range(2))
    warm: dict[str, Any] = {}
    for second in (0.5, 0.9, 1.1, 2.0):
        values = torch.full((90,), 0.1)
        values[0], values[1] = 1.0, second
        found = singular.spectral_norm(left * values @ right, warm, "a")
        assert found == pytest.approx(max(1.0, second), rel=1e-3)


def test_a_matrix_of_zeros_and_an_iteration_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert singular.spectral_norm(torch.zeros(80, 90)) == 0.0
    rank_one = torch.ones(80, 1) @ torch.ones(1, 90)
    assert singular.spectral_norm(rank_one) == pytest.approx(math.sqrt(80 * 90), rel=1e-5)
    monkeypatch.setattr(singular, "CYCLES", 1)
    with pytest.raises(NotConverged) as caught:
        singular.spectral_norm(torch.randn(300, 300))
    assert caught.value.iterations == 1
    assert caught.value.residual > singular.TOLERANCE


def test_attention_is_split_into_queries_keys_values() -> None:
    ours, _ = drawn("vit")
    names = [weight.name for weight in find_weights(ours)]
    assert [name.rpartition(".")[2] for name in names[1:5]] == ["queries", "keys", "values", "out"]
    theirs: Any = nn.MultiheadAttention(8, 2)
    found = find_weights(theirs)
    assert [weight.matrix.shape for weight in found] == [(8, 8)] * 4
    assert theirs.in_proj_weight is not None
    assert torch.equal(found[1].matrix, theirs.in_proj_weight[8:16])
    other = nn.MultiheadAttention(8, 2, kdim=5, vdim=3, batch_first=True)
    assert [weight.matrix.shape for weight in find_weights(other)] == [
        (8, 8), (8, 5), (8, 3), (8, 8),
    ]  # fmt: skip


def test_what_enters_is_said() -> None:
    module, _ = drawn("vit")
    assert {name.rpartition(".")[2] for name in left_out(module)} == {"weight", "bias", "place"}
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Bilinear(4, 4, 2))
    with pytest.raises(ValueError, match=r"norm is known for the weights 2\.weight \(Bilinear\)"):
        measure_norms(module)
    found = measure_norms(module, unknown="leave")
    assert len(find_weights(module, "leave")) == 1
    assert "2.weight" in left_out(module)
    everything = sum(float(value.detach().abs().sum()) for value in module.parameters())
    assert found["log_l1"] == pytest.approx(math.log(everything))
    with pytest.raises(ValueError, match="no linear, convolution or attention layer"):
        measure_norms(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="Did you mean 'log_path'"):
        measure_norms(nn.Linear(2, 2), names=["log_paths"])
    with pytest.raises(ValueError, match="needs the shape"):
        measure_norms(nn.Conv2d(1, 1, 3), names=["log_operator_product"])
    assert "log_operator_product" not in measure_norms(nn.Conv2d(1, 1, 3))


def test_a_scaled_layer_counts_as_it_acts() -> None:
    net = CNN(channels=(4,), pool_after=(), hidden=(6,), parameterisation="ntk", richness=0.5)
    module: Any = build_module(net, (2, 6, 6), 3)
    draw_weights(module, 0, gaussian=True, size=1.0)
    stem, *_, last = find_weights(module)
    assert last.matrix.abs().max() <= module[-1].layer.weight.abs().max()
    assert torch.equal(last.matrix, module[-1].scale * module[-1].layer.weight)
    exact = np.linalg.norm(jacobian(stem, (2, 6, 6)), 2)
    assert convolution_norm(stem, (2, 6, 6)) == pytest.approx(exact, rel=1e-3)


def test_path_norm_sums_over_paths() -> None:
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    first, last = (module[k].weight.detach().numpy() for k in (1, 3))
    total = sum(
        (last[o, h] * first[h, i]) ** 2
        for o, h, i in itertools.product(range(2), range(4), range(3))
    )
    found = measure_norms(module, shape=(3,))["log_path"]
    assert found == pytest.approx(0.5 * math.log(total), abs=1e-12)
    net, shape = drawn("resnet")
    net.train()
    net(torch.randn(32, *shape))  # statistics of the batch norms
    before = measure_norms(net, shape=shape)["log_path"]
    with torch.no_grad():
        net[-1].weight *= 2.0
    assert measure_norms(net, shape=shape)["log_path"] == pytest.approx(before + math.log(2.0))
    assert "log_path" not in measure_norms(drawn("vit")[0], shape=(1, 8, 8))
    with pytest.raises(ValueError, match=r"rectifiers, got Patches"):
        measure_norms(drawn("vit")[0], shape=(1, 8, 8), names=["log_path"])


def test_norms_over_a_margin() -> None:
    outputs = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0], [1.0, 4.0, 2.0], [9.0, 0.0, 1.0]])
    labels = torch.tensor([0, 2, 1, 0])
    margin = log_margin(outputs, labels, share=0.0)
    assert margin == pytest.approx(math.log(2.0))
    made = over_margin({"log_path": 1.0, "log_l1": 2.0}, margin)
    assert made == {"log_path_over_margin": pytest.approx(1.0 - math.log(2.0))}
    with pytest.raises(ValueError, match="positive one"):
        log_margin(outputs, torch.tensor([1, 2, 1, 0]), share=0.0)
    with pytest.raises(ValueError, match="share"):
        log_margin(outputs, labels, share=1.0)


def test_weights_that_are_not_finite() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0, 0] = math.inf
    assert all(math.isnan(value) for value in measure_norms(layer).values())


def test_norms_are_measures_of_an_experiment() -> None:
    fields = DIGITS | {"measures": ("error", "error_augmented", *NORMS), "seeds": 2}
    fields |= {"steps": 20, "checkpoints": (5, 20)}
    table = train(Experiment(**fields))
    last = table.filter(table["step"] == 20)
    trained = train_nets(Experiment(**fields))
    for module, row in zip(trained.modules(), last.rows(named=True), strict=True):
        found = measure_norms(module, shape=(1, 8, 8))
        for name in NORMS:
            assert row[name] == pytest.approx(found[name], abs=1e-3), name
    assert last["error_augmented"].mean() > last["error"].mean()  # pyright: ignore
    plain = {k: v for k, v in DIGITS.items() if k != "task"} | {"task": {"kind": "images"}}
    with pytest.raises(BadExperiment, match="flip or shift"):
        Experiment(**plain | {"measures": ("error_augmented",)})
    with pytest.raises(BadExperiment, match="log_path"):
        Experiment(**plain | {"net": {"kind": "vit"}, "measures": ("log_path",)})
    with pytest.raises(BadExperiment, match="shrink 3 does not divide"):
        Experiment(**plain | {"task": {"kind": "images", "shrink": 3}})


def test_an_mlp_has_norms_of_its_folded_weights() -> None:
    table = train(
        Experiment(
            task={"kind": "images", "n_data": 60, "n_test": 20},
            net={"kind": "mlp", "width": 8, "parameterisation": "ntk", "activation": "relu"},
            steps=5,
            batch=20,
            measures=("log_spectral_complexity", "log_path"),
            seeds=3,
        )
    )
    assert table["log_spectral_complexity"].is_finite().all()
    assert table["seed"].n_unique() == 3


def test_a_run_resumed_measures_the_same_bits() -> None:
    spec = Experiment(**DIGITS | {"measures": ("log_spectral_complexity", "log_operator_product")})
    data = make_data(spec)
    stack = make_stack(spec, data, (0,))
    stack.advance(0, 10)
    measure(stack, data, 10, 0.0)
    state = copy.deepcopy(stack.state())
    stack.advance(10, 15)
    wanted = measure(stack, data, 15, 0.0)
    other = make_stack(spec, data, (0,))
    other.restore(state)
    other.advance(10, 15)
    assert measure(other, data, 15, 0.0) == wanted


def test_half_precision_is_measured_as_float32() -> None:
    """bfloat16 stopped at QR, which torch has for whole floats alone."""
    for name in NETS:
        module, shape = drawn(name)
        module.to(torch.bfloat16)
        wide = copy.deepcopy(module).float()
        found, wanted = measure_norms(module, shape=shape), measure_norms(wide, shape=shape)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, abs=2e-3), (name, key)
    large = nn.Linear(300, 200).to(torch.bfloat16)
    exact = math.log(float(torch.linalg.svdvals(large.weight.detach().double())[0]))
    assert measure_norms(large)["log_spectral_product"] == pytest.approx(exact, abs=1e-5)


class Reordered(nn.Module):
    """Registers the readout before the layers that it follows, as many nets do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.second = nn.Linear(7, 6)
        self.first = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def test_layers_count_in_the_order_in_which_they_run() -> None:
    torch.manual_seed(0)
    module = Reordered().double()
    chain = nn.Sequential(module.first, nn.ReLU(), module.second, nn.ReLU(), module.head)
    wanted, found = measure_norms(chain, shape=(5,)), measure_norms(module, shape=(5,))
    for name in ("log_fc_complexity", "log_tail_complexity", "log_spectral_complexity"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-12), name
    names = [weight.name for weight in find_weights(module, shape=(5,))]
    assert names == ["first", "second", "head"]
    assert [weight.name for weight in find_weights(module)] == ["head", "second", "first"]
    unsure = measure_norms(module)
    assert not {"log_fc_complexity", "log_tail_complexity"} & set(unsure)
    assert unsure["log_spectral_product"] == pytest.approx(found["log_spectral_product"])
    with pytest.raises(ValueError, match=r"forward pass of Reordered decides; give the shape"):
        measure_norms(module, names=["log_fc_complexity"])
    with pytest.raises(ValueError, match=r"does not run on an input of shape \(4,\)"):
        measure_norms(module, shape=(4,))
    assert not module.training or all(part.training for part in module.modules())


@pytest.mark.parametrize("name", NETS)
def test_our_own_nets_run_in_the_order_of_registration(name: str) -> None:
    module, shape = drawn(name)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    traced = [w.name.removeprefix("net.") for w in find_weights(Wrapped(), shape=shape)]
    assert traced == [weight.name for weight in find_weights(module)]
    assert measure_norms(Wrapped(), shape=shape, names=NORMS[:5]) == pytest.approx(
        measure_norms(module, shape=shape, names=NORMS[:5]), abs=1e-9
    )


class Recurrent(nn.Module):
    """One convolution three times, on images that shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.aside = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return x.flatten(1)


def test_a_layer_counts_as_often_as_it_runs() -> None:
    torch.manual_seed(0)
    once = nn.Linear(6, 6, bias=False).double()
    shared = nn.Sequential(once, nn.ReLU(), once)
    copied = nn.Sequential(once, nn.ReLU(), copy.deepcopy(once))
    for shape in (None, (6,)):
        found, wanted = measure_norms(shared, shape=shape), measure_norms(copied, shape=shape)
        for name in set(wanted) - {"log_l1", "log_frobenius"}:
            assert found[name] == pytest.approx(wanted[name], abs=1e-12), (name, shape)
        assert found["log_l1"] == pytest.approx(wanted["log_l1"] - math.log(2))
    tied: Any = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False))
    tied[2].weight = tied[0].weight
    apart = copy.deepcopy(tied)
    apart[2].weight = nn.Parameter(tied[0].weight.detach().clone())
    assert measure_norms(tied, shape=(6,))["log_path"] == pytest.approx(
        measure_norms(apart, shape=(6,))["log_path"], abs=1e-9
    )
    module = Recurrent()
    with pytest.raises(ValueError, match=r"layer of aside is not called for an input of shape"):
        measure_norms(module, shape=(2, 16, 16))
    weights = find_weights(module, "leave", (2, 16, 16))
    assert [weight.name for weight in weights] == ["conv", "conv (call 2)", "conv (call 3)"]
    assert [weight.shape for weight in weights] == [(2, 16, 16), (2, 8, 8), (2, 4, 4)]
    total = sum(math.log(convolution_norm(weights[0], weight.shape or ())) for weight in weights)
    found = measure_norms(module, shape=(2, 16, 16), unknown="leave")
    assert found["log_operator_product"] == pytest.approx(total, abs=1e-4)
    assert found["log_spectral_product"] == pytest.approx(
        3 * measure_norms(module.conv)["log_spectral_product"], abs=1e-9
    )


def test_a_parametrised_layer_counts_with_the_weight_that_it_computes() -> None:
    from torch.nn.utils import parametrizations

    torch.manual_seed(0)
    module: Any = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(5, 8)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(8, 6)),
        nn.ReLU(),
        parametrizations.orthogonal(nn.Linear(6, 6)),
    ).double()
    module.train()
    state = copy.deepcopy(module.state_dict())
    plain: Any = nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6)
    )
    module.eval()
    with torch.no_grad():
        for k in (0, 2, 4):
            plain[k].weight = nn.Parameter(module[k].weight.detach().clone())
            plain[k].bias = nn.Parameter(module[k].bias.detach().clone())
    module.train()
    found, wanted = measure_norms(module, shape=(5,)), measure_norms(plain, shape=(5,))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert set(left_out(module)) == {f"{k}.bias" for k in (0, 2, 4)}
    conv = parametrizations.weight_norm(nn.Conv2d(2, 3, 3, padding=1)).double()
    (weight,) = find_weights(conv)
    exact = np.linalg.norm(jacobian(weight, (2, 6, 6)), 2)
    assert convolution_norm(weight, (2, 6, 6)) == pytest.approx(exact, rel=1e-3)


class TokenViT(nn.Module):
    """A transformer of torch's own layers that reads a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embedding = nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.patches = nn.Conv2d(1, 8, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.pos_embedding
        return self.head(self.layer(x)[:, 0])


def test_class_tokens_and_positions_are_no_matrices() -> None:
    torch.manual_seed(0)
    module = TokenViT()
    for _ in range(2):  # training, then evaluation, in which torch runs layers without calling them
        found = measure_norms(module, shape=(1, 8, 8))
        names = [weight.name for weight in find_weights(module, shape=(1, 8, 8))]
        assert names == [
            "patches", "layer.self_attn.queries", "layer.self_attn.keys", "layer.self_attn.values",
            "layer.self_attn.out_proj", "layer.linear1", "layer.linear2", "head",
        ]  # fmt: skip
        a = module.head.weight.detach().double().numpy()
        last = math.log(np.linalg.norm(a, 2) * np.linalg.norm(a, axis=0).sum())
        assert found["log_fc_complexity"] == pytest.approx(last, abs=1e-5)
        module.eval()
    assert {"class_token", "pos_embedding"} <= set(left_out(module))
    module.mixing = nn.Parameter(torch.randn(8, 8))
    with pytest.raises(ValueError, match=r"norm is known for the weights mixing \(TokenViT\)"):
        measure_norms(module, shape=(1, 8, 8))


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        (nn.AvgPool2d(2), 6),
        (nn.AvgPool2d(3, stride=2, padding=1), 6),
        (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), 6),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), 6),
        (nn.AvgPool2d(2, divisor_override=3), 6),
        (nn.AdaptiveAvgPool2d(1), 6),
        (nn.AdaptiveAvgPool2d((4, 3)), 6),
    ],
)
def test_a_mean_has_weights_of_its_own_on_a_path(pool: Any, size: int) -> None:
    """The sum over paths, by the squares of the matrices of the layers."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 3, padding=1, bias=False).double()
    with torch.no_grad():
        out = pool(conv(torch.zeros(1, 1, size, size, dtype=torch.float64)))
    last = nn.Linear(out.numel(), 2, bias=False).double()
    eye = torch.eye(2 * size * size, dtype=torch.float64)
    means = pool(eye.reshape(-1, 2, size, size)).flatten(1).detach().numpy().T
    (weight,) = find_weights(conv)
    parts = [jacobian(weight, (1, size, size)), means, last.weight.detach().numpy()]
    total = np.ones(size * size)
    for part in parts:
        total = part**2 @ total
    module = nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), last)
    found = measure_norms(module, shape=(1, size, size), names=["log_path"])["log_path"]
    assert found == pytest.approx(0.5 * math.log(total.sum()), abs=1e-12)
