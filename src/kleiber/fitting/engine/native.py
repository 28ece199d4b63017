"""Loading of the machine code from the cache folder, and its build in the background.

The build takes Numba half a minute, which no fit waits for: the first fit that would gain from it
starts a process of the lowest priority and goes on with NumPy. Loading needs llvmlite alone, which
takes a fifth of the time of importing Numba. The file name is a hash of everything that the content
depends on; the file is written atomically and is checked before it is run.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kleiber.files import cache_folder

Entry = Callable[..., None]
VARIABLE, OFF_VALUES = (
    "KLEIBER_FAST",
    ("0", "no", "off", "false"),
)  # neither use machine code nor make it
ENTRY = "kleiber_enter"
SOURCES = "elementary machine descent levenberg build native".split()  # what the code depends on
RETRY_AFTER = 3600.0  # seconds after which a making that came to nothing may be tried again
ARGUMENTS = "qiii" + 16 * "d" + "q"  # types of the arrays that the code takes


def find_entry() -> Entry | None:
    """Return the machine code as a function of arrays, or None if it is switched off, unavailable,
    or still being built."""
    if (
        os.environ.get(VARIABLE, "").lower() in OFF_VALUES
        or importlib.util.find_spec("numba") is None
    ):
        return None
    try:
        path = code_path()
        if (entry := _load(path)) is None:
            start_build(path)
        return entry
    except (ImportError, OSError, RuntimeError):  # no llvmlite for this system, no folder
        return None


def code_path() -> Path:
    """Return the path of the machine code for this machine and this version of the sources."""
    return cache_folder() / f"machine-{_key()}.bin"


@cache
def _key() -> str:
    binding: Any = importlib.import_module("llvmlite.binding")
    version = importlib.import_module("llvmlite").__version__
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    host = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    digest.update(repr((version, binding.get_process_triple(), host)).encode())
    return digest.hexdigest()[:24]


_loaded: dict[Path, tuple[Entry, Any]] = {}  # with the engine that holds the code


def _load(path: Path) -> Entry | None:
    """Return the function in a file of machine code, or None if the file is missing or damaged."""
    if path not in _loaded:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if content[:32] != hashlib.sha256(content[32:]).digest():
            return None
        _loaded[path] = _link(content[32:])
    return _loaded[path][0]


def native_target() -> Any:
    """Return llvmlite's compilation target: this machine with all its instructions."""
    binding: Any = importlib.import_module("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_triple(binding.get_process_triple()).create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


def _link(code: bytes) -> tuple[Entry, Any]:
    binding: Any = importlib.import_module("llvmlite.binding")
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), native_target())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(ARGUMENTS))
    function = kind(engine.get_function_address(ENTRY))

    def enter(*arrays: np.ndarray) -> None:
        arguments = [np.ascontiguousarray(a, t) for a, t in zip(arrays, ARGUMENTS, strict=True)]
        function(*[array.ctypes.data for array in arguments])

    return enter, engine


def start_build(path: Path) -> None:
    """Start the build in a process of its own, unless one was started recently."""
    if not sys.executable or getattr(sys, "frozen", False):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    marker = path.with_suffix(".begun")
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        if time.time() - marker.stat().st_mtime < RETRY_AFTER:
            return
        marker.touch()
    flags = getattr(subprocess, "IDLE_PRIORITY_CLASS", 0) | getattr(
        subprocess, "CREATE_NO_WINDOW", 0
    )  # Windows; elsewhere the process itself takes the lowest priority
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "kleiber.fitting.engine.build", str(path), "--background"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(item for item in sys.path if item)},
        process_group=0,  # Ctrl-C is not meant for it; in a session of its own nice says nothing
        creationflags=flags,
    )
    child.returncode = 0  # nobody waits for it: it may outlive this process
