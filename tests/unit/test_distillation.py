"""Maths distillation: students, what they are taught, and the counts of their attempts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import optimize, special

from kleiber.experiment import ArithmeticTask, Transformer
from kleiber.experiment.arithmetic import IGNORED, encode_answer, encode_problem

torch = pytest.importorskip("torch")

from kleiber.networks.sampling import answer_probability  # noqa: E402
from kleiber.systems.hard_tail.distillation import chain, nets  # noqa: E402
from kleiber.systems.hard_tail.distillation.attempts import ask, distil  # noqa: E402
from kleiber.systems.hard_tail.distillation.spec import Distillation  # noqa: E402

TINY = Distillation(
    task=ArithmeticTask(operations=2, digits=1, words=0.0),
    net=Transformer(width=16, depth=1, heads=2),
    base_steps=30,
    teacher_steps=30,
    batch=32,
    rate=1e-2,
    n_data=40,
    student_steps=20,
    problems=20,
    attempts=50,
)


def with_fields(**fields) -> Distillation:
    return TINY.model_copy(update=fields)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return nets.train_models(TINY, tmp_path_factory.mktemp("models"))


def test_models_in_a_folder_are_the_ones_that_were_trained(tmp_path):
    first = nets.train_models(TINY, tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 2
    stamps = [path.stat().st_mtime_ns for path in tmp_path.iterdir()]
    again, afresh = nets.train_models(TINY, tmp_path), nets.train_models(TINY)
    assert stamps == [path.stat().st_mtime_ns for path in tmp_path.iterdir()]
    for one, two, three in zip(first, again, afresh, strict=True):
        assert nets.digest(one) == nets.digest(two) == nets.digest(three)
    assert nets.digest(first[0]) != nets.digest(first[1])


def test_the_first_samples_are_the_same_for_every_n(models):
    _, teacher = models
    few, many = (nets.taught_samples(with_fields(n_data=n), teacher) for n in (7, 40))
    assert many[0][:7] == few[0]
    assert many[1][:7] == few[1]
    other = nets.taught_samples(with_fields(n_data=7, seed=1), teacher)
    assert other[0] != few[0]
    asked = {encode_problem(problem) for problem in nets.asked_problems(TINY)}
    assert not asked & set(many[0])


def test_the_last_layer_is_the_optimum_that_scipy_finds(models):
    base, teacher = models
    student = nets.teach(TINY, base, teacher)
    tokens, targets = nets.lay_out(*nets.taught_samples(TINY, teacher), TINY.task.grammar.length)
    known = targets != IGNORED
    with torch.no_grad():
        features = base.features(torch.from_numpy(tokens)).double().numpy()[known]
    labels = targets[known]
    start = base.readout.weight.detach().double().numpy()

    def loss(flat):
        weight = flat.reshape(start.shape)
        logits = features @ weight.T
        log_p = logits - special.logsumexp(logits, axis=1, keepdims=True)
        residual = np.exp(log_p)
        residual[np.arange(len(labels)), labels] -= 1
        value = -log_p[np.arange(len(labels)), labels].sum() + 0.5 * ((weight - start) ** 2).sum()
        return value, (residual.T @ features + weight - start).ravel()

    best = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", tol=1e-12)
    found = student.readout.weight.detach().double().numpy()
    assert loss(found.ravel())[0] == pytest.approx(best.fun, rel=1e-4)
    assert loss(start.ravel())[0] > 1.05 * best.fun
    others = [name for name, _ in base.named_parameters() if name != "readout.weight"]
    for name in others:
        assert torch.equal(base.get_parameter(name), student.get_parameter(name)), name


def test_low_rank_changes_have_their_rank_and_touch_nothing_else(models):
    base, teacher = models
    student = nets.teach(with_fields(method="lora", rank=2), base, teacher)
    assert {name for name, _ in student.named_parameters()} == {
        name for name, _ in base.named_parameters()
    }
    for name, value in student.named_parameters():
        change = (value - base.get_parameter(name)).detach().double()
        if name.startswith("blocks") and "norm" not in name:
            assert 1 <= torch.linalg.matrix_rank(change, rtol=1e-4) <= 2, name
        else:
            assert change.abs().max() == 0, name


def test_the_whole_net_is_tuned(models):
    base, teacher = models
    student = nets.teach(with_fields(method="whole"), base, teacher)
    moved = [
        name
        for name, value in student.named_parameters()
        if not torch.equal(value, base.get_parameter(name))
    ]
    assert {"readout.weight", "blocks.0.attention.into.weight", "embed.weight"} <= set(moved)


@pytest.mark.parametrize("method", ["last_layer", "lora", "whole"])
def test_teaching_makes_the_taught_samples_likelier(models, method):
    base, teacher = models
    prompts, answers = nets.taught_samples(TINY, teacher)
    student = nets.teach(with_fields(method=method, student_steps=100), base, teacher)
    before, after = (
        np.log(answer_probability(module, prompts, answers)).mean() for module in (base, student)
    )
    assert after > before + 0.1


def test_counts_are_those_of_the_exact_probabilities(models):
    base, teacher = models
    spec = with_fields(attempts=2000, n_data=200, problems=30)
    table = ask(spec, nets.teach(spec, base, teacher))
    p, n = table["probability"].to_numpy(), 2000
    assert table["attempts"].to_list() == [n] * 30
    assert p.max() > 0.02
    deviations = (table["successes"].to_numpy() - n * p) / np.sqrt(n * p * (1 - p) + 1)
    assert np.abs(deviations).max() < 4
    exact = answer_probability(
        nets.teach(spec, base, teacher),
        [encode_problem(each) for each in nets.asked_problems(spec)],
        [encode_answer(each) for each in nets.asked_problems(spec)],
    )
    assert np.allclose(exact, p)
    assert table["loss"].n_unique() == table["error"].n_unique() == 1


def test_a_run_is_the_same_with_and_without_a_folder(tmp_path):
    assert distil(TINY).equals(distil(TINY, tmp_path / "new"))


def test_problems_of_the_check_are_others():
    test, check = (
        {each.text for each in nets.asked_problems(with_fields(group=group))}
        for group in ("test", "check")
    )
    assert len(test) == len(check) == TINY.problems
    assert not test & check


def test_the_easy_part_is_easier():
    with pytest.raises(ValueError, match="easy part goes beyond the task"):
        Distillation(task=ArithmeticTask(operations=2), easy_operations=3)


KILLED = """
import sys
from pathlib import Path
from tests_spec import SPECS
from kleiber.systems.hard_tail.distillation.chain import run_students
run_students(SPECS, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_evaluation_loses_no_finished_student(tmp_path):
    specs = [with_fields(n_data=n) for n in (5, 10, 20, 40)]
    (tmp_path / "tests_spec.py").write_text(
        "from kleiber.systems.hard_tail.distillation.spec import Distillation\n"
        f"SPECS = [Distillation.model_validate_json(t) for t in "
        f"{[spec.model_dump_json() for spec in specs]!r}]\n"
    )
    (tmp_path / "killed.py").write_text(KILLED)
    store = tmp_path / "kept"
    process = subprocess.Popen([sys.executable, str(tmp_path / "killed.py"), str(store)])
    finished: list = []
    until = time.monotonic() + 120
    while not finished and process.poll() is None and time.monotonic() < until:
        finished = list((store / "runs").glob("*.parquet"))
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert finished, "a student was finished before the process was killed"
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    table = chain.run_students(specs, store)
    assert stamps == {path: path.stat().st_mtime_ns for path in finished}
    assert table.equals(chain.run_students(specs))


def test_errors_of_slopes_count_problems_and_seeds():
    slopes = chain.Slopes(np.array([0.1, 0.2, 0.3]), np.array([0.19, 0.2, 0.21]))
    found = slopes.estimate()
    assert found.value == pytest.approx(0.2)
    assert found.stderr == pytest.approx(np.sqrt(0.01 / 3 + 1e-4))
    freedom = 2 * ((0.01 / 3 + 1e-4) / (0.01 / 3)) ** 2
    half = special.stdtrit(freedom, 0.975) * found.stderr
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half))
    nothing = slopes.less(slopes).estimate()
    assert (nothing.value, nothing.stderr) == (0.0, 0.0)


