"""The exponents of the implicit-bias paper for every net, norm and rule, as a table in Markdown.

    python benchmarks/norm_exponents.py

The trainings are those of `kleiber check implicit_bias --scale laptop`, read where it keeps them
($KLEIBER_KEEP) and made where they are missing (45 minutes of CPU). It needs the extra ``train``,
and the data sets mnist, cifar10 and norms.
"""

from __future__ import annotations

from kleiber.claim import Context
from kleiber.systems.implicit_bias.claims.networks import NAMES, PUBLISHED
from kleiber.systems.implicit_bias.claims.training import RELEASED, TEXTBOOK, collapse_of
from kleiber.systems.keeping import keep_folder


def main() -> None:
    """Print the exponents of every case, norm and rule, as rows of a table in Markdown."""
    context = Context(scale="laptop", keep=keep_folder())
    print("| net | norm | rule | gamma_1 | gamma_2 | product | measured | overlap | collapse |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in PUBLISHED:
        for norm in NAMES:
            if norm in RELEASED.values() and norm not in (TEXTBOOK, RELEASED[case.split()[0]]):
                continue
            for rule in ("robust", "authors"):
                found = collapse_of(context, case, norm, rule)
                cells = [
                    f"{each.value:.3g} ± {each.stderr:.2g}" for each in found.estimates.values()
                ]
                spreads = f"{found.overlap:.1%}", f"{found.quality:.1%}"
                print(f"| {' | '.join([case, NAMES[norm], rule, *cells, *spreads])} |")
        for sentence in collapse_of(context, case, TEXTBOOK).flags:
            print(f"- {sentence}")


if __name__ == "__main__":
    main()
