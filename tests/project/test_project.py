"""The rules of the project that no other tool checks: who imports whom, sizes, forbidden calls, versions."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers.places import ROOT

import sr_imaging

SOURCES = sorted(path for room in ("sr_imaging", "napari_plugin") for path in (ROOT / room).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEAVY = {"dask", "highdicom", "monai", "napari", "nibabel", "pydicom", "rasterio", "torch", "xarray", "zarr"}

# A library, and the only modules that may import it.
HOMES = {
    "rasterio": r"sr_imaging\.io\.(geotiff\w*|references|images)",
    "rioxarray": r"sr_imaging\.io\.(geotiff\w*|references|images)",
    "pydicom": r"sr_imaging\.io\.dicom\w*",
    "highdicom": r"sr_imaging\.io\.dicom\w*",
    "nibabel": r"sr_imaging\.io\.nifti\w*",
    "zarr": r"sr_imaging\.io\.zarr\w*",
    "safetensors": r"sr_imaging\.(weights_file|checkpoint)",
    "distributed": r"sr_imaging\.(batch_)?cluster",
    "typer": r"sr_imaging\.cli\w*",
    "napari": r"napari_plugin(\.\w+)*",
    "magicgui": r"napari_plugin(\.\w+)*",
    "qtpy": r"napari_plugin(\.\w+)*",
    "superqt": r"napari_plugin(\.\w+)*",
}
# A room, and all that it may import of this package.
MAY_USE = {
    r"sr_imaging\.errors": r"",
    r"sr_imaging\.(axes|world|geometry)": r"sr_imaging\.(axes|world|geometry|stored|errors)",
    r"sr_imaging\.stored": r"sr_imaging\.errors",
    r"sr_imaging\.psf": r"sr_imaging\.errors",
    r"sr_imaging\.networks(\.\w+)?": r"sr_imaging\.(networks(\.\w+)?|psf|errors)",
    r"sr_imaging\.(losses|adversarial|unconditional)": (
        r"sr_imaging\.(networks(\.\w+)?|losses|adversarial|psf|errors)"
    ),
    r"sr_imaging\.perceptual": r"sr_imaging\.(networks\.features|weights_file|errors)",
    r"sr_imaging\.io(\.\w+)?": r"sr_imaging\.(io(\.\w+)?|axes|world|geometry|stored|errors)|sr_imaging",
}
# A room, and what of other people's it may not import.
MAY_NOT_USE = {
    r"sr_imaging\.(axes|world|geometry|stored|psf|errors)": HEAVY - {"xarray"} | {"scipy", "rioxarray"},
    r"sr_imaging\.(networks(\.\w+)?|losses|adversarial|unconditional)": HEAVY - {"torch", "monai"}
    | {"rioxarray", "pathlib", "os"},
}
BRIDGES = r"sr_imaging\.(infer|patches|degradation|evaluation)\w*"  # where xarray meets torch
OUTER = r"sr_imaging\.cli\w*|napari_plugin(\.\w+)*"  # rooms that use public names only
OUTER_MAY_USE = {
    "sr_imaging.batch.run",
    "sr_imaging.training.config.run",
    "sr_imaging.cli.demo.run",
}  # by the command line alone


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[tuple[str, str]]:
    """Pairs of module and name, absolute; the name is empty for a plain ``import module``."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {(module, alias.name) for alias in node.names}
    return found


def libraries(path: Path) -> set[str]:
    return {module.split(".")[0] for module, _ in imports(path)} - {"sr_imaging", "napari_plugin"}


def own_modules(path: Path) -> set[str]:
    """Modules of this project that a file imports, ``from .room import module`` included."""
    modules = {module_name(source) for source in SOURCES}
    found = set()
    for module, name in imports(path):
        whole = f"{module}.{name}"
        if whole in modules:
            found.add(whole)
        elif module in modules:
            found.add(module)
    return found


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


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
def test_library_is_imported_in_its_room_only(path: Path) -> None:
    used = libraries(path) & set(HOMES)
    assert {name for name in used if not re.fullmatch(HOMES[name], module_name(path))} == set()


@by_source
def test_room_imports_only_what_lies_below_it(path: Path) -> None:
    for room, allowed in MAY_USE.items():
        if re.fullmatch(room, module_name(path)):
            assert {used for used in own_modules(path) if not re.fullmatch(allowed, used)} == set()
    for room, forbidden in MAY_NOT_USE.items():
        if re.fullmatch(room, module_name(path)):
            assert libraries(path) & forbidden == set()


@pytest.mark.parametrize(("start", "end"), [("infer", "training"), ("training", "infer")])
def test_inference_and_training_never_reach(start: str, end: str) -> None:
    files = {module_name(path): path for path in SOURCES}
    waiting, reached = [f"sr_imaging.{start}"], set()
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached.add(name)
            waiting += own_modules(files[name]) - {"sr_imaging"}  # its own imports are lazy
    assert f"sr_imaging.{end}" not in reached


@by_source
def test_xarray_meets_torch_on_its_bridges_only(path: Path) -> None:
    both = {"xarray", "torch"} <= libraries(path)
    assert not both or re.fullmatch(BRIDGES, module_name(path))


@by_source
def test_outer_room_uses_public_names_only(path: Path) -> None:
    if not re.fullmatch(OUTER, module_name(path)):
        return
    inner = {pair for pair in imports(path) if pair[0].split(".")[0] == "sr_imaging"}
    inner = {(module, name) for module, name in inner if not re.match(OUTER, f"{module}.{name}")}
    public = {("sr_imaging", name) for name in [*sr_imaging.__all__, "__version__", ""]}
    public |= {("sr_imaging.errors", name) for name in sr_imaging.__all__}
    if module_name(path).startswith("sr_imaging.cli"):
        inner = {pair for pair in inner if not {pair[0], ".".join(pair)} & OUTER_MAY_USE}
    assert inner - public == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_uses_public_names_only(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not re.search(r"(from|import)\s+sr_imaging\.", code)
    assert set(re.findall(r"\bsr_imaging\.(\w+)", code)) <= {*sr_imaging.__all__, "__version__"}


@by_source
def test_file_is_one_idea_of_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


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


def test_architecture_has_a_place_for_every_module() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "sr_imaging").glob("*.py")} - {"__init__.py"}
    rooms = {f"{path.parent.name}/" for path in (ROOT / "sr_imaging").glob("*/__init__.py")}
    assert {name for name in modules | rooms if f"`{name}`" not in text} == set()


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
