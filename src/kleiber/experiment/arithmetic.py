"""Arithmetic problems from a grammar: drawn, written as tokens, and checked exactly.

A problem starts from a number and applies operations one after the other, written as an expression
(``(12+3)*4=``) or told in sentences (``tom has 12 apples . gets 3 more . ... how many ?``). The
number of operations n and of digits m have power laws, P(n) ~ n^-(1 + tail), so that a few problems
are far harder than most. Every problem belongs to one of three parts by a checksum of its
operations and numbers: "train", "test" and "check", so that no problem is both trained on and
asked, neither as an expression nor told with other names and verbs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int64

Group: TypeAlias = Literal["train", "test", "check"]

NAMES = ("tom", "ann", "sam", "eve", "max", "ida", "leo", "mia")
THINGS = ("apples", "coins", "books", "cards", "eggs", "nuts", "pens", "shells")
GAINS = ("gets", "finds", "buys")
LOSSES = ("loses", "sells", "drops")
WORDS = ("has", "more", "then", "times", "as", "many", ".", "how", "?")
MARKS = ("+", "-", "*", "(", ")", "=")
PAD, END = 0, 1
VOCABULARY = (
    "<pad>", "<end>", *"0123456789", *MARKS, *NAMES, *THINGS, *GAINS, *LOSSES, *WORDS,
)  # fmt: skip
TOKEN = {word: number for number, word in enumerate(VOCABULARY)}
IGNORED = -1  # the target at a place whose token is not learned
PATIENCE = 50_000  # draws without a new problem
PARTS = 8  # one eighth of all problems is "test", another "check"
TOLD_OPERATION = 6  # tokens of "then 5 times as many ."


@dataclass(frozen=True)
class Grammar:
    """The bounds of the grammar, and the exponent of its difficulty."""

    operations: int
    digits: int
    tail: float
    words: float  # share of problems that are told in sentences

    @property
    def answer_length(self) -> int:
        """The tokens of the longest answer, with the one that ends it."""
        return self.digits + 2

    @property
    def length(self) -> int:
        """The tokens of the longest problem with its answer."""
        each = self.digits + 3  # an expression's operator, number and parentheses
        written = self.digits + each * self.operations + 1
        told = 4 + self.digits + max(TOLD_OPERATION, each) * self.operations + 3
        return (told if self.words else written) + self.answer_length


@dataclass(frozen=True)
class Problem:
    """A problem: its tokens, its answer, and what makes it hard."""

    tokens: tuple[str, ...]
    steps: str  # the start and the operations in order, such as "12+3*4": what is to be computed
    answer: int
    operations: int
    digits: int  # of its longest number

    @property
    def text(self) -> str:
        """The problem as it is read."""
        return ("" if self.tokens[-1] == "=" else " ").join(self.tokens)

    @property
    def group(self) -> Group:
        """The part of all problems that it belongs to."""
        at = zlib.crc32(self.steps.encode()) % PARTS
        return "test" if at == 0 else "check" if at == 1 else "train"


def draw_problems(
    rng: np.random.Generator, grammar: Grammar, count: int, group: Group, distinct: bool = False
) -> list[Problem]:
    """Draw so many problems of a part; if they are to be distinct, no two have the same operations
    and numbers."""
    found: list[Problem] = []
    steps: set[str] = set()
    since = 0  # draws since the last problem that was kept
    for problem in _compose_all(rng, grammar):
        since += 1
        if problem.group != group or (distinct and problem.steps in steps):
            if since > PATIENCE:
                raise ValueError(
                    f"The grammar has fewer than {count} problems of the part {group!r} that are "
                    f"not too rare to be drawn: the last {PATIENCE} draws were none but those "
                    f"{len(found)} that were found."
                )
            continue
        steps.add(problem.steps)
        found.append(problem)
        since = 0
        if len(found) == count:
            break
    return found


def _compose_all(rng: np.random.Generator, grammar: Grammar) -> Iterator[Problem]:
    """Yield problems without end."""
    while True:
        for row in rng.random((1024, 5 + 4 * grammar.operations)).tolist():
            yield _compose(row, grammar)


@lru_cache
def _cumulative(most: int, tail: float) -> tuple[float, ...]:
    """Return P(n <= 1), ..., P(n <= most) of P(n) ~ n^-(1 + tail)."""
    weights = np.arange(1, most + 1) ** -(1.0 + tail)
    return tuple((np.cumsum(weights) / weights.sum()).tolist())


def _power_law(u: float, most: int, tail: float) -> int:
    """Return n from 1 to most with P(n) ~ n^-(1 + tail), from a uniform number."""
    cumulative = _cumulative(most, tail)
    return 1 + next((n for n, total in enumerate(cumulative) if u < total), most - 1)


def _number(size: float, place: float, grammar: Grammar) -> int:
    """Return a number whose count of digits has the power law, uniform among those."""
    low = 10 ** (_power_law(size, grammar.digits, grammar.tail) - 1)
    return low + int(place * 9 * low)


def _compose(uniforms: Sequence[float], grammar: Grammar) -> Problem:
    """Return the problem that uniform numbers decide."""
    count, style, who, what, size, *rest = uniforms
    operations = _power_law(count, grammar.operations, grammar.tail)
    value = _number(size, rest.pop(), grammar)
    largest, steps = value, [("", value)]
    for _ in range(operations):
        kind, size, place = rest.pop(), rest.pop(), rest.pop()
        number = _number(size, place, grammar)
        sign, number = _choose_operation(kind, value, number, grammar)
        value = value + number if sign == "+" else value - number if sign == "-" else value * number
        largest = max(largest, number)
        steps.append((sign, number))
    told = style < grammar.words
    tokens = _tell(steps, who, what) if told else _write(steps)
    computed = "".join(f"{sign}{number}" for sign, number in steps)
    return Problem(tuple(tokens), computed, value, operations, len(str(largest)))


def _choose_operation(kind: float, value: int, number: int, grammar: Grammar) -> tuple[str, int]:
    """Return an operation that keeps the value from 0 to the largest, and its number."""
    top = 10 ** (grammar.digits + 1) - 1
    sign = "+-*"[int(3 * kind)]
    if sign == "*":
        number = 2 + number % 8  # multiplication is by 2 to 9
        sign = "*" if value * number <= top else "-"
    if sign == "+" and value + number > top:
        sign = "-"
    return ("+" if sign == "-" and number > value else sign), number


def _write(steps: Sequence[tuple[str, int]]) -> list[str]:
    """Return the tokens of an expression."""
    tokens, sums = list(str(steps[0][1])), False  # is there a sum that a product would split?
    for sign, number in steps[1:]:
        if sign == "*" and sums:
            tokens = ["(", *tokens, ")"]
        sums = sign != "*"
        tokens += [sign, *str(number)]
    return [*tokens, "="]


def _tell(steps: Sequence[tuple[str, int]], who: float, what: float) -> list[str]:
    """Return the tokens of a problem that is told in sentences."""
    pick = int(what * len(THINGS) * 3)
    thing, verb = pick // 3, pick % 3
    tokens = [NAMES[int(who * len(NAMES))], "has", *str(steps[0][1]), THINGS[thing], "."]
    for sign, number in steps[1:]:
        digits = list(str(number))
        if sign == "+":
            tokens += [GAINS[verb], *digits, "more", "."]
        elif sign == "-":
            tokens += [LOSSES[verb], *digits, "."]
        else:
            tokens += ["then", *digits, "times", "as", "many", "."]
    return [*tokens, "how", "many", "?"]


def encode_problem(problem: Problem) -> tuple[int, ...]:
    """Return the numbers of a problem's tokens."""
    return tuple(TOKEN[word] for word in problem.tokens)


