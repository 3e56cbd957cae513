"""The rules of `upscale` that hold for every input: type, edges, laziness, purity, files, bits, any unit."""

import copy
import warnings
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rioxarray
import xarray as xr
from helpers.builders import generator, raster, scan, smooth
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_imaging import upscale
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.reference import edges
from sr_imaging.image.grid.volumes import affine
from sr_imaging.networks import build_generator

ESPCN = generator("espcn", scale=(2, 3))
FRESH: Any = build_generator("espcn", {"scale": (2, 2), "channels": 4})  # makes the interpolated image
THROUGH = generator("espcn", scale=(4, 1), axes=("z", "plane"), channels=4)
DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32", "float64"]


def lazy(da: xr.DataArray, *sizes: int) -> xr.DataArray:
    return da.chunk(dict(zip(da.dims, sizes, strict=True)))


def stale(da: xr.DataArray) -> xr.DataArray:
    """Give an array the encodings that a file opened in chunks leaves."""
    da = da.copy()
    chunks = tuple(max(1, n // 2) for n in da.shape)
    da.encoding = {"chunks": chunks, "preferred_chunks": dict(zip(da.dims, chunks, strict=True))}
    da.encoding |= {"chunksizes": chunks, "shards": None, "original_shape": da.shape, "source": "/gone.nc"}
    return da


def assert_same_grid(a: xr.DataArray, b: xr.DataArray) -> None:
    for dim in ("z", "y", "x"):
        if dim in a.coords:
            np.testing.assert_array_equal(a[dim], b[dim])
    if "spatial_ref" in a.coords:
        assert b.rio.transform() == a.rio.transform() == b.rio.transform(recalc=True)
        assert b.rio.crs == a.rio.crs
    if "volume_ref" in a.coords:
        np.testing.assert_allclose(affine(a), affine(b), atol=1e-9)


# R1
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunked", [False, True])
def test_r1_type_of_the_values_stays(dtype: str, chunked: bool) -> None:
    lr = raster((2, 7, 9), dtype=dtype, high=100)
    sr = upscale(lazy(lr, 1, 4, 5) if chunked else lr, ESPCN)
    assert isinstance(sr, xr.DataArray)
    assert sr.dtype == sr.compute().dtype == dtype
    assert isinstance(sr.data, dask.array.Array) == chunked


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 9), (2, 7, 9), (2, 3, 7, 9)])
def test_r1_plain_array_in_plain_array_out(dtype: str, shape: tuple[int, ...]) -> None:
    lr = np.rint(smooth(shape, high=90)).astype(dtype)
    sr = upscale(lr, ESPCN)
    assert type(sr) is np.ndarray
    assert sr.dtype == dtype
    assert sr.shape == (*shape[:-2], 14, 27)
    made = upscale(dask.array.from_array(lr, 4), ESPCN)
    assert isinstance(made, dask.array.Array)
    np.testing.assert_allclose(made.compute().astype(float), sr.astype(float), atol=1, rtol=1e-3)


@pytest.mark.parametrize(
    "dims", [("x", "y"), ("y", "band", "x"), ("y", "x", "band"), ("time", "x", "band", "y")]
)
def test_r1_order_of_the_dims_stays(dims: tuple[str, ...]) -> None:
    lr = xr.DataArray(smooth((2, 3, 7, 9)).astype(np.float32), dims=("time", "band", "y", "x"))
    lr = lr.isel({dim: 0 for dim in lr.dims if dim not in dims})
    expected = upscale(lr, ESPCN)
    sr = upscale(lr.transpose(*dims), ESPCN)
    assert sr.dims == dims
    np.testing.assert_allclose(sr.transpose(*expected.dims), expected, atol=1e-6)


