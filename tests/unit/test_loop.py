"""Training: every net, task and optimiser learns; a stack is its members; runs die alone and
resume bit for bit; the compiled loop is the loop in torch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

import kleiber  # noqa: E402
from kleiber.columns import COLUMNS  # noqa: E402
from kleiber.errors import BadExperiment  # noqa: E402
from kleiber.experiment import Experiment, read_experiment  # noqa: E402
from kleiber.networks import loop  # noqa: E402
from kleiber.networks.fused import Fused  # noqa: E402
from kleiber.networks.loop import seed_groups, train_nets  # noqa: E402
from kleiber.networks.measure import as_table  # noqa: E402
from kleiber.networks.net_stack import NetStack, loss_of, make_stack  # noqa: E402
from kleiber.networks.task import make_data  # noqa: E402

FUNCTION = {"kind": "formula", "n_data": 48}
IMAGES = {"kind": "images", "n_data": 96, "n_test": 200}
SMALL = {"kind": "mlp", "width": 8}


def spec(**fields: Any) -> Experiment:
    plain: dict[str, Any] = {"task": FUNCTION, "net": SMALL, "dtype": "float64", "steps": 50}
    return read_experiment(plain | fields)


def stack_of(experiment: Experiment, *seeds: int, compiled: bool = False) -> NetStack:
    data = make_data(experiment)
    return make_stack(experiment, data, seeds or experiment.seeds, compiled=compiled)


# ------------------------------------------------------------------------------------- it learns

TASKS: dict[str, dict[str, Any]] = {
    "formula on a grid": {"task": {**FUNCTION, "n_data": 64, "sampling": "grid"}},
    "three inputs": {"task": {"kind": "formula", "formula": "x**2+y**2+z**2", "n_data": 200}},
    "fresh": {"task": {"kind": "formula"}, "batch": 64},
    "teacher": {"task": {"kind": "teacher", "n_data": 200}, "batch": 50},
    "circle": {"task": {"kind": "circle"}, "batch": 64},
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "rate": 0.05},
    "momentum": {"kind": "sgd", "rate": 0.01, "momentum": 0.9},
    "nesterov": {"kind": "sgd", "rate": 0.01, "momentum": 0.9, "nesterov": True},
    "decayed sgd": {"kind": "sgd", "rate": 0.05, "weight_decay": 1e-3},
    "adam": {"kind": "adam", "rate": 0.02},
    "decayed adam": {"kind": "adam", "rate": 0.02, "weight_decay": 1e-3},
    "adamw": {"kind": "adamw", "rate": 0.02, "weight_decay": 1e-3},
}
NETS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "width": 32, "activation": "relu"},
    "deep mlp": {"kind": "mlp", "width": 32, "depth": 3, "activation": "gelu"},
    "cnn": {"kind": "cnn", "channels": [6, 12], "hidden": [32]},
    "lazy cnn": {"kind": "cnn", "channels": [6, 12], "hidden": [32], "parameterisation": "ntk"},
    "resnet": {"kind": "resnet", "width": 6, "blocks": [1, 1]},
    "vit": {"kind": "vit", "width": 24, "depth": 2, "heads": 3, "patch": 2},
}


def falls(experiment: Experiment, measure: str = "loss", *, compiled: bool = False) -> float:
    """The last loss over the first, the worst of the seeds."""
    table = train_nets(experiment, compiled=compiled).table
    assert not table["diverged"].any()
    ends = table.group_by("seed").agg(pl.col(measure).first(), pl.col(measure).last().alias("end"))
    return float((ends["end"] / ends[measure]).max())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_learnt(name: str) -> None:
    rates = {"optimiser": {"kind": "adam", "rate": 0.02}, "seeds": 2, "checkpoints": 2}
    assert falls(spec(**TASKS[name], **rates, steps=200)) < 0.5


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_learns(name: str) -> None:
    run = spec(optimiser=OPTIMISERS[name], steps=150, seeds=2, checkpoints=2)
    assert falls(run) < 0.6


@pytest.mark.parametrize("name", NETS)
@pytest.mark.long
def test_every_net_learns(name: str) -> None:
    run = spec(
        task=IMAGES, net=NETS[name], batch=32, optimiser={"kind": "adam", "rate": 0.005},
        measures=["error", "train_loss"], steps=80, checkpoints=2,
        dtype="float32",
    )  # fmt: skip
    assert falls(run, "train_loss") < 0.5
    assert falls(run, "error") < 0.7


def test_squares_on_classes() -> None:
    task = {**IMAGES, "loss": "mse"}
    run = spec(task=task, net=NETS["mlp"], batch=32, steps=100, measures=["loss", "error"])
    assert falls(run, "error") < 0.7


# ------------------------------------------------------------------------- a stack is its members

STACKS: dict[str, dict[str, Any]] = {
    "full batch": {},
    "batches": {"batch": 16, "optimiser": OPTIMISERS["momentum"]},
    "fresh": {"task": {"kind": "formula"}, "batch": 16},
    "deep": {"net": {"kind": "mlp", "width": 8, "depth": 3, "activation": "tanh"}},
    "centred": {
        "net": {**SMALL, "parameterisation": "mean_field", "centred": True, "richness": 0.5},
        "optimiser": OPTIMISERS["sgd"],
    },
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_its_members(name: str, compiled: bool) -> None:
    """Gradients to 1e-12, losses to 1e-9 after 200 steps, in any company."""
    run = spec(**STACKS[name], seeds=[4, 0, 7], steps=200, checkpoints=4)
    if not compiled:
        gradients = first_gradients(stack_of(run))
        for member, seed in enumerate(run.seeds):
            for key, alone in first_gradients(stack_of(run, seed)).items():
                size = np.abs(alone).max()
                assert np.abs(gradients[key][member] - alone[0]).max() <= 1e-12 * size
    together = train_nets(run, compiled=compiled).table
    for seed in run.seeds:
        alone = train_nets(run.model_copy(update={"seeds": (seed,)}), compiled=compiled).table
        mine = together.filter(pl.col("seed") == seed)
        assert mine["loss"].to_numpy() == pytest.approx(alone["loss"].to_numpy(), rel=1e-9)
        if compiled and name != "deep":
            assert mine.equals(alone)


def first_gradients(stack: NetStack) -> dict[str, np.ndarray]:
    x, y = stack.batch(0, 1)
    loss_of(stack.experiment.task.loss, stack.model.forward(x), y).sum().backward()
    found = {name: value.grad for name, value in stack.model.params.items()}
    return {name: value.numpy() for name, value in found.items() if value is not None}


def test_gradients_are_those_of_finite_differences() -> None:
    stack = stack_of(spec(seeds=2, net={**SMALL, "depth": 2}))
    gradients = first_gradients(stack)
    x, y = stack.batch(0, 1)
    with torch.no_grad():
        for name, value in stack.model.params.items():
            flat, at = value.view(2, -1), 1e-6
            for place in {0, flat.shape[1] // 2}:
                flat[:, place] += at
                high = loss_of("mse", stack.model.forward(x), y)
                flat[:, place] -= 2 * at
                low = loss_of("mse", stack.model.forward(x), y)
                flat[:, place] += at
                slope = ((high - low) / (2 * at)).numpy()
                given = gradients[name].reshape(2, -1)[:, place]
                assert given == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_a_stack_is_split_to_stay_in_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    run = spec(seeds=7, steps=30, checkpoints=3)
    whole = train_nets(run, compiled=False)
    monkeypatch.setattr(loop, "CACHE", 2 * 48 * 8 * 8)
    assert [len(group) for group in seed_groups(run)] == [2, 2, 2, 1]
    parts = train_nets(run, compiled=False)
    assert parts.table["loss"].to_numpy() == pytest.approx(whole.table["loss"].to_numpy())
    assert list(parts.params["0.weight"].shape) == [7, 8, 1]


# --------------------------------------------------------------------------- the compiled loop

KERNELS: dict[str, dict[str, Any]] = {
    "silu": {"seeds": 3},
    "relu on two inputs": {
        "task": {"kind": "formula", "formula": "x**2+y", "n_data": 100, "loss": "half_mse"},
        "net": {"kind": "mlp", "width": 600, "activation": "relu", "parameterisation": "mup"},
        "batch": 70, "schedule": {"kind": "step", "at": [0.5]},
    },
}  # fmt: skip


def needs_numba() -> None:
    pytest.importorskip("numba")


@pytest.mark.parametrize("name", KERNELS)
def test_the_compiled_loop_is_the_loop_in_torch(name: str) -> None:
    needs_numba()
    run = spec(**KERNELS[name], steps=200, checkpoints=5)
    ours, theirs = (train_nets(run, compiled=compiled) for compiled in (True, False))
    assert isinstance(ours.stacks[0].optimiser, Fused)
    assert ours.table.drop("loss", "train_loss").equals(theirs.table.drop("loss", "train_loss"))
    for column in ("loss", "train_loss"):
        assert ours.table[column].to_numpy() == pytest.approx(theirs.table[column].to_numpy(), 1e-9)
    for key, value in theirs.params.items():
        assert np.abs(ours.params[key] - value).max() <= 1e-9 * np.abs(value).max()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_compiled_optimisers_are_torchs(name: str) -> None:
    needs_numba()
    net = {**SMALL, "parameterisation": "mean_field", "bias": False, "centred": True}
    run = spec(net=net, optimiser=OPTIMISERS[name], schedule={"kind": "cosine"}, steps=60)
    ours, theirs = (train_nets(run, compiled=compiled).params for compiled in (True, False))
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert np.abs(ours[key] - value).max() <= 1e-10 * np.abs(value).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_run_gives_the_same_bits(dtype: str) -> None:
    """Wherever its arrays happen to lie in memory."""
    needs_numba()
    run = spec(task={**FUNCTION, "n_data": 1024}, net={**SMALL, "width": 16}, dtype=dtype)
    seen, kept = set[bytes](), list[bytearray]()
    for i in range(40):
        params = train_nets(run).params
        seen.add(b"".join(np.ascontiguousarray(value).tobytes() for value in params.values()))
        kept.append(bytearray(1000 * (i % 13) + 17))
    assert len(seen) == 1


def test_without_numba_torch_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(stack_of(spec(), compiled=True).optimiser, torch.optim.Adam)


# ---------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("compiled", [False, True])
def test_a_member_that_diverges_dies_alone(compiled: bool) -> None:
    """Seed 1 starts at huge weights; the others are as without it."""
    run = spec(seeds=[0, 1, 2], steps=60, optimiser={"kind": "sgd", "rate": 0.05}, checkpoints=6)
    data = make_data(run)
    stack = make_stack(run, data, run.seeds, compiled=compiled)
    with torch.no_grad():
        stack.model.params["1.weight"][1] *= 1e6
    rows = loop.run_stack(
        0, stack, data, saved=loop.read_saved(None, run, 60), report=lambda step: None, watch=None
    )
    healthy = train_nets(run, compiled=compiled).table
    last = [row for row in rows if row["seed"] == 1][-1]
    assert last["diverged"]
    assert 0 < last["step"] < 60
    assert stack.died == {1: last["step"]}
    for seed in (0, 2):
        mine = [row["loss"] for row in rows if row["seed"] == seed]
        assert mine == healthy.filter(pl.col("seed") == seed)["loss"].to_list()


@pytest.mark.parametrize("compiled", [False, True])
def test_divergence_is_recorded(compiled: bool) -> None:
    run = spec(seeds=2, steps=400, optimiser={"kind": "sgd", "rate": 50.0}, checkpoints=8)
    table = train_nets(run, compiled=compiled).table
    ends = table.group_by("seed", maintain_order=True).last()
    assert ends["diverged"].to_list() == [True, True]
    assert ends["loss"].null_count() == 2
    assert table.filter(~pl.col("diverged"))["loss"].is_finite().all()
    assert (ends["step"] < 400).all()


def test_an_image_net_that_diverges() -> None:
    optimiser = {"kind": "sgd", "rate": 1e6}
    net = {"kind": "cnn", "channels": [4, 4], "hidden": [8]}
    task = {**IMAGES, "loss": "mse"}
    table = train_nets(spec(task=task, net=net, optimiser=optimiser, batch=16, seeds=2)).table
    assert table.filter(pl.col("diverged"))["seed"].to_list() == [0, 1]


# ------------------------------------------------------------------------------------ resuming

RESUMED: dict[str, dict[str, Any]] = {
    "in torch": {"net": {**SMALL, "depth": 2}, "batch": 16, "seeds": 2},
    "compiled": {"seeds": 2, "batch": 16},
    "resnet": {
        "task": {**IMAGES, "shift": 1}, "net": NETS["resnet"], "batch": 16, "seeds": 2, "steps": 12,
        "optimiser": OPTIMISERS["momentum"],
    },
    "dropout": {
        "task": IMAGES, "net": {**NETS["cnn"], "dropout": 0.2}, "batch": 16, "seeds": 1, "steps": 12
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.long
def test_a_killed_run_continues_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = spec(**{"checkpoints": 6, **RESUMED[name]})
    undisturbed = train_nets(run)
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop, "STRIDE", 5)
    path, total = tmp_path / "run.state", run.steps * len(run.seeds)
    stops = [0.3 * total, 0.6 * total, 0.9 * total]
    while stops:

        def kill(done: int, of: int, note: str, at: float = stops.pop(0)) -> None:
            assert of == run.steps * len(seed_groups(run))
            if done >= at * of / total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_nets(run, resume=path, progress=kill)
        assert path.exists()
    again = train_nets(run, resume=path)
    assert not path.exists()
    assert again.table.equals(undisturbed.table)
    for key, value in undisturbed.params.items():
        assert np.array_equal(again.params[key], value)


def test_a_state_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "run.state"
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    net = {**SMALL, "depth": 2}
    monkeypatch.setattr(loop, "STRIDE", 5)
    with pytest.raises(KeyboardInterrupt):
        train_nets(spec(net=net, checkpoints=1), resume=path, progress=after_two(stop))
    with pytest.raises(BadExperiment, match="state of another Experiment"):
        train_nets(spec(net=net, steps=49), resume=path)
    assert path.exists()
    with pytest.raises(BadExperiment, match="holds no state of a run: it is a folder"):
        train_nets(spec(), resume=tmp_path)


def test_a_state_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "run.state"
    path.write_text("nonsense")
    with pytest.warns(UserWarning, match="holds no state of a run .* is set aside as"):
        table = train_nets(spec(), resume=path).table
    assert table.equals(train_nets(spec()).table)
    assert [file.name for file in tmp_path.iterdir()] == ["run.state.unreadable"]
    assert (tmp_path / "run.state.unreadable").read_text() == "nonsense"


def test_a_state_that_cannot_be_restored_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was restored before the damage shows must not be in the run that starts afresh."""

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop, "STRIDE", 5)
    for net in (SMALL, {**SMALL, "depth": 2}):
        run, path = spec(net=net, checkpoints=1), tmp_path / "run.state"
        with pytest.raises(KeyboardInterrupt):
            train_nets(run, resume=path, progress=after_two(stop))
        held = torch.load(path, weights_only=True)
        undisturbed = train_nets(run).table
        for place, value in (
            (("state", "died"), 7),
            (("state", "optimiser"), {}),
            (("state", "params"), {}),
            (("done", "step"), 10**9),
            (("done", "step"), "x"),
            (("done", "rows"), [1]),
        ):
            damaged = deepcopy(held)
            damaged["stacks"][0][place[0]][place[1]] = value
            torch.save(damaged, path)
            with pytest.warns(UserWarning, match="holds no state of a run"):
                assert train_nets(run, resume=path).table.equals(undisturbed)


