"""Levi 2026: a solvable linear model in which training changes how failure falls with attempts.

A statement that fails as it stands is followed by a corrected one, and each claim says whether it
is the abstract's, second-hand or ours. Each module of this folder holds claims and the functions
that compute them. We could read the paper's abstract, its
reviews and summaries of it, but not its full text: where a constant of a figure is unknown to us
(dimension, tolerance, windows), the claim names the value that we used.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.hard_tail.claims.backbone import STATEMENTS as BACKBONE
from kleiber.systems.hard_tail.claims.checkpoints import STATEMENTS as CHECKPOINTS
from kleiber.systems.hard_tail.claims.control import STATEMENTS as CONTROL
from kleiber.systems.hard_tail.claims.counts import STATEMENTS as COUNTS
from kleiber.systems.hard_tail.claims.distillation import STATEMENTS as DISTILLATION
from kleiber.systems.hard_tail.claims.heads import STATEMENTS as HEADS
from kleiber.systems.hard_tail.claims.saturation import STATEMENTS as SATURATION
from kleiber.systems.hard_tail.claims.split import STATEMENTS as SPLIT
from kleiber.systems.hard_tail.claims.tails import STATEMENTS as TAILS
from kleiber.systems.hard_tail.claims.training import STATEMENTS as TRAINING

TITLE = "Learning shrinks the hard tail: training-dependent inference scaling in a linear model"
CITATION = "Levi 2026, ICLR, arXiv 2601.03764"
CLAIMS: tuple[Claim, ...] = (
    *TRAINING,
    *TAILS,
    *SATURATION,
    *CONTROL,
    *SPLIT,
    *HEADS,
    *BACKBONE,
    *COUNTS,
    *CHECKPOINTS,
    *DISTILLATION,
)