def test_r1_name_and_other_coords_stay() -> None:
    lr = raster((3, 5, 6))
    lr = lr.assign_coords(
        wavelength=("band", [0.5, 0.6, 0.7], {"units": "um"}),
        label=("band", ["b", "g", "r"]),
        time=np.datetime64("2024-05-06T07:08:09", "ns"),
    )
    sr = upscale(lr, ESPCN)
    assert sr.name == "reflectance"
    for name in ("band", "wavelength", "label", "time"):
        xr.testing.assert_identical(
            sr[name].variable.to_base_variable(), lr[name].variable.to_base_variable()
        )


def test_r1_stacked_coords_stay() -> None:
    lr = xr.DataArray(
        smooth((2, 3, 5, 6)).astype(np.float32),
        dims=("time", "member", "y", "x"),
        coords={"time": [1, 2], "member": ["a", "b", "c"], "y": np.arange(5.0), "x": np.arange(6.0)},
    ).stack(sample=("time", "member"))
    sr = upscale(lr, ESPCN)
    assert sr.indexes["sample"].equals(lr.indexes["sample"])
    assert sr.sel(time=2).sizes["member"] == 3


# R2
@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    st.tuples(st.floats(0.01, 500), st.floats(0.01, 500)),
    st.sampled_from([(1, 1), (-1, 1), (1, -1), (-1, -1)]),
)
def test_r2_outer_edges_do_not_move(origin: Any, size: Any, sign: Any) -> None:
    step = (size[0] * sign[0], size[1] * sign[1])
    lr = raster((4, 5), origin=origin, step=step)
    sr = upscale(lr, ESPCN)
    for dim, d in zip(("y", "x"), step, strict=True):
        tolerance = 1e-6 * abs(d) + 8 * np.spacing(max(map(abs, origin)) + 5 * abs(d))
        assert edges(sr, dim) == pytest.approx(edges(lr, dim), abs=tolerance)


def test_r2_corners_of_a_volume_do_not_move() -> None:
    lr = scan((3, 5, 6))
    sr = upscale(lr, THROUGH)
    for sign in (-0.5, None):
        a, b = (np.array([*(sign or n - 0.5 for n in v.shape), 1]) for v in (lr, sr))
        np.testing.assert_allclose(affine(sr) @ b, affine(lr) @ a, atol=1e-9)


# R3
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_r3_chunks_change_nothing(dtype: str) -> None:
    lr = raster((2, 13, 11), dtype=dtype)
    whole, parts = upscale(lr, ESPCN), upscale(lazy(lr, 2, 5, 4), ESPCN)
    atol = 1 if np.dtype(dtype).kind == "i" else 2e-4  # a rounding may fall to the other side
    np.testing.assert_allclose(parts.values, whole.values, atol=atol)
    assert_same_grid(whole, parts)
    assert whole.attrs.keys() == parts.attrs.keys()


# R4
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("build", [raster, scan])
def test_r4_input_is_never_changed(chunked: bool, build: Any) -> None:
    lr = stale(build(dtype=np.float32))
    lr.values[..., 0, 0] = np.nan
    lr.values.flags.writeable = False
    lr.attrs["nested"] = {"a": [1, 2]}
    before, encoding = lr.copy(deep=True), copy.deepcopy(lr.encoding)
    sr = upscale(lazy(lr, 2, 4, 4) if chunked else lr, "cubic", scale=2).compute()
    sr.values[:] = 0
    sr.attrs["new"] = 1
    for coord in sr.coords.values():
        coord.attrs["new"] = 1
    xr.testing.assert_identical(lr, before)
    assert lr.encoding == encoding


