"""Every claim of every paper, at scale quick: the verdict is the one that is known.

A paper is found by walking `kleiber.systems.papers`; nothing here names one. Claims that take
seconds are slow but for the first of each kind; `kleiber check --scale quick` computes them all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kleiber.claim import Claim, Context, examine
from kleiber.data.fetch import catalogue as datasets
from kleiber.systems.papers import catalogue

PAPERS = catalogue()
QUICK_CLAIMS = 6  # of a paper, at least; docs/add-a-paper.md states it
# Functions of claims that take seconds each: the first claim of each runs, the others are slow.
DEAR = (
    "claims.compute.best",
    "claims.dmft.one_answer",
    "claims.dmft.slowed",
    "claims.training.early_exponent",
)
# And those whose nets or perceptrons are trained for it: all of them are slow.
TRAINED = (
    "claims.checkpoints.",
    "claims.circle.beyond",
    "claims.circle.exponent_of",
    "claims.circle.lazy_prediction",
    "claims.control.universality",
    "claims.dmft.deviation",
    "claims.exponents.",
    "claims.flow.",
    "claims.narrow.dead_loss",
    "claims.narrow.drift",
    "claims.narrow.on_the_curve",
    "claims.narrow.ratio_to_bound",
    "claims.narrow.symmetric",
    "claims.simulated.",
    "claims.sizes.",
    "claims.split.marginal_share",
    "claims.split.growth_of_attempts",
    "claims.split.share_at",
    "claims.split.size_at",
    "claims.training.combined",
    "claims.training.falls",
    "claims.training.late_exponent",
    "claims.training.spread",
)


def place_of(claim: Claim) -> str:
    """The module and function that compute a claim."""
    return f"{claim.compute.__module__}.{claim.compute.__qualname__}"


def selected() -> Iterator[Any]:
    """The claims of scale quick, of which some are slow."""
    seen: set[str] = set()
    for name, paper in PAPERS.items():
        for k, claim in enumerate(paper.claims):
            if claim.scale != "quick":
                continue
            place = place_of(claim)
            kinds = [kind for kind in DEAR if kind in place]
            slow = any(kind in place for kind in TRAINED) or not seen.isdisjoint(kinds)
            seen |= {*kinds}
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(name, claim, id=f"{name}-{k}", marks=marks)


@pytest.fixture(scope="module")
def contexts() -> dict[str, Context]:
    """One context a paper, so that its claims share what they have in common."""
    return {name: Context() for name in PAPERS}


@pytest.mark.parametrize(("name", "claim"), [*selected()])
def test_the_verdict_is_as_known(
    name: str,
    claim: Claim,
    contexts: dict[str, Context],
    data_path: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if claim.needs:
        folder = data_path("README.md").parent
        monkeypatch.setenv("KLEIBER_DATA", str(folder))
        for file in (file for need in claim.needs for file in datasets()[need].files.values()):
            if not any((folder / place).exists() for place in (file.path, *file.other)):
                pytest.skip(f"needs {file.path} of the shared data, which is not in KLEIBER_DATA")
    verdict, _ = examine(name, claim, contexts[name])
    assert verdict.verdict == claim.known, verdict


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_has_enough_to_say(name: str) -> None:
    claims = PAPERS[name].claims
    quick = sum(claim.scale == "quick" for claim in claims)
    assert quick >= QUICK_CLAIMS, (
        f"{name} has {quick} claims of scale quick, fewer than {QUICK_CLAIMS}"
    )
    assert len({(claim.where, claim.says) for claim in claims}) == len(claims)
    assert all(need in datasets() for claim in claims for need in claim.needs)


def calls_of_claim(file: Path) -> Iterator[ast.Call]:
    """The places in a file at which a claim is made."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "Claim":
                yield node


@pytest.mark.parametrize("name", PAPERS)
def test_every_claim_says_where_it_comes_from(name: str) -> None:
    module = sys.modules[PAPERS[name].module]
    assert module.__file__ is not None
    file = Path(module.__file__)
    files = file.parent.glob("*.py") if file.name == "__init__.py" else [file]
    calls = [(file.name, call) for file in files for call in calls_of_claim(file)]
    assert calls
    silent = [
        (file, call.lineno)
        for file, call in calls
        if "source" not in [keyword.arg for keyword in call.keywords]
    ]
    assert silent == [], "a claim of a paper names its source: abstract, paper, second-hand, ours"


@pytest.mark.parametrize("kind", [*DEAR, *TRAINED])
def test_what_is_slow_is_a_claim(kind: str) -> None:
    places = [place_of(claim) for paper in PAPERS.values() for claim in paper.claims]
    assert any(kind in place for place in places)