@pytest.mark.parametrize("device", ["banana", "cuda:999", "meta", ""])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(BadExperiment, match=f"device {device!r} cannot be used: .") as refused:
        kleiber.train(spec(), device=device)
    assert "\n" not in str(refused.value)


def after_two(call: Any) -> Any:
    """Nothing twice, then the call."""
    seen: list[int] = []

    def tell(done: int, of: int, note: str) -> None:
        seen.append(done)
        if len(seen) > 2:
            call(done, of)

    return tell


# ------------------------------------------------------------------------------------ the table


def test_the_table() -> None:
    run = spec(
        seeds=[5, 2], steps=20, checkpoints=[0, 4, 20], batch=16,
        optimiser={"kind": "sgd", "rate": 0.5}, schedule={"kind": "step", "at": [0.5]},
        measures=["train_loss", "loss", "weight_norm", "seconds"],
    )  # fmt: skip
    table = kleiber.train(run)
    assert table["seed"].to_list() == [2, 2, 2, 5, 5, 5]
    assert table["step"].to_list() == [0, 4, 20] * 2
    assert table["time"].to_list() == pytest.approx([0, 2.0, 5.5] * 2)
    assert table["n_params"].to_list() == [25] * 6
    assert table["n_data"].to_list() == [48] * 6
    assert table["flops"].to_list() == [step * 16 * (6 * 16 - 16) for step in (0, 4, 20)] * 2
    assert set(table.columns) <= set(COLUMNS)
    assert table.columns[-5:] == [*run.measures, "diverged"]


