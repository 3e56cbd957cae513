"""Valid pixels beside nodata: as without it beyond the halo, unbiased within, and one NaN costs one block."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers.builders import generator, raster
from scipy import ndimage

from sr_imaging import load_model, read, upscale, write
from sr_imaging.image.pixels.fill import fill_bands

ESPCN = generator("espcn", scale=(2, 2))
SCENE = "satellite/landsat8_zion_utah/landsat8_zion_b2345.tif"


@pytest.fixture(scope="module")
def scene(shared_data: Path) -> xr.DataArray:
    """The near infrared of 160 x 180 pixels of canyons and fields, as stored, 6000 to 31000."""
    return read(shared_data / SCENE).isel(band=3, y=slice(300, 460), x=slice(400, 580)).compute()


def wedge(shape: tuple[int, ...]) -> np.ndarray:
    """A triangle that opens to the right border."""
    rows, cols = np.indices(shape)
    tip = shape[1] // 2
    return np.asarray((cols > tip) & (np.abs(rows - shape[0] // 2) < 0.6 * (cols - tip)))


def fine(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


def compared(
    image: xr.DataArray, hidden: xr.DataArray, gone: np.ndarray, model: Any, **options: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to nodata in coarse pixels, level, and difference to the result without nodata."""
    whole, part = (upscale(da, model, **options).values.astype(np.float64) for da in (image, hidden))
    distance = fine(ndimage.distance_transform_cdt(~gone, metric="chessboard"))
    return distance, whole, part - whole


def assert_unbiased(distance: np.ndarray, whole: np.ndarray, difference: np.ndarray) -> None:
    """The two pixels next to nodata err to neither side."""
    near = (distance >= 1) & (distance <= 2)
    mean, spread = difference[near].mean(), difference[near].std()
    assert abs(mean) < 2e-3 * abs(whole[near].mean())  # a leading tiler is 26 % too dark here
    assert abs(mean) < 3 * spread / np.sqrt(near.sum() / 4)  # the four of a block go together


MODELS: list[tuple[Any, dict[str, Any]]] = [("raster-x2", {}), ("cubic", {"scale": 2}), (ESPCN, {})]


@pytest.mark.parametrize(("model", "options"), MODELS, ids=["raster-x2", "cubic", "espcn"])
@pytest.mark.parametrize("kind", ["nan", "int16"])
def test_wedge_of_nodata_changes_only_what_can_see_it(
    scene: xr.DataArray, model: Any, options: dict[str, Any], kind: str
) -> None:
    gone = wedge(scene.shape)
    if kind == "nan":
        image = scene.astype(np.float32).drop_attrs()
        hidden = image.where(~gone)
    else:
        image = scene.astype(np.int16).assign_attrs(_FillValue=np.int16(-9999))
        hidden = image.copy(data=np.where(gone, np.int16(-9999), image))
    distance, whole, difference = compared(image, hidden, gone, model, **options)
    loaded: Any = model if model is ESPCN else load_model(model, scale=(2, 2) if options else None)
    halo = max(loaded.halo)
    rounding = 1e-6 * np.ptp(whole) if kind == "nan" else 1  # a rounding may fall to the other side
    assert np.abs(difference[distance > halo]).max() <= rounding
    assert_unbiased(distance, whole, difference)


def test_invalid_pixels_take_their_nearest_valid_one_of_their_band() -> None:
    bands = np.array([[1.0, np.nan, np.nan, 4.0], [np.nan, np.nan, np.inf, 9.0], [np.nan] * 4])
    np.testing.assert_array_equal(fill_bands(bands), [[1, 1, 4, 4], [9, 9, 9, 9], [0, 0, 0, 0]])


def test_zeros_instead_of_nodata_are_biased(scene: xr.DataArray) -> None:
    image, gone = scene.astype(np.float32).drop_attrs(), wedge(scene.shape)
    with pytest.raises(AssertionError):
        assert_unbiased(*compared(image, image.where(~gone, 0), gone, "raster-x2"))


