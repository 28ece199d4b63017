"""Liu and Tegmark 2023: the N^-1 of wide nets as an average over lottery tickets.

A statement of the paper that fails as it stands is followed by a corrected one. Each module of this
folder holds claims and the functions that compute them. We could read the paper's abstract, its
opening, its figures and summaries of it, but not its full text; its optimiser, rate, steps and
examples are unknown to us, so every claim names those that it uses. The authors note in the second
version that the theory is being repaired while the empirical results stand.
"""

from __future__ import annotations

from kleiber.claim import Claim
from kleiber.systems.lottery_tickets.claims.exponents import STATEMENTS as EXPONENTS
from kleiber.systems.lottery_tickets.claims.inside import STATEMENTS as INSIDE
from kleiber.systems.lottery_tickets.claims.rivals import STATEMENTS as RIVALS

TITLE = "A neural scaling law from lottery ticket ensembling"
CITATION = "Liu & Tegmark 2023, arXiv 2310.02258"
CLAIMS: tuple[Claim, ...] = (*EXPONENTS, *RIVALS, *INSIDE)