def test_operations_beyond_64_bits_do_not_wrap() -> None:
    run = spec(seeds=[0], steps=20, checkpoints=[20], batch=16, measures=["loss"])
    last = {"seed": 0, "step": 10**16, "loss": 1.0, "diverged": False}
    one, many = (as_table(run, [{**last, "step": n}], 48)["flops"][0] for n in (1, 10**16))
    assert many == pytest.approx(1e16 * one)
    fresh = kleiber.train(spec(task={"kind": "formula"}, batch=8, steps=10, checkpoints=[5, 10]))
    assert fresh["n_data"].to_list() == [40, 80]
    assert "time" not in fresh.columns


def test_a_spec_may_be_given_as_its_fields_or_its_file(tmp_path: Path) -> None:
    run = spec(net={**SMALL, "depth": 2}, steps=5, checkpoints=2)
    path = tmp_path / "spec.toml"
    path.write_text(
        'steps = 5\ncheckpoints = 2\ndtype = "float64"\n[task]\nkind = "formula"\nn_data = 48\n'
        '[net]\nkind = "mlp"\nwidth = 8\ndepth = 2\n'
    )
    table = kleiber.train(run)
    assert kleiber.train(path).equals(table)
    assert kleiber.train(run.model_dump()).equals(table)


def test_precision() -> None:
    net = {**SMALL, "depth": 2}
    single, double = (kleiber.train(spec(net=net, dtype=d)) for d in ("float32", "float64"))
    assert single["loss"].to_numpy() == pytest.approx(double["loss"].to_numpy(), rel=1e-4)
    assert not single["loss"].equals(double["loss"])


