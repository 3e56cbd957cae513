"""The demo: its images are real and placed, it compares with the truth, and draws what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import sr_imaging
from sr_imaging.cli.demo import run as demo
from sr_imaging.cli.demo import samples
from sr_imaging.errors import ConfigError, ReadError
from sr_imaging.evaluation.figures import drawing as pictures
from sr_imaging.evaluation.figures import scan_rows as figures
from sr_imaging.image.grid.reference import edges
from sr_imaging.image.grid.volumes import volume
from sr_imaging.inference import model_choice as choice
from sr_imaging.models import model_file
from sr_imaging.models.card import ModelCard
from sr_imaging.networks import build_generator

TINY = {
    "raster-x2": {"scale": [2, 2], "channels": 4, "blocks": 1},
    "mr-through-x4": {"scale": [4, 1], "axes": ["z", "plane"], "channels": 4, "blocks": 1},
}


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models of the bundled names that are small and have learned nothing: they equal cubic interpolation."""
    folder = tmp_path / "zoo"
    for base, arguments in TINY.items():
        for name in (base, f"{base}-gan"):
            generator = build_generator("srresnet", arguments)
            card = ModelCard.of(generator, name=name, architecture="srresnet", arguments=arguments)
            sr_imaging.save_model(generator, folder / f"{name}.safetensors", card)
    monkeypatch.setattr(model_file, "ZOO", folder)
    monkeypatch.setattr(choice, "ZOO", folder)
    return folder


@pytest.fixture
def needs_samples() -> None:
    pytest.importorskip("nilearn", reason="needs the extra samples")
    pytest.importorskip("spyndex", reason="needs the extra samples")


def image_size(png: Path) -> tuple[int, int]:
    head = png.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def scene(shape: tuple[int, int, int] = (3, 60, 76)) -> xr.DataArray:
    """A smooth raster of 30 m in UTM."""
    _, rows, columns = shape
    rng = np.random.default_rng(4)
    values = rng.normal(size=shape).cumsum(1).cumsum(2) * 10 + 2000
    coords = {"y": 5e6 - 30 * np.arange(float(rows)), "x": 4e5 + 30 * np.arange(float(columns))}
    return xr.DataArray(values.astype("float32"), dims=("band", "y", "x"), coords=coords)


def thick() -> xr.DataArray:
    """MR slices of 5 mm."""
    affine = np.array([[0, 0, 0.9, -9], [0, 0.8, 0, 4], [5, 0, 0, 30], [0, 0, 0, 1.0]])
    values = np.random.default_rng(2).integers(0, 900, (6, 30, 26)).astype("int16")
    return volume(values, affine, reference={"modality": "MR"})


def test_brain_is_a_volume_of_one_millimetre(needs_samples: None) -> None:
    brain = samples.brain()
    assert (brain.dims, brain.shape) == (("z", "y", "x"), (112, 176, 144))
    assert brain.coords["volume_ref"].attrs["modality"] == "MR"
    assert {dim: float(brain[dim].diff(dim).mean()) for dim in brain.dims} == {"z": 1, "y": 1, "x": 1}


def test_scene_has_four_bands_of_ten_metres(needs_samples: None) -> None:
    image = samples.scene()
    assert (image.shape, image.dtype) == ((4, 300, 300), np.uint16)
    assert float(image.y[0] - image.y[1]) == 10


