"""What users install: one napari.yaml, the models, the types, no tests; napari only where it is asked for."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from helpers.places import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE_PARTS = ["LICENSE", "MANIFEST.in", "README.md", "napari.yaml", "pyproject.toml", "constraints.txt"]
SOURCE_PARTS += ["CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "sr_imaging", "napari_plugin"]
SOURCE_PARTS += ["CODE_OF_CONDUCT.md", "SECURITY.md", "docs", "scripts", "tests"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a wheel and an sdist, built from a copy without the network."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCE_PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def in_wheel(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def in_sdist(built: Path) -> set[str]:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}


def test_wheel_holds_one_manifest(in_wheel: set[str]) -> None:
    assert [name for name in in_wheel if name.endswith("napari.yaml")] == ["sr_imaging_manifest/napari.yaml"]


def test_wheel_holds_every_module_and_every_model(in_wheel: set[str]) -> None:
    rooms = [ROOT / "sr_imaging", ROOT / "napari_plugin"]
    modules = {str(path.relative_to(ROOT)) for room in rooms for path in room.rglob("*.py")}
    models = {str(path.relative_to(ROOT)) for path in (ROOT / "sr_imaging/models/zoo").glob("*.safetensors")}
    assert models
    assert modules | models | {"sr_imaging/py.typed"} <= in_wheel


def test_wheel_holds_nothing_else(in_wheel: set[str]) -> None:
    rooms = {
        "sr_imaging",
        "napari_plugin",
        "sr_imaging_manifest",
        f"sr_imaging-{version('sr-imaging')}.dist-info",
    }
    assert {name.split("/")[0] for name in in_wheel} == rooms


def test_sdist_holds_what_a_packager_needs(in_sdist: set[str]) -> None:
    needed = {
        "napari.yaml",
        "LICENSE",
        "CHANGELOG.md",
        "constraints.txt",
        "tests/conftest.py",
        "sr_imaging/py.typed",
    }
    assert needed <= in_sdist


@pytest.mark.slow
def test_wheel_of_the_sdist_holds_the_manifest(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(unpacked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (unpacked / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "sr_imaging_manifest/napari.yaml" in archive.namelist()


def test_manifest_is_found_and_every_command_imports() -> None:
    npe2 = pytest.importorskip("npe2", reason="needs npe2, of the extra napari")
    manifest = npe2.PluginManifest.from_distribution("sr-imaging")
    manifest.validate_imports()
    assert manifest.name == distribution("sr-imaging").metadata["Name"] == PROJECT["project"]["name"]


def test_every_package_is_listed() -> None:
    rooms = [ROOT / "sr_imaging", ROOT / "napari_plugin"]
    folders = {path.parent for room in rooms for path in room.rglob("__init__.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert found | {"sr_imaging_manifest"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_extras_are_those_promised() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    promised = {"all", "cluster", "codecs", "napari", "netcdf", "parametric-map", "samples", "test", "train"}
    assert set(extras) == promised
    assert {Requirement(line).name for line in extras["samples"]} == {"nilearn", "spyndex", "matplotlib"}


def test_base_install_brings_neither_napari_nor_qt() -> None:
    waiting, found = [Requirement(line) for line in PROJECT["project"]["dependencies"]], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(line) for line in distribution(name).requires or []]
    assert found & {"napari", "qtpy", "pyqt5", "pyqt6", "pyside2", "pyside6", "magicgui", "vispy"} == set()


def test_constraints_pin_what_the_extras_name() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert {canonicalize_name(Requirement(line).name) for line in wanted} - {"sr-imaging"} <= pins
