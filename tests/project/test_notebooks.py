"""The notebooks run from top to bottom, and are stored with what they show."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.places import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, of the extra test")
for package in ("nbmake", "nilearn", "spyndex"):
    pytest.importorskip(package, reason=f"needs {package}, of the extra test")

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 500_000  # bytes: small enough for a repository and for the page that renders it
CELL_S = 240  # of a machine that does much else; a whole notebook takes half a minute on two free cores

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@every_notebook
def test_notebook_is_stored_as_it_ran(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < LARGEST
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/jpeg"}
    assert not [output for output in outputs(notebook) if output.output_type == "error"]


@pytest.mark.slow
@every_notebook
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider"]
    command += ["--nbmake", f"--nbmake-timeout={CELL_S}", str(tmp_path / path.name)]
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
