# pyright: basic
"""Makes the machine code that runs tapes: ``python -m kleiber.fitting.engine.build``.

Numba compiles the door (``descent.py``) with all that it calls. Its functions are then made
private to it, so that what Numba wraps around them for Python falls away and the code needs nothing
but the system's own library.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import llvmlite.binding as binding

from kleiber.files import land
from kleiber.fitting.engine.native import ENTRY, code_path, native_target

KNOWN = {"memset", "memcpy", "memmove", "sqrt"}  # of the system's own library


def make_code() -> bytes:
    """The machine code of the door, as an object file."""
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
    if missing := {name for name in called - made - KNOWN if not name.startswith("llvm.")}:
        raise RuntimeError(f"The machine code needs {', '.join(sorted(missing))}.")
    return target.emit_object(module)


def main(place: Path, *, aside: bool = False) -> None:
    """Make the machine code and land it at ``place``; ``aside``, only with time nobody wants."""
    if aside and hasattr(os, "nice"):
        os.nice(19)
    code = make_code()
    place.parent.mkdir(parents=True, exist_ok=True)
    with land(place) as temporary:
        Path(temporary).write_bytes(hashlib.sha256(code).digest() + code)
    place.with_suffix(".begun").unlink(missing_ok=True)


if __name__ == "__main__":
    aside = "--aside" in sys.argv
    given = [item for item in sys.argv[1:] if item != "--aside"]
    main(Path(given[0]) if given else code_path(), aside=aside)
