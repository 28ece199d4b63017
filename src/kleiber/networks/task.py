"""Tasks as arrays: training examples, a dense test set, and the stream of batches of each seed.

Everything is drawn by NumPy from streams keyed by seed and position, so the examples of a net
depend neither on the other nets, nor on the number of workers, nor on where a run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped

from kleiber.data.images import load_images, subset
from kleiber.errors import BadExperiment
from kleiber.experiment import (
    ArithmeticTask,
    CircleTask,
    Experiment,
    FormulaTask,
    ImageTask,
    TeacherTask,
)
from kleiber.experiment.arithmetic import (
    VOCABULARY,
    draw_problems,
    encode_answer,
    encode_problem,
    lay_out,
)
from kleiber.experiment.tasks import AXES
from kleiber.formula import evaluate, parse
from kleiber.maths.seeds import stream

BLOCK = 4096  # fresh examples drawn at a time
CALIBRATION = 1 << 15  # inputs by which a teacher's outputs are centred and scaled

Array = Shaped[np.ndarray, "..."]
Examples = tuple[Array, Array]  # inputs, targets


@dataclass(frozen=True, eq=False)
class Data:
    """A task's examples; `train` is None if each step draws fresh ones with `draw`.

    `prepare` turns stored inputs (pixels) into numbers; `augment` alters training inputs.
    """

    shape: tuple[int, ...]
    outputs: int
    classes: bool
    train: Examples | None
    test: Examples
    draw: Callable[[np.random.Generator, int], Examples] | None = None
    prepare: Callable[[Array], Array] = np.asarray
    augment: Callable[[np.random.Generator, Array], Array] | None = None


def make_data(experiment: Experiment) -> Data:
    """Return the examples of an Experiment's task; raise BadExperiment if they are not
    available."""
    match experiment.task:
        case FormulaTask() as task:
            return _formula(task)
        case TeacherTask() as task:
            return _teacher(task)
        case CircleTask() as task:
            return _circle(task)
        case ArithmeticTask() as task:
            return _arithmetic(task)
        case task:
            return _images(task)


def _sampled(
    task: FormulaTask | TeacherTask | CircleTask,
    inputs: int,
    draw_inputs: Callable[[np.random.Generator, int], Array],
    target: Callable[[Array], Array],
    test: Array,
    train: Array | None = None,
) -> Data:
    """Return a function's examples: on the given training inputs, on drawn ones, or fresh ones."""

    def draw(rng: np.random.Generator, count: int) -> Examples:
        x = draw_inputs(rng, count)
        y = target(x)
        return x, y + task.noise * rng.standard_normal(y.shape) if task.noise else y

    examples = None
    if train is not None:
        noise = stream(task.data_seed, "noise").standard_normal((len(train), 1))
        examples = train, target(train) + task.noise * noise
    elif task.n_data is not None:
        blocks = -(-task.n_data // BLOCK)  # so that the first P are the same for every P
        parts = [draw(stream(task.data_seed, f"train {k}"), BLOCK) for k in range(blocks)]
        x, y = (np.concatenate([part[side] for part in parts])[: task.n_data] for side in (0, 1))
        examples = x, y
    online = draw if examples is None else None
    return Data((inputs,), 1, False, examples, (test, target(test)), online)


def grid(low: float, high: float, side: int, inputs: int) -> Float[np.ndarray, "points inputs"]:
    """Return the midpoints of a grid of `side` cells along each axis."""
    axis = low + (high - low) * (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(*[axis] * inputs, indexing="ij"), axis=-1).reshape(-1, inputs)


def _formula(task: FormulaTask) -> Data:
    expr, inputs = parse(task.formula), task.inputs

    def target(x: Array) -> Array:
        with np.errstate(all="ignore"):
            y = evaluate(expr, {name: x[:, k] for k, name in enumerate(AXES[:inputs])})
        if not np.isfinite(y).all():
            raise BadExperiment(
                f"The formula {task.formula} is not finite everywhere from {task.low:g} to "
                f"{task.high:g}."
            )
        return np.broadcast_to(y, len(x))[:, None]

    test = grid(task.low, task.high, math.ceil(round(task.n_test ** (1 / inputs), 9)), inputs)
    train = None
    if task.sampling == "grid" and task.n_data is not None:
        train = grid(task.low, task.high, round(task.n_data ** (1 / inputs)), inputs)
    return _sampled(
        task, inputs, lambda rng, n: rng.uniform(task.low, task.high, (n, inputs)), target, test,
        train,
    )  # fmt: skip


def _teacher(task: TeacherTask) -> Data:
    rng = stream(task.teacher_seed, "teacher")
    sizes = [task.inputs, *[task.width] * task.depth, 1]
    weights = [
        rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        for fan_in, fan_out in pairwise(sizes)
    ]
    activate = ACTIVATIONS[task.activation]

    def raw(x: Array) -> Array:
        for weight in weights[:-1]:
            x = activate(x @ weight)
        return x @ weights[-1]

    calibration = raw(rng.standard_normal((CALIBRATION, task.inputs)))
    centre, scale = float(calibration.mean()), float(calibration.std())
    test = stream(task.data_seed, "test").standard_normal((task.n_test, task.inputs))
    return _sampled(
        task,
        task.inputs,
        lambda rng, n: rng.standard_normal((n, task.inputs)),
        lambda x: (raw(x) - centre) / scale,
        test,
    )


def _circle(task: CircleTask) -> Data:
    points, largest = task.points, (task.points - 1) // 2
    modes = min(task.modes or largest, largest)
    power = np.zeros(points // 2 + 1)
    power[1 : modes + 1] = np.arange(1, modes + 1) ** -task.decay
    heights = np.fft.irfft(power * points / 2, points)  # sum_k k^-decay cos(2 pi j k / points)
    angles = 2 * np.pi * np.arange(points) / points
    circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    def target(x: Array) -> Array:
        places = np.rint(np.arctan2(x[:, 1], x[:, 0]) * points / (2 * np.pi)).astype(int)
        return heights[places % points, None]

    test_rows = slice(None)
    if task.n_test is not None:
        test_rows = np.linspace(0, points, task.n_test, endpoint=False).astype(int)
    return _sampled(
        task, 2, lambda rng, n: circle[rng.integers(points, size=n)], target, circle[test_rows]
    )


def _arithmetic(task: ArithmeticTask) -> Data:
    """Return problems as rows of tokens, and the next token at each place of an answer."""
    grammar = task.grammar

    def draw(rng: np.random.Generator, count: int, group: Any = "train") -> Examples:
        try:
            problems = draw_problems(rng, grammar, count, group, distinct=group != "train")
        except ValueError as error:
            raise BadExperiment(str(error)) from None
        prompts = [encode_problem(problem) for problem in problems]
        answers = [encode_answer(problem) for problem in problems]
        return lay_out(prompts, answers, grammar.length)

    train = None
    if task.n_data is not None:
        blocks = -(-task.n_data // BLOCK)  # so that the first P are the same for every P
        drawn = [draw(stream(task.data_seed, f"train {k}"), BLOCK) for k in range(blocks)]
        x, y = (np.concatenate([part[side] for part in drawn])[: task.n_data] for side in (0, 1))
        train = x, y
    test = draw(stream(task.data_seed, "test"), task.n_test, "test")
    return Data((task.inputs,), len(VOCABULARY), True, train, test, None if train else draw)


def _images(task: ImageTask) -> Data:
    images, shrink = load_images(task.dataset), task.shrink
    n_train = len(images.train_labels)
    pixels = average_pixels(images.train_images[:10_000], shrink) / images.top
    centre = pixels.mean((0, 2, 3), keepdims=True)
    scale = pixels.std((0, 2, 3), keepdims=True)
    if task.n_data is not None and task.n_data > n_train:
        raise BadExperiment(
            f"The data set {task.dataset} has {n_train} training images, not {task.n_data}."
        )
    if task.n_test is not None and task.n_test > len(images.test_labels):
        largest = len(images.test_labels)
        raise BadExperiment(
            f"The data set {task.dataset} has {largest} test images, not {task.n_test}."
        )
    chosen = subset(images, task.n_data or n_train, seed=task.data_seed)
    classes = len(images.classes)

    def answers(labels: Int64[np.ndarray, "images"]) -> Array:
        return labels if task.loss == "cross_entropy" else np.eye(classes)[labels]

    def prepare(x: Array) -> Array:
        return (x / np.float32(images.top) - centre.astype(np.float32)) / scale.astype(np.float32)

    def augment(rng: np.random.Generator, x: Array) -> Array:
        return _shift_and_flip(rng, x, task.shift, task.flip)

    return Data(
        pixels.shape[1:],
        classes,
        True,
        (average_pixels(chosen.train_images, shrink), answers(chosen.train_labels)),
        (
            average_pixels(images.test_images[: task.n_test], shrink),
            answers(images.test_labels[: task.n_test]),
        ),
        prepare=prepare,
        augment=augment if task.flip or task.shift else None,
    )


def average_pixels(x: Array, factor: int) -> Array:
    """Return images in which squares of `factor` x `factor` pixels are averaged."""
    if factor == 1:
        return x
    rows, columns = (side // factor for side in x.shape[2:])
    squares = x.reshape(*x.shape[:2], rows, factor, columns, factor)
    return squares.mean((3, 5), dtype=np.float32)


def _shift_and_flip(rng: np.random.Generator, x: Array, shift: int, flip: bool) -> Array:
    """Shift each image by up to `shift` pixels (padding with black) and mirror half of them."""
    rows, columns = x.shape[-2:]
    padded = np.pad(x, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
    down, right = rng.integers(0, 2 * shift + 1, (2, len(x)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), axis=(2, 3))
    moved = windows[np.arange(len(x)), :, down, right]
    mirrored = rng.random(len(x)) < (0.5 if flip else 0.0)
    return np.where(mirrored[:, None, None, None], moved[..., ::-1], moved)


def _gelu(z: Array) -> Array:
    from scipy.special import ndtr

    return z * ndtr(z)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "silu": lambda z: z / (1 + np.exp(-np.clip(z, -500, None))),
    "tanh": np.tanh,
    "gelu": _gelu,
    "relu_squared": lambda z: np.maximum(z, 0) ** 2,
    "identity": np.asarray,
}


@dataclass(frozen=True, eq=False)
class Feed:
    """The examples of each step for each seed.

    A full batch is one set shared by all seeds. Otherwise every seed has its own endless stream of
    examples, fresh ones or repeatedly shuffled training examples, cut into batches.
    """

    data: Data
    seeds: tuple[int, ...]
    batch: int | None
    shuffled: Callable[[int, int], Int64[np.ndarray, "rows"]]
    fresh: Callable[[int, int], Examples]

    def take(self, first: int, steps: int) -> Examples:
        """Return inputs and targets of the steps from first: [seeds, steps x batch, ...]; of a full
        batch those of one step, [1 or seeds, rows, ...]."""
        taken = [self._take_one(seed, first, steps) for seed in self.seeds[: self.distinct]]
        return np.stack([x for x, _ in taken]), np.stack([y for _, y in taken])

    @property
    def distinct(self) -> int:
        """Number of nets with examples of their own: 1 if all nets see the same examples."""
        return 1 if self.batch is None and self.data.augment is None else len(self.seeds)

    def _take_one(self, seed: int, first: int, steps: int) -> Examples:
        if self.batch is None:
            assert self.data.train is not None
            return self._prepare(seed, first, *self.data.train)
        low, size = first * self.batch, self.batch
        if self.data.augment is None:
            return self._prepare(
                seed, first, *self._examples_between(seed, low, low + steps * size)
            )
        parts = [
            self._prepare(
                seed,
                first + k,
                *self._examples_between(seed, low + k * size, low + k * size + size),
            )
            for k in range(steps)
        ]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def _prepare(self, seed: int, step: int, x: Array, y: Array) -> Examples:
        if self.data.augment is not None:
            x = self.data.augment(stream(seed, f"augment {step}"), x)
        return self.data.prepare(x), y

    def _examples_between(self, seed: int, low: int, high: int) -> Examples:
        """Return examples low to high of a seed's stream, as stored."""
        size = BLOCK if self.data.train is None else len(self.data.train[1])
        parts: list[Examples] = []
        while low < high:
            block, start = divmod(low, size)
            stop = min(size, start + high - low)
            if self.data.train is None:
                x, y = self.fresh(seed, block)
                parts.append((x[start:stop], y[start:stop]))
            else:
                rows = self.shuffled(seed, block)[start:stop]
                parts.append((self.data.train[0][rows], self.data.train[1][rows]))
            low += stop - start
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def make_feed(data: Data, seeds: tuple[int, ...], batch: int | None) -> Feed:
    """Return the stream of batches of some seeds."""

    @lru_cache(maxsize=len(seeds))
    def shuffled(seed: int, epoch: int) -> Any:
        assert data.train is not None
        return stream(seed, f"order {epoch}").permutation(len(data.train[1]))

    @lru_cache(maxsize=len(seeds))
    def fresh(seed: int, block: int) -> Examples:
        assert data.draw is not None
        return data.draw(stream(seed, f"fresh {block}"), BLOCK)

    return Feed(data, seeds, batch, shuffled, fresh)
