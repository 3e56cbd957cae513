"""The tree and its one rule: a package imports only those above it; sizes, circles, homes of libraries."""

import json
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from helpers.places import ROOT
from helpers.sources import SOURCES, imports, libraries, module_name, own_modules

import sr_imaging

# Each may import those above it.
ORDER = (
    "errors",
    "bounds",
    "image",
    "io",
    "degradation",
    "networks",
    "losses",
    "models",
    "inference",
    "evaluation",
    "training",
    "batch",
    "cli",
)
LINES, MODULES, DEPTH = 300, 12, 3  # of a file; of a folder; folders from the checkout to a file, less one
HEAVY = {"dask", "highdicom", "monai", "napari", "nibabel", "pydicom", "rasterio", "torch", "xarray", "zarr"}

# A library, and the only places that may import it.
HOMES = {
    "rasterio": r"sr_imaging\.io\.raster\..*",
    "rioxarray": r"sr_imaging\.io\.raster\..*",
    "pydicom": r"sr_imaging\.io\.dicom\..*",
    "highdicom": r"sr_imaging\.io\.dicom\..*",
    "nibabel": r"sr_imaging\.io\.nifti\..*",
    "zarr": r"sr_imaging\.io\.stores\.zarr",
    "safetensors": r"sr_imaging\.(models\.weights_file|training\.checkpoint)",
    "distributed": r"sr_imaging\.(inference\.tiling\.cluster|batch\.on_cluster)",
    "typer": r"sr_imaging\.cli\..*",
    "napari": r"napari_plugin\..*",
    "magicgui": r"napari_plugin\..*",
    "qtpy": r"napari_plugin\..*",
    "superqt": r"napari_plugin\..*",
}
# A place, and what of other people's it may not import.
MAY_NOT_USE = {
    r"sr_imaging\.(errors|bounds)": HEAVY | {"numpy", "scipy"},
    r"sr_imaging\.image\.(grid\..*|stored_numbers)": HEAVY - {"xarray"} | {"scipy", "rioxarray"},
    r"sr_imaging\.(image|io)(\..*)?|sr_imaging\.degradation\.(?!tensors).*": {"torch", "monai"},
    r"sr_imaging\.(networks|losses)(\..*)?": HEAVY - {"torch", "monai"} | {"rioxarray", "pathlib", "os"},
}
# Of evaluation, training takes what measures and what draws.
FROM_EVALUATION = r"sr_imaging\.evaluation\.(metrics|figures)\..*"
OUTER = r"sr_imaging\.cli\..*|napari_plugin(\..*)?"  # the doors use public names only
# What else the command line may use: the room of its own work, settings, and what `inspect` shows.
OUTER_MAY_USE = (
    r"sr_imaging\.(batch|training\.config|degradation\.settings|io\.(scan|dicom\.(checking|patient)))\..*"
)
# Laws that the plugin must not say again: names of axes, and from what ratio on slices are thick.
PLUGIN_MAY_USE = r"sr_imaging\.image\.grid\.(axes\.AXES|axes\.AXIS_OF|pixel_spacing\.has_thick_slices)"
THE_DEMO = r"sr_imaging\.cli\.demo\.(run|samples)"

by_source = pytest.mark.parametrize("path", SOURCES, ids=module_name)


def package_of(module: str) -> str | None:
    """The entry of ORDER that a module belongs to; None for the package itself and the plugin."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sr_imaging" and len(parts) > 1 else None


def test_order_names_every_package() -> None:
    assert {package_of(module_name(path)) for path in SOURCES} - {None} == set(ORDER)


@by_source
def test_package_imports_only_those_above_it(path: Path) -> None:
    own = package_of(module_name(path))
    if own is None:
        return
    above = {*ORDER[: ORDER.index(own) + 1], None}  # None: the public names and the version
    assert {used for used in own_modules(path) if package_of(used) not in above} == set()


@by_source
def test_training_takes_only_metrics_and_figures_of_evaluation(path: Path) -> None:
    if package_of(module_name(path)) == "training":
        used = {used for used in own_modules(path) if package_of(used) == "evaluation"}
        assert {name for name in used if not re.fullmatch(FROM_EVALUATION, name)} == set()


@pytest.mark.parametrize(("start", "end"), [("inference", "training"), ("training", "inference")])
def test_inference_and_training_never_reach(start: str, end: str) -> None:
    files = {module_name(path): path for path in SOURCES}
    waiting, reached = [name for name in files if package_of(name) == start], set()
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached.add(name)
            waiting += own_modules(files[name]) - {"sr_imaging"}  # its own imports are lazy
    assert {name for name in reached if package_of(name) == end} == set()


@by_source
def test_xarray_meets_torch_in_evaluation_only(path: Path) -> None:
    both = {"xarray", "torch"} <= libraries(path)
    assert not both or package_of(module_name(path)) == "evaluation"


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, from one of them back to it; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_import_each_other_in_no_circle() -> None:
    assert sorted(set(find_circle({"a": {"b"}, "b": {"c", "a"}, "c": set()}))) == ["a", "b"]
    lazy = {"sr_imaging"}  # its imports wait for a name to be asked for
    graph = {module_name(path): own_modules(path) - lazy for path in SOURCES if module_name(path) not in lazy}
    assert find_circle(graph) == []


@by_source
def test_library_is_imported_in_its_room_only(path: Path) -> None:
    used = libraries(path) & set(HOMES)
    assert {name for name in used if not re.fullmatch(HOMES[name], module_name(path))} == set()


@by_source
def test_place_does_without_what_it_must_not_know(path: Path) -> None:
    for place, forbidden in MAY_NOT_USE.items():
        if re.fullmatch(place, module_name(path)):
            assert libraries(path) & forbidden == set()


@by_source
def test_door_uses_public_names_only(path: Path) -> None:
    name = module_name(path)
    if not re.fullmatch(OUTER, name) or re.fullmatch(THE_DEMO, name):
        return
    inner = {pair for pair in imports(path) if pair[0].split(".")[0] == "sr_imaging"}
    allowed = OUTER_MAY_USE if name.startswith("sr_imaging") else PLUGIN_MAY_USE
    inner = {
        (module, one) for module, one in inner if not re.fullmatch(f"{OUTER}|{allowed}", f"{module}.{one}")
    }
    public = {("sr_imaging", one) for one in [*sr_imaging.__all__, "__version__", ""]}
    public |= {("sr_imaging.errors", one) for one in sr_imaging.__all__}
    assert inner - public == set()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook_uses_public_names_only(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not re.search(r"(from|import)\s+sr_imaging\.", code)
    assert set(re.findall(r"\bsr_imaging\.(\w+)", code)) <= {*sr_imaging.__all__, "__version__"}


@by_source
def test_file_is_one_idea_of_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


def test_folder_is_no_deeper_and_no_fuller_than_one_can_see() -> None:
    modules = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in modules.items() if count > MODULES} == {}
    assert {str(path) for path in SOURCES if len(path.relative_to(ROOT).parts) - 1 > DEPTH + 1} == set()