def test_other_splits_cost_the_same():
    chosen = chain.Split(400, 160)
    fewer, more = chain.other_splits(chosen, 2000.0, 10.0)
    assert (fewer.n_data, fewer.k) == (100, 190)
    assert (more.n_data, more.k) == (1600, 40)
    late = chain.other_splits(chain.Split(1800, 20), 2000.0, 10.0)[1]
    assert 1800 < late.n_data
    assert late.n_data + 10 * late.k <= 2000


def test_equal_failures_have_no_difference():
    failures = np.random.default_rng(0).random((3, 50))
    same = chain.compare_failures(failures, failures, 0)
    assert (same.value, same.stderr) == (0.0, 0.0)
    half = chain.compare_failures(0.5 * failures, failures, 0, known=0.1)
    assert half.value == pytest.approx(np.log(0.5))
    assert half.stderr == pytest.approx(0.1)


def students_that_fail_as(exponent: float, seeds: int = 2) -> pl.DataFrame:
    """Counts of students whose exponents grow as N^exponent from 0.2 at N = 10."""
    rng = np.random.default_rng(0)
    parts = []
    for seed in range(seeds):
        for n in (10, 100, 1000):
            p = rng.beta(0.2 * (n / 10) ** exponent, 1.0, 2000)
            parts.append(
                pl.DataFrame(
                    {
                        "method": "last_layer", "n_data": n, "seed": seed,
                        "problem": [f"p{k}" for k in range(2000)], "attempts": 128,
                        "successes": rng.binomial(128, p), "probability": p,
                        "loss": n**-0.1, "error": 0.5,
                    }
                )
            )  # fmt: skip
    return pl.concat(parts)


