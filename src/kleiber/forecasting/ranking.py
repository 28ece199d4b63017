"""Several systems of one table, ranked by what each is worth against one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from kleiber.arguments import check_text
from kleiber.errors import BadTable, listed, nearest
from kleiber.forecasting.speedup import Ratio, Speedup, speedup
from kleiber.frames import as_frame
from kleiber.measurements import number_groups


@dataclass(frozen=True)
class Ranked:
    """A system with what it is worth against the baseline.

    Attributes
    ----------
    system
        Its value in the column of systems.
    found
        Its ``Speedup`` against the baseline; None where its runs cannot be compared.
    why
        Why not.

    Examples
    --------
    >>> from kleiber.forecasting.ranking import Ranked
    >>> Ranked("adam", None, "System B has runs of 2 sizes.").verdict
    'refused'
    """

    system: Any
    found: Speedup | None
    why: str = ""

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"``, ``"cannot tell"`` or ``"refused"``."""
        return "refused" if self.found is None else self.found.verdict


def rank_systems(
    table: Any,
    *,
    by: str,
    at: float,
    baseline: Any = None,
    ratio: Ratio = None,
    target: str = "loss",
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Ranked, ...]:
    """Rank the systems of one table by their effective-compute multiplier against a baseline.

    Each system is compared with the baseline as ``speedup`` does.

    Parameters
    ----------
    table
        The runs of all systems: any data frame, or a mapping.
    by
        The column whose values are the systems.
    baseline
        The system that the others are compared with; without, the first of the table.
    at, ratio, target, level, seed
        As for ``speedup``.

    Returns
    -------
    tuple of Ranked
        The other systems, the largest multiplier first; those that cannot be compared last.

    Raises
    ------
    BadTable
        For a column or a system that the table does not have, and a table of one system.

    Examples
    --------
    >>> import kleiber
    >>> flops = [1e18 * 2**k for k in range(8)]
    >>> loss = [1.8 + 800 * (m * c) ** -0.16 for m in (1, 1.3) for c in flops]
    >>> runs = {"recipe": 8 * ["old"] + 8 * ["new"], "flops": 2 * flops, "loss": loss}
    >>> (found,) = kleiber.rank_systems(runs, by="recipe", at=1e20)
    >>> found.system, found.verdict
    ('new', 'better')
    """
    frame = as_frame(table)
    number_groups(frame, check_text("by", by, "the name of a column"))
    systems = frame[by].unique(maintain_order=True).to_list()
    if len(systems) < 2:
        raise BadTable(f"The column {by!r} holds one system, {systems[0]}; give runs of two.")
    if baseline is None:
        baseline = systems[0]
    elif str(baseline) not in [str(each) for each in systems]:
        names = [str(each) for each in systems]
        raise BadTable(
            f"The column {by!r} holds no system {str(baseline)!r}; it has {listed(names)}."
            f"{nearest(str(baseline), names)}"
        )
    parts = {str(each): frame.filter(pl.col(by) == each) for each in systems}
    out: list[Ranked] = []
    for system in systems:
        if str(system) == str(baseline):
            continue
        runs = parts[str(baseline)], parts[str(system)]
        try:
            made = speedup(*runs, at=at, ratio=ratio, target=target, level=level, seed=seed)
            out.append(Ranked(system, made))
        except BadTable as error:
            out.append(Ranked(system, None, str(error)))
    return tuple(sorted(out, key=lambda each: -each.found.value if each.found else 0.0))
