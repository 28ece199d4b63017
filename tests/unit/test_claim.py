"""A claim is refused when it is not well formed, and judged by its interval."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kleiber.claim import (
    Claim,
    Context,
    Estimate,
    Verdict,
    describe_verdict,
    estimate,
    examine,
    judge,
)

NAN = math.nan


def claim(**given: Any) -> Claim:
    """A claim that one and a half is 1.5 within 0.1, changed as given."""
    about: dict[str, Any] = {"where": "section 1", "says": "it is 1.5", "expected": 1.5}
    about |= {"within": 0.1, "compute": lambda _: estimate(1.5, 0.01)}
    return Claim(**(about | given))


@pytest.mark.parametrize(
    ("value", "stderr", "verdict"),
    [
        (1.50, 0.01, "holds"),
        (1.58, 0.0099, "holds"),
        (1.58, 0.0101, "inconclusive"),
        (1.50, 0.2, "inconclusive"),
        (1.65, 0.03, "inconclusive"),
        (1.65, 0.024, "fails"),
        (1.2, 0.01, "fails"),
    ],
)
def test_the_interval_decides(value: float, stderr: float, verdict: str) -> None:
    assert judge(claim(), estimate(value, stderr)) == verdict


@pytest.mark.parametrize(
    ("side", "value", "verdict"),
    [
        ("at_least", 99.0, "holds"),
        ("at_least", 1.43, "holds"),
        ("at_least", 1.41, "inconclusive"),
        ("at_least", 1.3, "fails"),
        ("at_most", -99.0, "holds"),
        ("at_most", 1.57, "holds"),
        ("at_most", 1.7, "fails"),
    ],
)
def test_one_side_is_enough(side: str, value: float, verdict: str) -> None:
    assert judge(claim(side=side), estimate(value, 0.01)) == verdict


def test_an_interval_of_its_own_decides_before_the_standard_error() -> None:
    assert judge(claim(), Estimate(1.5, 5.0, 1.45, 1.55)) == "holds"
    assert judge(claim(), Estimate(1.5, 0.001, 1.0, 2.0)) == "inconclusive"


def test_an_exact_number_is_compared_as_it_is() -> None:
    exact = claim(within=0.0, exact="an identity")
    assert judge(exact, estimate(1.5)) == "holds"
    assert judge(exact, estimate(1.5 + 1e-15)) == "fails"
    verdict, _ = examine("paper", claim(compute=lambda _: estimate(1.5), exact="an identity"), CALM)
    assert verdict.why == "No standard error: an identity."


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"known": "fails"}, "needs a why"),
        ({"known": "inconclusive", "why": " "}, "needs a why"),
        ({"known": "hold"}, "Did you mean 'holds'"),
        ({"scale": "lap"}, "Did you mean 'laptop'"),
        ({"side": "above"}, "both, at_least, at_most"),
        ({"source": "abstracts"}, "Did you mean 'abstract'"),
        ({"source": None}, "source=None; it takes abstract, paper, second-hand, ours"),
        ({"says": ""}, "says something"),
        ({"expected": NAN}, "expected must be a finite"),
        ({"within": -0.1}, "within of at least 0"),
    ],
)
def test_a_claim_that_is_not_well_formed_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        claim(**given)


CALM = Context()


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda _: estimate(1.5), "no standard error, and the claim does not say why"),
        (lambda _: estimate(NAN, 0.1), "The number obtained is nan"),
        (lambda _: estimate(math.inf, 0.1), "The number obtained is inf"),
        (lambda _: float("x"), "could not convert string to float: 'x'"),
    ],
)
def test_a_claim_that_cannot_be_computed_says_why(compute: Any, sentence: str) -> None:
    verdict, obtained = examine("paper", claim(compute=compute), CALM)
    assert obtained is None
    assert (verdict.verdict, verdict.as_known) == ("error", False)
    assert verdict.why == sentence or sentence in verdict.why
    assert describe_verdict(verdict)["obtained"] is None


def test_an_interruption_is_no_verdict() -> None:
    def stop(_: Context) -> Estimate:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine("paper", claim(compute=stop), CALM)


def test_what_claims_share_is_computed_once() -> None:
    calls: list[int] = []
    context = Context(scale="laptop")
    for _ in range(3):
        assert context.share("runs", lambda: calls.append(1) or 7) == 7
    assert len(calls) == 1
    assert context.choose(1, 2, 3) == 2
    assert Context(scale="full").choose(1, 2) == 2
    assert Context(scale="full").choose(1, 2, 0) == 0


def test_the_document_is_the_contract() -> None:
    verdict = Verdict("p", "w", "s", 1.0, 0.1, 1.05, 0.01, "holds", "holds", "", 0.5)
    keys = "paper where says source expected within obtained stderr verdict known why seconds"
    document = describe_verdict(verdict)
    assert list(document)[: len(keys.split())] == keys.split()
    assert document["obtained"] == 1.05


@pytest.mark.parametrize("given", [{}, {"source": "paper"}])
def test_a_verdict_has_the_source_of_its_claim(given: dict[str, Any]) -> None:
    source = given.get("source", "ours")
    for compute in (lambda _: estimate(1.5, 0.01), lambda _: 1 / 0):
        verdict, _ = examine("paper", claim(compute=compute, **given), CALM)
        assert verdict.source == source
