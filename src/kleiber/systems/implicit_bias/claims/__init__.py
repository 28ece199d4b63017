"""D'Amico, Bocchi, Negri 2025: two laws in the norm of the weights imply the law in data.

The claims are computed exactly for the perceptron, refitted from the published curves of deep
networks, and measured on networks trained here. Each module of this folder holds claims and the
functions that compute them. We could read the abstract, a talk, a poster and the code, but not the
full text of the later versions.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.implicit_bias.claims.curves import STATEMENTS as CURVES
from kleiber.systems.implicit_bias.claims.figures import STATEMENTS as PERCEPTRON
from kleiber.systems.implicit_bias.claims.networks import STATEMENTS as NETWORKS
from kleiber.systems.implicit_bias.claims.published import STATEMENTS as PUBLISHED

TITLE = (
    "Implicit bias produces neural scaling laws in learning curves, from perceptrons to deep "
    "networks"
)
CITATION = "D'Amico, Bocchi, Negri 2025, arXiv 2505.13230"
CLAIMS: tuple[Claim, ...] = (*PERCEPTRON, *CURVES, *PUBLISHED, *NETWORKS)
