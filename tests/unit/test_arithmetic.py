"""Arithmetic problems: their grammar, their answers, and their parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleiber.errors import BadExperiment
from kleiber.experiment import Experiment
from kleiber.experiment.arithmetic import (
    END,
    IGNORED,
    PAD,
    TOKEN,
    VOCABULARY,
    Grammar,
    Problem,
    decode,
    draw_problems,
    encode_answer,
    encode_problem,
    is_right,
    lay_out,
)

grammars = st.builds(
    Grammar,
    operations=st.integers(1, 6),
    digits=st.integers(1, 4),
    tail=st.floats(0.1, 4.0),
    words=st.sampled_from([0.0, 0.4, 0.99]),
)


def told_value(tokens: tuple[str, ...]) -> int:
    """Work out a told problem, sentence by sentence."""
    value = 0
    for sentence in " ".join(tokens).split(" . ")[:-1]:
        words = sentence.split()
        number = int("".join(word for word in words if word.isdigit()))
        if "has" in words:
            value = number
        elif "then" in words:
            value *= number
        else:
            value += number if "more" in words else -number
    return value


def computed_steps(problem: Problem) -> tuple[str, ...]:
    """The numbers and operations of a problem, however it is told."""
    kinds = {"more": "+", "times": "*", "loses": "-", "sells": "-", "drops": "-"}
    words = [kinds.get(word, word) for word in problem.tokens]
    kept = [word for word in words if word.isdigit() or word in "+-*"]
    if problem.tokens[-1] == "=":
        return tuple(kept)
    found: list[str] = []
    number: list[str] = []
    sign = ""
    for word in words:
        if word.isdigit():
            number.append(word)
        elif word in "+-*":
            sign = word
        elif word == "." and number:
            found += [*filter(None, [sign]), *number]
            number, sign = [], ""
    return tuple(found)


@given(grammars, st.integers(0, 1000))
def test_answers_are_right_and_fit(grammar, seed):
    problems = draw_problems(np.random.default_rng(seed), grammar, 40, "train")
    for problem in problems:
        written = problem.tokens[-1] == "="
        expected = eval(problem.text[:-1]) if written else told_value(problem.tokens)
        assert problem.answer == expected
        assert 0 <= problem.answer < 10 ** (grammar.digits + 1)
        answer = encode_answer(problem)
        assert len(answer) <= grammar.answer_length
        assert len(problem.tokens) + len(answer) <= grammar.length
        assert 1 <= problem.operations <= grammar.operations
        assert "".join(computed_steps(problem)) == problem.steps
        assert is_right(problem, answer)
        assert not is_right(problem, answer[:-1]), "it has not ended"
        assert not is_right(problem, (TOKEN["1"], *answer))
        assert not is_right(problem, (*answer[:-1], PAD, END)), "a pad is no part of a number"


def test_parts_share_no_problem():
    grammar = Grammar(2, 2, 1.0, 0.3)
    rng = np.random.default_rng(0)
    parts = {
        part: {computed_steps(each) for each in draw_problems(rng, grammar, 500, part)}
        for part in ("train", "test", "check")
    }
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["check"]
    assert not parts["test"] & parts["check"]


def test_difficulty_has_its_tail():
    problems = draw_problems(np.random.default_rng(0), Grammar(8, 3, 1.0, 0.2), 20_000, "train")
    counts = np.bincount([problem.operations for problem in problems], minlength=9)[1:]
    expected = np.arange(1, 9) ** -2.0
    expected *= 20_000 / expected.sum()
    # a ninth operation is no more likely to be in the training part than the first: 5 deviations
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected) + 0.01 * expected)


def test_distinct_problems_of_a_small_grammar_run_out():
    with pytest.raises(ValueError, match="fewer than 5000 problems of the part 'test'"):
        draw_problems(np.random.default_rng(0), Grammar(1, 1, 1.0, 0.0), 5000, "test", True)


def test_only_answers_are_learned():
    (problem,) = draw_problems(np.random.default_rng(3), Grammar(2, 2, 1.0, 0.0), 1, "train")
    prompt, answer = encode_problem(problem), encode_answer(problem)
    tokens, targets = lay_out([prompt], [answer], 20)
    assert tokens.shape == targets.shape == (1, 19)
    learned = targets[0] != IGNORED
    assert targets[0][learned].tolist() == list(answer)
    assert np.flatnonzero(learned)[0] == len(prompt) - 1
    assert tokens[0, len(prompt) + len(answer) :].tolist() == [PAD] * (19 - len(prompt + answer))
    assert decode(answer) == str(problem.answer)
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert VOCABULARY[END] == "<end>"


def test_the_key_of_other_tasks_is_as_before():
    spec = Experiment(task={"kind": "formula"}, net={"kind": "mlp", "width": 8}, batch=4)
    assert spec.key() == "d3966b28d567ff36c0364d82"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": {"kind": "mlp", "width": 8}}, "'arithmetic' needs 'transformer'"),
        ({"task": {"kind": "formula"}}, "'arithmetic' needs 'transformer'"),
        ({"measures": ["log_frobenius"]}, "'log_frobenius' is not defined for"),
        ({"net": {"kind": "transformer", "width": 30}}, "30 is not a multiple of heads 4"),
        ({"net": {"kind": "transformer", "width": 12}}, "heads of even size, not of 3"),
        ({"task": {"kind": "arithmetic", "digits": 10}}, "digits"),
    ],
)
def test_specs_that_are_refused(change, message):
    good = {"task": {"kind": "arithmetic"}, "net": {"kind": "transformer"}, "batch": 8}
    Experiment(**good)
    with pytest.raises(BadExperiment, match=message):
        Experiment(**{**good, **change})
