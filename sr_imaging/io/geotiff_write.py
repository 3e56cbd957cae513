"""DataArray to GeoTIFF in one streaming pass: a chunk is computed, written and forgotten.

What `geotiff.py` keeps in coords and attrs goes back to its place in the file. The file is opened again after
it is closed, because GDAL reports some errors of the disk late or not at all.
"""

import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ReadError, ResourceError, WriteError
from ..geometry import check_grid, geo_transform, spatial_dims
from ..world import world_reference
from .geotiff import RESERVED, damage, open_raster
from .packing import pack
from .references import placed_by_pixels, scaled_references

__all__ = ["write_cog", "write_geotiff"]

_TILE = 512  # pixels: the usual block of a Cloud Optimized GeoTIFF
_BATCH_BYTES = 256 * 2**20  # of chunks computed at once
_MIN_FREE = 2**20  # bytes; less than this is a full disk
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
        _verify(_bands_first(pack(da)), path)
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
    _verify(raster, path)


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
        with warnings.catch_warnings(), rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        raise _disk_error(path, damage(error)) from error


def _disk_error(path: Path, cause: str) -> WriteError | ResourceError:
    """A full disk, or another reason why the output did not come about."""
    free = shutil.disk_usage(path.parent).free
    if free < _MIN_FREE or "No space left" in cause:
        return ResourceError(f"cannot write {path}: the disk has {free} bytes left; free some disk space")
    return WriteError(f"cannot write {path}: {cause}; check the disk and the folder")


def _write_file(da: xr.DataArray, path: Path) -> None:
    """Describe the file first, since GDAL rewrites its directory otherwise, then stream the pixels."""
    import rasterio

    with rasterio.open(path, "w", **_profile(da)) as dst:
        _describe(da, dst)
        for window, block in _blocks(da):
            dst.write(block, window=window)
        if "mask" in da.coords:
            for window, block in _blocks(_mask(da)):
                dst.write_mask(block[0], window=window)


def _mask(da: xr.DataArray) -> xr.DataArray:
    """The per-dataset mask as one band of 0 and 255."""
    dims = spatial_dims(da)
    mask = da.coords["mask"].reset_coords(drop=True).transpose(dims["y"], dims["x"])
    return (mask.astype(bool) * np.uint8(255)).expand_dims("band")