def test_made_image_beside_a_wedge_is_unbiased() -> None:
    image = raster((60, 70), dtype=np.float64, low=100, high=300)
    gone = wedge(image.shape)
    distance, whole, difference = compared(image, image.where(~gone), gone, ESPCN)
    assert np.abs(difference[distance > max(ESPCN.halo)]).max() < 1e-6 * np.ptp(whole)
    assert_unbiased(distance, whole, difference)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("model", "options"), MODELS, ids=["raster-x2", "cubic", "espcn"])
def test_one_invalid_pixel_costs_one_block(model: Any, options: dict[str, Any], chunked: bool) -> None:
    image = raster((40, 47))
    holed = image.copy(data=image.values.copy())
    holed[20, 24] = np.nan
    lost = np.isnan(upscale(holed.chunk(y=21, x=25) if chunked else holed, model, **options).values)
    expected = np.zeros(image.shape, bool)
    expected[20, 24] = True
    np.testing.assert_array_equal(lost, fine(expected))


def test_one_invalid_band_costs_nothing_in_the_others() -> None:
    model = generator("espcn", scale=(2, 2), in_channels=3)
    image = raster((3, 20, 23))
    image[1, 9, 11] = np.nan
    lost = np.isnan(upscale(image, model).values)
    assert lost.sum() == 4
    assert lost[1, 18:20, 22:24].all()


@pytest.mark.parametrize("chunked", [False, True])
def test_both_of_two_nodata_values_stay_out_of_the_model(chunked: bool) -> None:
    image = raster((40, 47), dtype=np.int16, low=100)
    image.attrs |= {"_FillValue": np.int16(-9999), "missing_value": np.int16(-32768)}
    one, other = image.copy(data=image.values.copy()), image.copy(data=image.values.copy())
    one[5, 6] = one[20, 24] = other[5, 6] = -9999
    other[20, 24] = -32768
    made, same = (upscale(da.chunk(y=21, x=25) if chunked else da, "cubic", scale=2) for da in (one, other))
    xr.testing.assert_equal(made, same)
    assert same.attrs["_FillValue"] == -9999
    assert "missing_value" not in same.attrs


def test_both_of_two_nodata_values_of_a_store_are_one_when_read(tmp_path: Path) -> None:
    image = raster((20, 23), dtype=np.int16, low=100)
    image.attrs |= {"_FillValue": np.int16(-9999), "missing_value": np.int16(-32768)}
    image[5, 6], image[12, 14] = -9999, -32768
    image.to_netcdf(tmp_path / "a.nc")
    stored = read(tmp_path / "a.nc")
    assert stored.attrs["_FillValue"] == -9999
    assert int((stored == -9999).sum()) == 2
    assert int(read(tmp_path / "a.nc", masked=True).isnull().sum()) == 2
    with rasterio.open(write(stored, tmp_path / "a.tif")) as dst:
        assert int((dst.read_masks(1) == 0).sum()) == 2


def test_missing_value_alone_is_nodata_when_read(tmp_path: Path) -> None:
    image = raster((20, 23), dtype=np.int16, low=100).assign_attrs(missing_value=np.int16(-1))
    image[5, 6] = -1
    image.to_netcdf(tmp_path / "a.nc")
    assert read(tmp_path / "a.nc").attrs["_FillValue"] == -1
    assert int(read(tmp_path / "a.nc", masked=True).isnull().sum()) == 1


def test_a_decoded_image_of_two_nodata_values_saves_without_care(tmp_path: Path) -> None:
    image = raster((20, 23))
    image.encoding = {"_FillValue": np.float32(-9999), "missing_value": np.float32(1e20)}
    image[5, 6] = np.nan
    upscale(image, "cubic", scale=2).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert int(xr.open_dataarray(tmp_path / "a.zarr", engine="zarr").isnull().sum()) == 4
    assert "missing_value" in image.encoding
