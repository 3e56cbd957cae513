"""DataArray to GeoTIFF in one streaming pass: a chunk is computed, written and forgotten.

What `read.py` keeps in coords and attrs goes back to its place in the file. The file is opened again after it
is closed, because GDAL reports some errors of the disk late or not at all.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.grid.axes import check_grid, spatial_dims
from sr_imaging.image.pixels.packing import pack
from sr_imaging.image.stored_numbers import is_flag

from .block_stream import blocks_of
from .cog_layout import order_blocks, overview_factors, state_layout
from .cog_overviews import write_overviews
from .pixels import deepest_message, small_cache
from .tags import describe, foreign_namespaces, profile
from .verify import disk_error, verify

__all__ = ["write_cog", "write_geotiff"]

_log = logging.getLogger(__name__)
_CLASSIC_BYTES = 2**31  # uncompressed, by GDAL's IF_SAFER: a TIFF of 32 bits ends at 4 GB


def write_cog(da: xr.DataArray, path: Path) -> None:
    """Write a raster as a Cloud Optimized GeoTIFF with overviews, with no other file beside it."""
    import rasterio

    raster = _order_dims(pack(da))
    check_grid(raster)
    path.touch()
    if "image_ref" in raster.coords and "geolocation" in raster.coords["image_ref"].attrs:
        raise WriteError("GDAL's COG holds no geolocation arrays; write geotiff to keep them")
    if lost := foreign_namespaces(raster):
        _log.warning("GDAL's COG holds no tags of %s; write geotiff to keep them", ", ".join(lost))
    with _translate_errors(path):
        _write_outline(raster, path)
        state_layout(path)
        with rasterio.open(path, "r+", num_threads="all_cpus") as dst:
            _write_pixels(raster, dst)
        write_overviews(raster, path, classes=is_flag(da))
        order_blocks(path)
    verify(raster, path)


def write_geotiff(da: xr.DataArray, path: Path) -> None:
    """Write a raster as a tiled, compressed GeoTIFF; BigTIFF where it may grow beyond 4 GB.

    The array is (y, x), or has one more dim that becomes the bands; dask chunks are computed a few at a time.
    """
    import rasterio

    raster = _order_dims(pack(da))
    check_grid(raster)
    path.touch()  # the system's own error names what is wrong with the folder
    with _translate_errors(path), rasterio.open(path, "w", **profile(raster)) as dst:
        describe(raster, dst)  # first, since GDAL rewrites its directory otherwise
        _write_pixels(raster, dst)
    verify(raster, path)


def _order_dims(da: xr.DataArray) -> xr.DataArray:
    """Return the array as (band, y, x), or raise the reason why it is not a raster."""
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
    if "mask" in da.coords and set(da.coords["mask"].dims) != {dims["y"], dims["x"]}:
        raise WriteError(
            f"the mask has dims {da.coords['mask'].dims}, and a GeoTIFF one mask for all bands; "
            "assign one of dims y and x, or set masked pixels to a _FillValue"
        )
    if 0 in da.shape:
        raise WriteError(f"an array of shape {da.shape} has no pixels; nothing to write")
    if not lead:
        da, lead = da.expand_dims("band"), ["band"]
    if da.dtype in (bool, np.float16):
        da = da.astype(np.uint8 if da.dtype == bool else np.float32, keep_attrs=True)
    return da.transpose(lead[0], dims["y"], dims["x"])


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of GDAL into ours; it does not tell a full disk from others, so the disk is asked."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        options = {"GDAL_PAM_ENABLED": "NO", "GDAL_TIFF_INTERNAL_MASK": True, **small_cache()}
        with warnings.catch_warnings(), rasterio.Env(**options):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        raise disk_error(path, deepest_message(error)) from error


def _write_pixels(da: xr.DataArray, dst: Any) -> None:
    """Stream the pixels, then the mask."""
    for window, block in blocks_of(da):
        dst.write(block, window=window)
    if "mask" in da.coords:
        for window, block in blocks_of(_build_mask(da)):
            dst.write_mask(block[0], window=window)


def _build_mask(da: xr.DataArray) -> xr.DataArray:
    """Return the per-dataset mask as one band of 0 and 255."""
    dims = spatial_dims(da)
    mask = da.coords["mask"].reset_coords(drop=True).transpose(dims["y"], dims["x"])
    bytes_: xr.DataArray = mask.astype(bool) * np.uint8(255)
    return bytes_.expand_dims("band")


def _write_outline(da: xr.DataArray, path: Path) -> None:
    """Write all of a Cloud Optimized GeoTIFF but its pixels, of which no block is stored yet."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    options = profile(da)
    factors = overview_factors(*da.shape[1:])
    with MemoryFile(ext=".tif") as empty, rasterio.Env(SPARSE_OK_OVERVIEW=True):
        with empty.open(**options, sparse_ok=True) as dst:
            describe(da, dst)
            if "mask" in da.coords:
                dst.write_mask(np.zeros((1, 1), np.uint8), window=((0, 1), (0, 1)))
        if factors:
            with rasterio.open(empty.name, "r+", sparse_ok=True) as dst:
                dst.build_overviews(factors, rasterio.enums.Resampling.nearest)
        copy(
            empty.name,
            path,
            driver="COG",
            compress=options["compress"],
            predictor="yes",
            blocksize=options["blockxsize"],
            overviews="force_use_existing" if factors else "none",
            sparse_ok=True,
            bigtiff="yes" if da.nbytes > _CLASSIC_BYTES else "no",
        )
