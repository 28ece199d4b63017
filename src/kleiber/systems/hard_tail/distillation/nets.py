# pyright: basic
"""The base model, the teacher and the student: how each is trained from the one before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kleiber.experiment import Experiment, Transformer
from kleiber.experiment.arithmetic import (
    END,
    IGNORED,
    VOCABULARY,
    Problem,
    draw_problems,
    encode_problem,
    lay_out,
)
from kleiber.files import write_atomically
from kleiber.maths.seeds import stream
from kleiber.networks.loop import SAVE_EVERY, run_stack, threads
from kleiber.networks.net_stack import loss_of, make_stack
from kleiber.networks.resume import read_saved
from kleiber.networks.sampling import sample
from kleiber.networks.task import make_data
from kleiber.networks.transformer import Decoder, build_decoder, run_rows
from kleiber.systems.hard_tail.distillation.spec import Distillation

ITERATIONS = 200  # of L-BFGS, at most
Rows = tuple[Tensor, Tensor]  # tokens, and the next token at each place of an answer


def train_models(spec: Distillation, folder: Path | None = None) -> tuple[Decoder, Decoder]:
    """Return the base model and the teacher, read from the folder if they have been trained."""
    base = train_decoder(spec.base(), None, spec.task.inputs + 1, folder)
    return base, train_decoder(spec.teacher(), base, spec.task.inputs + 1, folder)


def train_decoder(
    experiment: Experiment, start: Decoder | None, length: int, folder: Path | None
) -> Decoder:
    """Train a transformer from its initial weights or from another one, or read it from its file.

    A killed training goes on from its state in the folder.
    """
    (seed,) = experiment.seeds
    name = f"{experiment.key()}-{length}" + ("" if start is None else f"-{digest(start)}")
    assert isinstance(experiment.net, Transformer)
    module = build_decoder(experiment.net, len(VOCABULARY), length, seed)
    file = None if folder is None else folder / f"{name}.weights.pt"
    if file is not None and file.is_file():
        module.load_state_dict(torch.load(file, weights_only=True))
        return module.eval()
    state = None if folder is None else folder / f"{name}.pt"
    data = make_data(experiment)
    stack = make_stack(experiment, data, (seed,))
    copy_weights(start or module, stack.model.module)
    with threads(1):
        saved = read_saved(state, experiment, SAVE_EVERY)
        run_stack(0, stack, data, saved=saved, report=lambda step: None, watch=None)
    copy_weights(stack.model.module, module)
    if file is not None:
        with write_atomically(file) as temporary:
            torch.save(module.state_dict(), temporary)
    saved.remove()  # only now: a killed process loses nothing
    return module.eval()


def copy_weights(source: nn.Module | None, target: nn.Module | None) -> None:
    """Copy the weights of a transformer into another one; of learned positions those that both
    have."""
    assert source is not None
    assert target is not None
    weights = dict(source.named_parameters())
    with torch.no_grad():
        for name, value in target.named_parameters():
            rows = min(len(value), len(weights[name]))
            value[:rows].copy_(weights[name][:rows])


def digest(module: nn.Module) -> str:
    """Return a short digest of a module's weights."""
    found = hashlib.sha256()
    for value in module.state_dict().values():
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()[:8]


def teach(spec: Distillation, base: Decoder, teacher: Decoder) -> Decoder:
    """Return the student: the base model, taught N samples of the teacher."""
    prompts, answers = taught_samples(spec, teacher)
    tokens, targets = lay_out(prompts, answers, spec.task.grammar.length)
    rows = torch.from_numpy(tokens), torch.from_numpy(targets)
    student = build_decoder(spec.net, len(VOCABULARY), base.length, spec.seed)
    copy_weights(base, student)
    with threads(1):
        if spec.method == "last_layer":
            fit_readout(student, rows, spec.prior)
        else:
            tune(spec, student, rows)
    return student.eval()


def taught_samples(
    spec: Distillation, teacher: Decoder
) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Return N distinct problems and one sampled answer of the teacher to each; the first N are the
    same for every N."""
    grammar = spec.task.grammar
    rng = stream(spec.seed, "taught")
    problems = draw_problems(rng, grammar, spec.n_data, "train", distinct=True)
    prompts = [encode_problem(problem) for problem in problems]
    shape = (spec.n_data, 1, grammar.answer_length)
    uniforms = stream(spec.seed, "teacher").random(shape)
    drawn = [
        sample(
            teacher, prompts[low : low + 512], uniforms[low : low + 512],
            temperature=spec.temperature,
        )
        for low in range(0, len(prompts), 512)
    ]  # fmt: skip
    answers = [until_end(row) for row in np.concatenate(drawn)[:, 0].tolist()]
    return prompts, answers


def until_end(tokens: list[int]) -> list[int]:
    """Return an answer's tokens with the one that ends it, or all of them if none does."""
    return tokens[: tokens.index(END) + 1] if END in tokens else tokens


