"""DataArray to GeoTIFF in one streaming pass: a chunk is computed, written and forgotten.

What `geotiff.py` keeps in coords and attrs goes back to its place in the file. The file is opened again after
it is closed, because GDAL reports some errors of the disk late or not at all.
"""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import WriteError
from ..geometry import check_grid, spatial_dims
from .geotiff_pixels import damage, small_cache
from .geotiff_tags import describe, profile
from .geotiff_verify import disk_error, verify
from .packing import pack

__all__ = ["write_cog", "write_geotiff"]

_STRIP = 512  # rows: whole tiles of the file
_BATCH_BYTES = 256 * 2**20  # of chunks computed at once
_PIXELS_PER_TURN = 2**24  # of an array in memory, written by window

_log = logging.getLogger(__name__)


def write_cog(da: xr.DataArray, path: Path) -> None:
    """Write a raster as a Cloud Optimized GeoTIFF with overviews.

    Parameters
    ----------
    da : DataArray
        As for :func:`write_geotiff`.
    path : Path
        Name of the new file. A second file of its size stands beside it while it is written.

    Raises
    ------
    WriteError, ResourceError
        As :func:`write_geotiff`.
    """
    scratch = path.with_name(f"{path.name}.scratch.tif")
    try:
        write_geotiff(da, scratch)
        with _translated(path):
            _copy_as_cog(da, scratch, path)
        verify(_bands_first(pack(da)), path)
    finally:
        scratch.unlink(missing_ok=True)


def write_geotiff(da: xr.DataArray, path: Path) -> None:
    """Write a raster as a tiled, compressed GeoTIFF; BigTIFF where it may grow beyond 4 GB.

    Parameters
    ----------
    da : DataArray
        ``(y, x)``, or with one more dim that becomes the bands; numpy or dask. Dask chunks are computed a few
        at a time.
    path : Path
        Name of the new file.

    Raises
    ------
    WriteError
        If the array does not fit a GeoTIFF, or what was written is not what was asked for.
    ResourceError
        If the disk is full.
    """
    raster = _bands_first(pack(da))
    check_grid(raster)
    path.touch()  # the system's own error names what is wrong with the folder
    with _translated(path):
        _write_file(raster, path)
    verify(raster, path)


def _bands_first(da: xr.DataArray) -> xr.DataArray:
    """The array as (band, y, x), or the reason why it is no raster."""
    dims = spatial_dims(da)
    if "y" not in dims or "x" not in dims:
        raise WriteError(f"dims {da.dims} have no y and x; rename the spatial dims to y and x")
    if "z" in dims or "volume_ref" in da.coords:
        raise WriteError(f"an array with dims {da.dims} is a volume; write it as nifti, dicom or zarr")
    lead = [dim for dim in da.dims if dim not in dims.values()]
    if len(lead) > 1:
        raise WriteError(
            f"a GeoTIFF has one dim of bands, got {lead}; select along one of them or write zarr"
        )
    if da.dtype.kind not in "biuf":
        raise WriteError(f"a GeoTIFF cannot hold {da.dtype} here; convert the values to numbers first")
    if 0 in da.shape:
        raise WriteError(f"an array of shape {da.shape} has no pixels; nothing to write")
    if not lead:
        da = da.expand_dims("band")
        lead = ["band"]
    if da.dtype == bool:
        da = da.astype(np.uint8, keep_attrs=True)
    elif da.dtype == np.float16:
        da = da.astype(np.float32, keep_attrs=True)
    return da.transpose(lead[0], dims["y"], dims["x"])


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the errors of GDAL into ours; it does not tell a full disk from others, so the disk is asked."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        options = {"GDAL_PAM_ENABLED": "NO", "GDAL_TIFF_INTERNAL_MASK": True, **small_cache()}
        with warnings.catch_warnings(), rasterio.Env(**options):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        raise disk_error(path, damage(error)) from error


def _write_file(da: xr.DataArray, path: Path) -> None:
    """Describe the file first, since GDAL rewrites its directory otherwise, then stream the pixels."""
    import rasterio

    with rasterio.open(path, "w", **profile(da)) as dst:
        describe(da, dst)
        for window, block in _blocks(da):
            dst.write(block, window=window)
        if "mask" in da.coords:
            for window, block in _blocks(_mask(da)):
                dst.write_mask(block[0], window=window)


def _mask(da: xr.DataArray) -> xr.DataArray:
    """The per-dataset mask as one band of 0 and 255."""
    dims = spatial_dims(da)
    mask = da.coords["mask"].reset_coords(drop=True).transpose(dims["y"], dims["x"])
    bytes_: xr.DataArray = mask.astype(bool) * np.uint8(255)
    return bytes_.expand_dims("band")


def _blocks(da: xr.DataArray) -> Iterator[tuple[Any, np.ndarray]]:
    """Windows and their values from top to bottom, a few chunks in memory at a time."""
    if da.chunks is None:
        rows = _STRIP * max(1, _PIXELS_PER_TURN // (_STRIP * da.shape[0] * da.shape[2]))
        for top in range(0, da.shape[1], rows):
            yield _window(top, 0, block := da.values[:, top : top + rows]), block
        return
    import dask.base

    rechunked = da.data.rechunk({0: -1})
    tops, lefts = (np.cumsum((0, *chunks[:-1])) for chunks in rechunked.chunks[1:])
    delayed = rechunked.to_delayed()[0]
    largest = math.prod(rechunked.chunksize) * da.dtype.itemsize
    turn = int(np.clip(_BATCH_BYTES // largest, 1, os.cpu_count() or 1))
    places = [(row, col) for row in range(len(tops)) for col in range(len(lefts))]
    for start in range(0, len(places), turn):
        batch = places[start : start + turn]
        for (row, col), block in zip(
            batch, dask.base.compute(*(delayed[place] for place in batch)), strict=True
        ):
            yield _window(int(tops[row]), int(lefts[col]), block), np.asarray(block)


def _window(top: int, left: int, block: Any) -> Any:
    """The window of a block whose first pixel is given."""
    from rasterio.windows import Window

    return Window(left, top, block.shape[2], block.shape[1])


def _copy_as_cog(da: xr.DataArray, scratch: Path, path: Path) -> None:
    """Rewrite the finished file in the order of a Cloud Optimized GeoTIFF, with overviews."""
    from rasterio.shutil import copy

    flags = da.attrs.get("color_interp", ())
    kind = "nearest" if "palette" in flags or "mask" in da.coords else "average"
    copy(
        scratch,
        path,
        driver="COG",
        compress="deflate",
        predictor="yes",
        num_threads="all_cpus",
        bigtiff="if_safer",
        overview_resampling=kind,
    )
