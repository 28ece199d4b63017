"""Figures are drawn whole, the same every time, small, and with no word upon another."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kleiber.fitting.engine.noise import Noise
from kleiber.fitting.fit import fit
from kleiber.fitting.judge.status import Status
from kleiber.reports import caption
from kleiber.reports.axes import format_number
from kleiber.reports.figure import compose, draw_fit
from kleiber.reports.overlay import overlay
from kleiber.reports.overlay_figure import compose_overlay, draw_overlay
from kleiber.reports.panels import Panels, fit_panels
from kleiber.reports.sheet import check_drawing, styled, tick
from kleiber.table import read_table

matplotlib: Any = pytest.importorskip("matplotlib")


def table_of(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9.5, rows), 10 ** rng.uniform(9, 11, rows)
    loss = (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(0.01 * rng.standard_normal(rows))
    return pl.DataFrame({"n_params": n, "n_tokens": d, "loss": loss})


def curve_of(rows: int = 30) -> pl.DataFrame:
    x = np.geomspace(1e3, 1e7, rows)
    noise = np.exp(0.03 * np.random.default_rng(1).standard_normal(rows))
    return pl.DataFrame({"n_data": x, "loss": (0.5 + 40 * x**-0.4) * noise})


@cache
def chinchilla(rows: int, draws: int = 10) -> Panels:
    table = table_of(rows)
    return fit_panels(fit("chinchilla", table, draws=draws), table)


@cache
def curve(draws: int = 10) -> Panels:
    table = curve_of()
    return fit_panels(fit("power_law_floor", table, draws=draws), table)


@cache
def unusable() -> Panels:
    table = curve_of()
    made = replace(
        fit("power_law_floor", table, draws=10),
        status=Status.FLAT,
        reason="A and alpha trade off on this table: other values fit as well. " * 4,
    )
    return fit_panels(made, table)


def broken() -> Panels:
    table = curve_of(40)
    return fit_panels(fit("broken_1", table, draws=4), table)


def plain() -> Panels:
    x = np.linspace(-3, 3, 40)
    noise = 0.1 * np.random.default_rng(2).standard_normal(40)
    table = pl.DataFrame({"angle": x, "score": 1.5e6 * (1 - 2 * np.tanh(x) + noise)})
    law = "a - b*tanh(c*angle)"
    made = fit(law, table, target="score", noise=Noise("linear", delta=1e9), draws=10)
    return fit_panels(made, table)


def strange_names() -> Panels:
    rng = np.random.default_rng(5)
    size, width = 10 ** rng.uniform(7, 9, 50), rng.uniform(1, 5, 50)
    depth = rng.uniform(0.1, 0.9, 50)
    loss = (0.1 + 10 * size**-0.1 * width**0.2 + 0.5 * (1 + depth)) * np.exp(0.01 * rng.random(50))
    name = "a_column_with_a_name_that_somebody_wrote_$x^2$_and_did_not_think_twice_of"
    table = pl.DataFrame(
        {"size_of_the_whole_thing": size, "width_somewhere": width, "q": depth, name: loss}
    )
    law = (
        "the_floor_of_it + amplitude_of_it*size_of_the_whole_thing**-first_exponent"
        "*width_somewhere**θ + (1 + q)*power_of_it"
    )
    return fit_panels(fit(law, table, target=name, draws=4), table)


def along(low: float, high: float, law: Callable[[Any], Any], text: str, *, log: bool) -> Panels:
    """A fit to 25 runs from low to high, whose values are those of a law with a little noise."""
    x = (np.geomspace if log else np.linspace)(low, high, 25)
    noise = 0.02 * np.random.default_rng(3).standard_normal(25)
    y = law(x) * np.exp(noise * np.log(np.ptp(law(x)) / law(x).min() + 1)) if log else law(x)
    y = y if log else y + np.ptp(y) * noise
    table = pl.DataFrame({"x": x, "y": y})
    kind = Noise("log", delta=0.01) if log else Noise("linear")
    return fit_panels(fit(text, table, target="y", draws=5, noise=kind), table)


def narrow_log() -> Panels:
    return along(2.05e8, 5.7e8, lambda x: 3e-7 * (x / 1e8) ** -0.05, "A*x**-a", log=True)


def narrow_linear() -> Panels:
    return along(1e6, 1e6 + 12, lambda x: 5e6 + (x - 1e6), "a + b*(x - 1000000)", log=False)


def tiny() -> Panels:
    return along(-1e-9, 1e-9, lambda x: 1e-6 * (1 + 2e8 * x), "a + b*x", log=False)


def huge() -> Panels:
    return along(1e18, 1e25, lambda x: 3e12 * (x / 1e18) ** 0.5, "A*(x/1e18)**a", log=True)


def two_decades() -> Panels:
    return along(3, 400, lambda x: 1 + 5 * x**-0.5, "E + A*x**-a", log=True)


CASES = {
    "narrow log range": narrow_log,
    "narrow range far from zero": narrow_linear,
    "tiny values": tiny,
    "huge values": huge,
    "two decades": two_decades,
    "two variables": lambda: chinchilla(60),
    "one variable": curve,
    "no draws": lambda: curve(0),
    "unusable": unusable,
    "no notation": broken,
    "plain residuals": plain,
    "strange names": strange_names,
    "many rows": lambda: chinchilla(10_000, 4),
}
# Files that are compared quickly: of points that are drawn each, and of points that are a picture.
WRITTEN = ("two variables", "many rows")


@pytest.fixture(scope="module", params=CASES)
def panels(request: pytest.FixtureRequest) -> Panels:
    return CASES[request.param]()


@pytest.fixture(scope="module")
def figure(panels: Panels) -> Any:
    made = compose(panels)
    made.draw_without_rendering()
    return made


def words(figure: Any) -> Iterator[Any]:
    """Every text of a figure that is drawn (matplotlib also keeps ticks beyond an axis)."""
    from matplotlib.text import Text

    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    drawn = {label for axis in axes for _, label in shown_ticks(axis)}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in ticks - drawn:
            yield text


def test_words_are_on_the_figure_and_apart(figure: Any) -> None:
    assert_words_are_apart(figure)


def assert_words_are_apart(figure: Any) -> None:
    canvas = figure.bbox
    boxes = {}
    for text in words(figure):
        box = text.get_window_extent()
        where = f"{text.get_text()!r} at {box.extents.round().tolist()}"
        inside = box.x0 >= 0 and box.x1 <= canvas.x1 and box.y0 >= 0 and box.y1 <= canvas.y1
        assert inside, f"{where} leaves the figure"
        boxes[where] = box
    for (first, one), (second, other) in itertools.combinations(boxes.items(), 2):
        shared_x = min(one.x1, other.x1) - max(one.x0, other.x0)
        shared_y = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert shared_x <= 1 or shared_y <= 1, f"{first} lies on {second}"


def test_nothing_stands_on_the_data(figure: Any) -> None:
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    assert len(legends) >= 2
    boxes = [legend.get_window_extent() for legend in legends]
    boxes += [text.get_window_extent() for text in figure.texts]
    for axes in figure.axes:
        inner = axes.get_window_extent()
        for box in boxes:
            apart = box.y0 >= inner.y1 or box.y1 <= inner.y0
            assert apart or box.x0 >= inner.x1 or box.x1 <= inner.x0


def test_every_panel_shows_all_of_its_points(panels: Panels, figure: Any) -> None:
    found = 0
    for axes in (axes for axes in figure.axes if axes.get_title(loc="left")):
        (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
        dots = [item for item in axes.collections if np.size(item.get_offsets()) > 2]
        for x, y in np.concatenate([item.get_offsets() for item in dots]):
            assert low_x <= x <= high_x
            assert low_y <= y <= high_y
            found += 1
    assert found == panels.shown.sum() + 2 * panels.shown[panels.drawn].sum()


def test_ticks_are_few_and_readable(panels: Panels, figure: Any) -> None:
    titled = [axes for axes in figure.axes if axes.get_title(loc="left")]
    shown = [axis for axes in titled for axis in (axes.xaxis, axes.yaxis)]
    shown += [axes.yaxis for axes in figure.axes if axes not in titled]
    assert len(shown) == 6 + (panels.colour is not None)
    for axis in shown:
        assert_ticks(axis)


def assert_ticks(axis: Any) -> None:
    """Few labels, all different."""
    texts = [label.get_text() for _, label in shown_ticks(axis)]
    assert all(texts)
    assert 3 <= len(set(texts)) == len(texts) <= 10


def shown_ticks(axis: Any) -> list[Any]:
    low, high = axis.get_view_interval()
    pairs = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [(place, label) for place, label in pairs if low <= place <= high]


@pytest.mark.parametrize(
    "panels",
    [name if name in WRITTEN else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
    indirect=True,
    scope="module",
)
def test_files_are_the_same_every_time_and_small(panels: Panels, tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw_fit(panels, first)
    with matplotlib.rc_context({"font.size": 30.0, "text.usetex": True, "svg.hashsalt": "other"}):
        draw_fit(panels, second)
        assert matplotlib.rcParams["font.size"] == 30.0
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 500_000
    text = first.read_text()
    assert text.startswith("<?xml")
    assert "dc:date" not in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first.svg", "second.svg"]


def theory(panes: int, *, by: bool) -> Any:
    """Curves of a theory and points of 3 seeds, of which some bars reach below zero."""
    rng = np.random.default_rng(4)
    x = np.repeat(np.geomspace(12, 1800, 8), 9 if by else 3)
    groups = np.tile(np.repeat([1.0, 12.5, 3e6], 3), 8) if by else np.ones(24)
    names = ["loss", "failure", "an_exponent_of_a_long_name", "tiny", "huge", "flat"][:panes]
    sizes = [3.0, 0.5, 2.0, 1e-9, 1e12, 1.0]
    values = {
        name: size * groups**0.1 * x ** -(0.3 * k)
        for k, (name, size) in enumerate(zip(names, sizes, strict=False))
    }
    lines = pl.DataFrame({"n_data": x, "k": groups} | values)
    noisy = {name: y * np.exp(rng.standard_normal(len(x))) for name, y in values.items()}
    points = pl.DataFrame({"n_data": x, "k": groups} | noisy)
    about = "noise=0.5, " * 30
    grouped = "k" if by else None
    return overlay(lines.unique(["n_data", "k"], maintain_order=True), points, x="n_data",
                   by=grouped, columns=names, title="a theory", about=about)  # fmt: skip


@pytest.mark.parametrize(("panes", "by"), [(1, False), (5, True)])
def test_theory_and_simulation(panes: int, by: bool, tmp_path: Path) -> None:
    shown = theory(panes, by=by)
    figure = compose_overlay(shown)
    figure.draw_without_rendering()
    assert_words_are_apart(figure)
    assert len(figure.axes) == panes
    for axes in figure.axes:
        assert_ticks(axes.xaxis)
        assert_ticks(axes.yaxis)
        (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
        assert len(axes.lines) == 2 * (3 if by else 1)
        for line in axes.lines:
            assert low_x < np.min(line.get_xdata()) < np.max(line.get_xdata()) < high_x
            assert low_y <= np.min(line.get_ydata()) <= np.max(line.get_ydata()) <= high_y
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == (
        ["k = 1", "k = 12.5", f"k = {format_number(3e6, 3)}"] if by else ["theory and simulation"]
    )
    for name in ("first.svg", "second.svg"):
        draw_overlay(theory(panes, by=by), tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_the_same_fit_gives_the_same_file_in_another_process(tmp_path: Path) -> None:
    """Solvers that order by address lay out alike only to the last digits."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_figure as t; "
        "t.draw_fit(t.chinchilla(60, 4), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "a.svg")]
    subprocess.run(command, check=True)
    draw_fit(chinchilla(60, 4), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (2.1, 3.4, False, ["2.25", "2.50", "2.75", "3.00", "3.25"]),
        (2.1, 3.4, True, ["2.25", "2.50", "2.75", "3.00", "3.25"]),
        (0.9, 1.1e4, True, ["1", "10", "100", "1000", "10000"]),
        (12.0, 400.0, True, ["20", "50", "100", "200"]),
        (2e7, 3e9, True, ["3x10⁷", "10⁸", "3x10⁸", "10⁹", "3x10⁹"]),
        (2e-4, 3e4, True, ["10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹", "10²", "10³", "10⁴"]),
        (-1.0, 1.0, False, ["\N{MINUS SIGN}1.0", "\N{MINUS SIGN}0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_tick_labels(low: float, high: float, log: bool, labels: list[str]) -> None:
    from matplotlib.figure import Figure

    with styled():
        axes = Figure(figsize=(4, 4)).subplots()
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(low, high)
        tick(axes.xaxis)
        found = [label.get_text() for _, label in shown_ticks(axes.xaxis)]
    found = [text.replace("\N{MULTIPLICATION SIGN}", "x") for text in found]
    assert found == labels


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.SVG", b"<?xml")]
)
def test_kinds_of_files(name: str, begins: bytes, tmp_path: Path) -> None:
    panels = curve(0)
    draw_fit(panels, tmp_path / name)
    written = (tmp_path / name).read_bytes()
    assert written.startswith(begins)
    draw_fit(panels, tmp_path / name)
    assert (tmp_path / name).read_bytes() == written


@pytest.mark.parametrize("rows", [500, 501, pytest.param(1200, marks=pytest.mark.slow)])
def test_files_stay_small_around_the_thresholds(rows: int, tmp_path: Path) -> None:
    draw_fit(chinchilla(rows), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 500_000


def test_the_reconstruction_of_chinchilla(data_path: Callable[[str], Path], tmp_path: Path) -> None:
    table = read_table(
        data_path("runs/chinchilla_epoch.csv"),
        rename={"N": "n_params", "D": "n_tokens"},
        where="epoch_kept = true",
    )
    panels = fit_panels(fit("chinchilla", table, draws=50), table)
    assert [format_number(value) for value in panels.fit.params.values()] == [
        "1.817",
        "477.8",
        "2143",
        "0.3473",
        "0.3672",
    ]
    draw_fit(panels, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 400_000


def test_the_header_shows_numbers_and_status() -> None:
    panels = chinchilla(60)
    texts = [text.get_text() for text in words(compose(panels))]
    assert "chinchilla fitted to loss" in texts
    assert any(r"\mathrm{n\_params}^{-\alpha}" in text for text in texts)
    for name, value in panels.fit.params.items():
        assert any(text.endswith(f" = {format_number(value)}") for text in texts)
        assert caption.interval(panels.fit, name) in texts
    assert "converged: every parameter is determined by the table" in texts
    assert caption.facts(panels) in texts
    assert "Huber width ±0.001" in texts
    holds = f"(holds {panels.match.inside} of 60)"
    assert f"95% interval of a new run {holds}" in texts


def test_a_status_that_is_not_converged_stands_out() -> None:
    panels = unusable()
    shown = {text.get_text(): text for text in words(compose(panels))}
    (warning,) = [text for text in shown if text.startswith("NOT USABLE: flat: A and alpha")]
    assert shown[warning].get_weight() == "bold"
    assert "law (fit not usable)" in shown
    bound = replace(panels, fit=replace(panels.fit, status=Status.BOUND_HIT))
    assert any(t.get_text().startswith("Note: bound_hit:") for t in words(compose(bound)))


def test_a_missing_band_is_explained() -> None:
    texts = [text.get_text() for text in words(compose(curve(0)))]
    assert "law (no band: the fit has no draws)" in texts
    assert "No band: the fit has no draws (fit again with draws=1000)." in texts


def test_variables_that_are_held_are_named_in_the_panel() -> None:
    table = table_of(60).with_columns(batch_size=pl.lit(1.0) + np.arange(60) % 7)
    made = fit("E + A*n_params**-a + B*n_tokens**-b + c/batch_size", table, draws=0)
    label = compose(fit_panels(made, table)).axes[0].get_xlabel()
    assert label.endswith("law drawn at batch_size = 4.000 examples (the median)")


def test_thinning_is_stated() -> None:
    text = " ".join(text.get_text() for text in words(compose(chinchilla(2000, 0))))
    assert re.search(r"1,1\d\d of 2,000 runs are drawn", text)
    assert "In .svg and .pdf files the points are a bitmap." in text
    few = [text.get_text() for text in words(compose(chinchilla(60, 0)))]
    assert not any("a picture" in text for text in few)


@pytest.mark.parametrize("name", ["a.gif", "a.jpeg", "a", "folder.svg/a"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a figure is a \.svg, \.png or \.pdf file"):
        draw_fit(curve(0), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_suffix_is_named() -> None:
    with pytest.raises(ValueError, match=r"Did you mean '\.svg'\?"):
        check_drawing("figure.sgv")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        draw_fit(curve(0), tmp_path / "none" / "a.svg")


def test_without_matplotlib_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panels = curve(0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for call in (lambda: draw_fit(panels, tmp_path / "a.svg"), lambda: compose(panels)):
        with pytest.raises(ImportError, match=r"pip install 'kleiber\[report\]'"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.svg"
    path.write_text("before")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        draw_fit(curve(0), path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.svg"]
