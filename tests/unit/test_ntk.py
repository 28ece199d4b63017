"""The empirical tangent kernel: against finite differences, the wide limit, and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kleiber.errors import BadExperiment  # noqa: E402
from kleiber.experiment import Experiment  # noqa: E402
from kleiber.maths.seeds import stream  # noqa: E402
from kleiber.networks.net_stack import make_stack  # noqa: E402
from kleiber.networks.ntk import initial_ntk, linearise, ntk_gram  # noqa: E402
from kleiber.networks.task import make_data  # noqa: E402
from kleiber.systems.feature_learning.circle_spec import residual, residuals, train_with_modes  # noqa: E402
from kleiber.systems.feature_learning.wide_kernel import circle_kernel  # noqa: E402


def circle(width: int = 32, points: int = 32, **fields: Any) -> Experiment:
    net: dict[str, Any] = {"kind": "mlp", "width": width, "depth": 2, "activation": "relu"}
    net |= {"bias": False, "parameterisation": "mean_field", "richness": 0.01, "centred": True}
    net |= fields.pop("net", {})
    base: dict[str, Any] = {
        "task": {"kind": "circle", "points": points},
        "net": net,
        "optimiser": {"kind": "sgd", "rate": 0.1},
        "steps": 10,
        "batch": 16,
        "dtype": "float64",
    }
    return Experiment(**base | fields)


def test_the_kernel_is_made_of_gradients() -> None:
    spec = circle(width=3, points=6, net={"bias": True, "activation": "tanh"})
    members = make_stack(spec, make_data(spec), (5,), compiled=False)
    x = members.feed.data.test[0]
    gram = ntk_gram(members, x)
    expected = np.zeros_like(gram)
    for name, value in members.model.params.items():
        flat = value.detach().reshape(-1)
        for k in range(len(flat)):
            sides: list[np.ndarray] = []
            for step in (1e-5, -1e-5):
                flat[k] += step
                sides.append(members.outputs(x[None])[0, :, 0])
                flat[k] -= step
            slope = (sides[0] - sides[1]) / 2e-5
            expected += members.model.rates[name] * np.outer(slope, slope)
    np.testing.assert_allclose(gram, expected, rtol=1e-6, atol=1e-9)


def test_wide_nets_have_the_kernel_of_the_limit() -> None:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    wide = circle_kernel(np.minimum(angle, 2 * np.pi - angle))
    errors: list[float] = []
    for width in (16, 256):
        spec = circle(width)
        x = make_data(spec).test[0]
        drawn = [initial_ntk(spec, x, seed=seed)[0] - wide for seed in range(8)]
        errors.append(float(np.sqrt(np.mean(np.square(drawn)))))
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.5)  # as 1/sqrt(width)


def test_blocks_do_not_change_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = circle()
    x = make_data(spec).test[0]
    whole = initial_ntk(spec, x)
    monkeypatch.setattr("kleiber.networks.ntk.MEMORY", 8 * 1120 * 5)
    np.testing.assert_allclose(initial_ntk(spec, x), whole, rtol=1e-12)


@pytest.mark.long
def test_lazy_training_follows_its_own_kernel() -> None:
    spec = circle(64, steps=200, seeds=2, net={"richness": 1e-4}, batch=4096)
    table = train_with_modes(spec)
    data = make_data(spec)
    for seed in (0, 1):
        gram = initial_ntk(spec, data.test[0], seed=seed)
        spectrum = linearise(gram, data.test[1])
        assert spectrum.power.sum() == pytest.approx((data.test[1] ** 2).mean())
        part = table.filter(table["seed"] == seed)
        time, loss = part["time"].to_numpy(), part["loss"].to_numpy()
        np.testing.assert_allclose(loss, spectrum.loss(time, rate=0.1), rtol=0.02)
        np.testing.assert_allclose(loss, spectrum.loss(time), rtol=0.1)


def test_the_kernel_of_a_convolutional_net_is_that_of_its_gradients() -> None:
    spec = Experiment(
        task={"kind": "images", "loss": "half_mse", "n_data": 64},
        net={
            "kind": "cnn", "channels": [4, 8], "pool_after": [1], "pool": "average",
            "hidden": [16], "bias": False, "parameterisation": "mean_field", "richness": 0.01,
            "centred": True,
        },
        optimiser={"kind": "sgd", "rate": 1e-3}, steps=1, batch=32, dtype="float64",
    )  # fmt: skip
    data = make_data(spec)
    assert data.train is not None
    x = data.prepare(data.train[0][:20]).astype(np.float64)
    gram = initial_ntk(spec, x, data=data)
    assert np.linalg.eigvalsh(gram).min() > -1e-9 * np.trace(gram)
    members = make_stack(spec, data, (0,))
    module = members.modules()[0]
    signs = stream(0, "ntk signs").choice([-1.0, 1.0], 10) / np.sqrt(10)
    rows: list[np.ndarray] = []
    for example in x[:3]:
        module.zero_grad()
        (module(torch.tensor(example[None]))[0] @ torch.tensor(signs)).backward()
        slopes = [p.grad for p in module.parameters() if p.grad is not None]
        rows.append(np.concatenate([slope.numpy().ravel() for slope in slopes]))
    rate = next(iter(members.model.rates.values()))
    np.testing.assert_allclose(gram[:3, :3], rate * np.array(rows) @ np.array(rows).T, rtol=1e-9)


def test_residuals_are_those_of_the_modes() -> None:
    angle = 2 * np.pi * np.arange(64) / 64
    outputs = 0.5 * np.cos(angle) + 2**-1.5 * np.cos(2 * angle)
    found = residuals(outputs[None], 1.5, (1, 2, 4))
    np.testing.assert_allclose(found, [[0.5, 0.0, 1.0]], atol=1e-12)


def test_training_is_watched_mode_by_mode() -> None:
    table = train_with_modes(circle(seeds=2), modes=(1, 4, 500))
    assert residual(4) in table.columns
    assert residual(500) not in table.columns
    start = table.filter(table["step"] == 0)
    np.testing.assert_allclose(start["residual_1"], 1, atol=1e-12)
    ends = table.filter(table["step"] == 10)
    assert ends["residual_1"].to_numpy().max() < ends["residual_4"].to_numpy().min()
    with pytest.raises(BadExperiment, match="circle"):
        train_with_modes(circle(task={"kind": "formula"}))


def test_a_kernel_needs_as_many_targets() -> None:
    with pytest.raises(ValueError, match="3 rows"):
        linearise(np.eye(3), np.ones((2, 1)))
