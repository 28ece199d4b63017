# pyright: basic
"""Build of the machine code for law objectives: ``python -m kleiber.fitting.engine.build``.

Numba compiles the entry function (``descent.py``) with everything that it calls. All other
functions are then made private to the module, so that the wrappers which Numba adds for Python are
optimised away and the code needs nothing but the system's own library.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import llvmlite.binding as binding

from kleiber.files import write_atomically
from kleiber.fitting.engine.native import ENTRY, code_path, native_target

SYSTEM_FUNCTIONS = {"memset", "memcpy", "memmove", "sqrt"}  # of the system's own library


def compile_machine_code() -> bytes:
    """Compile the entry function and return the object file as bytes."""
    from kleiber.fitting.engine.descent import enter

    target = native_target()
    module = binding.parse_assembly(enter.inspect_llvm())
    for function in module.functions:
        if function.name.startswith("cfunc."):
            function.name = ENTRY
        elif not function.is_declaration:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    called = set(re.findall(r"call [^@\n]*@([\w.]+)\(", str(module)))
    made = {item.name for item in module.functions if not item.is_declaration}
    if missing := {
        name for name in called - made - SYSTEM_FUNCTIONS if not name.startswith("llvm.")
    }:
        raise RuntimeError(f"The machine code needs {', '.join(sorted(missing))}.")
    return target.emit_object(module)


def main(path: Path, *, in_background: bool = False) -> None:
    """Build the machine code and write it to ``path``, at the lowest priority if
    ``in_background``."""
    if in_background and hasattr(os, "nice"):
        os.nice(19)
    code = compile_machine_code()
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        Path(temporary).write_bytes(hashlib.sha256(code).digest() + code)
    path.with_suffix(".begun").unlink(missing_ok=True)


if __name__ == "__main__":
    in_background = "--background" in sys.argv
    given = [item for item in sys.argv[1:] if item != "--background"]
    main(Path(given[0]) if given else code_path(), in_background=in_background)