def test_measures_are_what_they_say() -> None:
    measures = ["loss", "error", "train_loss", "train_error", "weight_norm"]
    run = spec(task=IMAGES, net=NETS["mlp"], batch=32, seeds=2, measures=measures, checkpoints=1)
    trained = train_nets(run)
    data = make_data(run)
    last = trained.table.filter(pl.col("step") == 50)
    for name, (x, y) in (("", data.test), ("train_", data.train or data.test)):
        outputs = trained.predict(data.prepare(x))
        shares = outputs - outputs.max(-1, keepdims=True)
        chance = shares - np.log(np.exp(shares).sum(-1, keepdims=True))
        picked = np.take_along_axis(chance, np.broadcast_to(y, (2, len(y)))[..., None], -1)
        assert last[f"{name}loss"].to_numpy() == pytest.approx(-picked[..., 0].mean(1))
        wrong = (outputs.argmax(-1) != y).mean(1)
        assert last[f"{name}error"].to_numpy() == pytest.approx(wrong)
    norms = np.sqrt(sum((v**2).reshape(2, -1).sum(1) for v in trained.params.values()))
    assert last["weight_norm"].to_numpy() == pytest.approx(norms)


MODULES: dict[str, dict[str, Any]] = {
    "standard": {"net": {**SMALL, "depth": 2}},
    "scaled": {"net": {**SMALL, "depth": 3, "parameterisation": "mean_field", "richness": 0.5}},
    "compiled": {"net": {**SMALL, "parameterisation": "ntk", "bias": False}},
    "cnn": {"task": IMAGES, "net": NETS["cnn"], "batch": 16},
}


@pytest.mark.parametrize("name", MODULES)
def test_nets_are_handed_over_as_modules(name: str) -> None:
    run = spec(**MODULES[name], seeds=2, steps=3)
    trained = train_nets(run)
    data = make_data(run)
    x = data.prepare(data.test[0][:20])
    assert len(trained.modules()) == 2
    for module, outputs in zip(trained.modules(), trained.predict(x), strict=True):
        with torch.no_grad():
            assert module(torch.tensor(x, dtype=torch.float64)).numpy() == pytest.approx(outputs)


def test_watching() -> None:
    seen: list[tuple[int, int]] = []
    run = spec(seeds=3, steps=9, checkpoints=[2, 9])
    train_nets(run, watch=lambda step, stack: seen.append((step, len(stack.seeds))))
    assert seen == [(2, 3), (9, 3)]


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    train_nets(spec(steps=2), watch=lambda step, stack: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_without_torch_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("kleiber.networks.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("kleiber.networks.loop")
    with pytest.raises(ImportError, match=r"needs torch: pip install 'kleiber\[train\]'"):
        kleiber.train(spec())
