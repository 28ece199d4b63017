"""The features of a backbone, and what the claims on its heads read off them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.claim import Context
from kleiber.systems.hard_tail.claims import backbone as claims
from kleiber.systems.hard_tail.claims.backbone import at_the_end, gain


def test_hidden_features_make_the_outputs() -> None:
    pytest.importorskip("torch")
    from kleiber.networks.loop import train_nets
    from kleiber.systems.hard_tail.backbone import backbone_spec, hidden, train_backbone

    spec = backbone_spec(dataset="digits", steps=30)
    table = train_backbone(spec)
    wide, narrow = (np.array(table[name].to_list()) for name in ("wide", "narrow"))
    assert (wide.shape, narrow.shape) == ((500, 512), (500, 64))
    trained = train_nets(spec)
    (module,) = trained.modules()
    data = trained.stacks[0].feed.data
    *_, last = module.children()
    found: Any = last
    outputs = narrow @ found.weight.detach().numpy().T + found.bias.detach().numpy()
    expected = trained.predict(data.prepare(data.test[0]))[0]
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    assert table["error"][0] == pytest.approx((outputs.argmax(1) != data.test[1]).mean())
    first = hidden(module, np.asarray(data.prepare(data.test[0][:3]), np.float32))
    np.testing.assert_allclose(first[0], wide[:3], atol=1e-5)


def test_exponents_are_those_of_the_layer_and_the_window() -> None:
    context = Context(scale="laptop")
    for layer, exponent in (("narrow", 0.2), ("wide", 0.3)):
        rows = [
            {"seed": seed, "n_data": size, "k": k, "loss": 1.0, "error": 0.3,
             "failure": float(k) ** -(exponent + (size == 8000) * (0.1 + seed / 1000))}
            for seed in range(3) for size in (64, 8000) for k in claims.WINDOW
        ]  # fmt: skip
        context.shared[f"backbone heads {layer}"] = pl.DataFrame(rows)
    found = gain("narrow", 64, 8000)(context)
    assert (found.value, found.stderr) == pytest.approx((0.101, 0.001 / 3**0.5))
    end = at_the_end("wide")(context)
    assert (end.value, end.low, end.high) == pytest.approx((0.401, 0.401, 0.401))


def test_the_backbone_is_not_trained_at_quick() -> None:
    with pytest.raises(ValueError, match="only at the scales that save runs"):
        claims.backbone_features(Context())