def _profile(da: xr.DataArray) -> dict[str, Any]:
    """Creation options: lossless, tiled to fit the chunks."""
    from rasterio.enums import ColorInterp

    bands, height, width = da.shape
    tile = _tile(da)
    kinds = _color_interp(da)
    rgb = kinds[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    palette = kinds[0] == ColorInterp.palette and "color_table" in da.attrs
    chunked_bands = da.chunks is not None and len(da.chunks[0]) > 1
    return {
        "driver": "GTiff",
        "dtype": da.dtype.name,
        "count": bands,
        "height": height,
        "width": width,
        "crs": _crs(da),
        "transform": _transform(da),
        "nodata": _nodata(da),
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "compress": "deflate",
        "predictor": 3 if da.dtype.kind == "f" else 2,
        "num_threads": "all_cpus",
        "bigtiff": "if_safer",
        "interleave": "band" if chunked_bands or bands > 16 else "pixel",
        "photometric": "rgb" if rgb else "palette" if palette else "minisblack",
    }


def _tile(da: xr.DataArray) -> int:
    """Side of the file's tiles: small for small images, else such that chunks end where tiles end."""
    if max(da.shape[1:]) < _TILE:
        return 16 * math.ceil(max(da.shape[1:]) / 16)
    ends = [end for chunks in (da.chunks or ((), (), ()))[1:] for end in np.cumsum(chunks[:-1])]
    return next(
        (side for side in (_TILE, _TILE // 2, _TILE // 4) if not any(end % side for end in ends)), 256
    )


def _crs(da: xr.DataArray) -> Any | None:
    """The CRS of the grid mapping."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    reference = world_reference(da)
    attrs = da.coords[reference].attrs if reference is not None else {}
    wkt = attrs.get("crs_wkt", attrs.get("spatial_ref"))
    if not wkt:
        return None
    try:
        return CRS.from_wkt(str(wkt))
    except CRSError as error:
        raise WriteError(
            f"the CRS of {reference!r} is not understood: {error}; write it anew with rio.write_crs"
        ) from error


def _transform(da: xr.DataArray) -> Any | None:
    """The transform of the coords; the stated one where both agree, free of the coords' rounding."""
    from rasterio import Affine

    if placed_by_pixels(da):
        return None
    numbers = geo_transform(da)
    reference = world_reference(da)
    stated = da.coords[reference].attrs.get("GeoTransform") if reference is not None else None
    if numbers is None:
        return None
    if stated is not None:
        told = [float(part) for part in str(stated).split()]
        corners = np.array(
            [[1, col, row] for row in (0, da.shape[1]) for col in (0, da.shape[2])], dtype=float
        )
        shift = np.abs(corners @ (np.reshape(told, (2, 3)) - np.reshape(numbers, (2, 3))).T).max()
        if shift < 1e-6 * math.hypot(numbers[1], numbers[4]):
            numbers = told
    return Affine.from_gdal(*numbers)


def _nodata(da: xr.DataArray) -> Any | None:
    """Nodata of the values as they are."""
    value = da.attrs.get("_FillValue", da.attrs.get("missing_value"))
    return None if value is None else np.asarray(value).item()


def _color_interp(da: xr.DataArray) -> list[Any]:
    """What each band means for a viewer; unknown where the number of bands has changed."""
    from rasterio.enums import ColorInterp

    names = da.attrs.get("color_interp", ())
    if len(names) == da.shape[0]:
        return [ColorInterp[name] for name in names]
    return [ColorInterp.gray] + [ColorInterp.undefined] * (da.shape[0] - 1)


def _describe(da: xr.DataArray, dst: Any) -> None:
    """All but the pixels."""
    bands = range(1, dst.count + 1)
    dst.colorinterp = _color_interp(da)
    for band, name in zip(bands, _per_band(_names(da), dst.count, ""), strict=True):
        if name:
            dst.set_band_description(band, str(name))
    attrs = da.attrs
    dst.scales = _per_band(attrs.get("scales", attrs.get("scale_factor", 1.0)), dst.count, 1.0)
    dst.offsets = _per_band(attrs.get("offsets", attrs.get("add_offset", 0.0)), dst.count, 0.0)
    if attrs.get("units"):
        dst.units = [str(unit) for unit in _per_band(attrs["units"], dst.count, "")]
    dst.update_tags(**{key: _text(value) for key, value in attrs.items() if key not in RESERVED})
    for band, tags in json.loads(attrs.get("band_tags", "{}")).items():
        if int(band) in bands:
            dst.update_tags(int(band), **tags)
    for namespace, tags in json.loads(attrs.get("tag_namespaces", "{}")).items():
        dst.update_tags(ns=namespace, **tags)
    for band, table in json.loads(attrs.get("color_table", "{}")).items():
        dst.write_colormap(int(band), {int(key): tuple(colour) for key, colour in table.items()})
    references = scaled_references(da)
    if "gcps" in references:
        dst.gcps = references["gcps"]
    if "rpcs" in references:
        dst.rpcs = references["rpcs"]


def _names(da: xr.DataArray) -> Any:
    """Names of the bands: long_name, else the band coordinate where it holds names."""
    if "long_name" in da.attrs:
        return da.attrs["long_name"]
    band = da.coords.get(da.dims[0])
    return band.values.tolist() if band is not None and band.dtype.kind in "UO" else ""


def _per_band(value: Any, count: int, neutral: Any) -> list[Any]:
    """One value for each band; `neutral` where the number of bands has changed."""
    if isinstance(value, list | tuple | np.ndarray):
        return list(value) if len(value) == count else [neutral] * count
    return [value] * count


def _text(value: Any) -> str:
    """An attribute as a tag."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _blocks(da: xr.DataArray) -> Iterator[tuple[Any, np.ndarray]]:
    """Windows and their values from top to bottom, a few chunks in memory at a time."""
    if da.chunks is None:
        rows = _TILE * max(1, _PIXELS_PER_TURN // (_TILE * da.shape[0] * da.shape[2]))
        for top in range(0, da.shape[1], rows):
            yield _window(top, 0, block := da.values[:, top : top + rows]), block
        return
    import dask

    rechunked = da.data.rechunk({0: -1})
    tops, lefts = (np.cumsum((0, *chunks[:-1])) for chunks in rechunked.chunks[1:])
    delayed = rechunked.to_delayed()[0]
    largest = math.prod(rechunked.chunksize) * da.dtype.itemsize
    turn = int(np.clip(_BATCH_BYTES // largest, 1, os.cpu_count() or 1))
    places = [(row, col) for row in range(len(tops)) for col in range(len(lefts))]
    for start in range(0, len(places), turn):
        batch = places[start : start + turn]
        for (row, col), block in zip(batch, dask.compute(*(delayed[place] for place in batch)), strict=True):
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


def _verify(da: xr.DataArray, path: Path) -> None:
    """Open the finished file and compare what it says to what was asked for."""
    asked = _profile(da)
    try:
        with open_raster(path, complete=True) as src:
            got = {"shape": (src.count, src.height, src.width), "dtype": src.dtypes[0], "crs": src.crs}
            transform = src.transform
    except ReadError as error:
        raise _disk_error(path, str(error)) from error
    wanted = {"shape": da.shape, "dtype": asked["dtype"], "crs": asked["crs"]}
    for key, value in wanted.items():
        if got[key] != value:
            raise WriteError(f"{path} came out with {key} {got[key]}, not {value}; write zarr instead")
    if asked["transform"] is not None and not transform.almost_equals(
        asked["transform"], precision=1e-6 * math.hypot(asked["transform"].a, asked["transform"].d)
    ):
        raise WriteError(f"{path} came out with transform {transform}, not {asked['transform']}")
