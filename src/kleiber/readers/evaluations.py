# pyright: basic
# (the values of foreign documents have no types)
"""Results and samples of evaluation programs: lm-evaluation-harness, lighteval, monkeys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from kleiber.errors import BadTable
from kleiber.readers.columns import frame_of_rows
from kleiber.readers.record import Logs, Reader

FIRST = ("exact_match", "acc", "acc_norm", "pass@1")
ATTEMPTS = re.compile(r"n=(\d+)")


def _is_lm_results(path: Path, head: bytes) -> bool:
    return path.suffix == ".json" and b'"results"' in head and b'"group_subtasks"' in head


def _read_lm_results(path: Path) -> Logs:
    given: Any = json.loads(path.read_text(encoding="utf-8"))
    model = given.get("model_name") or given.get("config", {}).get("model") or path.parent.name
    shots = given.get("n-shot", {})
    rows = [
        {"run": model, "task": task, "shots": shots.get(task)} | _metrics(found)
        for task, found in given["results"].items()
    ]
    return Logs(frame_of_rows(rows))


def _metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics under names without the filter ``none``."""
    out: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            metric, _, chosen = name.partition(",")
            out[metric if chosen in ("", "none") else f"{metric}_{chosen}"] = value
    return {("n_samples" if n == "sample_len" else n): v for n, v in out.items()}


def _is_lm_samples(path: Path, head: bytes) -> bool:
    first = head.splitlines()[:1]
    return path.suffix == ".jsonl" and bool(first) and b'"filtered_resps"' in head


def _read_lm_samples(path: Path) -> Logs:
    rows: list[dict[str, Any]] = []
    compared = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        item: Any = json.loads(line)
        answers = item["filtered_resps"]
        if len(answers) == 1 and isinstance(answers[0], list):
            answers = answers[0]
        metric = next((name for name in FIRST if name in item), None)
        if metric is None:
            raise BadTable(f"{path.name} has samples without one of {', '.join(FIRST)}.")
        repeated = len(answers) > 1 and all(isinstance(a, str) for a in answers)
        if repeated:
            compared = True
            target = str(item.get("target", "")).strip()
            right = sum(str(answer).strip() == target for answer in answers)
        attempts = len(answers) if repeated else 1
        successes = right if repeated else round(float(item[metric]))
        rows.append({"problem": item["doc_id"], "attempts": attempts, "successes": successes})
    said = "Repeated answers were counted as right where they equal the target."
    task = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT.*$", "", path.stem)
    table = frame_of_rows(rows).with_columns(pl.lit(task).alias("task"))
    return Logs(table, (said,) if compared else ())


def _is_lighteval(path: Path, head: bytes) -> bool:
    return path.suffix == ".json" and b'"config_general"' in head and b'"results"' in head


def _read_lighteval(path: Path) -> Logs:
    given: Any = json.loads(path.read_text(encoding="utf-8"))
    model = given["config_general"].get("model_name") or path.parent.name
    rows = [
        {"run": model, "task": task} | _metrics(found)
        for task, found in given["results"].items()
        if task != "all"
    ]
    return Logs(frame_of_rows(rows))


def _is_details(path: Path, head: bytes) -> bool:
    if path.suffix != ".parquet" or head[:4] != b"PAR1":
        return False
    try:
        return {"doc", "metric"} <= set(pl.read_parquet_schema(path))
    except pl.exceptions.PolarsError:
        return False


def _read_details(path: Path) -> Logs:
    rows: list[dict[str, Any]] = []
    for k, item in enumerate(pl.read_parquet(path).to_dicts()):
        metrics = {n: v for n, v in item["metric"].items() if v is not None}
        name = next((n for n in metrics if n.startswith(("pass@", "acc", "exact", "em"))), None)
        if name is None:
            raise BadTable(f"{path.name} has no metric that counts right answers.")
        found = ATTEMPTS.search(name)
        attempts = int(found[1]) if found else 1
        problem = str(item["doc"].get("id") or k)
        successes = round(float(metrics[name]) * attempts)
        rows.append({"problem": problem, "attempts": attempts, "successes": successes})
    task = path.stem.removeprefix("details_").rpartition("_")[0]
    return Logs(frame_of_rows(rows).with_columns(pl.lit(task).alias("task")))


def _is_monkeys(path: Path, head: bytes) -> bool:
    return path.suffix == ".json" and b'"is_corrects"' in head


def _read_monkeys(path: Path) -> Logs:
    given: Any = json.loads(path.read_text(encoding="utf-8"))
    items: list[Any] = given if isinstance(given, list) else [given]
    rows = [
        {"problem": k, "attempts": len(item["is_corrects"]), "successes": sum(item["is_corrects"])}
        for k, item in enumerate(items)
    ]
    return Logs(frame_of_rows(rows))


READERS = (
    Reader("lm_eval", "results of lm-evaluation-harness", _is_lm_results, _read_lm_results),
    Reader("lm_eval_samples", "samples of lm-evaluation-harness", _is_lm_samples, _read_lm_samples),
    Reader("lighteval", "results of lighteval", _is_lighteval, _read_lighteval),
    Reader("lighteval_details", "details of lighteval", _is_details, _read_details),
    Reader("monkeys", "attempts of large-language-monkeys", _is_monkeys, _read_monkeys),
)
