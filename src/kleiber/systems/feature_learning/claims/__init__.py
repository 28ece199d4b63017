"""Bordelon, Atanasov and Pehlevan 2024: a linear model that learns features, and nets that test it.

A statement that fails as it stands is followed by a corrected one, and each claim says whether it
is the abstract's, second-hand or ours. Each module of this folder holds claims and the functions
that compute them. We could read the paper's beginning, its
reviews and notes on it, but not its full text: where a constant of an experiment is unknown to us
(widths, rates, batches, steps), the claim names the value that we used.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.feature_learning.claims.dmft import STATEMENTS as DMFT
from kleiber.systems.feature_learning.claims.networks import STATEMENTS as NETWORKS
from kleiber.systems.feature_learning.claims.simulated import STATEMENTS as SIMULATED
from kleiber.systems.feature_learning.claims.sizes import STATEMENTS as SIZES
from kleiber.systems.feature_learning.claims.theory import STATEMENTS as THEORY

TITLE = "How feature learning can improve neural scaling laws"
CITATION = "Bordelon, Atanasov and Pehlevan 2024, ICLR 2025, arXiv 2409.17858"
CLAIMS: tuple[Claim, ...] = (*THEORY, *DMFT, *SIMULATED, *SIZES, *NETWORKS)
