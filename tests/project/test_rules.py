"""The rules of the project that no other tool checks: sizes, forbidden calls, what loads what, versions."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.sources import SOURCES, calls, libraries, module_name, tree

import sr_imaging

HEAVY = {"dask", "highdicom", "monai", "napari", "nibabel", "pydicom", "rasterio", "torch", "xarray", "zarr"}


def tracked_texts() -> Iterator[tuple[str, str]]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if names.returncode:
        pytest.skip("needs a git checkout with git")
    for name in filter(None, names.stdout.split("\0")):
        if (path := ROOT / name).is_file():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


by_source = pytest.mark.parametrize("path", SOURCES, ids=module_name)


@by_source
def test_function_is_at_most_60_lines(path: Path) -> None:
    lengths = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lengths[node.name] = body[-1].end_lineno - body[0].lineno + 1 if body else 0
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@by_source
def test_source_neither_prints_nor_asserts_nor_runs_foreign_code(path: Path) -> None:
    forbidden = {"print", "eval", "exec", "torch.load", "pickle.load", "pickle.loads", "yaml.load", "np.load"}
    found = [(line, name) for line, name in calls(path) if name in forbidden]
    found += [(node.lineno, "assert") for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)]
    assert found == []
    assert libraries(path) & {"pickle", "cloudpickle", "dill", "marshal", "joblib"} == set()


@by_source
def test_except_names_what_it_catches(path: Path) -> None:
    handlers = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler)]
    wide = ("Exception", "BaseException")
    assert [
        node.lineno for node in handlers if node.type is None or getattr(node.type, "id", "") in wide
    ] == []


HELP = """
import sys
from sr_imaging.cli.__main__ import main
sys.argv = ["sr-imaging", "--help"]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", ["import sr_imaging; dir(sr_imaging)", HELP], ids=["import", "help"])
def test_nothing_heavy_is_loaded_by(code: str) -> None:
    report = f"\nimport sys; print(sorted(sys.modules.keys() & {sorted(HEAVY)}), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.strip()) == (0, "[]")


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = re.search(
        r"^## \[?(\d[\w.]*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    citation = re.search(
        r"^version: \"?([\w.]+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert changes is not None
    assert citation is not None
    assert {changes[1], citation[1], project["version"]} == {sr_imaging.__version__}


def test_pre_commit_runs_the_tested_ruff() -> None:
    pins = set(re.findall(r"ruff==[\d.]+", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")))
    assert pins == set(re.findall(r"^ruff==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def test_tracked_files_hold_no_machine_path_and_no_loose_end() -> None:
    paths = re.compile("/" + "(work|farm|root|opt/sr)/|/tmp/" + "bash_")
    words = re.compile(r"\b(TO" + "DO|FIX" + "ME|X" + "XX|HA" + r"CK)\b")
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if paths.search(line) or words.search(line)
    ]
    assert found == []


# What may stand alone: a verb whose object is plain from the class or file around it.
VERBS = {
    "abbreviate",
    "apply",
    "connect",
    "copy",
    "demonstrate",
    "detach",
    "disconnect",
    "encode",
    "fill",
    "finish",
    "halve",
    "identify",
    "prepare",
    "refuse",
    "remember",
    "repeat",
    "report",
    "run",
    "settle",
    "show",
    "smooth",
    "standardise",
    "straighten",
    "submit",
    "summarise",
    "validate",
    "watch",
}


@by_source
def test_private_function_has_no_name_of_one_word_but_a_verb(path: Path) -> None:
    names = {node.name for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)}
    alone = {name[1:] for name in names if re.fullmatch(r"_[a-z]+", name)}
    assert alone - VERBS == set()
