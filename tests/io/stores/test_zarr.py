"""Zarr: the contract of coords and attrs survives, values stay as stored, nothing is computed early."""

import time
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

from sr_imaging import ReadError, WriteError, find_scans, read, write
from sr_imaging.image.grid.pixel_spacing import spacing

RASTERS = [
    "odd/geotiff_derived/rotated20deg_uint16.tif",
    "odd/geotiff_derived/scale_offset_uint16.tif",
    "odd/geotiff_derived/gcps_only_uint16.tif",
    "odd/geotiff_derived/internal_mask_uint8.tif",
    "odd/geotiff_derived/float32_nan_nodata.tif",
    "odd/geotiff_derived/south_up_int16.tif",
    "odd/geotiff_variants/cog_scale.tif",
    "satellite/landsat8_mendoza_float64/LC82320832016040LGN00_sr_band2.tif",
]
VOLUMES = [
    "odd/nifti_derived/float32_nan.nii.gz",
    "odd/nifti_derived/shape_2d.nii.gz",
    "odd/nifti_derived/shape_4d_3vols.nii.gz",
]


def stack() -> xr.DataArray:
    """(time, band, y, x) with uneven lengths, lazy."""
    values = np.random.default_rng(5).random((2, 3, 40, 70)).astype(np.float32)
    coords = {
        "time": np.array(["2024-05-01", "2024-05-11"], "datetime64[ns]"),
        "band": ["red", "green", "nir"],
        "y": 900.0 - 10 * np.arange(40),
        "x": 500.0 + 20 * np.arange(70),
    }
    return xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords, name="reflectance")


@pytest.mark.parametrize("name", [*RASTERS, *VOLUMES])
def test_write_restores_what_was_read(shared_data: Path, tmp_path: Path, name: str) -> None:
    da = read(shared_data / name)
    again = read(write(da, tmp_path / "copy.zarr"))
    xr.testing.assert_identical(again.compute(), da.compute())
    assert again.dtype == da.dtype
    for key, value in da.attrs.items():
        assert type(again.attrs[key]) is type(value)
    assert spacing(again) == spacing(da)


def test_masked_read_is_written_as_it_was(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd/geotiff_derived/different_epsg4326_negative.tif"
    again = read(write(read(source, masked=True), tmp_path / "copy.zarr"))
    xr.testing.assert_identical(again.compute(), read(source).compute())


def test_stack_keeps_name_times_and_band_names(tmp_path: Path) -> None:
    da = stack()
    xr.testing.assert_identical(read(write(da, tmp_path / "copy.zarr")).compute(), da)


def test_read_is_lazy(tmp_path: Path) -> None:
    path = write(stack().chunk({"y": 16}), tmp_path / "copy.zarr")
    assert dask.is_dask_collection(read(path))


def test_xarray_opens_the_store_without_us(tmp_path: Path) -> None:
    path = write(stack(), tmp_path / "copy.zarr")
    with xr.open_dataarray(path, engine="zarr") as da:
        xr.testing.assert_identical(da.compute(), stack())


def test_refined_chunks_of_any_size_are_written(tmp_path: Path) -> None:
    da = stack().chunk({"y": (7, 20, 13), "x": (30, 40)})
    da.encoding.update(chunks=(1, 1, 8, 8), preferred_chunks={"y": 8})
    again = read(write(da, tmp_path / "copy.zarr"))
    xr.testing.assert_identical(again.compute(), stack())


def test_float_with_nan_states_no_nodata(tmp_path: Path) -> None:
    again = read(write(stack().where(stack() > 0.5), tmp_path / "copy.zarr"))
    assert "_FillValue" not in again.attrs
    assert all("_FillValue" not in coord.attrs for coord in again.coords.values())


def test_grid_mapping_that_was_left_behind_is_not_referred_to(tmp_path: Path) -> None:
    again = read(write(stack().assign_attrs(grid_mapping="spatial_ref"), tmp_path / "copy.zarr"))
    xr.testing.assert_identical(again.compute(), stack())


def test_write_does_not_change_its_input(tmp_path: Path) -> None:
    da = stack().assign_attrs(note={"a": 1})
    da.encoding["chunks"] = (1, 1, 8, 8)
    da.x.encoding["chunks"] = (8,)
    write(da, tmp_path / "copy.zarr")
    assert da.attrs == {"note": {"a": 1}}
    assert da.encoding == {"chunks": (1, 1, 8, 8)}


def test_store_is_one_scan_and_is_not_entered(tmp_path: Path) -> None:
    write(stack(), tmp_path / "deep" / "copy.zarr")
    (scan,) = find_scans(tmp_path)
    assert (scan.kind, scan.shape, scan.spacing) == ("zarr", (2, 3, 40, 70), (10.0, 20.0))


def test_store_of_several_images_is_refused_by_name(tmp_path: Path) -> None:
    xr.Dataset({"a": stack(), "b": stack()}).to_zarr(tmp_path / "two.zarr", zarr_format=2)
    with pytest.raises(ReadError, match=r"holds the images \['a', 'b'\]; open it with xarray"):
        read(tmp_path / "two.zarr")


def test_store_without_image_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"a": ("time", [1, 2])}).to_zarr(tmp_path / "none.zarr", zarr_format=2)
    with pytest.raises(ReadError, match=r"has no variable with dims y and x, only \['a'\]"):
        read(tmp_path / "none.zarr")


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_damaged_store_is_our_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / ".zgroup").write_text(content)
    with pytest.raises(ReadError, match=r"bad.zarr"):
        read(tmp_path / "bad.zarr")


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (stack().astype(complex), r"values of complex128 are not an image"),
        (stack().isel(x=0, y=0, drop=True), r"have no spatial dim"),
    ],
)
def test_arrays_that_are_no_image_are_refused(tmp_path: Path, da: xr.DataArray, message: str) -> None:
    with pytest.raises(WriteError, match=message):
        write(da, tmp_path / "copy.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_writing_fails_leaves_nothing_while_threads_still_write(tmp_path: Path) -> None:
    def slow_or_broken(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["chunk-location"] == (0, 1):
            raise ReadError("no such block; fetch it again")
        time.sleep(0.3)
        return block

    lazy = dask.array.ones((40, 40), chunks=(40, 20)).map_blocks(slow_or_broken, dtype=float)
    with dask.config.set(num_workers=2), pytest.raises(ReadError, match="no such block"):
        write(xr.DataArray(lazy, dims=("y", "x")), tmp_path / "a.zarr")
    time.sleep(0.5)
    assert list(tmp_path.iterdir()) == []
