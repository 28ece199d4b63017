"""The house rules that a machine can check: who imports whom, and how long files are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "kleiber"
FLOORS = {
    0: "arguments formula columns errors files filters lines formats rows table version",
    1: "domain law maths claim",
    2: "laws data counting experiment",
    3: "theory networks",
    4: "reduce sweeps",
    5: "fitting",
    6: "planning",
    7: "reports",
    8: "papers",
    9: "cli app __main__",
}
FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units.split()}
ONLY_IN = {"torch": "networks", "matplotlib": "reports", "plotly": "reports"}
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
    for node in ast.walk(ast.parse(file.read_text())):
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


def judge(name: str, target: str, source: Path) -> str:
    """What is wrong with module `name` importing `target` of the package, or ""."""
    mine, theirs = unit_of(name), unit_of(target)
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
            if top in ONLY_IN and unit_of(name) != ONLY_IN[top]:
                found.append(f"{name} imports {top}, which only {ONLY_IN[top]} may")
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
        {"theory/a.py": "from kleiber.networks import net", "networks/net.py": ""},
        "theory.a imports sideways: networks.net",
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
            "maths/a.py": "",
            "maths/b.py": "from kleiber.law import y",
        },
        "cycle: law -> maths -> law",
    ),
    "torch": ({"fitting/a.py": "import torch.nn as nn"}, "imports torch, which only networks may"),
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
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text)
