"""The figure of CIFAR-10H with the features of a net that we train."""

from __future__ import annotations

from typing import Any

import polars as pl

from kleiber.claim import Context
from kleiber.systems.drawing import BLUE, RED, Drawing
from kleiber.systems.hard_tail.claims.backbone import UNITS, active, backbone_heads
from kleiber.systems.hard_tail.heads import average_heads, window_exponents


def backbone(draw: Drawing, context: Context) -> Any:
    """CIFAR-10H with hidden features of our own net: loss, exponent, and failure against k."""
    figure = draw.figure(12, 3.9)
    left = draw.panel(figure, (1, 3, 1), "Training", "N: labelled images", "generalisation loss")
    middle = draw.panel(figure, (1, 3, 2), "Exponent", "N: labelled images", "")
    right = draw.panel(figure, (1, 3, 3), "Failure, 512 units", "k: human labels", "failure")
    for (layer, units), colour in zip(UNITS.items(), (BLUE, RED), strict=True):
        table = average_heads(window_exponents(backbone_heads(context, layer)))
        x, dims = table["n_data"], active(context, layer)
        name = f"{dims} active of {units} units"
        left.plot(x, table["loss"], "o-", color=colour, ms=4, label=name)
        left.fill_between(x, table["loss_low"], table["loss_high"], color=colour, alpha=0.15, lw=0)
        error = 2 * table["exponent_stderr"].to_numpy()
        middle.errorbar(x, table["exponent"], error, fmt="o-", color=colour, ms=4, label=name)
        for axes in (left, middle):
            axes.axvline(dims + 1, color=colour, lw=0.8, ls=":")
    middle.set(yscale="linear", ylabel=r"$\beta_{\mathrm{eff}}$, k from 1 to 45")
    middle.set_ylim(bottom=0)
    mean = backbone_heads(context, "wide").group_by("n_data", "k").agg(pl.col("failure").mean())
    sizes = (8, 64, 256, 512, 1024, 8000)
    for size, colour in zip(sizes, draw.shades(len(sizes)), strict=True):
        part = mean.filter(pl.col("n_data") == size).sort("k")
        right.plot(part["k"], part["failure"], "o-", color=colour, ms=3, label=f"N = {size}")
    left.legend()
    middle.legend(loc="lower right")
    right.set_yticks((0.1, 0.2, 0.3, 0.5, 0.8), ["0.1", "0.2", "0.3", "0.5", "0.8"])
    right.legend(fontsize=7.5)
    return figure
