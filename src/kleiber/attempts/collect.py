"""collect_attempts: samples answers to problems from any model, and counts the right ones."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

import numpy as np
import polars as pl

from kleiber.arguments import check_call, check_flag, check_number, check_path, check_whole, refuse
from kleiber.attempts.batches import (
    BatchSpec,
    Evaluation,
    Span,
    check_folder,
    count_batches,
    count_table,
    missing,
    open_folder,
    read_batches,
)
from kleiber.attempts.problems import Problems, read_problems
from kleiber.columns import COLUMNS
from kleiber.errors import BadArgument, BadTable, shown
from kleiber.maths.seeds import stream
from kleiber.progress import Progress, check_progress
from kleiber.sweeps.store import Folder

BATCH = 64
MAX_ATTEMPTS = 10**12  # at all problems together
LARGEST_SEED = 2**63 - 1  # of a file
RESERVED = ("problem", "attempts", "successes", "stopped", "answer", "run", "evaluation")
KEYWORDS = ("path", "batch", "seed", "answers", "progress")
SIMILAR = 0.8  # of a column's name and a keyword: the keyword was probably meant
RARE = math.log(1e3)  # odds against counts of sampled attempts that look like repeated ones
GENERATE = "a function of a list of problems and a seed"
VERIFY = "a function of a problem and an answer"
Generate = Callable[[list[Any], int], Iterable[Any]]
Verify = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Task:
    """Problems, the functions of the user that answer them and verify answers, and what makes the
    batches of two calls belong together."""

    problems: Problems
    generate: Generate
    verify: Verify
    evaluation: Evaluation


def collect_attempts(
    problems: Any,
    generate: Generate,
    verify: Verify,
    attempts: int,
    *,
    path: str | os.PathLike[str] | None = None,
    batch: int = BATCH,
    seed: int = 0,
    answers: bool = False,
    progress: Progress | None = None,
    **columns: Any,
) -> pl.DataFrame:
    """Sample answers to problems from a model, and count the right ones for ``fit_counts``.

    Attempts go round by round, the first at every problem before the second at any, in calls of
    ``generate`` with at most ``batch`` problems. With ``path`` each finished batch is a file, so
    that an evaluation that was killed loses at most the batch under way, and the same call goes on
    from there; a call with more attempts extends those that there are. As long as ``generate``
    depends on its two arguments alone, the counts do not depend on where a call was interrupted.

    Parameters
    ----------
    problems
        A mapping from the name of a problem to the problem; or a table, whose rows, as
        dictionaries, are problems named by the column ``problem`` (a data frame without it numbers
        them from 0); or a list of problems, numbered from 0.
    generate
        A function of a list of problems and a seed (a whole number below 2^31, another in each
        call) that returns an answer to each of them. A problem is as often in the list as it has
        attempts in that batch, and each of them needs an independent answer.
    verify
        A function of a problem and an answer that returns whether the answer is right.
    attempts
        The number of attempts at each problem.
    path
        The folder of the finished batches, a sweep's store; None keeps them in memory only. Which
        model answered is not compared: give each a folder of its own, or a column ``model``.
    batch
        The number of answers that are asked for in one call.
    seed
        The seed from which those of the calls are derived.
    answers
        Whether the files keep the answers, which must then be text, in place of the counts. Each
        call then verifies the kept answers anew, so that the verifier can be changed.
    progress
        Called with (attempts done, attempts in all, ``"attempts"``) after each batch.
    columns
        Further columns with one value for all rows, such as ``model="small"`` or ``n_tokens=1e9``.

    Returns
    -------
    polars.DataFrame
        A row for each problem, in the order given: problem, attempts, successes, and ``columns``.

    Raises
    ------
    BadTable
        For no problems, for names that occur twice, for a wrong number of answers, and for a path
        that holds another evaluation (of other problems, batch, seed, answers or columns), more
        attempts than are asked for, or other files.
    BadArgument
        For an argument of a wrong type, and for a ``verify`` that returns neither True nor False.
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import kleiber, random
    >>> def generate(problems, seed):  # a model that knows small sums better
    ...     draw = random.Random(seed)
    ...     return [a + b if draw.random() < 4 / (a + b) else 0 for a, b in problems]
    >>> sums = {"easy": (1, 2), "middle": (4, 6), "hard": (60, 40)}
    >>> table = kleiber.collect_attempts(sums, generate, lambda p, x: x == sum(p), 50, model="toy")
    >>> table.columns
    ['problem', 'attempts', 'successes', 'model']
    >>> table["attempts"].to_list()
    [50, 50, 50]
    >>> table["successes"][0]
    50
    """
    given = read_problems(problems)
    attempts, count = check_whole("attempts", attempts, 1), len(given.items)
    if (total := attempts * count) > MAX_ATTEMPTS:
        raise BadTable(f"At most {MAX_ATTEMPTS:.0e} attempts can be collected, got {shown(total)}.")
    batch, seed = check_whole("batch", batch, 1), check_whole("seed", seed, 0, LARGEST_SEED)
    if check_flag("answers", answers) and path is None:
        raise BadTable("Answers are kept in files, so answers=True needs a path.")
    constants = {name: check_constant(name, value) for name, value in columns.items()}
    task = Task(
        given,
        check_function("generate", generate, GENERATE, [], 0),
        check_function("verify", verify, VERIFY, None, None),
        Evaluation(given.digest(), count, batch, seed, bool(answers), compared(constants)),
    )
    report = check_progress(progress)
    if path is None:
        successes = collect(task, None, total, report)
    else:
        folder = open_folder(check_path("path", path, "the path of a folder or None"))
        check_folder(folder, task.evaluation)
        with hold(folder, task.evaluation) as unwritable:
            successes = collect(task, folder, total, report, unwritable)
    warn_repeated(successes, attempts)
    table = pl.DataFrame({"problem": given.names, "successes": successes})
    return table.select(
        "problem",
        pl.lit(attempts, pl.Int64).alias("attempts"),
        "successes",
        *(pl.lit(value, _dtype(value)).alias(name) for name, value in constants.items()),
    )


def collect(
    task: Task,
    folder: Folder | None,
    total: int,
    report: Progress,
    unwritable: OSError | None = None,
) -> np.ndarray:
    """Return the successes of each problem, from finished batches and from those that are made
    now."""
    names, asked = task.problems.names, task.evaluation
    found = {} if folder is None else read_batches(folder, asked)
    if folder is not None and found and (most := max(stop for _, stop in found)) > total:
        raise BadTable(
            f"The folder {shown(str(folder.path), 200)} holds more attempts than were asked for; "
            f"ask for {-(-most // len(names))} at each problem, or for more."
        )
    successes = np.zeros(len(names), np.int64)
    if asked.answers:
        for span, part in found.items():
            successes += count_right(task, span, part["answer"].to_list())
    else:
        successes += count_batches(names, list(found.values()))
    done = sum(stop - start for start, stop in found)
    report(done, total, "attempts")
    for span in missing(list(found), total, asked.batch):
        if unwritable is not None:  # said before the work, which would be lost
            raise unwritable
        successes += make_batch(task, folder, span)
        done += span[1] - span[0]
        report(done, total, "attempts")
    return successes


def make_batch(task: Task, folder: Folder | None, span: Span) -> np.ndarray:
    """Make a batch, keep it, and return the successes of each problem."""
    names, rows, spec = task.problems.names, rows_of(task, span), BatchSpec(task.evaluation, span)
    given = ask(task, span)
    if folder is not None and task.evaluation.answers:  # kept before a verifier that may fail
        folder.keep(spec, pl.DataFrame({"problem": names.gather(rows), "answer": given}))
    successes = count_right(task, span, given)
    if folder is not None and not task.evaluation.answers:
        folder.keep(spec, count_table(names, rows, successes))
    return successes


def ask(task: Task, span: Span) -> list[Any]:
    """Return the answers to a batch. Raises BadTable unless there is one to each problem."""
    problems = [task.problems.items[row] for row in rows_of(task, span)]
    count, generator = len(problems), stream(task.evaluation.seed, f"attempts {span[0]}")
    given: Any = task.generate(problems, int(generator.integers(2**31)))
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | set):
        raise BadArgument(
            f"The function generate must return a list of answers, got {shown(cast('Any', given))}."
        )
    answers = list(cast("Iterable[Any]", given))
    if len(answers) != count:
        raise BadTable(
            f"The function generate must return an answer to each of the {count} problems that it "
            f"was given, got {len(answers)}."
        )
    if task.evaluation.answers:
        check_texts(answers)
    return answers


def check_texts(answers: list[Any]) -> None:
    """Raise BadArgument for an answer that a file cannot keep."""
    for item in answers:
        if not isinstance(item, str):
            raise BadArgument(f"With answers=True an answer must be text, got {shown(item)}.")
        if item.encode(errors="ignore").decode() != item:
            raise BadArgument(f"An answer must be Unicode text to be kept, got {shown(item)}.")


def count_right(task: Task, span: Span, answers: list[Any]) -> np.ndarray:
    """Return the number of right answers of a batch at each problem."""
    rows = rows_of(task, span)
    right = np.zeros(len(rows), bool)
    for k, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        found: Any = task.verify(task.problems.items[row], answer)
        if not isinstance(found, bool | np.bool_):
            raise BadArgument(
                f"The function verify must return True or False, got {shown(found)} for problem "
                f"{shown(task.problems.names[int(row)])}."
            )
        right[k] = found
    return np.bincount(rows[right], minlength=len(task.problems.items))


def warn_repeated(successes: np.ndarray, attempts: int) -> None:
    """Warn if attempts look like one attempt repeated: each problem is solved always or never."""
    always, never = int((successes == attempts).sum()), int((successes == 0).sum())
    rare = len(successes) * math.log((attempts + 1) / 2) > RARE  # if p were uniform
    if always and never and always + never == len(successes) and rare:
        warnings.warn(
            f"Each problem was solved in all of its {attempts} attempts or in none: if the model "
            "answers without sampling (temperature 0, or the same seed for each answer), these are "
            "repetitions of one attempt, and say nothing about more attempts.",
            UserWarning,
            stacklevel=3,
        )


def rows_of(task: Task, span: Span) -> np.ndarray:
    """Return the problem of each attempt of a batch."""
    return np.arange(*span) % len(task.problems.items)


@contextmanager
def hold(folder: Folder, evaluation: Evaluation) -> Generator[OSError | None]:
    """Keep other processes from the folder within the block, or yield why nothing can be written.

    Raises BadTable if another process works there.
    """
    try:
        release = folder.claim(evaluation.name())
    except OSError as error:
        yield error
        return
    if release is None:
        raise BadTable(
            f"Another call collects attempts in {shown(str(folder.path), 200)} now; wait for it, "
            "or give another path."
        )
    try:
        yield None
    finally:
        release()


def check_function(name: str, given: Any, accepted: str, *arguments: Any) -> Callable[..., Any]:
    """Return a function of the user after checking that it takes these arguments."""
    call = check_call(name, given, accepted)
    try:
        inspect.signature(call).bind(*arguments)
    except TypeError:
        raise refuse(name, accepted, given) from None
    except ValueError:  # one that does not tell its arguments
        pass
    return call


def check_constant(name: str, value: Any) -> str | bool | int | float:
    """Return the value of a further column."""
    if name in RESERVED or name.startswith("_"):
        raise BadTable(f"A further column cannot be named {shown(name)}; the table uses that name.")
    if name not in COLUMNS and (meant := difflib.get_close_matches(name, KEYWORDS, 1, SIMILAR)):
        raise BadArgument(
            f"The verb collect_attempts has no keyword {shown(name)}. Did you mean {meant[0]!r}? "
            "A column of that name can be added to the table afterwards."
        )
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(cast("Any", value))
    number = check_number(name, value, "one text, finite number or truth value for all rows")
    whole = isinstance(value, Integral) and abs(number) < 2**53
    return int(number) if whole else number


def _dtype(value: str | bool | int | float) -> Any:
    """Return the type of a column of one value, the same for small and large numbers."""
    return {str: pl.String, bool: pl.Boolean, int: pl.Int64, float: pl.Float64}[type(value)]


def compared(constants: Mapping[str, str | bool | int | float]) -> dict[str, str | bool | float]:
    """Return constants in a form in which 1 and 1.0 are the same."""
    return {
        name: value if isinstance(value, str | bool) else float(value)
        for name, value in constants.items()
    }