def test_relief_lies_in_tennessee() -> None:
    relief = samples.relief()
    assert edges(relief, "x") == pytest.approx((-84.41375, -84.077916667))
    assert edges(relief, "y") == pytest.approx((36.732916667, 36.44625))
    assert (int(relief.min()), int(relief.max())) == (236, 1076)  # m


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"spyndex .* is not installed; pip install 'sr-imaging\[samples\]'"
    ):
        samples.write_samples(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_demo_needs_nothing_but_the_samples(zoo: Path, needs_samples: None, tmp_path: Path) -> None:
    made = demo.run_demo([], tmp_path / "out")
    assert [one.name for one in made.comparisons] == ["sentinel2-10m", "elevation-3s", "mni152-1mm"]
    assert made.left_out == {}
    for one in made.comparisons:
        assert one.truth is not None
        assert one.db["raster-x2" if "z" not in one.lr.dims else "mr-through-x4"] == pytest.approx(
            one.db["cubic"], abs=0.01
        )  # dB; the models have learned nothing
        assert all(path.exists() for path in one.outputs)
    wide, high = image_size(made.picture)
    assert wide > 1500
    assert high > 900


def test_demo_writes_thick_slices_that_were_read_back_from_dicom(
    zoo: Path, needs_samples: None, tmp_path: Path
) -> None:
    sr_imaging.write(samples.brain().isel(z=slice(0, 32), y=slice(60, 100)), tmp_path / "brain.nii.gz")
    (one,) = demo.run_demo([tmp_path / "brain.nii.gz"], tmp_path / "out").comparisons
    source, derived = sr_imaging.read(tmp_path / "out/brain-thick"), sr_imaging.read(one.outputs[0])
    assert (source.shape, derived.shape) == ((8, 40, 144), (32, 40, 144))
    assert edges(derived, "z")[1] - edges(derived, "z")[0] == pytest.approx(32)  # mm


def test_demo_takes_your_own_raster(zoo: Path, tmp_path: Path) -> None:
    sr_imaging.write(scene(), tmp_path / "mine.tif")
    (one,) = demo.run_demo([tmp_path / "mine.tif"], tmp_path / "out").comparisons
    assert one.steps == "y, x 60 -> 30"
    assert one.grid == "3x30x38 -> 3x60x76"
    assert sr_imaging.read(one.outputs[0]).shape == (3, 120, 152)


def test_demo_makes_thick_slices_finer_without_truth(zoo: Path, tmp_path: Path) -> None:
    sr_imaging.write(thick(), tmp_path / "knee", format="dicom")
    (one,) = demo.run_demo([tmp_path / "knee"], tmp_path / "out").comparisons
    assert one.truth is None
    assert one.db == {}
    assert sr_imaging.read(one.outputs[0]).shape == (24, 30, 26)


def test_demo_goes_on_after_a_bad_scan(zoo: Path, tmp_path: Path) -> None:
    sr_imaging.write(scene(), tmp_path / "in" / "mine.tif")
    (tmp_path / "in" / "bad.tif").write_bytes(b"II*\0")
    made = demo.run_demo([tmp_path / "in"], tmp_path / "out")
    assert len(made.comparisons) == 1
    assert list(made.left_out) == [str(tmp_path / "in" / "bad.tif")]


def test_demo_without_a_readable_scan_says_why(zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file or folder"):
        demo.run_demo([tmp_path / "nowhere"], tmp_path / "out")


def test_command_prints_grids_and_gains(zoo: Path, tmp_path: Path) -> None:
    from sr_imaging.cli.__main__ import app

    sr_imaging.write(scene(), tmp_path / "mine.tif")
    done = CliRunner().invoke(app, ["demo", str(tmp_path / "mine.tif"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "y, x 60 -> 30" in done.stdout
    assert "+0.00 dB" in done.stdout
    assert str(tmp_path / "out" / "demo.png") in done.stdout


def row(lr: xr.DataArray, fine: xr.DataArray, truth: xr.DataArray | None) -> pictures.Row:
    labels = {"input": "input", "cubic": "cubic", "truth": "truth"}
    return figures.picture_row("title", lr, {"cubic": fine}, truth, labels)


def test_crops_show_the_same_ground_in_every_panel() -> None:
    truth = scene((3, 240, 300))
    lr = sr_imaging.degrade(truth, 2)
    made = row(lr, sr_imaging.upscale(lr, "nearest", scale=2), truth)
    whole, coarse, fine, real = made.panels
    assert (coarse.image.shape, fine.image.shape, real.image.shape) == ((44, 44, 3), (88, 88, 3), (88, 88, 3))
    np.testing.assert_allclose(fine.image[::2, ::2], coarse.image, atol=1e-6)
    assert whole.box is not None


def test_crop_lies_on_the_most_edges() -> None:
    values = np.zeros((200, 260), "float32")
    values[120:180:2, 180:240] = 100
    truth = scene((1, 200, 260))[0].copy(data=values)
    lr = sr_imaging.degrade(truth, 2)
    box = row(lr, sr_imaging.upscale(lr, "cubic", scale=2), truth).panels[0].box
    assert box is not None
    left, top, wide, tall = box
    assert left * 260 <= 190
    assert (left + wide) * 260 >= 230
    assert top * 200 <= 130
    assert (top + tall) * 200 >= 170


def test_volume_is_cut_through_its_slices_head_up() -> None:
    da = thick()
    fine = sr_imaging.upscale(da, "cubic", scale={"z": 4})
    made = row(da, fine, None)
    assert made.panels[0].image.shape == (24, 26)
    top = fine.isel(y=15, z=-1).values.astype(float)
    assert np.corrcoef(made.panels[0].image[0], top)[0, 1] > 0.9


def test_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    panel = pictures.Panel("label", np.zeros((4, 5)))
    with pytest.raises(ConfigError, match=r"pictures need matplotlib; pip install"):
        pictures.draw([pictures.Row("title", (panel, panel), (1.0, 1.0))], tmp_path / "demo.png")


@pytest.mark.slow
def test_bundled_models_gain_over_cubic(needs_samples: None, tmp_path: Path) -> None:
    if not {"raster-x2", "mr-through-x4"} <= {card.name for card in sr_imaging.list_models()}:
        pytest.skip("needs the bundled models")
    relief = samples.relief().isel(y=slice(0, 160), x=slice(0, 200))
    brain = samples.brain().isel(y=slice(60, 108), x=slice(20, 100))
    paths = [
        sr_imaging.write(relief, tmp_path / "relief.tif"),
        sr_imaging.write(brain, tmp_path / "brain.nii.gz"),
    ]
    gains: dict[str, Any] = {}
    for one in demo.run_demo(paths, tmp_path / "out").comparisons:
        gains |= {name: db - one.db["cubic"] for name, db in one.db.items() if not name.endswith("-gan")}
    assert gains["raster-x2"] > 0.3  # dB
    assert gains["mr-through-x4"] > 0.3
