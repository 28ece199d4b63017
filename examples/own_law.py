"""A law of one's own, fitted with an interval of an exponent derived from it.

Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5, has no floor; runs.csv has one. Along
6 N D = C the loss of ``kaplan_floor`` is least at N* ~ C^(beta/(alpha + beta)).

    python examples/own_law.py
"""

from __future__ import annotations

from pathlib import Path

import kleiber
from kleiber import Law, positive

RUNS = Path(__file__).parent / "runs.csv"
free = positive()  # starts from the data's scale; positive(0.1, 2) says where


@Law
def kaplan_floor(n_params, n_tokens, *, E=free, N_c=free, D_c=free, alpha=free, beta=free):
    """Loss of n_params parameters after n_tokens tokens. Kaplan et al. 2020, eq. 1.5, plus E."""
    return E + ((N_c / n_params) ** (alpha / beta) + D_c / n_tokens) ** beta


def main() -> None:
    """Fit the law to runs.csv and print the exponent of its best size in compute."""
    fit = kleiber.fit(kaplan_floor, kleiber.read_table(RUNS), noise=kleiber.Noise("log"), draws=500)
    print(fit.summary())
    p = fit.params
    low, high = fit.interval(lambda p: p["beta"] / (p["alpha"] + p["beta"]))
    print(f"N* ~ C^{p['beta'] / (p['alpha'] + p['beta']):.3f}, between {low:.3f} and {high:.3f}")


if __name__ == "__main__":
    main()
