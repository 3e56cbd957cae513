"""Rotated and sheared rasters: corners, centres and transform stay one."""

import numpy as np
import pytest
import xarray as xr
from helpers.builders import fine_like

from sr_imaging import GridError, upscale
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.rasters import geo_transform, is_rotated


def rotated(rows: int = 4, cols: int = 6, shear: float = 0.0) -> xr.DataArray:
    """Return a raster as rioxarray reads one with a rotated transform."""
    numbers = (500_000.0, 8.0, 3.0 + shear, 4_100_000.0, 6.0, -9.0)
    x0, a, b, y0, d, e = numbers
    r, c = np.arange(rows)[:, None] + 0.5, np.arange(cols)[None, :] + 0.5
    coords = {"xc": (("y", "x"), x0 + a * c + b * r), "yc": (("y", "x"), y0 + d * c + e * r)}
    da = xr.DataArray(np.zeros((rows, cols)), dims=("y", "x"), coords=coords)
    return da.assign_coords(
        spatial_ref=((), 0, {"crs_wkt": "LOCAL", "GeoTransform": " ".join(map(repr, numbers))})
    )


@pytest.mark.parametrize("shear", [0.0, 2.5])
@pytest.mark.parametrize("scale", [{"y": 2, "x": 3}, {"y": 1, "x": 2.5}])
def test_refined_rotated_raster_keeps_its_corners(shear: float, scale: dict[str, float]) -> None:
    lr = rotated(4, 6, shear)
    hr = fine_like(lr, scale)
    x0, a, b, y0, d, e = hr.rio.transform().to_gdal()
    rows, cols = hr.shape
    ox, oa, ob, oy, od, oe = lr.rio.transform().to_gdal()
    assert (x0, y0) == pytest.approx((ox, oy), abs=1e-6)
    assert x0 + a * cols + b * rows == pytest.approx(ox + oa * 6 + ob * 4, abs=1e-6)
    assert y0 + d * cols + e * rows == pytest.approx(oy + od * 6 + oe * 4, abs=1e-6)


def test_refined_rotated_centres_are_those_of_geo_transform() -> None:
    hr = fine_like(rotated(), {"y": 2, "x": 3})
    x0, a, b, y0, d, e = hr.rio.transform().to_gdal()
    r, c = np.arange(8)[:, None] + 0.5, np.arange(18)[None, :] + 0.5
    np.testing.assert_allclose(hr.xc, x0 + a * c + b * r, rtol=0, atol=1e-6)
    np.testing.assert_allclose(hr.yc, y0 + d * c + e * r, rtol=0, atol=1e-6)
    assert is_rotated(hr)
    np.testing.assert_allclose(geo_transform(hr), hr.rio.transform().to_gdal(), rtol=1e-12)


def test_refined_rotated_blocks_average_to_their_coarse_centre() -> None:
    lr = rotated()
    hr = fine_like(lr, {"y": 2, "x": 3})
    blocks = hr.xc.values.reshape(4, 2, 6, 3).mean((1, 3))
    np.testing.assert_allclose(blocks, lr.xc, atol=1e-6)


def test_rotated_crop_then_refine_is_refine_then_crop() -> None:
    lr, scale = rotated(7, 9), {"y": 2, "x": 3}
    first = fine_like(lr.isel(y=slice(2, 6), x=slice(1, 5)), scale)
    second = fine_like(lr, scale).isel(y=slice(4, 12), x=slice(3, 15))
    np.testing.assert_allclose(first.xc, second.xc, atol=1e-6)
    np.testing.assert_allclose(geo_transform(first), geo_transform(second), rtol=1e-12)


def test_rotated_spacing_is_the_length_of_the_pixel_sides() -> None:
    assert spacing(rotated()) == pytest.approx({"y": np.hypot(3, 9), "x": np.hypot(8, 6)})


@pytest.mark.parametrize("dims", [{"y": [0]}, {"x": [2]}])
def test_rotated_raster_of_one_row_or_column_refines_by_its_geo_transform(dims: dict[str, list[int]]) -> None:
    lr = rotated().isel(dims)
    hr = fine_like(lr, {"y": 2, "x": 2})
    numbers = hr.rio.transform().to_gdal()
    assert numbers[1] == pytest.approx(4.0, abs=1e-9)
    assert numbers[5] == pytest.approx(-4.5, abs=1e-9)
    middle = hr.xc.values.reshape(lr.sizes["y"], 2, lr.sizes["x"], 2).mean((1, 3))
    np.testing.assert_allclose(middle, lr.xc, atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("bend", "message"),
    [(0.02, r"xc, yc lie up to \S+ off an even grid of pixels of \S+; resample"), (np.nan, "non-finite")],
)
def test_centres_of_a_curvilinear_grid_are_refused(bend: float, message: str, lazy: bool) -> None:
    da, col = rotated(21, 34), np.arange(34)
    # the corners of the image stay where they are
    da = da.assign_coords(xc=da.xc + xr.DataArray(bend * col * (33 - col), dims="x"))
    da = da.chunk(y=10, x=10) if lazy else da
    with pytest.raises(GridError, match=message):
        upscale(da, "cubic", scale=2)


def test_centres_rounded_to_float32_are_even() -> None:
    da = rotated(21, 34)
    exact = geo_transform(da)
    da = da.assign_coords({name: da.coords[name].astype(np.float32) for name in ("xc", "yc")})
    # a spacing of float32 at 4.1e6 m is 0.5 m
    np.testing.assert_allclose(geo_transform(da) or [], exact or [], rtol=0, atol=0.5)
