"""The house rules that a machine can check: who imports whom, and how long files are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "kleiber"
FLOORS = {
    0: "arguments arrays brief columns errors files filters formats formula frames measurements "
    "plain progress rows table text_tables version",
    1: "domain law maths claim",
    2: "laws data counting experiment readers",
    3: "networks",
    4: "sweeps",
    5: "fitting",
    6: "attempts forecasting",
    7: "planning reduce",
    8: "documents systems",
    9: "theory",
    10: "reports",
    11: "cli app __main__",
}
FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units.split()}
ONLY_IN = {
    "torch": ("networks", "systems"),
    "matplotlib": ("reports",),
    "plotly": ("reports",),
}
SHARED = (
    "drawing",
    "grid",
    "keeping",
    "papers",
    "theories",
)  # modules of systems/ that are no system
FACADES = ("reduce", "theory")  # typed by imports under TYPE_CHECKING, which only they may have
LONGEST = 400


def modules(source: Path) -> dict[str, Path]:
    """Dotted name below the package (the package itself is "") to file."""
    found: dict[str, Path] = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(name: str, file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Absolute dotted names imported anywhere in a file, also inside functions."""
    package = ["kleiber", *filter(None, name.split("."))]
    if file.name != "__init__.py":
        package = package[:-1]
    for node in walk(ast.parse(file.read_text()), skip=name in FACADES):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner.removeprefix("kleiber.") in known else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def walk(tree: ast.AST, *, skip: bool) -> Iterator[ast.AST]:
    """Every node of a tree, those under ``if TYPE_CHECKING`` skipped where that is asked."""
    for node in ast.iter_child_nodes(tree):
        if skip and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from (other, *walk(other, skip=skip))
            continue
        yield node
        yield from walk(node, skip=skip)


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The names along one cycle of a directed graph, or []."""
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> list[str]:
        state[name] = 1
        for other in sorted(graph.get(name, ())):
            if state.get(other) == 1:
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other, [*path, other])):
                return found
        state[name] = 2
        return []

    for name in graph:
        if name not in state and (found := visit(name, [name])):
            return found
    return []


def unit_of(name: str) -> str:
    """The file or folder directly below the package that a module belongs to."""
    return name.split(".")[0]


def system_of(name: str) -> str:
    """The system that a module belongs to, "" for one that belongs to none."""
    parts = name.split(".")
    return parts[1] if parts[0] == "systems" and parts[1:] and parts[1] not in SHARED else ""


def room_of(name: str) -> str:
    """The system or the unit that a module belongs to."""
    return f"systems.{system_of(name)}" if system_of(name) else unit_of(name)


def judge(name: str, target: str, source: Path) -> str:
    """What is wrong with module `name` importing `target` of the package, or ""."""
    mine, theirs = unit_of(name), unit_of(target)
    if (other := system_of(target)) and other != system_of(name):
        return f"{name} imports the system {other}: {target}"
    if mine == theirs:
        return ""
    if FLOOR_OF[theirs] > FLOOR_OF[mine]:
        return f"{name} imports upwards: {target}"
    folders = (source / mine).is_dir() and (source / theirs).is_dir()
    if FLOOR_OF[theirs] == FLOOR_OF[mine] and folders:
        return f"{name} imports sideways: {target}"
    return ""


def faults(source: Path) -> list[str]:
    """Everything in the tree that breaks a rule, one sentence each."""
    known, found = modules(source), list[str]()
    graph: dict[str, set[str]] = {}
    for name, file in known.items():
        if (length := len(file.read_text().splitlines())) > LONGEST:
            found.append(f"{name or '__init__'} has {length} lines; at most {LONGEST}")
        if name and unit_of(name) not in FLOOR_OF:
            found.append(f"{name} stands on no floor")
            continue
        for target in imports(name, file, known):
            top, _, rest = target.partition(".")
            if unit_of(name) not in ONLY_IN.get(top, (unit_of(name),)):
                found.append(f"{name} imports {top}, which only {' and '.join(ONLY_IN[top])} may")
            if top != "kleiber" or not name:
                continue  # another package, or the façade, which may import everything
            if not rest:
                found.append(f"{name} imports the façade")
            elif rest not in known:
                found.append(f"{name} imports {target}, which does not exist")
            elif unit_of(rest) in FLOOR_OF:
                graph.setdefault(name, set()).add(rest)
                found.append(judge(name, rest, source))
    units = {
        unit: {unit_of(t) for n in graph if unit_of(n) == unit for t in graph[n]} - {unit}
        for unit in FLOOR_OF
    }
    for name in sorted(known):
        users = {room_of(n) for n in graph if name in graph[n]}
        if unit_of(name) == "maths" and len(users) == 1 and users != {"maths"}:
            found.append(f"{name} is used by {users.pop()} alone; it belongs there")
    found += ["cycle: " + " -> ".join(path) for g in (graph, units) if (path := cycle(g))]
    return [sentence for sentence in found if sentence]


def test_the_house_stands() -> None:
    assert len(modules(SOURCE)) > 8
    assert faults(SOURCE) == []


def test_every_floor_is_listed_once() -> None:
    units = [unit for row in FLOORS.values() for unit in row.split()]
    assert len(units) == len(set(units))


BAD_TREES = {
    "upward": ({"table.py": "from kleiber.law import Law", "law.py": ""}, "upwards: law"),
    "upward in a function": (
        {"law.py": "def f():\n    from kleiber.fitting import fit", "fitting/fit.py": ""},
        "law imports upwards: fitting.fit",
    ),
    "upward, relative": (
        {"laws/a.py": "from ..planning import cost", "planning/cost.py": ""},
        "laws.a imports upwards: planning.cost",
    ),
    "upward by name": (
        {"law.py": "import importlib\nimportlib.import_module('kleiber.cli')", "cli.py": ""},
        "law imports upwards: cli",
    ),
    "sideways": (
        {"planning/a.py": "from kleiber.reduce import net", "reduce/net.py": ""},
        "planning.a imports sideways: reduce.net",
    ),
    "core to system": (
        {"fitting/a.py": "from kleiber.systems.b import c", "systems/b/c.py": ""},
        "fitting.a imports the system b: systems.b.c",
    ),
    "system to system": (
        {"systems/a/x.py": "from kleiber.systems.b import c", "systems/b/c.py": ""},
        "systems.a.x imports the system b: systems.b.c",
    ),
    "systems' own modules to a system": (
        {"systems/papers.py": "from kleiber.systems.b import c", "systems/b/c.py": ""},
        "systems.papers imports the system b: systems.b.c",
    ),
    "types in a façade, and no more": (
        {
            "theory.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from kleiber.systems.b.c import d\nelse:\n    from kleiber.systems.b.e import d",
            "systems/b/c.py": "",
            "systems/b/e.py": "",
        },
        "theory imports the system b: systems.b.e",
    ),
    "one room's mathematics": (
        {"fitting/a.py": "from kleiber.maths import b", "fitting/c.py": "", "maths/b.py": ""},
        "maths.b is used by fitting alone",
    ),
    "cycle of modules": (
        {
            "fitting/a.py": "from kleiber.fitting.b import y",
            "fitting/b.py": "from .a import x",
        },
        "cycle: fitting.a -> fitting.b -> fitting.a",
    ),
    "cycle of units": (
        {
            "law.py": "from kleiber.maths.a import x",
            "claim.py": "from kleiber.maths.a import x",
            "maths/a.py": "",
            "maths/b.py": "from kleiber.law import y",
        },
        "cycle: law -> maths -> law",
    ),
    "torch": (
        {"fitting/a.py": "import torch.nn as nn"},
        "imports torch, which only networks and systems may",
    ),
    "matplotlib": (
        {"cli.py": "def draw():\n    from matplotlib import pyplot"},
        "imports matplotlib, which only reports may",
    ),
    "plotly": ({"__init__.py": "import plotly"}, "imports plotly, which only reports may"),
    "long": ({"law.py": "x = 1\n" * 401}, "law has 401 lines"),
    "façade": ({"cli.py": "import kleiber"}, "cli imports the façade"),
    "façade name": ({"cli.py": "from kleiber import fit"}, "cli imports the façade"),
    "façade, relative": ({"cli.py": "from . import fit"}, "cli imports the façade"),
    "nothing": (
        {"cli.py": "from kleiber.nothing import x"},
        "kleiber.nothing, which does not exist",
    ),
    "no floor": ({"utils.py": ""}, "utils stands on no floor"),
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    files, sentence = BAD_TREES[name]
    plant(tmp_path, files)
    found = faults(tmp_path)
    assert len(found) == 1, found
    assert sentence in found[0]


def test_a_sound_tree_has_no_fault(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from kleiber.fitting.fit import fit\nfrom kleiber import table",
        "table.py": "import numpy.linalg\nfrom kleiber.errors import BadTable",
        "errors.py": "x = 1\n" * 400,
        "law.py": "from kleiber.maths import roots\nfrom kleiber import table",
        "networks/roots.py": "from kleiber.maths import roots",
        "systems/a/x.py": "import torch\nfrom kleiber.systems import grid",
        "systems/grid.py": "",
        "maths/roots.py": "from kleiber.errors import BadTable",
        "networks/net.py": "import torch",
        "fitting/fit.py": "from ..law import Law\nfrom .status import Status",
        "fitting/status.py": "",
        "reports/figure.py": "import matplotlib.pyplot as plt\nfrom kleiber.fitting.fit import x",
    }
    plant(tmp_path, files)
    assert faults(tmp_path) == []


def plant(root: Path, files: dict[str, str]) -> None:
    """Write a small package, with an __init__.py in every folder."""
    (root / "__init__.py").touch()
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text)
