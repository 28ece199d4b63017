"""Settings of every test: no network, no silent NaN, and where the shared data are."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from jaxtyping import install_import_hook

# As type checkers see it, an int is a float (PEP 484).
TYPE_CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
ROOT = Path(__file__).parents[1]
# Examples of a property: drawn anew each time, so that runs add up; --hypothesis-profile thorough
# draws as many as ten runs. Types do not depend on them.
for name, examples in {"kleiber": 30, "thorough": 300, "typed": 3}.items():
    hypothesis.settings.register_profile(
        name, deadline=None, derandomize="CI" in os.environ, max_examples=examples
    )
hypothesis.settings.load_profile("kleiber")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--typed``: a second pass, in which every function of kleiber checks its types."""
    parser.addoption(
        "--typed", action="store_true", help="check types at run time, one case a test"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each worker gets its share in one piece, so that no other makes what a module's tests have in
    common, and takes from the others' when it is done."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(trylast=True)  # when the slow ones are gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--typed`` one case of every test but the long ones: types do not depend on which, and
    checking takes twice as long. Without it no test of the checks themselves."""
    typed, seen, kept = config.getoption("--typed"), set[str](), list[pytest.Item]()
    left_out = "long" if typed else "typed"
    for item in items:
        name = item.nodeid.partition("[")[0]
        if item.get_closest_marker(left_out) is None and not (typed and name in seen):
            kept.append(item)
        seen.add(name)
    left = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each worker that the run will start: they share its cores already. No machine
    code of the user's, and none made in the background, but where a test asks for it."""
    if config.getoption("--typed"):
        hypothesis.settings.load_profile("typed")
        install_import_hook("kleiber", TYPE_CHECKER)
    os.environ["KLEIBER_FAST"] = "0"
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(threads, "1")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but those inside this machine's own file system (AF_UNIX)."""
    connect = socket.socket.connect

    def refuse(sock: socket.socket, address: Any) -> None:
        if sock.family != getattr(socket, "AF_UNIX", None):
            raise RuntimeError(f"a test must not touch the network, but connects to {address!r}")
        connect(sock, address)

    def refuse_name(*request: Any, **_: Any) -> None:
        raise RuntimeError(f"a test must not touch the network, but looks up {request[0]!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_name)


@pytest.fixture(autouse=True)
def _no_silent_nan() -> Iterator[None]:
    """Raise where NumPy would quietly make a NaN or divide by zero."""
    with np.errstate(invalid="raise", divide="raise"):
        yield


@pytest.fixture(scope="session")
def data_path() -> Callable[[str], Path]:
    """Path of a file of the shared data, data_path("runs/chinchilla_epoch.csv"); skips without it.

    The data are in $KLEIBER_DATA, else in shared/data beside the repository.
    """
    folder = Path(os.environ.get("KLEIBER_DATA") or ROOT.parent / "shared" / "data")

    def find(relative: str) -> Path:
        file = folder / relative
        if not file.exists():
            pytest.skip(f"needs {relative} of the shared data, which is not in KLEIBER_DATA")
        return file

    return find
