"""The tables of docs/papers/lottery_tickets.md: exponents in every setting, 4/d, T1 to T5, claims.

    python benchmarks/lottery_tickets.py [--keep FOLDER] [exponents dimensions tests claims]

prints them as Markdown. The nets are those of `kleiber check lottery_tickets --scale laptop`, read
from the folder where it keeps them (--keep, or its default); what is not there is trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kleiber.claim import Context, Estimate, Verdict
from kleiber.systems.keeping import keep_folder
from kleiber.systems.lottery_tickets.claims.ensembling import WINDOW
from kleiber.systems.lottery_tickets.claims.exponents import exponent, exponent_row
from kleiber.systems.lottery_tickets.claims.narrow import GRID, SQUARE, trained
from kleiber.systems.lottery_tickets.claims.rivals import sensitivity
from kleiber.systems.lottery_tickets.claims.runs import nets as runs
from kleiber.systems.lottery_tickets.claims.settings import find
from kleiber.systems.lottery_tickets.judge import Finding, judge_tickets
from kleiber.systems.lottery_tickets.nets import draw_nets
from kleiber.systems.papers import check

TABLES = ("exponents", "dimensions", "tests", "claims")
SCHEDULES = {"constant": "constant", "step": "stepped", "cosine": "cosine to 0"}


def print_exponents(context: Context) -> None:
    """The exponent over N = 8 to 64 in every setting."""
    names = "setting, rate, schedule, steps, loss at N = 8, at N = 64, exponent, 95%, misfit"
    print(f"| {names.replace(', ', ' | ')} |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in sensitivity(context).iter_rows(named=True):
        chosen = find(row["setting"])
        rate = f"{chosen.rate:g}" + (f" (8/N)^{chosen.slowing:g}" if chosen.slowing else "")
        name = row["setting"].replace("|", "\\|")
        print(
            f"| {name} | {rate} | {SCHEDULES[row['schedule']]} | {chosen.steps:,} "
            f"| {row['first']:.1e} | {row['last']:.1e} | {row['exponent']:.2f} "
            f"| {row['exponent_low']:.2f} to {row['exponent_high']:.2f} | {row['misfit']:.2f} |"
        )


def print_dimensions(context: Context) -> None:
    """The exponent on sums of d squares beside 4/d."""
    print("| d | 4/d | ReLU: test | ReLU: training | SiLU: test | SiLU: training |")
    print("|---|---|---|---|---|---|")
    for d in (1, 2, 3):
        cells: list[str] = []
        for activation in ("relu", "silu"):
            for y in ("loss", "train_loss"):
                row = exponent_row(context, f"{activation} d={d}", y=y).row(0, named=True)
                ends = f"{row['exponent_low']:.2f} to {row['exponent_high']:.2f}"
                cells.append(f"{row['exponent']:.2f} ({ends})")
        print(f"| {d} | {4 / d:.2f} | {' | '.join(cells)} |")


def print_tests(context: Context) -> None:
    """T1 to T5 of the nets of SiLU at 1e-3, and T1 to T4 of the annealed and of ReLU."""
    print("| test | " + " | ".join(f"N = {n}" for n in WINDOW) + " | reading |")
    print("|---" * (len(WINDOW) + 2) + "|")
    for setting in ("silu", "silu annealed", "relu"):
        nets = {n: trained(context, setting, n) for n in WINDOW}
        initial = {
            n: draw_nets(n, [int(s) for s in runs(context, setting, n).seeds]) for n in WINDOW
        }
        speeds = None
        if setting == "silu":
            speeds = exponent("silu")(context), exponent("rate 8e-3/N")(context)
        verdict = judge_tickets(nets, GRID, SQUARE, initial=initial, speeds=speeds)
        for finding in verdict.tests.values():
            print(f"| {setting}: {finding.name}, {finding.asks} | {_cells(finding)} |")
        print(f"| {setting}: in all | " + " | " * len(WINDOW) + f"{verdict.reading} |")


def _cells(finding: Finding) -> str:
    found: dict[Any, Estimate] = dict(finding.estimates)
    if "base" in found:
        cells = [f"{name} {_short(each)}" for name, each in found.items()]
        return " | ".join([*cells, *[""] * (len(WINDOW) - len(cells)), finding.reading])
    cells = [_short(found[n]) if n in found else "" for n in WINDOW]
    return " | ".join([*cells, finding.reading])


def _short(each: Estimate) -> str:
    return f"{each.value:.2g} ({each.low:.2g} to {each.high:.2g})"


def print_claims(folder: Path) -> None:
    """Every claim with what we obtain."""
    print("| where | the claim | expected | obtained | verdict |")
    print("|---|---|---|---|---|")
    for item in check("lottery_tickets", scale="laptop", keep=folder):
        print(
            f"| {item.where} | {item.says} | {_expected(item)} | {_obtained(item)} "
            f"| {'holds' if item.verdict == 'holds' else f'*{item.verdict}*'} |"
            + ("" if item.as_known else "  NOT AS KNOWN")
        )


def _expected(item: Verdict) -> str:
    if item.side != "both":
        return f"{item.side.replace('_', ' ')} {item.expected:g}"
    return f"{item.expected:.4g} ± {item.within:.2g}" if item.within else f"{item.expected:.4g}"


def _obtained(item: Verdict) -> str:
    return f"{item.obtained:.4g}" + (f" ± {item.stderr:.2g}" if item.stderr == item.stderr else "")


def main() -> None:
    """Print the tables that are named, or all."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("tables", nargs="*", default=TABLES, metavar="TABLE")
    words.add_argument("--keep", type=Path, default=None)
    given = words.parse_args()
    folder = given.keep or keep_folder()
    context = Context(scale="laptop", keep=folder)
    makers = {
        "exponents": lambda: print_exponents(context),
        "dimensions": lambda: print_dimensions(context),
        "tests": lambda: print_tests(context),
        "claims": lambda: print_claims(folder),
    }
    for name in given.tables:
        makers[name]()
        print()


if __name__ == "__main__":
    main()
