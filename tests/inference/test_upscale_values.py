"""The cases of `upscale` that concern values: NaN, nodata, packing, integers, flags."""

import logging
import re
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rioxarray
import xarray as xr
from helpers.builders import generator, raster, smooth

from sr_imaging import upscale

ESPCN = generator("espcn", scale=(2, 3))
both = pytest.mark.parametrize("chunked", [False, True])


def maybe_lazy(da: xr.DataArray, chunked: bool) -> xr.DataArray:
    return da.chunk({dim: max(1, n // 2) for dim, n in da.sizes.items()}) if chunked else da


def step_image(shape: tuple[int, int] = (10, 12), low: float = 0, high: float = 255) -> np.ndarray:
    """An edge that every cubic overshoots on both sides."""
    image = np.full(shape, float(low))
    image[:, shape[1] // 2 :] = high
    return image


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", [ESPCN, "cubic"])
def test_c9_nan_comes_back_exactly_where_it_was(chunked: bool, dtype: Any, model: Any) -> None:
    lr = raster((2, 9, 12), dtype=dtype)
    lr.values[0, 2:5, 3:6] = np.nan
    lr.values[1, :, 0] = np.inf
    sr = upscale(maybe_lazy(lr, chunked), model, scale={"y": 2, "x": 3})
    assert sr.dtype == dtype
    expected = lr.values.repeat(2, 1).repeat(3, 2)
    np.testing.assert_array_equal(np.isnan(sr), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(sr), np.isinf(expected))


def test_c9_all_nan_stays_all_nan() -> None:
    lr = raster((7, 8)) * np.nan
    assert np.isnan(upscale(lr, ESPCN)).all()


def test_c9_nan_is_filled_from_its_nearest_neighbours() -> None:
    lr = raster((9, 12)) * 0 + 5
    lr.values[3:6, 4:9] = np.nan
    sr = upscale(lr, ESPCN)
    np.testing.assert_allclose(sr.values[np.isfinite(sr.values)], 5, rtol=1e-6)


def test_c9_float64_keeps_digits_that_float32_has_not() -> None:
    lr = raster((7, 8), dtype=np.float64, low=0, high=1) + 1e8
    sr = upscale(lr, "cubic", scale=2)
    assert sr.dtype == np.float64
    np.testing.assert_allclose(sr - 1e8, upscale(lr - 1e8, "cubic", scale=2), atol=1e-6)


@both
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int16", -9999), ("uint8", 0), ("uint8", 255), ("uint16", 7), ("int64", 2**63 - 1)]
)
def test_c10_integer_nodata_is_exact_and_enters_nothing(chunked: bool, dtype: str, nodata: int) -> None:
    values = np.rint(smooth((9, 12), low=3, high=200)).astype(dtype)
    values[values == nodata] += 1
    lr = xr.DataArray(values, dims=("y", "x"), attrs={"_FillValue": np.dtype(dtype).type(nodata)})
    holes = np.zeros((9, 12), bool)
    holes[2:4, 3:9] = holes[8, 11] = True
    clean = upscale(lr.where(~holes).drop_attrs(), ESPCN).values
    sr = upscale(
        maybe_lazy(lr.copy(data=np.where(holes, lr.values[0, 0] * 0 + nodata, values)), chunked), ESPCN
    )
    assert sr.dtype == dtype
    np.testing.assert_array_equal((sr == nodata).values, holes.repeat(2, 0).repeat(3, 1))
    valid = (sr != nodata).values
    info = np.iinfo(dtype)
    expected = np.clip(np.rint(clean[valid]), info.min, min(info.max, 2**53))
    assert np.abs(sr.values[valid].astype(float) - expected).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_c10_nodata_is_never_made_by_accident(dtype: str) -> None:
    lr = xr.DataArray(step_image(high=200).astype(dtype), dims=("y", "x"), attrs={"_FillValue": 100})
    sr = upscale(lr, "linear", scale=4)
    assert not (sr == 100).any()
    assert ((sr > 70) & (sr < 130)).any()


@both
def test_c11_decoded_packing_is_clipped_and_survives_the_file(
    tmp_path: Path, chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lr = raster((10, 12), dtype=np.float32).copy(data=step_image(low=0, high=6.5535).astype(np.float32))
    packing = {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": 65535}
    lr.encoding |= packing | {"chunksizes": (5, 6)}
    with caplog.at_level(logging.INFO, logger="sr_imaging"):
        sr = maybe_lazy(lr, chunked).pipe(upscale, "cubic", scale=4).compute()
    assert {key: sr.encoding[key] for key in packing} == packing
    assert "chunksizes" not in sr.encoding
    assert float(sr.max()) == pytest.approx(6.5534, abs=1e-6)
    assert float(sr.min()) == 0
    assert re.search(r"clipped \d+ values to the packed range 0 to 6.5534", caplog.text)
    sr.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc", decode_coords="all") as back:
        np.testing.assert_allclose(back, sr, atol=0.6e-4)


def test_c11_decoded_geotiff_survives_the_file(tmp_path: Path) -> None:
    lr = raster((10, 12), dtype=np.uint16).copy(data=step_image(high=10_000).astype(np.uint16))
    lr = lr.assign_attrs(scale_factor=0.0001, add_offset=-0.1).rio.write_nodata(0)
    lr.values[2, 3] = 0
    lr.values[:, :6] = np.maximum(lr.values[:, :6], 1)
    lr.rio.to_raster(tmp_path / "lr.tif")
    with rioxarray.open_rasterio(tmp_path / "lr.tif", mask_and_scale=True) as opened:
        sr = upscale(opened, "cubic", scale=3)
        sr.rio.to_raster(tmp_path / "sr.tif")
    with rioxarray.open_rasterio(tmp_path / "sr.tif", mask_and_scale=True) as back:
        np.testing.assert_allclose(back, sr, atol=1.1e-4)
        np.testing.assert_array_equal(np.isnan(back), np.isnan(sr))


@both
@pytest.mark.parametrize("factor", [0.01, -0.01])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8"])
def test_c12_packed_integers_stay_packed(chunked: bool, factor: float, dtype: str) -> None:
    lr = raster((9, 12), dtype=dtype, low=10, high=240)
    lr.attrs |= {"scale_factor": factor, "add_offset": 2.0, "_FillValue": 5}
    lr.values[3, 4] = 5
    sr = upscale(maybe_lazy(lr, chunked), ESPCN)
    assert sr.dtype == dtype
    for key in ("scale_factor", "add_offset", "_FillValue"):
        assert sr.attrs[key] == lr.attrs[key]
    np.testing.assert_array_equal(sr == 5, (lr.values == 5).repeat(2, 0).repeat(3, 1))
    physical = upscale((lr.where(lr != 5) * factor + 2.0).drop_attrs(), ESPCN).values
    made = np.where(sr == 5, np.nan, sr.values.astype(float)) * factor + 2.0
    np.testing.assert_allclose(made, physical, atol=1.01 * abs(factor))


@both
@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("int16", -1024, 32767), ("uint16", 0, 65535)]
)
def test_c13_plain_integers_clip_to_their_type(chunked: bool, dtype: str, low: int, high: int) -> None:
    lr = xr.DataArray(step_image(low=low, high=high).astype(dtype), dims=("y", "x"))
    sr = upscale(maybe_lazy(lr, chunked), "cubic", scale=4)
    assert sr.dtype == dtype
    assert int(sr.max()) == high  # a wrapped overshoot would be small
    assert int(sr.min()) == max(np.iinfo(dtype).min, int(sr.min()))
    right = sr.values[:, 28:].astype(float)
    assert right.min() > (low + high) / 2
    floats = upscale(lr, "cubic", scale=4, dtype="float32")
    assert floats.dtype == np.float32
    assert float(floats.max()) > high
    np.testing.assert_allclose(np.clip(np.rint(floats), np.iinfo(dtype).min, np.iinfo(dtype).max), sr, atol=1)


def test_c13_asked_type_of_a_float_image() -> None:
    lr = raster((7, 8), dtype=np.float64, high=90)
    sr = upscale(lr, ESPCN, dtype=np.uint8)
    assert sr.dtype == np.uint8
    np.testing.assert_allclose(sr, upscale(lr, ESPCN).round().clip(0, 255), atol=1)


@both
@pytest.mark.parametrize(
    ("dtype", "attrs"),
    [
        ("bool", {}),
        ("uint8", {"flag_values": [0, 1, 9], "flag_meanings": "land sea cloud"}),
        ("int16", {"flag_masks": [1, 2]}),
        ("float32", {"flag_meanings": "land sea cloud"}),
    ],
)
@pytest.mark.parametrize("model", [ESPCN, "cubic"])
def test_c14_flags_are_repeated(chunked: bool, dtype: str, attrs: dict[str, Any], model: Any) -> None:
    rng = np.random.default_rng(0)
    lr = raster((2, 7, 8)).copy(data=rng.integers(0, 2, (2, 7, 8)).astype(dtype)).assign_attrs(attrs)
    sr = upscale(maybe_lazy(lr, chunked), model, scale={"y": 2, "x": 3})
    assert sr.dtype == dtype
    assert isinstance(sr.data, dask.array.Array) == chunked
    np.testing.assert_array_equal(sr, lr.values.repeat(2, 1).repeat(3, 2))
    assert sr.attrs["sr_model"] == "nearest"
    assert sr.rio.transform() == sr.rio.transform(recalc=True)


def test_c14_flags_on_a_target_spacing_keep_their_classes() -> None:
    lr = raster((7, 8), step=(-10, 20)).copy(data=np.eye(7, 8) * 9).astype(np.uint8)
    sr = upscale(lr.assign_attrs(flag_values=[0, 9]), "cubic", spacing={"y": 4.0, "x": 7.0})
    assert set(np.unique(sr)) == {0, 9}
    nearest = lr.sel(y=sr.y, x=sr.x, method="nearest")
    assert float((sr == nearest.values).mean()) > 0.9  # ties fall to either side
