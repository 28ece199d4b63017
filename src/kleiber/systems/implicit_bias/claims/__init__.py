"""D'Amico, Bocchi, Negri 2025: two laws in the norm of the weights make the law in data.

Exact for the perceptron, refitted from the published curves of deep networks, and for networks
trained here. The statements stand beside what they compute, in the modules implicit_bias_*. We
could read the abstract, a talk, a poster and the code, not the full text of the later versions.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.implicit_bias.claims.curves import STATEMENTS as CURVES
from kleiber.systems.implicit_bias.claims.networks import STATEMENTS as NETWORKS
from kleiber.systems.implicit_bias.claims.perceptron import STATEMENTS as PERCEPTRON

TITLE = (
    "Implicit bias produces neural scaling laws in learning curves, from perceptrons to deep "
    "networks"
)
CITATION = "D'Amico, Bocchi, Negri 2025, arXiv 2505.13230"
CLAIMS: tuple[Claim, ...] = (*PERCEPTRON, *CURVES, *NETWORKS)
