"""Generated source that Numba compiles, kept with its machine code in the user's cache folder.

A text is compiled once per machine; where that folder cannot be written, once per process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from kleiber.files import cache_folder, write_atomically


def load_source(source: str) -> ModuleType:
    """Load the source as a module, from the cache folder if it is writable."""
    name = f"kleiber_kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    if name not in sys.modules:
        try:
            sys.modules[name] = _load_from_cache(name, source)
        except (OSError, RuntimeError):  # no such folder, or none where Numba may write
            sys.modules[name] = _load_in_memory(name, source)
    return sys.modules[name]


def _load_from_cache(name: str, source: str) -> ModuleType:
    """Import the source from the cache folder, writing it there first."""
    path = cache_folder() / "kernels" / f"{name}.py"
    if not path.is_file() or path.read_bytes() != source.encode():
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            Path(temporary).write_bytes(source.encode())
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba finds its stored machine code through the module's name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_in_memory(name: str, source: str) -> ModuleType:
    """Load the source as a module of this process only."""
    module = ModuleType(name)
    exec(compile(source.replace("cache=True", "cache=False"), f"<{name}>", "exec"), vars(module))
    return module