def fit_readout(student: Decoder, rows: Rows, prior: float) -> None:
    """Fit the readout W by minimising sum -log p + |W - W_0|^2/(2 prior^2), which is convex."""
    tokens, targets = rows
    with torch.no_grad():
        parts = [student.features(part) for part in tokens.split(512)]
    known = targets != IGNORED
    features, labels = torch.cat(parts)[known].double(), targets[known]
    start = student.readout.weight.detach().double().clone()
    weight = start.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [weight], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        error = functional.cross_entropy(features @ weight.T, labels, reduction="sum")
        loss = (error + (weight - start).square().sum() / (2 * prior**2)) / len(labels)
        loss.backward()
        return loss

    solver.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        student.readout.weight.copy_(weight)


class LowRank(nn.Module):
    """A matrix plus a change of low rank: x W' + x A' B'/rank, B zero at the start."""

    def __init__(self, layer: nn.Linear, rank: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.layer = layer
        size = layer.in_features
        first = rng.standard_normal((rank, size)) / math.sqrt(size)
        self.first = nn.Parameter(torch.from_numpy(first).to(layer.weight))
        self.second = nn.Parameter(torch.zeros(layer.out_features, rank).to(layer.weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + (x @ self.first.T) @ self.second.T

    def merged(self) -> nn.Linear:
        """Return the layer with the change added to its matrix."""
        with torch.no_grad():
            self.layer.weight += self.second @ self.first
        return self.layer


def add_low_rank(student: Decoder, rank: int, seed: int) -> list[nn.Parameter]:
    """Give every matrix of the blocks a change of low rank; return what is trained."""
    rng = stream(seed, "low rank")
    student.requires_grad_(False)
    trained: list[nn.Parameter] = []
    for block in student.blocks:
        for owner, name in matrices(block):
            layer = LowRank(getattr(owner, name), rank, rng)
            setattr(owner, name, layer)
            trained += [layer.first, layer.second]
    return trained


def matrices(block: Any) -> Sequence[tuple[nn.Module, str]]:
    """Return the owners and names of the matrices of a block."""
    attention = block.attention
    return (attention, "into"), (attention, "out"), (block, "first"), (block, "second")


def merge_low_rank(student: Decoder) -> None:
    """Add the changes of low rank to the matrices."""
    for block in student.blocks:
        for owner, name in matrices(block):
            setattr(owner, name, getattr(owner, name).merged())
    student.requires_grad_(True)


def tune(spec: Distillation, student: Decoder, rows: Rows) -> None:
    """Train the student with AdamW on its samples, wholly or by changes of low rank, at a rate that
    falls as a cosine."""
    low_rank = spec.method == "lora"
    trained = (
        add_low_rank(student, spec.rank, spec.seed) if low_rank else list(student.parameters())
    )
    rate = spec.student_rate * (4 if low_rank else 1)
    optimiser = torch.optim.AdamW(trained, rate, weight_decay=0.0, fused=True)
    batch = min(spec.student_batch, len(rows[0]))
    steps = min(spec.student_steps, math.ceil(spec.passes * len(rows[0]) / batch))
    order = batch_order(len(rows[0]), batch * steps, spec.seed)
    student.train()
    for step in range(steps):
        chosen = torch.from_numpy(order[step * batch : (step + 1) * batch])
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        logits = run_rows(student, rows[0][chosen])
        loss = loss_of("cross_entropy", logits[None], rows[1][chosen][None]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    if low_rank:
        merge_low_rank(student)


def batch_order(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Return row numbers, shuffled anew in each pass."""
    passes = -(-wanted // rows)
    orders = [stream(seed, f"taught order {k}").permutation(rows) for k in range(passes)]
    return np.concatenate(orders)[:wanted]


def asked_problems(spec: Distillation) -> list[Problem]:
    """Return the problems at which students are sampled: the same for every seed and N."""
    rng = stream(spec.task.data_seed, f"asked {spec.group}")
    return draw_problems(rng, spec.task.grammar, spec.problems, spec.group, distinct=True)
