"""Readers, writers and samples of the napari plugin, with files of every kind and a real canvas for north."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

pytest.importorskip("napari", reason="needs napari, of the extra napari")

from napari.layers import Image

from napari_plugin.files.readers import get_reader, layer_of
from napari_plugin.files.samples import ct_slice, sentinel, thick_slices
from napari_plugin.files.writers import write_geotiff, write_nifti
from napari_plugin.layers import describe
from napari_plugin.super_resolve.copy_as_code import as_command, as_python
from napari_plugin.super_resolve.plan import Settings, make_plan
from sr_imaging import ReadError, read, write
from sr_imaging.cli.__main__ import main
from sr_imaging.image.grid.volumes import affine, volume

AXIAL = np.array([[0, 0, 0.8, -90], [0, 0.9, 0, -120], [5, 0, 0, -30], [0, 0, 0, 1.0]])
RAS = np.array([[0, 0, -0.8, 90], [0, -0.9, 0, 120], [5, 0, 0, -30], [0, 0, 0, 1.0]])
TURN = np.array(
    [[1, 0, 0, 0], [0, np.cos(0.3), np.sin(0.3), 0], [0, -np.sin(0.3), np.cos(0.3), 0], [0, 0, 0, 1]]
)
OBLIQUE = TURN @ AXIAL


def raster(transform: rasterio.Affine, path: Path, bands: int = 2) -> Path:
    """A GeoTIFF of 6 by 9 pixels whose first rows are bright."""
    values = np.full((bands, 6, 9), 100, np.uint16)
    values[:, :3] = 900
    profile = {"driver": "GTiff", "width": 9, "height": 6, "count": bands, "dtype": "uint16"}
    with rasterio.open(path, "w", crs="EPSG:32615", transform=transform, **profile) as file:
        file.write(values)
    return path


def head(matrix: np.ndarray) -> xr.DataArray:
    return volume(np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), matrix)


def open_layer(path: Path) -> Image:
    reader = get_reader(str(path))
    assert reader is not None
    ((data, arguments, kind),) = reader(str(path))
    assert kind == "image"
    return Image(data, **arguments)


@pytest.mark.parametrize(
    "transform",
    [
        rasterio.Affine(30, 0, 463905, 0, -30, 1740315),
        rasterio.Affine(30, 0, 463905, 0, 20, 1740315),
        rasterio.Affine.translation(463905, 1740315)
        * rasterio.Affine.rotation(20)
        * rasterio.Affine.scale(30, -20),
    ],
    ids=["north_up", "south_up", "rotated"],
)
def test_raster_lies_where_its_transform_says(tmp_path: Path, transform: rasterio.Affine) -> None:
    layer = open_layer(raster(transform, tmp_path / "a.tif"))
    for row, column in [(0, 0), (5, 0), (0, 8), (5, 8)]:
        _, y, x = layer.data_to_world((0, row, column))
        assert (x, y) == pytest.approx(transform * (column + 0.5, row + 0.5), rel=1e-12)
    assert str(layer.units[-1]) == "meter"


def test_raster_of_one_band_is_flat(tmp_path: Path) -> None:
    layer = open_layer(raster(rasterio.Affine(30, 0, 0, 0, -30, 0), tmp_path / "a.tif", bands=1))
    assert layer.data.shape == (6, 9)


def test_tiff_without_a_place_is_left_to_napari(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", width=4, height=3, count=1, dtype="uint8"),
    ):
        pass
    assert get_reader(str(path)) is None


@pytest.mark.parametrize("name", ["photo.png", "text.tif"])
def test_foreign_file_is_left_to_napari(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no image of ours")
    assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / name)]) is None


def test_folder_without_scans_is_left_to_napari(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert get_reader(str(tmp_path)) is None


@pytest.mark.parametrize("matrix", [AXIAL, RAS], ids=["axial", "flipped"])
def test_volume_along_the_patient_lies_in_lps(tmp_path: Path, matrix: np.ndarray) -> None:
    write(head(matrix), tmp_path / "a.nii.gz")
    layer = open_layer(tmp_path / "a.nii.gz")
    for index in [(0, 0, 0), (3, 4, 5)]:
        assert layer.data_to_world(index)[::-1] == pytest.approx((matrix @ [*index, 1])[:3], abs=1e-4)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3


def test_oblique_volume_lies_along_its_own_axes(tmp_path: Path) -> None:
    write(head(OBLIQUE), tmp_path / "a.nii.gz")
    layer = open_layer(tmp_path / "a.nii.gz")
    assert layer.data_to_world((3, 4, 5)) == pytest.approx((15, 3.6, 4), abs=1e-4)


def test_refused_series_says_why(shared_data: Path) -> None:
    path = str(shared_data / "medical/dcm_ct_head_ge_tilt_varspacing")
    reader = get_reader(path)
    assert reader is not None
    with pytest.raises(ReadError, match="gantry tilt"):
        reader(path)


def test_series_of_a_folder_become_layers(shared_data: Path) -> None:
    path = str(shared_data / "medical/dcm_mr_t1_philips_elition_oblique")
    reader = get_reader(path)
    assert reader is not None
    ((data, arguments, _),) = reader(path)
    assert data.shape == (58, 256, 256)
    assert arguments["metadata"]["sr_imaging"]["series"].endswith("13000458288")
    low, high = arguments["contrast_limits"]
    assert float(data.min()) <= low < high < float(data.max())


def test_colours_are_shown_as_colours(shared_data: Path) -> None:
    layer = open_layer(shared_data / "satellite/aerial_massachusetts_1m/mass_22978945_15.tif")
    assert layer.rgb
    assert layer.data.shape == (901, 1182, 3)


def test_contrast_leaves_nodata_out() -> None:
    values = np.linspace(100, 200, 5000).reshape(50, 100)
    values[:10] = -9999
    _, arguments, _ = layer_of(
        xr.DataArray(values, dims=("y", "x"), attrs={"_FillValue": -9999.0}), name="dem"
    )
    low, high = arguments["contrast_limits"]
    assert 100 < low < high < 200


def test_written_geotiff_lies_where_its_source_did(tmp_path: Path) -> None:
    source = raster(rasterio.Affine(30, 0, 463905, 0, -20, 1740315), tmp_path / "a.tif")
    data, attributes, _ = open_layer(source).as_layer_data_tuple()
    (path,) = write_geotiff(str(tmp_path / "b.tif"), data, attributes)
    with rasterio.open(source) as old, rasterio.open(path) as new:
        assert (new.crs, new.transform) == (old.crs, old.transform)
        assert np.array_equal(new.read(), old.read())


def test_geotiff_of_a_plain_layer_lies_where_the_layer_does(tmp_path: Path) -> None:
    layer = Image(np.arange(12, dtype=np.uint8).reshape(3, 4), scale=(-10, 20), translate=(95, 110))
    data, attributes, _ = layer.as_layer_data_tuple()
    (path,) = write_geotiff(str(tmp_path / "b.tif"), data, attributes)
    with rasterio.open(path) as file:
        assert file.transform == rasterio.Affine(20, 0, 100, 0, -10, 100)


def test_written_nifti_lies_where_its_source_did(tmp_path: Path) -> None:
    write(head(OBLIQUE), tmp_path / "a.nii")
    data, attributes, _ = open_layer(tmp_path / "a.nii").as_layer_data_tuple()
    (path,) = write_nifti(str(tmp_path / "b.nii.gz"), data, attributes)
    again = read(path)
    assert np.allclose(affine(again), OBLIQUE, atol=1e-4)
    assert np.array_equal(again, head(OBLIQUE))


def test_colours_are_written_as_bands(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    data, attributes, _ = Image(values, rgb=True, scale=(-1, 1)).as_layer_data_tuple()
    (path,) = write_geotiff(str(tmp_path / "b.tif"), data, attributes)
    with rasterio.open(path) as file:
        assert np.array_equal(np.moveaxis(file.read(), 0, -1), values)


@pytest.mark.parametrize(
    ("sample", "spacing"),
    [(ct_slice, (5, 0.661468, 0.661468)), (sentinel, (1, -10, 10)), (thick_slices, (4, -1, -1))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_sample_opens_without_the_network(sample: Any, spacing: tuple[float, ...]) -> None:
    data, arguments, _ = sample()[-1]
    layer = Image(data, **arguments)
    assert tuple(layer.scale) == pytest.approx(spacing)


def test_thick_slices_lie_over_the_fine_ones() -> None:
    fine, thick = (Image(data, **arguments) for data, arguments, _ in thick_slices())
    gap = thick.data_to_world((-0.5, 0, 0))[0] - fine.data_to_world((-0.5, 0, 0))[0]
    assert gap == pytest.approx(0, abs=1e-9)


def test_north_is_up_on_the_screen_and_the_scale_bar_right(make_napari_viewer: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer(show=True)
    path = raster(rasterio.Affine(30, 0, 463905, 0, -30, 1740315), tmp_path / "a.tif", bands=1)
    (layer,) = viewer.open(path, plugin="sr-imaging")
    layer.contrast_limits = (0, 1000)
    picture = viewer.screenshot(flash=False)[..., 0].astype(float)
    shown = np.flatnonzero(picture.max(1) > 0)
    top, bottom = (np.median(picture[shown[len(shown) * k // 4]]) for k in (1, 3))
    assert top > 2 * bottom > 0
    width = np.ptp(np.flatnonzero(picture.max(0) > 0)) + 1
    metres = width / viewer.scene.camera.zoom
    assert metres == pytest.approx(9 * 30, rel=0.05)
    assert str(layer.units[-1]) == "meter"


def test_copied_run_makes_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = open_layer(raster(rasterio.Affine(30, 0, 463905, 0, -20, 1740315), tmp_path / "a.tif"))
    settings = Settings("cubic", scale={"y": 3, "x": 2}, device="cpu", tile=4)
    plan = make_plan(describe(layer), settings, free=10**9)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(as_python(plan, layer), names)
    by_python = read(tmp_path / "a_cubic.tif")
    (tmp_path / "a_cubic.tif").unlink()
    monkeypatch.setattr("sys.argv", shlex.split(as_command(plan, layer)))
    with pytest.raises(SystemExit, match="0"):
        main()
    by_command = read(tmp_path / "a_cubic.tif")
    assert by_python.shape == (2, 18, 18)
    assert np.array_equal(by_python, by_command)
    assert np.array_equal(by_python, names["sr"])
