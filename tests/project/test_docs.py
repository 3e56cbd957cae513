"""What the documents say is run: the worked example of CONTRIBUTING.md, the README on small scans."""

import os
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers.places import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_python(document: str, module: types.ModuleType) -> None:
    """Run the python blocks of a document one after another in the namespace of a module."""
    for number, block in enumerate(blocks(document, "python"), 1):
        exec(compile(block, f"<python block {number} of {document}>", "exec"), module.__dict__)


@pytest.fixture(scope="module")
def fsrcnn() -> Iterator[types.ModuleType]:
    """The worked example of CONTRIBUTING.md, run as the module that it makes."""
    from sr_imaging.networks import GENERATORS

    before = dict(GENERATORS)
    module = types.ModuleType("sr_imaging.networks.generators.fsrcnn")
    module.__dict__.update(GENERATORS=GENERATORS, __package__="sr_imaging.networks.generators")
    sys.modules[module.__name__] = module
    run_python("CONTRIBUTING.md", module)
    yield module
    del sys.modules[module.__name__]
    GENERATORS.clear()
    GENERATORS.update(before)


LAWS = re.findall(r"^def (test_\w+)", "\n".join(blocks("CONTRIBUTING.md", "python")), re.MULTILINE)


@pytest.mark.parametrize("law", LAWS)
def test_worked_example_keeps(law: str, fsrcnn: types.ModuleType) -> None:
    assert len(LAWS) == 3
    getattr(fsrcnn, law)()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with small scans of the names that the README uses."""
    import sr_imaging
    from sr_imaging.image.grid.volumes import volume

    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(3)
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": 20,
        "width": 26,
        "dtype": "uint16",
        "crs": "EPSG:32632",
    }
    transform = rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)
    with rasterio.open(folder / "scene.tif", "w", transform=transform, **profile) as scene:
        scene.write(rng.integers(200, 4000, (3, 20, 26)).astype("uint16"))
    affine = np.array([[0, 0, 0.8, -9], [0, 0.7, 0, 4], [4, 0, 0, 30], [0, 0, 0, 1.0]])
    knee = volume(rng.integers(0, 900, (6, 18, 22)).astype("int16"), affine, reference={"modality": "MR"})
    sr_imaging.write(knee, folder / "knee", format="dicom")
    return folder


def test_readme_python_does_what_it_says(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sr_imaging

    monkeypatch.chdir(scans)
    module = types.ModuleType("readme")
    run_python("README.md", module)
    with rasterio.open("scene.tif") as scene, rasterio.open("scene-2x.tif") as finer:
        assert (finer.count, finer.height, finer.width) == (3, 40, 52)
        assert finer.dtypes == scene.dtypes
        assert (finer.bounds, finer.crs) == (scene.bounds, scene.crs)
    knee = sr_imaging.read("knee-x4/")
    assert knee.sizes["z"] == 24
    assert float(knee["z"].diff("z").mean()) == pytest.approx(1.0)


def test_readme_training_file_is_valid(tmp_path: Path) -> None:
    from sr_imaging.training.config.run import read_config

    (block,) = blocks("README.md", "toml")
    (tmp_path / "run.toml").write_text(block, encoding="utf-8")
    config = read_config(tmp_path / "run.toml")
    assert (config.pixel.steps, config.adversarial.steps, config.model.architecture) == (
        2000,
        1000,
        "srresnet",
    )


def test_readme_names_every_bundled_model() -> None:
    import sr_imaging

    named = set(
        re.findall(r"`([a-z]+(?:-[a-z]+)?-x\d(?:-gan)?)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    )
    assert named == {card.name for card in sr_imaging.list_models()}


def test_page_of_generators_has_each_with_its_halo() -> None:
    from sr_imaging.networks import GENERATORS, build_generator

    text = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| [^|]* \| (\d+|none)", text, re.MULTILINE))
    assert set(rows) == set(GENERATORS) - {"fsrcnn"}  # the worked example of CONTRIBUTING.md
    for name, stated in rows.items():
        extent = {"scale_range": ((1, 4), (1, 4))} if name == "vdsr" else {"scale": (2, 2)}
        module: Any = build_generator(name, extent)
        assert stated == ("none" if module.halo is None else str(module.halo[0])), name


def test_examples_of_the_page_of_generators_run() -> None:
    module = types.ModuleType("networks_page")
    run_python("docs/networks.md", module)
    made = module.__dict__
    assert made["finer"].shape == (100, 150)
    assert made["first"].shape == made["fused"].shape == (80, 120)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not os.path.exists(path.parent / target)] == []