# R5
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_r5_result_saves_as_geotiff_and_reopens_to_the_same_grid(tmp_path: Path, dtype: str) -> None:
    sr = upscale(stale(raster((2, 7, 9), dtype=dtype, step=(-0.3, 0.7))), ESPCN)
    sr.rio.to_raster(tmp_path / "a.tif")
    with rioxarray.open_rasterio(tmp_path / "a.tif") as back:
        assert isinstance(back, xr.DataArray)
        np.testing.assert_array_equal(back, sr)
        np.testing.assert_allclose(back.rio.transform().to_gdal(), sr.rio.transform().to_gdal(), rtol=1e-15)
        np.testing.assert_allclose(back.y, sr.y, atol=1e-9)
        assert back.rio.crs == sr.rio.crs


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("build", [raster, scan])
def test_r5_result_saves_as_zarr_and_reopens_to_the_same_grid(
    tmp_path: Path, build: Any, chunked: bool
) -> None:
    lr = stale(build((4, 7, 9)))
    sr = upscale(lazy(lr, 2, 3, 5) if chunked else lr, "cubic", scale=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Consolidated metadata|does not have a Zarr V3).*")
        sr.to_zarr(tmp_path / "a.zarr")
        back = xr.open_dataarray(tmp_path / "a.zarr", engine="zarr", decode_coords="all")
    np.testing.assert_array_equal(back, sr)
    assert back.dtype == sr.dtype
    assert_same_grid(sr, back)


@pytest.mark.parametrize("build", [raster, scan])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_r5_result_saves_as_netcdf_and_reopens_to_the_same_grid(
    tmp_path: Path, build: Any, dtype: str
) -> None:
    sr = upscale(stale(build((4, 7, 9), dtype=dtype)), "cubic", scale=3)
    sr.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc", decode_coords="all") as back:
        np.testing.assert_array_equal(back, sr)
        assert back.dtype == sr.dtype
        assert_same_grid(sr, back)
        assert back.attrs["sr_model"] == "cubic"


@pytest.mark.parametrize("chunked", [False, True])
def test_r5_file_to_file_keeps_up_with_its_own_chunks(tmp_path: Path, chunked: bool) -> None:
    lr = raster((2, 12, 14))
    for suffix, write in (("nc", "to_netcdf"), ("zarr", "to_zarr")):
        stored: dict[str, Any] = {"chunks": (1, 5, 6), "grid_mapping": "spatial_ref"}
        path = tmp_path / f"lr.{suffix}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(Consolidated metadata|does not have a Zarr V3).*")
            if suffix == "nc":
                stored = {"chunksizes": (1, 5, 6), "zlib": True, "grid_mapping": "spatial_ref"}
            getattr(lr, write)(path, encoding={"reflectance": stored})
            with xr.open_dataset(path, decode_coords="all", chunks={} if chunked else None) as opened:
                sr = upscale(opened["reflectance"], "cubic", scale=2)
                getattr(sr, write)(tmp_path / f"sr.{suffix}")
            with xr.open_dataset(tmp_path / f"sr.{suffix}", decode_coords="all") as back:
                assert_same_grid(upscale(lr, "cubic", scale=2), back["reflectance"])
                np.testing.assert_allclose(back["reflectance"], upscale(lr, "cubic", scale=2), atol=1e-4)


@pytest.mark.parametrize("stored", ["int32", "int64", "float32"])
def test_r5_centres_outgrow_the_type_that_held_them_on_disk(tmp_path: Path, stored: str) -> None:
    lr = raster((6, 8), origin=(60.0, 40.0), step=(-2.0, 4.0))
    lr.to_netcdf(tmp_path / "lr.nc", encoding={"x": {"dtype": stored}, "y": {"dtype": stored}})
    with xr.open_dataarray(tmp_path / "lr.nc", decode_coords="all") as opened:
        sr = upscale(opened, "cubic", scale=5)
        sr.to_netcdf(tmp_path / "sr.nc")
    with xr.open_dataarray(tmp_path / "sr.nc", decode_coords="all") as back:
        assert_same_grid(upscale(lr, "cubic", scale=5), back)


