# pyright: basic
# (the values of foreign documents have no types)
"""Event files of TensorBoard, read by the library ``tensorboard`` (no TensorFlow)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kleiber.errors import BadTable
from kleiber.readers.columns import as_number, frame_of_rows, merge_steps
from kleiber.readers.record import Logs, Reader

HPARAMS = "_hparams_/session_start_info"


def _is_folder(path: Path, head: bytes) -> bool:
    return path.is_dir() and any(path.glob("events.out.tfevents.*"))


def _is_file(path: Path, head: bytes) -> bool:
    return path.is_file() and path.name.startswith("events.out.tfevents.")


def _read_file(path: Path) -> Logs:
    return Logs(_table(path, path.parent.name))


def _read_folder(path: Path) -> Logs:
    return Logs(_table(path, path.name))


def _table(path: Path, run: str) -> Any:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError(
            "Event files need tensorboard, which is not installed: pip install 'kleiber[logs]'."
        ) from error
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    everything = dict.fromkeys(("scalars", "tensors"), 0)
    events: Any = EventAccumulator(str(path), size_guidance=everything)
    events.Reload()
    tags = events.Tags()
    rows: list[dict[str, Any]] = []
    for tag in tags["scalars"]:
        rows += [{"step": item.step, tag: float(item.value)} for item in events.Scalars(tag)]
    for tag in tags["tensors"]:
        rows += _tensor_rows(events, tag)
    params = _parameters(events, path)
    if not rows:
        raise BadTable(f"{path.name} holds no scalars.")
    return merge_steps(frame_of_rows({"run": run} | params | row for row in rows), ["run", "step"])


def _tensor_rows(events: Any, tag: str) -> list[dict[str, Any]]:
    """Return scalars that are stored as tensors of one number."""
    from tensorboard.util import tensor_util

    rows: list[dict[str, Any]] = []
    for item in events.Tensors(tag):
        value = tensor_util.make_ndarray(item.tensor_proto)
        if value.ndim == 0 and value.dtype.kind in "fiu":
            rows.append({"step": item.step, tag: float(value)})
    return rows


def _parameters(events: Any, path: Path) -> dict[str, Any]:
    """Return hyperparameters, which SummaryWriter.add_hparams keeps in a folder of their own."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    message: Any = getattr(plugin_data_pb2, "HParamsPluginData")  # noqa: B009
    found: dict[str, Any] = {}
    folder = path if path.is_dir() else path.parent
    sources = [events]
    for inner in sorted(folder.glob("*/events.out.tfevents.*")):
        each: Any = EventAccumulator(str(inner))
        each.Reload()
        sources.append(each)
    for source in sources:
        if HPARAMS in source.summary_metadata:
            content = source.SummaryMetadata(HPARAMS).plugin_data.content
            data = message.FromString(content)
            for name, value in sorted(data.session_start_info.hparams.items()):
                kind = value.WhichOneof("kind")
                found[name] = as_number(getattr(value, kind)) if kind else None
    return found


READERS = (
    Reader("tensorboard", "event file of TensorBoard", _is_file, _read_file),
    Reader("tensorboard_folder", "event files of TensorBoard, a run", _is_folder, _read_folder),
)
