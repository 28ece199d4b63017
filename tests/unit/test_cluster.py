"""Clusters: the SLURM script of the documentation, and addresses that are none."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kleiber.sweeps.cluster import dask_executor
from kleiber.sweeps.grid import read_sweep

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()


def test_the_sweep_file_of_the_page_means_what_it_says() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    specs = read_sweep(tomllib.loads(text))
    assert len(specs) == 4 * 2 * 2
    rates = {(spec.steps, spec.optimiser.rate) for spec in specs}
    assert rates == {(2000, 0.01), (500, 0.03)}


def test_the_slurm_script_of_the_page_is_what_a_queue_needs(tmp_path: Path) -> None:
    """No cluster is needed to see what would be submitted."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra cluster")
    (text,) = re.findall(r"^```py\n(.*?)^```$", PAGE, re.M | re.S)
    shown, _ = text.split("    cluster.adapt(")
    file = tmp_path / "script.py"
    file.write_text(shown.replace("cores=8,", 'cores=8, interface="lo",') + "    cluster.close()\n")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"#SBATCH -p cpu", "#SBATCH --cpus-per-task=8", "#SBATCH -t 04:00:00"} <= set(lines)
    assert any(re.fullmatch(r"#SBATCH --mem=1[56]G", line) for line in lines)
    assert "export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1" in lines
    start = lines[-1] if lines[-1] else lines[-2]
    assert start.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert "--nthreads 1 " in start
    assert "--nworkers 8 " in start
    assert "--death-timeout" in start


@pytest.mark.parametrize(
    ("address", "workers", "message"),
    [
        ("node1", None, "must be tcp://HOST:PORT or local, got 'node1'"),
        ("local", 0, "A sweep needs at least one worker, got 0"),
        ("tcp://127.0.0.1:1", 2, "running Dask cluster has workers of its own"),
    ],
)
def test_wrong_addresses_are_refused(address: str, workers: int | None, message: str) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    with pytest.raises(ValueError, match=message), dask_executor(address, workers):
        pass


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'kleiber\[cluster\]'"):
        with dask_executor("local"):
            pass