def test_r5_asked_floats_are_stored_as_floats(tmp_path: Path) -> None:
    lr = raster((7, 9), dtype=np.uint8)
    lr.rio.write_nodata(0).rio.to_raster(tmp_path / "lr.tif")
    lr.to_netcdf(tmp_path / "lr.nc")
    with rioxarray.open_rasterio(tmp_path / "lr.tif") as opened:
        sr = upscale(opened, "cubic", scale=2, dtype="float32")
        sr.rio.to_raster(tmp_path / "sr.tif")
    with rioxarray.open_rasterio(tmp_path / "sr.tif") as back:
        np.testing.assert_array_equal(back, sr)
        assert back.dtype == np.float32
    with xr.open_dataarray(tmp_path / "lr.nc", decode_coords="all") as opened:
        sr = upscale(opened, "cubic", scale=2, dtype="float32")
        sr.to_netcdf(tmp_path / "sr.nc")
    with xr.open_dataarray(tmp_path / "sr.nc", decode_coords="all") as back:
        np.testing.assert_array_equal(back, sr)
        assert np.abs(back - back.round()).max() > 0.1


def test_r5_masked_raster_never_wraps_on_disk(tmp_path: Path) -> None:
    values = np.zeros((8, 9), np.uint8)
    values[:, 4:], values[0, 0], values[2, 2] = 255, 7, 1
    lr = raster((8, 9), dtype=np.uint8).copy(data=values)
    lr.rio.write_nodata(7).rio.to_raster(tmp_path / "lr.tif")
    with rioxarray.open_rasterio(tmp_path / "lr.tif", masked=True) as opened:
        sr = upscale(opened, "cubic", scale=4)
        sr.rio.to_raster(tmp_path / "sr.tif")
    with rioxarray.open_rasterio(tmp_path / "sr.tif", masked=True) as back:
        np.testing.assert_array_equal(np.isnan(back), np.isnan(sr))
        np.testing.assert_allclose(back.fillna(0), sr.fillna(0), atol=1)


# R6
def test_r6_same_call_same_bits() -> None:
    lr = raster((2, 12, 14))
    a, b = (upscale(lr, ESPCN, seed=3) for _ in range(2))
    assert a.values.tobytes() == b.values.tobytes()


