"""Which of two laws extrapolates better, decided by runs they were not fitted to.

The second is Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5, above a floor E.

    python examples/compare_laws.py
"""

from __future__ import annotations

from pathlib import Path

import kleiber

RUNS = Path(__file__).parent / "runs.csv"
LAWS = ("chinchilla", "E + ((N_c/n_params)**(alpha/beta) + D_c/n_tokens)**beta")


def main() -> None:
    """Fit both laws up to 1,500 and 5,000 tokens and judge them on what lies beyond."""
    found = kleiber.compare(
        LAWS,
        kleiber.read_table(RUNS),
        beyond="n_tokens",
        origins=[1_500, 5_000],
        noise=kleiber.Noise("log"),
        draws=100,
    )
    print(found.verdict)
    for item in found.contenders:
        error, behind = item.error, item.behind
        print(f"{item.law}: {item.n_params} parameters, {item.verdict}")
        print(f"  error {error.value:.4f}, between {error.low:.4f} and {error.high:.4f}")
        print(f"  behind the best by {behind.low:.4f} to {behind.high:.4f}")


if __name__ == "__main__":
    main()
