"""Bordelon, Atanasov and Pehlevan 2024: a linear model that learns features, and nets that test it.

The paper's statements, those that fail as they stand with the corrected one after each; they stand
beside what they compute, in the modules beside this folder. We could read the paper's beginning,
its reviews and notes on it, not its full text: where a constant of an experiment is unknown to us
(widths, rates, batches, steps), the claim says what we took.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.feature_learning.claims.dmft import STATEMENTS as DMFT
from kleiber.systems.feature_learning.claims.networks import STATEMENTS as NETWORKS
from kleiber.systems.feature_learning.claims.theory import STATEMENTS as THEORY

TITLE = "How feature learning can improve neural scaling laws"
CITATION = "Bordelon, Atanasov and Pehlevan 2024, ICLR 2025, arXiv 2409.17858"
CLAIMS: tuple[Claim, ...] = (*THEORY, *DMFT, *NETWORKS)
