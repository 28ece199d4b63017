"""Sweep files: which Experiments they mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kleiber.errors import BadExperiment
from kleiber.experiment import Experiment
from kleiber.sweeps.grid import read_sweep

BASE = {
    "task": {"kind": "formula", "formula": "x**2", "n_data": 64},
    "net": {"kind": "mlp", "width": 8},
    "steps": 100,
}


def of(specs: list[Experiment], *names: str) -> list[tuple[Any, ...]]:
    """Fields of each Experiment."""

    def field(spec: Any, name: str) -> Any:
        for part in name.split("."):
            spec = getattr(spec, part)
        return spec

    return [tuple(field(spec, name) for name in names) for spec in specs]


def test_a_base_alone_is_one_experiment() -> None:
    assert read_sweep({"base": BASE}) == [Experiment(**BASE)]


def test_a_grid_is_every_combination_the_last_axis_fastest() -> None:
    specs = read_sweep({"base": BASE, "grid": {"net.width": [4, 8], "task.n_data": [16, 32, 64]}})
    pairs = [(width, n) for width in (4, 8) for n in (16, 32, 64)]
    assert of(specs, "net.width", "task.n_data") == pairs
    assert {spec.steps for spec in specs} == {100}


def test_a_zip_goes_side_by_side_and_is_crossed_with_the_grid() -> None:
    sweep = {
        "base": BASE,
        "grid": {"net.width": [4, 8]},
        "zip": [
            {"optimiser.rate": [0.1, 0.2], "steps": [10, 20]},
            {"seeds": [[0], [1, 2]], "dtype": ["float32", "float64"]},
        ],
    }
    found = of(read_sweep(sweep), "net.width", "optimiser.rate", "steps", "seeds", "dtype")
    assert found == [
        (width, rate, steps, seeds, dtype)
        for width in (4, 8)
        for rate, steps in ((0.1, 10), (0.2, 20))
        for seeds, dtype in (((0,), "float32"), ((1, 2), "float64"))
    ]
    assert len(read_sweep({**sweep, "zip": sweep["zip"][0]})) == 4  # pyright: ignore[reportIndexIssue]


def test_whole_parts_may_vary() -> None:
    nets = [{"kind": "mlp", "width": 4}, {"kind": "mlp", "width": 8, "depth": 2}]
    found = of(read_sweep({"base": BASE, "grid": {"net": nets}}), "net.width", "net.depth")
    assert found == [(4, 1), (8, 2)]


def test_an_experiment_that_comes_twice_is_made_once() -> None:
    specs = read_sweep({"base": BASE, "grid": {"net.width": [4, 8, 4, 8]}})
    assert of(specs, "net.width") == [(4,), (8,)]


def test_the_base_is_not_altered() -> None:
    read_sweep({"base": BASE, "grid": {"net.width": [1], "task.noise": [0.5]}})
    assert BASE["net"] == {"kind": "mlp", "width": 8}
    assert "noise" not in BASE["task"]  # pyright: ignore[reportOperatorIssue]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"grid": {"net.widht": [4]}}, "net: no field 'widht'.*mean 'width'.*at net.widht = 4"),
    ({"grid": {"optimizer.rate": [4]}}, "No field 'optimizer'.*mean 'optimiser'"),
    ({"grid": {"optimiser.momentum": [0.9]}}, "optimiser: no field 'momentum'"),
    ({"grid": {"net.width": [4, 0]}}, "net.width: .*at net.width = 0"),
    ({"grid": {"net.width": 8}}, "axis 'net.width' needs a list of values, got 8"),
    ({"grid": {"net.width": []}}, "axis 'net.width' needs a list of values"),
    ({"grid": {"net": {"width": [8]}}}, 'is written "net.width"'),
    ({"grid": {"steps.x": [8]}}, "'steps' is 100, which has no fields"),
    ({"gird": {"net.width": [8]}}, "no part 'gird'; a sweep has base, grid, zip. Did you"),
    ({"steps": 100}, r"no part 'steps'.*go under \[base\]"),
    ({"zip": {"steps": [1, 2], "net.width": [1]}}, "'steps' has 2, 'net.width' has 1"),
    ({"grid": {"steps": [1]}, "zip": {"steps": [1]}}, "'steps' varies along two axes"),
    ({"zip": [3]}, r"needs the table \[zip\], got 3"),
    ({"zip": [{f"a{n}": [1, 2]} for n in range(90)]}, "1e27 Experiments; at most 1000000"),
    ({"grid": {f"a{n}": [1] for n in range(101)}}, "at most 100 axes, got 101"),
    ({"grid": {"net.width": [4, 2**64]}}, "grid.net.width: an integer has at most 64 bits"),
    ({"grid": {"net.init_scale": [1.0, float("nan")]}}, "init_scale: a finite number is needed"),
    ({"grid": {"seeds": [[1], [-1]]}}, r"seeds.0: .*got -1 \(at seeds = \[-1\]\)"),
    ({"grid": {".".join(["net"] * 5000): [1]}}, "a spec is nested at most 16 deep"),
    ({"grid": {"seeds": [100_000], "net.width": list(range(1, 200))}}, "19900000 seeds; at"),
    ({"grid": {"seeds": [[1, 2], 3, 10**8]}}, "100000005 seeds; at most 10000000 are taken"),
    ({"grid": {"steps": list(range(1, 1002)), "net.width": list(range(1, 1001))}}, "1001000 Exp"),
]


@pytest.mark.parametrize(("parts", "message"), WRONG, ids=[text[:20] for _, text in WRONG])
def test_wrong_sweeps_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(BadExperiment, match=message):
        read_sweep({"base": BASE, **parts})


def test_a_missing_base_is_refused() -> None:
    with pytest.raises(BadExperiment, match=r"needs the table \[base\], it is missing"):
        read_sweep({"grid": {"steps": [1]}})


def test_files_are_read_and_named_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    with pytest.raises(BadExperiment, match=r"Cannot read '.*sweep.toml': No such file"):
        read_sweep(file)
    file.write_text("[base\n")
    with pytest.raises(BadExperiment, match=r"sweep.toml' is not TOML: "):
        read_sweep(file)
    file.write_text('[base]\nnet.kind = "mpl"\ntask.kind = "teacher"\ntask.n_data = 5\n')
    with pytest.raises(BadExperiment, match=r"sweep.toml: net.kind: 'mpl'.*mean 'mlp'"):
        read_sweep(file)


def test_a_trillion_runs_are_refused_before_they_are_laid_out(tmp_path: Path) -> None:
    many = ",".join(map(str, range(1, 10_001)))
    axes = "".join(f'"{name}" = [{many}]\n' for name in ("net.width", "task.n_data", "steps"))
    (tmp_path / "sweep.toml").write_text(f"[base]\n[grid]\n{axes}")
    with pytest.raises(BadExperiment, match="make 1000000000000 Experiments; at most 1000000 are"):
        read_sweep(tmp_path / "sweep.toml")


def test_the_example_has_forty_experiments() -> None:
    specs = read_sweep(Path(__file__).parents[2] / "examples" / "sweep.toml")
    assert len(specs) == 40
    assert len({spec.key() for spec in specs}) == 40