def encode_answer(problem: Problem) -> tuple[int, ...]:
    """Return the numbers of the right answer's tokens, with the one that ends it."""
    return (*(TOKEN[digit] for digit in str(problem.answer)), END)


def decode(tokens: Sequence[int]) -> str:
    """Return the text of tokens up to the first that ends it."""
    words: list[str] = []
    for number in tokens:
        if number in (END, PAD):
            break
        words.append(VOCABULARY[number])
    return "".join(words)


def is_right(problem: Problem, tokens: Sequence[int]) -> bool:
    """Return whether an answer's tokens are exactly the right number, and have ended."""
    answer = encode_answer(problem)
    return tuple(tokens[: len(answer)]) == answer


def lay_out(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], length: int
) -> tuple[Int64[np.ndarray, "rows places"], Int64[np.ndarray, "rows places"]]:
    """Return the inputs and the next tokens of problems with answers; of the next tokens only the
    answer's are learned, all others are IGNORED."""
    tokens = np.full((len(prompts), length), PAD, dtype=np.int64)
    targets = np.full((len(prompts), length - 1), IGNORED, dtype=np.int64)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start, end = len(prompt), len(prompt) + len(answer)
        tokens[row, :end] = (*prompt, *answer)
        targets[row, start - 1 : end - 1] = answer
    return tokens[:, :-1], targets


def difficulty(problems: Sequence[Problem]) -> Float[np.ndarray, "problems 2"]:
    """Return the number of operations and of digits of each problem."""
    return np.array([[each.operations, each.digits] for each in problems], dtype=float)
