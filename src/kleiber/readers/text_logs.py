# pyright: basic
# (the values of foreign documents have no types)
"""Text logs of trainers, one registered pattern each."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from kleiber.errors import BadTable
from kleiber.readers.columns import frame_of_rows, keep_last, merge_steps, read_suffix
from kleiber.readers.record import Logs, Reader

NUMBER = r"-?(?:\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][+-]?\d+)?|nan|inf)"
COLOURS = re.compile(r"\x1b\[[0-9;]*m|\[[0-9;]*m(?=\S)")
MOST = 2**28  # bytes of a log


@dataclass(frozen=True)
class Pattern:
    """What a trainer prints: how its log is known, its rows, and the size of the model."""

    name: str
    doc: str
    known: re.Pattern[str]
    rows: tuple[re.Pattern[str], ...]
    size: re.Pattern[str] | None = None
    batch: re.Pattern[str] | None = None  # tokens of a step


PATTERNS = (
    Pattern(
        "nanogpt",
        "text log of nanoGPT",
        re.compile(r"^iter \d+: loss ", re.M),
        (
            re.compile(rf"^iter (?P<step>\d+): loss (?P<train_loss>{NUMBER})"),
            re.compile(
                rf"^step (?P<step>\d+): train loss (?P<train_loss_mean>{NUMBER}), "
                rf"val loss (?P<loss>{NUMBER})"
            ),
        ),
        re.compile(r"number of parameters: (?P<size>[\d.]+[KMB]?)"),
        re.compile(r"tokens per iteration will be: (?P<size>[\d,]+)"),
    ),
    Pattern(
        "torchtitan",
        "text log of torchtitan",
        re.compile(r"step:\s*\d+\s+loss:\s*[\d.]+.*(?:tps|memory):"),
        (re.compile(rf"step:\s*(?P<step>\d+)\s+loss:\s*(?P<train_loss>{NUMBER})"),),
        re.compile(r"size: (?P<size>[\d,]+) total parameters"),
    ),
    Pattern(
        "megatron",
        "text log of Megatron",
        re.compile(r"iteration\s+\d+/\s*\d+ \|.*lm loss:"),
        (
            re.compile(
                rf"iteration\s+(?P<step>\d+)/.*?consumed samples:\s*(?P<samples>\d+)"
                rf".*?learning rate:\s*(?P<lr>{NUMBER}).*?global batch size:\s*(?P<batch_size>\d+)"
                rf".*?lm loss:\s*(?P<train_loss>{NUMBER})"
            ),
            re.compile(
                rf"validation loss at iteration (?P<step>\d+).*?lm loss value: (?P<loss>{NUMBER})"
            ),
        ),
        re.compile(r"number of parameters[^:]*:\s*(?P<size>[\d,.]+[KMB]?)"),
    ),
)
OLMO_STEP = re.compile(r"\[step=(\d+)")
OLMO_PAIR = re.compile(rf"^\s+([\w/ ()@.-]+)=({NUMBER})\s*$")


def _text(path: Path) -> str:
    if path.stat().st_size > MOST:
        raise BadTable(f"{path.name} is larger than {MOST:,} bytes.")
    return COLOURS.sub("", path.read_text(encoding="utf-8", errors="replace"))


def _number(text: str) -> float | None:
    value = read_suffix(text)
    return value if value is not None else float(text.replace(",", ""))


def _sniff(pattern: Pattern, path: Path, head: bytes) -> bool:
    if path.suffix.lower() not in (".log", ".txt", ".out", "") or path.is_dir():
        return False
    return pattern.known.search(COLOURS.sub("", head.decode("utf-8", "replace"))) is not None


def _read(pattern: Pattern, path: Path) -> Logs:
    rows: list[dict[str, Any]] = []
    constants: dict[str, float] = {}
    batch = None
    digits: set[int] = set()
    for line in _text(path).splitlines():
        if pattern.size and (found := pattern.size.search(line)):
            constants["n_params"] = _number(found["size"]) or 0.0
        if pattern.batch and (found := pattern.batch.search(line)):
            batch = _number(found["size"])
        for each in pattern.rows:
            if found := each.search(line):
                rows.append(_row(found.groupdict(), digits))
    if not rows:
        raise BadTable(f"{path.name} has no line that {pattern.doc} prints for a step.")
    for row in rows:
        row |= constants
        if batch is not None:
            row["n_tokens"] = batch * row["step"]
    return _finish(rows, digits)


def _row(found: Mapping[str, str], digits: set[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, text in found.items():
        if name in ("step", "samples", "batch_size"):
            out[name] = int(text.replace(",", ""))
        else:
            out[name] = _number(text)
            if "loss" in name:
                digits.add(_decimals(text))
    return out


def _decimals(text: str) -> int:
    return len(text.partition("e")[0].partition("E")[0].partition(".")[2])


def _finish(rows: list[dict[str, Any]], digits: set[int]) -> Logs:
    """Merge the rows of a step; where steps begin again, the later ones win."""
    restarts = sum(b["step"] < a["step"] for a, b in pairwise(rows))
    table = frame_of_rows(rows)
    notes: list[str] = []
    if restarts:
        names = [n for n in table.columns if n != "step"]
        table, notes = keep_last(table, ["step", *[n for n in names if table[n].null_count()]])
    table = merge_steps(table, ["step"]).sort("step", maintain_order=True)
    if restarts and not notes:
        notes.append("Steps begin again after a restart: the later rows are kept.")
    if digits and max(digits) <= 4:
        notes.append(f"Losses are printed with {max(digits)} decimals: they are rounded.")
    return Logs(table, tuple(notes))


def _is_olmo(path: Path, head: bytes) -> bool:
    return path.suffix in (".log", ".txt", ".out") and b"[step=" in head and b"optim/" in head


def _read_olmo(path: Path) -> Logs:
    rows: list[dict[str, Any]] = []
    digits: set[int] = set()
    for line in _text(path).splitlines():
        if found := OLMO_STEP.search(line):
            rows.append({"step": int(found[1])})
        elif rows and (found := OLMO_PAIR.match(line)):
            name = {"throughput/total tokens": "n_tokens"}.get(found[1], found[1])
            rows[-1][name] = _number(found[2])
            if "loss" in name.lower():
                digits.add(_decimals(found[2]))
    if not rows:
        raise BadTable(f"{path.name} has no step of OLMo-core.")
    return _finish(rows, digits)


def _is_console(path: Path, head: bytes) -> bool:
    return path.suffix in (".log", ".txt", ".out") and b"{'loss': " in head


def _read_console(path: Path) -> Logs:
    rows: list[dict[str, Any]] = []
    digits: set[int] = set()
    for line in _text(path).splitlines():
        start = line.find("{'")
        if start < 0 or not line.rstrip().endswith("}"):
            continue
        try:
            item: Any = ast.literal_eval(line[start:].strip())
        except (ValueError, SyntaxError):
            continue
        if "train_runtime" in item:
            continue
        names: dict[Any, str] = {"loss": "train_loss", "eval_loss": "loss"}
        rows.append({str(names.get(n, n)): v for n, v in item.items()})
        digits |= {_decimals(str(v)) for n, v in item.items() if n in names}
    table = frame_of_rows(rows)
    notes = ["The log has no steps: rows are told apart by epoch."] if "step" not in table else []
    if digits and max(digits) <= 4:
        notes.append(f"Losses are printed with {max(digits)} decimals: they are rounded.")
    return Logs(table, tuple(notes))


def _reader(pattern: Pattern) -> Reader:
    sniff: Callable[[Path, bytes], bool] = partial(_sniff, pattern)
    return Reader(pattern.name, pattern.doc, sniff, partial(_read, pattern))


READERS = (
    *(_reader(pattern) for pattern in PATTERNS),
    Reader("olmo_core", "text log of OLMo-core", _is_olmo, _read_olmo),
    Reader("hf_console", "console log of a Hugging Face trainer", _is_console, _read_console),
)
