"""From any model that answers problems to pass@k with intervals.

The default model is a synthetic solver, so that the script runs in seconds, and its law is known:
its success rates have the distribution Beta(a, 1) with a = 0.65, nearly. These lines put a model of
Hugging Face (pip install transformers torch) and problems of GSM8K in its place:

    from transformers import pipeline, set_seed
    write = pipeline("text-generation", "Qwen/Qwen2.5-0.5B-Instruct")
    write.tokenizer.padding_side = "left"
    options = {"do_sample": True, "max_new_tokens": 300, "return_full_text": False}
    def generate(problems, seed):
        set_seed(seed)
        asked = [[{"role": "user", "content": problem["question"]}] for problem in problems]
        return [text[0]["generated_text"] for text in write(asked, batch_size=64, **options)]

    from kleiber.data.gsm8k import load_gsm8k
    main(load_gsm8k().filter(split="test")[:200], generate, path="qwen")

A problem needs a question and its final number, ``final``; for other problems, change ``verify``.

    python examples/attempts_of_a_model.py
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import kleiber
from kleiber.data.gsm8k import is_right

SLIP = 0.12  # chance of the synthetic solver's slip in each addition


def make_problems(count: int = 150, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Make sums of 2 numbers or more, 13.5 on average; their number falls exponentially."""
    draw, problems = random.Random(seed), {}
    for name in range(count):
        terms = [draw.randint(1, 99) for _ in range(2 + int(draw.expovariate(1 / 12)))]
        problems[f"sum {name}"] = {"question": " + ".join(map(str, terms)), "final": sum(terms)}
    return problems


def add_with_slips(problems: list[dict[str, Any]], seed: int) -> list[str]:
    """Answer each problem once, as a solver that may slip in each addition."""
    draw, answers = random.Random(seed), []
    for problem in problems:
        total, *rest = map(int, problem["question"].split(" + "))
        for term in rest:
            total += term + (draw.random() < SLIP)  # slips never cancel
        answers.append(f"{problem['question']} = {total}\n#### {total}")
    return answers


def verify(problem: Mapping[str, Any], answer: str) -> bool:
    """Return whether the final number of an answer is that of the problem."""
    return is_right(answer, problem["final"])


def print_fit(fit: Any) -> None:
    """Print what the counts say: the exponent, pass@k with intervals or why there are none."""
    print(f"the fit is {fit.status}" + (f": {fit.reason}" if fit.reason else ""))
    if fit.status == "converged":
        low, high = fit.interval("a")
        print(f"failure falls as k^-a, a = {fit.params['a']:.3g}, between {low:.3g} and {high:.3g}")
    ks = [1, 10, 100, 1000]  # beyond the attempts made, the law extrapolates
    found = fit.pass_at(ks)
    for k, value, low, high, why in zip(
        ks, found.value, found.low, found.high, found.reasons, strict=True
    ):
        print(f"pass@{k}: " + (why or f"{value:.3f}, between {low:.3f} and {high:.3f}"))
    for note in fit.notes:
        print(f"note: {note}")


def main(problems: Any = None, generate: Any = add_with_slips, path: str = "attempts") -> None:
    """Collect attempts, fit how success varies over problems, and print pass@k."""
    table = kleiber.collect_attempts(
        make_problems() if problems is None else problems,
        generate,
        verify,
        attempts=40,
        path=path,  # a folder: a run that was killed goes on from its last batch
        batch=64,
    )
    print(f"{table.height} problems, {(table['successes'] == 0).sum()} of them never solved")
    print_fit(kleiber.fit_counts(table))


if __name__ == "__main__":
    main()
