"""The transformer, its cache, and sampling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kleiber.experiment import Experiment, Transformer
from kleiber.experiment.arithmetic import (
    END,
    PAD,
    VOCABULARY,
    Grammar,
    draw_problems,
    encode_answer,
    encode_problem,
    is_right,
)
from kleiber.experiment.counts import measure_net
from kleiber.maths.seeds import stream

torch = pytest.importorskip("torch")

from kleiber.networks import measure  # noqa: E402
from kleiber.networks.loop import train_nets  # noqa: E402
from kleiber.networks.sampling import answer_probability, sample  # noqa: E402
from kleiber.networks.transformer import build_decoder, run_rows  # noqa: E402

GRAMMAR = Grammar(operations=3, digits=2, tail=1.0, words=0.3)
NETS = {
    f"{positions} {parameterisation}": Transformer(
        width=32, depth=2, positions=positions, parameterisation=parameterisation, base_width=16
    )
    for positions in ("rotary", "learned")
    for parameterisation in ("standard", "mup")
}
SPEC: dict[str, Any] = {
    "task": {"kind": "arithmetic", "operations": 1, "digits": 1, "words": 0.0, "n_test": 20},
    "net": {"kind": "transformer", "width": 32, "depth": 2},
    "batch": 32,
    "steps": 60,
    "checkpoints": [0, 60],
    "measures": ["loss", "error", "weight_norm"],
}


def prompts_of(count: int, seed: int = 0):
    problems = draw_problems(np.random.default_rng(seed), GRAMMAR, count, "test", distinct=True)
    return problems, [encode_problem(problem) for problem in problems]


def sample_again(module, prompt, numbers, temperature=1.0):
    """Sample one attempt without a cache: the whole text is read again for each token."""
    text, out = list(prompt), []
    for number in numbers:
        with torch.no_grad():
            logits = module(torch.tensor([text]))[0, -1]
        chance = torch.softmax(logits / temperature, -1).cumsum(-1)
        out.append(int((chance <= number * chance[-1]).sum()))
        text.append(out[-1])
        if out[-1] == END:
            break
    return out + [PAD] * (len(numbers) - len(out))


@pytest.mark.parametrize("name", NETS)
def test_the_cache_changes_no_token(name):
    module = build_decoder(NETS[name], len(VOCABULARY), GRAMMAR.length + 8, 0).eval()
    _, prompts = prompts_of(12)
    assert len({len(prompt) for prompt in prompts}) > 3
    numbers = np.random.default_rng(1).random((12, 9, 8))
    drawn = sample(module, prompts, numbers, temperature=0.7)
    assert (drawn == END).any()
    for row in range(0, 12, 3):
        for attempt in range(0, 9, 4):
            again = sample_again(module, prompts[row], numbers[row, attempt], 0.7)
            assert drawn[row, attempt].tolist() == again


def test_attempts_do_not_depend_on_the_others():
    module = build_decoder(NETS["rotary standard"], len(VOCABULARY), GRAMMAR.length + 8, 0).eval()
    _, prompts = prompts_of(10)
    numbers = np.random.default_rng(1).random((10, 6, 5))
    whole = sample(module, prompts, numbers)
    parts = [sample(module, prompts[k : k + 1], numbers[k : k + 1, 2:3]) for k in range(10)]
    assert np.array_equal(whole[:, 2:3], np.concatenate(parts))


def test_no_temperature_takes_the_most_probable_token():
    module = build_decoder(NETS["learned mup"], len(VOCABULARY), GRAMMAR.length + 8, 0).eval()
    _, prompts = prompts_of(3)
    drawn = sample(module, prompts, np.full((3, 2, 1), 0.5), temperature=0)
    logits = [module(torch.tensor([prompt]))[0, -1] for prompt in prompts]
    assert drawn[:, 0, 0].tolist() == [int(each.argmax()) for each in logits]
    assert np.array_equal(drawn[:, 0], drawn[:, 1])


def test_a_prompt_that_does_not_fit_is_refused():
    module = build_decoder(NETS["rotary standard"], len(VOCABULARY), 10, 0)
    with pytest.raises(ValueError, match=r"8 tokens and 4 new ones do not fit into .* 10 places"):
        sample(module, [(3,) * 8], np.zeros((1, 1, 4)))


def test_sampled_answers_have_their_exact_probability():
    trained: Any = train_nets(Experiment(**SPEC, seeds=1))
    module = trained.stacks[0].model.module.eval()
    grammar = trained.experiment.task.grammar
    problems = draw_problems(np.random.default_rng(0), grammar, 12, "test", distinct=True)
    prompts = [encode_problem(problem) for problem in problems]
    exact = answer_probability(module, prompts, [encode_answer(each) for each in problems])
    count = 4000
    numbers = np.random.default_rng(1).random((12, count, grammar.answer_length))
    drawn = sample(module, prompts, numbers)
    hits = [
        sum(is_right(p, row.tolist()) for row in rows)
        for p, rows in zip(problems, drawn, strict=True)
    ]
    errors = np.sqrt(exact * (1 - exact) / count)
    assert exact.max() > 0.02
    assert np.all(np.abs(np.array(hits) / count - exact) < 4 * errors + 1 / count)
    colder = answer_probability(
        module, prompts, [encode_answer(each) for each in problems], temperature=0.5
    )
    assert not np.allclose(colder, exact)


@pytest.mark.parametrize(
    ("prompts", "temperature", "message"),
    [
        ([(3,), ()], 1.0, "Every prompt needs a token; that of row 1 has none"),
        ([], 1.0, "There is no prompt"),
        ([(3,)], -1.0, "The temperature must be a number from 0, got -1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(prompts: Any, temperature: float, message: str) -> None:
    module = build_decoder(NETS["rotary standard"], len(VOCABULARY), 10, 0)
    with pytest.raises(ValueError, match=message):
        sample(module, prompts, np.zeros((len(prompts), 1, 4)), temperature=temperature)


def test_the_largest_uniform_number_takes_a_token_that_can_occur() -> None:
    module = build_decoder(NETS["rotary standard"], len(VOCABULARY), 10, 0).eval()
    with torch.no_grad():
        module.readout.weight.zero_()
        module.norm.bias.fill_(1.0)
        module.readout.weight[:5] = 10.0  # only the first five tokens have a chance
    drawn = sample(module, [(3,)], np.full((1, 1, 1), 1 - 1e-12))
    assert drawn[0, 0, 0] == 4


def test_training_lowers_loss_and_error_the_same_each_time():
    first, second = (train_nets(Experiment(**SPEC, seeds=1)).table for _ in range(2))
    assert first.equals(second)
    assert first["loss"][1] < 0.6 * first["loss"][0]
    assert first["error"][1] <= first["error"][0]


def test_the_error_is_that_of_the_most_probable_answer():
    trained: Any = train_nets(Experiment(**{**SPEC, "steps": 200, "checkpoints": [200]}, seeds=1))
    module = trained.stacks[0].model.module.eval()
    task = trained.experiment.task
    problems = draw_problems(
        stream(task.data_seed, "test"), task.grammar, task.n_test, "test", distinct=True
    )
    drawn = sample(
        module,
        [encode_problem(each) for each in problems],
        np.zeros((len(problems), 1, task.grammar.answer_length)),
        temperature=0,
    )
    wrong = [not is_right(p, row[0].tolist()) for p, row in zip(problems, drawn, strict=True)]
    assert trained.table["error"][0] == pytest.approx(np.mean(wrong))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_the_column_n_params_counts_the_net_that_is_trained(positions: str) -> None:
    net = {**SPEC["net"], "positions": positions}
    trained: Any = train_nets(Experiment(**{**SPEC, "net": net, "steps": 1, "checkpoints": [0]}))
    counted = sum(value[0].size for value in trained.params.values())
    assert trained.table["n_params"][0] == counted


def test_the_loss_of_many_rows_is_the_mean_over_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Experiment(**{**SPEC, "steps": 5, "checkpoints": [5], "measures": ["loss"]})
    whole = train_nets(spec).table["loss"][0]
    monkeypatch.setattr(measure, "CHUNK", 3 * 17)  # a few rows at a time
    assert train_nets(spec).table["loss"][0] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_flops_are_those_of_the_spec(name):
    net = NETS[name]
    module = build_decoder(net, 20, 13 + 1, 0)
    size = measure_net(net, (13,), 20)
    assert size.n_params == sum(value.numel() for value in module.parameters())
    matrices = 12 * net.width**2 * net.depth + 20 * net.width
    assert size.forward == 13 * 2 * matrices + net.depth * 4 * net.width * 13**2


def test_rows_of_like_length_run_together_give_the_same_logits():
    module = build_decoder(NETS["rotary standard"], len(VOCABULARY), GRAMMAR.length, 0).eval()
    _, prompts = prompts_of(23)
    tokens = np.full((23, max(map(len, prompts))), PAD)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    with torch.no_grad():
        together = run_rows(module, torch.from_numpy(tokens))
        for row, prompt in enumerate(prompts):
            alone = module(torch.tensor([prompt]))[0]
            assert torch.allclose(together[row, : len(prompt)], alone, atol=1e-5)


def change_of_outputs(parameterisation: str, width: int) -> float:
    """The mean square change of logits in a few steps of Adam."""
    net: dict[str, Any] = {
        "kind": "transformer", "width": width, "depth": 2, "base_width": 32,
        "parameterisation": parameterisation,
    }  # fmt: skip
    spec = {**SPEC, "net": net, "steps": 4, "checkpoints": [0], "measures": ["loss"]}
    trained: Any = train_nets(Experiment(**spec, optimiser={"kind": "adam", "rate": 3e-3}, seeds=1))
    module = trained.stacks[0].model.module.eval()
    start = build_decoder(Transformer(**net), len(VOCABULARY), module.length, 0).eval()
    tokens = torch.arange(2, 12)[None]
    with torch.no_grad():
        return float((module(tokens) - start(tokens)).square().mean())


def test_mup_keeps_the_change_of_outputs_and_the_standard_one_does_not():
    mup, standard = (
        math.log(change_of_outputs(kind, 512) / change_of_outputs(kind, 32)) / math.log(16)
        for kind in ("mup", "standard")
    )
    assert abs(mup) < 0.35
    assert standard > 0.8


def test_both_parameterisations_agree_at_the_base_width():
    assert change_of_outputs("mup", 32) == pytest.approx(change_of_outputs("standard", 32))