def test_exponents_of_students_are_those_of_their_law():
    found = chain.measure_exponents(students_that_fail_as(0.2), "last_layer", draws=100, seed=0)
    assert found.sizes == (10, 100, 1000)
    a = 0.2 * np.array([1, 10, 100]) ** 0.2
    k = chain.window(128)
    assert k.tolist() == [8, 16, 32, 64, 128]
    failure = np.exp(special.betaln(a, 1 + k[:, None]) - special.betaln(a, 1.0))
    exact = -np.polyfit(np.log(k), np.log(failure), 1)[0]
    errors = np.hypot(found.drawn.std(0), 1e-3)
    assert np.all(np.abs(found.values - exact) < 4 * errors)
    slopes = chain.exponent_slopes(found)
    expected = np.polyfit(np.log([10, 100, 1000]), np.log(exact), 1)[0]
    error = slopes.estimate().stderr
    assert abs(slopes.seeds.mean() - expected) < 4 * error
    assert error < 0.05
    assert chain.loss_slopes(students_that_fail_as(0.2), "last_layer") == pytest.approx(-0.1)


def test_a_split_is_planned_within_what_was_measured():
    split, predicted = chain.plan_split(
        students_that_fail_as(0.2), "last_layer", 600.0, 2.0, draws=20, seed=0
    )
    assert 10 <= split.n_data <= 1000
    assert split.n_data + 2 * split.k == pytest.approx(600, abs=4)
    assert predicted.low < predicted.value < predicted.high


def test_students_that_cannot_be_trained_are_said(tmp_path, monkeypatch) -> None:
    from kleiber.systems.hard_tail.distillation import attempts

    def fail_once(spec: Distillation, folder: Path | None = None) -> pl.DataFrame:
        if spec.n_data == 5 and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise OSError("the disk is full")
        return distil(spec, folder)

    monkeypatch.setattr(attempts, "distil", fail_once)
    specs = [with_fields(n_data=n) for n in (5, 10)]
    with (
        pytest.warns(UserWarning, match="1 of 2 runs failed"),
        pytest.raises(ValueError, match="1 of 2 students could not be trained"),
    ):
        chain.run_students(specs, tmp_path / "kept")
    assert chain.run_students(specs, tmp_path / "kept")["n_data"].unique().sort().to_list() == [
        5,
        10,
    ]