# Any unit
@pytest.mark.parametrize("model", [ESPCN, "cubic"])
@settings(max_examples=8, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
def test_change_of_unit_commutes(model: Any, a: float, b: float) -> None:
    lr = raster((9, 8), dtype=np.float64, low=-1, high=1)
    scale = {"scale": 2} if model == "cubic" else {}
    left, right = upscale(lr * a + b, model, **scale), upscale(lr, model, **scale) * a + b
    np.testing.assert_allclose(left, right, rtol=0, atol=2e-6 * a + 1e-12 * abs(b))


def test_heights_with_a_large_offset_keep_their_precision() -> None:
    lr = raster((9, 8), dtype=np.float64, low=0, high=1e-3)
    high = upscale(lr + 1e6, ESPCN) - 1e6
    np.testing.assert_allclose(high, upscale(lr, ESPCN), atol=5e-9)  # a float64 of 1e6 has 1e-10


@pytest.mark.parametrize("size", [1e-30, 1e30, 1e-300, 1e200, 1e300])
def test_values_of_any_size_stay_finite(size: float) -> None:
    lr = raster((9, 8), dtype=np.float64, low=-1, high=1)
    sr = upscale(lr * size, ESPCN)
    np.testing.assert_allclose(sr / size, upscale(lr, ESPCN), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.25, 1e6 / 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_image_stays_constant(value: float, dtype: Any) -> None:
    lr = raster((9, 8), dtype=dtype) * 0 + dtype(value)
    np.testing.assert_allclose(upscale(lr, ESPCN), dtype(value), rtol=1e-6)


# Target spacing
@pytest.mark.parametrize("target", [5.0, 4.0, 3.3, 2.5, 1.2])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("model", ["cubic", "linear", FRESH])
def test_target_spacing_is_exact_on_a_ramp(target: float, chunked: bool, model: Any) -> None:
    y, x = 100 - 6.0 * np.arange(20), 50 + 6.0 * np.arange(24)
    lr = xr.DataArray(3.0 * y[:, None] + 2.0 * x[None, :], dims=("y", "x"), coords={"y": y, "x": x})
    sr = upscale(lazy(lr, 7, 9) if chunked else lr, model, spacing=target)
    assert spacing(sr) == pytest.approx({"y": target, "x": target}, rel=1e-12)
    assert sr.shape == (round(20 * 6 / target), round(24 * 6 / target))
    assert edges(sr, "y")[0] == pytest.approx(103, abs=1e-6)
    assert edges(sr, "x")[0] == pytest.approx(47, abs=1e-6)
    assert edges(sr, "x")[1] == pytest.approx(edges(lr, "x")[1], abs=target / 2 + 1e-9)
    inside = sr.sel(y=slice(75, 12), x=slice(75, 160))
    expected = 3 * inside.y + 2 * inside.x
    np.testing.assert_allclose(inside, expected, atol=1e-4)


def test_target_spacing_of_one_dim_leaves_the_others() -> None:
    lr = scan((4, 6, 7))
    sr = upscale(lr, "cubic", spacing={"z": 1.2})
    assert spacing(sr) == pytest.approx({"z": 1.2, "y": 0.8, "x": 0.7})
    assert sr.dtype == np.int16
    np.testing.assert_allclose(affine(sr) @ [-0.5, -0.5, -0.5, 1], affine(lr) @ [-0.5, -0.5, -0.5, 1])


def test_target_spacing_after_a_model_reaches_the_grid_exactly() -> None:
    lr = scan((4, 6, 7))
    sr = upscale(lr, THROUGH, spacing={"z": 1.0})
    assert sr.sizes["z"] == 20
    assert sr.volume_ref.attrs["spacing"] == pytest.approx((1.0, 0.8, 0.7))
    assert sr.attrs["sr_scale"] == "5 1 1"


def test_target_spacing_keeps_nan_and_nodata() -> None:
    lr = raster((9, 8), dtype=np.int16).rio.write_nodata(-99)
    lr.values[2:4, 3:6] = -99
    sr = upscale(lr, "cubic", spacing={"y": 4.0, "x": 8.0})
    assert sr.dtype == np.int16
    centre = sr.sel(y=slice(*(float(lr.y[k]) + s for k, s in ((2, 4), (3, -4)))))
    centre = centre.sel(x=slice(float(lr.x[3]) - 8, float(lr.x[5]) + 8))
    assert (centre == -99).all()
    valid = sr.where(sr != -99)
    assert float(valid.min()) >= -60
    assert int((sr == -99).sum()) <= 6 * 2.5**2 * 1.6


def test_target_spacing_of_geo_transform_is_rewritten() -> None:
    lr = raster((10, 8))
    sr = upscale(lr, "cubic", spacing={"y": 4.0, "x": 8.0})
    assert sr.rio.transform() == sr.rio.transform(recalc=True)
    assert geo_transform(sr) == pytest.approx([500_000, 8, 0, 4_100_000, 0, -4])


def test_rotated_raster_with_a_crs_keeps_it() -> None:
    numbers = "10.0 0.8 0.3 50.0 0.6 -0.9"
    r, c = np.arange(4)[:, None] + 0.5, np.arange(6)[None, :] + 0.5
    coords = {"xc": (("y", "x"), 10 + 0.8 * c + 0.3 * r), "yc": (("y", "x"), 50 + 0.6 * c - 0.9 * r)}
    lr = xr.DataArray(smooth((4, 6)).astype(np.float32), dims=("y", "x"), coords=coords)
    lr = lr.rio.write_crs(4326)
    lr.spatial_ref.attrs["GeoTransform"] = numbers
    sr = upscale(lr, "cubic", scale=2)
    np.testing.assert_allclose(
        [float(v) for v in sr.spatial_ref.attrs["GeoTransform"].split()], [10, 0.4, 0.15, 50, 0.3, -0.45]
    )
    assert sr.rio.crs == lr.rio.crs
